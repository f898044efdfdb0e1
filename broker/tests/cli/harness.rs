//! A broker of its own for each test, and commands against it.

use std::io::{BufRead, BufReader, Write};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use assert_cmd::cargo::cargo_bin;
use tempfile::TempDir;

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A command with a clean environment, so that the machine's settings do not matter.
pub(super) fn ringmill(arguments: &[&str]) -> Command {
    let mut command = Command::new(cargo_bin!("ringmill"));
    command.args(arguments).env_remove("RINGMILL_ADDRESS").stdin(Stdio::null());
    command
}

/// What came of a command: exit code, standard output, standard error.
pub(super) fn run(arguments: &[&str]) -> (i32, String, String) {
    finish(&mut ringmill(arguments))
}

pub(super) fn finish(command: &mut Command) -> (i32, String, String) {
    let output = command.output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
    (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
}

/// A broker on a directory and a port of its own; ended with the test.
pub(super) struct Broker {
    pub(super) process: Child,
    pub(super) address: String,
    pub(super) dir: TempDir,
    /// Its log lines after "ready", complete when it has ended.
    pub(super) said: Option<std::thread::JoinHandle<Vec<String>>>,
}

impl Broker {
    pub(super) fn start() -> Broker {
        Broker::start_in(tempfile::tempdir().unwrap())
    }

    pub(super) fn start_in(dir: TempDir) -> Broker {
        Broker::start_with(dir, &[])
    }

    pub(super) fn start_with(dir: TempDir, more: &[&str]) -> Broker {
        Broker::start_at(dir, "127.0.0.1:0", more)
    }

    /// Kills it and starts it again where it was.
    pub(super) fn kill_and_restart(mut self) -> Broker {
        self.signal(rustix::process::Signal::KILL);
        let dir = std::mem::replace(&mut self.dir, tempfile::tempdir().unwrap());
        Broker::start_at(dir, &self.address, &[])
    }

    fn start_at(dir: TempDir, listen: &str, more: &[&str]) -> Broker {
        let data_dir = dir.path().join("data");
        let flags = ["serve", "--listen", listen, "--cores", "2", "--log-format", "json", "--data-dir"];
        let mut process = ringmill(&flags).arg(&data_dir).args(more).stderr(Stdio::piped()).spawn().unwrap();
        let mut lines = BufReader::new(process.stderr.take().unwrap()).lines();
        let address = loop {
            let line = lines.next().expect("the broker says that it is ready before it ends").unwrap();
            let line: serde_json::Value = serde_json::from_str(&line).unwrap_or_else(|error| panic!("{line}: {error}"));
            if line["message"] == "ready" {
                break line["address"].as_str().unwrap().to_owned();
            }
        };
        // Whatever else it says must not fill the pipe.
        let said = Some(std::thread::spawn(move || lines.map_while(Result::ok).collect()));
        Broker { process, address, dir, said }
    }

    /// A client command against this broker.
    pub(super) fn run(&self, arguments: &[&str]) -> (i32, String, String) {
        finish(ringmill(arguments).env("RINGMILL_ADDRESS", &self.address))
    }

    /// The same, with something on standard input; must succeed.
    pub(super) fn pipe(&self, arguments: &[&str], input: &[u8]) {
        let (code, _, error) = self.feed(arguments, input);
        assert_eq!(code, 0, "{arguments:?}: {error}");
    }

    pub(super) fn signal(&mut self, signal: rustix::process::Signal) -> Option<i32> {
        let pid = rustix::process::Pid::from_child(&self.process);
        rustix::process::kill_process(pid, signal).unwrap();
        self.process.wait().unwrap().code()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

impl Broker {
    /// A client command that is not yet run.
    pub(super) fn command(&self, arguments: &[&str]) -> Command {
        let mut command = ringmill(arguments);
        command.env("RINGMILL_ADDRESS", &self.address);
        command
    }

    /// What came of a command with something on its standard input.
    pub(super) fn feed(&self, arguments: &[&str], input: &[u8]) -> (i32, String, String) {
        let mut command = self.command(arguments);
        let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let (mut stdin, input) = (child.stdin.take().unwrap(), input.to_vec());
        // A command that ends before it has read everything is a test's matter, not this thread's.
        let feeder = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let output = child.wait_with_output().unwrap();
        feeder.join().unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code().unwrap(), text(output.stdout), text(output.stderr))
    }

    /// The values of a topic, once there are so many lines of them.
    pub(super) fn lines(&self, topic: &str, count: usize) -> Vec<String> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (_, out, error) = self.run(&["consume", topic]);
            let lines: Vec<String> = out.lines().map(str::to_owned).collect();
            if lines.len() >= count {
                return lines;
            }
            assert!(Instant::now() < deadline, "{count} lines were expected: {lines:?} {error}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }

    /// The records of a topic as JSON.
    pub(super) fn records(&self, topic: &str) -> Vec<serde_json::Value> {
        let (code, out, error) = self.run(&["consume", topic, "-o", "json"]);
        assert_eq!(code, 0, "{error}");
        out.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }
}

/// Sends a signal and takes what the process says to the end: its exit code and standard error.
pub(super) fn interrupt(mut child: Child, signal: rustix::process::Signal) -> (Option<i32>, String) {
    // Its input stays open until it has ended, for the end of the input would be an end too.
    let _stdin = child.stdin.take();
    rustix::process::kill_process(rustix::process::Pid::from_child(&child), signal).unwrap();
    let output = child.wait_with_output().unwrap();
    (output.status.code(), String::from_utf8(output.stderr).unwrap())
}
