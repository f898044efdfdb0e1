//! What is in effect while the broker runs: the configuration it was started with, and over it what the admin protocol has set since.
//!
//! Precedence: set on this broker > set for all brokers > flag, environment, file > default. Only settings marked dynamic take part.
//! The metadata keeps [`DynamicSettings`] and puts a new [`RunningConfig`] into its image after each change.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::setting::{Origin, Section, Setting, Value};
use super::topic::{TopicConfigError, TopicDefaults};
use super::{BrokerConfig, broker_names, groups, tables};

/// What is set on one resource: values in their one spelling, by name.
pub type Settings = BTreeMap<String, String>;

/// For which brokers a setting is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// All of them.
    Cluster,
    /// This one.
    Broker,
}

/// What the admin protocol has set on the broker, by the broker's names.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DynamicSettings {
    /// For all brokers.
    pub cluster: Settings,
    /// For this one.
    pub broker: Settings,
}

impl DynamicSettings {
    /// What is set for `scope`.
    #[must_use]
    pub fn of(&self, scope: Scope) -> &Settings {
        match scope {
            Scope::Cluster => &self.cluster,
            Scope::Broker => &self.broker,
        }
    }

    /// The same with other settings for `scope`.
    #[must_use]
    pub fn with(&self, scope: Scope, settings: Settings) -> DynamicSettings {
        match scope {
            Scope::Cluster => DynamicSettings { cluster: settings, ..self.clone() },
            Scope::Broker => DynamicSettings { broker: settings, ..self.clone() },
        }
    }

    /// The value in effect, if any is set.
    fn strongest(&self, broker_name: &str) -> Option<(Origin, &str)> {
        let broker = self.broker.get(broker_name).map(|text| (Origin::DynamicBroker, text.as_str()));
        broker.or_else(|| self.cluster.get(broker_name).map(|text| (Origin::DynamicDefault, text.as_str())))
    }
}

/// A value and where it comes from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sourced<'a> {
    /// The value.
    pub text: &'a str,
    /// Where it comes from.
    pub origin: Origin,
}

/// A stored or wanted dynamic setting of the broker that cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("broker setting {name}: {why}")]
pub struct BrokerSettingError {
    /// Its name.
    pub name: String,
    /// What is wrong with it.
    pub why: String,
}

/// What is in effect now, of all that can change while the broker runs. Immutable; a change makes a new one.
#[derive(Clone, Debug, PartialEq)]
pub struct RunningConfig {
    dynamic: DynamicSettings,
    num_partitions: i32,
    compaction_bytes_per_second: u64,
    topic_defaults: Arc<TopicDefaults>,
    groups: Arc<ringmill_groups::Settings>,
    retention_hours: Option<String>,
    roll_hours: Option<String>,
}

impl RunningConfig {
    /// Lays `dynamic` over what the broker was started with.
    ///
    /// # Errors
    /// A name that is not dynamic, a value out of its range, or topic defaults that contradict each other: the first one found.
    pub fn resolve(started: &BrokerConfig, dynamic: DynamicSettings) -> Result<RunningConfig, BrokerSettingError> {
        for (name, text) in dynamic.cluster.iter().chain(&dynamic.broker) {
            let refuse = |why| BrokerSettingError { name: name.clone(), why };
            match broker_names::find(name) {
                Some(setting) if setting.dynamic => {
                    setting.check(text).map_err(|why| refuse(format!("{text:?} is refused: {why}")))?
                }
                Some(_) => return Err(refuse("it cannot change while the broker runs".to_owned())),
                None => return Err(refuse("no such setting".to_owned())),
            };
        }
        if !dynamic.cluster.is_empty() && !dynamic.broker.is_empty() {
            // What is set for all brokers must hold by itself, or what is set on this one could not be taken away again.
            let cluster_alone = DynamicSettings { broker: Settings::new(), ..dynamic.clone() };
            topic_defaults(started, &cluster_alone)?;
            group_settings(started, &cluster_alone)?;
        }
        let groups = Arc::new(group_settings(started, &dynamic)?);
        let topic_defaults = topic_defaults(started, &dynamic)?;
        let num_partitions = dynamic.strongest("num.partitions").map_or(started.num_partitions, |(_, text)| {
            text.parse().expect("the text was checked above, and the table bounds this setting to 32 bits")
        });
        let compaction_rate = dynamic.strongest("log.cleaner.io.max.bytes.per.second");
        let compaction_bytes_per_second =
            compaction_rate.map_or(started.compaction_bytes_per_second, |(_, text)| whole_number(text));
        let retention_hours = hours(topic_defaults.value_of("retention.ms"));
        let roll_hours = hours(topic_defaults.value_of("segment.ms"));
        Ok(RunningConfig {
            dynamic,
            num_partitions,
            compaction_bytes_per_second,
            topic_defaults,
            groups,
            retention_hours,
            roll_hours,
        })
    }

