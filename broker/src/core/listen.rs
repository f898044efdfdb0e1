//! New connections: accepted on the first core, each handed to the core with the fewest.
//!
//! What a connection says is nobody's business here. The first core runs [`accept`] until the broker drains.

use std::sync::Arc;
use std::sync::atomic::Ordering;

use ringmill_net::transport::{Accepted, Listener};
use ringmill_net::{Line, LineLimit};

use super::Shared;
use super::mailbox::Message;

/// An accepted connection on its way to a core.
pub struct Handed {
    /// The connection.
    pub accepted: Accepted,
    /// Keep it as long as the connection: it counts.
    pub counted: Counted,
}

/// One open connection of a core.
pub struct Counted {
    shared: Arc<Shared>,
    core: usize,
}

impl Counted {
    fn new(shared: &Arc<Shared>, core: usize) -> Counted {
        shared.connections[core].fetch_add(1, Ordering::Relaxed);
        Counted { shared: Arc::clone(shared), core }
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.shared.connections[self.core].fetch_sub(1, Ordering::Relaxed);
    }
}

/// Accepts until its task is dropped.
pub(super) async fn accept(listener: Listener, shared: Arc<Shared>) {
    let lines = LineLimit::new();
    let accepted = listener.accept(|accepted| hand_over(&shared, accepted, &lines)).await;
    if let Err(error) = accepted {
        tracing::error!(%error, "no more connections can be accepted");
    }
}

fn hand_over(shared: &Arc<Shared>, accepted: Accepted, lines: &LineLimit) {
    let fewest = shared.connections.iter().enumerate().min_by_key(|(_, open)| open.load(Ordering::Relaxed));
    let (core, _) = fewest.expect("a broker has at least one core");
    let (peer, counted) = (accepted.peer, Counted::new(shared, core));
    // Waiting would stop all accepting; a core whose mailbox is full has other worries than one more connection.
    if shared.mailboxes[core].try_send(Message::Connection(Handed { accepted, counted })).is_err()
        && let Some(Line { left_out }) = lines.line()
    {
        tracing::warn!(%peer, core, left_out, "refused: the core's mailbox is full");
    }
}
