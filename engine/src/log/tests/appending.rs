//! Appending: order, offsets, rolls, producers, caching, closing.

use ringmill_batch::{BatchHeader, TimestampType};

use super::*;
use crate::log::{LogError, LogState};

#[test]
fn queued_batches_get_dense_offsets_in_call_order() {
    let place = Place::new();
    let disk = place.disk.clone();
    let ((), entry) = place.run(LogConfig::default(), async |log| {
        let answers: Vec<_> = (1..=20)
            .map(|records| {
                let batch = batch(NOW_MS, records, 10);
                let header = BatchHeader::parse(&batch).unwrap();
                log.append(batch, header)
            })
            .collect();
        let mut expected = 0;
        for (records, answer) in (1..).zip(answers) {
            let appended = answer.await.unwrap().unwrap();
            assert_eq!(appended.base_offset, offset(expected));
            expected += records;
        }
        assert_eq!(read_all(log, &*disk, 1 << 20).await.len(), 20);
        assert_eq!(log.reader().watermarks().high_watermark, offset(expected));
    });
    assert_eq!(entry.recovery_point, offset(210));
}

#[test]
fn segments_roll_before_they_pass_their_size() {
    let place = Place::new();
    let disk = place.disk.clone();
    let config = LogConfig { segment_bytes: 4096, index_interval_bytes: 1000, ..LogConfig::default() };
    let (batches, _) = place.run(config, async |log| {
        for _ in 0..40 {
            append(log, batch(NOW_MS, 3, 200)).await.unwrap();
        }
        assert_eq!(read_all(log, &*disk, 1000).await, read_all(log, &*disk, 1 << 20).await);
        read_all(log, &*disk, 1 << 20).await
    });
    assert_eq!(batches, (0..40).map(|n| (n * 3, 3)).collect::<Vec<_>>());
    let report = crate::verify::verify(&place.dir(), crate::verify::VerifyOptions::default()).unwrap();
    assert_eq!(report.problems().map(ToString::to_string).collect::<Vec<_>>(), Vec::<String>::new());
    let logs = place.files(".log");
    assert!(logs.len() > 5, "{logs:?}");
    for name in logs {
        let length = std::fs::metadata(place.dir().join(&name)).unwrap().len();
        assert!((1..=4096).contains(&length), "{name} has {length} bytes: secured space is cut");
    }
}

#[test]
fn a_batch_larger_than_a_segment_is_refused_alone() {
    let place = Place::new();
    let config = LogConfig { segment_bytes: 1000, ..LogConfig::default() };
    place.run(config, async |log| {
        append(log, batch(NOW_MS, 1, 10)).await.unwrap();
        assert_eq!(append(log, batch(NOW_MS, 1, 2000)).await, Err(AppendError::TooLargeForSegment));
        assert_eq!(append(log, batch(NOW_MS, 1, 10)).await.unwrap().base_offset, offset(1));
    });
}

#[test]
fn a_narrow_unsynced_bound_holds_back_and_stops_nothing() {
    let place = Place::new();
    let config = LogConfig { unsynced_bytes_max: 1000, ..LogConfig::default() };
    place.run(config, async |log| {
        let answers: Vec<_> = (0..50)
            .map(|_| {
                let batch = batch(NOW_MS, 1, 300);
                let header = BatchHeader::parse(&batch).unwrap();
                log.append(batch, header)
            })
            .collect();
        for answer in answers {
            answer.await.unwrap().unwrap();
        }
    });
}

