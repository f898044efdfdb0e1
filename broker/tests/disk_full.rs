//! Disks that are full, or nearly, or read-only: records are refused and all else goes on, nothing acknowledged is lost, and service
//! comes back by itself. On real file systems, small ones, which only root can mount; elsewhere the tests say that they are skipped.

#![expect(clippy::unwrap_used, reason = "all of it is a test: a panic is its failure")]

mod configs;
mod raw;

use std::fs::File;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use configs::{SET, TOPIC, change};
use raw::process::{Process, command};
use raw::volume::Volume;
use raw::{IO_KINDS, Produced, Raw, batch};
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::delete_records::{
    DeleteRecordsPartition, DeleteRecordsRequest, DeleteRecordsResponse, DeleteRecordsTopic,
};
use ringmill_net::wire::messages::init_producer_id::{InitProducerIdRequest, InitProducerIdResponse};
use rustix::process::{Resource, Rlimit};

const OK: i16 = 0;
const MIB: u64 = 1 << 20;

fn storage_error() -> i16 {
    ErrorCode::KafkaStorageError.code()
}

/// Produces batches until one is refused, and says how many were taken before.
fn produce_until_refused(client: &mut Raw, topic: &str, bytes: usize) -> i64 {
    for taken in 0.. {
        let produced = client.produce(topic, 0, batch(1, bytes));
        if produced.error != OK {
            assert_eq!(produced.error, storage_error());
            return taken;
        }
        assert!(taken < 10_000, "the disk never fills");
    }
    unreachable!("it returns from the loop")
}

/// Tries again, as a client does, until a batch is taken.
fn produce_patiently(client: &mut Raw, topic: &str, bytes: usize) -> Produced {
    let patience = Instant::now() + Duration::from_secs(20);
    loop {
        let produced = client.produce(topic, 0, batch(1, bytes));
        if produced.error == OK || Instant::now() > patience {
            return produced;
        }
        assert_eq!(produced.error, storage_error());
        std::thread::sleep(Duration::from_millis(50));
    }
}

fn delete_records(client: &mut Raw, topic: &str, offset: i64) -> (i16, i64) {
    let partitions = vec![DeleteRecordsPartition { partition_index: 0, offset }];
    let topics = vec![DeleteRecordsTopic { name: topic, partitions }];
    let frame = client.call(&DeleteRecordsRequest { topics, timeout_ms: 5000 }, 2);
    let response: DeleteRecordsResponse<'_> = frame.decode(2);
    let partition = &response.topics[0].partitions[0];
    (partition.error_code, partition.low_watermark)
}

/// What a [`Filler`] tries to write at a time, in blocks of 4 KiB: less than a slice of the reserve, which would be of no use otherwise.
const FILLER_BLOCKS: usize = 8;

/// Every refusal makes ext4 commit its journal: not all the time.
const FILLER_PAUSE: Duration = Duration::from_millis(20);

/// Takes every byte of a volume, and goes on taking what is freed, until it is dropped.
struct Filler {
    path: PathBuf,
    stop: Arc<AtomicBool>,
    thread: Option<std::thread::JoinHandle<()>>,
}

impl Filler {
    fn new(volume: &Volume) -> Filler {
        let path = volume.path().join("filler");
        let mut file = File::create(&path).unwrap();
        let stop = Arc::new(AtomicBool::new(false));
        for length in [1 << 20, 4096, 1] {
            while file.write_all(&vec![7; length]).is_ok() {}
        }
        let thread = std::thread::spawn({
            let stop = Arc::clone(&stop);
            move || {
                while !stop.load(Ordering::Relaxed) {
                    for _ in 0..FILLER_BLOCKS {
                        let _ = file.write_all(&[7; 4096]);
                    }
                    std::thread::sleep(FILLER_PAUSE);
                }
            }
        });
        Filler { path, stop, thread: Some(thread) }
    }
}

impl Drop for Filler {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.take().unwrap().join().unwrap();
        std::fs::remove_file(&self.path).unwrap();
    }
}

fn segments(data: &Path, partition: &str) -> usize {
    let names = std::fs::read_dir(data.join(partition)).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_str().unwrap().ends_with(".log")).count()
}

