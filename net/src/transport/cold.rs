//! The helper threads of cold sends: they wait for the disk, so that no core does, and never for a slow reader.
//!
//! A job is one slice of one file to one socket. The socket is non-blocking here too: when it is full the job returns to its
//! core, which waits for writability and comes back. A connection has one job at a time, so the queue is bounded by the
//! number of connections.

use std::collections::VecDeque;
use std::io;
use std::os::fd::OwnedFd;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;

use tokio::sync::oneshot;

use super::sendfile::send_file_slice;
use crate::FileRange;

/// The pool. Clones share it; its threads end when the last is dropped.
#[derive(Clone)]
pub struct ColdSends(Arc<Owner>);

struct Owner(Arc<Queue>);

struct Queue {
    state: Mutex<State>,
    wake: Condvar,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    closed: bool,
}

struct Job {
    socket: Arc<OwnedFd>,
    file: Arc<dyn FileRange>,
    position: u64,
    length: usize,
    done: oneshot::Sender<io::Result<usize>>,
}

impl ColdSends {
    /// How many threads serve a broker unless it is told otherwise: enough to keep one disk busy.
    pub const THREADS_DEFAULT: usize = 4;

    /// Starts `threads` helper threads.
    ///
    /// # Errors
    /// When the system refuses a thread.
    pub fn start(threads: usize) -> io::Result<ColdSends> {
        let queue = Arc::new(Queue { state: Mutex::default(), wake: Condvar::new() });
        let pool = ColdSends(Arc::new(Owner(Arc::clone(&queue))));
        for index in 0..threads.max(1) {
            let queue = Arc::clone(&queue);
            thread::Builder::new().name(format!("cold-send-{index}")).spawn(move || queue.work())?;
        }
        Ok(pool)
    }

    /// Sends one slice, waiting for the disk on a helper. Returns how much went out: `WouldBlock` when the socket is full,
    /// 0 when the file ends before `position`.
    pub(super) async fn send(
        &self,
        socket: Arc<OwnedFd>,
        file: &Arc<dyn FileRange>,
        position: u64,
        length: usize,
    ) -> io::Result<usize> {
        let (done, sent) = oneshot::channel();
        self.0.0.lock().jobs.push_back(Job { socket, file: Arc::clone(file), position, length, done });
        self.0.0.wake.notify_one();
        sent.await.expect("a helper thread answers every job it takes, and lives as long as the pool")
    }
}

impl Drop for Owner {
    fn drop(&mut self) {
        self.0.lock().closed = true;
        self.0.wake.notify_all();
    }
}

impl Queue {
    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing under this lock can panic half-way.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work(&self) {
        loop {
            let mut state = self.lock();
            let job = loop {
                if let Some(job) = state.jobs.pop_front() {
                    break job;
                }
                if state.closed {
                    return;
                }
                state = self.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
            };
            drop(state);
            let result = send_file_slice(&job.socket, &job.file, job.position, job.length);
            // Nobody listens when the connection has ended meanwhile.
            let _ = job.done.send(result);
        }
    }
}
