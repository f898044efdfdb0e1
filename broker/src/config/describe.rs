//! What is in effect, as Kafka's config APIs show it: each setting with its value, its source, its type, and every other place that
//! has a value for it.
//!
//! Plain data; the handlers put it on the wire. Topics are shown under topics' names with the broker's as synonyms, brokers under
//! the names of `broker_names`. No setting of ours is a secret.

use super::broker_names;
use super::resolved::BrokerConfig;
use super::running::{RunningConfig, Scope};
use super::setting::{Kind, Origin, Section, Setting, Value};
use super::topic::{TopicConfig, TopicEntry};

/// Types of values, in Kafka's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ValueType {
    /// `true` or `false`.
    Boolean,
    /// Text.
    Str,
    /// A number of 32 bits.
    Int,
    /// A number of 64 bits.
    Long,
    /// A fraction.
    Double,
    /// Words with commas between them.
    List,
}

/// A setting as it is in effect.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Described<'a> {
    /// Its name on this resource.
    pub name: &'static str,
    /// `None` for one that has no value.
    pub value: Option<&'a str>,
    /// Where the value comes from.
    pub origin: Origin,
    /// Whether the admin protocol can change it here.
    pub read_only: bool,
    /// The type of its value.
    pub value_type: ValueType,
    /// What it means.
    pub doc: &'static str,
    /// All places that have a value for it, the one in effect first.
    pub synonyms: Vec<Synonym<'a>>,
}

/// A place that has a value for a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Synonym<'a> {
    /// The setting's name there.
    pub name: &'static str,
    /// The value there.
    pub value: &'a str,
    /// The place.
    pub origin: Origin,
}

/// All settings of a topic.
pub fn topic<'a>(
    config: &'a TopicConfig,
    started: &'a BrokerConfig,
    running: &'a RunningConfig,
) -> impl Iterator<Item = Described<'a>> {
    let at_start = started.values().filter(|value| value.setting.section == Section::Topic);
    config.entries().iter().zip(at_start).map(|(entry, at_start)| topic_setting(entry, at_start, running))
}

fn topic_setting<'a>(entry: &'a TopicEntry, at_start: &'a Value, running: &'a RunningConfig) -> Described<'a> {
    let setting = at_start.setting;
    assert_eq!(entry.name, setting.name, "both are in the order of the topic table");
    let mut synonyms = Vec::new();
    if entry.origin == Origin::Topic {
        synonyms.push(Synonym { name: entry.name, value: &entry.value, origin: Origin::Topic });
    }
    if let Some(broker_name) = broker_names::of(setting) {
        synonyms.extend(sources(broker_name, at_start, running));
    }
    Described {
        name: entry.name,
        value: Some(&entry.value),
        origin: entry.origin,
        read_only: false,
        value_type: value_type(setting),
        doc: setting.doc,
        synonyms,
    }
}

/// All settings of this broker, and the facts about it that Kafka's broker has settings for.
pub fn broker<'a>(started: &'a BrokerConfig, running: &'a RunningConfig) -> impl Iterator<Item = Described<'a>> {
    let settings = started.values().filter_map(move |value| {
        let name = broker_names::of(value.setting)?;
        let synonyms: Vec<_> = sources(name, value, running).collect();
        let effective = synonyms.first().expect("the default is always there").clone();
        Some(describe(value.setting, name, Some(effective.value), effective.origin, synonyms))
    });
    settings.chain(broker_names::FACTS.iter().map(move |fact| describe_fact(fact, started, running)))
}

/// What is set for all brokers, and nothing else: so Kafka shows the resource without a name.
pub fn cluster(running: &RunningConfig) -> impl Iterator<Item = Described<'_>> {
    running.dynamic().of(Scope::Cluster).iter().filter_map(|(name, value)| {
        let setting = broker_names::find(name)?;
        let name = broker_names::of(setting)?;
        let synonyms = vec![Synonym { name, value, origin: Origin::DynamicDefault }];
        Some(describe(setting, name, Some(value), Origin::DynamicDefault, synonyms))
    })
}

