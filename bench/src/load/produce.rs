//! A connection that produces: sends its batch again and again, with a number of requests under way.
//!
//! Frames are built before the clock starts; what changes from one request to the next is the correlation id and, for an
//! idempotent producer, the sequence number with the checksum over it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use ringmill_batch::{BatchHeader, Codec, crc32c, sequence_after};
use ringmill_net::Piece;
use ringmill_net::wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use ringmill_net::wire::{Message, Reader, Records, encode_request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cli::{Payload, ProduceOptions};

use super::incoming::Incoming;
use super::schedule::Schedule;
use super::session::{Phase, Session, Tally};
use super::topic::{ProducerId, Share, error_name};
use super::{batch, connect, topic};

/// What librdkafka 2.0 speaks, so that every broker in use knows it; topics still go by name.
const PRODUCE_VERSION: i16 = 7;
/// Where a frame carries its correlation id: behind length, key and version.
const CORRELATION_ID_AT: usize = 8;
/// A batch's checksum covers everything from its attributes on.
const CRC_COVERS_FROM: usize = 21;
/// How long the broker may take, and a little longer until it is given up.
const REQUEST_TIMEOUT_MS: i32 = 30_000;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// The answer to one batch takes some hundred bytes; this one would not be Kafka's.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// What all connections of a load send.
#[derive(Debug)]
pub(super) struct Plan {
    topic: String,
    connections: u32,
    value_bytes: usize,
    records: u64,
    payload: Payload,
    codec: Codec,
    acks: i16,
    in_flight_max: usize,
    rate_bytes_per_s: Option<u64>,
    idempotent: bool,
    /// The topic's, if this load creates it.
    settings: String,
}

/// One connection at work.
#[derive(Debug)]
pub(super) struct Worker<'a> {
    plan: &'a Plan,
    index: u32,
    stream: TcpStream,
    incoming: Incoming,
    /// The last answer's frame, without its length.
    answer: Vec<u8>,
    batch: BytesMut,
    header: BatchHeader,
    producer: Option<ProducerId>,
    /// One for each partition of the connection's share, served in turn.
    lanes: Vec<Lane>,
    next_lane: usize,
    next_correlation_id: i32,
    /// The requests without an answer yet, oldest first.
    in_flight: VecDeque<InFlight>,
}

/// A partition's frame around the batch, and where its sequence numbers stand.
#[derive(Debug)]
struct Lane {
    before_batch: Vec<u8>,
    behind_batch: Bytes,
    sequence: i32,
}

#[derive(Debug)]
struct InFlight {
    correlation_id: i32,
    /// When it should have left.
    due: Instant,
}

/// What a worker does next.
enum Step {
    Send { due: Instant },
    AwaitAnswer,
    AwaitAnswerUntil(Instant),
}

impl Plan {
    pub(super) fn new(options: &ProduceOptions) -> Result<Plan, String> {
        let value_bytes = options.record_bytes;
        if !(1..=64_000_000).contains(&value_bytes) {
            return Err("--record-bytes must lie between 1 and 64 MB".to_owned());
        }
        let records = options.batch_bytes.map_or(options.batch_records, |bytes| (bytes / value_bytes).max(1));
        if records == 0 || records.saturating_mul(value_bytes) > 1 << 30 {
            return Err("a batch holds at least one record and at most 1 GiB".to_owned());
        }
        if options.idempotent && options.acks != -1 {
            return Err("an idempotent producer waits for all replicas: --idempotent needs --acks -1".to_owned());
        }
        if options.rate == Some(0) {
            return Err("--rate must be above zero".to_owned());
        }
        let default_payload = if options.codec == Codec::None { Payload::Random } else { Payload::Text };
        Ok(Plan {
            topic: options.load.topic.clone(),
            connections: options.load.connections,
            value_bytes: usize::try_from(value_bytes).map_err(|error| error.to_string())?,
            records,
            payload: options.payload.unwrap_or(default_payload),
            codec: options.codec,
            acks: options.acks,
            in_flight_max: options.in_flight as usize,
            rate_bytes_per_s: options.rate,
            idempotent: options.idempotent,
            settings: topic::settings(options).iter().map(|(name, value)| format!("{name}={value} ")).collect(),
        })
    }

