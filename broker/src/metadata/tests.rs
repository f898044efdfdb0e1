//! The metadata's promises: what was answered survives any crash, what was refused left no trace, damage is named.

use std::collections::BTreeMap;
use std::io;
use std::sync::{Arc, Mutex};

use redb::StorageBackend;

use super::*;
use crate::config::BrokerConfig;
use crate::config::alter::{Change, Operation};
use crate::config::running::Scope;

/// Storage of a test: what the page cache holds, what a power cut would leave, and which call fails next.
#[derive(Debug, Default)]
struct Disk {
    cached: Vec<u8>,
    durable: Vec<u8>,
    calls: usize,
    fail_write_at: Option<usize>,
    /// From this call on every write fails.
    full_from: Option<usize>,
    fail_sync_at: Option<usize>,
    /// The durable state after each sync.
    history: Vec<Vec<u8>>,
}

#[derive(Clone, Debug, Default)]
struct TestDisk(Arc<Mutex<Disk>>);

impl TestDisk {
    fn with<T>(&self, look: impl FnOnce(&mut Disk) -> T) -> T {
        look(&mut self.0.lock().unwrap())
    }

    fn of(bytes: &[u8]) -> TestDisk {
        let disk = TestDisk::default();
        disk.with(|disk| (disk.cached, disk.durable) = (bytes.to_vec(), bytes.to_vec()));
        disk
    }

    fn open(&self) -> Result<Metadata, OpenError> {
        let disk = self.clone();
        let storage: OpenStorage = Box::new(move || Ok(Box::new(disk.clone())));
        Metadata::in_place(Path::new("on a test's disk"), storage, options("cluster"))
    }
}

impl StorageBackend for TestDisk {
    fn len(&self) -> io::Result<u64> {
        Ok(self.with(|disk| disk.cached.len() as u64))
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.with(|disk| match disk.cached.get(offset..offset + out.len()) {
            Some(bytes) => {
                out.copy_from_slice(bytes);
                Ok(())
            }
            None => Err(io::ErrorKind::UnexpectedEof.into()),
        })
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.write_call(|disk| disk.cached.resize(usize::try_from(length).unwrap(), 0))
    }

    fn sync_data(&self) -> io::Result<()> {
        self.with(|disk| {
            disk.calls += 1;
            if disk.fail_sync_at.is_some_and(|at| disk.calls >= at) {
                return Err(io::Error::other("injected: sync"));
            }
            disk.durable.clone_from(&disk.cached);
            disk.history.push(disk.durable.clone());
            Ok(())
        })
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let offset = usize::try_from(offset).unwrap();
        self.write_call(|disk| disk.cached[offset..offset + data.len()].copy_from_slice(data))
    }
}

impl TestDisk {
    fn has_failed(&self) -> bool {
        self.with(|disk| disk.fail_write_at.is_some_and(|at| disk.calls >= at))
    }

    fn write_call(&self, write: impl FnOnce(&mut Disk)) -> io::Result<()> {
        self.with(|disk| {
            disk.calls += 1;
            if disk.fail_write_at == Some(disk.calls) || disk.full_from.is_some_and(|from| disk.calls >= from) {
                return Err(io::ErrorKind::StorageFull.into());
            }
            write(disk);
            Ok(())
        })
    }
}

fn options(cluster_id: &str) -> Options {
    let config = BrokerConfig::from_settings(&[]).unwrap();
    Options::new(cluster_id, &config)
}

fn new_topic(name: &str, partition_count: i32) -> NewTopic {
    NewTopic { name: name.to_owned(), partition_count, settings: BTreeMap::new() }
}

async fn create(metadata: &Metadata, name: &str, partition_count: i32) -> Result<Arc<Topic>, MetadataError> {
    let prepared = metadata.prepare_topic(new_topic(name, partition_count), 7).await?;
    metadata.commit_topic(prepared).await
}

fn names(metadata: &Metadata) -> Vec<String> {
    metadata.image().topics().map(|topic| topic.name.to_string()).collect()
}

