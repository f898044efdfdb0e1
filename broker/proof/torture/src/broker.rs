//! The real program as a child: started on a data directory and any free port, found by the line that says it is ready, killed or asked
//! to stop, and waited for. What it logs is kept in a file, and what it says about itself is counted.
//!
//! Of the broker's insides this knows its arguments and a few of its log lines. It needs a tokio runtime with I/O and time.

use std::cell::RefCell;
use std::collections::{BTreeMap, VecDeque};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::net::SocketAddr;
use std::os::fd::OwnedFd;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::rc::Rc;
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::net::unix::pipe;
use tokio::sync::watch;
use tokio::task::{JoinHandle, spawn_local};
use tokio::time::{sleep, timeout};

use crate::report::Failure;

/// The most that one log file keeps; beyond it begins anew, for the end is what matters.
const LOG_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// How often it is looked whether the process has ended.
const REAP_PERIOD: Duration = Duration::from_millis(1);

/// How long a killed process may take to go: its writes that are under way have to land first.
const REAP_PATIENCE: Duration = Duration::from_secs(60);

/// How long a start may take, recovery included. A start that was not cut short and takes longer is a finding.
pub(crate) const START_PATIENCE: Duration = Duration::from_secs(60);

/// How long a process may take to stand still, in steps.
const FREEZE_STEPS_MAX: u32 = 100_000;
const FREEZE_STEP: Duration = Duration::from_micros(20);

/// Complaints that are kept to be shown; more are only counted.
const ALARMS_MAX: usize = 20;

/// Lines without the form of a log line that are kept.
const LAST_WORDS_MAX: usize = 8;

/// How to start it.
#[derive(Clone, Debug)]
pub(crate) struct Launch {
    /// The program `ringmill`.
    pub(crate) binary: PathBuf,
    pub(crate) data_dir: PathBuf,
    /// Where its log lines are appended.
    pub(crate) log: PathBuf,
    /// `uring`, `posix` or `auto`.
    pub(crate) io: String,
    pub(crate) cores: u32,
    /// `NAME=VALUE` each, as `--set` takes them.
    pub(crate) settings: Vec<String>,
}

/// A process that was started. Killed when dropped.
#[derive(Debug)]
pub(crate) struct Broker {
    child: Child,
    ready: watch::Receiver<Option<SocketAddr>>,
    reader: JoinHandle<()>,
    said: Rc<RefCell<Said>>,
}

/// What a process has logged.
#[derive(Clone, Debug, Default)]
pub(crate) struct Said {
    /// How often each message was logged, whatever its fields.
    pub(crate) messages: BTreeMap<String, u64>,
    /// Lines of panics and of errors, the first few.
    pub(crate) alarms: Vec<String>,
    pub(crate) panics: u64,
    /// The last lines that are no log lines: why it could not start, or what panicked.
    pub(crate) last_words: VecDeque<String>,
}

impl Launch {
    /// Starts the program; it is not ready yet. To be called inside a `LocalSet`.
    pub(crate) fn start(&self) -> Result<Broker, Failure> {
        let mut command = Command::new(&self.binary);
        command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--io", &self.io]);
        command.args(["--cores", &self.cores.to_string(), "--data-dir"]).arg(&self.data_dir);
        for setting in &self.settings {
            command.args(["--set", setting]);
        }
        // The settings of whoever runs this are not to leak in.
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"RINGMILL_")) {
            command.env_remove(name);
        }
        let failed = |error| Failure::not_possible(format!("{} cannot be started", self.binary.display()))(error);
        let (reads, writes) =
            rustix::pipe::pipe_with(rustix::pipe::PipeFlags::CLOEXEC).map_err(|e| failed(e.into()))?;
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(writes).spawn().map_err(failed)?;
        drop(command);
        let log = open_log(&self.log).map_err(Failure::not_possible(self.log.display()))?;
        let (readiness, ready) = watch::channel(None);
        let said = Rc::default();
        let lines = read_lines(reads, log, readiness, Rc::clone(&said));
        let reader = spawn_local(async move {
            // The pipe ends with the process; an error tells no more than that.
            let _ = lines.await;
        });
        Ok(Broker { child, ready, reader, said })
    }
}

impl Broker {
    /// Waits until it serves, and gives its address; `None` when it ends before that.
    pub(crate) async fn ready(&self) -> Option<SocketAddr> {
        let mut ready = self.ready.clone();
        let found = timeout(START_PATIENCE, ready.wait_for(Option::is_some)).await;
        found.ok()?.ok().and_then(|address| *address)
    }

    /// Sends SIGKILL and waits for the end. `Err` with its status if the process had ended by itself before.
    pub(crate) async fn kill(&mut self) -> Result<(), ExitStatus> {
        self.end_by(Signal::KILL).await
    }

