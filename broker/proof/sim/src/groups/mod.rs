//! Consumer groups of a run: members of both protocols that work through all lives of the broker, and what is known of them together.
//!
//! A member's process outlives the broker, or dies and comes back as another. It joins, keeps alive, commits ever larger offsets of what it
//! owns, falls silent for longer than its session, leaves, dies. Whatever it is told goes down in the history, where the checker
//! judges who owns what and which commits were taken; what only a simulation can know, for its clock is exact, is judged here: a
//! member that was silent for too long is out, and after the last crash every group can be worked with.

mod calls;
mod classic;
mod commits;
mod consumer;
#[cfg(test)]
mod loading_tests;
mod observer;
mod scratch;
mod topics;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ringmill_checker::Event;
use ringmill_net::wire::ErrorCode;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use crate::client::Client;
use crate::history::History;
use crate::life::Life;
use crate::machine::{DATA_DIR, Machine};
use crate::random::Random;
use commits::Commits;
use scratch::Scratch;
use topics::Topics;

/// The groups: their names, and whether they are of the consumer protocol.
const CLASSIC: &str = "classic";
const CONSUMER: &str = "newer";
const GROUPS: [(&str, bool); 2] = [(CLASSIC, false), (CONSUMER, true)];

/// How long a member may be silent.
const SESSION: Duration = Duration::from_millis(80);

/// How long a rebalance waits for a member, and how long it has to give partitions up: longer than a session, so that whoever is not
/// heard is out for that.
const REBALANCE: Duration = Duration::from_millis(200);

/// How late the broker may notice that a session is over, and how long something may still be under way on a cut connection.
const SESSION_SLACK: Duration = Duration::from_millis(80);

/// How long groups may take when nothing goes wrong: a coordinator to come, a group to let a member in, or to give it everything.
const JUDGED_WITHIN: Duration = Duration::from_secs(5);

/// Before a coordinator that only asks to come again is asked again.
const COME_AGAIN_AFTER: Duration = Duration::from_millis(5);

/// The topic that groups live in.
const OFFSETS_TOPIC: &str = "__consumer_offsets";
const TOPIC_RESOURCE: i8 = 2;
/// In a partition's directory: written at the end of a pass, with the offset up to which the log is clean.
const CLEANED_FILE: &str = "compaction";

/// All that outlives a life.
pub(crate) struct Groups {
    topics: Topics,
    commits: Commits,
    classic: Vec<Rc<classic::Member>>,
    consumer: Vec<Rc<consumer::Member>>,
    scratch: Rc<Scratch>,
    /// How often the broker had stopped in order when the last life began.
    clean_stops: Cell<u64>,
    /// What stood at the end of the last life in the files that say how far the partitions of their topic have been cleaned.
    cleaned: RefCell<BTreeMap<String, Vec<u8>>>,
}

/// What a broker of such a run is set to: names as in `--set`.
pub(crate) fn settings(random: &Random, compacts_anyway: bool) -> Vec<(&'static str, String)> {
    let session_ms = SESSION.as_millis().to_string();
    let mut settings = vec![
        ("broker.group.min.session.timeout.ms", "1".to_owned()),
        ("broker.group.initial.rebalance.delay.ms", random.pick(&[0, 3, 30]).to_string()),
        ("broker.group.consumer.min.session.timeout.ms", "1".to_owned()),
        ("broker.group.consumer.session.timeout.ms", session_ms),
        ("broker.group.consumer.min.heartbeat.interval.ms", "1".to_owned()),
        ("broker.group.consumer.heartbeat.interval.ms", "5".to_owned()),
        ("broker.group.consumer.assignment.interval.ms", random.pick(&[0, 0, 15]).to_string()),
        ("broker.offsets.topic.num.partitions", random.pick(&[1, 2, 5]).to_string()),
    ];
    if !compacts_anyway {
        settings.push(("broker.log.cleaner.backoff.ms", random.pick(&[3, 20, 15_000]).to_string()));
    }
    settings
}

/// Milliseconds that a life lasts at most: sessions end in some.
pub(crate) fn life_ms_max(random: &Random) -> u64 {
    random.pick(&[80, 200, 200, 600, 600, 2500])
}

