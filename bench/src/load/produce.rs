//! A connection that produces: sends the batches of its stock in turn, with a number of requests under way.
//!
//! Frames are built before the clock starts; what changes from one request to the next is the correlation id, the lengths and,
//! for an idempotent producer, the sequence number with the checksum over it.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, Write};
use std::net::TcpStream;
use std::time::{Duration, Instant, SystemTime};

use bytes::Bytes;
use ringmill_batch::sequence_after;
use ringmill_net::Piece;
use ringmill_net::wire::messages::produce::{PartitionProduceData, ProduceRequest, ProduceResponse, TopicProduceData};
use ringmill_net::wire::{Reader, Records, Versioned, encode_request};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::cli::{LoadOptions, SendOptions};

use super::batch::Stock;
use super::incoming::Incoming;
use super::schedule::Schedule;
use super::session::{Meter, Phase};
use super::topic::{Partition, ProducerId, Share, error_name};
use super::{connect, topic};

/// What librdkafka 2.0 speaks, so that every broker in use knows it; topics still go by name.
const PRODUCE_VERSION: i16 = 7;
/// Where a frame carries its correlation id: behind length, key and version.
const CORRELATION_ID_AT: usize = 8;
/// In front of a frame, and in front of a batch.
const LENGTH_BYTES: usize = 4;
/// How long the broker may take, and a little longer until it is given up.
const REQUEST_TIMEOUT_MS: i32 = 30_000;
const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// The answer to one batch takes some hundred bytes; this one would not be Kafka's.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// How all connections of a load send.
#[derive(Debug)]
pub(super) struct Plan {
    connections: u32,
    acks: i16,
    in_flight_max: usize,
    rate_bytes_per_s: Option<u64>,
    idempotent: bool,
    /// Whether each batch carries the time at which it should have left.
    stamped: bool,
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
    stock: Stock,
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
    records: u64,
    value_bytes: u64,
}

/// What a worker does next.
enum Step {
    Send { due: Instant },
    AwaitAnswer,
    AwaitAnswerUntil(Instant),
}

impl Plan {
    pub(super) fn new(load: &LoadOptions, send: &SendOptions, stamped: bool) -> Result<Plan, String> {
        if send.idempotent && send.acks != -1 {
            return Err("an idempotent producer waits for all replicas: --idempotent needs --acks all".to_owned());
        }
        if send.rate == Some(0) {
            return Err("--rate must be above zero".to_owned());
        }
        Ok(Plan {
            connections: load.connections,
            acks: send.acks,
            in_flight_max: send.in_flight as usize,
            rate_bytes_per_s: send.rate,
            idempotent: send.idempotent,
            stamped,
            settings: topic::settings(send).iter().map(|(name, value)| format!("{name}={value} ")).collect(),
        })
    }

    /// The same without a schedule.
    pub(super) fn unpaced(&self) -> Plan {
        Plan { rate_bytes_per_s: None, settings: self.settings.clone(), ..*self }
    }

    pub(super) fn is_idempotent(&self) -> bool {
        self.idempotent
    }

    /// For the report.
    pub(super) fn conditions(&self) -> Vec<(&'static str, String)> {
        let rate = self
            .rate_bytes_per_s
            .map_or_else(|| "as fast as answered".to_owned(), |rate| format!("{rate} B/s by the clock"));
        let mut conditions = vec![
            ("acks", if self.idempotent { "-1, idempotent".to_owned() } else { self.acks.to_string() }),
            ("in_flight", self.in_flight_max.to_string()),
            ("pace", rate),
        ];
        if !self.settings.is_empty() {
            conditions.push(("settings_if_created", self.settings.clone()));
        }
        conditions
    }
}

