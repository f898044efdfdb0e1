//! Compaction on the simulated disk: power cuts, kills and failing disks at any step of a pass, with appends, deletions and closes beside it.
//! What was acknowledged last under a key is there, at its offset; nothing older comes back for it; what is read never changes.

use std::collections::BTreeMap;

use super::compaction::{LIMITS, config, keyed, records};
use super::crashes::{DIR, while_driven};
use super::*;
use crate::clock::Clock;
use crate::compaction::CompactionLimits;
use crate::disk::sim::{SimOptions, Simulation};
use crate::log::{Abandoned, LogState};

/// Seeds in an ordinary run; `RINGMILL_SEEDS=100000` makes a night of it.
const SEEDS: u64 = 25;

#[derive(Default)]
struct Reached {
    passes: u64,
    abandoned: u64,
    cut_swaps: u64,
    deletions: u64,
}

struct Machine {
    simulation: Simulation,
    clock: Arc<ManualClock>,
    dice: u64,
    /// All that was ever sent, by offset where it was acknowledged or seen.
    known: BTreeMap<i64, (u32, u32)>,
    acknowledged_to: i64,
    log_start: i64,
    deleted_to_max: i64,
    next_value: u32,
    checkpoint: Option<CheckpointEntry>,
    is_created: bool,
    is_faulty: bool,
    reached: Reached,
}

impl Machine {
    fn new(seed: u64, options: SimOptions) -> Machine {
        let is_faulty = options.sync_error > 0.0;
        let simulation = Simulation::new(seed, options);
        simulation.set_now_ms(NOW_MS);
        Machine {
            simulation,
            clock: Arc::new(ManualClock::new(NOW_MS)),
            dice: seed,
            known: BTreeMap::new(),
            acknowledged_to: 0,
            log_start: 0,
            deleted_to_max: 0,
            next_value: 0,
            checkpoint: None,
            is_created: false,
            is_faulty,
            reached: Reached::default(),
        }
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.dice = self.dice.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.dice >> 33) % limit
    }

    async fn start(&mut self, disk: &Rc<dyn Disk>, clean: bool) -> Result<Rc<Log>, OpenError> {
        let env = LogEnv::new(Rc::clone(disk), Arc::<ManualClock>::clone(&self.clock));
        let mut config = config();
        config.unsynced_bytes_max = 3000;
        config.segment_bytes = 2000;
        if self.is_created {
            let checkpoint = self.checkpoint.clone().filter(|_| self.below(4) > 0);
            return Log::open(env, DIR.into(), ID, config, StartInfo { clean, checkpoint }).await;
        }
        if let Ok(entries) = disk.list_dir(DIR.as_ref()).await {
            for entry in entries {
                disk.remove_file(&std::path::Path::new(DIR).join(entry.name)).await.unwrap();
            }
        }
        Log::create(env, DIR.into(), ID, config).await
    }

    async fn append_some(&mut self, log: &Log) -> bool {
        let batch: Vec<(u32, u32)> = (0..=self.below(3))
            .map(|_| {
                self.next_value += 1;
                let is_tombstone = self.below(6) == 0;
                (u32::try_from(self.below(12)).unwrap(), if is_tombstone { 0 } else { self.next_value })
            })
            .collect();
        match append(log, keyed(Codec::ALL[usize::try_from(self.below(5)).unwrap()], &batch)).await {
            Ok(appended) => {
                let first = appended.base_offset.get();
                for (offset, record) in (first..).zip(batch) {
                    assert!(self.known.insert(offset, record).is_none_or(|before| before == record));
                    self.acknowledged_to = self.acknowledged_to.max(offset + 1);
                }
                true
            }
            Err(AppendError::Sealed | AppendError::NoSpace) if self.is_faulty => log.state() == LogState::Serving,
            Err(error) => panic!("{error}"),
        }
    }

    async fn work(&mut self, log: &Log, steps: u64) {
        for _ in 0..steps {
            if !self.append_some(log).await {
                return;
            }
            if self.below(8) == 0 {
                self.checkpoint = Some(log.checkpoint_entry());
            }
            if self.below(60) == 0 {
                self.delete_some(log).await;
            }
            self.clock.advance(20);
            log.on_deadline(self.clock.now_ms());
        }
    }

    async fn delete_some(&mut self, log: &Log) {
        let end = log.reader().watermarks().high_watermark.get();
        let before = self.log_start + i64::try_from(self.below(20)).unwrap();
        let before = before.min(end);
        self.deleted_to_max = self.deleted_to_max.max(before);
        match log.delete_records_before(offset(before)).await {
            Ok(log_start) => {
                self.log_start = log_start.get();
                self.reached.deletions += 1;
            }
            Err(_) if self.is_faulty => {}
            Err(error) => panic!("{error}"),
        }
    }

    /// Holds what can be read now against all that was ever known.
    async fn verify(&mut self, log: &Log, disk: &dyn Disk) {
        let watermarks = log.reader().watermarks();
        let (start, end) = (watermarks.log_start.get(), watermarks.high_watermark.get());
        assert!(start >= self.log_start && start <= self.deleted_to_max, "the log starts at {start}");
        assert!(end >= self.acknowledged_to, "it ends at {end}, {} was acknowledged", self.acknowledged_to);
        self.log_start = start;
        let found = records(log, disk).await;
        for (&offset, &record) in &found {
            let before = self.known.insert(offset, record);
            assert!(before.is_none_or(|before| before == record), "offset {offset} was {before:?} and is {record:?}");
        }
        self.acknowledged_to = end;
        let last: BTreeMap<u32, i64> = self.known.range(start..).map(|(&offset, &(key, _))| (key, offset)).collect();
        let seen: BTreeMap<u32, (i64, u32)> =
            found.iter().map(|(&offset, &(key, value))| (key, (offset, value))).collect();
        for (&key, &offset) in &last {
            let value = self.known[&offset].1;
            match seen.get(&key) {
                Some(&last_seen) => assert_eq!(last_seen, (offset, value), "the last of key {key}"),
                None => assert!(value == 0, "key {key} at {offset} is gone"),
            }
        }
    }

    fn live(&mut self, was_clean: bool) -> bool {
        let disk: Rc<dyn Disk> = Rc::new(self.simulation.disk());
        self.reached.cut_swaps +=
            u64::from(self.simulation.names(DIR.as_ref()).iter().any(|name| name.ends_with(".swap")));
        let log = block_on(&*disk, self.start(&disk, was_clean));
        let log = match log {
            Ok(log) => log,
            Err(OpenError::Io { .. }) if self.is_faulty => {
                self.simulation.crash_process();
                return false;
            }
            Err(error) => panic!("{error}"),
        };
        self.is_created = true;
        let ending = self.below(5);
        let steps = if ending == 0 { self.below(80) } else { u64::MAX };
        let fuse = if ending == 0 { u64::MAX } else { 20 + self.below(3000) };
        let (mut passes, mut abandoned) = (0, 0);
        // A map that takes everything, or needs several passes.
        let limits = CompactionLimits { map_bytes: if self.below(3) == 0 { 0 } else { LIMITS.map_bytes }, ..LIMITS };
        let closed = block_on(&*disk, async {
            let drive = Rc::clone(&log).drive();
            let compacting = async {
                loop {
                    match log.compact(&limits, async |_| crate::turn::yield_now().await).await {
                        Ok(Some(_)) => passes += 1,
                        Ok(None) => {}
                        Err(Abandoned::Io { .. } | Abandoned::NoSpace) => abandoned += 1,
                        Err(_) => {}
                    }
                    crate::turn::yield_now().await;
                }
            };
            let work = async {
                self.verify(&log, &*disk).await;
                self.work(&log, steps).await;
                if ending == 0 { Some(log.close().await) } else { std::future::pending().await }
            };
            tokio::select! {
                biased;
                () = burn(fuse) => None,
                closed = while_driven(drive, work) => closed,
                () = compacting => unreachable!("it never ends"),
            }
        });
        (self.reached.passes, self.reached.abandoned) =
            (self.reached.passes + passes, self.reached.abandoned + abandoned);
        let clean = matches!(closed, Some(Ok(_)));
        if let Some(Ok(entry)) = closed {
            self.checkpoint = Some(entry);
        }
        drop(log);
        if ending < 2 {
            self.simulation.crash_process()
        } else {
            self.simulation.crash_power()
        }
        clean
    }
}

