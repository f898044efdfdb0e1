//! No space, at every place where a log writes: what whoever asked is told, what becomes of the partition, and that it goes on by itself
//! with everything acknowledged, once, over a power cut at the end.

use std::path::{Path, PathBuf};
use std::rc::Rc;

use super::crashes::{DIR, on_quiet_disk, open_after_power_cut, segment_path, turns, while_driven};
use super::*;
use crate::disk::sim::{Fault, Simulation};
use crate::log::{LogError, LogState, SealCause};

/// Room for two batches of [`produced`], so that the third rolls.
const SEGMENT_BYTES: u64 = 170;

fn file(name: &str) -> PathBuf {
    Path::new(DIR).join(name)
}

fn config() -> LogConfig {
    LogConfig { segment_bytes: SEGMENT_BYTES, ..LogConfig::default() }
}

/// What meets the lack of space.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Doing {
    /// An append into the active segment, the second batch.
    Append,
    /// An append that needs the next segment, the third batch.
    Roll,
    /// A deletion of the first record.
    Delete,
}

const SEALED: LogState = LogState::Sealed(SealCause::NoSpace);

fn check(doing: Doing, place: &Path, faults: &[Fault], told: Result<(), AppendError>, state: &LogState) {
    let name = format!("{doing:?} with {faults:?} at {}", place.display());
    let mut acknowledged = Vec::new();
    let simulation = on_quiet_disk(config(), async |simulation, disk, log| {
        let before = if doing == Doing::Append { 1 } else { 2 };
        for sequence in 0..before {
            acknowledged.push((append(log, produced(9, 0, sequence)).await.unwrap().base_offset.get(), 1));
        }
        faults.iter().for_each(|fault| simulation.inject(place, *fault));
        let mut sequence = before;
        let result = match doing {
            Doing::Append | Doing::Roll => append(log, produced(9, 0, sequence)).await.map(|appended| {
                acknowledged.push((appended.base_offset.get(), 1));
                sequence += 1;
            }),
            Doing::Delete => match log.delete_records_before(offset(1)).await {
                Ok(_) => Ok(()),
                Err(LogError::Io { error, .. }) if crate::disk::is_full(&error) => Err(AppendError::NoSpace),
                Err(other) => panic!("{name}: {other}"),
            },
        };
        assert_eq!((result, &log.state()), (told, state), "{name}");
        if doing == Doing::Delete {
            assert_eq!(log.reader().watermarks().log_start, offset(0), "{name}: nothing has changed");
            assert_eq!(log.delete_records_before(offset(1)).await.unwrap(), offset(1), "{name}");
            acknowledged.remove(0);
        }
        go_on(log, sequence, &mut acknowledged, &name).await;
        assert_eq!(read_all(log, &**disk, 1 << 20).await, acknowledged, "{name}");
        turns(200).await;
        let left = disk.list_dir(Path::new(DIR)).await.unwrap();
        let half_made: Vec<_> = left.iter().filter(|entry| entry.name.ends_with(".tmp")).collect();
        assert!(half_made.is_empty(), "{name}: {half_made:?}");
    });
    found_after_power_cut(&simulation, &acknowledged, &name);
}

/// Comes back as a producer does until two batches are through, while time goes on.
async fn go_on(log: &Rc<Log>, mut sequence: i32, acknowledged: &mut Vec<(i64, i32)>, name: &str) {
    let until = sequence + 2;
    for second in 1..20 {
        if let Ok(appended) = append(log, produced(9, 0, sequence)).await {
            assert!(!appended.duplicate, "{name}: what was refused is no original");
            acknowledged.push((appended.base_offset.get(), 1));
            sequence += 1;
        }
        if sequence == until {
            assert_eq!(log.state(), LogState::Serving, "{name}");
            return;
        }
        log.on_deadline(NOW_MS + second * 1000);
        turns(300).await;
    }
    panic!("{name}: it does not go on");
}

