//! Compaction of a whole log: what stays, what goes, and what else must not notice. Damage has a file of its own.

use std::collections::BTreeMap;

use ringmill_batch::{DecompressLimit, Record, read_records};

use super::*;
use crate::compaction::CompactionLimits;
use crate::data_dir::{DiskSpace, SpaceLimits};
use crate::disk::OpenHow;
use crate::log::{Abandoned, Cleanable, Compacted, CompactionConfig};
use crate::segment::file::{FileKind, path};
use crate::verify::{VerifyOptions, verify};

pub(super) const LIMITS: CompactionLimits =
    CompactionLimits { map_bytes: 64 << 10, decompressed_bytes_max: 1 << 20, hash_key: [1, 2] };

pub(super) fn config() -> LogConfig {
    let compaction = CompactionConfig { dirty_millionths_max: 0, tombstones_kept_ms: 1000, ..Default::default() };
    LogConfig {
        segment_bytes: 3000,
        retention_ms: None,
        index_interval_bytes: 300,
        compaction: Some(compaction),
        ..LogConfig::default()
    }
}

/// A batch of records with these keys; a value of 0 is a tombstone, every other one is in the value's text.
pub(super) fn keyed(codec: Codec, records: &[(u32, u32)]) -> BytesMut {
    let mut builder = BatchBuilder::new(codec, None);
    for &(key, value) in records {
        let value = (value > 0).then(|| format!("{value:>50}"));
        builder.push(NOW_MS, Some(&key.to_be_bytes()), value.as_ref().map(String::as_bytes), &[]);
    }
    builder.finish()
}

/// Key and value of a record, as [`keyed`] has made it.
pub(super) fn meaning(record: &Record<'_>) -> (u32, u32) {
    let key = u32::from_be_bytes(record.key.unwrap().try_into().unwrap());
    let value = record.value.map_or(0, |value| std::str::from_utf8(value).unwrap().trim().parse().unwrap());
    (key, value)
}

/// Every record that a sequential reader gets, by offset; batches must follow one another without a gap.
pub(super) async fn records(log: &Log, disk: &dyn Disk) -> BTreeMap<i64, (u32, u32)> {
    let reader = log.reader();
    let mut next = reader.watermarks().log_start;
    let mut found = BTreeMap::new();
    while next < reader.watermarks().high_watermark {
        let plan = reader.plan(disk, next, 700, true).await.unwrap();
        let bytes =
            disk.read_at(plan.segment.file(), plan.position, usize::try_from(plan.length).unwrap()).await.unwrap();
        let mut in_plan = None;
        for batch in whole_batches(&bytes) {
            let header = ringmill_batch::check_stored(batch).unwrap();
            assert!(in_plan.is_none_or(|expected| expected == header.base_offset), "a gap between two batches");
            for record in &read_records(batch, DecompressLimit::default()).unwrap() {
                let record = record.unwrap();
                if record.offset >= next {
                    assert!(
                        found.insert(record.offset.get(), meaning(&record)).is_none(),
                        "{} comes twice",
                        record.offset
                    );
                }
            }
            in_plan = Some(header.next_offset());
        }
        next = in_plan.expect("a plan holds a batch");
    }
    found
}

/// Appends one batch for each list, and gives all records by offset.
pub(super) async fn fill(log: &Log, batches: impl IntoIterator<Item = Vec<(u32, u32)>>) -> BTreeMap<i64, (u32, u32)> {
    let mut all = BTreeMap::new();
    for batch in batches {
        let appended = append(log, keyed(Codec::None, &batch)).await.unwrap();
        all.extend((appended.base_offset.get()..).zip(batch));
    }
    all
}

/// What a compaction of everything before `end` leaves of `all`.
pub(super) fn model(all: &BTreeMap<i64, (u32, u32)>, end: i64) -> BTreeMap<i64, (u32, u32)> {
    let last: BTreeMap<u32, i64> = all.range(..end).map(|(&offset, &(key, _))| (key, offset)).collect();
    all.iter().filter(|&(&offset, (key, _))| offset >= end || last[key] == offset).map(|(&o, &r)| (o, r)).collect()
}

pub(super) async fn compact(log: &Log) -> Option<Compacted> {
    log.compact(&LIMITS, async |_| crate::turn::yield_now().await).await.unwrap()
}

