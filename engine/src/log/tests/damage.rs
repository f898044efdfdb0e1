//! Damage found while serving: what is refused, what goes on, and what a start makes of a disk that cannot be read.

use std::path::Path;

use super::crashes::{DIR, on_quiet_disk, segment_path};
use super::*;
use crate::disk::sim::{Fault, SimDisk, SimOptions};
use crate::log::{LogReader, ReadError, Scrubbed, producers};
use crate::segment::DamagedRange;

const BATCHES: i64 = 30;

/// Batches of two records; an index entry about every third.
fn config() -> LogConfig {
    LogConfig { index_interval_bytes: 500, ..LogConfig::default() }
}

async fn fill(log: &Log) -> u64 {
    for number in 0..BATCHES {
        append(log, batch(NOW_MS + number, 2, 100)).await.unwrap();
    }
    log.reader().bytes() / BATCHES.unsigned_abs()
}

/// Changes bytes of the first segment in place, as rot does.
fn rot(log: &Log, position: u64, change: impl FnOnce(&mut [u8])) {
    let path = log.dir().join("00000000000000000000.log");
    let mut bytes = std::fs::read(&path).unwrap();
    change(&mut bytes[usize::try_from(position).unwrap()..]);
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    std::os::unix::fs::FileExt::write_all_at(&file, &bytes, 0).unwrap();
}

/// Which offsets of the log are refused as damaged, asked one by one; all others must be found where they belong.
async fn refused(reader: &LogReader, disk: &dyn Disk, size: u64) -> Vec<i64> {
    let mut refused = Vec::new();
    for wanted in 0..2 * BATCHES {
        match reader.plan(disk, offset(wanted), 1, true).await {
            Ok(plan) => assert_eq!(plan.position, size * u64::try_from(wanted / 2).unwrap(), "looking for {wanted}"),
            Err(ReadError::Damaged { .. }) => refused.push(wanted),
            Err(error) => panic!("looking for {wanted}: {error}"),
        }
    }
    refused
}

fn ranges(reader: &LogReader) -> Vec<(std::ops::Range<u64>, std::ops::Range<i64>)> {
    let range = |found: DamagedRange| (found.positions, found.offsets.start.get()..found.offsets.end.get());
    reader.damaged_ranges().into_iter().map(range).collect()
}

#[test]
fn a_damaged_header_takes_its_own_batch_and_no_other() {
    // (byte of the header, what is put there), in every field that a plan reads.
    for (field, value) in [(16, 9), (8, 0x7f), (10, 0xff), (3, 0x01), (7, 0x01), (7, 0xfe), (15, 0x01), (12, 0x80)] {
        for damaged in [0, 1, 7, BATCHES - 1] {
            let place = Place::new();
            let disk = place.disk.clone();
            place.run(config(), async |log| {
                let size = fill(log).await;
                let at = size * damaged.unsigned_abs();
                rot(log, at + field, |bytes| bytes[0] = value);
                let reader = log.reader();
                let context = format!("byte {field} = {value:#x} in batch {damaged}");
                assert_eq!(refused(&reader, &*disk, size).await, [2 * damaged, 2 * damaged + 1], "{context}");
                assert_eq!(ranges(&reader), [(at..at + size, 2 * damaged..2 * damaged + 2)], "{context}");
                if damaged > 0 {
                    let before = reader.plan(&*disk, offset(0), 1 << 20, true).await.unwrap();
                    assert_eq!((before.position, before.length), (0, at), "a plan ends before known damage: {context}");
                }
                // Produce goes on, and what is new is read.
                let appended = append(log, batch(NOW_MS, 2, 100)).await.unwrap();
                let plan = reader.plan(&*disk, appended.base_offset, 1 << 20, true).await.unwrap();
                assert_eq!(plan.position, size * BATCHES.unsigned_abs());
            });
        }
    }
}

