//! Recovery as a table: what lies in the last segment, and what is served after it.
//!
//! A word is a place of one batch: `aa` a whole one, `a?` one whose second half never arrived, `a!` one with a changed byte, `00` a
//! hole, `..` secured space. `|` is the recovery point. What comes out: the batches served, `+ torn` when a tail was set aside, or
//! `quarantined at` the number of the first bad place.

use ringmill_batch::{LeaderEpoch, stamp};

use super::crashes::{DIR, on_quiet_disk, segment_path};
use super::*;
use crate::disk::OpenHow;
use crate::disk::sim::Simulation;
use crate::log::{Quarantine, UNSYNCED_BYTES_BOUND_MAX};

const RECORDS: i64 = 2;

/// How the log was left.
#[derive(Clone, Copy)]
struct Left {
    clean: bool,
    has_checkpoint: bool,
    unsynced_places: u64,
}

const CRASHED: Left = Left { clean: false, has_checkpoint: true, unsynced_places: 100 };

fn check(input: &str, expected: &str) {
    check_left(CRASHED, input, expected);
}

fn check_left(left: Left, input: &str, expected: &str) {
    let place = Place::new();
    place.run(LogConfig::default(), async |_| ());
    let laid = lay(input);
    let path = place.dir().join("00000000000000000000.log");
    std::fs::write(&path, &laid.bytes).unwrap();
    let checkpoint = left.has_checkpoint.then(|| CheckpointEntry {
        topic_id: ID.topic_id,
        partition: ID.partition,
        recovery_point: laid.recovery_point,
        unsynced_bytes_max: left.unsynced_places * laid.place_bytes as u64,
        segments: Vec::new(),
    });
    let config = LogConfig { unsynced_bytes_max: 1, ..LogConfig::default() };
    let outcome = match place.open(config, StartInfo { clean: left.clean, checkpoint }) {
        Err(OpenError::Quarantined(Quarantine { file, position, .. })) => {
            assert_eq!(file, path);
            assert_eq!(std::fs::read(&path).unwrap(), laid.bytes, "no byte is changed");
            format!("quarantined at {}", position / laid.place_bytes as u64)
        }
        Err(error) => panic!("{error}"),
        Ok(log) => describe(&place, &log, &laid),
    };
    assert_eq!(outcome, expected, "for {input:?}");
}

struct Laid {
    bytes: Vec<u8>,
    place_bytes: usize,
    recovery_point: Offset,
}

fn lay(input: &str) -> Laid {
    let place_bytes = batch(NOW_MS, 2, 50).len();
    let (mut bytes, mut next, mut recovery_point) = (Vec::new(), 0_i64, Offset::ZERO);
    for word in input.split_whitespace() {
        if word == "|" {
            recovery_point = offset(next);
            continue;
        }
        let mut place = batch(NOW_MS, 2, 50).to_vec();
        stamp(&mut place, offset(next), LeaderEpoch::ZERO);
        match word {
            "00" | ".." => place.fill(0),
            _ if word.ends_with('?') => place[place_bytes / 2..].fill(0),
            _ if word.ends_with('!') => place[place_bytes - 3] ^= 1,
            _ => {}
        }
        bytes.extend_from_slice(&place);
        next += RECORDS;
    }
    Laid { bytes, place_bytes, recovery_point }
}

fn describe(place: &Place, log: &Rc<Log>, laid: &Laid) -> String {
    // Before the log is closed, which cuts its file, too.
    let opened = std::fs::read(place.dir().join("00000000000000000000.log")).unwrap();
    let (batches, _) = place.drive(log, read_all(log, &*place.disk, 1 << 20));
    let mut words: Vec<String> =
        (0..batches.len()).map(|n| format!("{0}{0}", char::from(b'a' + u8::try_from(n).unwrap()))).collect();
    let kept = batches.len() * laid.place_bytes;
    assert_eq!(opened, laid.bytes[..kept]);
    if let Some(torn) = &log.recovery_report().torn_tail {
        let aside = std::fs::read(&torn.set_aside).unwrap();
        assert!(laid.bytes[kept..].starts_with(&aside) && aside.last() != Some(&0), "all that is no zero is set aside");
        assert_eq!(torn.set_aside.file_name().unwrap().to_str().unwrap(), format!("{:020}.at-{kept}.torn", 0));
        words.push("+ torn".to_owned());
    }
    words.join(" ")
}

