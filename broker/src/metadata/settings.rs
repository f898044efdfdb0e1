//! Settings of topics and of the broker: what a change would make of them, and the one transaction that makes it so.
//!
//! A change of a topic's default by the broker reaches every topic that has nothing of its own there. What the partitions are told
//! of it, and when, is `broker/settings.rs`'s.

use std::sync::Arc;

use super::MetadataError;
use super::image::{MetadataImage, Topic};
use super::store::{BROKERS, FORMAT_VERSION, NUMBERS, Store, TOPICS, TopicRow};
use crate::config::RunningConfig;
use crate::config::alter::{Alteration, alter_broker, alter_topic};
use crate::config::running::{Scope, Settings};

/// What settings are set on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Resource {
    /// A topic, by its name.
    Topic(String),
    /// This broker, or all of them.
    Broker(Scope),
}

/// What a change of settings does, worked out and not yet done.
#[derive(Clone, Debug)]
pub struct PreparedSettings {
    change: Change,
    topics: Vec<Reconfigured>,
}

/// A topic's configuration before and after a change.
#[derive(Clone, Debug)]
pub struct Reconfigured {
    /// As it is.
    pub before: Arc<Topic>,
    /// As it will be.
    pub after: Arc<Topic>,
}

#[derive(Clone, Debug)]
enum Change {
    Topic,
    Broker { scope: Scope, running: Arc<RunningConfig> },
}

impl PreparedSettings {
    /// The topics whose configuration changes.
    #[must_use]
    pub fn topics(&self) -> &[Reconfigured] {
        &self.topics
    }
}

impl Store {
    pub(super) fn prepare_settings(
        &self,
        resource: Resource,
        wanted: &Alteration,
    ) -> Result<PreparedSettings, MetadataError> {
        let image = Arc::clone(&self.image.borrow());
        match resource {
            Resource::Topic(name) => prepare_topic(&image, name, wanted),
            Resource::Broker(scope) => {
                let dynamic = image.running.dynamic();
                let settings = alter_broker(dynamic.of(scope), wanted, &image.running)?;
                let running = RunningConfig::resolve(&self.options.started, dynamic.with(scope, settings))?;
                let topics = reconfigured(&image, &running)?;
                Ok(PreparedSettings { change: Change::Broker { scope, running: Arc::new(running) }, topics })
            }
        }
    }

    pub(super) fn commit_settings(&mut self, prepared: PreparedSettings) -> Result<(), MetadataError> {
        let PreparedSettings { change, topics } = prepared;
        let node_id = self.options.started.node_id.to_string();
        self.write(|transaction| {
            match &change {
                Change::Topic => {
                    let mut table = transaction.open_table(TOPICS)?;
                    for Reconfigured { after, .. } in &topics {
                        table.insert(&*after.name, row(&TopicRow::of(after)).as_str())?;
                    }
                }
                Change::Broker { scope, running } => {
                    let name = match scope {
                        Scope::Cluster => "",
                        Scope::Broker => node_id.as_str(),
                    };
                    let settings: &Settings = running.dynamic().of(*scope);
                    transaction.open_table(BROKERS)?.insert(name, row(settings).as_str())?;
                    // From now on older programs, which would pass the settings over, must not open the database.
                    transaction.open_table(NUMBERS)?.insert("format version", FORMAT_VERSION)?;
                }
            }
            Ok(())
        })?;
        self.image.send_modify(|image| {
            let mut next = image.with_all(topics.into_iter().map(|topic| topic.after));
            if let Change::Broker { running, .. } = change {
                next.running = running;
            }
            *image = Arc::new(next);
        });
        Ok(())
    }
}

fn prepare_topic(image: &MetadataImage, name: String, wanted: &Alteration) -> Result<PreparedSettings, MetadataError> {
    let Some(before) = image.topic(&name) else { return Err(MetadataError::Unknown(name)) };
    let defaults = image.running.topic_defaults();
    let settings = alter_topic(&before.settings, wanted, defaults)?;
    let config = Arc::new(defaults.resolve(&settings)?);
    let after = Arc::new(Topic { settings, config, ..Topic::clone(before) });
    let before = Arc::clone(before);
    Ok(PreparedSettings { change: Change::Topic, topics: vec![Reconfigured { before, after }] })
}

/// What other topic defaults make of the topics.
fn reconfigured(image: &MetadataImage, running: &RunningConfig) -> Result<Vec<Reconfigured>, MetadataError> {
    if running.topic_defaults() == image.running.topic_defaults() {
        return Ok(Vec::new());
    }
    let mut topics = Vec::new();
    for before in image.topics() {
        let config = running.topic_defaults().resolve(&before.settings);
        let config = config.map_err(|error| MetadataError::TopicBreaks { topic: before.name.to_string(), error })?;
        if config != *before.config {
            let after = Arc::new(Topic { config: Arc::new(config), ..Topic::clone(before) });
            topics.push(Reconfigured { before: Arc::clone(before), after });
        }
    }
    Ok(topics)
}

fn row(value: &impl serde::Serialize) -> String {
    serde_json::to_string(value).expect("a row of numbers and strings is always valid JSON")
}
