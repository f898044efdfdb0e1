//! What a seed chooses before anything happens: the themes of the run, its topics and how they are set, and how long it lives.

use ringmill_checker::Place;

use crate::client::TopicId;
use crate::compacting;
use crate::groups;
use crate::random::Random;
use crate::theme::Theme;

/// Themes of one run, at most.
const THEMES_MAX: u64 = 4;

/// How long lives last in which a broker is to notice that its disk works again.
const PATIENT_LIFE_MS_MAX: u64 = 2500;

/// The longest window that a run's `write.caching` topic states, in milliseconds.
const FLUSH_MS_MAX: u64 = 60;

/// A run before it begins.
#[derive(Debug)]
pub(crate) struct Plan {
    /// What it is about; sorted.
    pub(crate) themes: Vec<Theme>,
    /// What is made before the first fault, and never deleted.
    pub(crate) topics: Vec<PlannedTopic>,
    /// Lives of the broker before the last, in which everything is read.
    pub(crate) lives: u64,
    /// What brokers are set to beside what all are: names as in `--set`.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// Milliseconds that a life lasts at most.
    pub(crate) life_ms_max: u64,
}

/// A topic of the whole run.
#[derive(Clone, Debug)]
pub(crate) struct PlannedTopic {
    /// Its name.
    pub(crate) name: &'static str,
    /// Its partitions at the beginning.
    pub(crate) partitions: i32,
    /// What is set on it.
    pub(crate) settings: Vec<(&'static str, String)>,
    /// What may happen to its records.
    pub(crate) kind: Kind,
}

/// What may happen to a topic's records.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Kind {
    /// Retention removes the oldest.
    pub(crate) expires: bool,
    /// Somebody deletes records.
    pub(crate) is_deleted_from: bool,
    /// Answers come before the sync; what is older than so many milliseconds is safe.
    pub(crate) flush_ms: Option<u64>,
    /// Its segments close by age.
    pub(crate) rolls: bool,
    /// Some of its batches are so large that segments close by size.
    pub(crate) is_large: bool,
    /// It is compacted, and its records have keys.
    pub(crate) keys: Option<compacting::Keys>,
}

/// A topic that exists.
#[derive(Clone, Debug)]
pub(crate) struct Topic {
    /// Its name.
    pub(crate) name: &'static str,
    /// Which of that name.
    pub(crate) id: TopicId,
    /// Its number in the history.
    pub(crate) number: u32,
    /// How many partitions are used.
    pub(crate) partitions: i32,
    /// What may happen to its records.
    pub(crate) kind: Kind,
}

impl Topic {
    /// One of its partitions.
    #[must_use]
    pub(crate) fn place(&self, partition: i32) -> Place {
        Place { topic: self.number, partition }
    }
}

impl Plan {
    /// What `seed` chooses; `only` makes that theme its only one.
    #[must_use]
    pub(crate) fn of(seed: u64, only: Option<Theme>) -> Plan {
        // Another stream than the run's own, so that a run of one theme does not repeat a mixed one's beginning.
        let random = Random::new(seed ^ 0x05ee_d0fa_91a4);
        let mut themes = only.map_or_else(|| some_themes(&random), |theme| vec![theme]);
        if only == Some(Theme::Compact) {
            compacting::bring_along(&mut themes, &random);
        }
        let has = |theme: Theme| themes.binary_search(&theme).is_ok();
        let mut topics = vec![PlannedTopic::new("first", 2, Kind::default())];
        if has(Theme::Roll) || has(Theme::Rot) {
            let kind = Kind { rolls: true, is_large: random.one_in(8), ..Kind::default() };
            topics.push(PlannedTopic::new("rolls", 1, kind).rolling(&random));
        }
        if has(Theme::Retain) {
            let kind = Kind { expires: true, rolls: true, ..Kind::default() };
            let retained = ("retention.ms", (20 + random.below(150)).to_string());
            topics.push(PlannedTopic::new("ages", 1, kind).rolling(&random).with(retained));
        }
        if has(Theme::Delete) {
            let kind = Kind { is_deleted_from: true, rolls: true, ..Kind::default() };
            topics.push(PlannedTopic::new("shrinks", 1, kind).rolling(&random));
        }
        if has(Theme::Cache) {
            let flush_ms = 1 + random.below(FLUSH_MS_MAX);
            let kind = Kind { flush_ms: Some(flush_ms), ..Kind::default() };
            let caching = [("write.caching", "true".to_owned()), ("flush.ms", flush_ms.to_string())];
            topics.push(caching.into_iter().fold(PlannedTopic::new("hurries", 1, kind), PlannedTopic::with));
        }
        if has(Theme::Compact) {
            topics.push(compacting::planned(&random, has(Theme::Clock)));
        }
        // What is full is looked at about once a second.
        let is_patient = has(Theme::Full) && random.one_in(4);
        let life_ms_max = match () {
            () if is_patient => PATIENT_LIFE_MS_MAX,
            () if has(Theme::Groups) => groups::life_ms_max(&random),
            () if has(Theme::Compact) => compacting::life_ms_max(&random),
            () => random.pick(&[20, 80, 200]),
        };
        let settings = if has(Theme::Groups) { groups::settings(&random, has(Theme::Compact)) } else { Vec::new() };
        Plan { themes, topics, settings, lives: 2 + random.below(3), life_ms_max }
    }

    /// Whether the run is about this, too.
    #[must_use]
    pub(crate) fn has(&self, theme: Theme) -> bool {
        self.themes.binary_search(&theme).is_ok()
    }
}

fn some_themes(random: &Random) -> Vec<Theme> {
    let mut themes: Vec<Theme> = (0..=random.below(THEMES_MAX)).map(|_| random.pick(&Theme::ALL)).collect();
    themes.sort();
    themes.dedup();
    themes
}

impl PlannedTopic {
    pub(crate) fn new(name: &'static str, partitions: i32, kind: Kind) -> PlannedTopic {
        PlannedTopic { name, partitions, settings: Vec::new(), kind }
    }

    pub(crate) fn with(mut self, setting: (&'static str, String)) -> PlannedTopic {
        self.settings.push(setting);
        self
    }

    /// Segments close after some milliseconds, and have many index entries or few.
    fn rolling(self, random: &Random) -> PlannedTopic {
        self.with(("segment.ms", (10 + random.below(60)).to_string()))
            .with(("segment.bytes", (1 << 20).to_string()))
            .with(("index.interval.bytes", random.pick(&[0, 200, 4096]).to_string()))
    }
}