#[test]
fn records_stop_before_the_disk_is_full_and_go_on_by_themselves() {
    for io in IO_KINDS {
        for make in [|| Volume::ext4(8 * MIB, None, "defaults"), || Volume::tmpfs(24 * MIB)] {
            let Some(volume) = make() else { return };
            let broker = Process::start(&volume.path().join("data"), io);
            let mut client = Raw::connect(broker.address);
            for topic in ["ballast", "logs"] {
                assert_eq!(client.create_topic(topic, 1, &[]), OK, "{:#?}", broker.said(""));
            }
            for _ in 0..2 {
                assert_eq!(client.produce("ballast", 0, batch(1, 1_000_000)).error, OK, "{io}");
            }
            let acknowledged = produce_until_refused(&mut client, "logs", 50_000);
            let free = volume.free_bytes();
            assert!(free > 100_000, "{io}: {free} bytes are left");
            broker.await_line("the disk is nearly full");
            assert_eq!(client.fetch_all("logs", 0).len(), usize::try_from(acknowledged).unwrap(), "{io}");
            assert_eq!(client.create_topic("more", 1, &[]), storage_error(), "{io}");
            assert_eq!(client.produce("logs", 0, batch(1, 10)).error, storage_error(), "{io}");

            assert_eq!(client.delete_topic("ballast"), OK, "{io}");
            let produced = produce_patiently(&mut client, "logs", 50_000);
            assert_eq!(produced, Produced { error: OK, base_offset: acknowledged }, "{io}");
            broker.await_line("there is room on the disk again");
            assert_eq!(client.create_topic("more", 1, &[]), OK, "{io}");
            let said = broker.said("nearly full");
            assert!(matches!(&said[..], [one] if one.contains("ringmill.disk.free.bytes.min")), "{said:#?}");
            assert_eq!(broker.stop(), Some(0), "{io}");
        }
    }
}

/// The mark cannot help where others take the rest. Everything that frees space must work all the same.
#[test]
fn what_frees_space_works_while_another_process_takes_every_byte() {
    for io in IO_KINDS {
        let Some(volume) = Volume::ext4(40 * MIB, None, "defaults") else { return };
        let data = volume.path().join("data");
        let mut broker = Process::start(&data, io);
        let mut client = Raw::connect(broker.address);
        for topic in ["ballast", "logs", "sized"] {
            assert_eq!(client.create_topic(topic, 1, &[("segment.bytes", "1048576")]), OK);
        }
        for _ in 0..8 {
            for topic in ["ballast", "logs", "sized"] {
                assert_eq!(client.produce(topic, 0, batch(1, 500_000)).error, OK, "{io}");
            }
        }
        // The reserve must have been filled.
        let reserve = data.join("reserve");
        let full_reserve = std::fs::metadata(&reserve).unwrap().len();
        assert!(full_reserve > 0);
        let filler = Filler::new(&volume);
        broker.await_line("the disk is nearly full");
        assert_eq!(client.produce("logs", 0, batch(1, 10)).error, storage_error(), "{io}");
        assert_eq!(client.fetch_all("logs", 0).len(), 8, "{io}");

        assert_eq!(delete_records(&mut client, "logs", 5), (OK, 5), "{io}: {:#?}", broker.said("WARN"));
        let keep_less = change(&mut client, (TOPIC, "sized"), &[("retention.bytes", SET, Some("1"))]);
        assert_eq!(keep_less.0, OK, "{io}: {keep_less:?}");
        assert_eq!(client.delete_topic("ballast"), OK, "{io}: {:#?}", broker.said("WARN"));

        // Killed, it starts on the full disk, and what was deleted stays so.
        drop(broker);
        broker = Process::start(&data, io);
        client = Raw::connect(broker.address);
        assert_eq!(broker.said("quarantined"), Vec::<String>::new(), "{io}");
        assert_eq!(client.fetch_all("logs", 5).len(), 3, "{io}");
        assert_eq!(client.list_offset("logs", -2), (OK, 5), "{io}");
        assert_eq!(client.fetch("ballast", 0).error, ErrorCode::UnknownTopicOrPartition.code(), "{io}");
        assert_eq!(delete_records(&mut client, "logs", 6), (OK, 6), "{io}: {:#?}", broker.said("WARN"));

        drop(filler);
        assert_eq!(produce_patiently(&mut client, "logs", 500_000), Produced { error: OK, base_offset: 8 }, "{io}");
        let patience = Instant::now() + Duration::from_secs(20);
        while std::fs::metadata(&reserve).unwrap().len() < full_reserve || segments(&data, "sized-0") > 1 {
            assert!(Instant::now() < patience, "{io}: the reserve is not filled again, or retention does not run");
            std::thread::sleep(Duration::from_millis(20));
        }
        assert_eq!(client.fetch_all("logs", 6).len(), 3, "{io}");
        assert_eq!(broker.stop(), Some(0), "{io}");
    }
}