#[test]
fn repeats_are_answered_with_the_original_even_while_it_is_on_its_way() {
    let place = Place::new();
    place.run(LogConfig::default(), async |log| {
        append(log, batch(NOW_MS, 5, 10)).await.unwrap();
        let send = |sequence| {
            let batch = produced(9, 0, sequence);
            let header = BatchHeader::parse(&batch).unwrap();
            log.append(batch, header)
        };
        let (first, repeat, second) = (send(0), send(0), send(1));
        let first = first.await.unwrap().unwrap();
        let repeat = repeat.await.unwrap().unwrap();
        assert_eq!((first.base_offset, first.duplicate), (offset(5), false));
        assert_eq!((repeat.base_offset, repeat.duplicate), (offset(5), true));
        assert_eq!(second.await.unwrap().unwrap().base_offset, offset(6));
        // And once it has long been durable.
        let late = append(log, produced(9, 0, 1)).await.unwrap();
        assert_eq!((late.base_offset, late.duplicate), (offset(6), true));
        assert_eq!(append(log, produced(9, 0, 7)).await, Err(AppendError::OutOfOrderSequence));
        append(log, produced(9, 1, 0)).await.unwrap();
        assert_eq!(append(log, produced(9, 0, 2)).await, Err(AppendError::ProducerFenced));
    });
}

#[test]
fn producers_are_remembered_over_every_kind_of_restart() {
    for (clean, keep_snapshots) in [(true, true), (true, false), (false, true), (false, false)] {
        let place = Place::new();
        let (_, entry) = place.run(LogConfig::default(), async |log| {
            for sequence in 0..3 {
                append(log, produced(9, 0, sequence)).await.unwrap();
            }
        });
        if !keep_snapshots {
            for name in place.files(".producers") {
                std::fs::remove_file(place.dir().join(name)).unwrap();
            }
        }
        let log = place.open(LogConfig::default(), StartInfo { clean, checkpoint: Some(entry) }).unwrap();
        let ((), _) = place.drive(&log, async {
            let repeat = append(&log, produced(9, 0, 2)).await.unwrap();
            assert_eq!((repeat.base_offset, repeat.duplicate), (offset(2), true), "{clean} {keep_snapshots}");
            assert!(!append(&log, produced(9, 0, 3)).await.unwrap().duplicate);
        });
    }
}

#[test]
fn append_time_is_stamped_where_the_topic_wants_it() {
    let place = Place::new();
    let disk = place.disk.clone();
    let config = LogConfig { timestamp_type: TimestampType::LogAppendTime, ..LogConfig::default() };
    place.run(config, async |log| {
        let appended = append(log, batch(5, 3, 10)).await.unwrap();
        assert_eq!(appended.append_time_ms, Some(NOW_MS));
        let found = log.reader().find_timestamp(&*disk, NOW_MS).await.unwrap().unwrap();
        assert_eq!((found.offset, found.timestamp_ms), (offset(0), NOW_MS));
        assert_eq!(read_all(log, &*disk, 1000).await, [(0, 3)], "the checksum is computed anew");
    });
}

#[test]
fn caching_answers_before_the_sync_and_syncs_when_its_time_has_come() {
    let place = Place::new();
    let config = LogConfig { write_caching: true, flush_ms: 1000, ..LogConfig::default() };
    place.run(config, async |log| {
        append(log, batch(NOW_MS, 1, 10)).await.unwrap();
        assert_eq!(log.reader().watermarks().high_watermark, offset(1), "visible at once");
        assert_eq!(log.checkpoint_entry().recovery_point, offset(0), "not durable yet");
        assert_eq!(log.on_deadline(NOW_MS), Some(NOW_MS + 1000));
        log.on_deadline(NOW_MS + 1000);
        while log.checkpoint_entry().recovery_point < offset(1) {
            crate::turn::yield_now().await;
        }
    });
}

/// A simulated clock went back by an hour, and for as long a power cut could take what was to be durable after 1 ms.
#[test]
fn a_clock_that_is_set_back_keeps_nothing_unsynced() {
    let place = Place::new();
    let config = LogConfig { write_caching: true, flush_ms: 1000, ..LogConfig::default() };
    place.run(config, async |log| {
        append(log, batch(NOW_MS, 1, 10)).await.unwrap();
        let earlier_ms = NOW_MS - 3_600_000;
        assert_eq!(log.on_deadline(earlier_ms), Some(earlier_ms + 1000));
        log.on_deadline(earlier_ms + 1000);
        while log.checkpoint_entry().recovery_point < offset(1) {
            crate::turn::yield_now().await;
        }
    });
}