#[tokio::test]
async fn topics_live_across_restarts_on_a_real_file() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata.redb");
    let metadata = Metadata::open(&path, options("c1")).unwrap();
    let mut new = new_topic("logs", 3);
    new.settings.insert("retention.ms".to_owned(), "5000".to_owned());
    let prepared = metadata.prepare_topic(new, 1234).await.unwrap();
    assert!(names(&metadata).is_empty(), "preparing writes nothing");
    let made = metadata.commit_topic(prepared).await.unwrap();
    assert_eq!(metadata.take_producer_ids().await, Ok(0..1000));
    metadata.close().await;
    assert_eq!(metadata.take_producer_ids().await, Err(MetadataError::Closed));
    drop(metadata);

    let metadata = Metadata::open(&path, options("c1")).unwrap();
    let image = metadata.image();
    assert_eq!(image.topic("logs"), Some(&made));
    assert_eq!(image.topic_by_id(&made.id), Some(&made));
    assert_eq!((made.created_ms, made.partition_count, made.config.retention_ms), (1234, 3, Some(5000)));
    assert_eq!(image.cluster_id(), "c1");
    assert_eq!(metadata.take_producer_ids().await, Ok(1000..2000));
    assert!(!dir.path().join("metadata.redb.new").exists());
}

#[tokio::test]
async fn deleting_frees_the_name_and_never_the_id() {
    let metadata = TestDisk::default().open().unwrap();
    let first = create(&metadata, "logs", 1).await.unwrap();
    assert_eq!(metadata.delete_topic("logs").await.unwrap().id, first.id);
    assert_eq!(metadata.delete_topic("logs").await, Err(MetadataError::Unknown("logs".to_owned())));
    assert!(metadata.image().topic_by_id(&first.id).is_none());
    let second = create(&metadata, "logs", 1).await.unwrap();
    assert_ne!(first.id, second.id);
}

#[tokio::test]
async fn a_topic_gets_more_partitions_and_never_fewer() {
    let disk = TestDisk::default();
    let metadata = disk.open().unwrap();
    let made = create(&metadata, "logs", 3).await.unwrap();
    let prepared = metadata.prepare_partitions(made.id, 5).await.unwrap();
    assert_eq!((prepared.partition_count, prepared.id), (5, made.id));
    assert_eq!(metadata.image().topic("logs"), Some(&made), "preparing changes nothing");
    let grown = metadata.commit_partitions(made.id, 5).await.unwrap();
    assert_eq!(*grown, prepared);
    assert_eq!(grown.owner(1, 4), made.owner(1, 4), "no partition moves");
    for count in [5, 4, 0, -1, i32::MIN] {
        let refused = metadata.commit_partitions(made.id, count).await;
        assert!(matches!(refused, Err(MetadataError::NoIncrease { now: 5, .. })), "{count}: {refused:?}");
    }
    for count in [10_001, i32::MAX] {
        assert_eq!(metadata.commit_partitions(made.id, count).await, Err(MetadataError::PartitionCount(count)));
    }
    assert!(matches!(metadata.commit_partitions([9; 16], 7).await, Err(MetadataError::Unknown(_))));
    let again = TestDisk::of(&disk.with(|disk| disk.durable.clone())).open().unwrap();
    assert_eq!(again.image().topic("logs"), Some(&grown));
}

#[tokio::test]
async fn a_deletion_is_remembered_until_it_is_finished() {
    let disk = TestDisk::default();
    let metadata = disk.open().unwrap();
    let mut ids = Vec::new();
    for name in ["a", "b", "c"] {
        ids.push(create(&metadata, name, 1).await.unwrap().id);
        metadata.delete_topic(name).await.unwrap();
    }
    let unfinished = |disk: &TestDisk| {
        let again = TestDisk::of(&disk.with(|disk| disk.durable.clone())).open().unwrap();
        again.image().unfinished_deletions().iter().copied().collect::<Vec<_>>()
    };
    ids.sort_unstable();
    assert_eq!(unfinished(&disk), ids);
    metadata.finish_deletions([ids[0], ids[1]]).await;
    assert_eq!(unfinished(&disk), ids, "no sync for this alone");
    let last = create(&metadata, "d", 1).await.unwrap().id;
    metadata.delete_topic("d").await.unwrap();
    let mut expected = vec![ids[2], last];
    expected.sort_unstable();
    assert_eq!(unfinished(&disk), expected);
}

