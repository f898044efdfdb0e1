//! What a broker's clients saw, written down, and the judgement whether it can be true of a log that loses nothing.
//!
//! It starts no broker and injects no fault: the simulation (`../sim`) and the torture of the real binary (`../torture`) do, and bring
//! their histories here. Clients write records whose content tells who made them ([`Made`]), put down every [`Event`] in a [`History`],
//! and the [`Judge`] follows along: in memory, at once, the same for a file that is read again. No clock, no thread, no chance in here.
//!
//! The rules, each with a name in [`Rule`]: no acknowledged record is gone, and nothing that was seen; no offset changes its
//! content; idempotent producers have neither gaps nor duplicates; a producer's records keep their order; what was refused did not happen, unless
//! by a timeout or a storage error; the log start only rises, and only as far as it may; deleted topics stay away, others stay;
//! committed group offsets never go back, a partition has one owner in a group, and nobody commits in a generation that is over. A
//! compacted topic may lack a record only for a later one of its key, or a tombstone whose time is over, and what is gone from it stays gone. Exempt is what a power cut takes from a topic with write caching, and whatever is lost to a
//! disk that lies about flushes.

mod event;
mod history;
mod judge;
mod keyed;
mod made;

pub use event::{Event, Line, Place, Run};
pub use history::{History, HistoryError, judge_file};
pub use judge::{Compacted, Judge, Rule, VIOLATIONS_MAX, Violation};
pub use keyed::Key;
pub use made::{Decoded, Foreign, Made, decode};
