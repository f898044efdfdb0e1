//! What is to be measured: groups of rows that differ in one thing, each row with what measures it once.

use crate::report::Run;

use super::options::Factor;
use super::stage::Stage;

/// Rows to be set side by side, the one that the others are compared with first.
pub(super) struct Plan {
    pub(super) factor: Factor,
    pub(super) title: &'static str,
    /// What is compared, and under which conditions: one or two sentences.
    pub(super) compared: String,
    /// Why it comes out as it does: for someone who was not there.
    pub(super) why: &'static str,
    /// The metric that is drawn and compared; more of it is better.
    pub(super) lead: &'static str,
    /// All metrics to be shown, of those that a row measures.
    pub(super) shown: &'static [&'static str],
    pub(super) rows: Vec<Row>,
}

/// One line of the table.
pub(super) struct Row {
    pub(super) name: String,
    pub(super) measure: Measure,
}

/// Measures once.
pub(super) type Measure = Box<dyn Fn(&Stage) -> Result<Run, String>>;

impl Row {
    pub(super) fn new(name: impl Into<String>, measure: impl Fn(&Stage) -> Result<Run, String> + 'static) -> Row {
        Row { name: name.into(), measure: Box::new(measure) }
    }
}

/// What is shown of a load through a broker.
pub(super) const OF_A_LOAD: &[&str] =
    &[RATE, "records_per_s", "p50_us", "p99_us", "server_cpu_s_per_gb", "client_busy_percent"];

pub(super) const RATE: &str = "rate_bytes_per_s";
