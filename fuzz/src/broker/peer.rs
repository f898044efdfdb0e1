//! One client of a script: what it has sent, what it is owed for that, and the checks of what it gets.

use std::collections::VecDeque;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use ringmill_net::Piece;
use ringmill_net::transport::Stream;
use ringmill_net::transport::memory::{MemoryStream, Options};
use ringmill_net::wire::messages::create_topics::CreateTopicsResponse;
use ringmill_net::wire::messages::fetch::FetchResponse;
use ringmill_net::wire::messages::join_group::JoinGroupResponse;
use ringmill_net::wire::messages::metadata::MetadataResponse;
use ringmill_net::wire::messages::produce::ProduceResponse;
use ringmill_net::wire::{Api, ApiKey, Message, Reader, Versioned, encode_request};
use ringmill_sim::Running;
use tokio::time::{sleep, timeout};

use super::World;
use super::request::Made;
use crate::script::Script;
use crate::wire;

const READ_BYTES: usize = 64 << 10;

/// Members of groups that are remembered.
const MEMBERS_MAX: usize = 4;

/// Of requests whose body may not be readable.
const RAW_CORRELATION_ID: i32 = -7;

/// An answer that is to come.
pub(super) struct Expected {
    pub(super) key: ApiKey,
    pub(super) version: i16,
    correlation_id: i32,
    /// It must come, unless the connection is excused.
    pub(super) owed: bool,
    /// The partition of the kept topic, and the number of the record that was sent there.
    keeps: Option<(i32, u64)>,
}

pub(super) struct Peer {
    stream: MemoryStream,
    arrived: BytesMut,
    pub(super) expected: VecDeque<Expected>,
    /// It has said or seen something for which the broker may close the connection, so nothing is owed any more.
    pub(super) excused: bool,
    closed: bool,
    /// The broker may read its frames from the wrong places, so its answers mean nothing.
    out_of_step: bool,
}

impl Peer {
    /// A client on a quick connection.
    pub(super) fn honest(running: &Running) -> Peer {
        Peer::over(running.open(Options { delay_max: Duration::ZERO, ..Options::default() }))
    }

    /// A client whose bytes come as the script says. The pipe holds everything, so that sending never waits.
    pub(super) fn open(running: &Running, script: &mut Script<'_>) -> Peer {
        let options = Options {
            seed: script.byte().into(),
            delay_max: Duration::from_millis(script.choose(&[0, 0, 1, 5])),
            chunk_bytes_max: script.choose(&[64 << 10, 64 << 10, 1, 7, 100]),
            capacity_bytes: usize::MAX >> 1,
            cut_after_bytes: (script.byte() == 255).then(|| u64::from(script.byte()) * 8),
        };
        let excused = options.cut_after_bytes.is_some();
        Peer { excused, ..Peer::over(running.open(options)) }
    }

    fn over(stream: MemoryStream) -> Peer {
        Peer {
            stream,
            arrived: BytesMut::new(),
            expected: VecDeque::new(),
            excused: false,
            closed: false,
            out_of_step: false,
        }
    }

    /// Sends a request; `in_parts` with a pause inside, or not to its end.
    pub(super) async fn send(&mut self, made: Made, in_parts: bool, script: &mut Script<'_>, correlation_id: i32) {
        let Made { key, version, mut frame, silent, keeps } = made;
        if in_parts {
            let cut = script.below(frame.len().min(256));
            let first = frame.split_to(cut);
            self.put(first).await;
            if script.byte() > 200 {
                // The rest never comes; what follows is read as if it were the rest.
                (self.excused, self.out_of_step) = (true, true);
                return;
            }
            sleep(Duration::from_millis(script.byte().into())).await;
        }
        // An error that has no answer ends the connection.
        self.excused |= silent;
        if !silent {
            self.expected.push_back(Expected { key, version, correlation_id, owed: true, keeps });
        }
        self.put(frame).await;
    }

    /// A request whose body may not be readable: it is answered, or the connection ends.
    pub(super) async fn send_raw(&mut self, key: i16, version: i16, body: &[u8]) {
        self.excused = true;
        let flexible = Api::served(key).is_some_and(|api| api.serves(version) && api.is_flexible(version));
        let correlation_id = RAW_CORRELATION_ID;
        let mut frame = vec![0; 4];
        frame.extend(key.to_be_bytes());
        frame.extend(version.to_be_bytes());
        frame.extend(correlation_id.to_be_bytes());
        // No client id, no tagged field.
        frame.extend([0xFF, 0xFF]);
        frame.extend(flexible.then_some(0));
        frame.extend(body);
        let length = i32::try_from(frame.len() - 4).expect("it is short");
        frame[..4].copy_from_slice(&length.to_be_bytes());
        if let Some(key) = ApiKey::from_code(key) {
            self.expected.push_back(Expected { key, version, correlation_id, owed: false, keeps: None });
        }
        self.put(frame.into()).await;
    }

    pub(super) async fn babble(&mut self, bytes: &[u8]) {
        (self.excused, self.out_of_step) = (true, true);
        self.put(Bytes::copy_from_slice(bytes)).await;
    }

    async fn put(&mut self, bytes: Bytes) {
        if self.stream.send(&mut vec![Piece::Bytes(bytes)]).await.is_err() {
            self.end();
        }
    }

