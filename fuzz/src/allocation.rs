//! How much memory something takes at most: a count around the system's allocator, per thread.
//!
//! Drivers ask for it to hold decoders to their promise: memory follows the bytes that are there, never a number inside them.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

/// The allocator of everything that links this crate.
#[global_allocator]
static COUNTING: Counting = Counting;

thread_local! {
    static NOW: Cell<isize> = const { Cell::new(0) };
    static PEAK: Cell<isize> = const { Cell::new(0) };
}

/// Runs `work`: what it gives, and the most bytes that it held at a time beyond what was held before. Memory that C code takes by itself
/// is not seen.
pub fn peak_of<T>(work: impl FnOnce() -> T) -> (T, usize) {
    let before = NOW.get();
    PEAK.set(before);
    let result = work();
    (result, (PEAK.get() - before).unsigned_abs())
}

struct Counting;

fn count(change: isize) {
    // A thread that ends has lost its cells already, and nobody asks about it.
    let _ = NOW.try_with(|now| {
        now.set(now.get() + change);
        let _ = PEAK.try_with(|peak| peak.set(peak.get().max(now.get())));
    });
}

// SAFETY: every call goes to the system's allocator as it came; counting takes no memory and touches none of the caller's.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the same promise to us.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size().cast_signed());
        // SAFETY: the caller keeps the same promise to us.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-layout.size().cast_signed());
        // SAFETY: the pointer came from `System` through the calls above, with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size.cast_signed() - layout.size().cast_signed());
        // SAFETY: the pointer came from `System` through the calls above, with this layout.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::peak_of;

    #[test]
    fn the_peak_counts_what_was_held_at_a_time() {
        let (kept, peak) = peak_of(|| {
            drop(vec![0_u8; 5000]);
            vec![0_u8; 3000]
        });
        assert_eq!((kept.len(), peak), (3000, 5000));
        let (_, peak) = peak_of(|| (vec![0_u8; 2000], vec![0_u8; 3000]));
        assert_eq!(peak, 5000);
    }
}