fn found_after_power_cut(simulation: &Simulation, acknowledged: &[(i64, i32)], name: &str) {
    let (disk, log) = open_after_power_cut(simulation, config());
    let work = async {
        assert_eq!(read_all(&log, &*disk, 1 << 20).await, acknowledged, "{name}: after a power cut");
        log.close().await.unwrap();
    };
    block_on(&*disk, while_driven(Rc::clone(&log).drive(), work));
}

#[test]
fn an_append_that_finds_no_space_is_refused_or_seals_and_the_log_goes_on() {
    use Doing::Append;
    let allocating = [Fault::AllocateFindsNoSpace; 2];
    // The first batch has secured all of a small segment; with none, the fallback to just what is needed is met, too.
    let segment = segment_path(0);
    check(Append, &segment, &allocating[..1], Ok(()), &LogState::Serving);
    check(Append, &segment, &[Fault::WriteFindsNoSpace], Err(AppendError::Sealed), &SEALED);
    check(Append, &segment, &[Fault::SyncFindsNoSpace], Err(AppendError::Sealed), &SEALED);
    check(Doing::Roll, &segment_path(2), &allocating, Err(AppendError::NoSpace), &LogState::Serving);
}

/// As long as the time of day had gone back, a sealed log would have waited for the moment at which it was to be tried again.
#[test]
fn a_clock_that_is_set_back_keeps_no_log_sealed() {
    on_quiet_disk(config(), async |simulation, _, log| {
        append(log, produced(9, 0, 0)).await.unwrap();
        simulation.inject(&segment_path(0), Fault::WriteFindsNoSpace);
        assert_eq!(append(log, produced(9, 0, 1)).await, Err(AppendError::Sealed));
        let earlier_ms = NOW_MS - 3_600_000;
        assert_eq!(log.on_deadline(earlier_ms), Some(earlier_ms + 1000));
        log.on_deadline(earlier_ms + 1000);
        turns(300).await;
        assert_eq!(log.state(), LogState::Serving);
    });
}

/// The second sync is that of the cut. Nothing in the file is new at the next attempt, whose sync succeeds whatever the device has.
#[test]
fn a_reopening_whose_own_sync_fails_leaves_no_tail_behind() {
    let segment = segment_path(0);
    for fails in 2..5 {
        check(Doing::Append, &segment, &vec![Fault::SyncFindsNoSpace; fails], Err(AppendError::Sealed), &SEALED);
        let mut faults = vec![Fault::SyncFindsNoSpace; fails];
        faults[0] = Fault::WriteFindsNoSpace;
        check(Doing::Append, &segment, &faults, Err(AppendError::Sealed), &SEALED);
        // Of the same file, cut at a roll.
        check(Doing::Roll, &segment, &vec![Fault::SyncFindsNoSpace; fails], Err(AppendError::Sealed), &SEALED);
    }
}

#[test]
fn a_roll_that_finds_no_space_refuses_or_does_without() {
    use Doing::Roll;
    let segment = segment_path(0);
    check(Roll, &segment, &[Fault::SyncFindsNoSpace], Err(AppendError::Sealed), &SEALED);
    // Derived files are no reason to refuse anything.
    for name in ["index", "timeindex"] {
        let index = segment.with_extension(name);
        check(Roll, &index, &[Fault::WriteFindsNoSpace], Ok(()), &LogState::Serving);
        check(Roll, &index, &[Fault::SyncFindsNoSpace], Ok(()), &LogState::Serving);
    }
    let snapshot = file("00000000000000000002.producers.tmp");
    check(Roll, &snapshot, &[Fault::WriteFindsNoSpace], Ok(()), &LogState::Serving);
    check(Roll, &snapshot, &[Fault::SyncFindsNoSpace], Ok(()), &LogState::Serving);
    // The first sync of the directory is the snapshot's, the second the new segment's.
    check(Roll, Path::new(DIR), &[Fault::SyncFindsNoSpace], Ok(()), &LogState::Serving);
    let both = [Fault::SyncFindsNoSpace; 2];
    check(Roll, Path::new(DIR), &both, Err(AppendError::NoSpace), &LogState::Serving);
}

