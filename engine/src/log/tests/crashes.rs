//! Crashes and failing disks, on the simulated disk: what was acknowledged stays, offsets are dense, nothing visible is taken back.

use std::collections::BTreeMap;
use std::path::Path;

use ringmill_batch::{DecompressLimit, read_records};
use tokio::sync::oneshot;

use super::*;
use crate::clock::Clock;
use crate::disk::sim::{Fault, SimOptions, Simulation};
use crate::log::{LogError, LogState, SealCause};

/// Seeds in an ordinary run; `RINGMILL_SEEDS=100000` makes a night of it.
const SEEDS: u64 = 60;

pub(super) const DIR: &str = "/t-0";

/// One simulated machine, and everything that producers and consumers of it have been told.
struct Machine {
    simulation: Simulation,
    clock: Arc<ManualClock>,
    chance: Chance,
    /// Acknowledged values by offset, and values that were visible: neither may change or go.
    kept: BTreeMap<i64, Vec<u8>>,
    next_value: u64,
    checkpoint: Option<CheckpointEntry>,
    /// The idempotent producer of this life, and its next sequence.
    producer_id: i64,
    sequence: i32,
    /// Where the log started when it was last asked, and the farthest that it was ever asked to start at.
    log_start: i64,
    deleted_to_max: i64,
    deletions: u64,
    torn_tails: u64,
    reopened: u64,
    is_created: bool,
    is_faulty: bool,
    /// Only what was durable is promised.
    write_caching: bool,
}

/// The workload's own dice.
struct Chance(u64);

impl Chance {
    fn below(&mut self, limit: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % limit
    }
}

/// A batch on its way, and the values in it.
struct Sent {
    values: Vec<Vec<u8>>,
    answer: oneshot::Receiver<Result<Appended, AppendError>>,
}

impl Machine {
    fn new(seed: u64, options: SimOptions) -> Machine {
        let is_faulty = options.sync_error > 0.0;
        let simulation = Simulation::new(seed, options);
        simulation.set_now_ms(NOW_MS);
        Machine {
            simulation,
            clock: Arc::new(ManualClock::new(NOW_MS)),
            chance: Chance(seed),
            kept: BTreeMap::new(),
            next_value: 0,
            checkpoint: None,
            producer_id: 0,
            sequence: 0,
            log_start: 0,
            deleted_to_max: 0,
            deletions: 0,
            torn_tails: 0,
            reopened: 0,
            is_created: false,
            is_faulty,
            write_caching: false,
        }
    }

    fn start(&mut self, clean: bool) -> (Rc<dyn Disk>, Option<Rc<Log>>) {
        let disk: Rc<dyn Disk> = Rc::new(self.simulation.disk());
        let env = LogEnv::new(Rc::clone(&disk), Arc::<ManualClock>::clone(&self.clock));
        let config = LogConfig {
            segment_bytes: 20_000,
            index_interval_bytes: 500,
            unsynced_bytes_max: 8000,
            write_caching: self.write_caching,
            flush_bytes: 8000,
            flush_ms: 100,
            ..LogConfig::default()
        };
        // Any older checkpoint is a lower bound too, and so is none.
        let checkpoint = self.checkpoint.clone().filter(|_| self.chance.below(4) > 0);
        let start = StartInfo { clean, checkpoint };
        let log = block_on(&*disk, async {
            if self.is_created {
                return Log::open(env, DIR.into(), ID, config, start).await;
            }
            // A creation that was cut short is swept aside before the next.
            if let Ok(entries) = disk.list_dir(Path::new(DIR)).await {
                for entry in entries {
                    disk.remove_file(&Path::new(DIR).join(entry.name)).await.unwrap();
                }
            }
            Log::create(env, DIR.into(), ID, config).await
        });
        match log {
            Ok(log) => {
                self.is_created = true;
                self.torn_tails += u64::from(log.recovery_report().torn_tail.is_some());
                (disk, Some(log))
            }
            Err(OpenError::Io { .. }) if self.is_faulty => (disk, None),
            Err(error) => panic!("{error}"),
        }
    }

