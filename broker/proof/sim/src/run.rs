//! One seed from its first topic to the judgement: lives of a broker with crashes between them, and at the end everything is read.

use std::cell::Cell;
use std::path::Path;
use std::rc::Rc;
use std::time::Duration;

use ringmill_checker::Event;
use ringmill_engine::disk::{SimOptions, Simulation};
use ringmill_net::wire::ErrorCode;
use tokio::task::{JoinSet, LocalSet};
use tokio::time::sleep;

use crate::actors::{self, Known};
use crate::client::{Client, TopicRef, Wanted};
use crate::compacting;
use crate::consumer::Consumer;
use crate::groups::Groups;
use crate::history::{Counts, History};
use crate::life::{Life, Mood};
use crate::machine::{DATA_DIR, Machine, Running};
use crate::plan::{Plan, Topic};
use crate::producer::Producer;
use crate::random::Random;
use crate::theme::Theme;

/// How much later than its stated window a record of a `write.caching` topic may become durable on a simulated device, which
/// takes its time.
const FLUSH_SLACK: Duration = Duration::from_millis(150);

/// While nothing else is wrong, the time of day jumps this far between two lives: idempotent producers expire.
const EXPIRING_JUMP_MS: i64 = 25 * 60 * 60 * 1000;

/// What a run is asked to do.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// Decides everything.
    pub seed: u64,
    /// The run's only theme, instead of those that the seed picks.
    pub only: Option<Theme>,
    /// Prints every event as it comes.
    pub keeps_log: bool,
}

/// What a run came to.
#[derive(Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Of the disk's events and of all that clients saw: equal for equal runs.
    pub trace: (u64, u64),
    /// How often each thing happened.
    pub counts: Counts,
}

thread_local! {
    /// Panics on this thread: those of tasks would pass unseen.
    static PANICS: Cell<u32> = const { Cell::new(0) };
}

