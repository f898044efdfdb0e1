//! Fetch sessions (KIP-227): what a consumer need not say twice, and need not hear twice.

use std::time::{Duration, Instant};

use bytes::Bytes;
use ringmill::Broker;
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic, ForgottenTopic};
use ringmill_net::wire::{ErrorCode, Records};

use tempfile::TempDir;

use crate::raw::{Raw, batch, config_with};
use crate::{OK, with_logs};

const VERSION: i16 = 12;

/// What one partition's answer says: its number, its error, its high watermark, and how many bytes of records come with it.
type Told = (i32, i16, i64, usize);

/// A consumer of the topic "logs" that fetches in a session.
struct Session {
    id: i32,
    epoch: i32,
    max_wait_ms: i32,
}

impl Session {
    fn begin(client: &mut Raw, partitions: &[(i32, i64)]) -> (Session, Vec<Told>) {
        let mut session = Session { id: 0, epoch: 0, max_wait_ms: 0 };
        let told = session.fetch(client, partitions, &[]).expect("a full fetch is answered");
        (session, told)
    }

    fn request(&self, partitions: &[(i32, i64)], forgotten: &[i32]) -> FetchRequest<'static> {
        let partition = |&(partition, fetch_offset)| FetchPartition {
            partition,
            fetch_offset,
            partition_max_bytes: 1 << 20,
            ..FetchPartition::default()
        };
        let partitions: Vec<_> = partitions.iter().map(partition).collect();
        let topic = FetchTopic { topic: "logs", partitions, ..FetchTopic::default() };
        let forgotten = ForgottenTopic { topic: "logs", partitions: forgotten.to_vec(), ..ForgottenTopic::default() };
        FetchRequest {
            session_id: self.id,
            session_epoch: self.epoch,
            max_wait_ms: self.max_wait_ms,
            min_bytes: 1,
            topics: Some(topic).filter(|topic| !topic.partitions.is_empty()).into_iter().collect(),
            forgotten_topics_data: Some(forgotten).filter(|topic| !topic.partitions.is_empty()).into_iter().collect(),
            ..FetchRequest::default()
        }
    }

    fn fetch(
        &mut self,
        client: &mut Raw,
        partitions: &[(i32, i64)],
        forgotten: &[i32],
    ) -> Result<Vec<Told>, ErrorCode> {
        client.send(&self.request(partitions, forgotten), VERSION, Vec::new());
        self.receive(client)
    }

    fn receive(&mut self, client: &mut Raw) -> Result<Vec<Told>, ErrorCode> {
        let frame = client.receive().expect("the broker answers");
        let answer: FetchResponse<'_> = frame.decode(VERSION);
        if answer.error_code != OK {
            assert_eq!((answer.session_id, answer.responses.len()), (0, 0), "an error comes alone");
            return Err(ErrorCode::from_code(answer.error_code).unwrap());
        }
        (self.id, self.epoch) = (answer.session_id, self.epoch + 1);
        let partitions = answer.responses.iter().flat_map(|topic| &topic.partitions);
        Ok(partitions
            .map(|told| {
                let bytes = told.records.map_or(0, Records::length);
                (told.partition_index, told.error_code, told.high_watermark, bytes)
            })
            .collect())
    }
}

/// A broker with these settings and the topic `logs` of one partition.
fn with_settings(settings: &[(&str, &str)]) -> (Broker, Raw, TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(config_with(dir.path(), "auto", settings)).unwrap();
    let mut client = Raw::connect(broker.address());
    assert_eq!(client.create_topic("logs", 1, &[]), OK);
    (broker, client, dir)
}

fn two_records() -> (Bytes, usize) {
    let records = batch(2, 10);
    let bytes = records.len();
    (records, bytes)
}

#[test]
fn a_session_is_told_only_what_it_does_not_know() {
    let (broker, mut client, _dir) = with_logs(3, &[]);
    let (records, bytes) = two_records();
    client.produce("logs", 1, records.clone());
    let (mut session, told) = Session::begin(&mut client, &[(0, 0), (1, 0), (2, 0)]);
    assert!(session.id > 0);
    assert_eq!(told, [(0, OK, 0, 0), (1, OK, 2, bytes), (2, OK, 0, 0)]);

    // Its offset was not moved on, so the records come again; then it is, and there is nothing new.
    assert_eq!(session.fetch(&mut client, &[], &[]), Ok(vec![(1, OK, 2, bytes)]));
    assert_eq!(session.fetch(&mut client, &[(1, 2)], &[]), Ok(vec![]));
    client.produce("logs", 2, records.clone());
    assert_eq!(session.fetch(&mut client, &[], &[]), Ok(vec![(2, OK, 2, bytes)]));
    assert_eq!(session.fetch(&mut client, &[(2, 2)], &[0]), Ok(vec![]));

    // Forgotten partitions are not told of, and come back with all that there is to say.
    client.produce("logs", 0, records);
    assert_eq!(session.fetch(&mut client, &[], &[]), Ok(vec![]));
    assert_eq!(session.fetch(&mut client, &[(0, 2)], &[]), Ok(vec![(0, OK, 2, 0)]));
    broker.stop();
}