#[test]
fn a_deletion_of_records_that_finds_no_space_changes_nothing() {
    let meta = file("partition.meta.tmp");
    for fault in [Fault::WriteFindsNoSpace, Fault::SyncFindsNoSpace] {
        check(Doing::Delete, &meta, &[fault], Err(AppendError::NoSpace), &LogState::Serving);
    }
}

/// Every write of the reopening itself: whichever fails, the log stays sealed and comes back at a later attempt.
#[test]
fn a_reopening_that_finds_no_space_is_tried_again() {
    for (place, fault) in [
        (file("partition.meta.tmp"), Fault::WriteFindsNoSpace),
        (file("partition.meta.tmp"), Fault::SyncFindsNoSpace),
        (PathBuf::from(DIR), Fault::SyncFindsNoSpace),
        (segment_path(0).with_extension("index"), Fault::SyncFindsNoSpace),
    ] {
        let name = format!("{fault:?} at {}", place.display());
        let mut acknowledged = Vec::new();
        let simulation = on_quiet_disk(config(), async |simulation, disk, log| {
            acknowledged.push((append(log, produced(9, 0, 0)).await.unwrap().base_offset.get(), 1));
            simulation.inject(&segment_path(0), Fault::SyncFindsNoSpace);
            assert_eq!(append(log, produced(9, 0, 1)).await, Err(AppendError::Sealed), "{name}");
            simulation.inject(&place, fault);
            simulation.inject(&place, fault);
            go_on(log, 1, &mut acknowledged, &name).await;
            assert_eq!(read_all(log, &**disk, 1 << 20).await, acknowledged, "{name}");
        });
        found_after_power_cut(&simulation, &acknowledged, &name);
    }
}

/// What has expired may be just what the full disk waits for.
#[test]
fn retention_goes_on_while_a_full_disk_seals_the_log() {
    let simulation = Simulation::new(1, crate::disk::sim::SimOptions::default());
    let disk: Rc<dyn Disk> = Rc::new(simulation.disk());
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let env = LogEnv::new(Rc::clone(&disk), Arc::<ManualClock>::clone(&clock));
    block_on(&*disk, async {
        let config = LogConfig { retention_ms: Some(5000), ..config() };
        let log = Log::create(env, DIR.into(), ID, config).await.unwrap();
        let work = async {
            for sequence in 0..3 {
                append(&log, produced(9, 0, sequence)).await.unwrap();
            }
            simulation.inject(&segment_path(2), Fault::SyncFindsNoSpace);
            assert_eq!(append(&log, produced(9, 0, 3)).await, Err(AppendError::Sealed));
            // The sync of the cut, so that the log stays sealed.
            simulation.inject(&segment_path(2), Fault::SyncFindsNoSpace);
            clock.set(NOW_MS + 10_000);
            log.on_deadline(NOW_MS + 10_000);
            turns(300).await;
            assert_eq!((log.state(), log.reader().snapshot().len()), (SEALED, 1));
            assert_eq!(log.reader().watermarks().log_start, offset(2));
        };
        while_driven(Rc::clone(&log).drive(), work).await;
    });
}

