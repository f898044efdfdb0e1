//! The topic that the broker makes for itself: `__consumer_offsets`, in which consumer groups and their offsets live.
//!
//! It is made on the first need, with settings of its own. Clients may read it like any other topic; they neither create, write, grow,
//! cut nor delete it, and are told INVALID_TOPIC_EXCEPTION, as Kafka tells who produces to it or deletes its records. What stands in
//! its records is the business of `ringmill-groups`. Called by the handlers of groups and of topics, and by `group/`.

use std::collections::BTreeMap;
use std::rc::Rc;
use std::sync::Arc;

use crate::config::BrokerConfig;
use crate::core::Core;
use crate::metadata::{MetadataError, NewTopic, Topic, names_collide};
use crate::topics::{self, TopicError};

/// Where groups live.
pub const GROUPS: &str = "__consumer_offsets";

/// Whether a topic is the broker's own.
#[must_use]
pub fn is_internal(name: &str) -> bool {
    name == GROUPS
}

/// Whether no client may make a topic of this name: it is the broker's own, or would be in the way of its making.
#[must_use]
pub fn is_reserved(name: &str) -> bool {
    names_collide(name, GROUPS)
}

/// The topic in which groups live, made if it is not there yet. Any number of callers at once make it once.
///
/// # Errors
/// It cannot be made now: the disk is full, or the broker has as many partitions as it may.
pub async fn group_topic(core: &Rc<Core>) -> Result<Arc<Topic>, TopicError> {
    if let Some(topic) = core.metadata().topic(GROUPS) {
        return Ok(Arc::clone(topic));
    }
    let config = &core.shared().config;
    let new = NewTopic {
        name: GROUPS.to_owned(),
        partition_count: config.groups.offsets_partitions,
        settings: group_topic_settings(config),
    };
    match topics::create(core, new).await {
        Err(TopicError::Metadata(MetadataError::Exists(name))) => {
            // Another connection was faster.
            core.metadata().topic(GROUPS).cloned().ok_or(TopicError::Metadata(MetadataError::Unknown(name)))
        }
        Ok(topic) => {
            tracing::info!(topic = GROUPS, partitions = topic.partition_count, "made the topic that groups live in");
            Ok(topic)
        }
        Err(error) => Err(error),
    }
}

/// What is set on the topic itself, so that no default of the broker's for topics can take records away, or have answers sent before
/// they are durable. Compaction keeps the last record of each group, member and offset, which is all that a load asks for.
fn group_topic_settings(config: &BrokerConfig) -> BTreeMap<String, String> {
    let segment_bytes = config.groups.offsets_segment_bytes.to_string();
    let settings = [
        ("cleanup.policy", "compact"),
        ("compression.type", "producer"),
        // Longer than any load takes, so that none misses what it is to forget.
        ("delete.retention.ms", "86400000"),
        ("max.compaction.lag.ms", "9223372036854775807"),
        ("min.cleanable.dirty.ratio", "0.5"),
        ("min.compaction.lag.ms", "0"),
        ("retention.bytes", "-1"),
        ("retention.ms", "-1"),
        ("segment.bytes", &segment_bytes),
        ("write.caching", "false"),
    ];
    settings.into_iter().map(|(name, value)| (name.to_owned(), value.to_owned())).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_name_is_free_that_would_be_in_the_topics_way() {
        for (name, internal, reserved) in [
            ("__consumer_offsets", true, true),
            ("__consumer.offsets", false, true),
            ("..consumer.offsets", false, true),
            ("__consumer-offsets", false, false),
            ("__consumer_offsets2", false, false),
            ("logs", false, false),
        ] {
            assert_eq!((is_internal(name), is_reserved(name)), (internal, reserved), "{name}");
        }
    }

    #[test]
    fn the_topics_own_settings_win_over_the_brokers_defaults() {
        let config = BrokerConfig::from_settings(&[
            ("topic.retention.ms", "1"),
            ("topic.retention.bytes", "1"),
            ("topic.write.caching", "true"),
            ("topic.cleanup.policy", "delete"),
            ("broker.offsets.topic.segment.bytes", "2097152"),
        ]);
        let config = config.expect("the settings are good");
        let topic = config.topic_defaults.resolve(&group_topic_settings(&config)).expect("the settings fit together");
        assert_eq!((topic.retention_ms, topic.retention_bytes, topic.write_caching), (None, None, false));
        assert_eq!(topic.segment_bytes, 2 << 20);
        assert!(topic.to_log_config().compaction.is_some());
    }
}
