//! What records hold: generated log lines or random bytes, of sizes by a distribution, with or without keys.
//!
//! Everything comes from a seed. Nothing here knows batches; [`batch`](super::batch) asks for one record after the other.

use clap::ValueEnum;

mod lines;
mod random;
mod sizes;

use lines::{LogWriter, Shape};
pub(crate) use random::Random;
pub(crate) use sizes::Sizes;

/// What record values are made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Payload {
    /// Log lines of all four kinds below in turn; they compress as logs do.
    Text,
    /// Bytes that nothing compresses.
    Random,
    /// Lines as HDFS data nodes log them.
    Hdfs,
    /// Lines as the BlueGene/L supercomputer logged them.
    Bgl,
    /// Lines as an OpenSSH server under attack logs them.
    Openssh,
    /// Lines of an Apache access log.
    Apache,
}

/// Makes one record after the other.
#[derive(Clone, Debug)]
pub(super) struct RecordMaker {
    payload: Payload,
    sizes: Sizes,
    keys: Option<u32>,
    random: Random,
    log: LogWriter,
    /// Lines so far, to take the shapes in turn.
    line_count: usize,
}

impl RecordMaker {
    pub(super) fn new(payload: Payload, sizes: Sizes, keys: Option<u32>, seed: u64) -> RecordMaker {
        let mut random = Random::new(seed);
        // Neighbouring seeds must not give neighbouring logs.
        let log = LogWriter::new(random.next());
        RecordMaker { payload, sizes, keys, random, log, line_count: 0 }
    }

    /// Puts the next value in `value`'s place.
    pub(super) fn fill(&mut self, value: &mut Vec<u8>) {
        value.clear();
        let Some(bytes) = self.sizes.draw(&mut self.random) else {
            return self.push_line(value);
        };
        while value.len() < bytes {
            if self.payload == Payload::Random {
                value.extend_from_slice(&self.random.next().to_be_bytes());
            } else {
                self.push_line(value);
                value.push(b'\n');
            }
        }
        value.truncate(bytes);
    }

    /// The next record's key, if records have one.
    pub(super) fn key(&mut self) -> Option<String> {
        self.keys.map(|keys| format!("host-{:06}", self.random.below(keys.into())))
    }

    fn push_line(&mut self, value: &mut Vec<u8>) {
        let shape = match self.payload {
            Payload::Text | Payload::Random => Shape::ALL[self.line_count % Shape::ALL.len()],
            Payload::Hdfs => Shape::Hdfs,
            Payload::Bgl => Shape::Bgl,
            Payload::Openssh => Shape::OpenSsh,
            Payload::Apache => Shape::Apache,
        };
        self.line_count += 1;
        self.log.push_line(shape, value);
    }
}