/// As it would be without any of it: the disk's own word is the last one, and each refusal must still leave things whole.
#[test]
fn without_mark_and_reserve_the_last_byte_is_no_trap() {
    let off = ["--set", "ringmill.disk.free.bytes.min=0", "--set", "ringmill.disk.reserve.bytes=0"];
    for io in IO_KINDS {
        let Some(volume) = Volume::ext4(24 * MIB, None, "defaults") else { return };
        let data = volume.path().join("data");
        let broker = Process::start_with(&data, io, &off);
        let mut client = Raw::connect(broker.address);
        for topic in ["ballast", "logs"] {
            assert_eq!(client.create_topic(topic, 1, &[("segment.bytes", "1048576")]), OK);
            assert_eq!(client.produce(topic, 0, batch(1, 500_000)).error, OK, "{io}");
        }
        let filler = Filler::new(&volume);
        let acknowledged = 1 + produce_until_refused(&mut client, "logs", 100_000);
        let (code, why) = client.try_create_topic("more", 20, &[]);
        assert!(code == storage_error() && why.contains("No space left on device"), "{io}: {code} {why}");
        let left = std::fs::read_dir(&data).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        let half_made: Vec<String> = left.filter(|name| name.starts_with("more") || name.ends_with(".tmp")).collect();
        assert!(half_made.is_empty(), "{io}: {half_made:?}");
        assert_eq!(client.fetch_all("logs", 0).len(), usize::try_from(acknowledged).unwrap(), "{io}");
        // The metadata's file is allocated ahead, so that this needs no byte.
        assert_eq!(client.delete_topic("ballast"), OK, "{io}: {:#?}", broker.said("WARN"));
        drop(filler);
        assert_eq!(produce_patiently(&mut client, "logs", 100_000).base_offset, acknowledged, "{io}");
        assert_eq!(client.create_topic("more", 20, &[]), OK, "{io}");
        let refusals = broker.said("appends are refused").len();
        assert!(refusals <= 2, "{io}: a refusal is told once, not {refusals} times");
        let pid = broker.pid();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        broker.await_line("\"stopped\"");
        assert!(broker.said("\"stopped\"")[0].contains("\"clean\":true"), "{io}");
    }
}

/// A disk that promises more than it has: writes succeed, and the sync finds no space.
#[test]
fn a_thin_disk_that_fails_at_the_sync_loses_nothing_acknowledged() {
    for io in IO_KINDS {
        let Some(backing) = Volume::tmpfs(24 * MIB) else { return };
        let Some(volume) = Volume::ext4(64 * MIB, Some(&backing), "errors=remount-ro") else { return };
        let data = volume.path().join("data");
        let broker = Process::start(&data, io);
        let mut client = Raw::connect(broker.address);
        for topic in ["logs", "idle"] {
            assert_eq!(client.create_topic(topic, 1, &[]), OK);
        }
        assert_eq!(client.produce("idle", 0, batch(1, 100)).error, OK, "{io}");
        let acknowledged = produce_until_refused(&mut client, "logs", 200_000);
        assert!(volume.free_bytes() > 16 * MIB, "the file system knew");
        let read = client.fetch_all("logs", 0).len();
        assert_eq!(read, usize::try_from(acknowledged).unwrap(), "{io}: all of it, and nothing of what failed");
        assert_eq!(client.fetch_all("idle", 0).len(), 1, "{io}");
        assert!(!broker.said("partition sealed").is_empty(), "{io}");
        drop((client, broker));
    }
}

