//! The names of the broker's settings in Kafka's admin protocol, where they are one flat list: Kafka's own names for what we keep
//! under `[broker]` and `[topic]`, our full names for what Kafka has no name for, and a few facts that tools ask for.
//!
//! Which values they have is told by `describe`, how they change by `alter`. A fact is true of every Ringmill or follows from another
//! setting; nothing stands here that is not true of us.

use super::setting::{Effect, Kind, Section, Setting};
use super::tables;

/// Topic settings and the broker's names for their defaults, by topic setting. All of them are dynamic in Kafka 4.4 as well
/// (`ServerTopicConfigSynonyms`, `DynamicBrokerConfig`); those that begin with `topic.` are ours.
static TOPIC_DEFAULTS: &[(&str, &str)] = &[
    ("cleanup.policy", "log.cleanup.policy"),
    ("compression.gzip.level", "compression.gzip.level"),
    ("compression.lz4.level", "compression.lz4.level"),
    ("compression.type", "compression.type"),
    ("compression.zstd.level", "compression.zstd.level"),
    ("delete.retention.ms", "log.cleaner.delete.retention.ms"),
    ("file.delete.delay.ms", "log.segment.delete.delay.ms"),
    ("flush.bytes", "topic.flush.bytes"),
    ("flush.messages", "log.flush.interval.messages"),
    ("flush.ms", "log.flush.interval.ms"),
    ("index.interval.bytes", "log.index.interval.bytes"),
    ("local.retention.bytes", "log.local.retention.bytes"),
    ("local.retention.ms", "log.local.retention.ms"),
    ("max.compaction.lag.ms", "log.cleaner.max.compaction.lag.ms"),
    ("max.decompressed.message.bytes", "max.decompressed.message.bytes"),
    ("max.message.bytes", "message.max.bytes"),
    ("message.timestamp.after.max.ms", "log.message.timestamp.after.max.ms"),
    ("message.timestamp.before.max.ms", "log.message.timestamp.before.max.ms"),
    ("message.timestamp.type", "log.message.timestamp.type"),
    ("min.cleanable.dirty.ratio", "log.cleaner.min.cleanable.ratio"),
    ("min.compaction.lag.ms", "log.cleaner.min.compaction.lag.ms"),
    ("min.insync.replicas", "min.insync.replicas"),
    ("preallocate", "log.preallocate"),
    ("remote.copy.lag.bytes", "log.remote.copy.lag.bytes"),
    ("remote.copy.lag.ms", "log.remote.copy.lag.ms"),
    ("retention.bytes", "log.retention.bytes"),
    ("retention.ms", "log.retention.ms"),
    ("segment.bytes", "log.segment.bytes"),
    ("segment.index.bytes", "log.index.size.max.bytes"),
    ("segment.jitter.ms", "log.roll.jitter.ms"),
    ("segment.ms", "log.roll.ms"),
    ("strict.records", "topic.strict.records"),
    ("unclean.leader.election.enable", "unclean.leader.election.enable"),
    ("write.caching", "topic.write.caching"),
];

/// Kafka's other names for topic defaults, in other units.
static IN_OTHER_UNITS: &[(&str, &str)] = &[
    ("log.retention.hours", "retention.ms"),
    ("log.retention.minutes", "retention.ms"),
    ("log.roll.hours", "segment.ms"),
];

const INT: Kind = Kind::Integer { min: -1, max: i32::MAX as i64 };

const fn fact(name: &'static str, kind: Kind, value: &'static str, doc: &'static str) -> Setting {
    let (section, effect) = (Section::Broker, Effect::DefaultOnly);
    Setting { section, name, kind, default: value, effect, dynamic: false, doc }
}

/// What tools ask a broker for and what is no setting here. A value that follows from a setting is computed by `describe`.
pub static FACTS: &[Setting] = &[
    fact("authorizer.class.name", Kind::Text, "", "There is no authorizer: every client may do everything."),
    fact("broker.id", INT, "", "Kafka's older name for node.id."),
    fact("broker.rack", Kind::Text, "", "There is one broker, in no rack."),
    fact("default.replication.factor", INT, "1", "There is one broker, so every partition has one replica."),
    fact("delete.topic.enable", Kind::Bool, "true", "Topics can be deleted."),
    fact("log.retention.hours", INT, "", "log.retention.ms in hours; null where it is not whole."),
    fact("log.retention.minutes", INT, "", "Always null: log.retention.ms says it."),
    fact("log.roll.hours", INT, "", "log.roll.ms in hours; null where it is not whole."),
    fact("producer.id.expiration.ms", INT, "86400000", "A producer that is silent for so long is forgotten."),
];

