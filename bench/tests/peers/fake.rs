//! What the small servers share: streams in memory, a thread for each connection, and `ringmill-bench` run against them.
//!
//! Knows no protocol.

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::process::Command;
use std::sync::{Arc, Mutex};
use std::thread;

use serde_json::Value;

/// The records of each stream.
pub(crate) type Streams = BTreeMap<String, Vec<Vec<u8>>>;

pub(crate) struct FakePeer {
    address: String,
    pub(crate) streams: Arc<Mutex<Streams>>,
}

impl FakePeer {
    /// A server that `serve` speaks for; its address begins with `scheme`.
    pub(crate) fn start(scheme: &str, serve: fn(&TcpStream, &Mutex<Streams>)) -> FakePeer {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        let address = format!("{scheme}://{}", listener.local_addr().unwrap());
        let streams = Arc::new(Mutex::new(Streams::new()));
        let shared = Arc::clone(&streams);
        thread::spawn(move || {
            for stream in listener.incoming() {
                let (stream, streams) = (stream.unwrap(), Arc::clone(&shared));
                stream.set_nodelay(true).unwrap();
                thread::spawn(move || serve(&stream, &streams));
            }
        });
        FakePeer { address, streams }
    }

    /// Whether the command succeeded, and its report or its error.
    pub(crate) fn bench(&self, arguments: &[&str]) -> (bool, String) {
        let mut command = Command::new(env!("CARGO_BIN_EXE_ringmill-bench"));
        let output = command.args(arguments).args(["--broker", &self.address, "--json"]).output().unwrap();
        let succeeded = output.status.success();
        (succeeded, String::from_utf8(if succeeded { output.stdout } else { output.stderr }).unwrap())
    }

    pub(crate) fn report(&self, arguments: &[&str]) -> Value {
        let (succeeded, text) = self.bench(arguments);
        assert!(succeeded, "{text}");
        serde_json::from_str(&text).unwrap()
    }
}

/// How many records the report's first case counts.
pub(crate) fn records(report: &Value) -> f64 {
    report["cases"][0]["metrics"]["records_total"]["median"].as_f64().unwrap()
}
