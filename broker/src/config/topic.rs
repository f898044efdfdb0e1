//! A topic's configuration: the broker's topic defaults, with what is set on the topic itself laid over them.
//!
//! Knows Kafka's names and turns them into typed values once; the engine and the handlers read only those. Metadata calls it for each
//! topic when its image is built, and CreateTopics through metadata.

use std::collections::BTreeMap;

use ringmill_batch::TimestampType;
use ringmill_engine::log::{CompactionConfig, LogConfig};

use super::setting::{Origin, Value};
use super::{suggest, tables};

/// A refused topic setting. The handler answers INVALID_CONFIG with this text.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("topic setting {name}: {why}")]
pub struct TopicConfigError {
    /// The setting's name as it was given.
    pub name: String,
    /// What is wrong with it, and what would be right.
    pub why: String,
}

/// What a topic gets for a setting that is not set on it: `[topic]` of the configuration, over the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicDefaults {
    entries: Vec<TopicEntry>,
    unsynced_bytes_max: u64,
}

impl TopicDefaults {
    /// Defaults out of one value per row of the topic table, in its order.
    ///
    /// # Errors
    /// When the values contradict each other.
    pub(super) fn new(values: &[Value], unsynced_bytes_max: u64) -> Result<TopicDefaults, TopicConfigError> {
        debug_assert!(values.iter().map(|value| value.setting.name).eq(tables::TOPIC.iter().map(|row| row.name)));
        let entry = |value: &Value| TopicEntry {
            name: value.setting.name,
            value: value.text.clone(),
            origin: value.place.origin(),
        };
        let defaults = TopicDefaults { entries: values.iter().map(entry).collect(), unsynced_bytes_max };
        defaults.resolve(&BTreeMap::new())?;
        Ok(defaults)
    }

    /// The same with other defaults for some settings, given by the topic's name, in checked spelling.
    ///
    /// # Errors
    /// When the values contradict each other.
    pub(super) fn with<'a>(
        &self,
        changed: impl Iterator<Item = (&'static str, &'a str, Origin)>,
    ) -> Result<TopicDefaults, TopicConfigError> {
        let mut defaults = self.clone();
        for (name, text, origin) in changed {
            let row = tables::TOPIC.binary_search_by_key(&name, |setting| setting.name);
            let row = row.expect("the caller takes names out of the topic table");
            defaults.entries[row] = TopicEntry { name, value: text.to_owned(), origin };
        }
        defaults.resolve(&BTreeMap::new())?;
        Ok(defaults)
    }

    /// The default of a setting that the topic table has.
    pub(super) fn value_of(&self, name: &str) -> &str {
        let row = self.entries.binary_search_by_key(&name, |entry| entry.name).expect("the topic table has this name");
        &self.entries[row].value
    }

    /// The whole configuration of a topic on which `overrides` are set.
    ///
    /// # Errors
    /// An unknown name, a value out of its range, a value other than the default for a setting without effect, or values that
    /// contradict each other: the first one found, by name.
    pub fn resolve(&self, overrides: &BTreeMap<String, String>) -> Result<TopicConfig, TopicConfigError> {
        let mut entries = self.entries.clone();
        for (name, text) in overrides {
            let refuse = |why| TopicConfigError { name: name.clone(), why };
            let Ok(row) = tables::TOPIC.binary_search_by_key(&name.as_str(), |setting| setting.name) else {
                return Err(refuse(unknown(name)));
            };
            let text = tables::TOPIC[row].check(text).map_err(|why| refuse(format!("{text:?} is refused: {why}")))?;
            entries[row] = TopicEntry { name: tables::TOPIC[row].name, value: text, origin: Origin::Topic };
        }
        TopicConfig::from_entries(entries, self.unsynced_bytes_max)
    }
}

pub(super) fn unknown(name: &str) -> String {
    match suggest::nearest(name, tables::TOPIC.iter().map(|setting| setting.name)) {
        Some(near) => format!("no such setting; did you mean {near}?"),
        None => "no such setting; `ringmill config print` lists all".to_owned(),
    }
}

/// One setting of a topic, as Kafka's config APIs show it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TopicEntry {
    /// Kafka's name, or ours.
    pub name: &'static str,
    /// The value in effect.
    pub value: String,
    /// [`Origin::Topic`] when it is set on the topic itself.
    pub origin: Origin,
}

