//! Noise behind a sound header, for every API in every version: each ends in an answer or in the end of its connection, and never in a
//! panic or in harm to others.
//!
//! And the limits on what strangers may take: connections, time, partitions. The decoders alone are tried far harder by `fuzz/`; this is about what handlers make of what happens to decode.

use std::sync::atomic::{AtomicUsize, Ordering};

use ringmill::Broker;
use ringmill_net::wire::api::SERVED;
use ringmill_net::wire::messages::create_partitions::{
    CreatePartitionsRequest, CreatePartitionsResponse, CreatePartitionsTopic,
};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataResponse};
use ringmill_net::wire::{ApiKey, ErrorCode};

use crate::raw::{Raw, batch, config_with};
use crate::{OK, named, with_logs};

/// Bytes that follow from a seed (splitmix64), all from `alphabet`.
fn noise(seed: u64, length: usize, alphabet: &[u8]) -> Vec<u8> {
    let mut state = seed;
    let mut next = || {
        state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        usize::try_from((mixed >> 33) % alphabet.len() as u64).unwrap()
    };
    (0..length).map(|_| alphabet[next()]).collect()
}

/// Zeros decode to much, as arrays without entries; small numbers as short ones; the rest claims more than there is.
fn bodies(seed: u64) -> Vec<Vec<u8>> {
    let any: Vec<u8> = (0..=255).collect();
    let mut bodies = vec![Vec::new(), vec![0; 64], vec![0; 4096], vec![0xff; 64], vec![0x7f; 64], vec![1; 64]];
    bodies.extend((0..4).map(|round| noise(seed + round, 80, &any)));
    bodies.extend((4..10).map(|round| noise(seed + round, 80, &[0, 0, 0, 0, 0, 1, 2, b'l'])));
    bodies
}

fn frame(key: ApiKey, version: i16, flexible: bool, correlation_id: i32, body: &[u8]) -> Vec<u8> {
    let mut frame =
        [&key.code().to_be_bytes()[..], &version.to_be_bytes(), &correlation_id.to_be_bytes(), &[0, 1, b'x']].concat();
    if flexible {
        frame.push(0);
    }
    frame.extend_from_slice(body);
    [&i32::try_from(frame.len()).unwrap().to_be_bytes()[..], &frame].concat()
}

#[test]
fn noise_on_any_api_ends_in_an_answer_or_a_closed_connection() {
    static PANICS: AtomicUsize = AtomicUsize::new(0);
    let quiet = std::panic::take_hook();
    std::panic::set_hook(Box::new(move |panic| {
        PANICS.fetch_add(1, Ordering::Relaxed);
        quiet(panic);
    }));
    let (broker, mut witness, _dir) = with_logs(1, &[]);
    let (mut answered, mut closed) = (0, 0);
    for api in SERVED {
        for version in api.version_min..=api.version_max {
            for body in bodies(u64::from(version.unsigned_abs()) << 32 | u64::from(api.key.code().unsigned_abs()) << 16)
            {
                let mut client = Raw::connect(broker.address());
                client.send_bytes(&frame(api.key, version, api.is_flexible(version), 7, &body));
                // A fetch may have been told to wait for minutes: its client leaves.
                if api.key == ApiKey::Fetch {
                    continue;
                }
                // The second is answered too, unless the first ended the connection; a produce without acks is silent.
                client.send_bytes(&frame(ApiKey::ApiVersions, 0, false, 8, &[]));
                match client.receive().map(|first| first.correlation_id()) {
                    Some(7) => {
                        answered += 1;
                        assert_eq!(
                            client.receive().map(|second| second.correlation_id()),
                            Some(8),
                            "{:?} {version}",
                            api.key
                        );
                    }
                    Some(8) => assert_eq!(api.key, ApiKey::Produce, "{version} {body:?}"),
                    Some(other) => panic!("an answer to {other}, which nobody asked"),
                    None => closed += 1,
                }
            }
        }
        assert_eq!(witness.produce("logs", 0, batch(1, 1)).error, OK, "after {:?}", api.key);
    }
    assert!(answered > 100 && closed > 100, "{answered} answered, {closed} closed");
    assert_eq!(PANICS.load(Ordering::Relaxed), 0);
    broker.stop();
}

fn with_settings(settings: &[(&str, &str)]) -> (Broker, tempfile::TempDir) {
    let dir = tempfile::tempdir().unwrap();
    let broker = Broker::start(config_with(dir.path(), "auto", settings)).unwrap();
    (broker, dir)
}

/// By whatever request; and what is deleted makes room.
#[test]
fn a_broker_has_no_more_partitions_than_it_may() {
    let (broker, _dir) = with_settings(&[("ringmill.partitions.max", "5")]);
    let mut client = Raw::connect(broker.address());
    let refused = ErrorCode::PolicyViolation.code();
    assert_eq!((client.create_topic("a", 3, &[]), client.create_topic("b", 3, &[])), (OK, refused));
    assert_eq!(client.create_topic("c", 1, &[]), OK);
    let mut grow = |count| {
        let topics = vec![CreatePartitionsTopic { name: "c", count, assignments: None }];
        let frame = client.call(&CreatePartitionsRequest { topics, ..CreatePartitionsRequest::default() }, 3);
        frame.decode::<CreatePartitionsResponse<'_>>(3).results[0].error_code
    };
    assert_eq!((grow(3), grow(2)), (refused, OK));
    let asked = MetadataRequest { topics: named("d"), allow_auto_topic_creation: true, ..MetadataRequest::default() };
    let mut ask = || client.call(&asked, 9).decode::<MetadataResponse<'_>>(9).topics[0].error_code;
    assert_eq!(ask(), refused);
    let mut other = Raw::connect(broker.address());
    assert_eq!((other.delete_topic("a"), ask()), (OK, OK));
    broker.stop();
}

#[test]
fn one_address_has_no_more_connections_than_it_may() {
    let (broker, _dir) = with_settings(&[("broker.max.connections.per.ip", "2")]);
    let ask = |mut client: Raw| {
        client.send_bytes(&frame(ApiKey::ApiVersions, 0, false, 8, &[]));
        client.receive().is_some().then_some(client)
    };
    let held = [ask(Raw::connect(broker.address())), ask(Raw::connect(broker.address()))];
    assert!(held.iter().all(Option::is_some));
    assert!(ask(Raw::connect(broker.address())).is_none(), "a third");
    drop(held);
    // As soon as the broker has seen that they are gone.
    while ask(Raw::connect(broker.address())).is_none() {}
    broker.stop();
}

#[test]
fn a_connection_that_asks_nothing_is_ended() {
    let (broker, _dir) = with_settings(&[("broker.connections.max.idle.ms", "50")]);
    assert!(Raw::connect(broker.address()).receive().is_none());
    broker.stop();
}
