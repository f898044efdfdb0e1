//! Loads on RabbitMQ streams, against a server of a few lines that keeps streams in memory and speaks the stream protocol as RabbitMQ does.
//!
//! It checks what is sent, counted and refused; a real RabbitMQ is a matter of `scripts/peers/rabbitmq.sh`.

use std::io::{BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

use bytes::{Buf, BufMut};

use crate::fake::{self, FakePeer, Streams};

/// A batch of the loads below is longer than this, so it takes several frames.
const FRAME_BYTES_MAX: u32 = 2000;
const RECORDS_PER_CHUNK: usize = 30;
const OK: u16 = 1;
const NO_STREAM: u16 = 2;
const STREAM_EXISTS: u16 = 5;
const NOT_AVAILABLE: u16 = 6;
/// How often a stream without a leader is asked for in vain.
const ASKS_IN_VAIN: u32 = 2;

fn start() -> FakePeer {
    FakePeer::start("rabbitmq", serve)
}

fn records(rabbitmq: &FakePeer, arguments: &[&str]) -> f64 {
    let report = rabbitmq.report(arguments);
    assert_eq!(report["conditions"]["durability"], "unsynced");
    fake::records(&report)
}

fn serve(mut socket: &TcpStream, streams: &Mutex<Streams>) {
    let mut incoming = BufReader::new(socket);
    let mut client = Client::default();
    loop {
        let mut length = [0; 4];
        if incoming.read_exact(&mut length).is_err() {
            return;
        }
        let length = u32::from_be_bytes(length);
        assert!(length + 4 <= FRAME_BYTES_MAX, "{length}");
        let mut frame = vec![0; usize::try_from(length).unwrap()];
        incoming.read_exact(&mut frame).unwrap();
        let mut answers = client.take(&mut &frame[..], &mut streams.lock().unwrap());
        // What came meanwhile is confirmed at once, as a busy server does.
        if incoming.buffer().is_empty() {
            answers.extend(client.confirm());
        }
        if socket.write_all(&answers).is_err() {
            return;
        }
    }
}

/// What the server knows of a connection.
#[derive(Default)]
struct Client {
    publishes_to: String,
    /// Publishing ids without a confirmation.
    unconfirmed: Vec<u64>,
    reads: String,
    next: usize,
    credits: u16,
    /// How often a stream without a leader was asked for.
    asks: u32,
}

impl Client {
    /// The answers to a command.
    fn take(&mut self, fields: &mut &[u8], streams: &mut Streams) -> Vec<u8> {
        let (command, version) = (fields.get_u16(), fields.get_u16());
        assert_eq!(version, 1);
        match command {
            0x02 => return self.publish(fields, streams),
            0x09 => {
                assert_eq!((fields.get_u8(), fields.get_u16()), (0, 1), "a chunk more of the one subscription");
                self.credits += 1;
                return self.deliver(streams);
            }
            0x14 => {
                assert_eq!(
                    (fields.get_u32(), fields.get_u32()),
                    (FRAME_BYTES_MAX, 0),
                    "all it takes, and no heartbeats"
                );
                return Vec::new();
            }
            _ => {}
        }
        let correlation = fields.get_u32();
        let answer = |code: u16, rest: &[u8]| {
            let mut answer = Vec::new();
            answer.put_u32(correlation);
            answer.put_u16(code);
            answer.extend_from_slice(rest);
            frame(command | 0x8000, &answer)
        };
        match command {
            0x11 => answer(OK, b"\0\0\0\x02\0\x07product\0\x08RabbitMQ\0\x07version\0\x063.10.8"),
            0x12 => answer(OK, b"\0\0\0\x02\0\x08AMQPLAIN\0\x05PLAIN"),
            0x13 => {
                assert_eq!(*fields, b"\0\x05PLAIN\0\0\0\x0c\0guest\0guest");
                let tune = [FRAME_BYTES_MAX.to_be_bytes(), 60_u32.to_be_bytes()].concat();
                [answer(OK, &[]), frame(0x14, &tune)].concat()
            }
            0x15 => answer(OK, b"\0\0\0\0"),
            0x0d => {
                let name = string(fields);
                let code = if streams.contains_key(&name) { STREAM_EXISTS } else { OK };
                streams.entry(name).or_default();
                answer(code, &[])
            }
            0x0e => answer(streams.remove(&string(fields)).map_or(NO_STREAM, |_| OK), &[]),
            0x01 => {
                assert_eq!((fields.get_u8(), string(fields).as_str()), (0, ""), "one publisher without a name");
                self.publishes_to = string(fields);
                answer(leader_of(&self.publishes_to, &mut self.asks), &[])
            }
            0x07 => {
                assert_eq!(fields.get_u8(), 0);
                self.reads = string(fields);
                let Some(values) = streams.get(&self.reads) else { return answer(NO_STREAM, &[]) };
                if leader_of(&self.reads, &mut self.asks) != OK {
                    return answer(NOT_AVAILABLE, &[]);
                }
                let from_last = fields.get_u16() == 2;
                let chunks = values.len().div_ceil(RECORDS_PER_CHUNK);
                self.next = if from_last { chunks.saturating_sub(1) * RECORDS_PER_CHUNK } else { 0 };
                self.credits = fields.get_u16();
                [answer(OK, &[]), self.deliver(streams)].concat()
            }
            0x0c => {
                // A chunk was on its way already.
                self.credits = 1;
                self.next = 0;
                let late = self.deliver(streams);
                self.credits = 0;
                [late, answer(OK, &[])].concat()
            }
            other => panic!("{other:#x} was not expected"),
        }
    }

    fn publish(&mut self, fields: &mut &[u8], streams: &mut Streams) -> Vec<u8> {
        assert_eq!(fields.get_u8(), 0);
        if self.publishes_to.starts_with("full") {
            return frame(0x04, b"\0\0\0\0\x02\0\0\0\0\0\0\0\0\0\x0f");
        }
        let values = streams.get_mut(&self.publishes_to).unwrap();
        for _ in 0..fields.get_u32() {
            self.unconfirmed.push(fields.get_u64());
            let message_bytes = usize::try_from(fields.get_u32()).unwrap();
            let message = fields.copy_to_bytes(message_bytes);
            let value = match message.strip_prefix(b"\0Su\xa0") {
                Some(short) => short.split_first().map(|(length, value)| (u32::from(*length), value)).unwrap(),
                None => message.strip_prefix(b"\0Su\xb0").map(|mut long| (long.get_u32(), long)).unwrap(),
            };
            assert_eq!(u32::try_from(value.1.len()).unwrap(), value.0, "a value is as long as it was announced");
            values.push(value.1.to_vec());
        }
        assert!(fields.is_empty(), "a frame ends with its last message");
        Vec::new()
    }

    /// In two frames, with a sign of life between them.
    fn confirm(&mut self) -> Vec<u8> {
        if self.unconfirmed.is_empty() {
            return Vec::new();
        }
        let confirmation = |ids: &[u64]| {
            let mut fields = vec![0];
            fields.put_u32(u32::try_from(ids.len()).unwrap());
            ids.iter().for_each(|id| fields.put_u64(*id));
            frame(0x03, &fields)
        };
        let (some, others) = self.unconfirmed.split_at(self.unconfirmed.len() / 2);
        let confirmations = [confirmation(some), frame(0x17, &[]), confirmation(others)].concat();
        self.unconfirmed.clear();
        confirmations
    }

    /// As many chunks as there is credit for.
    fn deliver(&mut self, streams: &Streams) -> Vec<u8> {
        let Some(values) = streams.get(&self.reads) else { return Vec::new() };
        let mut frames = Vec::new();
        while self.credits > 0 && self.next < values.len() {
            let chunk = &values[self.next..values.len().min(self.next + RECORDS_PER_CHUNK)];
            frames.extend(self.chunk(chunk));
            self.next += chunk.len();
            self.credits -= 1;
        }
        frames
    }

    fn chunk(&self, values: &[Vec<u8>]) -> Vec<u8> {
        let mut data = Vec::new();
        for value in values {
            let length = u32::try_from(value.len()).unwrap();
            let section = if let Ok(short) = u8::try_from(length) {
                vec![0xa0, short]
            } else {
                [&[0xb0], &length.to_be_bytes()[..]].concat()
            };
            let message_bytes = 3 + u32::try_from(section.len()).unwrap() + length;
            data.put_u32(match self.reads.as_str() {
                "long-entry-0" => message_bytes + 1_000_000,
                "short-entry-0" => message_bytes - 1,
                "sub-entries-0" => message_bytes | 1 << 31,
                _ => message_bytes,
            });
            data.extend_from_slice(b"\0Su");
            data.extend_from_slice(&section);
            data.extend_from_slice(value);
        }
        let count = u16::try_from(values.len()).unwrap();
        let mut fields = vec![0, 0x50, 0];
        fields.put_u16(count);
        fields.put_u32(u32::from(count) + u32::from(self.reads == "more-records-0"));
        fields.put_bytes(0, 8 + 8);
        fields.put_u64(self.next as u64);
        fields.put_u32(0);
        fields.put_u32(u32::try_from(data.len()).unwrap() + if self.reads == "long-chunk-0" { 1 } else { 0 });
        fields.put_bytes(0, 4 + 4);
        fields.extend(data);
        frame(0x08, &fields)
    }
}

/// What the server says of a stream that is asked for: one of them still looks for its leader.
fn leader_of(stream: &str, asks: &mut u32) -> u16 {
    *asks += 1;
    if stream == "recovering-0" && *asks <= ASKS_IN_VAIN { NOT_AVAILABLE } else { OK }
}

fn frame(command: u16, fields: &[u8]) -> Vec<u8> {
    let mut frame = Vec::new();
    frame.put_u32(u32::try_from(fields.len()).unwrap() + 4);
    frame.put_u16(command);
    frame.put_u16(1);
    frame.extend_from_slice(fields);
    frame
}

fn string(fields: &mut &[u8]) -> String {
    let length = usize::from(fields.get_u16());
    String::from_utf8(fields.copy_to_bytes(length).to_vec()).unwrap()
}

#[test]
fn each_connection_publishes_to_a_stream_of_its_own_and_all_of_it_is_read() {
    let rabbitmq = start();
    let produce = ["produce", "--bytes=300KB", "-r", "100", "-n", "50", "--connections=2", "--fresh"];
    assert!(records(&rabbitmq, &produce) >= 3000.0);
    let stored: Vec<usize> = rabbitmq.streams.lock().unwrap().values().map(Vec::len).collect();
    assert_eq!(stored.len(), 2, "a stream for each connection");
    let all = u32::try_from(stored.iter().sum::<usize>()).unwrap();
    let consumed = records(&rabbitmq, &["consume", "--connections=2"]);
    assert!((consumed - f64::from(all)).abs() < 0.5, "{consumed} of {all}");
    // Over and over, with a new subscription each time.
    assert!(records(&rabbitmq, &["consume", "--connections=2", "--bytes=1MB"]) >= 10_000.0);
}

#[test]
fn a_load_begins_with_empty_streams_where_that_is_asked_for() {
    let rabbitmq = start();
    rabbitmq.streams.lock().unwrap().insert("bench-0".to_owned(), vec![b"old".to_vec()]);
    records(&rabbitmq, &["produce", "--bytes=10KB", "-r", "300", "-n", "10", "--rate=1MB"]);
    assert_eq!(rabbitmq.streams.lock().unwrap()["bench-0"][0], b"old");
    // Short values and long ones, each in its own form.
    assert!(records(&rabbitmq, &["consume"]) >= 30.0);
    records(&rabbitmq, &["produce", "--bytes=10KB", "-r", "100", "-n", "10", "--fresh"]);
    assert!(rabbitmq.streams.lock().unwrap()["bench-0"].iter().all(|value| value.len() == 100));
}

#[test]
fn a_stream_that_still_looks_for_its_leader_is_asked_for_again() {
    let rabbitmq = start();
    assert!(records(&rabbitmq, &["produce", "--bytes=10KB", "-r", "100", "-n", "10", "--topic=recovering"]) >= 100.0);
    assert!(records(&rabbitmq, &["consume", "--topic=recovering"]) >= 100.0);
}

#[test]
fn what_the_server_refuses_ends_the_load() {
    let rabbitmq = start();
    let check = |arguments: &[&str], expected: &str| {
        let (succeeded, error) = rabbitmq.bench(arguments);
        assert!(!succeeded && error.contains(expected), "{error}");
    };
    check(&["produce", "-r", "3000"], "does not fit the server's frames of 2000");
    check(&["produce", "-r", "100", "-n", "10", "--topic=full"], "refused 2 messages: it failed inside");
    check(&["consume", "--topic=none"], "none-0: RabbitMQ refuses: there is no such stream");
    rabbitmq.streams.lock().unwrap().insert("bench-0".to_owned(), Vec::new());
    check(&["consume"], "produce to the topic first");
}

#[test]
fn a_chunk_that_contradicts_itself_ends_the_load() {
    let rabbitmq = start();
    let check = |topic: &str, expected: &str| {
        let values = vec![vec![b'x'; 300], vec![b'y'; 100]];
        rabbitmq.streams.lock().unwrap().insert(format!("{topic}-0"), values);
        let (succeeded, error) = rabbitmq.bench(&["consume", "--topic", topic]);
        assert!(!succeeded && error.contains(expected), "{error}");
    };
    check("long-entry", "entry of 1000312 bytes where 421 are left");
    check("short-entry", "no AMQP message of one data section");
    check("sub-entries", "no AMQP message of one data section");
    check("long-chunk", "chunk of 422 bytes in a frame that has 421");
    check("more-records", "something else than this load writes");
}
