//! The sink serves real producers: the project's own client in several ways, and the load generator.
//!
//! What it reports is compared with what was sent.

#![expect(clippy::unwrap_used, reason = "a test's own machinery may panic")]

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::process::{Child, ChildStderr, Command, Stdio};

use ringmill_batch::Codec;
use ringmill_net::client::{Acks, Producer, ProducerOptions, ProducerRecord};
use serde_json::Value;
use tokio::runtime::Builder;

/// The sink as a process, ended with the test whatever happens.
struct Sink {
    process: Child,
    address: String,
    said: BufReader<ChildStderr>,
}

impl Sink {
    fn start(partitions: &str) -> Sink {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmill-bench"));
        command.args(["sink", "--listen", "127.0.0.1:0", "--json", "--partitions", partitions]);
        let mut process = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let mut said = BufReader::new(process.stderr.take().unwrap());
        let mut line = String::new();
        said.read_line(&mut line).unwrap();
        let address = line.trim().strip_prefix("address ").unwrap().to_owned();
        Sink { process, address, said }
    }

    /// Sends `count` records and gives their offsets.
    fn produce(&self, count: usize, options: ProducerOptions) -> Vec<i64> {
        let runtime = Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let producer = Producer::connect(&self.address, options).await.unwrap();
            let mut deliveries = Vec::new();
            for _ in 0..count {
                let record = ProducerRecord {
                    topic: "logs".into(),
                    value: Some("a line of some log".into()),
                    ..Default::default()
                };
                deliveries.push(producer.send(record).await.unwrap());
            }
            producer.flush().await.unwrap();
            let mut offsets = Vec::new();
            for delivery in deliveries {
                offsets.push(delivery.await.unwrap().offset);
            }
            producer.close().await.unwrap();
            offsets
        })
    }

    /// Ends it in order and gives the value of a metric of its report.
    fn end(mut self) -> Report {
        let pid = self.process.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        let mut text = String::new();
        self.process.stdout.take().unwrap().read_to_string(&mut text).unwrap();
        let mut errors = String::new();
        self.said.read_to_string(&mut errors).unwrap();
        Report { succeeded: self.process.wait().unwrap().success(), text, errors }
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
    }
}

struct Report {
    succeeded: bool,
    text: String,
    errors: String,
}

impl Report {
    fn records(&self) -> Option<f64> {
        let report: Value = serde_json::from_str(&self.text).unwrap();
        report["cases"][0]["metrics"]["records_total"]["median"].as_f64()
    }
}

#[test]
fn the_clients_producer_is_served_in_every_way_that_it_sends() {
    let sink = Sink::start("3");
    let ways = [(Acks::All, true, Codec::Zstd), (Acks::Leader, false, Codec::Lz4), (Acks::None, false, Codec::None)];
    for (acks, idempotent, codec) in ways {
        let offsets = sink.produce(500, ProducerOptions { acks, idempotent, codec, ..Default::default() });
        match acks {
            Acks::None => assert!(offsets.iter().all(|offset| *offset == -1)),
            Acks::Leader | Acks::All => {
                let distinct: std::collections::BTreeSet<i64> = offsets.iter().copied().collect();
                assert_eq!(distinct.len(), 500, "offsets grow and never repeat");
            }
        }
    }
    // What was sent without an answer may still lie in the socket: the connection's end is the sign that it was read.
    let report = sink.end();
    assert!(report.succeeded, "{}", report.errors);
    let records = report.records().unwrap();
    assert!((1000.0..=1500.0).contains(&records), "{records}");
}

#[test]
fn the_load_generator_finds_its_own_ceiling() {
    let sink = Sink::start("1");
    let mut load = Command::new(env!("CARGO_BIN_EXE_ringmill-bench"));
    load.args(["produce", "--bytes", "1MB", "--batch-records", "100", "--idempotent", "--json", "--broker"]);
    let output = load.arg(&sink.address).output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let records = sink.end().records().unwrap();
    assert!(records >= 1000.0 && records % 100.0 == 0.0, "{records}");
}

#[test]
fn what_a_sink_does_not_have_ends_the_connection_with_a_word() {
    let sink = Sink::start("1");
    let mut stream = TcpStream::connect(&sink.address).unwrap();
    // JoinGroup, version 5, without a client id and a body.
    stream.write_all(&[0, 0, 0, 10, 0, 11, 0, 5, 0, 0, 0, 1, 255, 255]).unwrap();
    assert_eq!(stream.read(&mut [0; 16]).unwrap(), 0, "the connection was closed");
    let report = sink.end();
    assert!(
        report.errors.contains("does not answer API 11") && report.errors.contains("no batch came"),
        "{}",
        report.errors
    );
    assert!(!report.succeeded);
}