#[tokio::test]
async fn creations_are_refused_by_kafkas_rules() {
    let metadata = TestDisk::default().open().unwrap();
    create(&metadata, "a.b", 1).await.unwrap();
    assert_eq!(create(&metadata, "a.b", 1).await, Err(MetadataError::Exists("a.b".to_owned())));
    assert!(matches!(create(&metadata, "a_b", 1).await, Err(MetadataError::InvalidName(why)) if why.contains("a.b")));
    assert!(matches!(create(&metadata, "a/b", 1).await, Err(MetadataError::InvalidName(_))));
    assert_eq!(create(&metadata, "x", 0).await, Err(MetadataError::PartitionCount(0)));
    assert_eq!(create(&metadata, "x", i32::MAX).await, Err(MetadataError::PartitionCount(i32::MAX)));
    let mut new = new_topic("x", 1);
    new.settings.insert("cleanup.policy".to_owned(), "archive".to_owned());
    assert!(matches!(metadata.prepare_topic(new, 0).await, Err(MetadataError::Config(_))));
    assert_eq!(names(&metadata), ["a.b"]);
}

#[tokio::test]
async fn of_two_creations_side_by_side_one_wins() {
    let metadata = TestDisk::default().open().unwrap();
    let one = metadata.prepare_topic(new_topic("logs", 1), 0).await.unwrap();
    let other = metadata.prepare_topic(new_topic("logs", 1), 0).await.unwrap();
    assert!(metadata.commit_topic(one).await.is_ok());
    assert_eq!(metadata.commit_topic(other).await, Err(MetadataError::Exists("logs".to_owned())));
}

#[tokio::test]
async fn partitions_go_round_the_cores_across_topics() {
    let metadata = TestDisk::default().open().unwrap();
    let mut owners = Vec::new();
    for (name, count) in [("a", 1), ("b", 3), ("c", 1), ("d", 1)] {
        let topic = create(&metadata, name, count).await.unwrap();
        owners.extend((0..count).map(|partition| topic.owner(partition, 4)));
    }
    assert_eq!(owners, [0, 1, 2, 3, 0, 1]);
}

#[tokio::test]
async fn watchers_see_each_commit_and_no_refusal() {
    let metadata = TestDisk::default().open().unwrap();
    let mut watch = metadata.watch();
    create(&metadata, "a", 1).await.unwrap();
    assert!(watch.has_changed());
    assert!(watch.borrow_and_update().topic("a").is_some());
    assert!(create(&metadata, "a", 1).await.is_err());
    assert!(!watch.has_changed());
}

/// Cuts the power after every single sync of a history of changes: what was answered before it is there, and each state is whole.
#[tokio::test]
async fn a_power_cut_at_any_sync_keeps_what_was_answered() {
    let disk = TestDisk::default();
    let metadata = disk.open().unwrap();
    let mut answered = vec![(disk.with(|disk| disk.history.len()), Vec::new())];
    for step in 0..6 {
        create(&metadata, &format!("t{step}"), 2).await.unwrap();
        if step == 2 {
            metadata.delete_topic("t0").await.unwrap();
        }
        answered.push((disk.with(|disk| disk.history.len()), names(&metadata)));
    }
    let history = disk.with(|disk| disk.history.clone());
    let opened_at = answered[0].0;
    for (index, durable) in history.iter().enumerate().skip(opened_at.saturating_sub(1)) {
        let after = TestDisk::of(durable).open().unwrap_or_else(|error| panic!("cut after sync {index}: {error}"));
        let found = names(&after);
        let (_, owed) = answered.iter().rfind(|(syncs, _)| *syncs <= index + 1).unwrap();
        let kept = owed.iter().filter(|name| *name != "t0").all(|name| found.contains(name));
        assert!(kept, "cut after sync {index}: {owed:?} were answered, {found:?} are there");
    }
}

