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

const WRITE_BYTES: usize = 4096;

/// Appends to a growing file, an fdatasync after each: the file system has to commit the new length.
pub(crate) fn growing(options: &LimitsOptions) -> io::Result<Run> {
    let file = scratch::file(&options.dir, OFlags::empty())?;
    time_writes(options, |block, position| {
        file.write_all_at(block, position)?;
        file.sync_data()
    })
}

/// Overwrites blocks that were written and synced before.
pub(crate) fn written(options: &LimitsOptions) -> io::Result<Run> {
    let file = scratch::file(&options.dir, OFlags::empty())?;
    write_before(&file, options)?;
    time_writes(options, |block, position| {
        file.write_all_at(block, position)?;
        file.sync_data()
    })
}

/// The same in one call past the page cache: the shortest way to durable bytes there is.
pub(crate) fn direct(options: &LimitsOptions) -> io::Result<Run> {
    let file = scratch::file(&options.dir, OFlags::DIRECT | OFlags::DSYNC)?;
    write_before(&file, options)?;
    time_writes(options, |block, position| file.write_all_at(block, position))
}

fn write_before(file: &File, options: &LimitsOptions) -> io::Result<()> {
    let all = AlignedBuffer::new(WRITE_BYTES * options.appends as usize);
    file.write_all_at(all.bytes(), 0)?;
    file.sync_all()
}

fn time_writes(options: &LimitsOptions, mut write: impl FnMut(&[u8], u64) -> io::Result<()>) -> io::Result<Run> {
    let block = AlignedBuffer::new(WRITE_BYTES);
    let mut latency = Latency::new();
    for index in 0..u64::from(options.appends) {
        let started = Instant::now();
        write(block.bytes(), index * WRITE_BYTES as u64)?;
        latency.record(started.elapsed());
    }
    Ok(latency.metrics(&[("p50_us", 0.5), ("p99_us", 0.99)]))
}