#[test]
fn whole_batches_are_served_and_secured_space_is_cut_without_a_word() {
    check("", "");
    check("..", "");
    check("aa bb", "aa bb");
    check("aa bb .. .. ..", "aa bb");
    check("aa | bb ..", "aa bb");
    check_left(Left { clean: true, ..CRASHED }, "aa bb | ..", "aa bb");
}

#[test]
fn a_torn_tail_is_cut_at_the_last_whole_batch() {
    check("aa bb c?", "aa bb + torn");
    check("aa bb c? ..", "aa bb + torn");
    check("a?", "+ torn");
    check("aa b! ..", "aa + torn");
    check("aa bb | c! d! e?", "aa bb + torn");
}

#[test]
fn a_hole_followed_by_valid_batches_is_an_ordinary_torn_tail() {
    check("aa 00 cc", "aa + torn");
    check("aa | 00 00 dd e? ..", "aa + torn");
    check("00 bb", "+ torn");
    check("aa b? cc d? ee ..", "aa + torn");
}

#[test]
fn damage_below_the_recovery_point_is_corruption() {
    check("aa 00 cc | dd", "quarantined at 1");
    check("aa bb 00 | dd", "quarantined at 2");
    check("aa bb cc dd ee | ", "aa bb cc dd ee");
    check("aa bb .. |", "quarantined at 2");
}

#[test]
fn more_than_can_have_been_unsynced_is_corruption() {
    let two = Left { unsynced_places: 2, ..CRASHED };
    check_left(two, "aa | b! cc", "aa + torn");
    check_left(two, "aa | b! cc dd", "quarantined at 1");
    check_left(two, "aa | b! c! d! e! f!", "aa + torn");
}

#[test]
fn after_a_clean_stop_nothing_is_torn() {
    let clean = Left { clean: true, ..CRASHED };
    check_left(clean, "aa | bb c?", "quarantined at 2");
    check_left(clean, "aa | 00 cc", "quarantined at 1");
    check_left(clean, "aa bb |", "aa bb");
}

#[test]
fn a_lost_checkpoint_costs_a_full_scan_with_the_largest_bound() {
    let lost = Left { has_checkpoint: false, ..CRASHED };
    check_left(lost, "aa bb cc", "aa bb cc");
    check_left(lost, "aa b! cc dd ee ff", "aa + torn");
    check_left(Left { clean: true, ..lost }, "aa b! cc", "quarantined at 1");
    assert_eq!(UNSYNCED_BYTES_BOUND_MAX, 2_147_483_647);
}

#[test]
fn offsets_and_epochs_that_go_back_are_damage() {
    for (second_offset, second_epoch) in [(1, 1), (2, 0), (2, 5)] {
        let place = Place::new();
        place.run(LogConfig::default(), async |_| ());
        // One reign later, so that epoch 1 may stand in the log.
        drop(place.open(LogConfig::default(), StartInfo::default()).unwrap());
        let mut first = batch(NOW_MS, 2, 50);
        stamp(&mut first, offset(0), LeaderEpoch::new(1).unwrap());
        let mut second = batch(NOW_MS, 2, 50);
        stamp(&mut second, offset(second_offset), LeaderEpoch::new(second_epoch).unwrap());
        let path = place.dir().join("00000000000000000000.log");
        std::fs::write(&path, [&first[..], &second[..]].concat()).unwrap();
        let log = place.open(LogConfig::default(), StartInfo::default()).unwrap();
        let torn = log.recovery_report().torn_tail.as_ref().expect("the second batch is cut");
        assert_eq!(torn.position, first.len() as u64, "{}", torn.why);
    }
}