#[tokio::test]
async fn a_full_disk_refuses_the_write_and_the_broker_goes_on() {
    // The write that fails may be any of the transaction's: try them all, until one comes through.
    for nth in 1.. {
        let disk = TestDisk::default();
        let metadata = disk.open().unwrap();
        create(&metadata, "before", 1).await.unwrap();
        disk.with(|disk| disk.fail_write_at = Some(disk.calls + nth));
        let result = create(&metadata, "during", 1).await;
        if result.is_ok() {
            assert!(nth > 3, "the loop reached real failures");
            break;
        }
        assert!(matches!(result, Err(MetadataError::NoSpace(_))), "write {nth}: {result:?}");
        assert_eq!(names(&metadata), ["before"]);
        create(&metadata, "after", 1).await.unwrap_or_else(|error| panic!("write {nth}: {error}"));
        metadata.close().await;
        let again = TestDisk::of(&disk.with(|disk| disk.durable.clone())).open().unwrap();
        assert_eq!(names(&again), ["after", "before"]);
    }
}

/// redb cuts its file shorter behind a commit: a disk that refuses this has refused nothing of the change. Every call of a history fails once.
#[tokio::test]
async fn a_change_is_refused_if_and_only_if_it_is_not_durable() {
    let (mut kept, mut refused) = (0, 0);
    for nth in 1.. {
        let disk = TestDisk::default();
        let metadata = disk.open().unwrap();
        let mut expected = Vec::new();
        disk.with(|disk| disk.fail_write_at = Some(disk.calls + nth));
        for step in 0..12 {
            let name = format!("t{step:0200}");
            let has_failed = disk.has_failed();
            let done = match step < 8 {
                true => create(&metadata, &name, 1).await.map(|_| expected.push(name)),
                false => metadata.delete_topic(&expected[0]).await.map(|_| drop(expected.remove(0))),
            };
            assert_eq!(names(&metadata), expected, "call {nth}, step {step}");
            if disk.has_failed() && !has_failed {
                *if done.is_ok() { &mut kept } else { &mut refused } += 1;
                let durable = TestDisk::of(&disk.with(|disk| disk.durable.clone()));
                assert_eq!(names(&durable.open().unwrap()), expected, "call {nth}, step {step}");
            }
        }
        if !disk.has_failed() {
            break;
        }
    }
    assert!(kept > 0 && refused > 0, "{kept} kept, {refused} refused");
}

/// A disk that stays full keeps redb from opening its own file again, and that ended the broker.
#[tokio::test]
async fn a_disk_that_stays_full_is_waited_for() {
    for nth in 1.. {
        let disk = TestDisk::default();
        let metadata = disk.open().unwrap();
        create(&metadata, "before", 1).await.unwrap();
        disk.with(|disk| disk.full_from = Some(disk.calls + nth));
        let result = create(&metadata, "during", 1).await;
        if result.is_ok() {
            assert!(nth > 3, "the loop reached real failures");
            break;
        }
        for _ in 0..3 {
            let again = create(&metadata, "during", 1).await;
            assert!(matches!(again, Err(MetadataError::NoSpace(_))), "write {nth}: {again:?}");
            assert_eq!(names(&metadata), ["before"]);
        }
        disk.with(|disk| disk.full_from = None);
        create(&metadata, "after", 1).await.unwrap_or_else(|error| panic!("write {nth}: {error}"));
        let failed = tokio::time::timeout(std::time::Duration::ZERO, metadata.failed()).await;
        assert!(failed.is_err(), "write {nth}: {failed:?}");
        metadata.close().await;
        let again = TestDisk::of(&disk.with(|disk| disk.durable.clone())).open().unwrap();
        assert_eq!(names(&again), ["after", "before"]);
    }
}

#[tokio::test]
async fn a_failed_sync_ends_the_metadata_and_says_so() {
    let disk = TestDisk::default();
    let metadata = disk.open().unwrap();
    create(&metadata, "before", 1).await.unwrap();
    disk.with(|disk| disk.fail_sync_at = Some(0));
    assert!(matches!(create(&metadata, "during", 1).await, Err(MetadataError::Failed(_))));
    disk.with(|disk| disk.fail_sync_at = None);
    assert!(matches!(create(&metadata, "after", 1).await, Err(MetadataError::Failed(_))));
    assert!(metadata.failed().await.contains("injected: sync"));
    assert_eq!(names(&metadata), ["before"], "reading goes on");
}

