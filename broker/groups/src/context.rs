//! What every step of the state machine is given, and what it leaves behind.

use std::sync::Arc;

use crate::answer::Answer;
use crate::consumer::Matching;
use crate::random::Random;
use crate::record::Record;
use crate::room::{Full, NoRoom};
use crate::settings::Settings;
use crate::topics::Topics;

/// The moment of a step.
#[derive(Clone, Copy, Debug)]
pub struct Now {
    /// Milliseconds since some moment, never going back: timeouts go by it.
    pub monotonic_ms: u64,
    /// Milliseconds since 1970, which may jump: what is stored goes by it.
    pub wall_ms: i64,
}

/// Names a request until it is answered; given by the caller, never twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Ticket(pub u64);

/// What a step leaves to be done.
#[derive(Debug, Default)]
pub struct Effects {
    /// To be appended in this order, before those of any later step; in one batch or, where they are many, in several: a load may find any
    /// first part of them.
    pub records: Vec<Record>,
    /// To be sent once these records and all of earlier steps are durable.
    pub answers: Vec<(Ticket, Answer)>,
    /// That this step's request was refused for want of room: for the operator.
    pub no_room: Option<NoRoom>,
}

/// What a step works with.
pub(crate) struct Context<'a> {
    pub(crate) now: Now,
    pub(crate) settings: &'a Settings,
    pub(crate) topics: &'a dyn Topics,
    pub(crate) random: &'a mut Random,
    pub(crate) effects: &'a mut Effects,
    /// What the step may still match of regular expressions.
    pub(crate) matching: &'a mut Matching,
}

impl Context<'_> {
    /// Leaves an answer.
    pub(crate) fn answer(&mut self, ticket: Ticket, answer: Answer) {
        self.effects.answers.push((ticket, answer));
    }

    /// Leaves word that a request is refused for want of room.
    pub(crate) fn no_room(&mut self, group: &Arc<str>, request: &'static str, full: Full) {
        self.effects.no_room = Some(NoRoom { group: Arc::clone(group), request, full });
    }

    /// The moment so many milliseconds from now; nothing for a negative number.
    pub(crate) fn after_ms(&self, delay_ms: i32) -> u64 {
        self.now.monotonic_ms.saturating_add(u64::try_from(delay_ms).unwrap_or(0))
    }
}