#[test]
fn every_unclean_start_begins_a_reign_and_a_clean_one_does_not() {
    let place = Place::new();
    let ((), entry) = place.run(LogConfig::default(), async |log| {
        append(log, batch(NOW_MS, 2, 10)).await.unwrap();
    });
    let mut epochs = Vec::new();
    for clean in [true, false, false, true] {
        let start = StartInfo { clean, checkpoint: Some(entry.clone()) };
        let log = place.open(LogConfig::default(), start).unwrap();
        let (appended, _) = place.drive(&log, append(&log, batch(NOW_MS, 2, 10)));
        let watermarks = log.reader().watermarks();
        epochs.push(watermarks.leader_epoch.get());
        let plan = place.block_on(log.reader().plan(&*place.disk, appended.unwrap().base_offset, 61, false)).unwrap();
        let header = place.block_on(place.disk.read_at(plan.segment.file(), plan.position, 61)).unwrap();
        assert_eq!(BatchHeader::parse(&header).unwrap().leader_epoch, watermarks.leader_epoch.get());
    }
    assert_eq!(epochs, [0, 1, 2, 2]);
}

#[test]
fn a_missing_or_damaged_meta_quarantines() {
    let place = Place::new();
    place.run(LogConfig::default(), async |_| ());
    let path = place.dir().join("partition.meta");
    let good = std::fs::read(&path).unwrap();
    let mut changed = good.clone();
    changed[20] ^= 1;
    std::fs::write(&path, changed).unwrap();
    assert!(matches!(place.open(LogConfig::default(), StartInfo::default()), Err(OpenError::Quarantined(_))));
    std::fs::remove_file(&path).unwrap();
    assert!(matches!(place.open(LogConfig::default(), StartInfo::default()), Err(OpenError::Quarantined(_))));
    std::fs::write(&path, good).unwrap();
    let other = Identity { partition: 1, ..ID };
    let foreign =
        place.block_on(Log::open(place.env(), place.dir(), other, LogConfig::default(), StartInfo::default()));
    assert!(matches!(foreign, Err(OpenError::Quarantined(_))), "{foreign:?}");
}

#[test]
fn a_missing_segment_quarantines() {
    let config = LogConfig { segment_bytes: 1000, ..LogConfig::default() };
    for missing in ["00000000000000000000.log", "00000000000000000002.log"] {
        let place = Place::new();
        let ((), entry) = place.run(config.clone(), async |log| {
            for _ in 0..5 {
                append(log, batch(NOW_MS, 1, 700)).await.unwrap();
            }
        });
        std::fs::remove_file(place.dir().join(missing)).unwrap();
        let opened = place.open(config.clone(), StartInfo { clean: true, checkpoint: Some(entry) });
        let Err(OpenError::Quarantined(quarantine)) = opened else { panic!("{opened:?}") };
        assert_eq!(quarantine.file, place.dir().join(missing), "{quarantine}");
    }
}

#[test]
fn append_times_come_from_the_checkpoint_and_else_from_the_file() {
    let place = Place::new();
    let ((), entry) = place.run(LogConfig::default(), async |log| {
        append(log, batch(0, 1, 10)).await.unwrap();
        place.clock.advance(500);
        append(log, batch(0, 1, 10)).await.unwrap();
    });
    let times = |checkpoint| {
        let log = place.open(LogConfig::default(), StartInfo { clean: true, checkpoint }).unwrap();
        log.reader().snapshot()[0].append_times_ms().unwrap()
    };
    assert_eq!(times(Some(entry.clone())), (NOW_MS, NOW_MS + 500));
    let (first, last) = times(None);
    assert!(first == last && first > NOW_MS + 500, "the file was written today, not at {NOW_MS}");
    // The checkpoint of a clean stop may fail, on a full disk say. The one before it knows nothing of the last appends, and its word
    // made retention come too early.
    let older = CheckpointEntry { recovery_point: offset(1), ..entry };
    let (first, last) = times(Some(older));
    assert!(first == NOW_MS && last > NOW_MS + 500, "the file was written today, not at {NOW_MS}");
}

