//! Indexes over crashes and full disks: what a start takes over is whole, and lookups by time stay right.

use super::crashes::{DIR, on_quiet_disk, open_after_power_cut, segment_path, turns, while_driven};
use super::*;
use crate::disk::sim::{Fault, Simulation};

/// Batches that make the indexes spill into their files, with rising timestamps.
async fn append_many(log: &Log, count: i64) {
    let answers: Vec<_> = (0..count)
        .map(|number| {
            let batch = batch(NOW_MS + number, 1, 10);
            let header = BatchHeader::parse(&batch).unwrap();
            log.append(batch, header)
        })
        .collect();
    for answer in answers {
        answer.await.unwrap().unwrap();
    }
}

/// The largest timestamp after a start, less the workload's first.
fn largest_after_start(simulation: &Simulation, clean: bool, checkpoint: CheckpointEntry) -> i64 {
    let disk: Rc<dyn Disk> = Rc::new(simulation.disk());
    let env = LogEnv::new(Rc::clone(&disk), Arc::new(ManualClock::new(NOW_MS)));
    let start = StartInfo { clean, checkpoint: Some(checkpoint) };
    block_on(&*disk, async {
        let log = Log::open(env, DIR.into(), ID, LogConfig::default(), start).await.unwrap();
        log.reader().max_timestamp(&*disk).await.unwrap().unwrap().timestamp_ms - NOW_MS
    })
}

#[test]
fn a_crash_inside_a_roll_leaves_no_index_that_hides_the_newest_batches() {
    // The next segment existed before the old one's indexes were complete, and the next start took these as they were.
    let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
    for count in 1..30 {
        for power in [false, true] {
            let mut checkpoint = None;
            let simulation = on_quiet_disk(config.clone(), async |_, _, log| {
                append_many(log, 600).await;
                log.on_deadline(NOW_MS * 2);
                turns(count).await;
                checkpoint = Some(log.checkpoint_entry());
            });
            if power {
                simulation.crash_power()
            } else {
                simulation.crash_process()
            }
            assert_eq!(largest_after_start(&simulation, false, checkpoint.unwrap()), 599, "{count} turns, {power}");
        }
    }
}

#[test]
fn an_index_that_could_not_be_completed_is_rebuilt_at_the_next_start() {
    // Its file lacked the newest entries, and was taken as it was.
    let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
    for (count_before, rolls) in [(600, true), (600, false), (0, false)] {
        let mut checkpoint = None;
        let simulation = on_quiet_disk(config.clone(), async |simulation, _, log| {
            append_many(log, count_before).await;
            simulation.inject(&segment_path(0).with_extension("timeindex"), Fault::WriteFindsNoSpace);
            append_many(log, 600 - count_before).await;
            if rolls {
                log.on_deadline(NOW_MS * 2);
                turns(100).await;
            }
            checkpoint = Some(log.close().await.unwrap());
        });
        simulation.crash_process();
        let largest = largest_after_start(&simulation, true, checkpoint.unwrap());
        assert_eq!(largest, 599, "{count_before} before the fault, rolls {rolls}");
    }
}

#[test]
fn the_indexes_of_a_closed_segment_that_was_scanned_are_complete() {
    // Without a checkpoint they were built anew, but their newest entries never reached the files.
    let config = LogConfig { index_interval_bytes: 1, retention_ms: None, ..LogConfig::default() };
    let simulation = on_quiet_disk(config.clone(), async |_, _, log| {
        append_many(log, 600).await;
        log.on_deadline(NOW_MS * 2);
        turns(100).await;
        assert_eq!(log.reader().snapshot().len(), 2);
    });
    let (disk, log) = open_after_power_cut(&simulation, config);
    let checkpoint = block_on(&*disk, while_driven(Rc::clone(&log).drive(), log.close())).unwrap();
    drop((log, disk));
    simulation.crash_process();
    assert_eq!(largest_after_start(&simulation, true, checkpoint), 599);
}

#[test]
fn a_crash_while_indexes_are_rebuilt_leaves_no_part_of_one() {
    // The file grew in its place, and the next start took what was there for the whole.
    let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
    for steps in 1..80 {
        let mut checkpoint = None;
        let simulation = on_quiet_disk(config.clone(), async |_, disk, log| {
            append_many(log, 600).await;
            log.on_deadline(NOW_MS * 2);
            turns(100).await;
            checkpoint = Some(log.close().await.unwrap());
            disk.remove_file(&segment_path(0).with_extension("timeindex")).await.unwrap();
        });
        simulation.crash_process();
        let disk: Rc<dyn Disk> = Rc::new(simulation.disk());
        let env = LogEnv::new(Rc::clone(&disk), Arc::new(ManualClock::new(NOW_MS)));
        let start = StartInfo { clean: false, checkpoint: checkpoint.clone() };
        block_on(&*disk, async {
            let open = Log::open(env, DIR.into(), ID, config.clone(), start);
            tokio::select! { biased; () = turns(steps) => (), _ = open => () }
        });
        drop(disk);
        simulation.crash_process();
        assert_eq!(largest_after_start(&simulation, false, checkpoint.unwrap()), 599, "{steps} steps");
    }
}

