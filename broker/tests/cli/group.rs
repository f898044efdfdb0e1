//! `ringmill group` and `ringmill consume --group`: what a group keeps, how its members share, and what is said when it cannot be done.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead, BufReader};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use serde_json::{Value, json};

use super::harness::{Broker, run};

/// How long a test waits for what must come.
const PATIENCE: Duration = Duration::from_secs(30);

/// Members are heard four times a second, and are missed after a second.
const QUICK: [&str; 8] = [
    "--set",
    "broker.group.consumer.min.heartbeat.interval.ms=250",
    "--set",
    "broker.group.consumer.heartbeat.interval.ms=250",
    "--set",
    "broker.group.consumer.min.session.timeout.ms=1000",
    "--set",
    "broker.group.consumer.session.timeout.ms=1000",
];

/// A broker with a topic `t` of so many partitions.
fn broker_with(partitions: &str) -> Broker {
    let broker = Broker::start_with(tempfile::tempdir().unwrap(), &QUICK);
    assert_eq!(broker.run(&["topic", "create", "t", "-p", partitions]).0, 0);
    broker
}

impl Broker {
    /// Numbers to a partition.
    fn numbers(&self, partition: u32, numbers: std::ops::Range<u32>) {
        let lines: String = numbers.map(|number| format!("{partition}-{number}\n")).collect();
        self.pipe(&["produce", "t", "-p", &partition.to_string()], lines.as_bytes());
    }

    fn json(&self, arguments: &[&str]) -> Value {
        let (code, out, error) = self.run(&[arguments, &["-o", "json"]].concat());
        assert_eq!(code, 0, "{arguments:?}: {error}");
        serde_json::from_str(&out).unwrap_or_else(|error| panic!("{error}: {out}"))
    }

    /// What a group has committed, by partition.
    fn committed(&self, group: &str) -> BTreeMap<i64, i64> {
        let described = self.json(&["group", "describe", group]);
        let position = |row: &Value| Some((row["partition"].as_i64().unwrap(), row["committed"].as_i64()?));
        described["partitions"].as_array().unwrap().iter().filter_map(position).collect()
    }

