//! Noise behind a sound header, for every API in every version: each ends in an answer or in the end of its connection, and never in a
//! panic or in harm to others.
//!
//! The decoders alone are tried far harder by `fuzz/`; this is about what handlers make of what happens to decode.

use std::sync::atomic::{AtomicUsize, Ordering};

use ringmill_net::wire::ApiKey;
use ringmill_net::wire::api::SERVED;

use crate::raw::{Raw, batch};
use crate::{OK, with_logs};

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
