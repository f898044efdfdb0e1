//! Small requests over a plain socket on a thread of its own, by the clock or as fast as answered: what heartbeats and commits share.
//!
//! As with produced records the project's client is left out of the measured path; versions are fixed for the same reason.

use std::collections::VecDeque;
use std::io::{self, ErrorKind, Write};
use std::net::{TcpStream, ToSocketAddrs};
use std::num::NonZeroU64;
use std::time::{Duration, Instant};

use ringmill_net::Piece;
use ringmill_net::wire::{Message, Reader};

use crate::load::{Incoming, Meter, Phase, Schedule, readable_before};
use crate::sockets;

const ANSWER_TIMEOUT: Duration = Duration::from_secs(40);
/// An answer for 10,000 partitions takes some 60 KB; a larger one would not be Kafka's.
const ANSWER_BYTES_MAX: usize = 1 << 20;
/// By the clock nothing but this limits how many requests wait for their answers.
pub(super) const PACED_IN_FLIGHT_MAX: usize = 10_000;

/// What a connection sends, one after the other, and how it reads the answers, which come in the same order.
pub(super) trait Requests {
    /// The next request's frame.
    fn next(&mut self, correlation_id: i32) -> Vec<Piece>;

    /// How many things an answer's body has confirmed, or what was refused.
    fn confirmed(&mut self, answer: &[u8]) -> Result<u64, String>;
}

/// One connection at work.
pub(super) struct Worker<R> {
    stream: TcpStream,
    incoming: Incoming,
    answer: Vec<u8>,
    requests: R,
    in_flight_max: usize,
    next_correlation_id: i32,
    /// The requests without an answer yet, oldest first.
    in_flight: VecDeque<InFlight>,
}

struct InFlight {
    correlation_id: i32,
    /// When it should have left.
    due: Instant,
    bytes: u64,
}

impl<R: Requests> Worker<R> {
    pub(super) fn connect(address: &str, requests: R, in_flight_max: usize) -> Result<Worker<R>, String> {
        let named = |error: io::Error| format!("{address}: {error}");
        let mut addresses = address.to_socket_addrs().map_err(named)?;
        let stream = sockets::connect(addresses.next().ok_or_else(|| format!("{address}: this name has no address"))?);
        let stream = stream.map_err(named)?;
        stream.set_read_timeout(Some(ANSWER_TIMEOUT)).map_err(named)?;
        let incoming = Incoming::new(stream.try_clone().map_err(named)?);
        Ok(Worker {
            stream,
            incoming,
            answer: Vec::new(),
            requests,
            in_flight_max,
            next_correlation_id: 0,
            in_flight: VecDeque::new(),
        })
    }

    /// Sends until the session is over, by the clock if `schedule` makes one, then waits for the answers that are still due.
    pub(super) fn run(
        mut self,
        meter: &Meter<'_>,
        schedule: Option<impl Fn(Instant) -> Schedule>,
    ) -> Result<(), String> {
        let lost = |error: io::Error| match error.kind() {
            ErrorKind::WouldBlock => format!("no answer within {} s", ANSWER_TIMEOUT.as_secs()),
            _ => format!("the connection broke: {error}"),
        };
        // The kernel may otherwise add 50 µs to every wait for the clock.
        rustix::thread::set_current_timer_slack(NonZeroU64::new(1)).map_err(|error| error.to_string())?;
        let mut schedule = schedule.map(|from| from(Instant::now()));
        loop {
            let stopped = meter.phase() == Phase::Stopped;
            if stopped && self.in_flight.is_empty() {
                return Ok(());
            }
            if stopped || self.in_flight.len() >= self.in_flight_max {
                self.take_answer(meter).map_err(lost)??;
                continue;
            }
            let now = Instant::now();
            match schedule.as_mut() {
                None => self.send(now).map_err(lost)?,
                Some(schedule) if schedule.next() <= now => {
                    let due = schedule.next();
                    schedule.advance();
                    meter.leaves(due);
                    self.send(due).map_err(lost)?;
                }
                Some(schedule) => {
                    if self.incoming.has_buffered() || readable_before(&self.stream, schedule.next()).map_err(lost)? {
                        self.take_answer(meter).map_err(lost)??;
                    }
                }
            }
        }
    }

    fn send(&mut self, due: Instant) -> io::Result<()> {
        let correlation_id = self.next_correlation_id;
        self.next_correlation_id = correlation_id.wrapping_add(1);
        let mut bytes = 0;
        for piece in self.requests.next(correlation_id) {
            if let Piece::Bytes(piece) = piece {
                self.stream.write_all(&piece)?;
                bytes += piece.len() as u64;
            }
        }
        self.in_flight.push_back(InFlight { correlation_id, due, bytes });
        Ok(())
    }

    /// Waits for the oldest request's answer. The inner error is what the broker refused.
    fn take_answer(&mut self, meter: &Meter<'_>) -> io::Result<Result<(), String>> {
        let length = self.incoming.length()?;
        if length > ANSWER_BYTES_MAX {
            return Ok(Err(format!("the broker announced an answer of {length} bytes")));
        }
        self.answer.resize(length, 0);
        self.incoming.read_into(&mut self.answer)?;
        let request = self.in_flight.pop_front().expect("answers are awaited only for requests under way");
        let latency = request.due.elapsed();
        let Some((id, body)) = self.answer.split_first_chunk() else {
            return Ok(Err("the broker's answer is shorter than its header".to_owned()));
        };
        if i32::from_be_bytes(*id) != request.correlation_id {
            return Ok(Err("the broker's answers are out of order".to_owned()));
        }
        Ok(self.requests.confirmed(body).map(|things| meter.count(things, request.bytes, Some(latency))))
    }
}

/// Reads an answer's body, behind the correlation id.
pub(super) fn decode<'a, M: Message<'a>>(answer: &'a [u8], version: i16) -> Result<M, String> {
    let mut reader = Reader::new(answer);
    let header = if version >= M::FLEXIBLE_FROM { reader.tagged_fields(|_, _| Ok(false)) } else { Ok(()) };
    let decoded = header.and_then(|()| M::decode(&mut reader, version));
    decoded.map_err(|error| format!("the broker's answer is not readable: {error}"))
}