pub(super) fn active_base(log: &Log) -> i64 {
    log.reader().snapshot().last().unwrap().base_offset().get()
}

/// A few keys over and over, in batches of one to four.
fn churn(count: u32) -> Vec<Vec<(u32, u32)>> {
    let batch = |number: u32| (0..=number % 4).map(|n| ((number * 7 + n * 3) % 23, number * 4 + n + 1)).collect();
    (0..count).map(batch).collect()
}

#[test]
fn the_last_record_of_each_key_stays_at_its_offset() {
    let place = Place::new();
    let disk = place.disk.clone();
    let log = place.create(config());
    let (expected, checkpoint) = place.drive(&log, async {
        let all = fill(&log, churn(300)).await;
        let end = active_base(&log);
        let before = log.reader().snapshot().len();
        assert!(before > 10, "{before} segments");
        let done = compact(&log).await.unwrap();
        assert!(done.bytes_after * 10 < done.bytes_before && done.keys == 23, "{done:?}");
        assert_eq!((done.segments_before, done.cleaned_to.get(), done.damaged), (before - 1, end, 0));
        let expected = model(&all, end);
        assert_eq!(records(&log, &*disk).await, expected);
        assert_eq!(log.cleanable(NOW_MS), None, "nothing is new");
        // Small segments come together with the next passes.
        let more = fill(&log, churn(60)).await;
        let shifted = all.into_iter().chain(more).collect();
        compact(&log).await.unwrap();
        assert!(log.reader().snapshot().len() < before / 2);
        let expected = model(&shifted, active_base(&log));
        assert_eq!(records(&log, &*disk).await, expected);
        expected
    });
    let report = verify(&place.dir(), VerifyOptions { records: Some(DecompressLimit::default()) }).unwrap();
    assert_eq!(report.problems().collect::<Vec<_>>(), Vec::<&crate::verify::Problem>::new());
    assert!(report.leftovers.is_empty(), "{:?}", report.leftovers);
    for start in [StartInfo { clean: true, checkpoint: Some(checkpoint) }, StartInfo::default()] {
        let log = place.open(config(), start).unwrap();
        assert_eq!(log.recovery_report().indexes_rebuilt, 0);
        let (found, _) = place.drive(&log, async {
            assert_eq!(log.cleanable(NOW_MS), None, "how far it is clean is known");
            records(&log, &*disk).await
        });
        assert_eq!(found, expected);
    }
}

#[test]
fn every_codec_is_read_and_written() {
    for codec in Codec::ALL {
        let place = Place::new();
        let disk = place.disk.clone();
        place.run(config(), async |log| {
            let mut all = BTreeMap::new();
            for number in 0..60_u32 {
                let batch: Vec<(u32, u32)> = (0..20).map(|n| (n * (number % 5 + 1), number * 20 + n + 1)).collect();
                let appended = append(log, keyed(codec, &batch)).await.unwrap();
                all.extend((appended.base_offset.get()..).zip(batch));
            }
            compact(log).await.unwrap();
            assert_eq!(records(log, &*disk).await, model(&all, active_base(log)), "{codec}");
        });
    }
}

#[test]
fn a_tombstone_stays_for_its_time_and_then_goes() {
    let place = Place::new();
    let disk = place.disk.clone();
    place.run(config(), async |log| {
        let mut all = fill(log, (1..30).map(|value| vec![(1, value), (2, value)])).await;
        all.extend(fill(log, [vec![(1, 0)]]).await);
        all.extend(fill(log, (1..60).map(|value| vec![(3, value)])).await);
        // Its time counts from the pass that first sees it: by its own timestamp it would be over by then.
        let first_pass_ms = NOW_MS + 5000;
        place.clock.set(first_pass_ms);
        compact(log).await.unwrap();
        let left = records(log, &*disk).await;
        assert_eq!(left, model(&all, active_base(log)));
        assert!(left.values().any(|&record| record == (1, 0)), "seen for the first time");
        for (at_ms, is_there) in [(999, true), (1000, false)] {
            place.clock.set(first_pass_ms + at_ms);
            all.extend(fill(log, (1..60).map(|value| vec![(3, value)])).await);
            compact(log).await.unwrap();
            let left = records(log, &*disk).await;
            assert_eq!(left.values().any(|record| record.0 == 1), is_there, "after {at_ms} ms");
            assert!(left.values().any(|record| record.0 == 2), "what was not deleted stays");
        }
    });
}