/// A topic's configuration in effect, typed. Immutable; a change makes a new one.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct TopicConfig {
    /// `cleanup.policy` has `compact`: how; its records must have keys.
    pub compaction: Option<CompactionConfig>,
    /// `cleanup.policy` has `delete`.
    pub deletes: bool,
    /// `flush.bytes`: bytes unsynced under `write.caching`.
    pub flush_bytes: u64,
    /// `flush.ms`: time unsynced under `write.caching`.
    pub flush_ms: i64,
    /// `index.interval.bytes`.
    pub index_interval_bytes: u64,
    /// `max.message.bytes`: the largest batch, its 12-byte prefix included.
    pub max_message_bytes: usize,
    /// `message.timestamp.after.max.ms`.
    pub timestamp_after_max_ms: i64,
    /// `message.timestamp.before.max.ms`.
    pub timestamp_before_max_ms: i64,
    /// `message.timestamp.type`.
    pub timestamp_type: TimestampType,
    /// `retention.bytes`; `None`: no limit.
    pub retention_bytes: Option<u64>,
    /// `retention.ms`; `None`: for ever.
    pub retention_ms: Option<i64>,
    /// `segment.bytes`.
    pub segment_bytes: u64,
    /// `segment.ms`.
    pub segment_ms: i64,
    /// `strict.records`: whether produced records are walked.
    pub strict_records: bool,
    /// The broker's `unsynced.bytes.max`, which bounds every topic without `write.caching`.
    pub unsynced_bytes_max: u64,
    /// `write.caching`.
    pub write_caching: bool,
    entries: Vec<TopicEntry>,
}

impl TopicConfig {
    /// What the engine is told of it.
    #[must_use]
    pub fn to_log_config(&self) -> LogConfig {
        LogConfig {
            segment_bytes: self.segment_bytes,
            segment_ms: self.segment_ms,
            retention_ms: self.retention_ms.filter(|_| self.deletes),
            retention_bytes: self.retention_bytes.filter(|_| self.deletes),
            index_interval_bytes: self.index_interval_bytes,
            timestamp_type: self.timestamp_type,
            write_caching: self.write_caching,
            flush_ms: self.flush_ms,
            flush_bytes: self.flush_bytes,
            unsynced_bytes_max: self.unsynced_bytes_max,
            compaction: self.compaction,
            ..LogConfig::default()
        }
    }

    /// Every known setting with its value in effect, sorted by name.
    #[must_use]
    pub fn entries(&self) -> &[TopicEntry] {
        &self.entries
    }

    fn from_entries(entries: Vec<TopicEntry>, unsynced_bytes_max: u64) -> Result<TopicConfig, TopicConfigError> {
        let text = |name: &str| {
            let row = entries.binary_search_by_key(&name, |entry| entry.name).expect("the topic table has this name");
            entries[row].value.as_str()
        };
        let integer = |name: &str| text(name).parse::<i64>().expect("integer settings were checked");
        // −1 says "no limit" in Kafka's names; every other value has been checked to be at least 0.
        let limit = |name: &str| Some(integer(name)).filter(|value| *value >= 0);
        let bytes = |name: &str| u64::try_from(integer(name)).expect("the table admits no negative number of bytes");
        let has_policy = |wanted: &str| text("cleanup.policy").split(',').any(|policy| policy == wanted);
        let compaction = CompactionConfig {
            min_lag_ms: integer("min.compaction.lag.ms"),
            max_lag_ms: integer("max.compaction.lag.ms"),
            dirty_millionths_max: millionths(text("min.cleanable.dirty.ratio")),
            tombstones_kept_ms: integer("delete.retention.ms"),
        };
        let config = TopicConfig {
            compaction: has_policy("compact").then_some(compaction),
            deletes: has_policy("delete"),
            flush_bytes: bytes("flush.bytes"),
            flush_ms: integer("flush.ms"),
            index_interval_bytes: bytes("index.interval.bytes"),
            max_message_bytes: usize::try_from(bytes("max.message.bytes")).expect("at most i32::MAX by the table"),
            timestamp_after_max_ms: integer("message.timestamp.after.max.ms"),
            timestamp_before_max_ms: integer("message.timestamp.before.max.ms"),
            timestamp_type: match text("message.timestamp.type") {
                "LogAppendTime" => TimestampType::LogAppendTime,
                _ => TimestampType::CreateTime,
            },
            retention_bytes: limit("retention.bytes").map(i64::unsigned_abs),
            retention_ms: limit("retention.ms"),
            segment_bytes: bytes("segment.bytes"),
            segment_ms: integer("segment.ms"),
            strict_records: text("strict.records") == "true",
            unsynced_bytes_max,
            write_caching: text("write.caching") == "true",
            entries: Vec::new(),
        };
        config.check_bounds()?;
        check_lags(&compaction)?;
        Ok(TopicConfig { entries, ..config })
    }

    /// A batch is written as a whole, so the bound on unsynced bytes must leave room for the largest one.
    fn check_bounds(&self) -> Result<(), TopicConfigError> {
        let (bound_name, bound) = match self.write_caching {
            true => ("flush.bytes", self.flush_bytes),
            false => ("ringmill.unsynced.bytes.max", self.unsynced_bytes_max),
        };
        if self.max_message_bytes as u64 > bound {
            let why = format!(
                "{} is more than {bound_name} ({bound}), the most that may be unsynced at a time; lower it or raise {bound_name}",
                self.max_message_bytes
            );
            return Err(TopicConfigError { name: "max.message.bytes".to_owned(), why });
        }
        Ok(())
    }
}

