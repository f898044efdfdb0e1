//! `ringmill log`: what verify says of a damaged data directory, and that a repaired one is served again.

use std::fs;
use std::path::{Path, PathBuf};

use rustix::process::Signal;

use super::harness::{Broker, run};

const SEGMENT: &str = "logs-0/00000000000000000000.log";

/// A broker that has three batches of a hundred lines and was stopped; its data directory.
fn stopped() -> (Broker, PathBuf) {
    let mut broker = Broker::start();
    for round in 0..3 {
        let lines: String = (0..100).map(|number| format!("line {}\n", round * 100 + number)).collect();
        broker.pipe(&["produce", "logs"], lines.as_bytes());
    }
    assert_eq!(broker.signal(Signal::TERM), Some(0));
    let data_dir = broker.dir.path().join("data");
    (broker, data_dir)
}

fn flip(file: &Path, at: usize) {
    let mut bytes = fs::read(file).unwrap();
    bytes[at] ^= 1;
    fs::write(file, bytes).unwrap();
}

fn log(command: &[&str], path: &Path) -> (i32, String, String) {
    run(&[&["log"], command, &[path.to_str().unwrap()]].concat())
}

/// Where the batches of a segment begin.
fn positions(segment: &Path) -> Vec<usize> {
    let (_, out, _) = log(&["dump", "-o", "json"], segment);
    let batch = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["position"].as_u64().unwrap();
    out.lines().map(|line| usize::try_from(batch(line)).unwrap()).collect()
}

fn serve_again(mut broker: Broker) -> Broker {
    let dir = std::mem::replace(&mut broker.dir, tempfile::tempdir().unwrap());
    Broker::start_in(dir)
}

#[test]
fn a_damaged_directory_is_named_shown_repaired_and_served() {
    let (broker, data_dir) = stopped();
    let segment = data_dir.join(SEGMENT);
    let positions = positions(&segment);
    assert!(positions.len() >= 3, "{positions:?}");
    flip(&segment, positions[1] + 80);
    flip(&data_dir.join("recovery-checkpoint-0"), 17);
    flip(&data_dir.join("logs-0/partition.meta"), 20);
    flip(&data_dir.join("superblock"), 33);
    let damaged = fs::read(&segment).unwrap();

    let (code, out, error) = log(&["verify"], &data_dir);
    assert_eq!(code, 6, "{out} {error}");
    for (kind, meaning) in
        [("damage: ", "at byte"), ("checkpoint: ", "scans"), ("meta: ", "(56)"), ("superblock: ", "does not start")]
    {
        assert!(out.contains(kind) && out.contains(meaning), "{kind}: {out}");
    }
    let (code, out, _) = log(&["verify", "-o", "json"], &data_dir);
    let found: serde_json::Value = serde_json::from_str(&out).unwrap();
    assert_eq!((code, found["problems"].as_array().unwrap().len()), (6, 4), "{out}");

    // Without the flag nothing happens.
    let (code, out, error) = log(&["repair"], &data_dir);
    assert!(code == 6 && out.contains("LOST") && error.contains("--apply"), "{code} {out} {error}");
    assert!(fs::read(&segment).unwrap() == damaged && !data_dir.join("before-repair.1").exists());

    let (code, out, error) = log(&["repair", "--apply", "-o", "json"], &data_dir);
    assert_eq!((code, error.as_str()), (0, ""), "{out}");
    let done: serde_json::Value = serde_json::from_str(&out).unwrap();
    let lost = &done["actions"]
        .as_array()
        .unwrap()
        .iter()
        .find(|action| action["file"].as_str().unwrap().ends_with(".log"))
        .unwrap()["findings"][0];
    assert_eq!(lost["position"], positions[1], "{out}");
    assert!(fs::read(data_dir.join("before-repair.1").join(SEGMENT)).unwrap() == damaged);
    assert_eq!(log(&["verify"], &data_dir).0, 0);
    let (code, out, _) = log(&["repair", "--apply"], &data_dir);
    assert_eq!((code, out.as_str()), (0, "nothing is to be repaired\n"));

    let broker = serve_again(broker);
    let served = broker.lines("logs", 1);
    let first_lost = usize::try_from(lost["first_lost_offset"].as_u64().unwrap()).unwrap();
    let behind = first_lost + usize::try_from(lost["lost_offsets"].as_u64().unwrap()).unwrap();
    let expected: Vec<String> = (0..first_lost).chain(behind..300).map(|number| format!("line {number}")).collect();
    assert_eq!(served, expected);
    let offsets: Vec<u64> = broker.records("logs").iter().map(|record| record["offset"].as_u64().unwrap()).collect();
    assert!(offsets.iter().zip((0..first_lost as u64).chain(behind as u64..300)).all(|(have, want)| *have == want));
    broker.pipe(&["produce", "logs"], b"and on\n");
}

#[test]
fn a_running_broker_is_not_repaired_and_verify_says_that_it_runs() {
    let broker = Broker::start();
    broker.pipe(&["produce", "logs"], b"one\n");
    let data_dir = broker.dir.path().join("data");
    let (code, out, error) = log(&["repair", "--apply"], &data_dir);
    assert!(code == 5 && out.is_empty() && error.contains("in use by process"), "{code} {out} {error}");
    assert!(error.contains("nothing was changed"), "{error}");
    let (code, _, error) = log(&["verify"], &data_dir);
    assert!(code == 0 && error.contains("the broker is running (process"), "{code} {error}");
    assert_eq!(broker.run(&["consume", "logs"]).1, "one\n");
}

#[test]
fn what_cannot_be_repaired_is_said() {
    let (_broker, data_dir) = stopped();
    let metadata = data_dir.join("metadata.redb");
    let whole = fs::read(&metadata).unwrap();
    fs::write(&metadata, &whole[..100]).unwrap();
    let (code, out, _) = log(&["verify"], &data_dir);
    assert!(code == 6 && out.contains("metadata: ") && out.contains("does not know its topics"), "{out}");
    let (code, out, _) = log(&["repair", "--apply"], &data_dir);
    assert!(code == 6 && out.contains("not repaired: metadata: ") && out.contains("backup"), "{out}");
    assert_eq!(fs::read(&metadata).unwrap().len(), 100);
    fs::write(&metadata, whole).unwrap();
    // A partition that the metadata counts and that is not there.
    fs::rename(data_dir.join("logs-0"), data_dir.join("elsewhere")).unwrap();
    let (code, out, _) = log(&["verify"], &data_dir);
    assert!(code == 6 && out.contains("its directory does not exist"), "{out}");
    assert_eq!(log(&["repair", "--apply"], &data_dir).0, 0);
    assert!(data_dir.join("logs-0/partition.meta").exists());
    let (code, _, error) = log(&["repair"], &data_dir.join("elsewhere/00000000000000000000.log"));
    assert!(code == 1 && error.contains("a file alone is not repaired"), "{error}");
}
