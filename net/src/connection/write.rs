//! The answers of a connection: a bounded queue in the order of the requests, and the loop that sends them.
//!
//! The reader asks for its turn and pushes; the writer takes. Answers that are ready together leave in one send.

use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::task::Poll;

use tokio::sync::Notify;

use super::{Answer, Link, Outcome};
use crate::Piece;
use crate::transport::Stream;

/// Answers that leave in one send.
const ANSWERS_PER_SEND_MAX: usize = 64;

/// How the writer ended.
pub(super) enum Written {
    /// The reader had ended, and all that it started is answered.
    All,
    /// A handler asked for the connection to be closed.
    Close(String),
    /// The peer cannot be reached, or a range of a file could not be read.
    Failed(io::Error),
    /// The peer does not read, and the memory of its answer is needed.
    GivenUp,
}

/// Requests that were started and are not yet answered.
pub(super) struct AnswerQueue {
    waiting: RefCell<VecDeque<Queued>>,
    /// Waiting or being sent.
    unanswered: Cell<usize>,
    /// Those of them that nothing may overlap: one at most.
    alone: Cell<usize>,
    limit: usize,
    state: Cell<State>,
    pushed: Notify,
    answered: Notify,
}

struct Queued {
    answer: Answer,
    overlaps: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Open,
    /// Nothing will be pushed any more.
    Finished,
    /// Nothing will be sent any more.
    Closed,
}

impl AnswerQueue {
    pub(super) fn new(limit: usize) -> AnswerQueue {
        AnswerQueue {
            waiting: RefCell::default(),
            unanswered: Cell::new(0),
            alone: Cell::new(0),
            limit: limit.max(1),
            state: Cell::new(State::Open),
            pushed: Notify::new(),
            answered: Notify::new(),
        }
    }

    /// Waits until a request may start: one that overlaps, when there is room and only its like is unanswered; another,
    /// when nothing is. False when the connection has ended meanwhile.
    pub(super) async fn turn_to_start(&self, overlaps: bool) -> bool {
        loop {
            if self.state.get() != State::Open {
                return false;
            }
            let unanswered = self.unanswered.get();
            if unanswered == 0 || (overlaps && self.alone.get() == 0 && unanswered < self.limit) {
                return true;
            }
            self.answered.notified().await;
        }
    }

    pub(super) fn push(&self, answer: Answer, overlaps: bool) {
        self.unanswered.set(self.unanswered.get() + 1);
        self.alone.set(self.alone.get() + usize::from(!overlaps));
        assert!(self.unanswered.get() <= self.limit && self.alone.get() <= 1, "a request was started out of turn");
        self.waiting.borrow_mut().push_back(Queued { answer, overlaps });
        self.pushed.notify_one();
    }

    /// What is queued will be sent, and then the writer ends.
    pub(super) fn finish(&self) {
        if self.state.get() == State::Open {
            self.state.set(State::Finished);
            self.pushed.notify_one();
        }
    }

    /// Drops what is queued; a reader that waits for its turn gives up.
    pub(super) fn close(&self) {
        self.state.set(State::Closed);
        self.waiting.borrow_mut().clear();
        self.answered.notify_one();
    }

    /// Whether nothing is unanswered: the peer has the next word.
    pub(super) fn is_idle(&self) -> bool {
        self.unanswered.get() == 0
    }

    async fn next(&self) -> Option<Queued> {
        loop {
            if let Some(queued) = self.waiting.borrow_mut().pop_front() {
                return Some(queued);
            }
            if self.state.get() != State::Open {
                return None;
            }
            self.pushed.notified().await;
        }
    }

    /// The next outcome, if it is known now.
    async fn next_if_ready(&self) -> Option<(Outcome, bool)> {
        let mut queued = self.waiting.borrow_mut().pop_front()?;
        match poll_fn(|context| Poll::Ready(queued.answer.as_mut().poll(context))).await {
            Poll::Ready(outcome) => Some((outcome, queued.overlaps)),
            Poll::Pending => {
                self.waiting.borrow_mut().push_front(queued);
                None
            }
        }
    }

    fn sent(&self, answers: usize, alone: usize) {
        self.unanswered.set(self.unanswered.get() - answers);
        self.alone.set(self.alone.get() - alone);
        self.answered.notify_one();
    }
}

/// Sends answers in their order until the queue is finished, a handler closes, or the peer is gone.
pub(super) async fn write_answers<S: Stream>(link: &Link<S>) -> Written {
    let mut pieces: Vec<Piece> = Vec::new();
    while let Some(Queued { answer, overlaps }) = link.answers.next().await {
        let mut close = None;
        let (mut answers, mut alone) = (0, 0);
        let mut next = Some((answer.await, overlaps));
        while let Some((outcome, overlaps)) = next.take() {
            answers += 1;
            alone += usize::from(!overlaps);
            match outcome {
                Outcome::Respond(response) if pieces.is_empty() => pieces = response.into_pieces(),
                Outcome::Respond(response) => pieces.extend(response.into_pieces()),
                Outcome::Silent => {}
                Outcome::Close(reason) => close = Some(reason),
            }
            if close.is_none() && answers < ANSWERS_PER_SEND_MAX {
                next = link.answers.next_if_ready().await;
            }
        }
        if !pieces.is_empty() {
            link.patience.sending(true);
            let Some(sent) = send_or_give_up(link, &mut pieces).await else { return Written::GivenUp };
            link.patience.sending(false);
            if let Err(error) = sent {
                return Written::Failed(error);
            }
        }
        if let Some(reason) = close {
            return Written::Close(reason);
        }
        link.answers.sent(answers, alone);
        link.share.answered();
        link.share.end_of_turn().await;
    }
    Written::All
}

/// Sends, unless others need the memory first; a send that is dropped has left nothing in the kernel.
async fn send_or_give_up<S: Stream>(link: &Link<S>, pieces: &mut Vec<Piece>) -> Option<io::Result<()>> {
    let in_memory = |piece: &Piece| match piece {
        Piece::Bytes(bytes) => bytes.len(),
        Piece::File { .. } => 0,
    };
    let Some(held) = link.shared.unread.hold(pieces.iter().map(in_memory).sum()) else {
        return Some(link.stream.send(pieces).await);
    };
    tokio::select! {
        biased;
        sent = link.stream.send(pieces) => Some(sent),
        () = held.given_up() => None,
    }
}