#[tokio::test]
async fn damage_foreign_files_and_other_clusters_are_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata.redb");
    std::fs::write(&path, b"this is not a database, but it is long enough to look at").unwrap();
    let message = Metadata::open(&path, options("c1")).err().unwrap().to_string();
    assert!(message.contains("is damaged") && message.contains("metadata.redb"), "{message}");
    std::fs::remove_file(&path).unwrap();

    let metadata = Metadata::open(&path, options("c1")).unwrap();
    create(&metadata, "logs", 1).await.unwrap();
    metadata.close().await;
    let message = Metadata::open(&path, options("c2")).err().unwrap().to_string();
    assert!(message.contains("belongs to cluster c1, the data directory to cluster c2"), "{message}");
}

fn set(name: &str, value: &str) -> Alteration {
    let operation = Operation::Set(value.to_owned());
    Alteration::Incremental(vec![Change { name: name.to_owned(), operation }])
}

async fn alter(metadata: &Metadata, resource: Resource, name: &str, value: &str) -> Result<(), MetadataError> {
    let prepared = metadata.prepare_settings(resource, set(name, value)).await?;
    metadata.commit_settings(prepared).await
}

/// What is set on the topic, on all brokers and on this one.
fn all_set(metadata: &Metadata) -> [Vec<String>; 3] {
    let image = metadata.image();
    let shown = |settings: &BTreeMap<String, String>| {
        settings.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>()
    };
    let dynamic = image.running().dynamic();
    [shown(&image.topic("logs").unwrap().settings), shown(&dynamic.cluster), shown(&dynamic.broker)]
}

#[tokio::test]
async fn settings_change_the_image_at_their_commit_and_live_across_restarts() {
    let disk = TestDisk::default();
    let metadata = disk.open().unwrap();
    create(&metadata, "logs", 1).await.unwrap();
    create(&metadata, "own", 1).await.unwrap();
    let (logs, all, me) =
        (Resource::Topic("logs".to_owned()), Resource::Broker(Scope::Cluster), Resource::Broker(Scope::Broker));
    alter(&metadata, Resource::Topic("own".to_owned()), "retention.ms", "9").await.unwrap();
    let prepared = metadata.prepare_settings(all.clone(), set("log.retention.ms", "5")).await.unwrap();
    assert_eq!(prepared.topics().iter().map(|topic| &*topic.after.name).collect::<Vec<_>>(), ["logs"]);
    assert!(all_set(&metadata).iter().all(Vec::is_empty), "preparing writes nothing");
    metadata.commit_settings(prepared).await.unwrap();
    alter(&metadata, me, "num.partitions", "7").await.unwrap();
    alter(&metadata, logs.clone(), "segment.ms", "6").await.unwrap();
    let expected = [vec!["segment.ms=6"], vec!["log.retention.ms=5"], vec!["num.partitions=7"]];
    assert_eq!(all_set(&metadata), expected);
    assert!(matches!(alter(&metadata, logs, "segment.ms", "x").await, Err(MetadataError::Alter(_))));
    let unknown = alter(&metadata, Resource::Topic("none".to_owned()), "segment.ms", "6").await;
    assert_eq!(unknown, Err(MetadataError::Unknown("none".to_owned())));
    metadata.close().await;

    let durable = disk.with(|disk| disk.durable.clone());
    let again = TestDisk::of(&durable).open().unwrap();
    assert_eq!(all_set(&again), expected);
    let image = again.image();
    let retention_ms = |name: &str| image.topic(name).unwrap().config.retention_ms;
    assert_eq!((retention_ms("logs"), retention_ms("own"), image.running().num_partitions()), (Some(5), Some(9), 7));
}

