//! The real program as a child of the test: started, found by the line that says it is ready, killed without a warning.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::Pid;

/// The real program, killed when it is dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
    log: Arc<Mutex<Vec<String>>>,
}

impl Process {
    pub fn start(dir: &Path, io: &str) -> Process {
        Process::start_with(dir, io, &[])
    }

    /// With more flags.
    pub fn start_with(dir: &Path, io: &str, more: &[&str]) -> Process {
        let mut child = command(dir, io).args(more).spawn().expect("the program can be started");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let log = Arc::<Mutex<Vec<String>>>::default();
        let keep = {
            let log = Arc::clone(&log);
            move |line: &String| log.lock().expect("no thread panics with it").push(line.clone())
        };
        let found = lines.by_ref().map_while(Result::ok).inspect(&keep).find_map(|line| ready_at(&line));
        let address = found.unwrap_or_else(|| panic!("it does not get ready: {:#?}", log.lock()));
        // Whoever reads no more would one day block the writer.
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| keep(&line)));
        Process { child, address, log }
    }

    pub fn of(child: Child, address: SocketAddr) -> Process {
        Process { child, address, log: Arc::default() }
    }

    /// The lines of its log with this in them, up to now.
    pub fn said(&self, text: &str) -> Vec<String> {
        let log = self.log.lock().expect("no thread panics with it");
        log.iter().filter(|line| line.contains(text)).cloned().collect()
    }

    /// Waits until its log has a line with this in it.
    pub fn await_line(&self, text: &str) {
        let patience = Instant::now() + Duration::from_secs(30);
        while self.said(text).is_empty() {
            assert!(Instant::now() < patience, "never said: {text}; but {:#?}", self.log.lock());
            std::thread::sleep(Duration::from_millis(10));
        }
    }

    /// Stops it as an operator does, and gives its exit code.
    pub fn stop(mut self) -> Option<i32> {
        rustix::process::kill_process(self.pid(), rustix::process::Signal::TERM).expect("it can be told to stop");
        self.child.wait().expect("it can be waited for").code()
    }

    /// For whoever wants to kill it from elsewhere.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

/// The program with this data directory, on a free port, its log as JSON on a pipe.
pub fn command(dir: &Path, io: &str) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ringmill"));
    command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--io", io, "--data-dir"]);
    command.arg(dir).stdout(Stdio::null()).stderr(Stdio::piped());
    command
}

impl Drop for Process {
    fn drop(&mut self) {
        self.child.kill().expect("it can be killed");
        self.child.wait().expect("it can be waited for");
    }
}

/// The address in the line that says that the broker is ready.
pub fn ready_at(line: &str) -> Option<SocketAddr> {
    if !line.contains("\"ready\"") {
        return None;
    }
    let (_, rest) = line.split_once("\"address\":\"")?;
    rest.split('"').next()?.parse().ok()
}