impl<'a> Worker<'a> {
    pub(super) fn new(
        plan: &'a Plan,
        share: &Share,
        index: u32,
        stock: Stock,
        producer: Option<ProducerId>,
    ) -> Result<Worker<'a>, String> {
        let stream = connect(share)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(|error| error.to_string())?;
        let receiving = stream.try_clone().map_err(|error| error.to_string())?;
        let lanes = share.partitions.iter().map(|partition| Lane::new(plan, partition)).collect();
        Ok(Worker {
            plan,
            index,
            stream,
            incoming: Incoming::new(receiving),
            answer: Vec::new(),
            stock,
            producer,
            lanes,
            next_lane: 0,
            next_correlation_id: 0,
            in_flight: VecDeque::new(),
        })
    }

    /// Sends until the session is over, then waits for the answers that are still due.
    pub(super) fn run(mut self, meter: &Meter<'_>) -> Result<(), String> {
        let lost = |error: io::Error| match error.kind() {
            ErrorKind::WouldBlock => format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
            _ => format!("the connection broke: {error}"),
        };
        // The kernel may otherwise add 50 µs to every wait for the clock.
        rustix::thread::set_current_timer_slack(std::num::NonZeroU64::new(1)).map_err(|error| error.to_string())?;
        let plan = self.plan;
        let mut schedule = plan.rate_bytes_per_s.map(|rate| {
            Schedule::new(Instant::now(), rate, self.stock.mean_value_bytes(), plan.connections, self.index)
        });
        loop {
            let stopped = meter.phase() == Phase::Stopped || self.stock.is_exhausted();
            if stopped && self.in_flight.is_empty() {
                return Ok(());
            }
            match self.next_step(stopped, schedule.as_ref()) {
                Step::Send { due } => {
                    if let Some(schedule) = &mut schedule {
                        schedule.advance();
                        meter.leaves(due);
                    }
                    let request = self.send(due).map_err(lost)?;
                    if plan.acks == 0 {
                        meter.count(request.records, request.value_bytes, None);
                    } else {
                        self.in_flight.push_back(request);
                    }
                }
                Step::AwaitAnswer => self.take_answer(meter).map_err(lost)??,
                Step::AwaitAnswerUntil(due) => {
                    if self.incoming.has_buffered() || readable_before(&self.stream, due).map_err(lost)? {
                        self.take_answer(meter).map_err(lost)??;
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

    fn send(&mut self, due: Instant) -> io::Result<InFlight> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let lane = &mut self.lanes[self.next_lane];
        let batch = self.stock.current();
        if let Some(producer) = self.producer {
            batch.number(producer, lane.sequence);
            lane.sequence = sequence_after(lane.sequence, batch.records());
        }
        if self.plan.stamped {
            batch.stamp(SystemTime::now() - due.elapsed());
        }
        if self.plan.stamped || self.producer.is_some() {
            batch.seal();
        }
        lane.address(correlation_id, batch.bytes.len());
        send_all(&mut self.stream, &mut [&lane.before_batch[..], &batch.bytes, &lane.behind_batch].map(IoSlice::new))?;
        let (records, value_bytes) = (u64::try_from(batch.records()).unwrap_or(0), batch.value_bytes);
        self.next_lane = (self.next_lane + 1) % self.lanes.len();
        self.stock.advance();
        Ok(InFlight { correlation_id, due, records, value_bytes })
    }

    /// Waits for the oldest request's answer. The inner error is what the broker refused.
    fn take_answer(&mut self, meter: &Meter<'_>) -> io::Result<Result<(), String>> {
        let length = self.incoming.length()?;
        if length > ANSWER_BYTES_MAX {
            return Ok(Err(format!("the broker announced an answer of {length} bytes to a produce")));
        }
        self.answer.resize(length, 0);
        self.incoming.read_into(&mut self.answer)?;
        let request = self.in_flight.pop_front().expect("answers are awaited only for requests under way");
        let latency = request.due.elapsed();
        let checked = check_answer(&self.answer, request.correlation_id);
        if checked.is_ok() {
            meter.count(request.records, request.value_bytes, Some(latency));
        }
        Ok(checked)
    }
}

impl Lane {
    fn new(plan: &Plan, partition: &Partition) -> Lane {
        // Any bytes will do in the batch's place, and their length is written for each request.
        let place = Bytes::from_static(b"batch");
        let request = ProduceRequest {
            transactional_id: None,
            acks: plan.acks,
            timeout_ms: REQUEST_TIMEOUT_MS,
            topic_data: vec![TopicProduceData {
                name: &partition.topic,
                partition_data: vec![PartitionProduceData {
                    index: partition.index,
                    records: Some(Records::of_length(place.len())),
                }],
                ..Default::default()
            }],
        };
        let pieces = encode_request(&request, PRODUCE_VERSION, 0, Some("ringmill-bench"), vec![Piece::Bytes(place)]);
        let mut bytes = pieces.into_iter().map(|piece| match piece {
            Piece::Bytes(bytes) => bytes,
            Piece::File { .. } => unreachable!("this request holds no file"),
        });
        let before_batch = bytes.next().unwrap_or_default().to_vec();
        Lane { before_batch, behind_batch: bytes.nth(1).unwrap_or_default(), sequence: 0 }
    }

    /// Writes what differs from request to request: the frame's length, the correlation id and the batch's length.
    fn address(&mut self, correlation_id: i32, batch_bytes: usize) {
        let before = &mut self.before_batch;
        let frame_bytes = before.len() - LENGTH_BYTES + batch_bytes + self.behind_batch.len();
        let length = |bytes: usize| i32::try_from(bytes).expect("batches are far below 2 GiB").to_be_bytes();
        before[..LENGTH_BYTES].copy_from_slice(&length(frame_bytes));
        before[CORRELATION_ID_AT..CORRELATION_ID_AT + 4].copy_from_slice(&correlation_id.to_be_bytes());
        let records_length_at = before.len() - LENGTH_BYTES;
        before[records_length_at..].copy_from_slice(&length(batch_bytes));
    }
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
pub(crate) fn readable_before(stream: &TcpStream, due: Instant) -> io::Result<bool> {
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