    fn send(&mut self, log: &Log) -> Sent {
        let records = 1 + self.chance.below(4);
        let mut builder = BatchBuilder::new(Codec::None, None);
        if self.chance.below(2) == 0 {
            builder.producer(self.producer_id, 0, self.sequence);
            self.sequence += i32::try_from(records).unwrap();
        }
        let values: Vec<Vec<u8>> = (0..records)
            .map(|_| {
                self.next_value += 1;
                let padding = usize::try_from(self.chance.below(700)).unwrap();
                [self.next_value.to_be_bytes().to_vec(), vec![b'.'; padding]].concat()
            })
            .collect();
        values.iter().for_each(|value| builder.push(NOW_MS, None, Some(value), &[]));
        let batch = builder.finish();
        let header = BatchHeader::parse(&batch).unwrap();
        Sent { values, answer: log.append(batch, header) }
    }

    /// Appends with some batches in flight, until `stop_after` answers have come. Ends as soon as the log refuses.
    async fn work(&mut self, log: &Log, stop_after: u64) {
        let mut in_flight = std::collections::VecDeque::new();
        for _ in 0..stop_after {
            while in_flight.len() < 1 + usize::try_from(self.chance.below(6)).unwrap() {
                in_flight.push_back(self.send(log));
                // The disk goes on between two requests, so that groups meet a sync under way.
                for _ in 0..self.chance.below(4) {
                    crate::turn::yield_now().await;
                    assert!(self.write_caching || no_more_is_visible_than_durable(log));
                }
            }
            let Sent { values, answer } = in_flight.pop_front().unwrap();
            match answer.await.unwrap() {
                Ok(appended) => {
                    for (offset, value) in (appended.base_offset.get()..).zip(values) {
                        self.keep(offset, value);
                    }
                }
                Err(AppendError::OutOfOrderSequence | AppendError::NoSpace) if self.is_faulty => self.renew_producer(),
                Err(AppendError::Sealed) if self.is_faulty => {
                    in_flight.clear();
                    if !self.wait_for_reopening(log).await {
                        return;
                    }
                }
                Err(error) => panic!("{error}"),
            }
            if self.chance.below(8) == 0 {
                self.checkpoint = Some(log.checkpoint_entry());
            }
            if self.chance.below(12) == 0 {
                self.delete_some(log).await;
            }
            self.clock.advance(10);
            log.on_deadline(self.clock.now_ms());
        }
    }

