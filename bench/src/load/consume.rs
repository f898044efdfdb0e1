//! A connection that consumes: fetches all its partitions in one request after the other, and counts.
//!
//! It looks at batch headers only, to know how far it has come, and lets the records pass. The next request leaves as soon as
//! the last header of an answer is seen, so that the broker does not wait while the rest still comes in.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringmill_batch::{BatchHeader, check_stored};
use ringmill_net::Piece;
use ringmill_net::wire::encode_request;
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};

use crate::cli::ConsumeOptions;

use super::connect;
use super::incoming::Incoming;
use super::session::{Phase, Session, Tally};
use super::topic::{Partition, Share, error_name};

/// What librdkafka 2.0 speaks, so that every broker in use knows it. Its fields all have fixed sizes, which lets an answer be
/// read while it comes in.
const FETCH_VERSION: i16 = 11;
/// Beyond the time that the broker may wait for data.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// One connection at work.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    options: &'a ConsumeOptions,
    stream: TcpStream,
    incoming: Incoming,
    partitions: Vec<Position>,
    /// Whether to begin anew at a partition's end.
    again: bool,
    next_correlation_id: i32,
    /// A whole batch, where batches are checked.
    batch: Vec<u8>,
}

/// How far a partition has been read.
#[derive(Debug)]
struct Position {
    partition: Partition,
    next_offset: i64,
}

/// What one answer brought.
#[derive(Debug, Default)]
struct Brought {
    records: u64,
    bytes: u64,
}

