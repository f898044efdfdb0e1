//! Where everything is measured: a directory of its own on the disk in question, and the brokers in it, one at a time.
//!
//! Nothing is left behind, whether the command comes to its end, fails, or is told to end by a signal.

use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::Child;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;

use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};

use super::amounts::Amounts;

/// What a shell calls a command that a signal has ended.
const ENDED_BY_SIGNAL: i32 = 130;

/// The place, and how much is to be moved there.
pub(crate) struct Stage {
    pub(crate) amounts: Amounts,
    pub(super) ringmill: PathBuf,
    root: PathBuf,
    traces: Arc<Mutex<Traces>>,
    directories: AtomicU32,
}

/// What has to be ended and removed.
#[derive(Debug)]
pub(super) struct Traces {
    root: PathBuf,
    pub(super) broker: Option<Child>,
}

impl Stage {
    /// Makes the directory below `dir`.
    ///
    /// # Errors
    /// When it cannot be made, or signals cannot be watched.
    pub(crate) fn open(dir: &Path, ringmill: PathBuf, amounts: Amounts) -> Result<Stage, String> {
        let root = dir.join(format!(".ringmill-bench-{}", std::process::id()));
        fs::create_dir(&root).map_err(|error| format!("{}: {error}", root.display()))?;
        let traces = Arc::new(Mutex::new(Traces { root: root.clone(), broker: None }));
        watch_signals(Arc::clone(&traces)).map_err(|error| format!("signals cannot be watched: {error}"))?;
        Ok(Stage { amounts, ringmill, root, traces, directories: AtomicU32::new(0) })
    }

    /// For scratch files.
    pub(crate) fn dir(&self) -> &Path {
        &self.root
    }

    /// A directory that does not exist yet.
    pub(super) fn new_directory(&self) -> PathBuf {
        self.root.join(format!("broker-{}", self.directories.fetch_add(1, Ordering::Relaxed)))
    }

    /// What a broker's process is entered in as soon as it exists.
    pub(super) fn traces(&self) -> &Arc<Mutex<Traces>> {
        &self.traces
    }
}

impl Drop for Stage {
    fn drop(&mut self) {
        self.traces.lock().expect("nobody panics while clearing up").clear();
    }
}

impl Traces {
    /// Ends the broker, by its own id. It is killed and not asked: what it would still sync is about to be deleted, and would only
    /// disturb what is measured next.
    pub(super) fn end_broker(&mut self) {
        if let Some(mut broker) = self.broker.take() {
            // It may have ended already.
            let _ = broker.kill();
            let _ = broker.wait();
        }
    }

    fn clear(&mut self) {
        self.end_broker();
        if let Err(error) = fs::remove_dir_all(&self.root)
            && error.kind() != io::ErrorKind::NotFound
        {
            eprintln!("ringmill-bench: {} is left behind: {error}", self.root.display());
        }
    }
}

/// A thread that clears up and ends the process when it is told to end. It holds the traces while it does, so that no broker starts
/// behind its back.
fn watch_signals(traces: Arc<Mutex<Traces>>) -> io::Result<()> {
    let runtime = Builder::new_current_thread().enable_all().build()?;
    let entered = runtime.enter();
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    drop(entered);
    thread::spawn(move || {
        runtime.block_on(async {
            tokio::select! {
                _ = interrupt.recv() => {}
                _ = terminate.recv() => {}
            }
        });
        let mut traces = traces.lock().expect("nobody panics while clearing up");
        traces.clear();
        std::process::exit(ENDED_BY_SIGNAL);
    });
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    #[test]
    fn a_stage_leaves_neither_files_nor_processes_behind() {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::open(dir.path(), PathBuf::new(), Amounts::QUICK).unwrap();
        let first = stage.new_directory();
        assert_ne!(first, stage.new_directory());
        fs::create_dir(&first).unwrap();
        fs::write(first.join("segment"), "bytes").unwrap();
        let broker = Command::new("sleep").arg("1000").spawn().unwrap();
        let process = PathBuf::from(format!("/proc/{}", broker.id()));
        stage.traces().lock().unwrap().broker = Some(broker);
        assert!(process.exists());
        drop(stage);
        assert!(!process.exists());
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }
}
