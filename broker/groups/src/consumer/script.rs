//! Tests as scripts: on each line an event, and behind a bar what is expected of it.
//!
//! ```text
//! topic a 4                     a topic with four partitions, or one that grows to four; 0 removes it
//! wait 5000                     milliseconds pass
//! restart                       the group is loaded from its log
//! A joins a b | A@1 a:0,1       the answer: the member's epoch, and what it is to own; `-` nothing, nothing at all: as before
//! A beats | A@1
//! A owns a:0 | A@2              it reports what it owns
//! A reads b | A@3 b:0           it subscribes to something else
//! A leaves | A@-1
//! state | Stable 3/3            state, group epoch, epoch of the target assignment
//! ```
//!
//! A member's options stand behind its verb, as `name=value`: `epoch`, `regex`, `assignor`, `instance`, `timeout`, `version`, `owns`.
//! A member of the classic protocol is told its generation, its assignment, or that all is well:
//!
//! ```text
//! C classic-joins a owns=a:0 | C@3
//! C classic-syncs | a:0,1
//! C classic-beats | fine
//! C classic-leaves | fine
//! ```
//!
//! `full` sends all fields, as after an error. A member knows its epoch from the last answer.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::sync::Arc;

use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::consumer_group_heartbeat::{JOIN_EPOCH, LEAVE_EPOCH, LEAVE_STATIC_EPOCH};

use super::assignment::Assignment;
use super::check::UNCHANGED_MS;
use super::world::{ClassicClient, World};
use crate::request::{Client, ConsumerHeartbeat};
use crate::{Settings, Topics};

/// Of more partitions of a topic only the number is told.
const LISTED_MAX: usize = 100;

/// Runs a script; its own text with what really happened must be the script.
pub(super) fn check(script: &str) {
    check_with(Settings::default(), script);
}

/// The same with other settings.
pub(super) fn check_with(settings: Settings, script: &str) {
    let mut stage = Stage { world: World::new(), members: BTreeMap::new() };
    stage.world.settings = settings;
    let (mut expected, mut happened) = (String::new(), String::new());
    for line in script.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (event, outcome) =
            line.split_once('|').map_or((line, ""), |(event, outcome)| (event.trim(), outcome.trim()));
        writeln!(expected, "{event} | {outcome}").unwrap();
        let outcome = stage.run(event);
        writeln!(happened, "{event} | {outcome}").unwrap();
        stage.world.check_replay();
    }
    assert_eq!(happened, expected, "what happened (left) is not what was expected");
}

struct Stage {
    world: World,
    /// What each member knows.
    members: BTreeMap<String, Known>,
}

#[derive(Clone, Default)]
struct Known {
    epoch: i32,
    /// Of a member of the classic protocol.
    id: Option<Arc<str>>,
    instance: Option<Arc<str>>,
    names: Vec<Arc<str>>,
    regex: Option<Arc<str>>,
}

impl Stage {
    fn run(&mut self, event: &str) -> String {
        let words: Vec<&str> = event.split_whitespace().collect();
        match words[..] {
            ["topic", name, partitions] => self.world.set_topic(name, partitions.parse().unwrap()),
            ["wait", ms] => self.world.pass(ms.parse().unwrap()),
            ["restart"] => self.world.restart(),
            ["state"] => {
                let described = self.world.group.describe(&self.world.topics);
                return format!("{} {}/{}", described.state, described.group_epoch, described.assignment_epoch);
            }
            [member, verb, ..] if verb.starts_with("classic-") => return self.classic(member, verb, &words[2..]),
            [member, verb, ..] => return self.beat(member, verb, &words[2..]),
            _ => panic!("not an event: {event}"),
        }
        String::new()
    }

