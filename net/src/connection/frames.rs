//! Buffers for large frames, used again and again: fresh memory of a megabyte costs 256 page faults each time.
//!
//! The pool keeps an empty handle on each buffer that it gave out. The frame is split into batches, these travel to other
//! cores and into the engine, and when the last of them is dropped, wherever that is, the pool's handle is alone and takes
//! the whole buffer back. Nobody returns anything. One pool per core; what lies unused for a second is freed.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::rc::Rc;
use std::time::Duration;

use bytes::BytesMut;

/// What the pooled buffers hold, smallest first. The last fits the largest request of common clients (1 MiB of batches and
/// what stands around them). Above it, and below half of the first, frames come from the allocator.
const CLASS_BYTES: [usize; 5] = [64 << 10, 128 << 10, 256 << 10, 512 << 10, (1 << 20) + (64 << 10)];

/// All buffers of a pool together.
const POOL_BYTES_MAX: usize = 16 << 20;

/// How many kept buffers are asked before a new one is made. They come free nearly in the order of their use.
const ASKED_MAX: usize = 8;

/// What is allocated for a frame too large for the pool before any of its bytes has come.
const FIRST_STEP_BYTES: usize = 1 << 20;

/// How long a class of buffers is left alone before its free ones go.
const UNUSED: Duration = Duration::from_secs(1);

/// The large buffers of one core.
#[derive(Default)]
pub(super) struct FramePool {
    classes: [Class; CLASS_BYTES.len()],
    kept_bytes: Cell<usize>,
    trimming: Cell<bool>,
}

#[derive(Default)]
struct Class {
    kept: RefCell<VecDeque<BytesMut>>,
    used: Cell<bool>,
}

impl FramePool {
    /// An empty buffer for a frame of `length` bytes; for a very large one its capacity is only a first step.
    pub(super) fn take(self: &Rc<Self>, length: usize) -> BytesMut {
        let class = CLASS_BYTES.iter().position(|&bytes| length <= bytes);
        match class {
            Some(class) if length >= CLASS_BYTES[0] / 2 => self.take_pooled(class),
            _ => BytesMut::with_capacity(length.min(FIRST_STEP_BYTES)),
        }
    }

    fn take_pooled(self: &Rc<Self>, index: usize) -> BytesMut {
        let (class, bytes) = (&self.classes[index], CLASS_BYTES[index]);
        class.used.set(true);
        let mut kept = class.kept.borrow_mut();
        for _ in 0..kept.len().min(ASKED_MAX) {
            let mut buffer = kept.pop_front().expect("as many are asked as are there");
            if buffer.try_reclaim(bytes) {
                // An empty handle at the buffer's start stays behind.
                kept.push_back(buffer.split_to(0));
                return buffer;
            }
            kept.push_back(buffer);
        }
        let mut buffer = BytesMut::with_capacity(bytes);
        if self.kept_bytes.get() + bytes <= POOL_BYTES_MAX {
            self.kept_bytes.set(self.kept_bytes.get() + bytes);
            kept.push_back(buffer.split_to(0));
            drop(kept);
            self.trim_when_unused();
        }
        buffer
    }

    /// Lets the classes go that nobody takes from; what is still in use is freed by whoever uses it.
    fn trim_when_unused(self: &Rc<Self>) {
        if self.trimming.replace(true) {
            return;
        }
        let pool = Rc::clone(self);
        tokio::task::spawn_local(async move {
            while pool.kept_bytes.get() > 0 {
                tokio::time::sleep(UNUSED).await;
                for (class, bytes) in pool.classes.iter().zip(CLASS_BYTES) {
                    if !class.used.replace(false) {
                        let freed = std::mem::take(&mut *class.kept.borrow_mut());
                        pool.kept_bytes.set(pool.kept_bytes.get() - freed.len() * bytes);
                    }
                }
            }
            pool.trimming.set(false);
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn in_local_set(test: impl Future<Output = ()>) {
        tokio::task::LocalSet::new().run_until(test).await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_buffer_comes_back_when_its_last_part_is_dropped() {
        in_local_set(async {
            let pool = Rc::<FramePool>::default();
            let mut frame = pool.take(1_000_000);
            let address = frame.as_ptr();
            frame.extend_from_slice(&[7; 1000]);
            let batch = frame.split_to(600);
            drop(frame);
            assert_ne!(pool.take(1_000_000).as_ptr(), address, "a part of it is in use");
            std::thread::spawn(move || drop(batch)).join().expect("it does not panic");
            let again = pool.take(900_000);
            assert_eq!(again.as_ptr(), address);
            assert!(again.is_empty() && again.capacity() >= 900_000);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn an_unused_pool_frees_its_buffers() {
        in_local_set(async {
            let pool = Rc::<FramePool>::default();
            let in_use = pool.take(1_000_000);
            drop(pool.take(100_000));
            assert!(pool.kept_bytes.get() > 1_000_000);
            tokio::time::sleep(UNUSED * 3).await;
            assert_eq!(pool.kept_bytes.get(), 0);
            assert!(!pool.trimming.get());
            drop(in_use);
        })
        .await;
    }

    #[tokio::test(start_paused = true)]
    async fn a_pool_is_bounded_and_a_huge_frame_begins_small() {
        in_local_set(async {
            let pool = Rc::<FramePool>::default();
            let held: Vec<BytesMut> = (0..100).map(|_| pool.take(1_000_000)).collect();
            assert!(pool.kept_bytes.get() <= POOL_BYTES_MAX);
            assert!(pool.take(100 << 20).capacity() <= FIRST_STEP_BYTES);
            assert!(pool.take(600).capacity() < 1000);
            drop(held);
        })
        .await;
    }
}