#[test]
fn fill_and_free_again_and_again_under_an_idempotent_producer() {
    const CYCLES: usize = 6;
    let Some(volume) = Volume::ext4(24 * MIB, None, "defaults") else { return };
    let broker = Process::start(&volume.path().join("data"), "auto");
    let mut client = Raw::connect(broker.address);
    assert_eq!(client.create_topic("logs", 1, &[("segment.bytes", "1048576")]), OK);
    let frame = client.call(&InitProducerIdRequest::default(), 4);
    let given: InitProducerIdResponse = frame.decode(4);
    let (id, epoch) = (given.producer_id, given.producer_epoch);
    const RECORDS: i32 = 1000;
    let (mut sequence, mut acknowledged, mut refusals) = (0, Vec::new(), 0);
    for cycle in 0..CYCLES {
        // Every second time another process goes to the last byte, so that the mark is no help.
        let mut filler = cycle.is_multiple_of(2).then(|| Filler::new(&volume));
        let refused_before = refusals;
        let patience = Instant::now() + Duration::from_secs(30);
        let mut taken = 0;
        while taken < 20 {
            assert!(Instant::now() < patience, "cycle {cycle}: it does not go on");
            let produced = client.produce("logs", 0, raw::sequenced(id, epoch, sequence, RECORDS as usize));
            if produced.error == OK {
                acknowledged.push(produced.base_offset);
                (sequence, taken) = (sequence + RECORDS, taken + 1);
                continue;
            }
            // The same batch again: if the first one came through after all, its offset is the answer.
            assert_eq!(produced.error, storage_error(), "cycle {cycle}");
            refusals += 1;
            if refusals > refused_before + 3 {
                filler = None;
                let before = acknowledged.last().map_or(0, |last: &i64| last - 2000).max(0);
                assert_eq!(delete_records(&mut client, "logs", before).0, OK);
            }
            std::thread::sleep(Duration::from_millis(20));
        }
        drop(filler);
    }
    assert!(refusals > CYCLES / 2, "the disk was full {refusals} times");
    let expected: Vec<i64> = (0..acknowledged.len()).map(|number| number as i64 * i64::from(RECORDS)).collect();
    assert_eq!(acknowledged, expected, "every batch once, one behind the other");
    let (_, log_start) = client.list_offset("logs", -2);
    let found: Vec<i64> = client.fetch_all("logs", log_start).iter().map(|batch| batch.base_offset.get()).collect();
    let owed: Vec<i64> = acknowledged.into_iter().filter(|offset| *offset >= log_start).collect();
    assert_eq!(found, owed);
    assert_eq!(broker.stop(), Some(0));
}

/// ext4 turns itself read-only when it finds itself damaged; it can be told to.
#[test]
fn a_file_system_that_turns_read_only_is_read_and_its_broker_stops_with_a_word() {
    for io in IO_KINDS {
        let Some(volume) = Volume::ext4(32 * MIB, None, "errors=remount-ro") else { return };
        let data = volume.path().join("data");
        let broker = Process::start(&data, io);
        let mut client = Raw::connect(broker.address);
        for topic in ["logs", "idle"] {
            assert_eq!(client.create_topic(topic, 1, &[]), OK);
            assert_eq!(client.produce(topic, 0, batch(1, 1000)).error, OK, "{io}");
        }
        let device = volume.device();
        let trigger = format!("/sys/fs/ext4/{}/trigger_fs_error", device.trim_start_matches("/dev/"));
        if std::fs::write(&trigger, "told to by a test").is_err() {
            eprintln!("SKIPPED: {trigger} cannot be written");
            return;
        }
        assert_eq!(client.produce("logs", 0, batch(1, 1000)).error, storage_error(), "{io}");
        assert_eq!(client.produce("logs", 0, batch(1, 1000)).error, storage_error(), "{io}");
        assert_eq!(client.fetch_all("logs", 0).len(), 1, "{io}");
        assert_eq!(client.fetch_all("idle", 0).len(), 1, "{io}");
        let (code, why) = client.try_create_topic("more", 1, &[]);
        assert!(code == storage_error() && why.contains("Read-only file system"), "{io}: {code} {why}");
        assert_ne!(client.delete_topic("idle"), OK, "{io}: it could not be made durable");
        assert_eq!(client.fetch_all("idle", 0).len(), 1, "{io}");
        drop(client);
        let said = |broker: &Process| broker.said("\"stopped\"");
        rustix::process::kill_process(broker.pid(), rustix::process::Signal::TERM).unwrap();
        broker.await_line("\"stopped\"");
        assert!(said(&broker)[0].contains("\"clean\":false"), "{io}: {:?}", said(&broker));
        assert_eq!(broker.stop(), Some(0), "{io}");

        // Still read-only: it says so and does not start.
        let output = command(&data, io).output().unwrap();
        let words = String::from_utf8(output.stderr).unwrap();
        assert_eq!(output.status.code(), Some(1), "{io}: {words}");
        assert!(words.contains("Read-only file system"), "{io}: {words}");
    }
}