#[test]
fn a_log_leaves_what_is_to_be_kept_free() {
    use crate::data_dir::{DiskSpace, SpaceLimits};
    use crate::disk::sim::SimOptions;
    const CAPACITY_BYTES: u64 = 8 << 20;
    let options = SimOptions { capacity_bytes: Some(CAPACITY_BYTES), ..SimOptions::default() };
    let disk: Rc<dyn Disk> = Rc::new(Simulation::new(1, options).disk());
    let space = DiskSpace::new(Path::new("/"), SpaceLimits { free_bytes_min: 1 << 20, reserve_bytes: 0 });
    let env = LogEnv { space: Arc::clone(&space), ..LogEnv::new(Rc::clone(&disk), Arc::new(ManualClock::new(NOW_MS))) };
    block_on(&*disk, async {
        // The mark is a 32nd of this volume, a quarter of a MiB, whatever was asked for.
        assert_eq!(space.look(&*disk).await.unwrap().mark_bytes, CAPACITY_BYTES / 32);
        let log = Log::create(env, DIR.into(), ID, LogConfig::default()).await.unwrap();
        let work = async {
            // Less than a step of what is secured ahead: near the mark just what is needed is taken, and no more.
            let refused = loop {
                if let Err(error) = append(&log, batch(NOW_MS, 1, 100_000)).await {
                    break error;
                }
            };
            assert_eq!((refused, log.state(), space.is_low()), (AppendError::NoSpace, LogState::Serving, true));
            let usable_bytes = disk.volume(Path::new("/")).await.unwrap().usable_bytes;
            assert!((CAPACITY_BYTES / 32..CAPACITY_BYTES / 32 + 200_000).contains(&usable_bytes), "{usable_bytes}");
        };
        while_driven(Rc::clone(&log).drive(), work).await;
    });
}

/// Low, as others see it, from now on or no longer.
async fn fill(disk: &dyn Disk, space: &crate::data_dir::DiskSpace, is_low: bool) {
    let ballast = disk.open(Path::new("/ballast"), crate::disk::OpenHow::CreateEmpty).await.unwrap();
    if is_low {
        let usable_bytes = disk.volume(Path::new("/")).await.unwrap().usable_bytes;
        disk.allocate(&ballast, 0, usable_bytes - 8192).await.unwrap();
    }
    assert_eq!(space.look(disk).await.unwrap().is_low, is_low);
}

/// Low ends between two batches of a pipeline, and begins between two: no gap, and nothing that waits for ever.
#[test]
fn a_pipeline_that_is_cut_by_a_low_disk_goes_on_where_it_was_cut() {
    use crate::data_dir::{DiskSpace, SpaceLimits};
    use crate::disk::sim::SimOptions;
    let options = SimOptions { capacity_bytes: Some(64 << 20), ..SimOptions::default() };
    let disk: Rc<dyn Disk> = Rc::new(Simulation::new(1, options).disk());
    let space = DiskSpace::new(Path::new("/"), SpaceLimits { free_bytes_min: 1 << 20, reserve_bytes: 0 });
    let env = LogEnv { space: Arc::clone(&space), ..LogEnv::new(Rc::clone(&disk), Arc::new(ManualClock::new(NOW_MS))) };
    block_on(&*disk, async {
        let log = Log::create(env, DIR.into(), ID, LogConfig::default()).await.unwrap();
        let work = async {
            // Secures room enough for all that follows, so that it is the mark alone that refuses.
            append(&log, batch(NOW_MS, 1, 10)).await.unwrap();
            fill(&*disk, &space, true).await;
            assert_eq!(append(&log, produced(9, 0, 0)).await, Err(AppendError::NoSpace));
            fill(&*disk, &space, false).await;
            assert_eq!(append(&log, produced(9, 0, 1)).await, Err(AppendError::OutOfOrderSequence));
            for sequence in 0..3 {
                assert_eq!(
                    append(&log, produced(9, 0, sequence)).await.unwrap().base_offset.get(),
                    i64::from(sequence) + 1
                );
            }

            // The first waits for its turn already when the second is refused.
            let queued = produced(10, 0, 0);
            let header = BatchHeader::parse(&queued).unwrap();
            let first = log.append(queued, header);
            space.note_refused(64 << 20);
            assert_eq!(append(&log, produced(10, 0, 1)).await, Err(AppendError::NoSpace));
            assert_eq!(first.await.unwrap().unwrap().base_offset, offset(4));
            fill(&*disk, &space, false).await;
            assert_eq!(append(&log, produced(10, 0, 2)).await, Err(AppendError::OutOfOrderSequence));
            assert_eq!(append(&log, produced(10, 0, 1)).await.unwrap().base_offset, offset(5));
        };
        while_driven(Rc::clone(&log).drive(), work).await;
    });
}
