//! Loads on Redis Streams, against a server of a few lines that keeps streams in memory and speaks RESP as Redis does.
//!
//! It checks what is sent, counted and refused; a real Redis is a matter of `scripts/peers/redis.sh`.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpStream;
use std::sync::Mutex;

use crate::fake::{FakePeer, Streams, records};

fn start() -> FakePeer {
    FakePeer::start("redis", serve)
}

fn serve(mut stream: &TcpStream, streams: &Mutex<Streams>) {
    let mut incoming = BufReader::new(stream);
    while let Some(words) = command(&mut incoming) {
        if stream.write_all(&answer(&words, &mut streams.lock().unwrap())).is_err() {
            return;
        }
    }
}

/// An array of strings, or none at the connection's end.
fn command(incoming: &mut impl BufRead) -> Option<Vec<Vec<u8>>> {
    let number = |incoming: &mut dyn BufRead| {
        let mut line = String::new();
        incoming.read_line(&mut line).ok()?;
        line.trim_end().get(1..)?.parse::<usize>().ok()
    };
    let count = number(incoming)?;
    let mut words = Vec::new();
    for _ in 0..count {
        let mut word = vec![0; number(incoming)? + 2];
        incoming.read_exact(&mut word).ok()?;
        assert!(word.ends_with(b"\r\n"), "a string is as long as it was announced");
        word.truncate(word.len() - 2);
        words.push(word);
    }
    Some(words)
}

fn answer(words: &[Vec<u8>], streams: &mut Streams) -> Vec<u8> {
    let text = |place: usize| String::from_utf8(words[place].clone()).unwrap();
    match text(0).as_str() {
        "CONFIG" => {
            let value = if text(2) == "appendonly" { "yes" } else { "always" };
            format!("*2\r\n{}{}", string(&text(2)), string(value)).into_bytes()
        }
        "UNLINK" => format!(":{}\r\n", usize::from(streams.remove(&text(1)).is_some())).into_bytes(),
        "XADD" => {
            assert_eq!((text(2).as_str(), text(3).as_str(), words.len()), ("*", "v", 5));
            let values = streams.entry(text(1)).or_default();
            values.push(words[4].clone());
            string(&format!("{}-0", values.len())).into_bytes()
        }
        "XRANGE" => {
            let values = streams.get(&text(1)).map_or(&[][..], Vec::as_slice);
            // Behind an id that was read, in brackets; or from the start.
            let from = text(2).strip_prefix('(').map_or(0, |id| id.strip_suffix("-0").unwrap().parse().unwrap());
            let count = values.len().saturating_sub(from).min(text(5).parse().unwrap());
            let mut found = format!("*{count}\r\n").into_bytes();
            for (place, value) in values.iter().enumerate().skip(from).take(count) {
                found
                    .extend(format!("*2\r\n{}*2\r\n{}", string(&format!("{}-0", place + 1)), string("v")).into_bytes());
                found.extend(format!("${}\r\n", value.len()).into_bytes());
                found.extend_from_slice(value);
                found.extend_from_slice(b"\r\n");
            }
            found
        }
        other => format!("-ERR unknown command '{other}'\r\n").into_bytes(),
    }
}

fn string(text: &str) -> String {
    format!("${}\r\n{text}\r\n", text.len())
}

#[test]
fn each_connection_appends_to_a_stream_of_its_own_and_all_of_it_is_read() {
    let redis = start();
    let produce = ["produce", "--bytes=300KB", "-r", "100", "-n", "50", "--connections=2", "--fresh"];
    let produced = redis.report(&produce);
    assert!(records(&produced) >= 3000.0);
    assert_eq!(produced["conditions"]["durability"], "synced");
    let names: Vec<String> = redis.streams.lock().unwrap().keys().cloned().collect();
    assert_eq!(names, ["bench-0", "bench-1"]);
    let stored: usize = redis.streams.lock().unwrap().values().map(Vec::len).sum();
    let consumed = redis.report(&["consume", "--connections=2"]);
    assert!((records(&consumed) - f64::from(u32::try_from(stored).unwrap())).abs() < 0.5);
    assert!(redis.streams.lock().unwrap()["bench-1"].iter().all(|value| value.len() == 100));
}

#[test]
fn a_load_begins_with_empty_streams_where_that_is_asked_for() {
    let redis = start();
    redis.streams.lock().unwrap().insert("bench-0".to_owned(), vec![b"old".to_vec()]);
    redis.report(&["produce", "--bytes=10KB", "-r", "100", "-n", "10", "--fresh", "--rate=1MB"]);
    assert!(redis.streams.lock().unwrap()["bench-0"].iter().all(|value| value != b"old"));
}

#[test]
fn what_only_kafka_has_is_refused_and_so_is_an_empty_stream() {
    let redis = start();
    for option in ["--codec=zstd", "--idempotent", "--acks=1", "--write-caching", "--keys=3", "--partitions=7"] {
        let (succeeded, error) = redis.bench(&["produce", option]);
        assert!(!succeeded && error.contains("Kafka's protocol"), "{option}: {error}");
    }
    let (succeeded, error) = redis.bench(&["consume"]);
    assert!(!succeeded && error.contains("produce to the topic first"), "{error}");
}
