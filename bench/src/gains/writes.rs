//! The same bytes written to a file in shuffled blocks, in blocks in order, and in large writes in order: through the page cache with one
//! sync, and past it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::Instant;

use rustix::fs::OFlags;

use crate::limits::scratch::{self, AlignedBuffer};
use crate::load::Random;
use crate::report::{Metric, Run, Unit, rate};
use crate::trials::{Amounts, Plan, RATE, Row, Stage, drop_pages};
use crate::units;

use super::options::Factor;

/// A page: what an index or a table that is changed in place writes at least.
const BLOCK_BYTES: usize = 4096;
/// What a log writes at once, when much comes.
const LARGE_BYTES: usize = 1024 * 1024;
/// Writes past the page cache that are under way at once: alone, each would wait for the one before it.
const DIRECT_DEPTH: usize = 4;
/// What is written in blocks, as a part of what a row may move: a disk takes these at a fraction of its best rate.
const WRITTEN_PART: u64 = 4;
const WRITES: &str = "writes_per_s";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Order {
    Shuffled,
    Sequential,
}

/// How a file is overwritten.
#[derive(Clone, Copy, Debug)]
struct Writing {
    order: Order,
    write_bytes: usize,
    /// Past the page cache.
    direct: bool,
}

pub(super) fn plans(amounts: &Amounts) -> Vec<Plan> {
    let size = units::decimal(as_f64(amounts.bytes / WRITTEN_PART), "B");
    let row = |name, writing| Row::new(name, move |stage| overwrite(stage, writing).map_err(|error| error.to_string()));
    let rows = |direct: bool| {
        vec![
            row("shuffled", Writing { order: Order::Shuffled, write_bytes: BLOCK_BYTES, direct }),
            row("in order", Writing { order: Order::Sequential, write_bytes: BLOCK_BYTES, direct }),
            row("in order, 1 MiB at once", Writing { order: Order::Sequential, write_bytes: LARGE_BYTES, direct }),
        ]
    };
    let plan = |title, compared, why, rows| Plan {
        factor: Factor::Writes.name(),
        title,
        compared,
        why,
        lead: RATE,
        shown: &[RATE, WRITES],
        rows,
    };
    vec![
        plan(
            "Sequential against random writes, past the page cache",
            format!(
                "A file of {size} is overwritten once with O_DIRECT, in blocks of 4 KiB or in larger pieces, {DIRECT_DEPTH} at a time, then one \
                 fdatasync."
            ),
            "With O_DIRECT nobody puts the blocks in order before the disk sees them. Neighbours can be joined into larger transfers and lie \
             in few places of the disk's own tables; scattered blocks are one operation each. On a disk with moving parts that alone is a \
             hundredfold, on flash it is little. What order gives there, too, is that neighbours can be written at once: a disk takes so many \
             operations a second, and each may carry a block or a mebibyte. A log only ever appends, so it writes all that has come as one.",
            rows(true),
        ),
        plan(
            "Sequential against random writes, through the page cache",
            format!("The same writes to a file of {size} go to the page cache by one thread, then one fdatasync."),
            "The page cache takes blocks in any order at memory's speed, and the kernel sorts them before they go to the disk, as long as they \
             fit into memory and nobody waits for one of them. What a program loses by writing at random comes back when it is allowed to wait \
             with the sync; with a sync after each write it would be as slow as past the cache, or slower.",
            rows(false),
        ),
    ]
}