impl Groups {
    /// Topics for groups to read, and members that have not joined yet. In some runs the topic that groups live in is there from the
    /// beginning, with segments that close by age, so that it is compacted.
    pub(crate) async fn set_up(client: &Client, history: &History, random: &Random) -> Rc<Groups> {
        for (group, is_consumer) in GROUPS {
            history.record(Event::Group { group: group.to_owned(), is_consumer });
        }
        let topics = Topics::set_up(client, history).await;
        if random.one_in(2) {
            let until = Instant::now() + JUDGED_WITHIN;
            while let Err(error) = client.find_coordinator(CLASSIC).await.expect("the connection holds") {
                come_again(CLASSIC, error, Some(until)).await;
            }
            let of = (TOPIC_RESOURCE, OFFSETS_TOPIC);
            let settings = [("segment.ms", 10 + random.below(60)), ("segment.bytes", 1 << 20)];
            for (name, value) in settings {
                let set = client.set_config(of, name, &value.to_string()).await.expect("the connection holds");
                set.expect("nothing has gone wrong yet");
            }
        }
        let static_name = |kind: &str, number: u64| (number % 2 == 1).then(|| format!("{kind}-{number}"));
        let members =
            |kind: &'static str| (0..1 + random.below(3)).map(move |number| (number, static_name(kind, number)));
        Rc::new(Groups {
            topics,
            commits: Commits::default(),
            classic: members("old").map(|(_, name)| Rc::new(classic::Member::new(name, random))).collect(),
            consumer: members("new").map(|(_, name)| Rc::new(consumer::Member::new(name, random))).collect(),
            scratch: Rc::default(),
            clean_stops: Cell::new(0),
            cleaned: RefCell::default(),
        })
    }

    /// Sends everybody to a broker that has just started.
    pub(crate) fn send(self: &Rc<Self>, life: &Rc<Life>, clients: &mut JoinSet<()>, random: &Random) {
        let clean_stops = life.history.counts().get("stopped cleanly").copied().unwrap_or(0);
        let was_clean = self.clean_stops.replace(clean_stops) < clean_stops;
        let all = || (Rc::clone(self), Rc::clone(life), random.fork());
        for member in &self.consumer {
            // Before anybody can be told anything: what a member still owns is its own for so long.
            let (groups, life, _) = all();
            clients.spawn_local(Rc::clone(member).watch_session(groups, life));
        }
        for member in &self.consumer {
            let (groups, life, random) = all();
            clients.spawn_local(Rc::clone(member).run(groups, life, random));
        }
        for member in &self.classic {
            let (groups, life, random) = all();
            clients.spawn_local(Rc::clone(member).run(groups, life, random));
        }
        let (groups, life, random) = all();
        clients.spawn_local(observer::run(groups, life, random, !was_clean));
        let (groups, life, random) = all();
        clients.spawn_local(topics::change(groups, life, random));
        let (groups, life, random) = all();
        clients.spawn_local(scratch::run(groups, life, random));
    }

    /// Whether the topic that groups live in was compacted while they lived, as its files show it when a life has ended.
    pub(crate) fn look_at_files(&self, machine: &Machine, history: &History) {
        let root = Path::new(DATA_DIR);
        let names = machine.simulation.names(root).into_iter();
        for name in names.filter(|name| name.starts_with(OFFSETS_TOPIC)) {
            let dir = root.join(&name);
            if !machine.simulation.names(&dir).iter().any(|name| name == CLEANED_FILE) {
                continue;
            }
            // A disk that fails reads fails this one, too.
            let Ok(cleaned) = read(machine, &dir.join(CLEANED_FILE)) else { continue };
            if self.cleaned.borrow_mut().insert(name, cleaned.clone()).is_none_or(|before| before != cleaned) {
                history.count("topic of groups compacted");
            }
        }
    }

    /// After the last crash, on a sound disk: every committed offset is there, and every group can be worked with.
    pub(crate) async fn judge(&self, life: &Life, random: &Random) {
        let client = life.running.connect(2);
        let until = Instant::now() + JUDGED_WITHIN;
        observer::look_at_all(self, &client, life, Some(until)).await.expect("the connection holds");
        while let Err(error) = self.scratch.look(self, &client, life).await.expect("the connection holds") {
            come_again(scratch::SCRATCH, error, Some(until)).await;
        }
        classic::judge(self, &client, life, random).await;
        consumer::judge(self, &client, life, random).await;
    }
}

/// Whether nothing goes wrong in this life, so that what is asked of a group is answered.
fn is_sound(life: &Life) -> bool {
    !life.mood.fails && !life.mood.reads_fail
}

/// Whether the coordinator only asks to come again.
fn is_passing(code: ErrorCode) -> bool {
    matches!(code, ErrorCode::CoordinatorLoadInProgress | ErrorCode::CoordinatorNotAvailable)
}

/// Waits a little for a coordinator that only asks to come again. Where nothing goes wrong there is a time by which it must have come.
async fn come_again(group: &str, error: ErrorCode, until: Option<Instant>) {
    assert!(until.is_none_or(|until| Instant::now() < until), "{group}: its coordinator never comes, it says {error}");
    sleep(COME_AGAIN_AFTER).await;
}

fn read(machine: &Machine, path: &Path) -> io::Result<Vec<u8>> {
    let file = machine.simulation.file(path)?;
    let mut bytes = vec![0; usize::try_from(file.len()?).expect("it has a few bytes")];
    file.read_at(0, &mut bytes)?;
    Ok(bytes)
}

/// For a setting of a request.
fn millis_of(time: Duration) -> i32 {
    i32::try_from(time.as_millis()).expect("a time of a simulation is short")
}
