//! Attacks by connections: too many, gone without a word, gone at once, and with strangers at the other end.

use std::rc::Rc;
use std::time::Duration;

use socket2::{SockFilter, SockRef};
use tokio::io::AsyncWriteExt;
use tokio::time::{Instant, MissedTickBehavior, interval};

use super::super::field::Field;
use super::frames;

/// Connections whose peers vanish.
const HALF_OPEN: usize = 2000;

/// Between two bursts of connections.
const BURST_INTERVAL: Duration = Duration::from_millis(10);

/// Until a broker has had the time to refuse.
const REFUSAL: Duration = Duration::from_millis(500);

pub(super) async fn idle(field: Rc<Field>) {
    let streams = field.open_all(field.connections).await;
    field.count(streams.len() as u64);
    tokio::time::sleep(REFUSAL).await;
    field.count_ended(&streams);
    field.under_way();
    field.until_over().await;
}

/// A filter on the attacker's own socket drops whatever comes, acknowledgements included: to the broker the host has lost its power.
pub(super) async fn half_open(field: Rc<Field>) {
    let mut streams = field.open_all(HALF_OPEN.min(field.connections)).await;
    let fetch = frames::fetch_wide(10, 1000, i32::MAX, -1);
    for stream in &mut streams {
        let sent = stream.write_all(&fetch).await;
        // The one instruction: accept no byte of the packet.
        let vanished = SockRef::from(&*stream).attach_filter(&[SockFilter::new(0x06, 0, 0, 0)]);
        field.count(u64::from(sent.is_ok() && vanished.is_ok()));
    }
    field.under_way();
    field.until_over().await;
    // Nor do they say goodbye: their ends are closed only when the broker has given up, or this process ends.
    field.keep(streams);
}

pub(super) async fn reconnects(field: Rc<Field>) {
    field.under_way();
    bursts(&field, 100, &[]).await;
}

pub(super) async fn strangers(field: Rc<Field>) {
    field.under_way();
    bursts(&field, 50, &frames::STRANGERS).await;
}

pub(super) async fn unserved(field: Rc<Field>) {
    field.under_way();
    bursts(&field, 50, &[&frames::unserved()]).await;
}

/// Connects `size` times every ten milliseconds, as far as one thread can, and says something on each. They are closed by a reset, after
/// what was said has had the time to be read.
pub(super) async fn bursts(field: &Field, size: usize, words: &[&[u8]]) {
    let mut ticks = interval(BURST_INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut before = Vec::new();
    while !field.is_over() {
        ticks.tick().await;
        let mut streams = Vec::with_capacity(size);
        let deadline = Instant::now() + BURST_INTERVAL;
        while streams.len() < size && Instant::now() < deadline {
            let Ok(mut stream) = field.connect().await else {
                field.lost().await;
                continue;
            };
            if !words.is_empty() {
                let _ = stream.write_all(words[streams.len() % words.len()]).await;
            }
            // Without it a closed port would stay taken for a minute.
            let _ = SockRef::from(&stream).set_linger(Some(Duration::ZERO));
            streams.push(stream);
        }
        field.count(streams.len() as u64);
        before = if words.is_empty() { Vec::new() } else { streams };
    }
    drop(before);
}