#[test]
fn a_small_map_takes_several_passes_and_comes_to_the_same() {
    let place = Place::new();
    let disk = place.disk.clone();
    let limits = CompactionLimits { map_bytes: 0, ..LIMITS };
    place.run(config(), async |log| {
        let all = fill(log, (0..900).map(|number| vec![(number * 7 % 200, number + 1)])).await;
        let end = active_base(log);
        let mut passes = 0;
        let mut cleaned_to = 0;
        while log.cleanable(NOW_MS).is_some() {
            let done = log.compact(&limits, async |_| {}).await.unwrap().unwrap();
            assert!(done.cleaned_to.get() > cleaned_to && done.keys <= 64, "{done:?}");
            cleaned_to = done.cleaned_to.get();
            let left = records(log, &*disk).await;
            assert!(left.iter().all(|(offset, record)| all[offset] == *record), "nothing moves");
            assert_eq!(left.range(cleaned_to..).count(), all.range(cleaned_to..).count(), "what was not mapped stays");
            passes += 1;
        }
        assert!(passes > 3 && cleaned_to == end, "{passes} passes");
        assert_eq!(records(log, &*disk).await, model(&all, end));
    });
}

#[test]
fn a_batch_with_more_keys_than_the_map_takes_stays_and_keeps_tombstones_behind_it() {
    let place = Place::new();
    let disk = place.disk.clone();
    let limits = CompactionLimits { map_bytes: 0, ..LIMITS };
    place.run(LogConfig { segment_bytes: 10_000, ..config() }, async |log| {
        fill(log, [(0..100).map(|key| (key, 1)).collect(), vec![(7, 0)]]).await;
        for round in 0..3 {
            fill(log, (1..160).map(|value| vec![(500 + round, value)])).await;
            place.clock.advance(5000);
            while log.cleanable(NOW_MS).is_some() {
                log.compact(&limits, async |_| {}).await.unwrap();
            }
        }
        let left = records(log, &*disk).await;
        assert_eq!(left.range(..101).count(), 101, "{left:?}");
    });
}

#[test]
fn batches_that_no_pass_can_read_are_named_once_and_counted_each_time() {
    let place = Place::new();
    let disk = place.disk.clone();
    let few_bytes = CompactionLimits { decompressed_bytes_max: 2000, ..LIMITS };
    let few_keys = CompactionLimits { map_bytes: 0, ..LIMITS };
    for (limits, named) in [(few_bytes, "become more than the 2000 bytes"), (few_keys, "100 records, 48 at most")] {
        let place = Place::on(Rc::clone(&disk));
        place.run(LogConfig { segment_bytes: 10_000, ..config() }, async |log| {
            let mut expected = fill(log, [vec![(7, 1)]]).await;
            let large: Vec<(u32, u32)> = (0..100).map(|key| (key, 1)).collect();
            append(log, keyed(Codec::Lz4, &large)).await.unwrap();
            expected.extend((1..).zip(large));
            let mut told = Vec::new();
            for _ in 0..3 {
                fill(log, (1..160).map(|value| vec![(500, value)])).await;
                let mut unread = Vec::new();
                while log.cleanable(NOW_MS).is_some() {
                    let done = log.compact(&limits, async |_| {}).await.unwrap().unwrap();
                    unread.push(done.unread);
                    told.extend(done.unread_named);
                }
                assert!(unread.iter().all(|&count| count == 1), "{unread:?}");
            }
            let [batch] = &told[..] else { panic!("{told:?}") };
            assert_eq!((batch.offset.get(), batch.records), (1, 100));
            assert!(batch.why.contains(named), "{batch:?}");
            let left = records(log, &*disk).await;
            assert!(left.into_iter().take(101).eq(expected), "what it supersedes and all of it stays");
        });
    }
}

