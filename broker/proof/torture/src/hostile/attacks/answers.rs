//! Attacks by readers that do not read.

use std::rc::Rc;

use super::super::field::Field;
use super::frames;

/// Connections that ask for records.
const READERS: usize = 1000;

/// Requests on each connection: as many as fit into the sockets on the way are enough.
const REQUESTS: usize = 16;

pub(super) async fn unread_fetches(field: Rc<Field>) {
    ask_and_not_read(&field, READERS.min(field.connections), &frames::fetch_large()).await;
}

pub(super) async fn unread_metadata(field: Rc<Field>) {
    ask_and_not_read(&field, field.connections, &frames::metadata_of_all()).await;
}

async fn ask_and_not_read(field: &Field, connections: usize, request: &[u8]) {
    let mut streams = field.open_all(connections).await;
    field.under_way();
    let requests = request.repeat(REQUESTS);
    for stream in &streams {
        field.count(if stream.try_write(&requests).is_ok() { REQUESTS as u64 } else { 0 });
        tokio::task::yield_now().await;
        if field.is_over() {
            break;
        }
    }
    // Who was cut comes again, and reads nothing again.
    while !field.is_over() {
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        for stream in &mut streams {
            if stream.try_write(&[]).is_ok() && stream.take_error().is_ok_and(|error| error.is_none()) && !ended(stream)
            {
                continue;
            }
            field.cut.set(field.cut.get() + 1);
            if let Ok(again) = field.connect().await {
                field.count(if again.try_write(&requests).is_ok() { REQUESTS as u64 } else { 0 });
                *stream = again;
            }
        }
    }
}

/// Whether the broker has reset the connection: what it sent before is not looked at.
fn ended(stream: &tokio::net::TcpStream) -> bool {
    let peeked = socket2::SockRef::from(stream).peer_addr();
    peeked.is_err()
}
