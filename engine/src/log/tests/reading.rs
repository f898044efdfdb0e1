//! Reading: plans, lookups by time, indexes that lie, damage.

use proptest::prelude::*;

use super::*;
use crate::log::ReadError;

/// A log of `batches` (records, value bytes, timestamp), in small segments with a dense index.
fn config(segment_bytes: u64) -> LogConfig {
    LogConfig { segment_bytes, index_interval_bytes: 300, ..LogConfig::default() }
}

#[test]
fn a_plan_begins_at_the_batch_that_holds_the_offset_and_keeps_to_its_limit() {
    let place = Place::new();
    let disk = place.disk.clone();
    place.run(config(1 << 20), async |log| {
        for _ in 0..10 {
            append(log, batch(NOW_MS, 10, 50)).await.unwrap();
        }
        let reader = log.reader();
        let size = reader.bytes() / 10;
        let plan = reader.plan(&*disk, offset(35), 10, true).await.unwrap();
        assert_eq!((plan.position, plan.length), (3 * size, size), "the first batch is whole");
        assert_eq!(plan.next_offset, offset(40));
        let plan = reader.plan(&*disk, offset(35), 10, false).await.unwrap();
        assert_eq!((plan.position, plan.length), (3 * size, 10), "unless nobody asked for that");
        let plan = reader.plan(&*disk, offset(99), 1 << 20, true).await.unwrap();
        assert_eq!((plan.position, plan.length, plan.next_offset), (9 * size, size, offset(100)));
        let plan = reader.plan(&*disk, offset(100), 1 << 20, true).await.unwrap();
        assert_eq!((plan.length, plan.next_offset), (0, offset(100)), "nothing at the end");
        let outside = reader.plan(&*disk, offset(101), 1 << 20, true).await;
        assert!(matches!(outside, Err(ReadError::OffsetOutOfRange { .. })), "{outside:?}");
    });
}

#[test]
fn the_largest_timestamp_and_the_first_at_or_after_one_are_found() {
    let place = Place::new();
    let disk = place.disk.clone();
    place.run(config(1500), async |log| {
        // Timestamps that fall back in between, over several segments.
        for start in [100, 200, 50, 300, 10, 400, 390] {
            append(log, batch(start, 3, 300)).await.unwrap();
        }
        let reader = log.reader();
        for (asked, expected) in [
            (0, Some((0, 100))),
            (101, Some((1, 101))),
            (103, Some((3, 200))),
            (203, Some((9, 300))),
            (302, Some((11, 302))),
            (303, Some((15, 400))),
            (403, None),
        ] {
            let found = reader.find_timestamp(&*disk, asked).await.unwrap();
            let found = found.map(|found| (found.offset.get(), found.timestamp_ms));
            assert_eq!(found, expected, "asked for {asked}");
        }
        let largest = reader.max_timestamp(&*disk).await.unwrap().unwrap();
        assert_eq!((largest.offset, largest.timestamp_ms), (offset(17), 402));
    });
}

/// When the newest record by time had been deleted, none was found in its segment any more, whatever else was there.
#[test]
fn the_largest_timestamp_is_that_of_a_record_that_is_still_there() {
    let place = Place::new();
    let disk = place.disk.clone();
    place.run(config(1 << 20), async |log| {
        for start in [300, 100, 200, 150] {
            append(log, batch(start, 3, 300)).await.unwrap();
        }
        let reader = log.reader();
        for (deleted_before, expected) in [(0, Some((2, 302))), (3, Some((8, 202))), (9, Some((11, 152))), (12, None)] {
            log.delete_records_before(offset(deleted_before)).await.unwrap();
            let largest = reader.max_timestamp(&*disk).await.unwrap();
            let largest = largest.map(|found| (found.offset.get(), found.timestamp_ms));
            assert_eq!(largest, expected, "deleted before {deleted_before}");
        }
    });
}