#[test]
fn records_without_a_key_go_and_other_batches_stay_as_they_are() {
    let place = Place::new();
    place.run(config(), async |log| {
        append(log, batch(NOW_MS, 3, 100)).await.unwrap();
        let mut control = keyed(Codec::None, &[(1, 1)]);
        control[22] |= 0b11_0000;
        let crc = ringmill_batch::crc32c(&control[21..]);
        control[17..21].copy_from_slice(&crc.to_be_bytes());
        append(log, control).await.unwrap();
        fill(log, (1..60).map(|value| vec![(1, value)])).await;
        compact(log).await.unwrap();
        let batches = read_all(log, &*place.disk, 1 << 20).await;
        assert_eq!(batches[0], (3, 1), "the control batch is the first with a record");
    });
}

#[test]
fn only_closed_segments_of_a_certain_age_are_compacted_and_old_ones_in_any_case() {
    let place = Place::new();
    let with = |change: fn(&mut CompactionConfig)| {
        let mut changed = config();
        change(changed.compaction.as_mut().unwrap());
        changed
    };
    place.run(with(|config| config.min_lag_ms = 5000), async |log| {
        fill(log, (1..40).map(|value| vec![(1, value)])).await;
        let end = active_base(log);
        place.clock.set(NOW_MS + 3000);
        fill(log, (1..40).map(|value| vec![(1, value)])).await;
        assert_eq!(log.cleanable(NOW_MS + 4999), None);
        let young = log.cleanable(NOW_MS + 5000).unwrap();
        place.clock.set(NOW_MS + 5000);
        assert!(compact(log).await.unwrap().cleaned_to.get() <= end);
        let all = log.cleanable(NOW_MS + 8000).unwrap();
        assert!(young.dirty_bytes > 0 && young.is_due && all.is_due, "{young:?}, {all:?}");

        log.set_config(with(|config| config.dirty_millionths_max = 990_000));
        let Cleanable { is_due, clean_bytes, .. } = log.cleanable(NOW_MS + 8000).unwrap();
        assert!(!is_due && clean_bytes > 0, "one part in a hundred was compacted");
        log.set_config(with(|config| (config.dirty_millionths_max, config.max_lag_ms) = (990_000, 70_000)));
        let segments = log.reader().snapshot();
        let first_ms = |segment: &Arc<crate::segment::Segment>| segment.append_times_ms().unwrap().0;
        let due_ms = first_ms(segments.iter().find(|segment| segment.base_offset().get() >= end).unwrap()) + 70_000;
        assert!(log.cleanable(due_ms).unwrap().is_due && !log.cleanable(due_ms - 1).unwrap().is_due);
        let closed_ms = first_ms(segments.last().unwrap()) + 70_000;
        assert_eq!(log.on_deadline(NOW_MS + 8000), Some(closed_ms), "the active segment is closed as early");
        log.set_config(LogConfig { compaction: None, ..config() });
        assert_eq!((log.cleanable(NOW_MS + 10_000), compact(log).await), (None, None));
    });
}

#[test]
fn an_idempotent_producer_is_known_by_what_compaction_has_left() {
    let place = Place::new();
    let log = place.create(config());
    let by_producer = |sequence: i32, value: u32| {
        let mut builder = BatchBuilder::new(Codec::Lz4, None);
        builder.producer(9, 0, sequence);
        builder.push(NOW_MS, Some(b"key "), Some(value.to_string().as_bytes()), &[]);
        builder.finish()
    };
    place.drive(&log, async {
        for sequence in 0..4 {
            append(&log, by_producer(sequence, 1)).await.unwrap();
        }
        append(&log, keyed(Codec::None, &[(u32::from_be_bytes(*b"key "), 5)])).await.unwrap();
        fill(&log, (1..100).map(|value| vec![(2, value)])).await;
        assert!(compact(&log).await.unwrap().bytes_after > 0);
    });
    for entry in std::fs::read_dir(place.dir()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|extension| extension == "producers") {
            std::fs::remove_file(path).unwrap();
        }
    }
    let log = place.open(config(), StartInfo::default()).unwrap();
    place.drive(&log, async {
        let repeat = append(&log, by_producer(3, 1)).await.unwrap();
        assert_eq!((repeat.base_offset, repeat.duplicate), (offset(3), true));
        assert_eq!(append(&log, by_producer(5, 1)).await, Err(AppendError::OutOfOrderSequence));
        assert!(!append(&log, by_producer(4, 1)).await.unwrap().duplicate);
    });
}

