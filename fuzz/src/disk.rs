//! The driver for the real disks: operations on a ring or by plain calls, some of them abandoned, against files that are vectors.
//!
//! What was written is read, buffers come back whole, and whoever stops waiting, or drops the disk with everything in flight, harms
//! nothing: under AddressSanitizer this watches over the ring's unsafe code.

use std::cell::Cell;
use std::rc::Rc;
use std::task::Poll;

use bytes::BytesMut;
use ringmill_engine::disk::{Disk, DiskFile, Done, Op, OpenHow, Pending, PosixDisk, UringDisk, UringOptions, block_on};

use crate::scratch;
use crate::script::Script;

const FILES: usize = 3;

/// Files stay small, so that an execution is quick.
const POSITION_MAX: usize = 64 << 10;

const STEPS_MAX: usize = 60;

/// A file, what should be in it, and the operation on it that nobody has waited for yet: one at a time, for two have no order.
struct Place {
    file: DiskFile,
    expected: Vec<u8>,
    pending: Option<(Pending, Awaited)>,
}

/// What an operation should come to.
enum Awaited {
    Written { position: usize, buffers: Vec<Vec<u8>> },
    Read { position: usize, length: usize },
    Cut { length: usize },
    Nothing,
}

/// Steps of a script.
pub fn disk(data: &[u8]) {
    let mut script = Script::new(data);
    let flags = script.byte();
    let disk = new_disk(flags);
    let directory = scratch::directory();
    let mut places = Vec::new();
    block_on(&*disk, async {
        for number in 0..FILES {
            let path = directory.path().join(number.to_string());
            let file = disk.open(&path, OpenHow::CreateNew).await.expect("a file can be made");
            places.push(Place { file, expected: Vec::new(), pending: None });
        }
        for _ in 0..STEPS_MAX {
            let Some(step) = script.step() else { break };
            let at = usize::from(step) % FILES;
            places[at].settle(&*disk).await;
            places[at].begin(&*disk, &mut script);
            match script.byte() % 4 {
                0 => {}
                1 => {
                    // Nobody waits for this one any more; it happens all the same.
                    let abandoned = places[at].pending.take();
                    for place in &mut places {
                        place.settle(&*disk).await;
                    }
                    drop(abandoned);
                    drained(&*disk).await;
                    places[at].look(&*disk).await;
                }
                _ => places[at].settle(&*disk).await,
            }
        }
        if flags & 4 == 0 {
            for place in &mut places {
                place.settle(&*disk).await;
                let bytes = disk.read_at(&place.file, 0, place.expected.len() + 10).await.expect("it can be read");
                assert!(bytes == place.expected, "a file holds what was written");
            }
        }
    });
    // Else with all that is under way: what the kernel has in its hands is waited for or leaked, and never freed.
    drop(disk);
    drop(places);
}

fn new_disk(flags: u8) -> Rc<dyn Disk> {
    thread_local! {
        static TOLD: Cell<bool> = const { Cell::new(false) };
    }
    let inline_write_bytes_max = if flags & 2 == 0 { 0 } else { 4096 };
    let ring = match flags & 1 {
        0 => UringDisk::new(UringOptions { inline_write_bytes_max, ..UringOptions::default() })
            .inspect_err(|refused| {
                if !TOLD.replace(true) {
                    eprintln!("nothing is tried on a ring: {refused}");
                }
            })
            .ok(),
        _ => None,
    };
    match ring {
        Some(ring) => Rc::new(ring),
        None => Rc::new(PosixDisk::new(1).expect("a thread can be started")),
    }
}

impl Place {
    /// Submits an operation.
    fn begin(&mut self, disk: &dyn Disk, script: &mut Script<'_>) {
        let file = self.file.clone();
        let kind = script.byte();
        let at = usize::from(u16::from_be_bytes([script.byte(), script.byte()])) % POSITION_MAX;
        let (position, length) = (at as u64, usize::from(u16::from_be_bytes([script.byte(), script.byte()])) % 20_000);
        let (op, awaited) = match kind % 10 {
            0..=3 => {
                let (fill, count) = (script.byte(), 1 + script.byte() % 5);
                let buffers: Vec<Vec<u8>> =
                    (0..count).map(|number| vec![fill ^ number; length / usize::from(count)]).collect();
                let owned = buffers.iter().map(|bytes| BytesMut::from(&bytes[..])).collect();
                let send_early = at.is_multiple_of(2);
                (Op::Write { file, position, buffers: owned, send_early }, Awaited::Written { position: at, buffers })
            }
            4 | 5 => (Op::Read { file, position, length }, Awaited::Read { position: at, length }),
            6 => (Op::ReadDirect { file, position, length }, Awaited::Read { position: at, length }),
            7 => (Op::SetLength { file, length: position }, Awaited::Cut { length: at }),
            8 => (Op::SyncData { file }, Awaited::Nothing),
            _ => (Op::Info { file }, Awaited::Nothing),
        };
        self.pending = Some((disk.submit(op), awaited));
    }

    /// Waits for what is under way, and holds it to what it should come to.
    async fn settle(&mut self, disk: &dyn Disk) {
        let Some((pending, awaited)) = self.pending.take() else { return };
        let done = match (pending.await, &awaited) {
            (Ok(done), _) => done,
            // Not every file system reads past its cache.
            (Err(_), Awaited::Read { .. }) => return,
            (Err(error), _) => panic!("the disk is well, and still: {error}"),
        };
        match (awaited, done) {
            (Awaited::Written { position, buffers }, Done::Written { mut count, buffers: back }) => {
                assert!(back.iter().eq(buffers.iter()), "buffers come back as they were given");
                let whole = buffers.concat();
                if count < whole.len() {
                    let rest = vec![BytesMut::from(&whole[count..])];
                    let position = (position + count) as u64;
                    disk.write_all_at(&self.file, position, rest).await.expect("the disk is well");
                    count = whole.len();
                }
                self.write(position, &whole[..count]);
            }
            (Awaited::Read { position, length }, Done::Bytes(bytes)) => {
                let expected = self.expected.get(position..).unwrap_or_default();
                let expected = &expected[..expected.len().min(length)];
                assert!(expected.starts_with(&bytes), "{} bytes were read at {position}", bytes.len());
                assert!(!bytes.is_empty() || expected.is_empty(), "something is there at {position}");
            }
            (Awaited::Cut { length }, Done::Nothing) => self.expected.resize(length, 0),
            (Awaited::Nothing, Done::Info(info)) => assert_eq!(info.length, self.expected.len() as u64),
            (Awaited::Nothing, Done::Nothing) => {}
            (_, done) => panic!("it completed with {done:?}"),
        }
    }

    /// Takes what is in the file for what should be: an abandoned write may have stopped short.
    async fn look(&mut self, disk: &dyn Disk) {
        let length = disk.info(&self.file).await.expect("the disk is well").length;
        let length = usize::try_from(length).expect("files are small here");
        self.expected = disk.read_at(&self.file, 0, length).await.expect("it can be read").to_vec();
    }

    fn write(&mut self, position: usize, bytes: &[u8]) {
        // A write of nothing does not make a file longer.
        if bytes.is_empty() {
            return;
        }
        let end = position + bytes.len();
        self.expected.resize(self.expected.len().max(end), 0);
        self.expected[position..end].copy_from_slice(bytes);
    }
}

/// Waits until nothing is under way.
async fn drained(disk: &dyn Disk) {
    std::future::poll_fn(|context| {
        if disk.in_flight() == 0 {
            return Poll::Ready(());
        }
        context.waker().wake_by_ref();
        Poll::Pending
    })
    .await;
}