    fn beat(&mut self, member: &str, verb: &str, words: &[&str]) -> String {
        let mut known = self.members.get(member).cloned().unwrap_or_default();
        let options: BTreeMap<&str, &str> = words.iter().filter_map(|word| word.split_once('=')).collect();
        let plain: Vec<&str> = words.iter().copied().filter(|word| !word.contains('=') && *word != "full").collect();
        let option = |name: &str| options.get(name).map(|value| Arc::from(*value));
        let names = || plain.iter().map(|name| Arc::from(*name)).collect::<Vec<_>>();
        known.instance = option("instance").or(known.instance);
        let mut request = ConsumerHeartbeat {
            group: Arc::from("g"),
            member_id: Arc::from(member),
            member_epoch: known.epoch,
            instance_id: known.instance.clone(),
            rack_id: None,
            rebalance_timeout_ms: UNCHANGED_MS,
            subscribed_topic_names: None,
            subscribed_topic_regex: option("regex"),
            server_assignor: option("assignor"),
            topic_partitions: options.get("owns").map(|owned| self.partitions(owned)),
            client: Client { id: Arc::from("client"), host: Arc::from("/host") },
            version: options.get("version").map_or(1, |version| version.parse().unwrap()),
        };
        match verb {
            "joins" => {
                request.member_epoch = JOIN_EPOCH;
                request.rebalance_timeout_ms = 60_000;
                request.subscribed_topic_names = Some(names());
                request.topic_partitions.get_or_insert_default();
            }
            "beats" => {}
            "owns" => request.topic_partitions = Some(self.partitions(plain.first().unwrap_or(&"-"))),
            "reads" => request.subscribed_topic_names = Some(names()),
            "leaves" => request.member_epoch = LEAVE_EPOCH,
            "pauses" => request.member_epoch = LEAVE_STATIC_EPOCH,
            _ => panic!("not a verb: {verb}"),
        }
        known.names = request.subscribed_topic_names.clone().unwrap_or(known.names);
        known.regex = request.subscribed_topic_regex.clone().or(known.regex);
        if words.contains(&"full") {
            request.rebalance_timeout_ms = 60_000;
            request.subscribed_topic_names = Some(known.names.clone());
            request.subscribed_topic_regex.clone_from(&known.regex);
            request.topic_partitions.get_or_insert_default();
        }
        if let Some(timeout_ms) = options.get("timeout") {
            request.rebalance_timeout_ms = timeout_ms.parse().unwrap();
        }
        if let Some(epoch) = options.get("epoch") {
            request.member_epoch = epoch.parse().unwrap();
        }
        self.send(member, known, &request)
    }

    fn send(&mut self, member: &str, mut known: Known, request: &ConsumerHeartbeat) -> String {
        let outcome = self.world.step(|group, cx| group.heartbeat(cx, request));
        let beat = match outcome {
            Ok(beat) => beat,
            Err(refused) => return format!("{:?}", refused.code),
        };
        known.epoch = beat.member_epoch;
        self.members.insert(member.to_owned(), known);
        let told = format!("{}@{}", beat.member_id, beat.member_epoch);
        match beat.assignment {
            Some(assignment) => format!("{told} {}", self.shown(&assignment)),
            None => told,
        }
    }

    fn shown(&self, assignment: &Assignment) -> String {
        if assignment.is_empty() {
            return "-".to_owned();
        }
        let topic = |(topic, partitions): (&crate::TopicId, &Vec<i32>)| {
            let list: Vec<String> = partitions.iter().map(i32::to_string).collect();
            let list = if list.len() > LISTED_MAX { format!("{} of them", list.len()) } else { list.join(",") };
            format!("{}:{list}", self.world.topics.name(topic).unwrap_or("?"))
        };
        assignment.iter().map(topic).collect::<Vec<_>>().join(" ")
    }

    fn classic(&mut self, member: &str, verb: &str, words: &[&str]) -> String {
        let mut known = self.members.get(member).cloned().unwrap_or_default();
        let options: BTreeMap<&str, &str> = words.iter().filter_map(|word| word.split_once('=')).collect();
        let owned = options.get("owns").map(|owned| self.partitions(owned)).unwrap_or_default();
        known.instance = options.get("instance").map(|name| Arc::from(*name)).or(known.instance);
        let names: Vec<Arc<str>> =
            words.iter().filter(|word| !word.contains('=')).map(|name| Arc::from(*name)).collect();
        // A static member has the id that it was given, and at first none.
        let id = known.id.clone().unwrap_or_else(|| Arc::from(if known.instance.is_some() { "" } else { member }));
        let client = ClassicClient { id: &id, instance_id: known.instance.as_ref(), names: &names, owned: &owned };
        let generation = options.get("epoch").map_or(known.epoch, |epoch| epoch.parse().unwrap());
        let fine = |result: Result<(), ErrorCode>| result.map(|()| "fine".to_owned());
        let outcome = match verb {
            "classic-joins" => match self.world.join(&client) {
                Ok(joined) => {
                    known.epoch = joined.generation;
                    known.id = Some(Arc::clone(&joined.member_id));
                    Ok(format!("{member}@{}", joined.generation))
                }
                Err(refused) => Err(refused.code),
            },
            "classic-syncs" => self.world.sync(&client, generation).map(|assignment| self.shown(&assignment)),
            "classic-beats" => fine(self.world.classic_beat(&client, generation)),
            "classic-leaves" => fine(self.world.classic_leave(&client)),
            _ => panic!("not a verb: {verb}"),
        };
        self.members.insert(member.to_owned(), known);
        outcome.unwrap_or_else(|code| format!("{code:?}"))
    }

    /// `a:0,1;b:2`.
    fn partitions(&self, text: &str) -> Assignment {
        let mut partitions = Assignment::new();
        for topic in text.split(';').filter(|topic| *topic != "-") {
            let (name, list) = topic.split_once(':').unwrap();
            let (id, _) = self.world.topics.find(name).unwrap();
            partitions.insert(id, list.split(',').map(|partition| partition.parse().unwrap()).collect());
        }
        partitions
    }
}
