//! What is to be measured: groups of rows that differ in one thing, each row with what measures it once.

use crate::report::Run;

use super::broker::Broker;
use super::stage::Stage;

/// Rows to be set side by side, the one that the others are compared with first.
pub(crate) struct Plan {
    /// Its name on the command line.
    pub(crate) factor: &'static str,
    pub(crate) title: &'static str,
    /// What is compared, and under which conditions: one or two sentences.
    pub(crate) compared: String,
    /// Why it comes out as it does: for someone who was not there.
    pub(crate) why: &'static str,
    /// The metric that is drawn and compared.
    pub(crate) lead: &'static str,
    /// All metrics to be shown, of those that a row measures.
    pub(crate) shown: &'static [&'static str],
    pub(crate) rows: Vec<Row>,
}

/// One line of the table.
pub(crate) struct Row {
    pub(crate) name: String,
    pub(super) measure: Measure,
    /// What it writes at most; 0 where every disk has room for it.
    pub(crate) disk_bytes: u64,
}

/// Measures once.
pub(super) type Measure = Box<dyn Fn(&Stage) -> Result<Run, String>>;

impl Row {
    pub(crate) fn new(name: impl Into<String>, measure: impl Fn(&Stage) -> Result<Run, String> + 'static) -> Row {
        Row { name: name.into(), measure: Box::new(measure), disk_bytes: 0 }
    }

    /// Not to be measured on a disk with less room.
    pub(crate) fn needing(self, disk_bytes: u64) -> Row {
        Row { disk_bytes, ..self }
    }

    /// A produce on a new broker, by its options as one would type them.
    pub(crate) fn producing(name: impl Into<String>, options: String) -> Row {
        Row::new(name, move |stage| Broker::start(stage, "auto")?.load("produce", &options))
    }
}

/// What is shown of a load through a broker.
pub(crate) const OF_A_LOAD: &[&str] =
    &[RATE, "records_per_s", "p50_us", "p99_us", "server_cpu_s_per_gb", "client_busy_percent"];

pub(crate) const RATE: &str = "rate_bytes_per_s";
