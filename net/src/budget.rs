//! The byte budget of all requests in the process: a frame's whole size is reserved before its first byte is stored.
//!
//! First come, first served. A part is kept for small frames, so that a heartbeat or a fetch passes while large produces
//! wait for memory. A connection's reader reserves; the [`Charge`] travels with the frame's parts (each batch may hold a
//! clone) and gives the bytes back when the last clone is dropped, on whatever thread that is. It allocates nothing itself.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};

/// Frames up to this size may use the part that is kept for them.
const SMALL_FRAME_BYTES: usize = 16 * 1024;

/// The part kept for small frames, where the whole budget is large enough to spare it.
const SMALL_FRAMES_RESERVE_BYTES: usize = 1024 * 1024;

/// The budget. Clones share it.
#[derive(Clone, Debug)]
pub struct Budget(Arc<Shared>);

#[derive(Debug)]
struct Shared {
    total_bytes: usize,
    general_bytes: usize,
    // Tokio's semaphores are fair: who asks first is served first, and one large wish is not overtaken by small ones.
    general: Arc<Semaphore>,
    kept_for_small: Arc<Semaphore>,
}

/// Reserved bytes, given back when the last clone is dropped.
#[derive(Clone, Debug)]
pub struct Charge(Arc<OwnedSemaphorePermit>);

impl Charge {
    /// Gives back all but `bytes`, when most of a frame is no longer held. With other clones about, all stays reserved.
    pub fn shrink_to(&mut self, bytes: usize) {
        if let Some(permit) = Arc::get_mut(&mut self.0) {
            drop(permit.split(permit.num_permits().saturating_sub(bytes)));
        }
    }
}

impl Budget {
    /// A budget of `request.memory.bytes`.
    ///
    /// # Panics
    /// When `total_bytes` is less than two small frames: the configuration refuses that before.
    #[must_use]
    pub fn new(total_bytes: usize) -> Budget {
        assert!(total_bytes >= 2 * SMALL_FRAME_BYTES, "a budget of {total_bytes} bytes cannot work");
        let kept_bytes = SMALL_FRAMES_RESERVE_BYTES.min(total_bytes / 2);
        let general_bytes = total_bytes - kept_bytes;
        Budget(Arc::new(Shared {
            total_bytes,
            general_bytes,
            general: Arc::new(Semaphore::new(general_bytes)),
            kept_for_small: Arc::new(Semaphore::new(kept_bytes)),
        }))
    }

    /// The largest frame that can ever be granted, in bytes.
    #[must_use]
    pub fn frame_bytes_max(&self) -> usize {
        self.0.general_bytes.min(u32::MAX as usize)
    }

    /// Whether a frame of `bytes` would leave less than half of the budget: then who only announces one has to wait.
    #[must_use]
    pub fn would_be_scarce(&self, bytes: usize) -> bool {
        self.0.general.available_permits() < bytes.saturating_add(self.0.general_bytes / 2)
    }

    /// How much is reserved now, in bytes.
    #[must_use]
    pub fn reserved_bytes(&self) -> usize {
        self.0.total_bytes - self.0.general.available_permits() - self.0.kept_for_small.available_permits()
    }

    /// Reserves `bytes`, waiting behind those who asked before.
    ///
    /// # Panics
    /// When `bytes` is above [`frame_bytes_max`](Self::frame_bytes_max): the caller refuses such a frame.
    pub async fn reserve(&self, bytes: usize) -> Charge {
        let permits = u32::try_from(bytes).expect("a frame's size was checked against the largest grant");
        assert!(bytes <= self.frame_bytes_max(), "{bytes} bytes can never be granted");
        // While anyone waits, nothing is available to this, so nobody is overtaken.
        if let Ok(permit) = Arc::clone(&self.0.general).try_acquire_many_owned(permits) {
            return Charge(Arc::new(permit));
        }
        let waited_for = if bytes <= SMALL_FRAME_BYTES { &self.0.kept_for_small } else { &self.0.general };
        let permit = Arc::clone(waited_for).acquire_many_owned(permits).await;
        Charge(Arc::new(permit.expect("the budget is never closed")))
    }
}

#[cfg(test)]
mod tests {
    use std::future::Future;
    use std::pin::{Pin, pin};
    use std::task::{Context, Poll, Waker};

    use super::*;

    const MIB: usize = 1024 * 1024;

    fn poll(wish: Pin<&mut impl Future<Output = Charge>>) -> Option<Charge> {
        match wish.poll(&mut Context::from_waker(Waker::noop())) {
            Poll::Ready(charge) => Some(charge),
            Poll::Pending => None,
        }
    }

    fn granted(wish: impl Future<Output = Charge>) -> Option<Charge> {
        poll(pin!(wish))
    }

    #[test]
    fn bytes_return_with_the_last_clone_on_any_thread() {
        let budget = Budget::new(4 * MIB);
        let charge = granted(budget.reserve(3 * MIB)).expect("it is free");
        let clone = charge.clone();
        drop(charge);
        assert_eq!(budget.reserved_bytes(), 3 * MIB);
        std::thread::spawn(move || drop(clone)).join().expect("it does not panic");
        assert_eq!(budget.reserved_bytes(), 0);
    }

    #[test]
    fn a_charge_shrinks_only_for_its_sole_holder() {
        let budget = Budget::new(4 * MIB);
        let mut charge = granted(budget.reserve(3 * MIB)).expect("it is free");
        let clone = charge.clone();
        charge.shrink_to(100);
        assert_eq!(budget.reserved_bytes(), 3 * MIB, "the clone's bytes are in use");
        drop(clone);
        charge.shrink_to(100);
        assert_eq!(budget.reserved_bytes(), 100);
        charge.shrink_to(200);
        assert_eq!(budget.reserved_bytes(), 100, "a charge does not grow");
    }

    #[test]
    fn who_asks_first_is_served_first() {
        let budget = Budget::new(4 * MIB);
        let held = granted(budget.reserve(2 * MIB)).expect("it is free");
        let mut large = pin!(budget.reserve(3 * MIB));
        assert!(poll(large.as_mut()).is_none());
        // One MiB is still free, and yet the later wish waits behind the earlier.
        let mut later = pin!(budget.reserve(MIB));
        assert!(poll(later.as_mut()).is_none());
        drop(held);
        let large = poll(large.as_mut()).expect("it is its turn");
        assert!(poll(later.as_mut()).is_none());
        drop(large);
        assert!(poll(later.as_mut()).is_some());
    }

    #[test]
    fn small_frames_pass_while_large_ones_wait() {
        let budget = Budget::new(4 * MIB);
        let _held = granted(budget.reserve(3 * MIB)).expect("it is free");
        assert!(granted(budget.reserve(SMALL_FRAME_BYTES + 1)).is_none());
        let small: Vec<Charge> = (0..SMALL_FRAMES_RESERVE_BYTES / SMALL_FRAME_BYTES)
            .map(|_| granted(budget.reserve(SMALL_FRAME_BYTES)).expect("the reserve has room"))
            .collect();
        assert!(granted(budget.reserve(1)).is_none(), "the reserve is used up");
        drop(small);
        assert!(granted(budget.reserve(1)).is_some());
    }

    #[test]
    fn a_dropped_wish_leaves_the_queue() {
        let budget = Budget::new(4 * MIB);
        let _held = granted(budget.reserve(2 * MIB)).expect("it is free");
        {
            let mut given_up = pin!(budget.reserve(3 * MIB));
            assert!(poll(given_up.as_mut()).is_none());
        }
        assert!(granted(budget.reserve(MIB)).is_some());
    }
}