/// An entry that said too early a time sent a lookup by time behind the records that were asked for, and one at the end of the file hid its
/// whole segment.
#[test]
fn a_time_index_that_lies_costs_time_and_nothing_else() {
    let place = Place::new();
    let disk = place.disk.clone();
    let config = LogConfig { segment_bytes: 2000, index_interval_bytes: 300, ..LogConfig::default() };
    let (_, entry) = place.run(config.clone(), async |log| {
        for number in 0..20 {
            append(log, batch(NOW_MS + number * 10, 2, 100)).await.unwrap();
        }
    });
    for name in place.files(".timeindex") {
        let index = place.dir().join(&name);
        let truth = std::fs::read(&index).unwrap();
        for at in 0..truth.len() {
            let mut lie = truth.clone();
            lie[at] ^= if at % 2 == 0 { 0x01 } else { 0x40 };
            std::fs::write(&index, &lie).unwrap();
            let start = StartInfo { clean: true, checkpoint: Some(entry.clone()) };
            let log = place.open(config.clone(), start).unwrap();
            place.block_on(async {
                let reader = log.reader();
                for number in 0..20 {
                    let found = reader.find_timestamp(&*disk, NOW_MS + number * 10).await.unwrap().unwrap();
                    assert_eq!(found.offset, offset(number * 2), "byte {at} of {name}, batch {number}");
                }
                let largest = reader.max_timestamp(&*disk).await.unwrap().unwrap();
                assert_eq!(largest.offset, offset(39), "byte {at} of {name}");
            });
            drop(log);
        }
        std::fs::write(&index, &truth).unwrap();
    }
}

/// One segment with an index entry for every batch, each `step_ms` later than the one before; closed cleanly.
fn an_indexed_segment(place: &Place, step_ms: i64) -> (LogConfig, CheckpointEntry) {
    let config = LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
    let (_, entry) = place.run(config.clone(), async |log| {
        for number in 0..20 {
            append(log, batch(NOW_MS + number * step_ms, 2, 100)).await.unwrap();
        }
    });
    (config, entry)
}

/// The walk behind a shortened offset index met a flipped timestamp larger than all in the time index, entered it behind them, and the
/// start ended in a panic.
#[test]
fn a_walk_behind_a_shortened_index_enters_its_times_anew() {
    const MAX_TIMESTAMP_AT: usize = 35;
    let place = Place::new();
    let (config, entry) = an_indexed_segment(&place, 10);
    let index = place.dir().join(&place.files(".index")[0]);
    std::fs::File::options().write(true).open(index).unwrap().set_len(24).unwrap();
    let log_file = place.dir().join(&place.files(".log")[0]);
    let mut bytes = std::fs::read(&log_file).unwrap();
    let sixth = BatchHeader::parse(&bytes).unwrap().total_bytes() * 5;
    bytes[sixth + MAX_TIMESTAMP_AT + 1] ^= 0x10;
    std::fs::write(&log_file, &bytes).unwrap();
    let log = place.open(config, StartInfo { clean: true, checkpoint: Some(entry) }).unwrap();
    assert_eq!(log.reader().watermarks().high_watermark, offset(40));
}

/// The start went on from the offset index alone, and lookups by time knew nothing of what lay before its last entry.
#[test]
fn a_time_index_that_is_lost_alone_is_built_again() {
    let place = Place::new();
    let (config, entry) = an_indexed_segment(&place, -10);
    std::fs::remove_file(place.dir().join(&place.files(".timeindex")[0])).unwrap();
    let log = place.open(config, StartInfo { clean: true, checkpoint: Some(entry) }).unwrap();
    let (disk, reader) = (place.disk.clone(), log.reader());
    place.drive(&log, append(&log, batch(NOW_MS - 1000, 2, 100))).0.unwrap();
    place.block_on(async {
        let found = reader.find_timestamp(&*disk, NOW_MS).await.unwrap();
        assert_eq!(found.map(|found| found.offset), Some(offset(0)));
    });
}
