//! What a pass has written is within the limits of the next one: else it would stay for ever, and every tombstone behind it.

use super::compaction::{LIMITS, config, fill, keyed, records};
use super::*;
use crate::compaction::CompactionLimits;
use crate::log::compact_output::OUTPUT_BYTES_MAX;

/// Compacts until nothing is new; gives the batches that could not be read.
async fn compact_all(log: &Log, limits: &CompactionLimits) -> u64 {
    let mut unread = 0;
    while log.cleanable(NOW_MS * 2).is_some() {
        unread = log.compact(limits, async |_| crate::turn::yield_now().await).await.unwrap().unwrap().unread;
    }
    unread
}

#[test]
fn a_batch_that_compresses_much_better_without_what_goes_is_read_by_the_next_pass() {
    // zstd makes a ten-thousandth of equal bytes, and 1,100 times its size is the most that is read of a large batch.
    let place = Place::new();
    let disk = place.disk.clone();
    let mut noise = 1_u64;
    let mut random = || {
        noise = noise.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        noise.to_be_bytes()[0]
    };
    let random: Vec<u8> = (0..40_000).map(|_| random()).collect();
    let mut builder = BatchBuilder::new(Codec::Zstd, None);
    builder.push(NOW_MS, Some(b"goes"), Some(&random), &[]);
    builder.push(NOW_MS, Some(b"stays"), Some(&vec![b'v'; 17 << 20]), &[]);
    let large = builder.finish();
    let limits = CompactionLimits { decompressed_bytes_max: 64 << 20, ..LIMITS };
    place.run(LogConfig { segment_bytes: 100_000, ..config() }, async |log| {
        append(log, large).await.unwrap();
        append(log, keyed(Codec::None, &[(u32::from_be_bytes(*b"goes"), 1)])).await.unwrap();
        append(log, keyed(Codec::None, &[(7, 0)])).await.unwrap();
        for _ in 0..3 {
            fill(log, (1..1200).map(|value| vec![(500, value)])).await;
            assert_eq!(compact_all(log, &limits).await, 0);
            place.clock.advance(5000);
        }
        let reader = log.reader();
        let found = reader.find_timestamp(&*disk, NOW_MS).await.unwrap().unwrap();
        assert_eq!(found.offset, offset(1), "it is read for a search by time");
        let batches = read_all(log, &*disk, 1 << 20).await;
        assert!(
            !batches.iter().any(|&(base, records)| base == 3 && records > 0),
            "the tombstone has gone: {batches:?}"
        );
    });
}

#[test]
fn a_batch_that_grows_with_its_delete_horizon_is_read_by_the_next_pass() {
    // Its records' timestamps are counted from the horizon, which lies far ahead of them: four or five bytes more for each.
    let place = Place::new();
    let disk = place.disk.clone();
    let tombstones: Vec<(u32, u32)> = (0..1000).map(|key| (key, 0)).collect();
    let batch = keyed(Codec::Lz4, &tombstones);
    let bytes = ringmill_batch::read_records(&batch, ringmill_batch::DecompressLimit::default()).unwrap().bytes();
    let limits = CompactionLimits { decompressed_bytes_max: bytes, ..LIMITS };
    place.run(LogConfig { segment_bytes: 20_000, ..config() }, async |log| {
        append(log, batch).await.unwrap();
        for _ in 0..3 {
            fill(log, (1..300).map(|value| vec![(5000, value)])).await;
            assert_eq!(compact_all(log, &limits).await, 0);
            place.clock.advance(5000);
        }
        assert!(records(log, &*disk).await.values().all(|record| record.0 == 5000), "their time is over");
    });
}

#[test]
fn a_segment_that_would_outgrow_its_bounds_stays_until_a_start() {
    // A delete horizon years away makes small tombstones half as large again.
    let place = Place::new();
    let disk = place.disk.clone();
    let mut config = LogConfig { segment_bytes: OUTPUT_BYTES_MAX * 9 / 10, ..config() };
    config.compaction.as_mut().unwrap().tombstones_kept_ms = 1 << 40;
    let limits = CompactionLimits { map_bytes: 8 << 20, ..LIMITS };
    let keys = u32::try_from(OUTPUT_BYTES_MAX).unwrap() / 14;
    let of_all = |value: u32| (0..keys / 1000).map(move |batch| (0..1000).map(|n| (batch * 1000 + n, value)).collect());
    let log = place.create(config.clone());
    let first = |log: &Log| Arc::clone(&log.reader().snapshot()[0]);
    let ((), checkpoint) = place.drive(&log, async {
        fill(&log, of_all(0)).await;
        fill(&log, [(0..1000).map(|key| (keys + key, 0)).collect()]).await;
        fill(&log, (0..20).map(|_| vec![(u32::MAX, 1); 1000])).await;
        let before = first(&log);
        for number in 0..3 {
            place.clock.advance(5000);
            let done = log.compact(&limits, async |_| crate::turn::yield_now().await).await.unwrap().unwrap();
            assert_eq!((done.outgrown, done.damaged, done.cleaned_to), (1, 0, offset(0)), "{number}");
            assert_eq!(log.cleanable(NOW_MS * 2), None, "it is not tried again for its own sake");
            fill(&log, of_all(number + 1)).await;
        }
        assert!(Arc::ptr_eq(&before, &first(&log)), "it stays as it is");
    });
    assert_eq!(place.files(".tmp"), Vec::<String>::new());
    let log = place.open(config, StartInfo { clean: true, checkpoint: Some(checkpoint) }).unwrap();
    place.drive(&log, async {
        let done = log.compact(&limits, async |_| crate::turn::yield_now().await).await.unwrap().unwrap();
        assert_eq!(done.outgrown, 0, "what outgrew it has been superseded");
        let left = records(&log, &*disk).await;
        let tombstones: Vec<u32> = left.values().filter(|record| record.1 == 0).map(|record| record.0).collect();
        assert_eq!(tombstones, (keys..keys + 1000).collect::<Vec<_>>(), "their time begins now");
    });
}
