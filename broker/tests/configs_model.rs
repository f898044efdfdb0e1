//! Random changes of settings against a model of a few lines: which value is in effect, where it comes from, and what stays as it is
//! when a change is refused. Restarts lie between the changes.

mod configs;
mod raw;

use std::collections::BTreeMap;

use configs::{BROKER, Change, DELETE, SET, TOPIC, describe, incrementally, replace};
use raw::{Raw, config_with};
use ringmill::Broker;

/// A setting: the topic's name, the broker's, values that both take, and one that neither does.
type Row = (&'static str, &'static str, [&'static str; 3], &'static str);

const ROWS: [Row; 4] = [
    ("retention.ms", "log.retention.ms", ["-1", "100000000", "200000000"], "-2"),
    ("segment.ms", "log.roll.ms", ["60000", "70000", "80000"], "0"),
    ("message.timestamp.type", "log.message.timestamp.type", ["CreateTime", "LogAppendTime", "CreateTime"], "Never"),
    ("max.message.bytes", "message.max.bytes", ["1000", "2000", "3000"], "70000000"),
];

/// What the broker is started with, by topic name; the others have their built-in defaults.
const STARTED: (&str, &str) = ("segment.ms", "5000");

/// Where settings are set, strongest first, with the protocol's number for each as a source.
const LEVELS: [((i8, &str), i8); 3] = [((TOPIC, "logs"), 1), ((BROKER, "1"), 2), ((BROKER, ""), 3)];

/// What is set, by level and topic name.
type Model = [BTreeMap<&'static str, &'static str>; 3];

/// The numbers of a seed (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut mixed = self.0;
        mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        usize::try_from((mixed ^ (mixed >> 31)) % bound as u64).expect("below a usize")
    }
}

#[test]
fn values_and_sources_are_those_of_the_model_after_any_changes() {
    for seed in 0..4 {
        let dir = tempfile::tempdir().unwrap();
        let started = [("topic.segment.ms", STARTED.1)];
        let start = || Broker::start(config_with(dir.path(), "posix", &started)).expect("the broker starts");
        let mut broker = start();
        let mut client = Raw::connect(broker.address());
        assert_eq!(client.create_topic("logs", 1, &[]), 0);
        let (mut random, mut model) = (Random(seed), Model::default());
        for step in 0..60 {
            let when = format!("seed {seed}, step {step}");
            if random.below(15) == 0 {
                drop(client);
                assert!(broker.stop(), "{when}");
                broker = start();
                client = Raw::connect(broker.address());
            }
            change(&mut client, &mut random, &mut model, &when);
            check(&mut client, &model, &when);
        }
        broker.stop();
    }
}

/// Some changes of one resource: good ones, or good ones with a bad one among them, or ones that are only tried.
fn change(client: &mut Raw, random: &mut Random, model: &mut Model, when: &str) {
    let level = random.below(LEVELS.len());
    let (resource, _) = LEVELS[level];
    let name_of = |row: &Row| if level == 0 { row.0 } else { row.1 };
    let mut after = model[level].clone();
    let replaces = random.below(4) == 0;
    if replaces {
        after.clear();
    }
    let mut changes: Vec<Change<'_>> = Vec::new();
    for row in &ROWS {
        match random.below(8) {
            4.. => {}
            0 if !replaces => {
                changes.push((name_of(row), DELETE, None));
                after.remove(row.0);
            }
            number => {
                let value = row.2[number % 3];
                changes.push((name_of(row), SET, Some(value)));
                after.insert(row.0, value);
            }
        }
    }
    let is_bad = random.below(4) == 0;
    if is_bad {
        let row = &ROWS[random.below(ROWS.len())];
        changes.retain(|(name, ..)| *name != name_of(row));
        changes.insert(random.below(changes.len() + 1), (name_of(row), SET, Some(row.3)));
    }
    let validate_only = random.below(5) == 0;
    let (code, why) = if replaces {
        let values: Vec<_> = changes.iter().map(|(name, _, value)| (*name, *value)).collect();
        replace(client, resource, &values, validate_only)
    } else {
        incrementally(client, &[(resource.0, resource.1, &changes)], validate_only).remove(0)
    };
    assert_eq!(code == 0, !is_bad, "{when}: {changes:?} on {resource:?}: {why}");
    if !is_bad && !validate_only {
        model[level] = after;
    }
}

/// The topic and the broker show what the model says.
fn check(client: &mut Raw, model: &Model, when: &str) {
    let on_topic = describe(client, LEVELS[0].0, None).expect("the topic is there");
    let on_broker = describe(client, LEVELS[1].0, None).expect("so is the broker");
    for (topic_name, broker_name, ..) in ROWS {
        let at_start = if topic_name == STARTED.0 { (STARTED.1.to_owned(), 4) } else { (default(topic_name), 5) };
        let effective = |levels: std::ops::Range<usize>| {
            let set = levels.filter_map(|level| Some(((*model[level].get(topic_name)?).to_owned(), LEVELS[level].1)));
            set.into_iter().next().unwrap_or_else(|| at_start.clone())
        };
        let shown = |shown: &configs::Shown| (shown.value.clone().expect("it has a value"), shown.source);
        assert_eq!(shown(&on_topic[topic_name]), effective(0..3), "{when}: {topic_name}");
        assert_eq!(shown(&on_broker[broker_name]), effective(1..3), "{when}: {broker_name}");
    }
    let cluster: Vec<_> = describe(client, LEVELS[2].0, None).expect("so are all brokers").into_keys().collect();
    let mut expected: Vec<_> = ROWS.iter().filter(|row| model[2].contains_key(row.0)).map(|row| row.1).collect();
    expected.sort_unstable();
    assert_eq!(cluster, expected, "{when}");
}

fn default(topic_name: &str) -> String {
    use ringmill::config::setting::Section;
    ringmill::config::tables::find(Section::Topic, topic_name).expect("the table has it").default.to_owned()
}
