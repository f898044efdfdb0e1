//! A connection that consumes: fetches all its partitions in one request after the other, and counts.
//!
//! It reads a log once, again and again, or follows its end; while following it also measures how long records took to come here.
//! It looks at batch headers only, to know how far it has come, and lets the records pass. The next request leaves as soon as
//! the last header of an answer is seen, so that the broker does not wait while the rest still comes in.

use std::io::{self, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use ringmill_batch::{BatchHeader, check_stored};
use ringmill_net::Piece;
use ringmill_net::wire::encode_request;
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic};

use crate::cli::FetchOptions;

use super::connect;
use super::departure;
use super::incoming::Incoming;
use super::session::{Meter, Phase};
use super::topic::{Partition, Share, error_name};

/// What librdkafka 2.0 speaks, so that every broker in use knows it. Its fields all have fixed sizes, which lets an answer be
/// read while it comes in.
const FETCH_VERSION: i16 = 11;
/// Beyond the time that the broker may wait for data.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(30);

/// What part of the logs is read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reading {
    /// From the start to what was the end when the load began.
    Once,
    /// The same, over and over.
    Again,
    /// What comes behind the end, until the session is over.
    Follow,
}

/// One connection at work.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    options: &'a FetchOptions,
    stream: TcpStream,
    incoming: Incoming,
    partitions: Vec<Position>,
    reading: Reading,
    /// Where the answer's next partition is expected among the positions.
    expected: usize,
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

impl Position {
    fn new(partition: &Partition, reading: Reading) -> Position {
        let next_offset = if reading == Reading::Follow { partition.log_end } else { partition.log_start };
        Position { partition: partition.clone(), next_offset }
    }

    fn is_at_end(&self) -> bool {
        self.next_offset >= self.partition.log_end
    }
}

/// What one answer brought.
#[derive(Debug, Default)]
struct Brought {
    records: u64,
    bytes: u64,
}

impl<'a> Worker<'a> {
    pub(super) fn new(options: &'a FetchOptions, share: &Share, reading: Reading) -> Result<Worker<'a>, String> {
        let stream = connect(share)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT + options.max_wait)).map_err(|error| error.to_string())?;
        let receiving = stream.try_clone().map_err(|error| error.to_string())?;
        let wanted = |partition: &&Partition| reading == Reading::Follow || partition.log_start < partition.log_end;
        let partitions: Vec<Position> =
            share.partitions.iter().filter(wanted).map(|partition| Position::new(partition, reading)).collect();
        if partitions.is_empty() {
            return Err("a connection's partitions are all empty: produce to the topic first".to_owned());
        }
        Ok(Worker {
            options,
            stream,
            incoming: Incoming::new(receiving),
            partitions,
            reading,
            expected: 0,
            next_correlation_id: 0,
            batch: Vec::new(),
        })
    }

    /// Fetches until the session is over or all is read.
    pub(super) fn run(mut self, meter: &Meter<'_>) -> Result<(), String> {
        let lost = |error: io::Error| match error.kind() {
            io::ErrorKind::WouldBlock => "the broker does not answer".to_owned(),
            _ => format!("the connection broke: {error}"),
        };
        let mut asked = Instant::now();
        let mut pending = self.send_next(meter).map_err(lost)?;
        while pending {
            let mut brought = Brought::default();
            pending = self.take_answer(meter, &mut brought).map_err(lost)??;
            // Who follows waits for what is still to come, so the batches' own times count and not the fetch's.
            let latency = if self.reading == Reading::Follow { None } else { Some(asked.elapsed()) };
            // The next request is on its way already, but it is this answer's end from which the next one's time counts.
            asked = Instant::now();
            meter.count(brought.records, brought.bytes, latency);
        }
        Ok(())
    }

    /// Asks for what comes next. False if there is nothing left to ask for.
    fn send_next(&mut self, meter: &Meter<'_>) -> io::Result<bool> {
        match self.reading {
            Reading::Once => self.partitions.retain(|position| !position.is_at_end()),
            Reading::Again => self
                .partitions
                .iter_mut()
                .filter(|position| position.is_at_end())
                .for_each(|position| position.next_offset = position.partition.log_start),
            Reading::Follow => {}
        }
        if self.partitions.is_empty() || meter.phase() == Phase::Stopped {
            return Ok(false);
        }
        let fetch_bytes = i32::try_from(self.options.fetch_bytes).unwrap_or(i32::MAX);
        let mut topics: Vec<FetchTopic<'_>> = Vec::new();
        for position in &self.partitions {
            let topic = &*position.partition.topic;
            if topics.last().is_none_or(|last| last.topic != topic) {
                topics.push(FetchTopic { topic, ..Default::default() });
            }
            let last = topics.last_mut().expect("there is one now");
            last.partitions.push(FetchPartition {
                partition: position.partition.index,
                fetch_offset: position.next_offset,
                partition_max_bytes: fetch_bytes,
                ..Default::default()
            });
        }
        let request = FetchRequest {
            max_wait_ms: i32::try_from(self.options.max_wait.as_millis()).unwrap_or(i32::MAX),
            min_bytes: 1,
            max_bytes: fetch_bytes,
            topics,
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
    fn take_answer(&mut self, meter: &Meter<'_>, brought: &mut Brought) -> io::Result<Result<bool, String>> {
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
            let mut name = vec![0; name_length];
            self.incoming.read_into(&mut name)?;
            let partitions = self.incoming.length()?;
            for partition in 1..=partitions {
                let last = topic == topics && partition == partitions;
                if let Err(refused) = self.take_partition(meter, &name, brought, last.then_some(&mut sent))? {
                    return Ok(Err(refused));
                }
            }
        }
        match sent {
            Some(sent) => Ok(Ok(sent)),
            None => self.send_next(meter).map(Ok),
        }
    }

    /// Takes in a partition's share. For the last one, `sent` is where to note that the next request is on its way.
    fn take_partition(
        &mut self,
        meter: &Meter<'_>,
        topic: &[u8],
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
        let Some(at) = self.position_of(topic, index) else {
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
                *sent = Some(self.send_next(meter)?);
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
            if self.reading == Reading::Follow {
                meter.arrived(departure::time_since(&header));
            }
        }
        self.incoming.skip(remaining).map(Ok)
    }

    /// Which partition an answer speaks of: mostly the one behind the last, for answers keep the order of the request.
    fn position_of(&mut self, topic: &[u8], index: i32) -> Option<usize> {
        let is_it =
            |position: &Position| position.partition.index == index && position.partition.topic.as_bytes() == topic;
        let count = self.partitions.len();
        let found = (0..count).map(|step| (self.expected + step) % count).find(|at| is_it(&self.partitions[*at]))?;
        self.expected = (found + 1) % count;
        Some(found)
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
