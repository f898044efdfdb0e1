//! The same blocks written to a file in order and shuffled: through the page cache with one sync, and past it.

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
const FILL_BYTES: usize = 1024 * 1024;
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

pub(super) fn plans(amounts: &Amounts) -> Vec<Plan> {
    let size = units::decimal(as_f64(amounts.bytes / WRITTEN_PART), "B");
    let rows = |direct: bool| {
        vec![
            Row::new("shuffled", move |stage| write(stage, Order::Shuffled, direct)),
            Row::new("in order", move |stage| write(stage, Order::Sequential, direct)),
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
                "Every 4 KiB block of a file of {size} is overwritten once with O_DIRECT, {DIRECT_DEPTH} at a time, then one fdatasync."
            ),
            "With O_DIRECT nobody puts the blocks in order before the disk sees them. Neighbours can be joined into larger transfers and lie \
             in few places of the disk's own tables; scattered blocks are one operation each. A log only ever appends, so all its writes are of \
             the first kind. On a disk with moving parts the difference is a hundredfold, on flash it is smaller.",
            rows(true),
        ),
        plan(
            "Sequential against random writes, through the page cache",
            format!(
                "The same blocks of a file of {size}, written to the page cache by one thread, then one fdatasync."
            ),
            "The page cache takes blocks in any order at memory's speed, and the kernel sorts them before they go to the disk, as long as they \
             fit into memory and nobody waits for one of them. What a program loses by writing at random comes back when it is allowed to wait \
             with the sync; with a sync after each write it would be as slow as past the cache, or slower.",
            rows(false),
        ),
    ]
}

fn write(stage: &Stage, order: Order, direct: bool) -> Result<Run, String> {
    overwrite(stage, order, direct).map_err(|error| error.to_string())
}

/// Fills a file, then overwrites it block by block on the clock.
fn overwrite(stage: &Stage, order: Order, direct: bool) -> io::Result<Run> {
    let blocks = blocks_in(order, stage.amounts.bytes / WRITTEN_PART);
    let bytes = blocks.len() as u64 * BLOCK_BYTES as u64;
    let flags = if direct { OFlags::DIRECT } else { OFlags::empty() };
    let file = scratch::file(stage.dir(), flags)?;
    fill(&file, bytes)?;
    // Both orders begin with nothing in memory.
    drop_pages(&file)?;
    let block = AlignedBuffer::new(BLOCK_BYTES);
    let next = AtomicUsize::new(0);
    let write_rest = || -> io::Result<()> {
        while let Some(number) = blocks.get(next.fetch_add(1, Ordering::Relaxed)) {
            file.write_all_at(block.bytes(), u64::from(*number) * BLOCK_BYTES as u64)?;
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
    let writes_per_s = as_f64(blocks.len() as u64) / elapsed.as_secs_f64();
    Ok(vec![rate(bytes, elapsed), Metric { key: WRITES, unit: Unit::RecordsPerSecond, value: writes_per_s }])
}

/// Every block has its place on the disk before the clock starts: what is measured is writing, not allocating.
fn fill(file: &File, bytes: u64) -> io::Result<()> {
    let buffer = AlignedBuffer::new(FILL_BYTES);
    for position in (0..bytes).step_by(FILL_BYTES) {
        let piece = FILL_BYTES.min(usize::try_from(bytes - position).unwrap_or(FILL_BYTES));
        file.write_all_at(&buffer.bytes()[..piece], position)?;
    }
    Ok(())
}

/// The numbers of all blocks, each once.
fn blocks_in(order: Order, bytes: u64) -> Vec<u32> {
    let count = u32::try_from(bytes / BLOCK_BYTES as u64).unwrap_or(u32::MAX).max(1);
    let mut blocks: Vec<u32> = (0..count).collect();
    if order == Order::Shuffled {
        let mut random = Random::new(1);
        for last in (1..blocks.len()).rev() {
            let other = usize::try_from(random.below(last as u64 + 1)).unwrap_or(last);
            blocks.swap(last, other);
        }
    }
    blocks
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
        let sequential = blocks_in(Order::Sequential, 1000 * BLOCK_BYTES as u64);
        let mut shuffled = blocks_in(Order::Shuffled, 1000 * BLOCK_BYTES as u64);
        assert_ne!(sequential, shuffled);
        let neighbours = shuffled.windows(2).filter(|pair| pair[0].abs_diff(pair[1]) == 1).count();
        assert!(neighbours < 20, "{neighbours} of 999 pairs are neighbours");
        shuffled.sort_unstable();
        assert_eq!(sequential, shuffled);
        assert_eq!(blocks_in(Order::Shuffled, 1), [0], "never nothing at all");
    }

    #[test]
    fn both_orders_write_through_the_page_cache_everywhere() {
        let dir = tempfile::tempdir().unwrap();
        let stage = Stage::open(dir.path(), PathBuf::new(), Amounts { bytes: 40_960 * WRITTEN_PART, ..Amounts::QUICK })
            .unwrap();
        for order in [Order::Shuffled, Order::Sequential] {
            let run = write(&stage, order, false).unwrap();
            assert_eq!(run[0].key, RATE);
            assert!((run[0].value / run[1].value - 4096.0).abs() < 1.0, "{run:?}");
        }
    }
}
