//! A core whose mailbox is full: appends wait for their turn, connections are refused, and both go on when there is room again.

use std::io::Read;
use std::net::TcpStream;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use ringmill_engine::clock::SystemClock;
use ringmill_engine::disk::PosixDisk;
use ringmill_net::Budget;
use ringmill_net::transport::{AcceptLimits, IoKind, Listener, run_core};
use tokio::sync::mpsc;

use super::hosting::CoreId;
use super::listen::accept;
use super::mailbox::{Mailbox, Message};
use super::{Core, Shared};
use crate::config::BrokerConfig;
use crate::metadata::{Metadata, Options};

fn shared(dir: &Path, mailboxes: Vec<Mailbox>) -> Arc<Shared> {
    let config = BrokerConfig::from_settings(&[("broker.log.dirs", dir.to_str().unwrap())]).unwrap();
    let metadata = Metadata::open(&dir.join("metadata.redb"), Options::new("cluster", &config)).unwrap();
    Shared::new(config, metadata, Arc::new(SystemClock), mailboxes)
}

#[test]
fn appends_wait_for_room_in_their_order() {
    let dir = tempfile::tempdir().unwrap();
    let (own, _own_messages) = mpsc::channel(1);
    let (full, mut messages) = mpsc::channel(1);
    let shared = shared(dir.path(), vec![own, full]);
    run_core(IoKind::Tokio, || async move {
        let core = Core::new(CoreId(0), shared, Rc::new(PosixDisk::new(1).unwrap()));
        let budget = Budget::new(1 << 20);
        let charges = [budget.reserve(1000).await, budget.reserve(2000).await];
        let [first, second] = charges.map(|charge| core.append(CoreId(1), Vec::new(), charge));
        let first_answer = first.await;
        let mut second = Box::pin(second);
        assert!(tokio::time::timeout(Duration::ZERO, &mut second).await.is_err(), "the mailbox holds one message");
        assert_eq!(budget.reserved_bytes(), 3000, "what waits is paid for");
        let Some(Message::Append(request)) = messages.recv().await else { panic!("the first append") };
        let second_answer = second.await;
        assert!(request.answer.send(Vec::new()).is_ok(), "who sent the first append still waits");
        assert_eq!(first_answer.await.unwrap().len(), 0);
        // The core ends with the second one in its mailbox: its answer is lost, and whoever waits for it hears that.
        drop(messages);
        assert!(second_answer.await.is_err());
        drop(request.charge);
        assert_eq!(budget.reserved_bytes(), 0);
    })
    .unwrap();
}

#[test]
fn a_connection_is_refused_and_accepting_goes_on() {
    let dir = tempfile::tempdir().unwrap();
    let (mailbox, mut messages) = mpsc::channel(1);
    let shared = shared(dir.path(), vec![mailbox]);
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
    assert_eq!(clients.join().unwrap(), (0, true, [true, true]), "the second was closed at once, the first was not");
    assert_eq!(shared.connections[0].load(Ordering::Relaxed), 0, "and whatever is gone is not counted");
}
