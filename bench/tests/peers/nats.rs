//! Loads on NATS JetStream, against a server of a few lines that keeps streams in memory and speaks the text protocol as NATS does.
//!
//! It checks what is sent, counted and refused; a real NATS is a matter of `scripts/peers/nats.sh`.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Mutex;

use serde_json::{Value, json};

use crate::fake::{self, FakePeer, Streams};

/// A publish as it came.
struct Publish {
    subject: String,
    reply: String,
    payload: Vec<u8>,
}

fn start() -> FakePeer {
    FakePeer::start("nats", serve)
}

fn records(nats: &FakePeer, arguments: &[&str]) -> f64 {
    let report = nats.report(arguments);
    assert_eq!(report["conditions"]["durability"], "unsynced");
    fake::records(&report)
}

fn serve(mut socket: &TcpStream, streams: &Mutex<Streams>) {
    let mut incoming = BufReader::new(socket);
    socket.write_all(b"INFO {\"version\":\"2.9.10\",\"jetstream\":true}\r\n").unwrap();
    // How many messages the connection's consumer has given.
    let mut given = 0;
    loop {
        let mut line = String::new();
        if incoming.read_line(&mut line).unwrap_or(0) == 0 {
            return;
        }
        let words: Vec<&str> = line.split_whitespace().collect();
        let answer = match words[0] {
            "PING" => b"PONG\r\n".to_vec(),
            "PUB" => {
                let mut payload = vec![0; words[3].parse::<usize>().unwrap() + 2];
                incoming.read_exact(&mut payload).unwrap();
                assert!(payload.ends_with(b"\r\n"), "a payload is as long as it was announced");
                payload.truncate(payload.len() - 2);
                let publish = Publish { subject: words[1].to_owned(), reply: words[2].to_owned(), payload };
                answer(&publish, &mut streams.lock().unwrap(), &mut given)
            }
            "CONNECT" | "SUB" | "PONG" => Vec::new(),
            other => panic!("{other} was not expected"),
        };
        if socket.write_all(&answer).is_err() {
            return;
        }
    }
}

fn answer(publish: &Publish, streams: &mut Streams, given: &mut usize) -> Vec<u8> {
    let stream_of = |prefix: &str| publish.subject.strip_prefix(prefix).map(str::to_owned);
    let not_found = json!({ "error": { "code": 404, "err_code": 10059, "description": "stream not found" } });
    if let Some(name) = stream_of("$JS.API.STREAM.CREATE.") {
        let config: Value = serde_json::from_slice(&publish.payload).unwrap();
        assert_eq!((&config["name"], &config["storage"]), (&json!(name), &json!("file")));
        streams.entry(name).or_default();
        return message(&publish.reply, json!({ "config": {} }).to_string().as_bytes());
    }
    if let Some(name) = stream_of("$JS.API.STREAM.DELETE.") {
        let answer = streams.remove(&name).map_or(not_found, |_| json!({ "success": true }));
        return message(&publish.reply, answer.to_string().as_bytes());
    }
    if let Some(name) = stream_of("$JS.API.CONSUMER.CREATE.") {
        *given = 0;
        let pending = |messages: &Vec<Vec<u8>>| json!({ "name": "c", "num_pending": messages.len() });
        return message(&publish.reply, streams.get(&name).map_or(not_found, pending).to_string().as_bytes());
    }
    if let Some(name) = stream_of("$JS.API.CONSUMER.MSG.NEXT.") {
        let stream = name.strip_suffix(".c").unwrap();
        let pull: Value = serde_json::from_slice(&publish.payload).unwrap();
        let count = usize::try_from(pull["batch"].as_u64().unwrap()).unwrap();
        let messages = &streams[stream][*given..*given + count];
        *given += count;
        // A server looks whether its clients live whenever it likes.
        let messages = messages.iter().map(|payload| message(&format!("{stream} $JS.ACK.x"), payload));
        return [b"PING\r\n".to_vec()].into_iter().chain(messages).flatten().collect();
    }
    match streams.get_mut(&publish.subject) {
        Some(messages) => {
            messages.push(publish.payload.clone());
            let stream = &publish.subject;
            message(&publish.reply, format!("{{\"stream\":\"{stream}\", \"seq\":{}}}", messages.len()).as_bytes())
        }
        // Nobody listens there.
        None => format!("HMSG {} 1 16 16\r\nNATS/1.0 503\r\n\r\n\r\n", publish.reply).into_bytes(),
    }
}

/// A message; `to` may name a reply subject, too.
fn message(to: &str, payload: &[u8]) -> Vec<u8> {
    let (subject, reply) = to.split_once(' ').unwrap_or((to, ""));
    let line = format!("MSG {subject} 1 {reply} {}\r\n", payload.len());
    [line.as_bytes(), payload, b"\r\n"].concat()
}

#[test]
fn each_connection_publishes_to_a_stream_of_its_own_and_all_of_it_is_read() {
    let nats = start();
    let produce = ["produce", "--bytes=300KB", "-r", "100", "-n", "50", "--connections=2", "--fresh"];
    assert!(records(&nats, &produce) >= 3000.0);
    let stored: Vec<usize> = nats.streams.lock().unwrap().values().map(Vec::len).collect();
    assert_eq!(stored.len(), 2, "a stream for each connection");
    let all = u32::try_from(stored.iter().sum::<usize>()).unwrap();
    let consumed = records(&nats, &["consume", "--connections=2"]);
    assert!((consumed - f64::from(all)).abs() < 0.5, "{consumed} of {all}");
    // Over and over, with a new consumer each time.
    assert!(records(&nats, &["consume", "--connections=2", "--bytes=1MB"]) >= 10_000.0);
}

#[test]
fn a_load_begins_with_empty_streams_where_that_is_asked_for() {
    let nats = start();
    nats.streams.lock().unwrap().insert("bench-0".to_owned(), vec![b"old".to_vec()]);
    records(&nats, &["produce", "--bytes=10KB", "-r", "100", "-n", "10", "--rate=1MB"]);
    assert_eq!(nats.streams.lock().unwrap()["bench-0"][0], b"old");
    records(&nats, &["produce", "--bytes=10KB", "-r", "100", "-n", "10", "--fresh"]);
    assert!(nats.streams.lock().unwrap()["bench-0"].iter().all(|value| value.len() == 100));
}

#[test]
fn a_stream_that_is_empty_or_missing_cannot_be_read() {
    let nats = start();
    let (succeeded, error) = nats.bench(&["consume"]);
    assert!(!succeeded && error.contains("stream not found"), "{error}");
    nats.streams.lock().unwrap().insert("bench-0".to_owned(), Vec::new());
    let (succeeded, error) = nats.bench(&["consume"]);
    assert!(!succeeded && error.contains("produce to the topic first"), "{error}");
}