    /// Describes the group until it is as it should be.
    fn until(&self, group: &str, what: &str, is_so: impl Fn(&Value) -> bool) -> Value {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let (code, out, error) = self.run(&["group", "describe", group, "-o", "json"]);
            let described: Value = serde_json::from_str(&out).unwrap_or_default();
            if code == 0 && is_so(&described) {
                return described;
            }
            assert!(Instant::now() < deadline, "{what}: {described:#} {error}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

/// How many partitions each member has, the fewest first.
fn shares(described: &Value) -> Vec<i64> {
    let members = described["members"].as_array().map_or(&[][..], Vec::as_slice);
    let mut shares: Vec<i64> = members.iter().map(|member| member["partitions"].as_i64().unwrap()).collect();
    shares.sort_unstable();
    shares
}

/// A member that follows, and what it has printed.
struct Member {
    child: Child,
    printed: Arc<Mutex<Vec<String>>>,
}

impl Member {
    fn start(broker: &Broker, group: &str) -> Member {
        let mut command = broker.command(&["consume", "t", "--group", group, "--follow"]);
        let mut child = command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
        let printed = Arc::new(Mutex::new(Vec::new()));
        let (lines, into) = (BufReader::new(child.stdout.take().unwrap()).lines(), Arc::clone(&printed));
        std::thread::spawn(move || lines.map_while(Result::ok).for_each(|line| into.lock().unwrap().push(line)));
        Member { child, printed }
    }

    /// Its exit code and standard error.
    fn end(mut self, signal: Signal) -> (Option<i32>, String) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
        let mut error = String::new();
        std::io::Read::read_to_string(&mut self.child.stderr.take().unwrap(), &mut error).unwrap();
        (self.child.wait().unwrap().code(), error)
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        // Fails when it has ended already.
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Waits until all of them together have printed all of these.
fn expect_all(printed: &[&Arc<Mutex<Vec<String>>>], expected: &BTreeSet<String>) {
    let deadline = Instant::now() + PATIENCE;
    loop {
        let all: BTreeSet<String> = printed.iter().flat_map(|printed| printed.lock().unwrap().clone()).collect();
        if all == *expected {
            return;
        }
        let missing: Vec<_> = expected.difference(&all).take(5).collect();
        assert!(Instant::now() < deadline, "{} of {} came; not {missing:?}", all.len(), expected.len());
        std::thread::sleep(Duration::from_millis(20));
    }
}

fn all_numbers(partitions: u32, numbers: u32) -> BTreeSet<String> {
    (0..partitions).flat_map(|partition| (0..numbers).map(move |number| format!("{partition}-{number}"))).collect()
}

#[test]
fn a_group_goes_on_where_it_was() {
    let broker = broker_with("1");
    let consume = |more: &[&str]| {
        let (code, out, error) = broker.run(&[&["consume", "t", "--group", "g"], more].concat());
        assert_eq!((code, error.as_str()), (0, ""), "{more:?}");
        out
    };
    broker.numbers(0, 0..3);
    assert_eq!(consume(&[]), "0-0\n0-1\n0-2\n");
    assert_eq!(consume(&["--from", "earliest"]), "", "--from is for groups without a position");
    broker.numbers(0, 3..9);
    assert_eq!(consume(&["--max", "2"]), "0-3\n0-4\n");
    assert_eq!(broker.committed("g"), BTreeMap::from([(0, 5)]), "no more than was printed");
    assert_eq!(consume(&["--grep", "7"]), "0-7\n", "what does not match was looked at, too");
    assert_eq!(consume(&[]), "");
    assert_eq!(broker.committed("g"), BTreeMap::from([(0, 9)]));
    let described = broker.json(&["group", "describe", "g"]);
    assert_eq!((&described["type"], &described["state"]), (&json!("consumer"), &json!("Empty")));
    assert_eq!((&described["lag"], &described["members"]), (&json!(0), &json!([])));
    assert_eq!(
        broker.json(&["group", "list"]),
        json!([{"group": "g", "type": "consumer", "state": "Empty", "members": 0}])
    );
}

#[test]
fn a_group_without_a_position_begins_where_it_is_told_and_has_one_then() {
    let broker = broker_with("1");
    broker.numbers(0, 0..5);
    assert_eq!(broker.run(&["consume", "t", "--group", "late", "--from", "latest"]).1, "");
    assert_eq!(broker.committed("late"), BTreeMap::from([(0, 5)]));
    broker.numbers(0, 5..6);
    assert_eq!(broker.run(&["consume", "t", "--group", "late", "--from", "latest"]).1, "0-5\n");
    assert_eq!(broker.run(&["consume", "t", "--group", "last", "--from", "-2"]).1, "0-4\n0-5\n");
    broker.run(&["topic", "trim", "t", "--before", "3"]);
    let (code, out, error) = broker.run(&["group", "seek", "early", "t:0", "--to", "1", "-o", "json"]);
    assert!(code == 0 && error.contains("t-0 begins at offset 3"), "{code} {error}");
    let expected = json!([{"topic": "t", "partition": 0, "from": null, "to": 3, "lag": 3}]);
    assert_eq!(serde_json::from_str::<Value>(&out).unwrap(), expected);
}

#[test]
fn positions_are_set_to_every_kind_of_place_and_only_shown_in_a_dry_run() {
    let broker = broker_with("2");
    let line = |number: i64| format!("{{\"value\":\"{number}\",\"timestamp_ms\":{}}}\n", 1000 * number);
    for partition in ["0", "1"] {
        let lines: String = (0..10).map(line).collect();
        broker.pipe(&["produce", "t", "-p", partition, "--input", "json"], lines.as_bytes());
    }
    for (target, to, expected) in [
        ("t", "latest", [10, 10]),
        ("t:0", "4", [4, 10]),
        ("t:1", "earliest", [4, 0]),
        ("t", "1970-01-01T00:00:06Z", [6, 6]),
        ("t:0,1", "-3", [7, 7]),
        ("t", "1h-ago", [10, 10]),
    ] {
        let before = if target == "t" && to == "latest" { BTreeMap::new() } else { broker.committed("g") };
        let (code, out, error) = broker.run(&["group", "seek", "g", target, "--to", to, "--dry-run"]);
        assert!(code == 0 && error.contains("nothing was changed"), "{code} {out} {error}");
        if !before.is_empty() {
            assert_eq!(broker.committed("g"), before);
        }
        let (code, _, error) = broker.run(&["group", "seek", "g", target, "--to", to]);
        assert_eq!(code, 0, "{error}");
        let [first, second] = expected;
        assert_eq!(broker.committed("g"), BTreeMap::from([(0, first), (1, second)]), "{target} {to}");
    }
    for (arguments, code, expected) in [
        (&["g", "t", "--to", "3"][..], 2, "another place in each of the 2 partitions of t"),
        (&["g", "t:0", "--to", "11"], 5, "--to 11 lies behind the end of t-0, which is 10; nothing was changed"),
        (&["g", "t:7", "--to", "earliest"], 5, "t has no partition 7; it has 2, numbered from 0"),
        (&["g", "nope", "--to", "earliest"], 5, "UNKNOWN_TOPIC_OR_PARTITION"),
        (&["g", "t:x", "--to", "earliest"], 2, "as in t:0 or t:0,2"),
        (&["g", "t", "--to", "soon"], 2, "expected earliest, latest"),
    ] {
        let (exit, out, error) = broker.run(&[&["group", "seek"], arguments].concat());
        assert!(exit == code && out.is_empty() && error.contains(expected), "{arguments:?}: {exit} {out} {error}");
    }
    assert_eq!(broker.committed("g"), BTreeMap::from([(0, 10), (1, 10)]));
}

#[test]
fn members_share_the_partitions_and_whoever_leaves_hands_over() {
    let broker = broker_with("4");
    let (a, b) = (Member::start(&broker, "g"), Member::start(&broker, "g"));
    let described = broker.until("g", "two members with two partitions each", |group| shares(group) == [2, 2]);
    assert_eq!((&described["state"], &described["assignor"]), (&json!("Stable"), &json!("uniform")));
    let row = &described["partitions"][0];
    assert!(row["client"] == "ringmill" && row["host"] == "127.0.0.1", "{row}");
    (0..4).for_each(|partition| broker.numbers(partition, 0..50));
    let (from_a, from_b) = (Arc::clone(&a.printed), Arc::clone(&b.printed));
    expect_all(&[&from_a, &from_b], &all_numbers(4, 50));
    assert_eq!(a.end(Signal::INT), (Some(0), String::new()));
    broker.until("g", "one member with all", |group| shares(group) == [4]);
    (0..4).for_each(|partition| broker.numbers(partition, 50..60));
    expect_all(&[&from_a, &from_b], &all_numbers(4, 60));
    let count = from_a.lock().unwrap().len() + from_b.lock().unwrap().len();
    assert_eq!(count, 240, "nobody crashed, so nothing came twice");
    assert_eq!(b.end(Signal::TERM), (Some(0), String::new()));
    assert_eq!(broker.committed("g"), (0..4).map(|partition| (partition, 60)).collect());
}

#[test]
fn what_a_killed_member_had_is_read_by_the_others_and_nothing_is_left_out() {
    let broker = broker_with("3");
    let members: Vec<Member> = (0..3).map(|_| Member::start(&broker, "g")).collect();
    let printed: Vec<_> = members.iter().map(|member| Arc::clone(&member.printed)).collect();
    broker.until("g", "three members", |group| shares(group) == [1, 1, 1]);
    (0..3).for_each(|partition| broker.numbers(partition, 0..20));
    let mut members = members.into_iter();
    assert_eq!(members.next().unwrap().end(Signal::KILL).0, None);
    (0..3).for_each(|partition| broker.numbers(partition, 20..40));
    let printed: Vec<_> = printed.iter().collect();
    expect_all(&printed, &all_numbers(3, 40));
    broker.until("g", "two members", |group| shares(group) == [1, 2]);
    let late = Member::start(&broker, "g");
    broker.until("g", "three members again", |group| shares(group) == [1, 1, 1]);
    (0..3).for_each(|partition| broker.numbers(partition, 40..60));
    expect_all(&[&printed[..], &[&late.printed]].concat(), &all_numbers(3, 60));
}

#[test]
fn members_outlive_a_broker_that_is_killed() {
    let broker = broker_with("2");
    let member = Member::start(&broker, "g");
    broker.until("g", "a member with both", |group| shares(group) == [2]);
    (0..2).for_each(|partition| broker.numbers(partition, 0..20));
    expect_all(&[&member.printed], &all_numbers(2, 20));
    let broker = broker.kill_and_restart();
    (0..2).for_each(|partition| broker.numbers(partition, 20..40));
    expect_all(&[&member.printed], &all_numbers(2, 40));
    assert_eq!(member.end(Signal::INT).0, Some(0));
    assert_eq!(broker.committed("g"), BTreeMap::from([(0, 40), (1, 40)]));
}

#[test]
fn a_group_with_members_is_neither_moved_nor_deleted() {
    let broker = broker_with("1");
    let member = Member::start(&broker, "g");
    broker.until("g", "a member", |group| shares(group) == [1]);
    let (code, out, error) = broker.run(&["group", "seek", "g", "t", "--to", "earliest"]);
    assert!(code == 5 && out.is_empty(), "{code} {out}");
    assert!(error.contains("group g has an active member (ringmill at 127.0.0.1)"), "{error}");
    assert!(error.contains("stop it, then try again"), "{error}");
    let (code, _, error) = broker.run(&["group", "delete", "g"]);
    assert!(code == 5 && error.contains("delete group g: NON_EMPTY_GROUP"), "{code} {error}");
    assert!(error.contains("stop them first"), "{error}");
    let (_, out, _) = broker.run(&["group", "describe", "g"]);
    assert!(out.starts_with("g  consumer, Stable, epoch ") && out.contains(", 1 member, lag 0\n"), "{out}");
    assert!(out.contains("TOPIC  PARTITION  COMMITTED") && out.contains("MEMBER"), "{out}");
    assert_eq!(member.end(Signal::INT).0, Some(0));
    assert_eq!(broker.run(&["group", "seek", "g", "t", "--to", "earliest"]).0, 0);
    assert_eq!(broker.run(&["group", "delete", "g"]), (0, "deleted g\n".to_owned(), String::new()));
}

#[test]
fn groups_that_are_not_there_are_said_not_to_be() {
    let broker = broker_with("1");
    assert_eq!(broker.run(&["group", "list"]).1, "GROUP  TYPE  STATE  MEMBERS\n");
    for arguments in [&["group", "describe", "nope"][..], &["group", "delete", "nope"]] {
        let (code, out, error) = broker.run(arguments);
        assert!(code == 5 && out.is_empty() && error.contains("GROUP_ID_NOT_FOUND"), "{arguments:?}: {error}");
        assert!(error.contains("`ringmill group list` shows what there is"), "{error}");
    }
    let (code, out, _) = broker.run(&["group", "delete", "nope", "--if-exists"]);
    assert_eq!((code, out.as_str()), (0, "nope is not there\n"));
    let (code, _, error) = broker.run(&["group", "seek", "new", "t", "--to", "latest"]);
    assert!(code == 0 && error.contains("there was no group new before"), "{error}");
    assert_eq!(broker.json(&["group", "delete", "new", "nope", "--if-exists"])[1]["deleted"], false);
    let (code, _, error) = broker.run(&["consume", "nope", "--group", "g"]);
    assert!(code == 5 && error.contains("UNKNOWN_TOPIC_OR_PARTITION"), "{error}");
}

#[test]
fn what_makes_no_sense_in_a_group_is_refused() {
    for arguments in [&["--until", "latest"][..], &["--partition", "0"]] {
        let (code, _, error) = run(&[&["consume", "t", "--group", "g"], arguments].concat());
        assert!(code == 2 && error.contains("cannot be used with"), "{arguments:?}: {error}");
    }
}