#[test]
fn who_reads_an_old_segment_goes_on_reading_it() {
    let place = Place::new();
    let disk = place.disk.clone();
    place.run(config(), async |log| {
        fill(log, churn(100)).await;
        let reader = log.reader();
        let plan = reader.plan(&*disk, offset(20), 1 << 20, true).await.unwrap();
        let length = usize::try_from(plan.length).unwrap();
        let before = disk.read_at(plan.segment.file(), plan.position, length).await.unwrap();
        compact(log).await.unwrap();
        let after = disk.read_at(plan.segment.file(), plan.position, length).await.unwrap();
        assert_eq!(before, after);
        let old = reader.snapshot();
        assert!(!old.iter().any(|segment| Arc::ptr_eq(segment, &plan.segment)));
    });
}

#[test]
fn a_pass_leaves_room_for_records() {
    let place = Place::new();
    let space = DiskSpace::new(&place.dir(), SpaceLimits { free_bytes_min: 1 << 40, reserve_bytes: 0 });
    let env = LogEnv { space: Arc::clone(&space), ..place.env() };
    let log = place.block_on(Log::create(env, place.dir(), ID, config())).unwrap();
    place.drive(&log, async {
        let all = fill(&log, churn(100)).await;
        // The volume has less than twice the mark now, but more than the mark.
        let mark_bytes = space.look(&*place.disk).await.unwrap().mark_bytes;
        space.set_usable_bytes(mark_bytes * 2);
        let names = place.files("");
        let pass = log.compact(&LIMITS, async |_| {}).await;
        assert!(matches!(pass, Err(Abandoned::NoSpace)), "{pass:?}");
        assert_eq!(place.files(""), names);
        assert_eq!(records(&log, &*place.disk).await, all);
        space.set_usable_bytes(mark_bytes * 4);
        assert!(compact(&log).await.is_some());
    });
}

#[test]
fn a_pass_whose_segments_are_all_deleted_leaves_nothing_behind() {
    let place = Place::new();
    let log = place.create(config());
    place.drive(&log, async {
        fill(&log, churn(100)).await;
        let end = active_base(&log);
        let pass = log.compact(&LIMITS, async |_| {
            log.delete_records_before(offset(end)).await.unwrap();
            while log.reader().snapshot().len() > 1 {
                crate::turn::yield_now().await;
            }
        });
        let done = pass.await.unwrap().unwrap();
        assert_eq!((done.segments_before, done.cleaned_to.get()), (0, end));
        assert_eq!(log.reader().snapshot().len(), 1);
    });
    assert_eq!(place.files(".tmp"), Vec::<String>::new());
    assert!(matches!(place.block_on(log.compact(&LIMITS, async |_| {})), Ok(None)), "it is closed");
}

#[test]
fn what_a_stop_has_left_of_a_swap_is_completed_or_undone() {
    let place = Place::new();
    let disk = place.disk.clone();
    let log = place.create(config());
    let (all, checkpoint) = place.drive(&log, async { fill(&log, churn(100)).await });
    let copy = |from: &str, to: &str| std::fs::copy(place.dir().join(from), place.dir().join(to)).unwrap();
    let bases: Vec<i64> = log.reader().snapshot().iter().map(|segment| segment.base_offset().get()).collect();
    // As if the first two segments had become one: their bytes behind one another are a sound segment.
    let joined: Vec<u8> = bases[..2]
        .iter()
        .flat_map(|base| std::fs::read(place.dir().join(format!("{base:020}.log"))).unwrap())
        .collect();
    copy("00000000000000000000.log", "00000000000000000000.cleaned.tmp");
    copy("00000000000000000000.index", "00000000000000000000.index.cleaned.tmp");
    copy("00000000000000000000.timeindex", &format!("{:020}.timeindex.tmp", bases[1]));
    let swap = crate::log::swap::Swap { base: offset(0), end: offset(bases[2]) };
    std::fs::write(swap.path(&place.dir()), joined).unwrap();
    let report = verify(&place.dir(), VerifyOptions::default()).unwrap();
    assert_eq!(report.problems().collect::<Vec<_>>(), Vec::<&crate::verify::Problem>::new());
    assert_eq!((report.segments().count(), report.leftovers.len()), (bases.len() - 1, 4), "{:?}", report.leftovers);
    let log = place.open(config(), StartInfo { clean: false, checkpoint: Some(checkpoint) }).unwrap();
    let (found, _) = place.drive(&log, async { records(&log, &*disk).await });
    assert_eq!(found, all);
    assert_eq!(place.files(".swap").len() + place.files(".tmp").len(), 0);
    let names = place.files(".log");
    assert!(names.len() == bases.len() - 1 && !names.contains(&format!("{:020}.log", bases[1])));
}

