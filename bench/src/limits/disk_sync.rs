//! How long one small durable write takes: what a broker with one waiting producer cannot beat.

use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt;
use std::time::Instant;

use rustix::fs::OFlags;

use crate::cli::LimitsOptions;
use crate::latency::Latency;
use crate::report::Run;

use super::scratch::{self, AlignedBuffer};

/// A small record, and a file system's block.
const BLOCK_BYTES: usize = 4096;

/// Appends blocks to a growing file, an fdatasync after each: the file system has to commit the new length.
pub(crate) fn growing(options: &LimitsOptions) -> io::Result<Run> {
    growing_by(options, BLOCK_BYTES)
}

/// The same by so many bytes each time.
pub(crate) fn growing_by(options: &LimitsOptions, append_bytes: usize) -> io::Result<Run> {
    let file = scratch::file(&options.dir, OFlags::empty())?;
    time_writes(options, append_bytes, |block, position| {
        file.write_all_at(block, position)?;
        file.sync_data()
    })
}

/// Overwrites blocks that were written and synced before.
pub(crate) fn written(options: &LimitsOptions) -> io::Result<Run> {
    let file = scratch::file(&options.dir, OFlags::empty())?;
    write_before(&file, options)?;
    time_writes(options, BLOCK_BYTES, |block, position| {
        file.write_all_at(block, position)?;
        file.sync_data()
    })
}

/// The same in one call past the page cache: the shortest way to durable bytes there is.
pub(crate) fn direct(options: &LimitsOptions) -> io::Result<Run> {
    let file = scratch::file(&options.dir, OFlags::DIRECT | OFlags::DSYNC)?;
    write_before(&file, options)?;
    time_writes(options, BLOCK_BYTES, |block, position| file.write_all_at(block, position))
}

fn write_before(file: &File, options: &LimitsOptions) -> io::Result<()> {
    let all = AlignedBuffer::new(BLOCK_BYTES * options.appends as usize);
    file.write_all_at(all.bytes(), 0)?;
    file.sync_all()
}

fn time_writes(
    options: &LimitsOptions,
    write_bytes: usize,
    mut write: impl FnMut(&[u8], u64) -> io::Result<()>,
) -> io::Result<Run> {
    let block = AlignedBuffer::new(write_bytes);
    let mut latency = Latency::new();
    for index in 0..u64::from(options.appends) {
        let started = Instant::now();
        write(block.bytes(), index * write_bytes as u64)?;
        latency.record(started.elapsed());
    }
    Ok(latency.metrics(&[("p50_us", 0.5), ("p99_us", 0.99)]))
}