#[test]
fn a_closed_log_refuses_and_its_files_hold_no_secured_space() {
    let place = Place::new();
    let log = place.create(LogConfig::default());
    let (appended, _) = place.drive(&log, async { append(&log, batch(NOW_MS, 1, 100)).await });
    assert!(appended.is_ok());
    assert_eq!(place.block_on(append(&log, batch(NOW_MS, 1, 100))), Err(AppendError::Closed));
    assert_eq!(log.state(), LogState::Serving);
    let length = std::fs::metadata(place.dir().join("00000000000000000000.log")).unwrap().len();
    assert_eq!(length, log.reader().bytes());
}

#[test]
fn what_exists_is_not_created_again() {
    let place = Place::new();
    place.run(LogConfig::default(), async |_| ());
    let again = place.block_on(Log::create(place.env(), place.dir(), ID, LogConfig::default()));
    let Err(OpenError::Io { error, .. }) = again else { panic!("{again:?}") };
    assert_eq!(error.kind(), std::io::ErrorKind::AlreadyExists);
}

#[test]
fn offsets_past_the_end_are_no_log_start() {
    let place = Place::new();
    place.run(LogConfig::default(), async |log| {
        let refused = log.delete_records_before(offset(1)).await;
        assert!(matches!(refused, Err(LogError::OffsetOutOfRange(_))), "{refused:?}");
    });
}

#[test]
fn a_log_lives_on_the_ring_as_on_plain_calls() {
    let ring = match crate::disk::UringDisk::new(crate::disk::UringOptions::default()) {
        Ok(ring) => ring,
        Err(error) => return eprintln!("skipped: {error}"),
    };
    let place = Place::on(Rc::new(ring));
    let disk = place.disk.clone();
    let config = LogConfig { segment_bytes: 300_000, ..LogConfig::default() };
    let expected: Vec<(i64, i32)> = (0..100).map(|n| (n * 3, 3)).collect();
    let ((), entry) = place.run(config.clone(), async |log| {
        let answers: Vec<_> = (0..100)
            .map(|_| {
                let batch = batch(NOW_MS, 3, 3000);
                let header = BatchHeader::parse(&batch).unwrap();
                log.append(batch, header)
            })
            .collect();
        for answer in answers {
            answer.await.unwrap().unwrap();
        }
        assert_eq!(read_all(log, &*disk, 50_000).await, expected);
    });
    let middle = CheckpointEntry { recovery_point: offset(30), ..entry };
    let log = place.open(config, StartInfo { clean: false, checkpoint: Some(middle) }).unwrap();
    let (batches, _) = place.drive(&log, read_all(&log, &*disk, 50_000));
    assert_eq!(batches, expected);
}

#[test]
fn a_producer_snapshot_ahead_of_the_log_is_forgotten() {
    // It was passed over once, and believed when the log had grown past it: a producer's new batch was taken for an old one.
    let place = Place::new();
    place.run(LogConfig::default(), async |log| {
        for sequence in 0..2 {
            append(log, produced(9, 0, sequence)).await.unwrap();
        }
    });
    let file = std::fs::OpenOptions::new().write(true).open(place.dir().join("00000000000000000000.log")).unwrap();
    file.set_len(0).unwrap();
    let log = place.open(LogConfig::default(), StartInfo::default()).unwrap();
    let work = async {
        for _ in 0..2 {
            append(&log, batch(NOW_MS, 1, 10)).await.unwrap();
        }
    };
    place.block_on(async {
        tokio::select! { biased; () = work => (), () = Rc::clone(&log).drive() => unreachable!("it never ends") }
    });
    drop(log);
    let log = place.open(LogConfig::default(), StartInfo::default()).unwrap();
    let (again, _) = place.drive(&log, append(&log, produced(9, 0, 1)));
    assert!(!again.unwrap().duplicate, "nothing of this producer is left");
}
