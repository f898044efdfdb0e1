//! Readers: long-polling consumers that go on where they were when the broker died, and the readings by which a broker is judged after
//! a start: where its logs begin and end, what is new in them, and all of them.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use ringmill_checker::{Event, Place, decode};
use ringmill_net::client::{ClientError, Connection};
use tokio::time::sleep;

use super::client::{self, EARLIEST, Fetched, LATEST};
use super::ledger::Ledger;

/// How long a fetch may wait for something new. Longer than most lives, so that fetches are cut off while they wait.
const POLL_MS: u32 = 100;

/// How long a reader waits that was refused.
const REFUSED_PAUSE: Duration = Duration::from_millis(5);

/// Fetches in a row that bring nothing though there ought to be something, before a reading is given up.
const EMPTY_FETCHES_MAX: u32 = 3;

/// A partition as it is read: what it is called, and where a reader is.
#[derive(Clone, Debug)]
pub(super) struct Cursor {
    pub(super) consumer: u32,
    pub(super) place: Place,
    pub(super) topic: Rc<str>,
    pub(super) next: i64,
}

impl Cursor {
    fn named(&self) -> client::Named<'_> {
        (&self.topic, self.place.partition)
    }

    /// Writes down what a fetch from here brought, and moves on.
    fn take(&mut self, ledger: &Ledger, asked: u64, fetched: &Fetched) -> i16 {
        let (place, from, code) = (self.place, self.next, fetched.code);
        if code != 0 {
            ledger.put(Event::ReadRefused { place, asked, from, code });
            ledger.count("fetches refused", 1);
            return code;
        }
        let decoded = decode(from, &fetched.records);
        ledger.count("records read", decoded.runs.iter().map(|run| run.count).sum());
        self.next = decoded.next;
        let next = decoded.next_of_its_own(from);
        ledger.put(Event::Seen {
            consumer: self.consumer,
            place,
            asked,
            from,
            log_start: fetched.log_start,
            end: fetched.end,
            runs: decoded.runs,
            next,
            foreign: decoded.foreign,
        });
        0
    }
}

/// Follows some partitions until the connection ends.
pub(super) async fn follow(address: SocketAddr, ledger: &Ledger, cursors: &mut [Cursor]) -> Result<(), ClientError> {
    let connection = client::connect(address).await?;
    loop {
        if fetch_once(&connection, ledger, cursors, POLL_MS).await?.iter().any(|code| *code != 0) {
            // What was removed by retention or a deletion is passed over, and so is what a cut took, if it was allowed to.
            let starts = list(&connection, cursors, EARLIEST).await?;
            let ends = list(&connection, cursors, LATEST).await?;
            for (cursor, bounds) in cursors.iter_mut().zip(starts.into_iter().zip(ends)) {
                if let ((0, start), (0, end)) = bounds {
                    cursor.next = cursor.next.clamp(start, end.max(start));
                }
            }
            sleep(REFUSED_PAUSE).await;
        }
        ledger.count("polls", 1);
    }
}

async fn fetch_once(
    connection: &Connection,
    ledger: &Ledger,
    cursors: &mut [Cursor],
    wait_ms: u32,
) -> Result<Vec<i16>, ClientError> {
    let asked = ledger.now();
    let wanted: Vec<_> = cursors.iter().map(|cursor| (cursor.named(), cursor.next)).collect();
    let fetched = client::fetch(connection, wait_ms, &wanted).await?;
    Ok(cursors.iter_mut().zip(&fetched).map(|(cursor, fetched)| cursor.take(ledger, asked, fetched)).collect())
}

async fn list(connection: &Connection, cursors: &[Cursor], at: i64) -> Result<Vec<(i16, i64)>, ClientError> {
    let wanted: Vec<_> = cursors.iter().map(Cursor::named).collect();
    client::list_offsets(connection, at, &wanted).await
}

/// Where each log begins and ends, written down as what a start has left; `None` for those that are not served.
pub(super) async fn recovered(
    connection: &Connection,
    ledger: &Ledger,
    cursors: &[Cursor],
) -> Result<Vec<Option<(i64, i64)>>, ClientError> {
    let asked = ledger.now();
    let starts = list(connection, cursors, EARLIEST).await?;
    let ends = list(connection, cursors, LATEST).await?;
    let mut bounds = Vec::with_capacity(cursors.len());
    for (cursor, (start, end)) in cursors.iter().zip(starts.into_iter().zip(ends)) {
        let place = cursor.place;
        bounds.push(match (start, end) {
            ((0, log_start), (0, end)) => {
                ledger.put(Event::Recovered { place, asked, log_start, end });
                Some((log_start, end))
            }
            ((0, _), (code, _)) | ((code, _), _) => {
                ledger.put(Event::ReadRefused { place, asked, from: cursor.next, code });
                ledger.count("partitions not served", 1);
                None
            }
        });
    }
    Ok(bounds)
}

/// Reads from every cursor's position up to the end that was found.
pub(super) async fn read_up_to(
    connection: &Connection,
    ledger: &Ledger,
    cursors: &mut [Cursor],
    ends: &[i64],
) -> Result<(), ClientError> {
    let mut empty = 0;
    let behind = |cursor: &Cursor, end: i64| cursor.next < end;
    loop {
        let mut open: Vec<usize> = (0..cursors.len()).filter(|index| behind(&cursors[*index], ends[*index])).collect();
        if open.is_empty() || empty == EMPTY_FETCHES_MAX {
            return Ok(());
        }
        let mut some: Vec<Cursor> = open.iter().map(|index| cursors[*index].clone()).collect();
        fetch_once(connection, ledger, &mut some, 0).await?;
        let mut moved = false;
        for (index, cursor) in open.drain(..).zip(some) {
            moved |= cursor.next > cursors[index].next;
            cursors[index] = cursor;
        }
        empty = if moved { 0 } else { empty + 1 };
    }
}