    /// For the report.
    pub(super) fn conditions(&self) -> Vec<(&'static str, String)> {
        let payload = format!("{:?}", self.payload).to_lowercase();
        let values = format!("{} records of {} bytes of {payload}", self.records, self.value_bytes);
        let rate = self
            .rate_bytes_per_s
            .map_or_else(|| "as fast as answered".to_owned(), |rate| format!("{rate} B/s by the clock"));
        let mut conditions = vec![
            ("batch", format!("{values}, codec {}, {} bytes as sent", self.codec, self.build_batch(0).len())),
            ("acks", if self.idempotent { "-1, idempotent".to_owned() } else { self.acks.to_string() }),
            ("in_flight", self.in_flight_max.to_string()),
            ("pace", rate),
        ];
        if !self.settings.is_empty() {
            conditions.push(("settings_if_created", self.settings.clone()));
        }
        conditions
    }

    fn build_batch(&self, seed: u32) -> BytesMut {
        batch::build(self.records, self.value_bytes, self.payload, self.codec, seed)
    }

    fn value_bytes_per_batch(&self) -> u64 {
        self.records * self.value_bytes as u64
    }
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        share: &Share,
        index: u32,
        producer: Option<ProducerId>,
    ) -> Result<Worker<'a>, String> {
        let stream = connect(share)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(|error| error.to_string())?;
        let receiving = stream.try_clone().map_err(|error| error.to_string())?;
        let batch = plan.build_batch(index);
        let header = BatchHeader::parse(&batch).expect("the builder makes whole batches");
        let lanes = share.partitions.iter().map(|partition| Lane::new(plan, partition.index, &batch)).collect();
        Ok(Worker {
            plan,
            index,
            stream,
            incoming: Incoming::new(receiving),
            answer: Vec::new(),
            batch,
            header,
            producer,
            lanes,
            next_lane: 0,
            next_correlation_id: 0,
            in_flight: VecDeque::new(),
        })
    }

    /// Sends until the session is over, then waits for the answers that are still due.
    pub(super) fn run(mut self, session: &Session) -> Result<Tally, String> {
        let lost = |error: io::Error| match error.kind() {
            ErrorKind::WouldBlock => format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
            _ => format!("the connection broke: {error}"),
        };
        // The kernel may otherwise add 50 µs to every wait for the clock.
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)).map_err(|error| error.to_string())?;
        let plan = self.plan;
        let mut schedule = plan.rate_bytes_per_s.map(|rate| {
            Schedule::new(Instant::now(), rate, plan.value_bytes_per_batch(), plan.connections, self.index)
        });
        let mut tally = Tally::new();
        loop {
            let stopped = session.phase() == Phase::Stopped;
            if stopped && self.in_flight.is_empty() {
                return Ok(tally);
            }
            match self.next_step(stopped, schedule.as_ref()) {
                Step::Send { due } => {
                    if let Some(schedule) = &mut schedule {
                        schedule.advance();
                        record_lateness(session, &mut tally, due);
                    }
                    self.send(due).map_err(lost)?;
                    if plan.acks == 0 {
                        session.count(&mut tally, plan.records, plan.value_bytes_per_batch());
                    }
                }
                Step::AwaitAnswer => self.take_answer(session, &mut tally).map_err(lost)??,
                Step::AwaitAnswerUntil(due) => {
                    if self.incoming.has_buffered() || readable_before(&self.stream, due).map_err(lost)? {
                        self.take_answer(session, &mut tally).map_err(lost)??;
                    }
                }
            }
        }
    }

    fn next_step(&self, stopped: bool, schedule: Option<&Schedule>) -> Step {
        if stopped || self.in_flight.len() >= self.plan.in_flight_max {
            return Step::AwaitAnswer;
        }
        let now = Instant::now();
        match schedule.map(Schedule::next) {
            None => Step::Send { due: now },
            Some(due) if due <= now => Step::Send { due },
            Some(due) => Step::AwaitAnswerUntil(due),
        }
    }

    fn send(&mut self, due: Instant) -> io::Result<()> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let lane = &mut self.lanes[self.next_lane];
        if let Some(producer) = self.producer {
            number(&mut self.batch, &mut self.header, producer, lane.sequence);
            lane.sequence = sequence_after(lane.sequence, self.header.record_count);
        }
        lane.before_batch[CORRELATION_ID_AT..CORRELATION_ID_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
        send_all(&mut self.stream, &mut [&lane.before_batch[..], &self.batch, &lane.behind_batch].map(IoSlice::new))?;
        self.next_lane = (self.next_lane + 1) % self.lanes.len();
        if self.plan.acks != 0 {
            self.in_flight.push_back(InFlight { correlation_id, due });
        }
        Ok(())
    }

    /// Waits for the oldest request's answer. The inner error is what the broker refused.
    fn take_answer(&mut self, session: &Session, tally: &mut Tally) -> io::Result<Result<(), String>> {
        let length = self.incoming.length()?;
        if length > ANSWER_BYTES_MAX {
            return Ok(Err(format!("the broker announced an answer of {length} bytes to a produce")));
        }
        self.answer.resize(length, 0);
        self.incoming.read_into(&mut self.answer)?;
        let request = self.in_flight.pop_front().expect("answers are awaited only for requests under way");
        if session.phase() == Phase::Measuring {
            tally.latency.record(request.due.elapsed());
        }
        let checked = check_answer(&self.answer, request.correlation_id);
        if checked.is_ok() {
            session.count(tally, self.plan.records, self.plan.value_bytes_per_batch());
        }
        Ok(checked)
    }
}

