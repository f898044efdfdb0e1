//! Parked requests: how a fetch with too little data waits without costing anything.
//!
//! It knows neither requests nor partitions, only values that change and a deadline. The fetch handler marks what it has seen, plans,
//! and parks here when the plan is too small; whatever changed between the mark and the parking ends the wait at once.

use std::future::{Future, poll_fn};
use std::pin::Pin;
use std::task::Poll;

use ringmill_engine::watch;
use tokio::time::Instant;

/// Why a wait ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Woken {
    /// Something that was watched has changed, or is gone.
    Changed,
    /// The deadline has come.
    Deadline,
}

/// What a parked request waits for: anything that can tell of its next change.
pub trait Watched {
    /// Takes the present value as seen: only later changes wake.
    fn mark_seen(&mut self);

    /// Ends at the next change after the mark, or when no change can come any more.
    fn changed(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>>;
}

impl<T> Watched for watch::Receiver<T> {
    fn mark_seen(&mut self) {
        self.mark_unchanged();
    }

    fn changed(&mut self) -> Pin<Box<dyn Future<Output = ()> + '_>> {
        Box::pin(async move {
            // An error says that the sender is gone: the watched thing was removed, which is a change too.
            let _ = watch::Receiver::changed(self).await;
        })
    }
}

/// Waits until one of `watched` changes, at most until `deadline`. Asks them in their order, so that a seed replays the wake-up.
pub async fn park(watched: &mut [Box<dyn Watched>], deadline: Instant) -> Woken {
    let mut changes: Vec<_> = watched.iter_mut().map(|each| each.changed()).collect();
    let any = poll_fn(|context| {
        for change in &mut changes {
            if change.as_mut().poll(context).is_ready() {
                return Poll::Ready(());
            }
        }
        Poll::Pending
    });
    match tokio::time::timeout_at(deadline, any).await {
        Ok(()) => Woken::Changed,
        Err(_) => Woken::Deadline,
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn watched(receiver: watch::Receiver<u64>) -> Vec<Box<dyn Watched>> {
        vec![Box::new(receiver)]
    }

    #[tokio::test(start_paused = true)]
    async fn a_parked_request_is_answered_by_its_deadline() {
        let sender = watch::Sender::new(0);
        let receiver = sender.subscribe();
        let begin = Instant::now();
        let woken = park(&mut watched(receiver), begin + Duration::from_millis(500)).await;
        assert_eq!(woken, Woken::Deadline);
        assert_eq!(begin.elapsed(), Duration::from_millis(500));
    }

    #[tokio::test(start_paused = true)]
    async fn a_change_between_the_mark_and_the_parking_is_not_lost() {
        let sender = watch::Sender::new(0);
        let receiver = sender.subscribe();
        let mut watched = watched(receiver);
        watched[0].mark_seen();
        sender.send_replace(1);
        let begin = Instant::now();
        assert_eq!(park(&mut watched, begin + Duration::from_secs(9)).await, Woken::Changed);
        assert_eq!(begin.elapsed(), Duration::ZERO);
    }

    #[tokio::test(start_paused = true)]
    async fn a_thing_that_goes_away_wakes_its_watchers() {
        let sender = watch::Sender::new(0);
        let receiver = sender.subscribe();
        drop(sender);
        let deadline = Instant::now() + Duration::from_secs(9);
        assert_eq!(park(&mut watched(receiver), deadline).await, Woken::Changed);
    }
}
