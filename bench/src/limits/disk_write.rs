//! How fast the disk takes one long sequential write, past the page cache and through it.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Instant;

use rustix::fs::OFlags;

use crate::cli::LimitsOptions;
use crate::report::{Run, SENDER_CPU, cpu_per_gb, rate};

use super::scratch::{AlignedBuffer, allocated_file};
const DIRECT_BLOCK_BYTES: usize = 1024 * 1024;
/// Small enough that a virtual machine need not back huge pages of memory while we wait.
const BUFFERED_PIECE_BYTES: usize = 128 * 1024;

/// O_DIRECT in blocks of 1 MiB, `depth` of them under way at any time, into allocated space; the last sync counts.
pub(crate) fn direct(options: &LimitsOptions, depth: usize) -> io::Result<Run> {
    let blocks = options.bytes.div_ceil(DIRECT_BLOCK_BYTES as u64);
    let bytes = blocks * DIRECT_BLOCK_BYTES as u64;
    let file = allocated_file(&options.dir, OFlags::DIRECT, bytes)?;
    let next_block = AtomicU64::new(0);
    let buffer = AlignedBuffer::new(DIRECT_BLOCK_BYTES);
    let started = Instant::now();
    thread::scope(|scope| {
        let writers: Vec<_> =
            (0..depth).map(|_| scope.spawn(|| write_blocks(&file, &next_block, blocks, buffer.bytes()))).collect();
        writers.into_iter().try_for_each(|writer| writer.join().expect("a writer does not panic"))
    })?;
    file.sync_data()?;
    Ok(vec![rate(bytes, started.elapsed())])
}

fn write_blocks(file: &File, next_block: &AtomicU64, blocks: u64, block_bytes: &[u8]) -> io::Result<()> {
    loop {
        let block = next_block.fetch_add(1, Ordering::Relaxed);
        if block >= blocks {
            return Ok(());
        }
        file.write_all_at(block_bytes, block * block_bytes.len() as u64)?;
    }
}

/// Through the page cache in small pieces, into allocated space, with one fdatasync at the end.
pub(crate) fn buffered(options: &LimitsOptions) -> io::Result<Run> {
    let pieces = options.bytes.div_ceil(BUFFERED_PIECE_BYTES as u64);
    let bytes = pieces * BUFFERED_PIECE_BYTES as u64;
    let file = allocated_file(&options.dir, OFlags::empty(), bytes)?;
    let buffer = AlignedBuffer::new(BUFFERED_PIECE_BYTES);
    let (started, cpu_before) = (Instant::now(), crate::process_usage::thread_cpu());
    for piece in 0..pieces {
        file.write_all_at(buffer.bytes(), piece * BUFFERED_PIECE_BYTES as u64)?;
    }
    file.sync_data()?;
    let cpu = crate::process_usage::thread_cpu().saturating_sub(cpu_before);
    Ok(vec![rate(bytes, started.elapsed()), cpu_per_gb(SENDER_CPU, cpu, bytes)])
}