    /// Stops every thread of it where it is: what a power cut does to a machine. Calls that are inside the kernel go on there, but
    /// nobody hears of their results any more. Only [`kill`](Self::kill) makes sense after it.
    pub(crate) fn freeze(&self) -> io::Result<()> {
        kill_process(Pid::from_child(&self.child), Signal::STOP)?;
        let threads = PathBuf::from(format!("/proc/{}/task", self.child.id()));
        for _ in 0..FREEZE_STEPS_MAX {
            if all_stand_still(&threads)? {
                return Ok(());
            }
            std::thread::sleep(FREEZE_STEP);
        }
        Err(io::ErrorKind::TimedOut.into())
    }

    /// How it has ended already, if it has.
    pub(crate) fn has_ended(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("a child that was not reaped can be waited for")
    }

    /// Sends SIGTERM and does not wait.
    pub(crate) fn ask_to_stop(&self) {
        let _ = kill_process(Pid::from_child(&self.child), Signal::TERM);
    }

    /// Waits for an end that was asked for, up to `patience`.
    pub(crate) async fn ended(&mut self, patience: Duration) -> Option<ExitStatus> {
        let reaped = async {
            loop {
                if let Some(status) = self.has_ended() {
                    return status;
                }
                sleep(REAP_PERIOD).await;
            }
        };
        let status = timeout(patience, reaped).await.ok()?;
        // The last lines are still in the pipe.
        let _ = timeout(REAP_PATIENCE, &mut self.reader).await;
        Some(status)
    }

    async fn end_by(&mut self, signal: Signal) -> Result<(), ExitStatus> {
        use std::os::unix::process::ExitStatusExt;
        let _ = kill_process(Pid::from_child(&self.child), signal);
        let status = self.ended(REAP_PATIENCE).await.expect("a killed process ends");
        if status.signal() == Some(signal.as_raw()) { Ok(()) } else { Err(status) }
    }

    /// What it has logged so far.
    pub(crate) fn said(&self) -> Said {
        self.said.borrow().clone()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        self.reader.abort();
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Whether no thread is in the program's own code, or can get back there: stopped, ended, or held inside a call by the kernel (D).
fn all_stand_still(threads: &Path) -> io::Result<bool> {
    for thread in std::fs::read_dir(threads)? {
        // One that is gone runs no more.
        let stat = std::fs::read_to_string(thread?.path().join("stat")).unwrap_or_default();
        let state = stat.rsplit_once(") ").and_then(|(_, rest)| rest.chars().next());
        if matches!(state, Some('R' | 'S' | 'I')) {
            return Ok(false);
        }
    }
    Ok(true)
}

fn open_log(path: &Path) -> io::Result<File> {
    let file = OpenOptions::new().create(true).append(true).open(path)?;
    if file.metadata()?.len() > LOG_BYTES_MAX {
        file.set_len(0)?;
    }
    Ok(file)
}

/// Copies the process's lines into its log until it ends.
async fn read_lines(
    reads: OwnedFd,
    mut log: File,
    readiness: watch::Sender<Option<SocketAddr>>,
    said: Rc<RefCell<Said>>,
) -> io::Result<()> {
    let mut lines = BufReader::new(pipe::Receiver::from_owned_fd(reads)?).lines();
    while let Some(line) = lines.next_line().await? {
        writeln!(log, "{line}")?;
        let address = said.borrow_mut().take(&line);
        if address.is_some() {
            readiness.send_replace(address);
        }
    }
    Ok(())
}

impl Said {
    /// What is to be shown when something went wrong.
    pub(crate) fn complaints(&self) -> String {
        let lines: Vec<String> = self.alarms.iter().chain(&self.last_words).map(|line| format!("  {line}")).collect();
        lines.join("\n")
    }

    /// Counts a line; gives the address of the one that says that the broker is ready.
    fn take(&mut self, line: &str) -> Option<SocketAddr> {
        let Ok(parsed) = serde_json::from_str::<serde_json::Value>(line) else {
            // Panics are not logged as JSON.
            if line.contains("panicked at") {
                self.alarm(line);
                self.panics += 1;
            }
            if self.last_words.len() == LAST_WORDS_MAX {
                self.last_words.pop_front();
            }
            self.last_words.push_back(line.to_owned());
            return None;
        };
        if parsed["level"] == "ERROR" {
            self.alarm(line);
        }
        let message = parsed["message"].as_str()?;
        *self.messages.entry(message.to_owned()).or_default() += 1;
        if message == "ready" { parsed["address"].as_str()?.parse().ok() } else { None }
    }

    fn alarm(&mut self, line: &str) {
        if self.alarms.len() < ALARMS_MAX {
            self.alarms.push(line.to_owned());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::Said;

    #[test]
    fn the_ready_line_and_complaints_are_found() {
        let mut said = Said::default();
        assert_eq!(said.take(r#"{"level":"INFO","message":"ringmill starts"}"#), None);
        let address = said.take(r#"{"level":"INFO","message":"ready","address":"127.0.0.1:4"}"#);
        assert_eq!(address, Some("127.0.0.1:4".parse().expect("an address")));
        assert_eq!(said.take("thread 'core-0' panicked at x.rs:1:2:"), None);
        assert_eq!(said.take(r#"{"level":"ERROR","message":"sealed"}"#), None);
        assert_eq!((said.messages["ready"], said.alarms.len(), said.last_words.len()), (1, 2, 1));
    }
}
