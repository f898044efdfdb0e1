//! Gives the other tasks of a thread their turn inside a long walk, without knowing any runtime.

use std::future::poll_fn;
use std::task::Poll;

/// Resolves when polled the second time.
pub(crate) async fn yield_now() {
    let mut yielded = false;
    poll_fn(|context| {
        if std::mem::replace(&mut yielded, true) {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
