//! `ringmill produce --follow`: files that grow, are rotated, emptied or come late, and how it ends.

use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::path::PathBuf;
use std::process::{Child, Stdio};

use rustix::process::Signal;

use super::harness::{Broker, interrupt, run};

/// A followed file, and the broker that it goes to.
struct Followed {
    broker: Broker,
    /// Taken when it is ended.
    child: Option<Child>,
    path: PathBuf,
}

impl Followed {
    /// Follows a file with this content, or one that is not there yet.
    fn start(content: Option<&str>, more: &[&str]) -> Followed {
        let broker = Broker::start();
        broker.run(&["topic", "create", "t"]);
        let path = broker.dir.path().join("app.log");
        if let Some(content) = content {
            fs::write(&path, content).unwrap();
        }
        let mut command = broker.command(&["produce", "t", "--follow", "--file", path.to_str().unwrap()]);
        let child = command.args(more).stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
        Followed { broker, child: Some(child), path }
    }

    fn append(&self, text: &str) {
        let mut file = OpenOptions::new().append(true).create(true).open(&self.path).unwrap();
        file.write_all(text.as_bytes()).unwrap();
    }

    #[track_caller]
    fn expect(&self, lines: &[&str]) {
        assert_eq!(self.broker.lines("t", lines.len()), lines);
    }

    /// Ends it; what it said.
    fn end(mut self) -> String {
        let (code, error) = interrupt(self.child.take().unwrap(), Signal::INT);
        assert_eq!(code, Some(0), "{error}");
        error
    }
}

impl Drop for Followed {
    fn drop(&mut self) {
        // Of a test that failed before its end.
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

#[test]
fn what_is_added_is_sent_when_its_line_is_whole() {
    let followed = Followed::start(Some("one\nhal"), &[]);
    followed.expect(&["one"]);
    followed.append("f\nthree\n");
    followed.expect(&["one", "half", "three"]);
    followed.append("unfinished");
    let path = followed.path.display().to_string();
    let error = followed.end();
    assert!(error.starts_with("3 records (12 B) delivered to t in "), "{error}");
    assert!(error.ends_with(&format!(" s; read {path} up to line 3\n")), "{error}");
}

#[test]
fn a_file_that_is_renamed_is_read_to_its_end_beside_its_successor() {
    let followed = Followed::start(Some("one\n"), &["-z", "lz4"]);
    followed.expect(&["one"]);
    // Its writer does not know yet, and goes on.
    let mut old = OpenOptions::new().append(true).open(&followed.path).unwrap();
    fs::rename(&followed.path, followed.path.with_extension("1")).unwrap();
    old.write_all(b"two\n").unwrap();
    followed.expect(&["one", "two"]);
    followed.append("three\n");
    followed.expect(&["one", "two", "three"]);
    old.write_all(b"late\n").unwrap();
    followed.expect(&["one", "two", "three", "late"]);
    let error = followed.end();
    assert!(error.contains("is a new file now; beginning with its first line"), "{error}");
}

#[test]
fn a_file_that_is_emptied_is_begun_anew() {
    let followed = Followed::start(Some("one\ntwo\n"), &[]);
    followed.expect(&["one", "two"]);
    File::create(&followed.path).unwrap();
    followed.append("a\n");
    followed.expect(&["one", "two", "a"]);
    // Emptied and longer than before by the next look: only its beginning tells.
    fs::write(&followed.path, "a longer text than there was before\n").unwrap();
    followed.expect(&["one", "two", "a", "a longer text than there was before"]);
    assert!(followed.end().contains("was emptied; beginning with its first line"));
}

#[test]
fn a_file_may_come_late_and_go_and_come_again() {
    let followed = Followed::start(None, &[]);
    // Long enough for it to see that there is nothing.
    std::thread::sleep(std::time::Duration::from_secs(1));
    followed.append("one\n");
    followed.expect(&["one"]);
    fs::remove_file(&followed.path).unwrap();
    followed.append("two\n");
    followed.expect(&["one", "two"]);
    assert!(followed.end().contains("is not there; waiting for it"));
}

#[test]
fn what_is_there_already_can_be_passed_over() {
    let followed = Followed::start(Some("old\nolder ha"), &["--from-end", "--quiet"]);
    // Until it has opened the file, the end is not the one that is meant.
    std::thread::sleep(std::time::Duration::from_secs(1));
    followed.append("lf\nnew\n");
    followed.expect(&["lf", "new"]);
    assert_eq!(followed.end(), "");
}

#[test]
fn several_files_are_followed_at_once() {
    let other = tempfile::NamedTempFile::new().unwrap();
    let followed = Followed::start(Some("one\n"), &["--file", other.path().to_str().unwrap()]);
    followed.expect(&["one"]);
    other.as_file().write_all(b"other\n").unwrap();
    followed.expect(&["one", "other"]);
    followed.append("two\n");
    followed.expect(&["one", "other", "two"]);
    let error = followed.end();
    assert!(error.contains("up to line 2, ") && error.contains("up to line 1\n"), "{error}");
}

#[test]
fn a_busy_file_loses_nothing_over_many_rotations() {
    let followed = Followed::start(Some(""), &["-z", "zstd"]);
    let mut expected = Vec::new();
    for rotation in 0..10 {
        let mut file = OpenOptions::new().append(true).create(true).open(&followed.path).unwrap();
        for number in 0..500 {
            let line = format!("rotation {rotation} line {number}");
            writeln!(file, "{line}").unwrap();
            expected.push(line);
        }
        std::thread::sleep(std::time::Duration::from_millis(300));
        fs::rename(&followed.path, followed.path.with_extension(rotation.to_string())).unwrap();
        // Late, into a file that has been renamed already.
        let line = format!("rotation {rotation} is over");
        writeln!(file, "{line}").unwrap();
        expected.push(line);
    }
    let mut found = followed.broker.lines("t", expected.len());
    // Files are read side by side, so the order holds inside each.
    found.sort();
    expected.sort();
    let different = found.iter().zip(&expected).find(|(found, expected)| found != expected);
    let said = followed.end();
    assert!(found == expected, "{} lines of {}, {different:?}: {said}", found.len(), expected.len());
}

#[test]
fn a_broker_that_is_killed_twice_costs_neither_lines_nor_order() {
    let file = tempfile::NamedTempFile::new().unwrap();
    let mut broker = Broker::start();
    broker.run(&["topic", "create", "t"]);
    let mut command = broker.command(&["produce", "t", "--follow", "--file", file.path().to_str().unwrap()]);
    let child = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut expected = Vec::new();
    for round in 0..3 {
        for number in 0..300 {
            let line = format!("round {round} line {number}");
            writeln!(file.as_file(), "{line}").unwrap();
            expected.push(line);
        }
        if round < 2 {
            // Of this round at least one line, so that it is in the middle of it.
            broker.lines("t", expected.len() - 299);
            broker = broker.kill_and_restart();
        }
    }
    let found = broker.lines("t", expected.len());
    let (code, error) = interrupt(child, Signal::INT);
    assert_eq!(code, Some(0), "{error}");
    assert!(found == expected, "{} lines of {}: {error}", found.len(), expected.len());
}

#[test]
fn only_regular_files_can_be_followed() {
    let broker = Broker::start();
    let (code, _, error) = broker.run(&["produce", "t", "--follow", "--file", "/dev/null"]);
    assert_eq!(code, 1, "{error}");
    assert!(error.contains("cannot read /dev/null") && error.contains("only regular files can be followed"), "{error}");
    assert_eq!(run(&["produce", "t", "--follow"]).0, 2);
}