/// Ready at the given poll.
async fn burn(mut polls: u64) {
    std::future::poll_fn(|_| {
        polls -= 1;
        if polls == 0 { std::task::Poll::Ready(()) } else { std::task::Poll::Pending }
    })
    .await;
}

fn run(options: &SimOptions) -> Reached {
    let count = std::env::var("RINGMILL_SEEDS").ok().and_then(|count| count.parse().ok()).unwrap_or(SEEDS);
    let mut reached = Reached::default();
    for seed in 0..count {
        let mut machine = Machine::new(seed, options.clone());
        let mut clean = false;
        for _ in 0..6 {
            clean = machine.live(clean);
        }
        reached.passes += machine.reached.passes;
        reached.abandoned += machine.reached.abandoned;
        reached.cut_swaps += machine.reached.cut_swaps;
        reached.deletions += machine.reached.deletions;
    }
    reached
}

#[test]
fn the_last_record_of_each_key_survives_every_crash() {
    let Reached { passes, cut_swaps, deletions, .. } = run(&SimOptions::busy());
    assert!(
        passes > 0 && cut_swaps > 0 && deletions > 0,
        "{passes} passes, {cut_swaps} cut swaps, {deletions} deletions"
    );
}

#[test]
fn a_pass_that_a_disk_fails_harms_nothing() {
    let options = SimOptions { sync_error: 0.005, write_error: 0.005, no_space: 0.02, ..SimOptions::busy() };
    let Reached { passes, abandoned, .. } = run(&options);
    assert!(passes > 0 && abandoned > 0, "{passes} passes, {abandoned} abandoned");
}