    /// Deletes records up to an offset near either end, and holds the log to its answer.
    async fn delete_some(&mut self, log: &Log) {
        let watermarks = log.reader().watermarks();
        let (start, end) = (watermarks.log_start.get(), watermarks.high_watermark.get());
        let before = match self.chance.below(4) {
            0 => end,
            1 => start,
            _ => start + i64::try_from(self.chance.below(u64::try_from(end - start + 1).unwrap())).unwrap() / 4,
        };
        self.deleted_to_max = self.deleted_to_max.max(before);
        match log.delete_records_before(offset(before)).await {
            Ok(log_start) => {
                assert_eq!(log_start.get(), before.max(start));
                self.log_start = log_start.get();
                self.deletions += 1;
            }
            Err(LogError::Sealed | LogError::Io { .. }) if self.is_faulty => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// What a producer does after a failure that leaves its sequence unknown.
    fn renew_producer(&mut self) {
        (self.producer_id, self.sequence) = (self.producer_id + 1, 0);
    }

    /// Whether the log serves again.
    async fn wait_for_reopening(&mut self, log: &Log) -> bool {
        self.renew_producer();
        for _ in 0..100 {
            if log.state() == LogState::Serving {
                self.reopened += 1;
                return true;
            }
            self.clock.advance(1000);
            if log.on_deadline(self.clock.now_ms()).is_none() {
                return false;
            }
            for _ in 0..20 {
                crate::turn::yield_now().await;
            }
        }
        false
    }

    fn keep(&mut self, offset: i64, value: Vec<u8>) {
        if let Some(before) = self.kept.insert(offset, value) {
            assert!(before == self.kept[&offset], "offset {offset} changed");
        }
    }

    /// Reads everything; what was promised must be there, and what is there now is promised from here on.
    async fn verify(&mut self, disk: &dyn Disk, log: &Log) {
        let reader = log.reader();
        let watermarks = reader.watermarks();
        let (start, end) = (watermarks.log_start.get(), watermarks.high_watermark.get());
        assert!(start >= self.log_start, "deleted records are back: the log starts at {start}, not {}", self.log_start);
        assert!(start <= self.deleted_to_max, "nobody deleted up to {start}");
        self.log_start = start;
        if start > 0 {
            assert!(reader.plan(disk, offset(start - 1), 1, true).await.is_err(), "what is deleted is not read");
        }
        let mut values = BTreeMap::new();
        let mut next = start;
        while next < end {
            let limit_bytes = 1 + self.chance.below(10_000);
            let plan = reader.plan(disk, offset(next), limit_bytes, true).await.unwrap();
            let length = usize::try_from(plan.length).unwrap();
            let bytes = disk.read_at(plan.segment.file(), plan.position, length).await.unwrap();
            for batch in whole_batches(&bytes) {
                ringmill_batch::check_stored(batch).unwrap();
                for record in read_records(batch, DecompressLimit::default()).unwrap().iter() {
                    let record = record.unwrap();
                    // The first batch is whole, even if some of its records are deleted.
                    if record.offset.get() >= next {
                        assert_eq!(record.offset.get(), next, "offsets are dense");
                        values.insert(next, record.value.unwrap().to_vec());
                        next += 1;
                    }
                }
            }
        }
        for (number, value) in values {
            self.keep(number, value);
        }
        let promised = self.kept.last_key_value().map_or(0, |(&last, _)| last + 1);
        assert_eq!(promised.max(start), end, "what was acknowledged or seen is gone");
    }

    /// One life of the process; it ends by a stop, a kill or a power cut.
    fn live(&mut self, was_clean: bool) -> bool {
        let (disk, log) = self.start(was_clean);
        let Some(log) = log else {
            self.simulation.crash_process();
            return false;
        };
        self.renew_producer();
        let ending = self.chance.below(5);
        let answers = if ending == 0 { 1 + self.chance.below(40) } else { u64::MAX };
        // A kill strikes at any step of the disk, not only when an answer has come.
        let fuse_polls = if ending == 0 { u64::MAX } else { 10 + self.chance.below(400) };
        let closed = block_on(&*disk, async {
            let drive = Rc::clone(&log).drive();
            let work = async {
                self.verify(&*disk, &log).await;
                self.work(&log, answers).await;
                if ending == 0 { Some(log.close().await) } else { None }
            };
            tokio::select! { biased; () = fuse(fuse_polls) => None, closed = while_driven(drive, work) => closed }
        });
        let clean = matches!(closed, Some(Ok(_)));
        if let Some(Ok(entry)) = closed {
            self.checkpoint = Some(entry);
        }
        if self.write_caching {
            self.kept.split_off(&log.checkpoint_entry().recovery_point.get());
        }
        drop(log);
        match ending {
            0 | 1 => self.simulation.crash_process(),
            _ => self.simulation.crash_power(),
        }
        clean
    }
}

fn seeds() -> std::ops::Range<u64> {
    let count = std::env::var("RINGMILL_SEEDS").ok().and_then(|count| count.parse().ok());
    0..count.unwrap_or(SEEDS)
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    let (mut torn_tails, mut deletions) = (0, 0);
    for seed in seeds() {
        let mut machine = Machine::new(seed, SimOptions::busy());
        let mut clean = false;
        for _ in 0..6 {
            clean = machine.live(clean);
        }
        torn_tails += machine.torn_tails;
        deletions += machine.deletions;
    }
    assert!(torn_tails > 0 && deletions > 0, "the workload reaches {torn_tails} torn tails, {deletions} deletions");
}

#[test]
fn nothing_is_lost_on_a_disk_that_fails_now_and_then() {
    let (mut torn_tails, mut reopened) = (0, 0);
    for seed in seeds() {
        let options = SimOptions { sync_error: 0.005, write_error: 0.005, no_space: 0.02, ..SimOptions::busy() };
        let mut machine = Machine::new(seed, options);
        let mut clean = false;
        for _ in 0..6 {
            clean = machine.live(clean);
        }
        torn_tails += machine.torn_tails;
        reopened += machine.reopened;
    }
    assert!(torn_tails > 0 && reopened > 0, "the workload reaches {torn_tails} torn tails, {reopened} reopenings");
}

#[test]
fn with_write_caching_only_what_was_not_durable_is_lost() {
    for seed in seeds() {
        let mut machine = Machine::new(seed, SimOptions::busy());
        machine.write_caching = true;
        let mut clean = false;
        for _ in 0..6 {
            clean = machine.live(clean);
        }
    }
}

#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed| {
        let mut machine = Machine::new(seed, SimOptions::busy());
        let mut clean = false;
        for _ in 0..4 {
            clean = machine.live(clean);
        }
        (machine.simulation.trace_hash(), machine.kept.len())
    };
    for seed in 0..5 {
        assert_eq!(run(seed), run(seed), "seed {seed}");
    }
}