#[test]
fn appending_goes_on_behind_what_was_recovered() {
    let place = Place::new();
    let config = LogConfig { index_interval_bytes: 200, ..LogConfig::default() };
    let (_, entry) = place.run(config.clone(), async |log| {
        for number in 0..30 {
            append(log, batch(NOW_MS + number, 2, 50)).await.unwrap();
        }
    });
    let middle = CheckpointEntry { recovery_point: offset(21), ..entry };
    let log = place.open(config.clone(), StartInfo { clean: false, checkpoint: Some(middle) }).unwrap();
    assert!(log.recovery_report().scanned_bytes < log.reader().bytes(), "below the recovery point nothing is scanned");
    let (batches, _) = place.drive(&log, async {
        append(&log, batch(NOW_MS + 99, 2, 50)).await.unwrap();
        read_all(&log, &*place.disk, 1).await
    });
    assert_eq!(batches, (0..31).map(|n| (n * 2, 2)).collect::<Vec<_>>());
    let index = std::fs::read(place.dir().join("00000000000000000000.index")).unwrap();
    let fresh = Place::new();
    fresh.run(config, async |log| {
        for number in (0..30).chain([99]) {
            append(log, batch(NOW_MS + number, 2, 50)).await.unwrap();
        }
    });
    assert_eq!(
        index,
        std::fs::read(fresh.dir().join("00000000000000000000.index")).unwrap(),
        "as if nothing had happened"
    );
}

#[test]
fn index_entries_of_a_tail_that_was_cut_do_not_come_back() {
    // The index file kept entries behind the part that a start had believed; once the log had grown past them, the next start
    // believed them too, though their batches had never survived.
    let place = Place::new();
    place.run(LogConfig::default(), async |_| ());
    let mut checkpoint = None;
    // What a power cut leaves of batches that were lost: the one at offset 5 had a timestamp far ahead.
    let position = u32::try_from(4 * batch(NOW_MS, 1, 10).len()).unwrap();
    let index = place.dir().join("00000000000000000000.index");
    std::fs::write(&index, [4_u32.to_be_bytes(), position.to_be_bytes()].concat()).unwrap();
    let index = index.with_extension("timeindex");
    std::fs::write(&index, [(NOW_MS * 2).to_be_bytes().as_slice(), &5_u32.to_be_bytes()].concat()).unwrap();
    for _ in 0..2 {
        let log = place.open(LogConfig::default(), StartInfo { clean: false, checkpoint }).unwrap();
        let largest = place.block_on(async {
            let work = async {
                for _ in 0..10 {
                    append(&log, batch(NOW_MS, 1, 10)).await.unwrap();
                }
                log.reader().max_timestamp(&*place.disk).await.unwrap()
            };
            tokio::select! { biased; largest = work => largest, () = Rc::clone(&log).drive() => unreachable!("it never ends") }
        });
        assert_eq!(largest.map(|found| found.timestamp_ms), Some(NOW_MS));
        checkpoint = Some(log.checkpoint_entry());
    }
}

#[test]
fn a_log_that_was_deleted_beyond_its_end_opens_after_a_crash_at_any_step() {
    // Its segments were removed before the new one existed; a stop in between left none, which is a quarantine.
    use crate::disk::sim::{SimOptions, Simulation};
    let dir = std::path::Path::new("/t-0");
    for steps in 1..40 {
        let simulation = Simulation::new(steps, SimOptions::default());
        let clock = Arc::new(ManualClock::new(NOW_MS));
        let open = async |disk: &Rc<dyn Disk>| {
            let env = LogEnv::new(Rc::clone(disk), Arc::<ManualClock>::clone(&clock));
            Log::open(env, dir.into(), ID, LogConfig::default(), StartInfo::default()).await
        };
        let disk: Rc<dyn Disk> = Rc::new(simulation.disk());
        block_on(&*disk, async {
            let env = LogEnv::new(Rc::clone(&disk), Arc::<ManualClock>::clone(&clock));
            drop(Log::create(env, dir.into(), ID, LogConfig::default()).await.unwrap());
            let mut meta = crate::partition_meta::PartitionMeta::new(ID);
            meta.log_start = offset(4);
            meta.write(&*disk, dir).await.unwrap();
            let stop = async {
                for _ in 0..steps {
                    crate::turn::yield_now().await;
                }
            };
            tokio::select! { biased; () = stop => (), _ = open(&disk) => () }
        });
        simulation.crash_power();
        let disk: Rc<dyn Disk> = Rc::new(simulation.disk());
        let log = block_on(&*disk, open(&disk)).unwrap_or_else(|error| panic!("after {steps} steps: {error}"));
        assert_eq!(log.reader().watermarks().high_watermark, offset(4));
    }
}

