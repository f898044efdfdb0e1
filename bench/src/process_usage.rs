//! CPU time and memory: of this thread, of this process, and of a broker given by its process id.
//!
//! It reads clocks and `/proc` and keeps no state. Page cache never counts: what is reported is anonymous memory.

use std::fs;
use std::io;
use std::time::Duration;

use rustix::time::{ClockId, clock_gettime};

/// CPU time that the calling thread has used, user and system.
pub(crate) fn thread_cpu() -> Duration {
    cpu(ClockId::ThreadCPUTime)
}

/// CPU time that this whole process has used.
pub(crate) fn own_cpu() -> Duration {
    cpu(ClockId::ProcessCPUTime)
}

fn cpu(clock: ClockId) -> Duration {
    Duration::try_from(clock_gettime(clock)).expect("a CPU clock counts up from zero")
}

/// Another process of this machine.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ServerProcess {
    pub(crate) pid: u32,
}

impl ServerProcess {
    /// CPU time that it has used, in steps of 10 ms.
    pub(crate) fn cpu(self) -> io::Result<Duration> {
        let stat = self.read("stat")?;
        cpu_ticks(&stat)
            .map(|ticks| Duration::from_millis(ticks * 1000 / rustix::param::clock_ticks_per_second()))
            .ok_or_else(malformed)
    }

    /// Anonymous memory that is resident now, in bytes.
    pub(crate) fn anonymous_bytes(self) -> io::Result<u64> {
        let status = self.read("status")?;
        anonymous_kib(&status).map(|kib| kib * 1024).ok_or_else(malformed)
    }

    fn read(self, file: &str) -> io::Result<String> {
        let path = format!("/proc/{}/{file}", self.pid);
        fs::read_to_string(&path).map_err(|error| io::Error::new(error.kind(), format!("{path}: {error}")))
    }
}

fn malformed() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "/proc has an unknown form")
}

/// Fields 14 and 15 of `stat`, counted behind the name, which may itself hold spaces and brackets.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let mut fields = stat.rsplit_once(')')?.1.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn anonymous_kib(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:"))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_brackets_does_not_shift_the_fields() {
        let stat = "7 (a) b)) S 1 7 7 0 -1 4194560 900 0 0 0 25 17 0 0 20 0 4 0 100 1 2";
        assert_eq!(cpu_ticks(stat), Some(42));
    }

    #[test]
    fn this_process_can_be_read_from_outside() {
        let me = ServerProcess { pid: std::process::id() };
        assert!(me.anonymous_bytes().unwrap() > 0);
        assert!(me.cpu().unwrap() <= own_cpu() + Duration::from_millis(100));
        assert!(thread_cpu() <= own_cpu());
    }
}