/// The levels of the broker's loggers, in Kafka's words: the root's, and those of single modules.
pub fn loggers(started: &BrokerConfig) -> impl Iterator<Item = (&str, String)> {
    started.log_level.split(',').map(|directive| {
        let (module, level) = directive.rsplit_once('=').unwrap_or(("root", directive));
        (module.trim(), level.trim().to_ascii_uppercase())
    })
}

fn describe<'a>(
    setting: &'static Setting,
    name: &'static str,
    value: Option<&'a str>,
    origin: Origin,
    mut synonyms: Vec<Synonym<'a>>,
) -> Described<'a> {
    // "Not set" is null where Kafka's own default is, and so it stands nowhere.
    let unset = |text: &str| text.is_empty() && setting.section != Section::Topic;
    synonyms.retain(|synonym| !unset(synonym.value));
    Described {
        name,
        value: value.filter(|text| !unset(text)),
        origin,
        read_only: !setting.dynamic,
        value_type: value_type(setting),
        doc: setting.doc,
        synonyms,
    }
}

fn describe_fact<'a>(fact: &'static Setting, started: &'a BrokerConfig, running: &'a RunningConfig) -> Described<'a> {
    let origin_of = |broker_name: &str| {
        let setting = broker_names::find(broker_name).expect("the tables have this name");
        let at_start = started.values().find(|value| value.setting == setting);
        let at_start = at_start.expect("there is a value for every row of the tables");
        (at_start, running.sources(broker_name, at_start)[0].origin)
    };
    let derived = |value: Option<&'a str>, origin: Origin| {
        let synonyms = value.map(|value| Synonym { name: fact.name, value, origin }).into_iter().collect();
        describe(fact, fact.name, value, origin, synonyms)
    };
    match fact.name {
        "broker.id" => {
            let (node_id, origin) = origin_of("node.id");
            derived(Some(&node_id.text), origin)
        }
        "log.retention.hours" => derived(running.retention_hours(), origin_of("log.retention.ms").1),
        "log.roll.hours" => derived(running.roll_hours(), origin_of("log.roll.ms").1),
        // Kafka's default for this one is the empty text, not null.
        "authorizer.class.name" => Described { value: Some(""), ..derived(None, Origin::Default) },
        _ => derived(Some(fact.default), Origin::Default),
    }
}

fn sources<'a>(
    name: &'static str,
    value: &'a Value,
    running: &'a RunningConfig,
) -> impl Iterator<Item = Synonym<'a>> + use<'a> {
    let all = running.sources(name, value);
    all.into_iter().map(move |each| Synonym { name, value: each.text, origin: each.origin })
}

