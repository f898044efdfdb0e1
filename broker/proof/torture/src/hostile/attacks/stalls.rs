//! Attacks by what does not come: frames that are announced and then dribbled, and announced lengths alone.

use std::rc::Rc;
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::{MissedTickBehavior, interval};

use super::super::field::Field;
use super::connections::bursts;
use super::frames;

/// Connections of the attacks by large and by small frames.
const STALLED: usize = 2000;

/// A second is cut into so many parts, each of which serves its share of the connections.
const PARTS_PER_SECOND: usize = 100;

/// The largest frame that a broker takes by default (`socket.request.max.bytes`).
const LARGEST_FRAME_BYTES: u32 = 100 * 1024 * 1024;

pub(super) async fn dribble(field: Rc<Field>) {
    stall(&field, field.connections, 1_000_000).await;
}

pub(super) async fn large(field: Rc<Field>) {
    stall(&field, STALLED.min(field.connections), LARGEST_FRAME_BYTES - 1).await;
}

pub(super) async fn small(field: Rc<Field>) {
    stall(&field, STALLED.min(field.connections), 16_000).await;
}

pub(super) async fn claims(field: Rc<Field>) {
    field.under_way();
    bursts(&field, 50, &[&frames::claim(1 << 30)]).await;
}

/// Announces a frame on each connection and sends a byte a second of it. Who is cut comes again.
async fn stall(field: &Field, connections: usize, frame_bytes: u32) {
    let mut streams = field.open_all(connections).await;
    let head = frames::claim(frame_bytes);
    for stream in &streams {
        field.count(u64::from(stream.try_write(&head).is_ok()));
    }
    field.under_way();
    let mut ticks = interval(Duration::from_secs(1) / u32::try_from(PARTS_PER_SECOND).unwrap_or(1));
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut part = 0;
    while !field.is_over() {
        ticks.tick().await;
        for stream in streams.iter_mut().skip(part).step_by(PARTS_PER_SECOND) {
            if stream.try_write(&[0]).is_err_and(|error| error.kind() != std::io::ErrorKind::WouldBlock) {
                field.cut.set(field.cut.get() + 1);
                if let Ok(again) = begin_again(field, &head).await {
                    *stream = again;
                }
            }
        }
        part = (part + 1) % PARTS_PER_SECOND;
    }
}

async fn begin_again(field: &Field, head: &[u8]) -> std::io::Result<TcpStream> {
    let stream = field.connect().await?;
    stream.try_write(head)?;
    field.count(1);
    Ok(stream)
}