/// Runs `work` on a new log over a quiet simulated disk.
pub(super) fn on_quiet_disk(
    config: LogConfig,
    work: impl AsyncFnOnce(&Simulation, &Rc<dyn Disk>, &Rc<Log>),
) -> Simulation {
    let simulation = Simulation::new(1, SimOptions::default());
    let disk: Rc<dyn Disk> = Rc::new(simulation.disk());
    let clock = Arc::new(ManualClock::new(NOW_MS));
    let env = LogEnv::new(Rc::clone(&disk), clock);
    block_on(&*disk, async {
        let log = Log::create(env, DIR.into(), ID, config).await.unwrap();
        let drive = Rc::clone(&log).drive();
        while_driven(drive, work(&simulation, &disk, &log)).await;
    });
    simulation
}

/// Polls `drive` until `work` is done, and then drops it where it stands, as a crash does.
pub(super) async fn while_driven<T>(drive: impl Future<Output = ()>, work: impl Future<Output = T>) -> T {
    let drive = async {
        drive.await;
        std::future::pending::<()>().await;
    };
    tokio::select! { biased; result = work => result, () = drive => unreachable!("it never ends") }
}

/// Ready at the given poll; the executor polls after every step of the disk.
async fn fuse(mut polls: u64) {
    std::future::poll_fn(|_| {
        polls -= 1;
        if polls == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

pub(super) fn segment_path(base: i64) -> std::path::PathBuf {
    Path::new(DIR).join(format!("{base:020}.log"))
}

#[test]
fn a_failed_sync_seals_and_only_what_is_durable_is_served() {
    for (fault, cause) in [(Fault::SyncFails, SealCause::Io), (Fault::WriteFails, SealCause::Io)] {
        on_quiet_disk(LogConfig::default(), async |simulation, disk, log| {
            append(log, batch(NOW_MS, 2, 10)).await.unwrap();
            simulation.inject(&segment_path(0), fault);
            let (first, second) = (batch(NOW_MS, 2, 10), batch(NOW_MS, 3, 10));
            let headers = (BatchHeader::parse(&first).unwrap(), BatchHeader::parse(&second).unwrap());
            let (first, second) = (log.append(first, headers.0), log.append(second, headers.1));
            assert_eq!(first.await.unwrap(), Err(AppendError::Sealed));
            assert_eq!(second.await.unwrap(), Err(AppendError::Sealed));
            assert_eq!(append(log, batch(NOW_MS, 1, 10)).await, Err(AppendError::Sealed));
            assert_eq!(log.state(), LogState::Sealed(cause));
            assert_eq!(read_all(log, &**disk, 1 << 20).await, [(0, 2)]);
            assert_eq!(log.on_deadline(NOW_MS + 100_000), None, "it waits for a restart");
            assert!(log.close().await.is_err(), "such a stop is not clean");
        });
    }
}

#[test]
fn with_caching_a_failed_sync_takes_back_what_is_not_durable() {
    let config = LogConfig { write_caching: true, flush_ms: 10, ..LogConfig::default() };
    on_quiet_disk(config, async |simulation, disk, log| {
        append(log, batch(NOW_MS, 2, 10)).await.unwrap();
        assert_eq!(read_all(log, &**disk, 1 << 20).await, [(0, 2)]);
        simulation.inject(&segment_path(0), Fault::SyncFails);
        log.on_deadline(NOW_MS + 10);
        let mut watch = log.reader().watch();
        watch.wait_for(|watermarks| watermarks.state != LogState::Serving).await.unwrap();
        assert_eq!(log.reader().watermarks().high_watermark, offset(0));
    });
}

#[test]
fn a_full_disk_refuses_cleanly_before_offsets_are_given() {
    on_quiet_disk(LogConfig { segment_bytes: 3 << 20, ..LogConfig::default() }, async |simulation, disk, log| {
        append(log, batch(NOW_MS, 2, 10)).await.unwrap();
        simulation.inject(&segment_path(0), Fault::AllocateFindsNoSpace);
        simulation.inject(&segment_path(0), Fault::AllocateFindsNoSpace);
        let large = batch(NOW_MS, 2, 700_000);
        assert_eq!(append(log, large.clone()).await, Err(AppendError::NoSpace));
        assert_eq!(log.state(), LogState::Serving, "nothing has failed");
        assert_eq!(append(log, large).await.unwrap().base_offset, offset(2), "and there is no gap");
        assert_eq!(read_all(log, &**disk, 1 << 20).await, [(0, 2), (2, 2)]);
    });
}

#[test]
fn a_log_sealed_by_a_full_disk_reopens_with_a_new_segment_and_a_new_reign() {
    for fault in [Fault::WriteFindsNoSpace, Fault::SyncFindsNoSpace] {
        for durable_batches in [0, 1] {
            on_quiet_disk(LogConfig::default(), async |simulation, disk, log| {
                for _ in 0..durable_batches {
                    append(log, produced(9, 0, 0)).await.unwrap();
                }
                let base = log.reader().watermarks().high_watermark;
                simulation.inject(&segment_path(0), fault);
                assert_eq!(append(log, produced(9, 0, durable_batches)).await, Err(AppendError::Sealed));
                assert_eq!(log.state(), LogState::Sealed(SealCause::NoSpace));
                assert_eq!(log.on_deadline(NOW_MS), Some(NOW_MS + 1000));
                log.on_deadline(NOW_MS + 1000);
                let mut watch = log.reader().watch();
                watch.wait_for(|watermarks| watermarks.state == LogState::Serving).await.unwrap();
                assert_eq!(log.reader().watermarks().leader_epoch.get(), 1);
                let ahead = append(log, produced(9, 0, durable_batches + 1)).await;
                assert_eq!(ahead, Err(AppendError::OutOfOrderSequence), "what failed is still missing");
                let again = append(log, produced(9, 0, durable_batches)).await.unwrap();
                assert_eq!((again.base_offset, again.duplicate), (base, false), "what failed is no original");
                assert_eq!(read_all(log, &**disk, 1 << 20).await.len(), usize::try_from(durable_batches).unwrap() + 1);
                let first_reign = ringmill_batch::LeaderEpoch::ZERO;
                assert_eq!(log.reader().epoch_end(first_reign), Some((first_reign, base)));
                log.close().await.unwrap();
            });
        }
    }
}

/// Opens what a power cut has left of a run of [`on_quiet_disk`].
pub(super) fn open_after_power_cut(simulation: &Simulation, config: LogConfig) -> (Rc<dyn Disk>, Rc<Log>) {
    simulation.crash_power();
    open_again(simulation, config)
}

fn open_again(simulation: &Simulation, config: LogConfig) -> (Rc<dyn Disk>, Rc<Log>) {
    let disk: Rc<dyn Disk> = Rc::new(simulation.disk());
    let env = LogEnv::new(Rc::clone(&disk), Arc::new(ManualClock::new(NOW_MS)));
    let log = block_on(&*disk, Log::open(env, DIR.into(), ID, config, StartInfo::default())).unwrap();
    (disk, log)
}

#[test]
fn a_reopening_cut_short_leaves_a_segment_even_when_all_before_it_was_deleted() {
    // The empty segment was removed before its successor of the same name was there: a kill in between left a log without any
    // segment, and the next start quarantined it.
    let simulation = on_quiet_disk(LogConfig::default(), async |simulation, _, log| {
        append(log, batch(NOW_MS, 2, 10)).await.unwrap();
        log.on_deadline(NOW_MS * 2);
        log.delete_records_before(offset(2)).await.unwrap();
        turns(200).await;
        assert_eq!(log.reader().snapshot().len(), 1, "only the new, empty segment is left");
        simulation.inject(&segment_path(2), Fault::WriteFindsNoSpace);
        assert_eq!(append(log, batch(NOW_MS, 1, 10)).await, Err(AppendError::Sealed));
        simulation.inject(Path::new(DIR), Fault::SyncFindsNoSpace);
        log.on_deadline(NOW_MS * 2);
        turns(200).await;
        assert_eq!(log.state(), LogState::Sealed(SealCause::NoSpace));
    });
    simulation.crash_process();
    let (_, log) = open_again(&simulation, LogConfig::default());
    assert_eq!(log.reader().watermarks().log_start, offset(2));
}

#[test]
fn records_deleted_before_they_were_durable_leave_no_gap_and_no_repeat() {
    let config = LogConfig { write_caching: true, ..LogConfig::default() };
    let simulation = on_quiet_disk(config.clone(), async |_, _, log| {
        for _ in 0..3 {
            append(log, batch(NOW_MS, 2, 10)).await.unwrap();
        }
        log.delete_records_before(offset(4)).await.unwrap();
    });
    let (disk, log) = open_after_power_cut(&simulation, config);
    let watermarks = log.reader().watermarks();
    assert_eq!(watermarks.log_start, offset(4), "what was deleted stays deleted");
    assert!(watermarks.high_watermark >= offset(4));
    block_on(
        &*disk,
        while_driven(Rc::clone(&log).drive(), async {
            let appended = append(&log, batch(NOW_MS, 2, 10)).await.unwrap();
            assert_eq!(appended.base_offset, watermarks.high_watermark);
            log.close().await.unwrap();
        }),
    );
}

#[test]
fn a_closed_log_writes_nothing_into_its_directory_any_more() {
    // A deletion of records that came late wrote the old partition.meta into the directory of a topic made anew under the name.
    on_quiet_disk(LogConfig::default(), async |_, disk, log| {
        append(log, batch(NOW_MS, 2, 10)).await.unwrap();
        let (first, closed) = tokio::join!(biased; log.delete_records_before(offset(1)), log.close());
        assert_eq!((first.unwrap(), closed.is_ok()), (offset(1), true), "what has begun is finished before the close");
        let meta = disk.list_dir(Path::new(DIR)).await.unwrap();
        for entry in meta {
            disk.remove_file(&Path::new(DIR).join(entry.name)).await.unwrap();
        }
        assert!(matches!(log.delete_records_before(offset(2)).await, Err(LogError::Closed)));
        assert_eq!(disk.list_dir(Path::new(DIR)).await.unwrap(), []);
    });
}

#[test]
fn records_are_deleted_only_when_they_are_durable() {
    // With caching the log start could pass the durable end; when the next sync failed, the visible end fell behind the log
    // start, and an assertion ended the core.
    let config = LogConfig { write_caching: true, ..LogConfig::default() };
    on_quiet_disk(config, async |simulation, _, log| {
        append(log, batch(NOW_MS, 2, 10)).await.unwrap();
        assert_eq!(log.delete_records_before(offset(1)).await.unwrap(), offset(1));
        append(log, batch(NOW_MS, 2, 10)).await.unwrap();
        simulation.inject(&segment_path(0), Fault::SyncFails);
        assert!(matches!(log.delete_records_before(offset(3)).await, Err(LogError::Sealed)));
        let watermarks = log.reader().watermarks();
        assert_eq!((watermarks.log_start, watermarks.high_watermark), (offset(1), offset(2)));
    });
}

#[test]
fn a_roll_that_finds_no_space_waits_for_the_next_deadline() {
    // A roll by time with nothing queued was tried again at once, for as long as the disk was full; a close never came.
    on_quiet_disk(LogConfig::default(), async |simulation, _, log| {
        append(log, batch(NOW_MS, 2, 10)).await.unwrap();
        // The first meets the producer snapshot, the second the new segment.
        simulation.inject(Path::new(DIR), Fault::SyncFindsNoSpace);
        simulation.inject(Path::new(DIR), Fault::SyncFindsNoSpace);
        log.on_deadline(NOW_MS * 2);
        turns(100).await;
        assert_eq!(log.reader().snapshot().len(), 1, "it has been tried once");
        log.on_deadline(NOW_MS * 2);
        turns(100).await;
        assert_eq!(log.reader().snapshot().len(), 2);
        log.close().await.unwrap();
    });
}

/// Lets the log's tasks and the disk go on for so many steps.
pub(super) async fn turns(count: usize) {
    for _ in 0..count {
        crate::turn::yield_now().await;
    }
}