    /// What is set, apart from what the broker was started with.
    #[must_use]
    pub fn dynamic(&self) -> &DynamicSettings {
        &self.dynamic
    }

    /// `num.partitions`, at least 1.
    #[must_use]
    pub fn num_partitions(&self) -> i32 {
        self.num_partitions
    }

    /// `log.cleaner.io.max.bytes.per.second`, at least 1.
    #[must_use]
    pub fn compaction_bytes_per_second(&self) -> u64 {
        self.compaction_bytes_per_second
    }

    /// What a topic gets for a setting that is not set on it.
    #[must_use]
    pub fn topic_defaults(&self) -> &Arc<TopicDefaults> {
        &self.topic_defaults
    }

    /// What consumer groups go by.
    #[must_use]
    pub fn groups(&self) -> &Arc<ringmill_groups::Settings> {
        &self.groups
    }

    /// `log.retention.hours`, if retention is a whole number of hours.
    pub(super) fn retention_hours(&self) -> Option<&str> {
        self.retention_hours.as_deref()
    }

    /// `log.roll.hours`, if the time after which segments roll is a whole number of hours.
    pub(super) fn roll_hours(&self) -> Option<&str> {
        self.roll_hours.as_deref()
    }

    /// What a list has before words are added to it for the first time.
    pub(super) fn list_before(&self, setting: &'static Setting) -> &str {
        match setting.section {
            Section::Topic => self.topic_defaults.value_of(setting.name),
            // None of these that can change is a list.
            Section::Broker | Section::Ringmill => setting.default,
        }
    }

    /// All values that a broker's setting has, the one in effect first and the built-in default last. `started` is the value that
    /// the broker was started with.
    #[must_use]
    pub fn sources<'a>(&'a self, broker_name: &str, started: &'a Value) -> Vec<Sourced<'a>> {
        let dynamic = &self.dynamic;
        let on_broker = dynamic.broker.get(broker_name).map(|text| Sourced { text, origin: Origin::DynamicBroker });
        let on_cluster = dynamic.cluster.get(broker_name).map(|text| Sourced { text, origin: Origin::DynamicDefault });
        let origin = started.place.origin();
        let at_start = (origin != Origin::Default).then_some(Sourced { text: &started.text, origin });
        let default = Sourced { text: started.setting.default, origin: Origin::Default };
        on_broker.into_iter().chain(on_cluster).chain(at_start).chain([default]).collect()
    }
}

fn topic_defaults(started: &BrokerConfig, dynamic: &DynamicSettings) -> Result<Arc<TopicDefaults>, BrokerSettingError> {
    let set = tables::TOPIC.iter().filter_map(|setting| {
        let (origin, text) = dynamic.strongest(broker_names::of(setting)?)?;
        Some((setting.name, text, origin))
    });
    match set.clone().next() {
        Some(_) => started.topic_defaults.with(set).map(Arc::new).map_err(|error| in_broker_words(&error)),
        None => Ok(Arc::clone(&started.topic_defaults)),
    }
}

fn group_settings(
    started: &BrokerConfig,
    dynamic: &DynamicSettings,
) -> Result<ringmill_groups::Settings, BrokerSettingError> {
    let at_start = |name: &str| {
        let mut values = started.values().filter(|value| value.setting.section == Section::Broker);
        let value = values.find(|value| value.setting.name == name).expect("the table has this setting");
        value.text.as_str()
    };
    groups::resolve(|name| dynamic.strongest(name).map_or_else(|| at_start(name), |(_, text)| text))
}

/// A decimal number that was checked to be at least 1, without what is behind its point; as large as can be where it is larger.
pub(super) fn whole_number(text: &str) -> u64 {
    let number: f64 = text.parse().expect("decimal settings were checked");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "it saturates, and is positive")]
    let whole = number as u64;
    whole
}

/// A time in whole hours, if it is one: -1, for ever, stays.
fn hours(ms: &str) -> Option<String> {
    const HOUR_MS: i64 = 60 * 60 * 1000;
    match ms.parse::<i64>().ok()? {
        -1 => Some("-1".to_owned()),
        ms if ms % HOUR_MS == 0 => i32::try_from(ms / HOUR_MS).ok().map(|hours| hours.to_string()),
        _ => None,
    }
}