/// The next start on a volume that can be written again finds everything.
#[test]
fn after_a_read_only_time_the_next_start_recovers() {
    let Some(backing) = Volume::tmpfs(64 * MIB) else { return };
    let Some(volume) = Volume::ext4(32 * MIB, Some(&backing), "errors=remount-ro") else { return };
    let broker = Process::start(&volume.path().join("data"), "auto");
    let mut client = Raw::connect(broker.address);
    assert_eq!(client.create_topic("logs", 1, &[]), OK);
    assert_eq!(client.produce("logs", 0, batch(1, 1000)).error, OK);
    let trigger = format!("/sys/fs/ext4/{}/trigger_fs_error", volume.device().trim_start_matches("/dev/"));
    if std::fs::write(&trigger, "told to by a test").is_err() {
        eprintln!("SKIPPED: {trigger} cannot be written");
        return;
    }
    assert_eq!(client.produce("logs", 0, batch(1, 1000)).error, storage_error());
    assert_eq!(broker.stop(), Some(0));
    drop((client, volume));
    let image = backing.path().join("image");
    // What an operator does before mounting such a volume again. It exits with 1 when it has corrected something.
    let _ = std::process::Command::new("fsck.ext4").arg("-fy").arg(&image).output().unwrap();
    let Some(volume) = Volume::again(&image) else { panic!("it was mounted before") };
    let broker = Process::start(&volume.path().join("data"), "auto");
    let mut client = Raw::connect(broker.address);
    assert_eq!(client.fetch_all("logs", 0).len(), 1);
    assert_eq!(client.produce("logs", 0, batch(1, 1000)), Produced { error: OK, base_offset: 1 });
    assert_eq!(broker.stop(), Some(0));
}

/// Leaves the hard limit, which not everybody may raise again. Gives the soft one as it was.
fn limit_files(broker: &Process, files: Option<u64>) -> Option<u64> {
    let maximum = rustix::process::getrlimit(Resource::Nofile).maximum;
    let limit = Rlimit { current: files, maximum };
    rustix::process::prlimit(Some(broker.pid()), Resource::Nofile, limit).unwrap().current
}

/// Nothing was wrong with the disk, but a full segment sealed its partition until a restart.
#[test]
fn too_many_open_files_refuse_what_needs_one_and_nothing_else() {
    for io in IO_KINDS {
        let dir = tempfile::tempdir().unwrap();
        let broker = Process::start(dir.path(), io);
        let mut client = Raw::connect(broker.address);
        assert_eq!(client.create_topic("logs", 1, &[("segment.bytes", "1048576")]), OK);
        assert_eq!(client.produce("logs", 0, batch(1, 1000)).error, OK);
        let before = limit_files(&broker, Some(3));
        let acknowledged = 1 + produce_until_refused(&mut client, "logs", 100_000);
        assert_eq!(client.fetch_all("logs", 0).len(), usize::try_from(acknowledged).unwrap(), "{io}");
        let (code, why) = client.try_create_topic("more", 1, &[]);
        assert!(code == storage_error() && why.contains("Too many open files"), "{io}: {code} {why}");
        assert_eq!(broker.said("partition sealed"), Vec::<String>::new(), "{io}");
        // One that cannot be accepted waits in the socket's queue.
        let waiting = std::net::TcpStream::connect(broker.address).unwrap();
        std::thread::sleep(Duration::from_millis(300));
        let attempts = broker.said("no connection can be accepted").len();
        assert!((1..10).contains(&attempts), "{io}: accepting was tried {attempts} times in 300 ms");
        drop(waiting);

        limit_files(&broker, before);
        let produced = produce_patiently(&mut client, "logs", 100_000);
        assert_eq!(produced, Produced { error: OK, base_offset: acknowledged }, "{io}");
        assert_eq!(client.create_topic("more", 1, &[]), OK, "{io}");
        drop(Raw::connect(broker.address));
        assert_eq!(broker.stop(), Some(0), "{io}");
    }
}

