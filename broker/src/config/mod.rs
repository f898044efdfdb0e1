//! What can be configured, where a value came from, and the one validated result.
//!
//! Tables ([`tables`]) name every setting once: name, kind, default, meaning. [`raw`] reads file, environment and flags into lists of
//! assignments to those settings; [`resolved`] folds them, in the order of precedence, into a [`BrokerConfig`]; [`topic`] does the same
//! for one topic over the broker's topic defaults, `groups` for what consumer groups go by. [`running`] lays over both what the admin protocol has set since, [`alter`] is how it
//! does so, and [`describe`] shows the result as Kafka's tools want to see it. Nothing here opens files but the configuration file itself. The command line,
//! the metadata and the composition root call it.

pub mod alter;
pub mod broker_names;
pub mod describe;
mod groups;
mod print;
pub mod raw;
pub mod resolved;
pub mod running;
pub mod setting;
mod suggest;
pub mod tables;
pub mod topic;

pub use print::{Format, print};
pub use raw::{Sources, load};
pub use resolved::BrokerConfig;
pub use running::{DynamicSettings, RunningConfig};
pub use setting::{ConfigErrors, Origin};
pub use topic::{TopicConfig, TopicDefaults};