fn value_type(setting: &Setting) -> ValueType {
    match setting.kind {
        Kind::Bool => ValueType::Boolean,
        Kind::Integer { max, .. } if max <= i32::MAX.into() => ValueType::Int,
        Kind::Integer { .. } => ValueType::Long,
        Kind::Decimal { .. } => ValueType::Double,
        Kind::Choice(_) | Kind::Text => ValueType::Str,
        Kind::List | Kind::Words(_) => ValueType::List,
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::config::running::Settings;
    use crate::config::{DynamicSettings, tables};

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn running(started: &BrokerConfig, cluster: &[(&str, &str)], broker: &[(&str, &str)]) -> RunningConfig {
        let dynamic = DynamicSettings { cluster: settings(cluster), broker: settings(broker) };
        RunningConfig::resolve(started, dynamic).unwrap()
    }

    /// `name=value origin [synonym=value origin]…`
    fn show(described: &Described<'_>) -> String {
        let value = described.value.unwrap_or("null");
        let mut text = format!("{}={value} {}", described.name, described.origin.name());
        for synonym in &described.synonyms {
            text.push_str(&format!(" [{}={} {}]", synonym.name, synonym.value, synonym.origin.name()));
        }
        text
    }

    #[test]
    fn a_topics_value_stands_before_the_brokers_dynamic_ones_the_start_and_the_default() {
        let started = BrokerConfig::from_settings(&[("topic.retention.ms", "2")]).unwrap();
        let running = running(&started, &[("log.retention.ms", "3")], &[("log.retention.ms", "4")]);
        let check = |set: &[(&str, &str)], name: &str, expected: &str| {
            let config = running.topic_defaults().resolve(&settings(set)).unwrap();
            let shown: BTreeMap<_, _> =
                topic(&config, &started, &running).map(|each| (each.name, show(&each))).collect();
            assert_eq!(shown[name], expected);
            assert_eq!(shown.len(), tables::TOPIC.len());
        };
        let broker = "[log.retention.ms=4 dynamic] [log.retention.ms=3 dynamic default] [log.retention.ms=2 flag] \
                      [log.retention.ms=604800000 default]";
        check(&[], "retention.ms", &format!("retention.ms=4 dynamic {broker}"));
        check(
            &[("retention.ms", "5")],
            "retention.ms",
            &format!("retention.ms=5 topic [retention.ms=5 topic] {broker}"),
        );
        check(&[], "segment.ms", "segment.ms=604800000 default [log.roll.ms=604800000 default]");
        check(&[], "remote.storage.enable", "remote.storage.enable=false default");
    }

    #[test]
    fn a_broker_shows_its_settings_under_kafkas_names_and_facts_that_follow_from_them() {
        let started = BrokerConfig::from_settings(&[("broker.node.id", "7"), ("topic.segment.ms", "7200000")]).unwrap();
        let running = running(&started, &[("num.partitions", "3")], &[("log.retention.ms", "90000")]);
        let shown: BTreeMap<_, _> =
            broker(&started, &running).map(|each| (each.name, (show(&each), each.read_only))).collect();
        let check = |name: &str, expected: &str, read_only: bool| {
            assert_eq!(shown[name], (expected.to_owned(), read_only));
        };
        check(
            "num.partitions",
            "num.partitions=3 dynamic default [num.partitions=3 dynamic default] [num.partitions=1 default]",
            false,
        );
        check("broker.id", "broker.id=7 flag [broker.id=7 flag]", true);
        check("broker.rack", "broker.rack=null default", true);
        check("advertised.listeners", "advertised.listeners=null default", true);
        check("log.retention.hours", "log.retention.hours=null dynamic", true);
        check("log.roll.hours", "log.roll.hours=2 flag [log.roll.hours=2 flag]", true);
        check(
            "default.replication.factor",
            "default.replication.factor=1 default [default.replication.factor=1 default]",
            true,
        );
        check("ringmill.io", "ringmill.io=auto default [ringmill.io=auto default]", true);
        assert!(!shown.contains_key("retention.ms"));
        let shown: Vec<_> = cluster(&running).map(|each| show(&each)).collect();
        assert_eq!(shown, ["num.partitions=3 dynamic default [num.partitions=3 dynamic default]"]);
    }

    #[test]
    fn types_are_kafkas() {
        let check = |name: &str, expected: ValueType| {
            assert_eq!(value_type(tables::find(Section::Topic, name).unwrap()), expected, "{name}");
        };
        for name in [
            "segment.bytes",
            "max.message.bytes",
            "index.interval.bytes",
            "min.insync.replicas",
            "compression.gzip.level",
        ] {
            check(name, ValueType::Int);
        }
        for name in
            ["retention.ms", "retention.bytes", "segment.ms", "flush.messages", "flush.ms", "local.retention.ms"]
        {
            check(name, ValueType::Long);
        }
        check("cleanup.policy", ValueType::List);
        check("follower.replication.throttled.replicas", ValueType::List);
        check("min.cleanable.dirty.ratio", ValueType::Double);
        check("preallocate", ValueType::Boolean);
        check("compression.type", ValueType::Str);
        check("message.timestamp.type", ValueType::Str);
    }

    #[test]
    fn loggers_are_those_of_the_configuration() {
        let started = BrokerConfig::from_settings(&[("ringmill.log.level", "info,ringmill_engine=debug")]).unwrap();
        let expected = [("root", "INFO".to_owned()), ("ringmill_engine", "DEBUG".to_owned())];
        assert_eq!(loggers(&started).collect::<Vec<_>>(), expected);
    }
}