/// The broker's name for the default of a topic's setting, if Kafka's broker has one.
#[must_use]
pub fn of_topic_default(topic_name: &str) -> Option<&'static str> {
    let row = TOPIC_DEFAULTS.binary_search_by_key(&topic_name, |(topic_name, _)| topic_name).ok()?;
    Some(TOPIC_DEFAULTS[row].1)
}

/// The topic setting whose default a broker's name stands for, in whatever unit.
#[must_use]
pub fn topic_name_behind(broker_name: &str) -> Option<&'static str> {
    let names = TOPIC_DEFAULTS.iter().map(|(topic, broker)| (*broker, *topic)).chain(IN_OTHER_UNITS.iter().copied());
    names.into_iter().find(|(broker, _)| *broker == broker_name).map(|(_, topic)| topic)
}

/// The broker's name for a setting; `None` for topic settings that Kafka's broker has no default for.
#[must_use]
pub fn of(setting: &'static Setting) -> Option<&'static str> {
    match setting.section {
        Section::Broker => Some(setting.name),
        Section::Topic => of_topic_default(setting.name),
        Section::Ringmill => RINGMILL_NAMES.iter().find(|(name, _)| *name == setting.name).map(|(_, full)| *full),
    }
}

/// The setting that a broker's name stands for, facts included.
#[must_use]
pub fn find(broker_name: &str) -> Option<&'static Setting> {
    let settings = Section::ALL.into_iter().flat_map(tables::of).chain(FACTS);
    settings.into_iter().find(|setting| of(setting) == Some(broker_name))
}

/// All names that there are.
pub fn all() -> impl Iterator<Item = &'static str> {
    Section::ALL.into_iter().flat_map(tables::of).chain(FACTS).filter_map(of)
}

/// Our own settings and their full names, spelt out because names live as long as the program.
static RINGMILL_NAMES: &[(&str, &str)] = &[
    ("cores", "ringmill.cores"),
    ("groups.memory.bytes", "ringmill.groups.memory.bytes"),
    ("io", "ringmill.io"),
    ("request.memory.bytes", "ringmill.request.memory.bytes"),
    ("partitions.max", "ringmill.partitions.max"),
    ("unsynced.bytes.max", "ringmill.unsynced.bytes.max"),
    ("disk.free.bytes.min", "ringmill.disk.free.bytes.min"),
    ("disk.reserve.bytes", "ringmill.disk.reserve.bytes"),
    ("scrub.interval.hours", "ringmill.scrub.interval.hours"),
    ("scrub.bytes.per.second", "ringmill.scrub.bytes.per.second"),
    ("tcp.congestion.control", "ringmill.tcp.congestion.control"),
    ("log.level", "ringmill.log.level"),
    ("log.format", "ringmill.log.format"),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn every_name_stands_for_one_setting_and_back() {
        let names: Vec<_> = all().collect();
        assert_eq!(names.iter().collect::<BTreeSet<_>>().len(), names.len(), "{names:?}");
        for name in names {
            assert_eq!(find(name).and_then(of), Some(name));
        }
        assert!(TOPIC_DEFAULTS.is_sorted() && find("retention.ms").is_none() && find("").is_none());
    }

    #[test]
    fn every_setting_of_ours_has_a_name_and_so_has_every_topic_default_that_kafkas_broker_has() {
        for setting in tables::RINGMILL {
            assert_eq!(of(setting), Some(setting.full_name().as_str()));
        }
        let nameless: Vec<_> =
            tables::TOPIC.iter().filter(|setting| of(setting).is_none()).map(|setting| setting.name).collect();
        let expected = [
            "errors.deadletterqueue.group.enable",
            "follower.replication.throttled.replicas",
            "leader.replication.throttled.replicas",
            "remote.log.copy.disable",
            "remote.log.delete.on.disable",
            "remote.storage.enable",
        ];
        assert_eq!(nameless, expected);
        for (topic_name, broker_name) in TOPIC_DEFAULTS {
            assert!(tables::find(Section::Topic, topic_name).is_some(), "{topic_name}");
            assert!(tables::find(Section::Broker, broker_name).is_none(), "{broker_name}");
        }
    }

    #[test]
    fn facts_are_true() {
        let fact = |name: &str| FACTS.iter().find(|fact| fact.name == name).expect("it is one").default;
        let expiration_ms = ringmill_engine::log::LogConfig::default().producer_expiration_ms;
        assert_eq!(fact("producer.id.expiration.ms"), expiration_ms.to_string());
        assert!(FACTS.iter().all(|fact| fact.doc.ends_with('.') && !fact.dynamic));
    }

    #[test]
    fn names_in_other_units_lead_to_the_topic_setting() {
        assert_eq!(topic_name_behind("log.retention.hours"), Some("retention.ms"));
        assert_eq!(topic_name_behind("message.max.bytes"), Some("max.message.bytes"));
        assert_eq!(topic_name_behind("retention.ms"), None);
    }
}
