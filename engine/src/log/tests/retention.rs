//! Retention by append time and by size, deletion up to an offset, rolls by time.

use super::*;

fn config() -> LogConfig {
    LogConfig { segment_bytes: 1000, retention_ms: Some(10_000), segment_ms: 5_000, ..LogConfig::default() }
}

async fn settle(log: &Log, until: impl Fn() -> bool) {
    log.wake_all();
    for _ in 0..10_000 {
        if until() {
            return;
        }
        crate::turn::yield_now().await;
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
    panic!("nothing happened: {log:?}");
}

#[test]
fn segments_go_by_the_brokers_time_of_append_and_the_log_start_follows() {
    let place = Place::new();
    place.run(config(), async |log| {
        for number in 0..6 {
            // The producers' timestamps lie far in the future: they keep nothing.
            append(log, batch(NOW_MS * 2, 1, 700)).await.unwrap();
            place.clock.set(NOW_MS + number * 1000 + 1000);
        }
        assert_eq!(place.files(".log").len(), 6);
        let now_ms = NOW_MS + 12_500;
        place.clock.set(now_ms);
        let snapshot = log.reader().snapshot();
        log.on_deadline(now_ms);
        settle(log, || place.files(".log").len() == 4).await;
        assert_eq!(log.reader().watermarks().log_start, offset(3), "and the active segment was rolled by its age");
        // A snapshot keeps what is gone readable.
        let bytes = place.disk.read_at(snapshot[0].file(), 0, 61).await.unwrap();
        assert_eq!(BatchHeader::parse(&bytes).unwrap().base_offset, offset(0));
        assert_eq!(place.files(".index").len() + place.files(".timeindex").len(), 6, "indexes of closed segments only");
    });
}

#[test]
fn expired_data_goes_even_when_nothing_is_appended_any_more() {
    let place = Place::new();
    place.run(config(), async |log| {
        append(log, batch(NOW_MS, 3, 10)).await.unwrap();
        assert_eq!(log.on_deadline(NOW_MS), Some(NOW_MS + 5000), "segment.ms is the nearest");
        place.clock.set(NOW_MS + 10_001);
        log.on_deadline(NOW_MS + 10_001);
        settle(log, || place.files(".log") == ["00000000000000000003.log"]).await;
        assert_eq!(log.reader().watermarks().log_start, offset(3));
        assert_eq!(append(log, batch(NOW_MS, 1, 10)).await.unwrap().base_offset, offset(3));
    });
}

#[test]
fn size_removes_the_oldest_while_the_rest_still_holds_enough() {
    let place = Place::new();
    let config = LogConfig { retention_bytes: Some(2000), ..config() };
    place.run(config, async |log| {
        for _ in 0..6 {
            append(log, batch(NOW_MS, 1, 700)).await.unwrap();
        }
        // Five closed segments of about 780 bytes and the active one: three must stay to hold 2000.
        settle(log, || place.files(".log").len() == 3).await;
        assert!(log.reader().bytes() >= 2000, "{}", log.reader().bytes());
    });
}

#[test]
fn deleted_records_stay_deleted_over_a_restart() {
    let place = Place::new();
    let disk = place.disk.clone();
    let ((), entry) = place.run(config(), async |log| {
        for _ in 0..6 {
            append(log, batch(NOW_MS, 2, 300)).await.unwrap();
        }
        assert_eq!(log.delete_records_before(offset(5)).await.unwrap(), offset(5));
        assert_eq!(log.delete_records_before(offset(3)).await.unwrap(), offset(5), "it never goes back");
        settle(log, || place.files(".log").first().map(String::as_str) == Some("00000000000000000004.log")).await;
    });
    for clean in [true, false] {
        let log = place.open(config(), StartInfo { clean, checkpoint: Some(entry.clone()) }).unwrap();
        assert_eq!(log.reader().watermarks().log_start, offset(5));
        let below = place.block_on(log.reader().plan(&*disk, offset(4), 100, true));
        assert!(matches!(below, Err(crate::log::ReadError::OffsetOutOfRange { .. })));
        let found = place.block_on(log.reader().find_timestamp(&*disk, 0)).unwrap().unwrap();
        assert_eq!(found.offset, offset(5), "the batch of 4 and 5 holds it, records below the start do not count");
    }
}
