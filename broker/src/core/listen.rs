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

#[cfg(test)]
mod tests {
    use std::io::Read;
    use std::net::TcpStream;
    use std::path::Path;
    use std::time::Duration;

    use ringmill_engine::clock::SystemClock;
    use ringmill_net::transport::{AcceptLimits, IoKind, run_core};
    use tokio::sync::mpsc;

    use super::*;
    use crate::config::BrokerConfig;
    use crate::metadata::{Metadata, Options};

    fn shared(dir: &Path, mailbox: mpsc::Sender<Message>) -> Arc<Shared> {
        let config = BrokerConfig::from_settings(&[("broker.log.dirs", dir.to_str().unwrap())]).unwrap();
        let metadata = Metadata::open(&dir.join("metadata.redb"), Options::new("cluster", &config)).unwrap();
        Shared::new(config, metadata, Arc::new(SystemClock), vec![mailbox])
    }

    #[test]
    fn a_core_whose_mailbox_is_full_gets_no_connection_and_accepting_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let (mailbox, mut messages) = mpsc::channel(1);
        let shared = shared(dir.path(), mailbox);
        let listener = Listener::bind("127.0.0.1:0", AcceptLimits::NONE).unwrap();
        let address = listener.local_addr().unwrap();
        let accepting = Arc::clone(&shared);
        let clients = std::thread::spawn(move || {
            let first = TcpStream::connect(address).unwrap();
            first.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
            let refused = TcpStream::connect(address).unwrap().read(&mut [0; 8]).unwrap();
            let held = (&first).read(&mut [0; 8]).is_err();
            let taken = messages.blocking_recv().unwrap();
            // There is room again, so the next one is taken.
            let _third = TcpStream::connect(address).unwrap();
            let next = messages.blocking_recv().unwrap();
            (refused, held, [taken, next].map(|message| matches!(message, Message::Connection(_))))
        });
        run_core(IoKind::Tokio, || async {
            let accepting = tokio::task::spawn_local(accept(listener, accepting));
            while !clients.is_finished() {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            accepting.abort();
        })
        .unwrap();
        assert_eq!(
            clients.join().unwrap(),
            (0, true, [true, true]),
            "the second was closed at once, the first was not"
        );
        assert_eq!(shared.connections[0].load(Ordering::Relaxed), 0, "and whatever is gone is not counted");
    }
}