    /// Takes what comes, until nothing is expected any more or nothing has come for so long.
    pub(super) async fn listen(&mut self, patience: Duration, world: &mut World) {
        while !self.expected.is_empty() && !self.closed {
            let buffer = std::mem::take(&mut self.arrived);
            let mut kept = BytesMut::new();
            let read = timeout(patience, self.stream.read(BytesMut::new(), READ_BYTES)).await;
            kept.unsplit(buffer);
            self.arrived = kept;
            match read {
                Err(_) => return,
                Ok((Ok(1..), bytes)) => self.arrived.unsplit(bytes),
                Ok((Ok(0) | Err(_), _)) => self.end(),
            }
            while let Some(frame) = self.whole_frame() {
                if self.out_of_step {
                    self.expected.pop_front();
                } else {
                    self.take(frame, world);
                }
            }
        }
    }

    fn end(&mut self) {
        assert!(self.excused, "the broker has closed the connection of an honest client");
        self.closed = true;
    }

    fn whole_frame(&mut self) -> Option<Bytes> {
        let length =
            usize::try_from(i32::from_be_bytes(*self.arrived.first_chunk()?)).expect("a length is not negative");
        if self.arrived.len() < 4 + length {
            return None;
        }
        self.arrived.advance(4);
        Some(self.arrived.split_to(length).freeze())
    }

    /// One answer: it must be that of the oldest request that was not passed over.
    fn take(&mut self, mut frame: Bytes, world: &mut World) {
        let correlation_id = frame.get_i32();
        let expected = loop {
            let expected = self.expected.pop_front().expect("an answer belongs to a request");
            if expected.correlation_id == correlation_id {
                break expected;
            }
            assert!(!expected.owed, "{:?} was passed over", expected.key);
        };
        let Expected { key, version, .. } = expected;
        let api = Api::served(key.code()).expect("only what is served is answered");
        if !api.serves(version) {
            assert_eq!(key, ApiKey::ApiVersions, "what is not served is not answered");
            return;
        }
        if api.is_flexible(version) && key != ApiKey::ApiVersions {
            assert_eq!(frame.get_u8(), 0, "no tagged fields in a header of ours");
        }
        wire::is_ours(key, version, &frame);
        learn(&expected, &frame, world);
    }

    /// An honest question and its answer's body.
    pub(super) async fn ask<'a>(
        &mut self,
        message: &impl Message<'a>,
        version: i16,
        records: Vec<Bytes>,
        world: &mut World,
    ) -> Bytes {
        world.correlation_id += 1;
        let records = records.into_iter().map(Piece::Bytes).collect();
        let mut pieces = encode_request(message, version, world.correlation_id, Some("honest"), records);
        self.stream.send(&mut pieces).await.expect("the broker takes an honest client's requests");
        let (key, header_bytes) = (key_of(message), 5);
        loop {
            if let Some(frame) = self.whole_frame() {
                let body = frame.slice(header_bytes..);
                assert_eq!(frame.first_chunk(), Some(&world.correlation_id.to_be_bytes()));
                let expected = Expected { key, version, correlation_id: world.correlation_id, owed: true, keeps: None };
                wire::is_ours(key, version, &body);
                learn(&expected, &body, world);
                return body;
            }
            let read = timeout(super::PATIENCE, self.stream.read(BytesMut::new(), READ_BYTES)).await;
            let (read, bytes) = read.expect("an honest client is answered in time");
            assert!(read.is_ok_and(|count| count > 0), "an honest client's connection lives");
            self.arrived.unsplit(bytes);
        }
    }
}

fn key_of<'a, M: Message<'a>>(_: &M) -> ApiKey {
    M::KEY
}

/// Remembers what later requests can use, and what must be kept.
fn learn(expected: &Expected, body: &[u8], world: &mut World) {
    let version = expected.version;
    let mut reader = Reader::new(body);
    let readable = "it was just read";
    match expected.key {
        ApiKey::Metadata if version >= 10 => {
            let response = MetadataResponse::decode(&mut reader, version).expect(readable);
            for topic in &response.topics {
                if let Some(name) = topic.name.filter(|_| topic.error_code == 0) {
                    world.known.ids.insert(name.to_owned(), topic.topic_id);
                }
            }
        }
        ApiKey::CreateTopics if version >= 7 => {
            let response = CreateTopicsResponse::decode(&mut reader, version).expect(readable);
            for topic in response.topics.iter().filter(|topic| topic.error_code == 0) {
                world.known.ids.insert(topic.name.to_owned(), topic.topic_id);
            }
        }
        ApiKey::Fetch if version >= 7 => {
            let response = FetchResponse::decode(&mut reader, version).expect(readable);
            let known = world.known.sessions.iter().any(|(id, _)| *id == response.session_id);
            if response.session_id != 0 && !known {
                world.known.sessions.push((response.session_id, 1));
            }
        }
        ApiKey::JoinGroup => {
            let response = JoinGroupResponse::decode(&mut reader, version).expect(readable);
            let members = &mut world.known.members;
            let is_new = !response.member_id.is_empty() && !members.iter().any(|known| known == response.member_id);
            if is_new {
                members.push(response.member_id.to_owned());
                // The latest few are enough: those of lives ago are known to nobody.
                members.drain(..members.len().saturating_sub(MEMBERS_MAX));
            }
        }
        ApiKey::Produce => {
            let Some((partition, number)) = expected.keeps else { return };
            let response = ProduceResponse::decode(&mut reader, version).expect(readable);
            let answered = &response.responses[0].partition_responses[0];
            assert_eq!(answered.index, partition);
            if answered.error_code == 0 {
                let before = world.kept.insert((partition, answered.base_offset), number);
                assert_eq!(before, None, "no offset is given twice");
            }
        }
        _ => {}
    }
}