/// The power may go after every single sync, and any write may be refused: what was answered is there, and nothing by halves.
#[tokio::test]
async fn settings_are_kept_or_refused_as_a_whole_whatever_the_disk_does() {
    let disk = TestDisk::default();
    let metadata = disk.open().unwrap();
    create(&metadata, "logs", 1).await.unwrap();
    let all = Resource::Broker(Scope::Cluster);
    let mut answered = vec![(disk.with(|disk| disk.history.len()), 1)];
    for count in 2..6 {
        alter(&metadata, all.clone(), "num.partitions", &count.to_string()).await.unwrap();
        answered.push((disk.with(|disk| disk.history.len()), count));
    }
    let history = disk.with(|disk| disk.history.clone());
    for (index, durable) in history.iter().enumerate().skip(answered[0].0 - 1) {
        let found = TestDisk::of(durable).open().unwrap().image().running().num_partitions();
        let (_, owed) = answered.iter().rfind(|(syncs, _)| *syncs <= index + 1).unwrap();
        assert!(found == *owed || found == owed + 1, "cut after sync {index}: {owed} was answered, {found} is there");
    }
    for nth in 1..4 {
        disk.with(|disk| disk.fail_write_at = Some(disk.calls + nth));
        let refused = alter(&metadata, all.clone(), "num.partitions", "9").await;
        assert!(matches!(refused, Err(MetadataError::NoSpace(_))), "write {nth}: {refused:?}");
        assert_eq!(metadata.image().running().num_partitions(), 5);
    }
    alter(&metadata, all, "num.partitions", "6").await.unwrap();
    assert_eq!(metadata.image().running().num_partitions(), 6);
}

/// A data directory that was given another node.id keeps what was set on the old one, and does not go by it.
#[tokio::test]
async fn another_broker_does_not_take_over_what_was_set_on_this_one() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("metadata.redb");
    let metadata = Metadata::open(&path, options("c1")).unwrap();
    alter(&metadata, Resource::Broker(Scope::Broker), "num.partitions", "7").await.unwrap();
    alter(&metadata, Resource::Broker(Scope::Cluster), "log.roll.ms", "8").await.unwrap();
    metadata.close().await;
    drop(metadata);
    let other = BrokerConfig::from_settings(&[("broker.node.id", "2")]).unwrap();
    let metadata = Metadata::open(&path, Options::new("c1", &other)).unwrap();
    let running = Arc::clone(metadata.image().running());
    assert_eq!((running.num_partitions(), running.dynamic().cluster.len()), (1, 1));
}

/// Flips bytes all over a closed database: it opens to the same topics, or is refused; it never shows other topics.
#[tokio::test]
async fn flipped_bytes_never_change_a_topic() {
    let disk = TestDisk::default();
    let metadata = disk.open().unwrap();
    let made = create(&metadata, "logs", 3).await.unwrap();
    metadata.close().await;
    let whole = disk.with(|disk| disk.durable.clone());
    let place = whole.windows(8).position(|bytes| bytes == b"settings").expect("the row lies in the file as JSON");
    let (mut same, mut refused) = (0, 0);
    for position in (place - 100..place + 20).chain((0..whole.len()).step_by(4093)) {
        let mut damaged = whole.clone();
        damaged[position] ^= 0x20;
        match TestDisk::of(&damaged).open() {
            Ok(opened) => {
                same += 1;
                assert_eq!(opened.image().topic("logs"), Some(&made), "byte {position}");
            }
            Err(_) => refused += 1,
        }
    }
    assert!(same > 0 && refused > 0, "{same} the same, {refused} refused");
    for length in [1, 8, 64, 511, 4096, whole.len() / 2, whole.len() - 1] {
        if let Ok(opened) = TestDisk::of(&whole[..length]).open() {
            assert_eq!(opened.image().topic("logs"), Some(&made), "cut at {length}");
        }
    }
}

/// Seeds of power cuts at any moment of a history: what was answered is there afterwards, what was never asked for is not.
#[tokio::test]
async fn simulated_power_cuts_keep_what_was_answered() {
    use ringmill_engine::disk::sim::SimOptions;
    let path = Path::new("/metadata.redb");
    for seed in 0..40 {
        let machine = Simulation::new(seed, SimOptions::default());
        let mut answered = Vec::new();
        for life in 0..3 {
            let metadata = Metadata::open_simulated(&machine, &machine.disk(), path, options("cluster"))
                .unwrap_or_else(|error| panic!("seed {seed}, life {life}: {error}"));
            let found = names(&metadata);
            assert_eq!(found, answered, "seed {seed}, life {life}");
            for step in 0..3 {
                let name = format!("t{life}{step}");
                if create(&metadata, &name, 1).await.is_ok() {
                    answered.push(name);
                }
            }
            machine.crash_power();
        }
    }
}