#[test]
fn an_index_whose_entry_names_a_damaged_batch_is_rebuilt_around_it() {
    let place = Place::new();
    let disk = place.disk.clone();
    let config = LogConfig { segment_bytes: 5000, ..config() };
    place.run(config, async |log| {
        let size = fill(log).await;
        let index = log.dir().join("00000000000000000000.index");
        let entry = std::fs::read(&index).unwrap()[..8].to_vec();
        let at = u64::from(u32::from_be_bytes(entry[4..].try_into().unwrap()));
        rot(log, at + 16, |bytes| bytes[0] = 0);
        let reader = log.reader();
        let damaged = i64::try_from(at / size * 2).unwrap();
        assert!(reader.plan(&*disk, offset(damaged), 1, true).await.is_err());
        assert_eq!(reader.plan(&*disk, offset(damaged + 2), 1, true).await.unwrap().position, at + size);
        log.delete_records_before(offset(0)).await.unwrap();
        while std::fs::read(&index).unwrap()[..8] == entry {
            crate::turn::yield_now().await;
        }
        assert_eq!(ranges(&reader), [(at..at + size, damaged..damaged + 2)]);
        assert_eq!(reader.plan(&*disk, offset(damaged + 2), 1, true).await.unwrap().position, at + size);
    });
}

#[test]
fn a_failed_send_is_looked_into_batch_by_batch() {
    let disk = Rc::new(SimDisk::new(1, SimOptions::default()));
    let simulation = disk.simulation().clone();
    let disk: Rc<dyn Disk> = disk;
    on_disk(&disk, config(), async |log| {
        let size = fill(log).await;
        let reader = log.reader();
        let plan = reader.plan(&*disk, offset(10), 3 * size, true).await.unwrap();
        let eio = std::io::Error::from(rustix::io::Errno::IO);
        reader.report_unreadable(&plan.segment, plan.position, plan.length, &eio);
        let before = reader.plan(&*disk, offset(0), 1 << 20, true).await.unwrap();
        assert_eq!(before.length, 5 * size, "what lies before it goes out as ever");
        let first = reader.plan(&*disk, offset(10), 1 << 20, true).await.unwrap();
        assert_eq!((first.position, first.length), (5 * size, size), "one batch, since it could be read");
        simulation.inject(&plan.segment.path(), Fault::ReadFails);
        // The header is cached; the look at the whole batch is what fails.
        let failed = reader.plan(&*disk, offset(12), 1 << 20, true).await;
        assert!(matches!(failed, Err(ReadError::Damaged { .. })), "{failed:?}");
        assert_eq!(refused(&reader, &*disk, size).await, [12, 13]);
        let third = reader.plan(&*disk, offset(14), 1 << 20, true).await.unwrap();
        assert_eq!(third.length, (BATCHES.unsigned_abs() - 7) * size, "the suspicion is gone with the look");
    });
}

#[test]
fn offsets_that_no_batch_holds_are_refused_and_not_skipped() {
    // A header that claims too few offsets leaves a gap before the next batch, which is itself good.
    let place = Place::new();
    let disk = place.disk.clone();
    place.run(config(), async |log| {
        let size = fill(log).await;
        rot(log, size * 4 + 26, |bytes| bytes[0] = 0);
        rot(log, size * 4 + 60, |bytes| bytes[0] = 1);
        assert_eq!(refused(&log.reader(), &*disk, size).await, [9]);
        assert_eq!(ranges(&log.reader()), [(5 * size..5 * size, 9..10)]);
    });
}

#[test]
fn a_wrong_length_that_fits_hides_no_other_batch() {
    // The header says nothing wrong about itself: the batch behind it is missed where it should begin.
    for change in [-40_i8, 40] {
        let place = Place::new();
        let disk = place.disk.clone();
        place.run(config(), async |log| {
            let size = fill(log).await;
            rot(log, size * 4 + 11, |bytes| bytes[0] = bytes[0].wrapping_add_signed(change));
            let reader = log.reader();
            assert_eq!(refused(&reader, &*disk, size).await, [], "changed by {change}");
            assert_eq!(
                ranges(&reader),
                [(4 * size..5 * size, 8..10)],
                "changed by {change}: the next lookup has met it"
            );
            assert_eq!(refused(&reader, &*disk, size).await, [8, 9], "changed by {change}");
        });
    }
}