/// A ratio that was checked to lie between 0 and 1.
fn millionths(ratio: &str) -> u32 {
    let ratio: f64 = ratio.parse().expect("decimal settings were checked");
    #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "from 0 to a million, by the table")]
    let millionths = (ratio * 1e6).round() as u32;
    millionths
}

/// As Kafka does, whatever the policy: else the one would forbid what the other demands.
fn check_lags(compaction: &CompactionConfig) -> Result<(), TopicConfigError> {
    let CompactionConfig { min_lag_ms, max_lag_ms, .. } = *compaction;
    if min_lag_ms > max_lag_ms {
        let why = format!("{min_lag_ms} is more than max.compaction.lag.ms ({max_lag_ms})");
        return Err(TopicConfigError { name: "min.compaction.lag.ms".to_owned(), why });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn defaults() -> TopicDefaults {
        use crate::config::setting::Section;
        let values: Vec<_> = tables::of(Section::Topic).iter().map(Value::at_default).collect();
        TopicDefaults::new(&values, 64 << 20).expect("the table's defaults agree with each other")
    }

    fn resolve(overrides: &[(&str, &str)]) -> Result<TopicConfig, TopicConfigError> {
        let overrides = overrides.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        defaults().resolve(&overrides)
    }

    #[test]
    fn defaults_are_kafkas_but_for_the_stated_flush_window() {
        let config = resolve(&[]).unwrap();
        assert_eq!(config.max_message_bytes, 1_048_588);
        assert_eq!(config.retention_ms, Some(7 * 24 * 3600 * 1000));
        assert_eq!(config.retention_bytes, None);
        assert_eq!(config.segment_bytes, 1 << 30);
        assert_eq!((config.write_caching, config.flush_ms, config.flush_bytes), (false, 1000, 512 << 20));
        assert_eq!(config.timestamp_type, TimestampType::CreateTime);
        assert!(config.entries().iter().all(|entry| entry.origin == Origin::Default));
    }

    #[test]
    fn what_is_set_on_the_topic_wins_and_says_so() {
        let config = resolve(&[("retention.ms", "-1"), ("message.timestamp.type", "LogAppendTime")]).unwrap();
        assert_eq!(config.retention_ms, None);
        assert_eq!(config.timestamp_type, TimestampType::LogAppendTime);
        let entry = config.entries().iter().find(|entry| entry.name == "retention.ms").unwrap();
        assert_eq!((entry.value.as_str(), entry.origin), ("-1", Origin::Topic));
    }

    #[test]
    fn refusals_name_the_setting_and_the_way_out() {
        let check = |overrides: &[(&str, &str)], expected: &str| {
            let message = resolve(overrides).expect_err("refused").to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        };
        check(&[("retention.msx", "1")], "retention.msx: no such setting; did you mean retention.ms?");
        check(&[("quite.unknown", "1")], "quite.unknown: no such setting; `ringmill config print`");
        check(&[("retention.ms", "soon")], "\"soon\" is refused: expected a whole number of at least -1");
        check(
            &[("cleanup.policy", "archive")],
            "cleanup.policy: \"archive\" is refused: expected at least one of compact, delete, each once",
        );
        check(
            &[("min.compaction.lag.ms", "6"), ("max.compaction.lag.ms", "5")],
            "min.compaction.lag.ms: 6 is more than max.compaction.lag.ms (5)",
        );
        check(&[("max.message.bytes", "67108865")], "more than ringmill.unsynced.bytes.max (67108864)");
        check(&[("write.caching", "true"), ("flush.bytes", "1048576")], "more than flush.bytes (1048576)");
    }

    #[test]
    fn a_policy_says_what_the_log_is_told() {
        let log = |policy: &str| {
            let config = resolve(&[("cleanup.policy", policy), ("min.cleanable.dirty.ratio", "0.25")]).unwrap();
            config.to_log_config()
        };
        let (deleted, compacted, both) = (log("delete"), log("compact"), log("compact,delete"));
        assert_eq!((deleted.compaction, deleted.retention_ms), (None, Some(604_800_000)));
        assert_eq!(compacted.retention_ms, None, "what is only compacted does not expire");
        assert_eq!(both.retention_ms, Some(604_800_000));
        let expected = CompactionConfig { dirty_millionths_max: 250_000, ..CompactionConfig::default() };
        assert_eq!((compacted.compaction, both.compaction), (Some(expected), Some(expected)));
    }

    #[test]
    fn settings_without_effect_are_accepted_at_kafkas_default() {
        let overrides: BTreeMap<String, String> =
            tables::TOPIC.iter().map(|row| (row.name.to_owned(), row.default.to_owned())).collect();
        assert!(defaults().resolve(&overrides).is_ok());
    }
}