/// Bytes are left, but no inode: no mark sees that coming.
#[test]
fn a_file_system_without_room_for_another_file_refuses_what_needs_one() {
    let Some(volume) = Volume::of_few_files(40) else { return };
    let data = volume.path().join("data");
    let broker = Process::start_with(&data, "auto", &["--set", "ringmill.cores=1"]);
    let mut client = Raw::connect(broker.address);
    for topic in ["ballast", "logs"] {
        assert_eq!(client.create_topic(topic, 1, &[("segment.bytes", "1048576")]), OK);
        assert_eq!(client.produce(topic, 0, batch(1, 1000)).error, OK);
    }
    let acknowledged = 1 + produce_until_refused(&mut client, "logs", 100_000);
    assert_eq!(client.fetch_all("logs", 0).len(), usize::try_from(acknowledged).unwrap());
    let (code, why) = client.try_create_topic("more", 3, &[]);
    assert!(code == storage_error() && why.contains("No space left on device"), "{code} {why}");
    assert_eq!(broker.said("partition sealed"), Vec::<String>::new());
    assert_eq!(broker.said("nearly full"), Vec::<String>::new(), "there are bytes enough");
    assert_eq!(client.produce("ballast", 0, batch(1, 1000)).error, OK, "the other partition needs no new file");
    assert_eq!(client.delete_topic("ballast"), OK, "{:#?}", broker.said("WARN"));
    assert_eq!(produce_patiently(&mut client, "logs", 100_000).base_offset, acknowledged);
    assert_eq!(broker.stop(), Some(0));
}

/// `ulimit -f` cuts writes short and then refuses them, with a signal that ends a process which does not expect it.
#[test]
fn a_limit_on_the_size_of_files_refuses_what_is_beyond_it() {
    for io in IO_KINDS {
        let dir = tempfile::tempdir().unwrap();
        let broker = Process::start(dir.path(), io);
        let mut client = Raw::connect(broker.address);
        assert_eq!(client.create_topic("logs", 1, &[]), OK);
        let limit = Rlimit { current: Some(3 * MIB + 1000), maximum: Some(3 * MIB + 1000) };
        rustix::process::prlimit(Some(broker.pid()), Resource::Fsize, limit).unwrap();
        let acknowledged = produce_until_refused(&mut client, "logs", 100_000);
        assert_eq!(client.fetch_all("logs", 0).len(), usize::try_from(acknowledged).unwrap(), "{io}");
        assert_eq!(client.create_topic("more", 1, &[]), OK, "{io}: a small file is no matter");
        drop((client, broker));
        let broker = Process::start(dir.path(), io);
        let mut client = Raw::connect(broker.address);
        let found = client.fetch_all("logs", 0).len();
        assert!(found >= usize::try_from(acknowledged).unwrap(), "{io}: {found} of {acknowledged}");
    }
}

/// A bound may shrink only when the old one stands in a durable checkpoint.
#[test]
fn a_setting_that_needs_a_checkpoint_is_refused_when_none_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path(), "auto");
    let mut client = Raw::connect(broker.address);
    let caching = [("write.caching", "true"), ("flush.bytes", "8388608")];
    assert_eq!(client.create_topic("logs", 1, &caching), OK);
    assert_eq!(client.produce("logs", 0, batch(1, 1000)).error, OK);
    // In the way of the file that the next checkpoint is written to.
    let obstacles = (0..64).map(|core| dir.path().join(format!("recovery-checkpoint-{core}.tmp")));
    let obstacles: Vec<PathBuf> = obstacles.filter(|path| std::fs::create_dir(path).is_ok()).collect();
    let smaller = [("flush.bytes", SET, Some("4194304"))];
    let refused = change(&mut client, (TOPIC, "logs"), &smaller);
    assert_eq!(refused.0, storage_error(), "{refused:?}");
    assert!(refused.1.contains("checkpoint"), "{refused:?}");
    assert_eq!(configs::value(&mut client, (TOPIC, "logs"), "flush.bytes").0, "8388608");
    obstacles.iter().for_each(|path| std::fs::remove_dir(path).unwrap());
    assert_eq!(change(&mut client, (TOPIC, "logs"), &smaller).0, OK);
    assert_eq!(broker.stop(), Some(0));
}