#[test]
fn a_closed_segment_cut_short_serves_what_is_left_of_it() {
    let place = Place::new();
    let disk = place.disk.clone();
    let config = LogConfig { segment_bytes: 5000, ..config() };
    let (size, entry) = place.run(config.clone(), async |log| fill(log).await);
    let path = place.dir().join("00000000000000000000.log");
    let file = std::fs::OpenOptions::new().write(true).open(&path).unwrap();
    let kept = file.metadata().unwrap().len() / size - 3;
    file.set_len(kept * size).unwrap();
    let log = place.open(config, StartInfo { clean: true, checkpoint: Some(entry) }).unwrap();
    place.drive(&log, async {
        let reader = log.reader();
        let next_base = reader.snapshot()[1].base_offset().get();
        let lost = i64::try_from(kept).unwrap() * 2;
        assert!(reader.plan(&*disk, offset(lost - 1), 1, true).await.is_ok());
        let failed = reader.plan(&*disk, offset(lost), 1, true).await;
        assert!(matches!(failed, Err(ReadError::Damaged { position, .. }) if position == kept * size), "{failed:?}");
        assert_eq!(ranges(&reader), [(kept * size..kept * size, lost..next_base)]);
        assert!(reader.plan(&*disk, offset(next_base), 1, true).await.is_ok());
    });
}

/// A log of three segments on a simulated disk that is cut off, and what its next start says with `faults` on the way.
fn start_with(checkpointed: bool, faults: &[&str]) -> Result<(Vec<i64>, usize), OpenError> {
    let config = LogConfig { segment_bytes: 3000, ..config() };
    let mut checkpoint = None;
    let simulation = on_quiet_disk(config.clone(), async |_, _, log| {
        fill(log).await;
        checkpoint = Some(log.checkpoint_entry());
    });
    simulation.crash_power();
    for name in faults {
        simulation.inject(&Path::new(DIR).join(name), Fault::ReadFails);
    }
    let disk: Rc<dyn Disk> = Rc::new(simulation.disk());
    let env = LogEnv::new(Rc::clone(&disk), Arc::new(ManualClock::new(NOW_MS)));
    let start = StartInfo { clean: false, checkpoint: checkpoint.filter(|_| checkpointed) };
    block_on(&*disk, async {
        let log = Log::open(env, DIR.into(), ID, config, start).await?;
        let reader = log.reader();
        let mut refused = Vec::new();
        for wanted in 0..2 * BATCHES {
            match reader.plan(&*disk, offset(wanted), 1, true).await {
                Ok(_) => {}
                Err(ReadError::Damaged { .. }) => refused.push(wanted),
                Err(error) => panic!("looking for {wanted}: {error}"),
            }
        }
        Ok((refused, log.recovery_report().indexes_rebuilt))
    })
}

#[test]
fn a_start_serves_around_what_it_cannot_read_of_closed_segments() {
    let first = "00000000000000000000.log";
    assert_eq!(start_with(false, &[first]).unwrap(), (vec![], 0), "less is read at once");
    assert_eq!(start_with(false, &[first, first]).unwrap(), (vec![], 1), "the scan ends, the headers are walked");
    let (refused, _) = start_with(false, &[first, first, first]).unwrap();
    assert_eq!(refused, [0, 1], "the header that could not be read");
    assert_eq!(start_with(true, &[first]).unwrap().0, [0, 1], "nothing is scanned; the first fetch meets it");
}

#[test]
fn a_start_rebuilds_indexes_that_it_cannot_read() {
    for name in ["00000000000000000000.index", "00000000000000000000.timeindex"] {
        assert_eq!(start_with(true, &[name]).unwrap(), (vec![], 1), "{name}");
    }
}

#[test]
fn a_last_segment_that_cannot_be_read_is_quarantined_by_file_and_position() {
    for checkpointed in [false, true] {
        let last = segment_path(40);
        let Err(error) = start_with(checkpointed, &["00000000000000000040.log"; 2]) else { panic!("it was served") };
        assert!(matches!(error, OpenError::Quarantined(_)), "{error}");
        let expected = format!("{} is damaged at byte 0: it cannot be read", last.display());
        assert!(error.to_string().starts_with(&expected), "{error}");
    }
}

/// Runs a whole pass.
async fn scrub(log: &Log) -> u64 {
    let mut bytes = 0;
    loop {
        match log.scrub(700).await {
            Scrubbed { is_done: true, .. } => return bytes,
            step => bytes += step.bytes,
        }
    }
}