#[test]
fn errors_are_told_as_long_as_they_last() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    let (mut session, told) = Session::begin(&mut client, &[(0, 7), (4, 0)]);
    let out_of_range = (0, ErrorCode::OffsetOutOfRange.code(), 0, 0);
    let unknown = (4, ErrorCode::UnknownTopicOrPartition.code(), -1, 0);
    assert_eq!(told, [out_of_range, unknown]);
    assert_eq!(session.fetch(&mut client, &[], &[]), Ok(vec![out_of_range, unknown]));
    assert_eq!(session.fetch(&mut client, &[(0, 0)], &[4]), Ok(vec![(0, OK, 0, 0)]));
    assert_eq!(session.fetch(&mut client, &[], &[]), Ok(vec![]));
    broker.stop();
}

#[test]
fn a_parked_fetch_of_a_session_wakes_for_each_of_its_partitions() {
    let (broker, mut client, _dir) = with_logs(3, &[]);
    let (mut session, _) = Session::begin(&mut client, &[(0, 0), (1, 0), (2, 0)]);
    session.max_wait_ms = 20_000;
    let mut producer = Raw::connect(broker.address());
    let (records, bytes) = two_records();
    for index in 0..3 {
        let began = Instant::now();
        let moved = if index == 0 { vec![] } else { vec![(index - 1, 2)] };
        client.send(&session.request(&moved, &[]), VERSION, Vec::new());
        producer.produce("logs", index, records.clone());
        assert_eq!(session.receive(&mut client), Ok(vec![(index, OK, 2, bytes)]));
        assert!(began.elapsed() < Duration::from_secs(10), "{:?}", began.elapsed());
    }
    broker.stop();
}

#[test]
fn a_session_ends_when_its_client_says_so() {
    let (broker, mut client, _dir) = with_settings(&[("ringmill.cores", "1")]);
    let (session, _) = Session::begin(&mut client, &[(0, 0)]);
    let ended = |id, client: &mut Raw| {
        let mut session = Session { id, epoch: 1, max_wait_ms: 0 };
        assert_eq!(session.fetch(client, &[], &[]), Err(ErrorCode::FetchSessionIdNotFound));
    };

    // A final fetch names what it wants, and gets it without a session.
    let mut last = Session { epoch: -1, ..session };
    let id = last.id;
    assert_eq!(last.fetch(&mut client, &[(0, 0)], &[]), Ok(vec![(0, OK, 0, 0)]));
    assert_eq!(last.id, 0);
    ended(id, &mut client);

    // A new one in its place ends the old one.
    let (old, _) = Session::begin(&mut client, &[(0, 0)]);
    let mut new = Session { id: old.id, epoch: 0, max_wait_ms: 0 };
    new.fetch(&mut client, &[(0, 0)], &[]).unwrap();
    assert_ne!(new.id, old.id);
    ended(old.id, &mut client);
    broker.stop();
}

#[test]
fn a_connection_that_goes_away_takes_its_session_along() {
    let one = [("ringmill.cores", "1"), ("broker.max.incremental.fetch.session.cache.slots", "1")];
    let (broker, mut client, _dir) = with_settings(&one);
    let mut goes = Raw::connect(broker.address());
    let (mut session, _) = Session::begin(&mut goes, &[(0, 0)]);
    session.max_wait_ms = 60_000;
    goes.send(&session.request(&[], &[]), VERSION, Vec::new());
    assert_eq!(Session::begin(&mut client, &[(0, 0)]).0.id, 0, "the one place is taken");
    // Once its fetch is parked, the session goes with the connection, and long before the fetch's deadline.
    let probe = |client: &mut Raw| Session { id: session.id, epoch: 99, max_wait_ms: 0 }.fetch(client, &[], &[]);
    until(|| probe(&mut client) == Err(ErrorCode::FetchSessionIdNotFound));
    drop(goes);
    until(|| Session::begin(&mut client, &[(0, 0)]).0.id != 0);
    broker.stop();
}

/// Waits for what comes within moments.
fn until(mut holds: impl FnMut() -> bool) {
    let began = Instant::now();
    while !holds() {
        assert!(began.elapsed() < Duration::from_secs(20), "this should have come by now");
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_session_is_refused_what_does_not_fit_it() {
    let (broker, mut client, _dir) = with_logs(1, &[]);
    let (session, _) = Session::begin(&mut client, &[(0, 0)]);
    let ask = |client: &mut Raw, id, epoch| Session { id, epoch, max_wait_ms: 0 }.fetch(client, &[], &[]);
    assert_eq!(ask(&mut client, 0, 1), Err(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(ask(&mut client, session.id + 1, 1), Err(ErrorCode::FetchSessionIdNotFound));
    assert_eq!(ask(&mut client, session.id, 2), Err(ErrorCode::InvalidFetchSessionEpoch));
    // Begun with names, gone on with ids.
    let frame = client.call(&session.request(&[], &[]), 13);
    let answer: FetchResponse<'_> = frame.decode(13);
    assert_eq!(ErrorCode::from_code(answer.error_code), Some(ErrorCode::FetchSessionTopicIdError));
    // And none of that has harmed it.
    assert_eq!(ask(&mut client, session.id, 1), Ok(vec![]));
    broker.stop();
}

#[test]
fn without_room_there_are_no_sessions() {
    let (broker, mut client, _dir) = with_settings(&[("broker.max.incremental.fetch.session.cache.slots", "0")]);
    for _ in 0..2 {
        let (session, told) = Session::begin(&mut client, &[(0, 0)]);
        assert_eq!((session.id, told), (0, vec![(0, OK, 0, 0)]));
    }
    broker.stop();
}