#[test]
fn an_index_that_is_rebuilt_beside_a_pass_is_not_written_into_by_it() {
    // Both were made under the same name, so that the one that was finished first got the entries of the other.
    let place = Place::new();
    let config = LogConfig { segment_bytes: 100_000, index_interval_bytes: 1, ..config() };
    place.run(config, async |log| {
        fill(log, (0..2000).map(|number| vec![(number.max(50), 1)])).await;
        let old = Arc::clone(&log.reader().snapshot()[0]);
        let index = path(log.dir(), old.base_offset(), FileKind::OffsetIndex);
        let whole = std::fs::read(&index).unwrap();
        let inode = || std::os::unix::fs::MetadataExt::ino(&std::fs::metadata(&index).unwrap());
        let (before, mut slices_since) = (inode(), 0);
        let done = log.compact(&LIMITS, async |_| {
            if slices_since == 0 && place.files(".tmp").iter().any(|name| name.contains(".index")) {
                old.distrust_index();
                log.wake_keeper.notify_one();
                while inode() == before {
                    crate::turn::yield_now().await;
                }
                slices_since = 1;
            } else if slices_since > 0 && Arc::ptr_eq(&old, &log.reader().snapshot()[0]) {
                assert!(std::fs::read(&index).unwrap() == whole, "the pass has written into it");
                slices_since += 1;
            }
        });
        let done = done.await.unwrap().unwrap();
        assert!(done.bytes_after < done.bytes_before && slices_since > 10, "{done:?} {slices_since}");
        let new = log.reader().snapshot();
        assert!(!new[0].take_index_is_wrong() && std::fs::read(&index).unwrap() != whole, "its own has its place");
    });
    assert_eq!(place.files(".tmp"), Vec::<String>::new());
    let report = verify(&place.dir(), VerifyOptions::default()).unwrap();
    assert_eq!(report.problems().collect::<Vec<_>>(), Vec::<&crate::verify::Problem>::new());
}

#[test]
fn times_and_timestamps_are_those_of_what_is_left() {
    let place = Place::new();
    let disk = place.disk.clone();
    place.run(config(), async |log| {
        let keyed_at = |timestamp_ms: i64, key: u8| {
            let mut builder = BatchBuilder::new(Codec::None, None);
            builder.push(timestamp_ms, Some(&[key]), Some(&[b'v'; 300]), &[]);
            builder.finish()
        };
        for number in 0..30 {
            place.clock.set(NOW_MS + number);
            // The largest timestamp stands at a record that is superseded.
            let timestamp_ms = if number == 10 { NOW_MS * 2 } else { NOW_MS + number };
            append(log, keyed_at(timestamp_ms, u8::try_from(number % 5).unwrap())).await.unwrap();
        }
        let reader = log.reader();
        let max = async || reader.max_timestamp(&*disk).await.unwrap().unwrap();
        assert_eq!(max().await.timestamp_ms, NOW_MS * 2);
        compact(log).await.unwrap();
        assert_eq!((max().await.timestamp_ms, max().await.offset), (NOW_MS + 29, offset(29)));
        let end = active_base(log);
        let found = reader.find_timestamp(&*disk, NOW_MS + 11).await.unwrap().unwrap();
        assert_eq!((found.offset.get(), found.timestamp_ms), (end - 5, NOW_MS + end - 5));
        let segments = reader.snapshot();
        for pair in segments.windows(2) {
            let (first, end) = (pair[0].base_offset().get(), pair[1].base_offset().get());
            assert_eq!(pair[0].append_times_ms(), Some((NOW_MS + first, NOW_MS + end - 1)), "those of the old ones");
        }
        let last_closed = segments[segments.len() - 2].base_offset();
        let file = disk.open(&path(log.dir(), last_closed, FileKind::TimeIndex), OpenHow::Read).await.unwrap();
        assert!(disk.info(&file).await.unwrap().length > 0);
    });
}
