//! The other end of the failing disk's process: starts it and steers it.
//!
//! One line to it, one line back. When the rig goes, its input ends and so does the process.

use std::io::{self, BufRead, BufReader, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};

use super::faults::Faults;

/// The file's name under the mount point.
pub(crate) const DISK_FILE: &str = "disk";

/// What the disk is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Order {
    /// Fail like this from now on.
    Faults(Faults),
    /// The power is gone: every call fails.
    Die,
    /// What was not flushed is decided on, torn within blocks if so wanted, and the disk works again, without a fault.
    Cut(bool),
}

impl Order {
    /// `None` when it makes no sense.
    pub(crate) fn parse(line: &str) -> Option<Order> {
        let mut words = line.split(' ');
        match words.next()? {
            "faults" => Some(Order::Faults(Faults::parse(&mut words)?)),
            "die" => Some(Order::Die),
            "cut" => Some(Order::Cut(words.next()? == "1")),
            _ => None,
        }
    }

    fn line(self) -> String {
        match self {
            Order::Faults(faults) => format!("faults {faults}"),
            Order::Die => "die".to_owned(),
            Order::Cut(tears) => format!("cut {}", u8::from(tears)),
        }
    }
}

/// A running disk.
#[derive(Debug)]
pub(crate) struct TornDisk {
    child: Child,
    input: Option<ChildStdin>,
    output: BufReader<ChildStdout>,
    mount_point: PathBuf,
}

impl TornDisk {
    /// Starts this program once more as the disk's process, mounted at `mount_point`, which is made.
    ///
    /// # Errors
    /// When it does not get ready.
    pub(crate) fn start(mount_point: &Path, bytes: u64, seed: u64) -> io::Result<TornDisk> {
        std::fs::create_dir_all(mount_point)?;
        let mut child = Command::new(std::env::current_exe()?)
            .arg("disk-server")
            .arg(mount_point)
            .args([bytes.to_string(), seed.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()?;
        let input = child.stdin.take();
        let output = BufReader::new(child.stdout.take().expect("it is piped"));
        let mut disk = TornDisk { child, input, output, mount_point: mount_point.to_owned() };
        match disk.answer()?.as_str() {
            "ready" => Ok(disk),
            said => Err(io::Error::other(format!("the disk's process said {said:?}"))),
        }
    }

    /// Where the image is.
    pub(crate) fn file(&self) -> PathBuf {
        self.mount_point.join(DISK_FILE)
    }

    /// Tells it something and gives its answer, as numbers by name.
    ///
    /// # Errors
    /// When the process is gone.
    pub(crate) fn tell(&mut self, order: Order) -> io::Result<String> {
        let input = self.input.as_mut().expect("the input is closed only at the end");
        writeln!(input, "{}", order.line())?;
        input.flush()?;
        self.answer()
    }

    fn answer(&mut self) -> io::Result<String> {
        let mut line = String::new();
        if self.output.read_line(&mut line)? == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        Ok(line.trim_end().to_owned())
    }
}

impl Drop for TornDisk {
    fn drop(&mut self) {
        drop(self.input.take());
        // A detached mount keeps the kernel from calling it for long; still, nobody waits for ever.
        for _ in 0..500 {
            if !matches!(self.child.try_wait(), Ok(None)) {
                return;
            }
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The number that follows a name in an answer of the disk; 0 if it is not there.
pub(crate) fn number_of(answer: &str, name: &str) -> u64 {
    let mut words = answer.split(' ');
    words.find(|word| *word == name);
    words.next().and_then(|number| number.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn orders_survive_the_pipe() {
        for order in [Order::Die, Order::Cut(true), Order::Cut(false), Order::Faults(Faults::default())] {
            assert_eq!(Order::parse(&order.line()), Some(order));
        }
        assert_eq!(Order::parse("what"), None);
    }

    #[test]
    fn numbers_are_found_by_name() {
        assert_eq!(number_of("kept 3 lost 4", "lost"), 4);
        assert_eq!(number_of("kept 3 lost 4", "torn"), 0);
    }
}
