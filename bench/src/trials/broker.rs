//! A broker of the command's own: started on an empty directory and a free port, loaded, and gone with all its files when it is dropped.

use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crate::load;
use crate::process_usage::ServerProcess;
use crate::report::{Metric, Run, Unit};

use super::pages::drop_pages;
use super::stage::Stage;

/// The broker's memory when a load is over and its connections are closed.
pub(crate) const MEMORY_AT_END: &str = "memory_at_end_bytes";

/// On an empty directory it takes some milliseconds.
const START_TIME_MAX: Duration = Duration::from_secs(30);
const LOOK_INTERVAL: Duration = Duration::from_millis(5);

/// A running broker.
pub(crate) struct Broker<'a> {
    stage: &'a Stage,
    directory: PathBuf,
    address: String,
    pid: u32,
}

impl Broker<'_> {
    /// Starts the stage's program with this kind of input and output: auto, uring or posix.
    pub(crate) fn start<'a>(stage: &'a Stage, io: &str) -> Result<Broker<'a>, String> {
        let directory = stage.new_directory();
        fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let log = directory.join("log");
        let pid = spawn(stage, io, &directory, &log)?;
        // From here on the directory is removed whatever happens.
        let mut broker = Broker { stage, directory, address: String::new(), pid };
        broker.address = broker.await_ready(&log)?;
        Ok(broker)
    }

    /// Runs a load on it, by its options as one would type them, and adds what memory it then holds. No write of an earlier load goes on beside
    /// it, for `--pid` has the disks settle first.
    pub(crate) fn load(&self, command: &str, options: &str) -> Result<Run, String> {
        let fixed = format!("ringmill-bench {command} --broker {} --pid {}", self.address, self.pid);
        let arguments: Vec<String> =
            fixed.split_whitespace().chain(options.split_whitespace()).map(str::to_owned).collect();
        let mut run = load::typed(&arguments)?.into_first_run().ok_or_else(|| "nothing was measured".to_owned())?;
        run.push(self.memory()?);
        Ok(run)
    }

    /// Where it listens.
    pub(crate) fn address(&self) -> &str {
        &self.address
    }

    /// Whoever reads the topic next reads from the disk.
    pub(crate) fn drop_pages(&self, topic: &str) -> Result<(), String> {
        let segments = self.segments(topic).map_err(|error| format!("the topic's files: {error}"))?;
        if segments.is_empty() {
            return Err("the broker has no segment files where they were looked for".to_owned());
        }
        segments.iter().try_for_each(|path| {
            File::open(path).and_then(|file| drop_pages(&file)).map_err(|error| format!("{}: {error}", path.display()))
        })
    }

    /// What it holds now, page cache aside.
    #[expect(clippy::cast_precision_loss, reason = "a process's memory stays far below 2^53 bytes")]
    fn memory(&self) -> Result<Metric, String> {
        let bytes = ServerProcess { pid: self.pid }.anonymous_bytes().map_err(|error| error.to_string())?;
        Ok(Metric { key: MEMORY_AT_END, unit: Unit::Bytes, value: bytes as f64 })
    }

    /// The records' files of a topic.
    fn segments(&self, topic: &str) -> io::Result<Vec<PathBuf>> {
        let mut segments = Vec::new();
        for partition in fs::read_dir(self.directory.join("data"))? {
            let partition = partition?;
            let name = partition.file_name();
            if name.to_string_lossy().rsplit_once('-').is_none_or(|(found, _)| found != topic) {
                continue;
            }
            for file in fs::read_dir(partition.path())? {
                let path = file?.path();
                if path.extension().is_some_and(|extension| extension == "log") {
                    segments.push(path);
                }
            }
        }
        Ok(segments)
    }

    /// The address that it says it listens on.
    fn await_ready(&self, log: &Path) -> Result<String, String> {
        let deadline = Instant::now() + START_TIME_MAX;
        loop {
            let said = fs::read_to_string(log).unwrap_or_default();
            if let Some(address) = said.lines().find_map(ready_at) {
                return Ok(address.to_owned());
            }
            let mut traces = self.stage.traces().lock().expect("nobody panics while clearing up");
            let ended = traces.broker.as_mut().is_none_or(|broker| !matches!(broker.try_wait(), Ok(None)));
            drop(traces);
            if ended || Instant::now() >= deadline {
                let why = said.lines().last().unwrap_or("it said nothing");
                return Err(format!("{} did not start: {why}", self.stage.ringmill.display()));
            }
            thread::sleep(LOOK_INTERVAL);
        }
    }
}

impl Drop for Broker<'_> {
    fn drop(&mut self) {
        self.stage.traces().lock().expect("nobody panics while clearing up").end_broker();
        // What cannot be removed now is tried again, and reported, with the whole stage.
        let _ = fs::remove_dir_all(&self.directory);
    }
}

fn spawn(stage: &Stage, io: &str, directory: &Path, log: &Path) -> Result<u32, String> {
    let named = |error: std::io::Error| format!("{} cannot be started: {error}", stage.ringmill.display());
    let mut command = Command::new(&stage.ringmill);
    command.args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--io", io, "--data-dir"]);
    command.arg(directory.join("data"));
    // The load generator's own sockets have it, too: what the system's default does to loopback is not to be measured.
    command.args(["--set", "ringmill.tcp.congestion.control=cubic"]);
    // The settings of whoever runs this are not to leak in.
    for (name, _) in std::env::vars_os().filter(|(name, _)| name.as_encoded_bytes().starts_with(b"RINGMILL_")) {
        command.env_remove(name);
    }
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(File::create(log).map_err(named)?);
    let mut traces = stage.traces().lock().expect("nobody panics while clearing up");
    let broker = command.spawn().map_err(named)?;
    let pid = broker.id();
    traces.broker = Some(broker);
    Ok(pid)
}

/// The address in the line that says that the broker is ready.
fn ready_at(line: &str) -> Option<&str> {
    if !line.contains("\"ready\"") {
        return None;
    }
    line.split_once("\"address\":\"")?.1.split('"').next()
}

#[cfg(test)]
mod tests {
    use super::super::amounts::Amounts;
    use super::*;

    #[test]
    fn only_the_ready_line_tells_the_address() {
        let line = r#"{"level":"INFO","fields":{"message":"ready","address":"127.0.0.1:9092"}}"#;
        assert_eq!(ready_at(line), Some("127.0.0.1:9092"));
        assert_eq!(ready_at(r#"{"message":"listens","address":"127.0.0.1:9092"}"#), None);
        assert_eq!(ready_at(r#"{"message":"ready"}"#), None);
    }

    #[test]
    fn a_program_that_is_no_broker_is_named() {
        let dir = tempfile::tempdir().unwrap();
        for (program, reason) in [("/nonexistent/ringmill", "cannot be started"), ("/bin/false", "did not start")] {
            let stage = Stage::open(dir.path(), program.into(), Amounts::QUICK).unwrap();
            let error = Broker::start(&stage, "auto").err().unwrap();
            assert!(error.contains(program) && error.contains(reason), "{error}");
        }
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