#[test]
fn the_scrub_finds_rot_that_no_plan_sees_and_sees_when_it_is_gone() {
    // (byte of the batch, in which batch of the closed segment)
    for (byte, damaged) in [(17, 3), (30, 0), (60, 5), (100, 1), (270, 4), (5, 6), (15, 2)] {
        let place = Place::new();
        let disk = place.disk.clone();
        place.run(LogConfig { segment_bytes: 3000, ..config() }, async |log| {
            let size = fill(log).await;
            let reader = log.reader();
            let closed: u64 = reader.snapshot().iter().filter_map(|segment| segment.closed_length()).sum();
            assert_eq!(scrub(log).await, closed);
            assert_eq!(ranges(&reader), [], "all is well");
            let at = damaged * size;
            rot(log, at + byte, |bytes| bytes[0] ^= 0x10);
            assert_eq!(scrub(log).await, closed, "it goes on behind the damage");
            let offsets = i64::try_from(damaged * 2).unwrap()..i64::try_from(damaged * 2 + 2).unwrap();
            assert_eq!(ranges(&reader), [(at..at + size, offsets.clone())], "byte {byte}");
            let refused = reader.plan(&*disk, offset(offsets.start), 1, true).await;
            assert!(matches!(refused, Err(ReadError::Damaged { .. })), "{refused:?}");
            rot(log, at + byte, |bytes| bytes[0] ^= 0x10);
            scrub(log).await;
            assert_eq!(ranges(&reader), []);
            assert!(reader.plan(&*disk, offset(offsets.start), 1, true).await.is_ok());
        });
    }
}

#[test]
fn the_scrub_has_wrong_indexes_rebuilt() {
    for suffix in ["index", "timeindex"] {
        let place = Place::new();
        place.run(LogConfig { segment_bytes: 3000, ..config() }, async |log| {
            fill(log).await;
            let index = log.dir().join("00000000000000000000").with_extension(suffix);
            let truth = std::fs::read(&index).unwrap();
            for lie in [truth.len() - 1, 0] {
                let mut bytes = truth.clone();
                bytes[lie] ^= 0x01;
                std::fs::write(&index, bytes).unwrap();
                scrub(log).await;
                while std::fs::read(&index).unwrap() != truth {
                    crate::turn::yield_now().await;
                }
            }
            std::fs::remove_file(&index).unwrap();
            scrub(log).await;
            while std::fs::read(&index).ok().as_ref() != Some(&truth) {
                crate::turn::yield_now().await;
            }
        });
    }
}

/// Descriptors that have run out are no damage: state without what they hid would refuse those producers for good.
#[test]
fn producer_state_is_whole_or_an_error() {
    let config = LogConfig { segment_bytes: 1000, index_interval_bytes: 200, ..LogConfig::default() };
    on_quiet_disk(config, async |simulation, disk, log| {
        for producer in 0..30 {
            append(log, produced(producer, 0, 0)).await.unwrap();
        }
        let reader = log.reader();
        let end = reader.watermarks().high_watermark;
        let known = async || {
            let state = producers::load(&log.env, Path::new(DIR), &reader, end).await;
            state.map(|state| state.active().count()).map_err(|error| rustix::io::Errno::from_io_error(&error))
        };
        let out = Err(Some(rustix::io::Errno::MFILE));
        assert_eq!(known().await, Ok(30));
        let mut snapshots = Vec::new();
        for entry in disk.list_dir(Path::new(DIR)).await.unwrap() {
            snapshots.extend(entry.name.ends_with(".producers").then(|| Path::new(DIR).join(&entry.name)));
        }
        snapshots.sort();
        simulation.inject(snapshots.last().unwrap(), Fault::OpenFindsNoDescriptor);
        assert_eq!(known().await, out);
        for snapshot in snapshots {
            disk.remove_file(&snapshot).await.unwrap();
        }
        for index in [segment_path(0), reader.snapshot()[1].path()].map(|path| path.with_extension("index")) {
            simulation.inject(&index, Fault::OpenFindsNoDescriptor);
            assert_eq!(known().await, out, "{}", index.display());
        }
        assert_eq!(known().await, Ok(30), "the next attempt has all of it");
    });
}

