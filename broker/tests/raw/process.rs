//! The real program as a child of the test: started, found by the line that says it is ready, killed without a warning.

use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use rustix::process::Pid;

/// The real program, killed when it is dropped.
pub struct Process {
    child: Child,
    pub address: SocketAddr,
}

impl Process {
    pub fn start(dir: &Path, io: &str) -> Process {
        let mut child = Command::new(env!("CARGO_BIN_EXE_ringmill"))
            .args(["serve", "--listen", "127.0.0.1:0", "--log-format", "json", "--io", io, "--data-dir"])
            .arg(dir)
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("the program can be started");
        let mut lines = BufReader::new(child.stderr.take().expect("it is piped")).lines();
        let address = lines.by_ref().map_while(Result::ok).find_map(|line| ready_at(&line)).expect("it gets ready");
        // Whoever reads no more would one day block the writer.
        std::thread::spawn(move || lines.for_each(drop));
        Process { child, address }
    }

    pub fn of(child: Child, address: SocketAddr) -> Process {
        Process { child, address }
    }

    /// For whoever wants to kill it from elsewhere.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
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
