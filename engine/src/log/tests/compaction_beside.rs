//! Compaction of a log whose start moves meanwhile, by retention or by deletions, or whose end went back between two lives.

use std::collections::BTreeMap;

use super::compaction::{LIMITS, active_base, compact, config, fill, model, records};
use super::*;
use crate::log::read::visible_end;
use crate::log::swap::unfinished_path;
use crate::verify::{VerifyOptions, verify};

/// A few keys over and over, in batches of two.
fn churn(count: u32) -> Vec<Vec<(u32, u32)>> {
    (0..count).map(|number| vec![(number * 7 % 23, number + 1), (number * 5 % 19, number + 1)]).collect()
}

/// Deletes the oldest segment, and waits until it is gone.
async fn delete_oldest(log: &Log) {
    let segments = log.reader().snapshot();
    log.delete_records_before(segments[1].base_offset()).await.unwrap();
    while Arc::ptr_eq(&segments[0], &log.reader().snapshot()[0]) {
        crate::turn::yield_now().await;
    }
}

#[test]
fn a_pass_goes_on_with_what_retention_leaves_of_its_segments() {
    // It was abandoned, and begun anew at once: where a segment expired during each pass, none ever came to anything.
    let place = Place::new();
    let disk = place.disk.clone();
    let log = place.create(config());
    let (expected, checkpoint) = place.drive(&log, async {
        let all = fill(&log, churn(600)).await;
        let (end, before) = (active_base(&log), log.reader().snapshot().len());
        assert!(before > 30, "{before} segments");
        // Several become one, so that some of these go while others stay.
        log.set_config(LogConfig { segment_bytes: 15_000, ..config() });
        let (mut slices, mut in_a_group) = (0, 0);
        let done = log.compact(&LIMITS, async |_| {
            slices += 1;
            if slices % 7 == 0 && log.reader().snapshot().len() > before / 4 {
                let oldest = log.reader().snapshot()[0].base_offset();
                in_a_group += usize::from(unfinished_path(&place.dir(), oldest).exists());
                delete_oldest(&log).await;
            }
        });
        let done = done.await.unwrap().unwrap();
        assert!(in_a_group > 0, "no group has lost its first segment while it was written");
        assert_eq!(done.cleaned_to.get(), end);
        let log_start = log.reader().watermarks().log_start.get();
        assert!(log_start > 0 && done.bytes_after < done.bytes_before / 2, "from {log_start} on {done:?}");
        let expected: BTreeMap<_, _> =
            model(&all, end).into_iter().filter(|&(offset, _)| offset >= log_start).collect();
        assert_eq!(records(&log, &*disk).await, expected);
        expected
    });
    let report = verify(&place.dir(), VerifyOptions::default()).unwrap();
    assert_eq!(report.problems().collect::<Vec<_>>(), Vec::<&crate::verify::Problem>::new());
    assert!(report.leftovers.is_empty(), "{:?}", report.leftovers);
    for start in [StartInfo { clean: true, checkpoint: Some(checkpoint) }, StartInfo::default()] {
        let log = place.open(config(), start).unwrap();
        assert_eq!(place.drive(&log, records(&log, &*disk)).0, expected);
    }
}

#[test]
fn how_far_a_log_was_clean_is_forgotten_when_its_end_lies_before() {
    // The file was passed over, and left there: once the log had grown past it, it was believed, and what had been appended since kept keys
    // twice, and lost tombstones before what they hide.
    let place = Place::new();
    let disk = place.disk.clone();
    let log = place.create(config());
    let (mut all, _) = place.drive(&log, async {
        let all = fill(&log, churn(600)).await;
        assert_eq!(compact(&log).await.unwrap().cleaned_to.get(), active_base(&log));
        model(&all, active_base(&log))
    });
    // The newest files are lost, and so is what would know of them.
    let cut = log.reader().snapshot()[1].base_offset().get();
    for name in place.files(".log").into_iter().filter(|name| *name >= format!("{cut:020}.log")) {
        std::fs::remove_file(place.dir().join(name)).unwrap();
    }
    all.retain(|&offset, _| offset < cut);
    let log = place.open(config(), StartInfo::default()).unwrap();
    let ((), checkpoint) = place.drive(&log, async {
        assert_eq!(records(&log, &*disk).await, all);
        all.extend(fill(&log, [vec![(100, 1), (100, 2)]]).await);
        all.extend(fill(&log, churn(900)).await);
    });
    let log = place.open(config(), StartInfo { clean: true, checkpoint: Some(checkpoint) }).unwrap();
    place.drive(&log, async {
        compact(&log).await.unwrap();
        assert_eq!(records(&log, &*disk).await, model(&all, active_base(&log)));
    });
}

#[test]
fn who_has_looked_where_the_end_was_before_a_roll_and_a_pass_reads_no_further_than_there_is() {
    // A core that stood still between its look at the watermarks and that at the segments took the old position of the end for one in the
    // new file, met nothing there, and called it damaged.
    let place = Place::new();
    place.run(config(), async |log| {
        fill(log, churn(4)).await;
        let reader = log.reader();
        let before = reader.watermarks();
        assert_eq!(before.end_segment, offset(0));
        fill(log, churn(200)).await;
        compact(log).await.unwrap();
        let segments = reader.snapshot();
        assert!(segments[0].closed_length().unwrap() < before.end_position);
        let end = visible_end(&segments[0], &before, &segments);
        assert_eq!((end.position, end.offset), (segments[0].closed_length().unwrap(), segments[1].base_offset()));
        for segment in &segments[1..] {
            assert_eq!(visible_end(segment, &before, &segments).position, 0, "these were begun later");
        }
    });
}

#[test]
fn the_newest_durable_batch_of_a_producer_stays_while_a_newer_one_is_not_durable() {
    // Only the newest stayed, which a power cut could take: who sent the one before again was taken for a stranger.
    let place = Place::new();
    let config = LogConfig { write_caching: true, flush_ms: i64::MAX, ..config() };
    let by_producer = |sequence: i32| {
        let mut builder = BatchBuilder::new(Codec::None, None);
        builder.producer(9, 0, sequence);
        builder.push(NOW_MS, Some(&7_u32.to_be_bytes()), Some(b"value"), &[]);
        builder.finish()
    };
    let after_the_cut = Place::new();
    place.run(config.clone(), async |log| {
        let durable = append(log, by_producer(0)).await.unwrap().base_offset;
        fill(log, churn(40)).await;
        let lost = append(log, by_producer(1)).await.unwrap().base_offset;
        let recovery_point = log.checkpoint_entry().recovery_point;
        assert!(durable < recovery_point && recovery_point <= lost && lost.get() >= active_base(log));
        compact(log).await.unwrap();
        let plan = log.reader().plan(&*place.disk, lost, 1, true).await.unwrap();
        // What a power cut leaves, without the snapshots: one may be damaged, or never have been written on a full disk.
        std::fs::create_dir(after_the_cut.dir()).unwrap();
        for name in place.files("").into_iter().filter(|name| !name.ends_with(".producers")) {
            std::fs::copy(place.dir().join(&name), after_the_cut.dir().join(name)).unwrap();
        }
        let active = after_the_cut.dir().join(format!("{:020}.log", active_base(log)));
        std::fs::OpenOptions::new().write(true).open(active).unwrap().set_len(plan.position).unwrap();
    });
    let log = after_the_cut.open(config, StartInfo::default()).unwrap();
    after_the_cut.drive(&log, async {
        let repeat = append(&log, by_producer(0)).await.unwrap();
        assert_eq!((repeat.base_offset, repeat.duplicate), (offset(0), true));
    });
}