/// Where it had been deleted out of the middle of a batch, the batch's header was asked, which counts what is deleted: nothing was found.
#[test]
fn the_largest_timestamp_is_that_of_a_record_that_is_left_of_a_batch() {
    let place = Place::new();
    let disk = place.disk.clone();
    place.run(config(600), async |log| {
        for timestamps in [[100, 700, 350], [600, 500, 200], [550, 110, 90]] {
            let mut builder = BatchBuilder::new(Codec::Lz4, None);
            timestamps.iter().for_each(|&timestamp_ms| builder.push(timestamp_ms, None, Some(b"value"), &[]));
            append(log, builder.finish()).await.unwrap();
        }
        let reader = log.reader();
        let largest = [(1, 700), (1, 700), (3, 600), (3, 600), (6, 550), (6, 550), (6, 550), (7, 110), (8, 90)];
        for (deleted_before, expected) in (0..).zip(largest) {
            log.delete_records_before(offset(deleted_before)).await.unwrap();
            let found =
                reader.max_timestamp(&*disk).await.unwrap().map(|found| (found.offset.get(), found.timestamp_ms));
            assert_eq!(found, Some(expected), "deleted before {deleted_before}");
        }
    });
}

#[test]
fn an_index_that_lies_costs_time_and_is_rebuilt() {
    let place = Place::new();
    let disk = place.disk.clone();
    let fill = async |log: &Rc<Log>| {
        for number in 0..60 {
            append(log, batch(NOW_MS + number, 2, 100)).await.unwrap();
        }
    };
    let ((), entry) = place.run(config(4000), fill);
    let index = place.dir().join("00000000000000000000.index");
    let truth = std::fs::read(&index).unwrap();
    for names_a_later_batch in [false, true] {
        let mut lie = truth.clone();
        let mut before = &[0; 8][..];
        for (entry, true_entry) in lie.chunks_exact_mut(8).zip(truth.chunks_exact(8)) {
            if names_a_later_batch {
                entry[..4].copy_from_slice(&before[..4]);
                entry[3] += 1;
            } else {
                entry[7] ^= 0x11;
            }
            before = true_entry;
        }
        std::fs::write(&index, &lie).unwrap();
        let start = StartInfo { clean: true, checkpoint: Some(entry.clone()) };
        let log = place.open(config(4000), start).unwrap();
        place.drive(&log, async {
            for wanted in (0..120).rev() {
                let plan = log.reader().plan(&*disk, offset(wanted), 1, true).await.unwrap();
                assert_eq!(plan.next_offset, offset(wanted / 2 * 2 + 2), "looking for {wanted}");
            }
            assert_eq!(read_all(&log, &*disk, 1).await, (0..60).map(|n| (n * 2, 2)).collect::<Vec<_>>());
            log.delete_records_before(offset(0)).await.unwrap();
            while std::fs::read(&index).unwrap() != truth {
                crate::turn::yield_now().await;
            }
        });
    }
}

#[test]
fn missing_indexes_of_closed_segments_are_rebuilt_at_start_byte_for_byte() {
    let place = Place::new();
    let ((), entry) = place.run(config(4000), async |log| {
        for number in 0..60 {
            append(log, batch(NOW_MS + number, 2, 100)).await.unwrap();
        }
    });
    let names: Vec<String> = [place.files(".index"), place.files(".timeindex")].concat();
    let before: Vec<Vec<u8>> = names.iter().map(|name| std::fs::read(place.dir().join(name)).unwrap()).collect();
    names.iter().for_each(|name| std::fs::remove_file(place.dir().join(name)).unwrap());
    let log = place.open(config(4000), StartInfo { clean: true, checkpoint: Some(entry) }).unwrap();
    place.drive(&log, async {});
    let after: Vec<Vec<u8>> = names.iter().map(|name| std::fs::read(place.dir().join(name)).unwrap()).collect();
    assert_eq!(before, after);
    assert!(log.recovery_report().indexes_rebuilt > 0);
}