/// What a start could not read, it does not know of producers; the next start, which can, does.
#[test]
fn producer_state_with_gaps_does_not_outlive_the_process() {
    let place = Place::new();
    let config = || LogConfig { index_interval_bytes: 1, ..LogConfig::default() };
    let (size, entry) = place.run(config(), async |log| {
        for (producer, sequence) in [(9, 0), (9, 1), (9, 2), (8, 0)] {
            append(log, produced(producer, 0, sequence)).await.unwrap();
        }
        usize::try_from(log.reader().bytes() / 4).unwrap()
    });
    for name in place.files(".producers") {
        std::fs::remove_file(place.dir().join(name)).unwrap();
    }
    let path = place.dir().join("00000000000000000000.log");
    let whole = std::fs::read(&path).unwrap();
    for (batch, refusal) in [(0, None), (2, Some(AppendError::OutOfOrderSequence))] {
        let mut damaged = whole.clone();
        damaged[batch * size..][..size].fill(0);
        std::fs::write(&path, damaged).unwrap();
        let log = place.open(config(), StartInfo { clean: true, checkpoint: Some(entry.clone()) }).unwrap();
        place.drive(&log, async {
            assert_eq!(log.reader().damaged_ranges().len(), 1);
            assert_eq!(append(&log, produced(9, 0, 3)).await.err(), refusal);
        });
        std::fs::write(&path, &whole).unwrap();
        assert_eq!(place.files(".producers"), Vec::<String>::new());
    }
    let log = place.open(config(), StartInfo { clean: true, checkpoint: Some(entry) }).unwrap();
    place.drive(&log, async {
        append(&log, produced(9, 0, 3)).await.unwrap();
    });
    assert_ne!(place.files(".producers"), Vec::<String>::new());
}

#[test]
fn the_scrub_goes_around_what_cannot_be_read() {
    let disk = Rc::new(SimDisk::new(1, SimOptions::default()));
    let simulation = disk.simulation().clone();
    let disk: Rc<dyn Disk> = disk;
    on_disk(&disk, LogConfig { segment_bytes: 3000, ..config() }, async |log| {
        let size = fill(log).await;
        for _ in 0..2 {
            simulation.inject(&segment_path(0), Fault::ReadFails);
        }
        scrub(log).await;
        assert_eq!(ranges(&log.reader()), [(0..size, 0..2)]);
        scrub(log).await;
        assert_eq!(ranges(&log.reader()), [], "it was a passing trouble");
    });
}

/// A log on a simulated disk that works while nobody says otherwise.
fn on_disk(disk: &Rc<dyn Disk>, config: LogConfig, work: impl AsyncFnOnce(&Rc<Log>)) {
    let env = LogEnv::new(Rc::clone(disk), Arc::new(ManualClock::new(NOW_MS)));
    block_on(&**disk, async {
        let log = Log::create(env, DIR.into(), ID, config).await.unwrap();
        let work = async {
            work(&log).await;
            log.close().await.unwrap();
        };
        tokio::join!(Rc::clone(&log).drive(), work);
    });
}

#[test]
fn a_copy_of_a_torn_tail_that_finds_no_space_leaves_nothing_behind() {
    let simulation = on_quiet_disk(config(), async |_, disk, log| {
        fill(log).await;
        // Half a batch more, as a crash leaves it.
        let end = log.reader().bytes();
        let segment = Arc::clone(&log.reader().snapshot()[0]);
        let torn = batch(NOW_MS, 2, 100).split_to(150);
        disk.write_all_at(segment.file(), end, vec![torn]).await.unwrap();
    });
    simulation.crash_process();
    let copy = segment_path(0).with_extension(format!("at-{}.torn", BATCHES * 279));
    simulation.inject(&copy, Fault::WriteFindsNoSpace);
    for expected in [Err(()), Ok(Some(150))] {
        let disk: Rc<dyn Disk> = Rc::new(simulation.disk());
        let env = LogEnv::new(Rc::clone(&disk), Arc::new(ManualClock::new(NOW_MS)));
        block_on(&*disk, async {
            let opened = Log::open(env, DIR.into(), ID, config(), StartInfo::default()).await;
            let torn = opened.map(|log| log.recovery_report().torn_tail.as_ref().map(|torn| torn.bytes)).map_err(drop);
            assert_eq!(torn, expected);
            let entries = disk.list_dir(Path::new(DIR)).await.unwrap();
            let copies = entries.iter().filter(|entry| entry.name.ends_with(".torn")).count();
            assert_eq!(copies, usize::from(expected.is_ok()));
        });
    }
}