/// The same complaint under the names that the broker's settings have.
fn in_broker_words(error: &TopicConfigError) -> BrokerSettingError {
    let name = broker_names::of_topic_default(&error.name).unwrap_or(&error.name);
    BrokerSettingError { name: name.to_owned(), why: error.why.clone() }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn resolve(
        started: &[(&str, &str)],
        cluster: &[(&str, &str)],
        broker: &[(&str, &str)],
    ) -> Result<RunningConfig, String> {
        let started = BrokerConfig::from_settings(started).unwrap();
        let dynamic = DynamicSettings { cluster: settings(cluster), broker: settings(broker) };
        RunningConfig::resolve(&started, dynamic).map_err(|error| error.to_string())
    }

    fn retention(running: &RunningConfig) -> Option<i64> {
        running.topic_defaults().resolve(&Settings::new()).unwrap().retention_ms
    }

    #[test]
    fn this_broker_wins_over_all_brokers_over_the_start_over_the_default() {
        let started = [("broker.num.partitions", "2"), ("topic.retention.ms", "2")];
        let (cluster, broker) = (
            [("num.partitions", "3"), ("log.retention.ms", "3")],
            [("num.partitions", "4"), ("log.retention.ms", "4")],
        );
        let check = |running: Result<RunningConfig, String>, expected: i32| {
            let running = running.unwrap();
            assert_eq!((running.num_partitions(), retention(&running)), (expected, Some(expected.into())));
        };
        check(resolve(&started, &[], &[]), 2);
        check(resolve(&started, &cluster, &[]), 3);
        check(resolve(&started, &cluster, &broker), 4);
        check(resolve(&started, &[], &broker), 4);
        assert_eq!(resolve(&[], &[], &[]).unwrap().num_partitions(), 1);
    }

    #[test]
    fn groups_go_by_what_was_set_last() {
        let started = [("broker.group.initial.rebalance.delay.ms", "1")];
        let delay = |cluster: &[(&str, &str)], broker: &[(&str, &str)]| {
            resolve(&started, cluster, broker).unwrap().groups().initial_rebalance_delay_ms
        };
        let (on_cluster, on_broker) =
            ([("group.initial.rebalance.delay.ms", "2")], [("group.initial.rebalance.delay.ms", "3")]);
        assert_eq!((delay(&[], &[]), delay(&on_cluster, &[]), delay(&on_cluster, &on_broker)), (1, 2, 3));
        let refused = resolve(&[], &[("group.consumer.session.timeout.ms", "60001")], &[]).expect_err("refused");
        assert!(refused.contains("60001 is not between group.consumer.min.session.timeout.ms"), "{refused}");
    }

    #[test]
    fn sources_are_told_from_the_strongest_to_the_default() {
        let started = BrokerConfig::from_settings(&[("topic.retention.ms", "2")]).unwrap();
        let dynamic = DynamicSettings {
            cluster: settings(&[("log.retention.ms", "3")]),
            broker: settings(&[("log.retention.ms", "4")]),
        };
        let running = RunningConfig::resolve(&started, dynamic).unwrap();
        let told = |name: &str, topic_name: &str| -> Vec<(String, Origin)> {
            let value = started.values().find(|value| value.setting.name == topic_name).unwrap();
            running.sources(name, value).iter().map(|each| (each.text.to_owned(), each.origin)).collect()
        };
        let expected = [
            ("4".to_owned(), Origin::DynamicBroker),
            ("3".to_owned(), Origin::DynamicDefault),
            ("2".to_owned(), Origin::Flag),
            ("604800000".to_owned(), Origin::Default),
        ];
        assert_eq!(told("log.retention.ms", "retention.ms"), expected);
        assert_eq!(told("log.roll.ms", "segment.ms"), [("604800000".to_owned(), Origin::Default)]);
    }

    #[test]
    fn hours_are_told_only_where_they_are_whole() {
        for (ms, expected) in
            [("3600000", Some("1")), ("0", Some("0")), ("-1", Some("-1")), ("1", None), ("9223372036854000000", None)]
        {
            assert_eq!(hours(ms).as_deref(), expected, "{ms}");
        }
    }

    #[test]
    fn what_cannot_be_is_refused_under_the_brokers_names() {
        let check = |cluster: &[(&str, &str)], expected: &str| {
            let why = resolve(&[], cluster, &[]).expect_err("refused");
            assert!(why.contains(expected), "{why:?} does not say {expected:?}");
        };
        check(&[("listeners", ":1")], "broker setting listeners: it cannot change while the broker runs");
        check(&[("retention.ms", "1")], "retention.ms: no such setting");
        check(&[("log.retention.ms", "soon")], "log.retention.ms: \"soon\" is refused");
        check(
            &[("message.max.bytes", "67108865")],
            "message.max.bytes: 67108865 is more than ringmill.unsynced.bytes.max",
        );
        check(&[("log.cleanup.policy", "archive")], "expected at least one of compact, delete");
        check(&[("log.cleaner.threads", "1")], "it cannot change while the broker runs");
        let hidden = resolve(&[], &[("message.max.bytes", "67108865")], &[("message.max.bytes", "1")]);
        assert!(hidden.is_err_and(|why| why.contains("67108865 is more than")), "it must hold by itself");
    }
}
