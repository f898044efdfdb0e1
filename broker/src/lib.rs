//! Ringmill, the broker: the one place where the storage engine and the wire meet, and what the binary `ringmill` is made of.
//!
//! `config` decides once what is in effect, `metadata` knows the topics, `cli` is the command line and `logging` what it says about
//! its work; `main.rs` only calls it. `serve` puts a broker together: `core` is a thread with its partitions and connections,
//! `api` answers requests on it, `park` lets a fetch wait, `topics` makes and removes topics over all cores, `settings` changes
//! what is set on them and on the broker.

pub mod api;
pub mod cli;
pub mod config;
pub mod core;
pub mod data_dir;
pub mod fetch_sessions;
pub mod group;
pub mod internal_topics;
pub mod logging;
pub mod metadata;
pub mod park;
pub mod serve;
pub mod settings;
pub mod startup;
pub mod topics;

pub use serve::{Broker, ServeError, serve};
