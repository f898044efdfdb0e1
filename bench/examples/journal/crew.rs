//! Threads that each do the same to their share of the files, as often as they are told.
//!
//! They live as long as a measurement: starting some for every round would cost about as much as a sync.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread::Scope;

/// What is to be done to each file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Task {
    /// Writes the batch at this position and makes it durable.
    Append { position: u64 },
    /// Makes durable what was written.
    Sync,
}

/// The threads; they end when this is dropped.
#[derive(Debug)]
pub(super) struct Crew {
    tasks: Vec<Sender<Task>>,
    results: Receiver<io::Result<()>>,
}

impl Crew {
    /// At most `threads` of them, and no more than there are files.
    pub(super) fn start<'scope>(
        scope: &'scope Scope<'scope, '_>,
        files: &'scope [File],
        batch: &'scope [u8],
        threads: usize,
    ) -> Crew {
        let (done, results) = channel();
        let count = threads.min(files.len());
        let start_one = |number: usize| {
            let (sender, tasks) = channel::<Task>();
            let done = done.clone();
            scope.spawn(move || {
                for task in tasks {
                    let result =
                        files.iter().skip(number).step_by(count).try_for_each(|file| perform(task, file, batch));
                    if done.send(result).is_err() {
                        return;
                    }
                }
            });
            sender
        };
        Crew { tasks: (0..count).map(start_one).collect(), results }
    }

    /// Returns when it was done to all files.
    pub(super) fn perform(&self, task: Task) -> io::Result<()> {
        let gone = |_| io::Error::other("a thread has ended by itself");
        for sender in &self.tasks {
            sender.send(task).map_err(|_| io::Error::other("a thread has ended by itself"))?;
        }
        let mut outcome = Ok(());
        for _ in &self.tasks {
            let result = self.results.recv().map_err(gone)?;
            outcome = outcome.and(result);
        }
        outcome
    }
}

/// One file's part.
pub(super) fn perform(task: Task, file: &File, batch: &[u8]) -> io::Result<()> {
    if let Task::Append { position } = task {
        file.write_all_at(batch, position)?;
    }
    file.sync_data()
}