impl Lane {
    fn new(plan: &Plan, partition: i32, batch: &BytesMut) -> Lane {
        let request = ProduceRequest {
            transactional_id: None,
            acks: plan.acks,
            timeout_ms: REQUEST_TIMEOUT_MS,
            topic_data: vec![TopicProduceData {
                name: &plan.topic,
                partition_data: vec![PartitionProduceData {
                    index: partition,
                    records: Some(Records::of_length(batch.len())),
                }],
                ..Default::default()
            }],
        };
        let records = vec![Piece::Bytes(batch.clone().freeze())];
        let pieces = encode_request(&request, PRODUCE_VERSION, 0, Some("ringmill-bench"), records);
        let mut bytes = pieces.into_iter().map(|piece| match piece {
            Piece::Bytes(bytes) => bytes,
            Piece::File { .. } => unreachable!("this request holds no file"),
        });
        let before_batch = bytes.next().unwrap_or_default().to_vec();
        Lane { before_batch, behind_batch: bytes.nth(1).unwrap_or_default(), sequence: 0 }
    }
}

fn record_lateness(session: &Session, tally: &mut Tally, due: Instant) {
    if session.phase() == Phase::Measuring {
        tally.lateness.record(due.elapsed());
    }
}

/// Writes the producer's identity and the sequence number into the batch, and its checksum anew.
fn number(batch: &mut BytesMut, header: &mut BatchHeader, producer: ProducerId, sequence: i32) {
    (header.producer_id, header.producer_epoch, header.base_sequence) = (producer.id, producer.epoch, sequence);
    header.write(batch);
    header.crc = crc32c(&batch[CRC_COVERS_FROM..]);
    header.write(batch);
}

fn send_all(stream: &mut TcpStream, mut slices: &mut [IoSlice<'_>]) -> io::Result<()> {
    IoSlice::advance_slices(&mut slices, 0);
    while !slices.is_empty() {
        match stream.write_vectored(slices) {
            Ok(count) => IoSlice::advance_slices(&mut slices, count),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Waits until there is something to receive, at most until `due`.
fn readable_before(stream: &TcpStream, due: Instant) -> io::Result<bool> {
    let wait = due.saturating_duration_since(Instant::now());
    let timeout = Timespec::try_from(wait).map_err(io::Error::other)?;
    match poll(&mut [PollFd::new(stream, PollFlags::IN)], Some(&timeout)) {
        Ok(count) => Ok(count > 0),
        Err(rustix::io::Errno::INTR) => Ok(false),
        Err(error) => Err(error.into()),
    }
}

/// Reads an answer's frame and says what was refused, if anything.
fn check_answer(frame: &[u8], correlation_id: i32) -> Result<(), String> {
    let mut reader = Reader::new(frame);
    let unreadable = |error| format!("the broker's answer is not readable: {error}");
    if reader.i32().map_err(unreadable)? != correlation_id {
        return Err("the broker's answers are out of order".to_owned());
    }
    let response = ProduceResponse::decode(&mut reader, PRODUCE_VERSION).map_err(unreadable)?;
    let mut partitions = response.responses.iter().flat_map(|topic| &topic.partition_responses);
    match partitions.find(|partition| partition.error_code != 0) {
        None => Ok(()),
        Some(partition) => {
            Err(format!("partition {} refused a batch: {}", partition.index, error_name(partition.error_code)))
        }
    }
}

#[cfg(test)]
mod tests {
    use ringmill_batch::check_produced;

    use super::*;

    #[test]
    fn a_numbered_batch_is_still_whole() {
        let mut batch = batch::build(10, 100, Payload::Random, Codec::None, 0);
        let mut header = BatchHeader::parse(&batch).unwrap();
        number(&mut batch, &mut header, ProducerId { id: 7, epoch: 1 }, 40);
        let checked = check_produced(&batch).unwrap();
        assert_eq!((checked.producer_id, checked.producer_epoch, checked.base_sequence), (7, 1, 40));
    }
}