#[test]
fn index_entries_hold_the_last_offset_of_the_batch_at_their_position() {
    let place = Place::new();
    place.run(config(1 << 20), async |log| {
        for number in 0..6 {
            append(log, batch(NOW_MS + 10 * (number % 4), 5, 20)).await.unwrap();
        }
    });
    let size = std::fs::metadata(place.dir().join("00000000000000000000.log")).unwrap().len() / 6;
    assert_eq!(size, 196, "the golden values below rest on it");
    // More than 300 bytes lie behind the start after two batches, and again after two more.
    let index = std::fs::read(place.dir().join("00000000000000000000.index")).unwrap();
    assert_eq!(index, [[0, 0, 0, 14, 0, 0, 1, 136], [0, 0, 0, 24, 0, 0, 3, 16]].concat());
    // The second entry's largest timestamp is the fourth batch's.
    let time = std::fs::read(place.dir().join("00000000000000000000.timeindex")).unwrap();
    let entry = |timestamp_ms: i64, relative: u32| [&timestamp_ms.to_be_bytes()[..], &relative.to_be_bytes()].concat();
    assert_eq!(time, [entry(NOW_MS + 24, 14), entry(NOW_MS + 34, 19)].concat());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]

    /// Whatever was appended, an indexed lookup finds the batch that a walk from the start finds.
    #[test]
    fn lookups_agree_with_a_linear_scan(
        batches in prop::collection::vec((1_usize..20, 0_usize..400, 0_i64..1000), 1..60),
        segment_bytes in 5_000_u64..40_000,
    ) {
        let place = Place::new();
        let disk = place.disk.clone();
        place.run(config(segment_bytes), async |log| {
            let mut expected = Vec::new();
            let mut timestamps = Vec::new();
            for &(records, value_bytes, timestamp_ms) in &batches {
                let whole = batch(timestamp_ms, records, value_bytes.min(4000 / records));
                let appended = append(log, whole).await.unwrap();
                for number in 0..records {
                    expected.push(appended.base_offset);
                    timestamps.push(timestamp_ms + i64::try_from(number).unwrap());
                }
            }
            let reader = log.reader();
            for (wanted, &base) in expected.iter().enumerate() {
                let wanted = offset(i64::try_from(wanted).unwrap());
                let plan = reader.plan(&*disk, wanted, 1, true).await.unwrap();
                let header = disk.read_at(plan.segment.file(), plan.position, BatchHeader::BYTES).await.unwrap();
                assert_eq!(BatchHeader::parse(&header).unwrap().base_offset, base, "looking for {wanted}");
            }
            for asked in (0..1020).step_by(17) {
                let found = reader.find_timestamp(&*disk, asked).await.unwrap();
                let expected = timestamps.iter().position(|&timestamp_ms| timestamp_ms >= asked);
                assert_eq!(found.map(|found| usize::try_from(found.offset.get()).unwrap()), expected, "at {asked}");
            }
        });
    }
}

#[test]
fn an_index_keeps_a_short_tail_in_memory_and_the_rest_in_its_file() {
    let place = Place::new();
    let disk = place.disk.clone();
    let config = LogConfig { index_interval_bytes: 0, ..LogConfig::default() };
    let check_lookups = async |log: &Rc<Log>| {
        let reader = log.reader();
        let size = reader.bytes() / 1500;
        for wanted in (0..3000).step_by(7) {
            let plan = reader.plan(&*disk, offset(wanted), 1, true).await.unwrap();
            assert_eq!(plan.position, size * u64::try_from(wanted / 2).unwrap(), "looking for {wanted}");
        }
    };
    let (_, entry) = place.run(config.clone(), async |log| {
        let answers: Vec<_> = (0..1500)
            .map(|number| {
                let batch = batch(NOW_MS + number, 2, 10);
                let header = BatchHeader::parse(&batch).unwrap();
                log.append(batch, header)
            })
            .collect();
        for answer in answers {
            answer.await.unwrap().unwrap();
        }
        let in_memory = log.reader().snapshot()[0].offset_index.entries_in_memory();
        assert!(in_memory < crate::segment::index::TAIL_ENTRIES_MAX, "{in_memory} entries");
        check_lookups(log).await;
    });
    let index = place.dir().join("00000000000000000000.index");
    let whole = std::fs::read(&index).unwrap();
    assert_eq!(whole.len(), 1499 * 8, "every batch but the first");
    // Half of what was spilled is lost with the power: the rest is taken over, and what is missing is walked.
    std::fs::write(&index, [&whole[..6000], &[0; 2000]].concat()).unwrap();
    let middle = CheckpointEntry { recovery_point: offset(2800), ..entry };
    let log = place.open(config, StartInfo { clean: false, checkpoint: Some(middle) }).unwrap();
    place.drive(&log, check_lookups(&log));
    assert_eq!(std::fs::read(&index).unwrap(), whole);
}
