//! Answers wait until the append that was made last before them is durable, so that nobody learns what a crash could take back.

use ringmill_engine::log::{AppendError, Appended};
use ringmill_groups::answer::Answer;
use ringmill_net::wire::ErrorCode;
use tokio::sync::oneshot;

use super::{Host, Serving, State};
use crate::group::Reply;

/// Answers, and the append that has to be durable before they go, if there was one after those in front of them.
pub(super) struct Held {
    pub(super) append: Option<oneshot::Receiver<Result<Appended, AppendError>>>,
    pub(super) answers: Vec<(Reply, Answer)>,
}

/// Why a shard no longer serves.
pub(super) struct Failed(pub(super) String);

impl Host {
    /// Sends answers when what they rest on has become durable; until an append fails.
    pub(super) async fn keep_releasing(&self) -> Failed {
        loop {
            let front = self.with(|serving| {
                let front = serving.held.pop_front();
                serving.releasing = front.is_some();
                front
            });
            match front.flatten() {
                Some(held) => {
                    if let Err(failed) = release(held).await {
                        return failed;
                    }
                }
                None => self.to_release.notified().await,
            }
        }
    }

    /// An append has failed. Those after it may have become durable all the same: what the log says is not known before the last of
    /// them has ended.
    pub(super) async fn fail(&self) {
        let before = self.state.replace(State::Loading { since: None, waiting: Vec::new() });
        let State::Serving(serving) = before else { return };
        let Serving { parked, held, .. } = *serving;
        refuse(parked.into_values());
        for Held { append, answers } in held {
            refuse(answers.into_iter().map(|(reply, _)| reply));
            if let Some(append) = append {
                let _ = append.await;
            }
        }
    }
}

/// Waits for an append, if there is one, and sends the answers that rest on it.
async fn release(held: Held) -> Result<(), Failed> {
    let appended = match held.append {
        None => Ok(()),
        Some(append) => match append.await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(Failed(error.to_string())),
            Err(_) => Err(Failed("the log ended".to_owned())),
        },
    };
    match appended {
        Ok(()) => send(held.answers),
        Err(_) => refuse(held.answers.into_iter().map(|(reply, _)| reply)),
    }
    appended
}

/// Sends answers that rest on nothing any more.
pub(super) fn send(answers: Vec<(Reply, Answer)>) {
    for (reply, answer) in answers {
        // Who asked may have gone.
        let _ = reply.send(Ok(answer));
    }
}

/// The shard can answer these no more.
pub(super) fn refuse(replies: impl Iterator<Item = Reply>) {
    for reply in replies {
        let _ = reply.send(Err(ErrorCode::CoordinatorNotAvailable));
    }
}