#[test]
fn an_append_time_older_than_the_end_of_a_closed_segment_is_not_believed() {
    // The checkpoint knew the segment while it was appended to; its word on the last append made retention come too early.
    let place = Place::new();
    let mut checkpoint = None;
    place.run(LogConfig { segment_bytes: 200, ..LogConfig::default() }, async |log| {
        append(log, batch(0, 1, 10)).await.unwrap();
        checkpoint = Some(log.checkpoint_entry());
        for _ in 0..3 {
            append(log, batch(0, 1, 10)).await.unwrap();
        }
        assert_eq!(log.reader().snapshot().len(), 2);
    });
    let log = place.open(LogConfig::default(), StartInfo { clean: false, checkpoint }).unwrap();
    let (first_ms, last_ms) = log.reader().snapshot()[0].append_times_ms().unwrap();
    assert_eq!(first_ms, NOW_MS);
    assert!(last_ms > NOW_MS, "the file was written today");
}

/// A kill inside a roll left the next segment's name in the cache alone. The start that saw it quarantined a damaged segment before it; a power
/// cut took the name, and the next start took the damage for a torn tail and cut what was acknowledged.
#[test]
fn a_segment_that_was_seen_to_have_a_successor_is_never_cut() {
    let open_unclean = |simulation: &Simulation| {
        let disk: Rc<dyn Disk> = Rc::new(simulation.disk());
        let env = LogEnv::new(Rc::clone(&disk), Arc::new(ManualClock::new(NOW_MS)));
        let start = StartInfo { clean: false, checkpoint: None };
        block_on(&*disk, Log::open(env, DIR.into(), ID, LogConfig::default(), start))
            .is_err_and(|error| matches!(error, OpenError::Quarantined(_)))
    };
    // What a power cut takes is left to chance; each flip draws another number.
    for flips in 1..12 {
        let simulation = on_quiet_disk(LogConfig::default(), async |_, disk, log| {
            append(log, batch(NOW_MS, 2, 100)).await.unwrap();
            disk.open(&segment_path(2), OpenHow::CreateNew).await.unwrap();
        });
        simulation.crash_process();
        for _ in 0..flips {
            assert!(simulation.flip_bit(&segment_path(0)), "the batch is on the device");
        }
        assert!(open_unclean(&simulation), "{flips} flips are damage");
        simulation.crash_power();
        assert!(open_unclean(&simulation), "the damage was cut");
    }
}

/// Blocks that were cut off were used again, and what was then written never reached the device: the earlier life's batch is back, sound.
#[test]
fn a_tail_of_an_earlier_reign_is_cut() {
    let place = Place::new();
    place.run(LogConfig::default(), async |_| ());
    let path = place.dir().join("00000000000000000000.log");
    let unclean = || StartInfo { clean: false, checkpoint: None };
    let open = |words: &str, expected_end: i64| {
        std::fs::write(&path, lay(words).bytes).unwrap();
        let log = place.open(LogConfig::default(), unclean()).unwrap();
        assert_eq!(log.reader().watermarks().high_watermark, offset(expected_end), "{words}");
        assert_eq!(log.recovery_report().torn_tail.is_some(), expected_end < 4, "{words}");
        place.drive(&log, async {
            log.reader().plan(&*place.disk, offset(expected_end - 1), 1, true).await.unwrap();
        });
    };
    open("aa aa", 4);
    open("aa a?", 2);
    open("aa aa", 2);
}