/// Counts panics of this process's threads from here on, so that a run notices those of the broker's tasks. Says what `say` is told.
pub fn watch_panics(say: impl Fn(&std::panic::PanicHookInfo<'_>) + Send + Sync + 'static) {
    std::panic::set_hook(Box::new(move |info| {
        PANICS.set(PANICS.get() + 1);
        say(info);
    }));
}

/// Runs a seed.
///
/// # Panics
/// When a law is broken, or the broker panics and [`watch_panics`] was called.
#[must_use]
pub fn run(asked: Asked) -> Outcome {
    let before = PANICS.get();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
    let outcome = runtime.expect("a runtime without I/O needs nothing").block_on(Run::live(asked));
    assert_eq!(PANICS.get(), before, "a task of the broker panicked");
    outcome
}

/// All that outlives a life.
struct Run {
    plan: Rc<Plan>,
    machine: Rc<Machine>,
    history: Rc<History>,
    topics: Vec<Topic>,
    producers: Vec<Rc<Producer>>,
    known: Rc<Known>,
    /// In a run that is about them.
    groups: Option<Rc<Groups>>,
    random: Random,
}

impl Run {
    async fn live(asked: Asked) -> Outcome {
        let plan = Rc::new(Plan::of(asked.seed, asked.only));
        let options = SimOptions { keep_log: asked.keeps_log, ..SimOptions::default() };
        let simulation = Simulation::new(asked.seed, options);
        let history = Rc::new(History::new(asked.keeps_log.then(|| simulation.clone())));
        history.note(format!("{plan:?}"));
        let run = Run::set_up(asked.seed, plan, simulation, history).await;
        for _ in 0..run.plan.lives {
            run.one_life().await;
        }
        run.machine.simulation.set_options(SimOptions::default());
        LocalSet::new().run_until(run.judge()).await;
        run.history.count_compacted();
        for theme in &run.plan.themes {
            run.history.count(theme.name());
        }
        Outcome { trace: (run.machine.simulation.trace_hash(), run.history.trace_hash()), counts: run.history.counts() }
    }

    /// A broker with topics and nothing in them, stopped cleanly.
    async fn set_up(seed: u64, plan: Rc<Plan>, simulation: Simulation, history: Rc<History>) -> Run {
        let local = LocalSet::new();
        let made = local.run_until(async {
            let machine = Machine::new(seed, simulation).await;
            if plan.has(Theme::Compact) {
                machine.settings.replace(compacting::machine_settings(&machine.random));
            }
            machine.settings.borrow_mut().extend(plan.settings.iter().cloned());
            let running = machine.boot().await.expect("nothing has gone wrong yet");
            let client = running.connect(seed);
            let mut topics = Vec::new();
            for planned in &plan.topics {
                let caching = planned.kind.flush_ms.map(|flush_ms| Duration::from_millis(flush_ms) + FLUSH_SLACK);
                let number = history.announce_topic(planned.name, caching, planned.kind.expires);
                compacting::announce(&history, number, &planned.kind);
                let id = client.create_topic(planned.name, planned.partitions, &planned.settings).await;
                let id = id.expect("the connection holds").expect("nothing has gone wrong yet");
                let (name, partitions, kind) = (planned.name, planned.partitions, planned.kind);
                history.record(Event::TopicMade { topic: number });
                topics.push(Topic { name, id, number, partitions, kind });
            }
            let groups = match plan.has(Theme::Groups) {
                true => Some(Groups::set_up(&client, &history, &machine.random).await),
                false => None,
            };
            drop(client);
            assert!(running.stop().await, "nothing has gone wrong yet");
            (machine, topics, groups)
        });
        let (machine, topics, groups) = made.await;
        let random = machine.random.fork();
        let mut producers = Vec::new();
        for topic in &topics {
            for partition in 0..topic.partitions {
                let both = [true, false].map(|idempotent| Producer::new(topic, partition, idempotent, &random));
                producers.extend(both.map(Rc::new));
            }
        }
        let (machine, known) = (Rc::new(machine), Rc::default());
        Run { plan, machine, history, topics, producers, known, groups, random }
    }

    /// Boots, works, and ends in one of three ways, at any moment: the boot and the stop are not spared.
    async fn one_life(&self) {
        let mood = Mood::of(&self.plan, &self.random);
        self.machine.simulation.set_options(mood.options.clone());
        if mood.fails || mood.reads_fail {
            self.history.record(Event::Faults { on: true });
        }
        let lasts = Duration::from_millis(1 + self.random.below(self.plan.life_ms_max));
        let stops = self.random.one_in(4);
        let local = LocalSet::new();
        let lived = local.run_until(async {
            let working = self.work(mood, stops.then_some(lasts));
            tokio::select! {
                biased;
                () = working => {}
                () = sleep(lasts), if !stops => {}
            }
        });
        lived.await;
        self.look_at_files();
        // Before the tasks are dropped: a dead process does not tidy up.
        self.history.stops_syncing();
        if stops || self.random.one_in(2) {
            self.machine.simulation.crash_process();
            self.history.record(Event::Killed);
            self.history.count(if stops { "ended by itself" } else { "killed" });
        } else {
            self.machine.simulation.crash_power();
            self.history.record(Event::PowerCut);
            self.history.count("power cut");
        }
        drop(local);
        self.while_down();
    }

    /// What happens to a machine on which no broker runs.
    fn while_down(&self) {
        compacting::look_at_wreck(&self.machine, &self.history);
        if self.plan.has(Theme::Rot) && self.random.one_in(2) {
            let topic = self.topic("rolls").expect("a run with rot has it");
            actors::rot_once(topic, &self.machine, &self.history, &self.random);
        }
        if self.plan.has(Theme::Clock) && self.random.one_in(3) {
            // What waits for a repeat would be taken for new.
            self.producers.iter().for_each(|producer| producer.renew());
            self.machine.jump_ms(EXPIRING_JUMP_MS);
            self.history.count("producers expired");
        }
    }

    fn topic(&self, name: &str) -> Option<&Topic> {
        self.topics.iter().find(|topic| topic.name == name)
    }

    /// Where the topics end that may have lost something, before anything new is written to them.
    async fn look_at_caching(&self, running: &Running, exact: bool) {
        let client = running.connect(1);
        for topic in self.topics.iter().filter(|topic| topic.kind.flush_ms.is_some()) {
            let asked = self.history.now();
            let wanted = Wanted { partition: 0, offset: 0, wait_ms: 0, bytes_max: 1 };
            let fetched = client.fetch(TopicRef::Id(topic.id), wanted).await.expect("the connection holds");
            if fetched.error == ErrorCode::None {
                self.history.recovered(topic.place(0), asked, &fetched, exact && !self.may_ever_fail());
            }
        }
    }

    /// Whether a disk of this run fails in any of its lives.
    fn may_ever_fail(&self) -> bool {
        [Theme::Errors, Theme::Full, Theme::ReadErrors, Theme::Metadata].into_iter().any(|theme| self.plan.has(theme))
    }

    /// Serves until told to stop, if ever.
    async fn work(&self, mood: Mood, stop_after: Option<Duration>) {
        let may_fail = mood.fails || mood.reads_fail;
        let running = match self.machine.boot().await {
            Ok(running) => running,
            Err(error) => {
                assert!(may_fail, "the broker does not start: {}", error.0);
                self.history.note(error.0);
                return self.history.count("did not boot");
            }
        };
        self.history.count("booted");
        self.history.record(Event::Booted);
        self.look_at_caching(&running, !may_fail).await;
        let (history, machine) = (Rc::clone(&self.history), Rc::clone(&self.machine));
        let life = Rc::new(Life::new(running, history, machine, mood, Rc::clone(&self.plan)));
        let mut clients = JoinSet::new();
        self.send_clients(&life, &mut clients);
        let ended = async {
            match clients.join_next().await {
                Some(Err(panicked)) => std::panic::resume_unwind(panicked.into_panic()),
                ended => unreachable!("clients work for ever: {ended:?}"),
            }
        };
        let stopped = async {
            tokio::select! {
                biased;
                why = life.running.failed() => {
                    self.history.note(why);
                    self.history.count("metadata failed");
                }
                () = wait(stop_after) => {}
            }
            let clean = life.running.stop().await;
            assert!(clean || may_fail || self.has_rot(), "a stop after which nothing had failed is not clean");
            if clean {
                self.history.record(Event::Stopped);
            }
            self.history.count(if clean { "stopped cleanly" } else { "stopped uncleanly" });
        };
        tokio::select! {
            biased;
            () = ended => {}
            () = stopped => {}
        }
    }

    fn has_rot(&self) -> bool {
        self.plan.has(Theme::Rot)
    }

    fn send_clients(&self, life: &Rc<Life>, clients: &mut JoinSet<()>) {
        let random = &self.random;
        for producer in &self.producers {
            clients.spawn_local(Rc::clone(producer).run(Rc::clone(life), random.fork()));
        }
        for topic in &self.topics {
            for partition in 0..topic.partitions {
                clients.spawn_local(Consumer::new(topic, partition, random).run(Rc::clone(life), random.fork()));
            }
        }
        let (life, known) = (|| Rc::clone(life), || Rc::clone(&self.known));
        let topic = |name: &str| self.topic(name).expect("the plan has it").clone();
        for theme in &self.plan.themes {
            match theme {
                Theme::Polls => {
                    for _ in 0..3 {
                        let polls = Consumer::new(&topic("first"), 0, random).in_long_polls();
                        clients.spawn_local(polls.run(life(), random.fork()));
                    }
                }
                Theme::Delete => {
                    drop(clients.spawn_local(actors::delete_records(topic("shrinks"), life(), random.fork())))
                }
                Theme::Churn => drop(clients.spawn_local(actors::churn(known(), life(), random.fork()))),
                Theme::Grow => drop(clients.spawn_local(actors::grow(known(), life(), random.fork()))),
                Theme::Settings => drop(clients.spawn_local(actors::change_settings(known(), life(), random.fork()))),
                Theme::Full => drop(clients.spawn_local(actors::fill(life(), random.fork()))),
                Theme::Errors => drop(clients.spawn_local(actors::break_files(false, life(), random.fork()))),
                Theme::ReadErrors => drop(clients.spawn_local(actors::break_files(true, life(), random.fork()))),
                Theme::Metadata => drop(clients.spawn_local(actors::break_metadata(life(), random.fork()))),
                Theme::Rot => drop(clients.spawn_local(actors::rot(topic("rolls"), life(), random.fork()))),
                Theme::Compact => {
                    drop(clients.spawn_local(compacting::harass(topic(compacting::NAME), life(), random.fork())))
                }
                Theme::Clock => drop(clients.spawn_local(actors::jump(life(), random.fork()))),
                Theme::Groups => self.groups.iter().for_each(|groups| groups.send(&life(), clients, random)),
                Theme::Roll | Theme::Retain | Theme::Cache | Theme::Network => {}
            }
        }
    }

    /// What a life has come to, as its files show it.
    fn look_at_files(&self) {
        compacting::look_at_files(&self.machine, &self.history);
        if let Some(groups) = &self.groups {
            groups.look_at_files(&self.machine, &self.history);
        }
        for topic in &self.topics {
            let names = self.machine.simulation.names(Path::new(&format!("{DATA_DIR}/{}-0", topic.name)));
            let logs = names.iter().filter(|name| name.ends_with(".log")).count();
            if logs > 1 {
                self.history.count("rolled");
            }
            if names.iter().any(|name| name.contains(".torn")) {
                self.history.count("torn tails set aside");
            }
        }
    }

    /// Boots a last time, on a disk that is whole again, and holds everything to what was promised.
    async fn judge(&self) {
        self.history.record(Event::Faults { on: false });
        let booted = self.machine.boot().await;
        let running = booted.unwrap_or_else(|error| panic!("the broker does not start on a sound disk: {}", error.0));
        self.history.record(Event::Booted);
        self.look_at_caching(&running, true).await;
        let (history, machine) = (Rc::clone(&self.history), Rc::clone(&self.machine));
        let life = Life::new(running, history, machine, Mood::default(), Rc::clone(&self.plan));
        let client = life.running.connect(0);
        let passing = actors::passing_topics(&client, &self.known, &life).await.expect("the connection holds");
        for topic in self.topics.iter().chain(&passing) {
            for partition in 0..topic.partitions {
                self.judge_partition(&client, topic, partition).await;
            }
        }
        drop(client);
        if let Some(groups) = &self.groups {
            groups.judge(&life, &self.random).await;
        }
        let clean = life.running.stop().await;
        assert!(clean || self.has_rot(), "the last stop is not clean");
    }

    /// Reads a partition from its start to its end, and says so.
    async fn judge_partition(&self, client: &Client, topic: &Topic, partition: i32) {
        let (place, history) = (topic.place(partition), &self.history);
        let consumer = history.announce_consumer();
        let fetch = async |offset| {
            let wanted = Wanted { partition, offset, wait_ms: 0, bytes_max: 1 << 20 };
            (history.now(), client.fetch(TopicRef::Id(topic.id), wanted).await.expect("the connection holds"))
        };
        let is_rotten = history.is_rotten(place);
        let (_, first) = fetch(0).await;
        if first.error == ErrorCode::KafkaStorageError {
            assert!(is_rotten, "{place:?} is not served on a sound disk");
            return history.count("quarantined while others served");
        }
        let (mut start, end) = (first.log_start, first.high_watermark);
        let mut offset = start;
        while offset < end {
            let (asked, fetched) = fetch(offset).await;
            let next = match fetched.error {
                ErrorCode::None => history.seen(consumer, place, asked, offset, &fetched),
                // Steps over what cannot be read have led past the end, or there is none that is known.
                ErrorCode::OffsetOutOfRange if is_rotten => break,
                ErrorCode::OffsetOutOfRange if topic.kind.expires => {
                    let now = client.log_start(topic.name, partition).await.expect("the connection holds");
                    start = now.expect("it has just been read");
                    start.max(offset + 1)
                }
                error => {
                    assert!(is_rotten, "{place:?}: a fetch at {offset} is answered with {error}");
                    history.count("damaged range passed");
                    offset + 1
                }
            };
            assert!(next > offset, "{place:?}: nothing at {offset}, and the end is {end}");
            offset = next;
        }
        if !is_rotten {
            history.record(Event::Whole { consumer, place, log_start: start, end });
        }
    }
}

async fn wait(time: Option<Duration>) {
    match time {
        Some(time) => sleep(time).await,
        None => std::future::pending().await,
    }
}
