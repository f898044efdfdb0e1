//! Compaction of a log whose start moves meanwhile, by retention or by deletions.

use std::collections::BTreeMap;

use super::compaction::{LIMITS, active_base, config, fill, model, records};
use super::*;
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