/// Fills a file, then overwrites it piece by piece on the clock.
fn overwrite(stage: &Stage, writing: Writing) -> io::Result<Run> {
    let Writing { order, write_bytes, direct } = writing;
    let pieces = pieces_in(order, stage.amounts.bytes / WRITTEN_PART, write_bytes);
    let bytes = pieces.len() as u64 * write_bytes as u64;
    let flags = if direct { OFlags::DIRECT } else { OFlags::empty() };
    let file = scratch::file(stage.dir(), flags)?;
    fill(&file, bytes)?;
    // All begin with nothing in memory.
    drop_pages(&file)?;
    let piece = AlignedBuffer::new(write_bytes);
    let next = AtomicUsize::new(0);
    let write_rest = || -> io::Result<()> {
        while let Some(number) = pieces.get(next.fetch_add(1, Ordering::Relaxed)) {
            file.write_all_at(piece.bytes(), u64::from(*number) * write_bytes as u64)?;
        }
        Ok(())
    };
    let started = Instant::now();
    thread::scope(|scope| {
        let depth = if direct { DIRECT_DEPTH } else { 1 };
        let writers: Vec<_> = (0..depth).map(|_| scope.spawn(write_rest)).collect();
        writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
    })?;
    file.sync_data()?;
    let elapsed = started.elapsed();
    let writes_per_s = as_f64(pieces.len() as u64) / elapsed.as_secs_f64();
    Ok(vec![rate(bytes, elapsed), Metric { key: WRITES, unit: Unit::RecordsPerSecond, value: writes_per_s }])
}

/// Every block has its place on the disk before the clock starts: what is measured is writing, not allocating.
fn fill(file: &File, bytes: u64) -> io::Result<()> {
    let buffer = AlignedBuffer::new(LARGE_BYTES);
    for position in (0..bytes).step_by(LARGE_BYTES) {
        let piece = LARGE_BYTES.min(usize::try_from(bytes - position).unwrap_or(LARGE_BYTES));
        file.write_all_at(&buffer.bytes()[..piece], position)?;
    }
    Ok(())
}

/// The numbers of all pieces, each once.
fn pieces_in(order: Order, bytes: u64, write_bytes: usize) -> Vec<u32> {
    let count = u32::try_from(bytes / write_bytes as u64).unwrap_or(u32::MAX).max(1);
    let mut pieces: Vec<u32> = (0..count).collect();
    if order == Order::Shuffled {
        let mut random = Random::new(1);
        for last in (1..pieces.len()).rev() {
            let other = usize::try_from(random.below(last as u64 + 1)).unwrap_or(last);
            pieces.swap(last, other);
        }
    }
    pieces
}

#[expect(clippy::cast_precision_loss, reason = "sizes of files stay far below 2^53")]
fn as_f64(count: u64) -> f64 {
    count as f64
}

#[cfg(test)]
mod tests {
    use std::path::PathBuf;

    use super::*;

    #[test]
    fn shuffled_blocks_are_the_same_blocks_in_another_order() {
        let bytes = 1000 * BLOCK_BYTES as u64;
        let sequential = pieces_in(Order::Sequential, bytes, BLOCK_BYTES);
        let mut shuffled = pieces_in(Order::Shuffled, bytes, BLOCK_BYTES);
        assert_ne!(sequential, shuffled);
        let neighbours = shuffled.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
        assert!(neighbours < 20, "{neighbours} of 999 pairs are neighbours");
        shuffled.sort_unstable();
        assert_eq!(sequential, shuffled);
        assert_eq!(pieces_in(Order::Shuffled, 1, BLOCK_BYTES), [0], "never nothing at all");
    }

    #[test]
    fn all_write_through_the_page_cache_everywhere() {
        let dir = tempfile::tempdir().unwrap();
        let amounts = Amounts { bytes: 2 * LARGE_BYTES as u64 * WRITTEN_PART, ..Amounts::QUICK };
        let stage = Stage::open(dir.path(), PathBuf::new(), amounts).unwrap();
        for (order, write_bytes) in
            [(Order::Shuffled, BLOCK_BYTES), (Order::Sequential, BLOCK_BYTES), (Order::Sequential, LARGE_BYTES)]
        {
            let run = overwrite(&stage, Writing { order, write_bytes, direct: false }).unwrap();
            assert_eq!(run[0].key, RATE);
            assert!((run[0].value / run[1].value - as_f64(write_bytes as u64)).abs() < 1.0, "{run:?}");
        }
    }
}