impl<'a> Worker<'a> {
    pub(super) fn new(options: &'a ConsumeOptions, share: &Share, again: bool) -> Result<Worker<'a>, String> {
        let stream = connect(share)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT + options.max_wait)).map_err(|error| error.to_string())?;
        let receiving = stream.try_clone().map_err(|error| error.to_string())?;
        let filled = share.partitions.iter().filter(|partition| partition.log_start < partition.log_end);
        let partitions: Vec<Position> = filled
            .map(|partition| Position { next_offset: partition.log_start, partition: partition.clone() })
            .collect();
        if partitions.is_empty() {
            return Err("a connection's partitions are all empty: produce to the topic first".to_owned());
        }
        let incoming = Incoming::new(receiving);
        Ok(Worker { options, stream, incoming, partitions, again, next_correlation_id: 0, batch: Vec::new() })
    }

    /// Fetches until the session is over or all is read.
    pub(super) fn run(mut self, session: &Session) -> Result<Tally, String> {
        let lost = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => "the broker does not answer".to_owned(),
            _ => format!("the connection broke: {error}"),
        };
        let mut tally = Tally::new();
        let mut asked = Instant::now();
        let mut pending = self.send_next(session).map_err(lost)?;
        while pending {
            let mut brought = Brought::default();
            pending = self.take_answer(session, &mut brought).map_err(lost)??;
            if session.phase() == Phase::Measuring {
                tally.latency.record(asked.elapsed());
            }
            // The next request is on its way already, but it is this answer's end from which the next one's time counts.
            asked = Instant::now();
            session.count(&mut tally, brought.records, brought.bytes);
        }
        Ok(tally)
    }

    /// Asks for what comes next. False if there is nothing left to ask for.
    fn send_next(&mut self, session: &Session) -> io::Result<bool> {
        if self.again {
            let at_end = |position: &&mut Position| position.next_offset >= position.partition.log_end;
            self.partitions
                .iter_mut()
                .filter(at_end)
                .for_each(|position| position.next_offset = position.partition.log_start);
        } else {
            self.partitions.retain(|position| position.next_offset < position.partition.log_end);
        }
        if self.partitions.is_empty() || session.phase() == Phase::Stopped {
            return Ok(false);
        }
        let fetch_bytes = i32::try_from(self.options.fetch_bytes).unwrap_or(i32::MAX);
        let partitions = self.partitions.iter().map(|position| FetchPartition {
            partition: position.partition.index,
            fetch_offset: position.next_offset,
            partition_max_bytes: fetch_bytes,
            ..Default::default()
        });
        let request = FetchRequest {
            max_wait_ms: i32::try_from(self.options.max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: fetch_bytes,
            topics: vec![FetchTopic {
                topic: &self.options.load.topic,
                partitions: partitions.collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        let frame =
            encode_request(&request, FETCH_VERSION, self.next_correlation_id, Some("ringmill-bench"), Vec::new());
        for piece in frame {
            if let Piece::Bytes(bytes) = piece {
                self.stream.write_all(&bytes)?;
            }
        }
        Ok(true)
    }

    /// Takes in the answer at hand and sends the next request on the way. Whether one was sent; the inner error is the broker's.
    fn take_answer(&mut self, session: &Session, brought: &mut Brought) -> io::Result<Result<bool, String>> {
        let _frame_length = self.incoming.i32()?;
        if self.incoming.i32()? != self.next_correlation_id {
            return Ok(Err("the broker's answers are out of order".to_owned()));
        }
        self.next_correlation_id = self.next_correlation_id.wrapping_add(1);
        let _throttle_time_ms = self.incoming.i32()?;
        let error_code = self.incoming.i16()?;
        if error_code != 0 {
            return Ok(Err(format!("the broker refused to fetch: {}", error_name(error_code))));
        }
        let _session_id = self.incoming.i32()?;
        let mut sent = None;
        let topics = self.incoming.length()?;
        for topic in 1..=topics {
            let name_length = usize::try_from(self.incoming.i16()?).unwrap_or(0);
            self.incoming.skip(name_length)?;
            let partitions = self.incoming.length()?;
            for partition in 1..=partitions {
                let last = topic == topics && partition == partitions;
                if let Err(refused) = self.take_partition(session, brought, last.then_some(&mut sent))? {
                    return Ok(Err(refused));
                }
            }
        }
        match sent {
            Some(sent) => Ok(Ok(sent)),
            None => self.send_next(session).map(Ok),
        }
    }

    /// Takes in a partition's share. For the last one, `sent` is where to note that the next request is on its way.
    fn take_partition(
        &mut self,
        session: &Session,
        brought: &mut Brought,
        mut sent: Option<&mut Option<bool>>,
    ) -> io::Result<Result<(), String>> {
        let index = self.incoming.i32()?;
        let error_code = self.incoming.i16()?;
        let (_high_watermark, _last_stable, _log_start) =
            (self.incoming.i64()?, self.incoming.i64()?, self.incoming.i64()?);
        let aborted_transactions = self.incoming.length()?;
        self.incoming.skip(aborted_transactions * 16)?;
        let _preferred_read_replica = self.incoming.i32()?;
        let mut remaining = self.incoming.length()?;
        if error_code != 0 {
            return Ok(Err(format!("partition {index}: {}", error_name(error_code))));
        }
        let Some(at) = self.partitions.iter().position(|position| position.partition.index == index) else {
            return Ok(Err(format!("the broker answered for partition {index}, which nobody asked for")));
        };
        while remaining >= BatchHeader::BYTES {
            let mut bytes = [0; BatchHeader::BYTES];
            self.incoming.read_into(&mut bytes)?;
            let header = match BatchHeader::parse(&bytes) {
                Ok(header) => header,
                Err(error) => return Ok(Err(format!("partition {index}: a damaged batch header: {error}"))),
            };
            let whole = header.total_bytes() <= remaining;
            let last_header = !whole || remaining - header.total_bytes() < BatchHeader::BYTES;
            if whole {
                self.count(at, &header, brought);
            }
            if last_header && let Some(sent) = sent.take() {
                *sent = Some(self.send_next(session)?);
            }
            if !whole {
                // A cut last batch comes again, whole, with the next fetch.
                remaining -= BatchHeader::BYTES;
                break;
            }
            remaining -= header.total_bytes();
            if let Err(damage) = self.pass_records(&bytes, &header)? {
                return Ok(Err(format!("partition {index}, offset {}: {damage}", header.base_offset.get())));
            }
        }
        self.incoming.skip(remaining).map(Ok)
    }

    fn count(&mut self, at: usize, header: &BatchHeader, brought: &mut Brought) {
        self.partitions[at].next_offset = header.next_offset().get();
        brought.records += u64::try_from(header.record_count).unwrap_or(0);
        brought.bytes += header.total_bytes() as u64;
    }

    /// Lets the records pass, or checks them if that was asked for.
    fn pass_records(&mut self, header_bytes: &[u8], header: &BatchHeader) -> io::Result<Result<(), String>> {
        if !self.options.check_crc {
            return self.incoming.skip(header.records_bytes()).map(Ok);
        }
        self.batch.clear();
        self.batch.extend_from_slice(header_bytes);
        self.batch.resize(header.total_bytes(), 0);
        self.incoming.read_into(&mut self.batch[BatchHeader::BYTES..])?;
        Ok(check_stored(&self.batch).map(drop).map_err(|error| error.to_string()))
    }
}
