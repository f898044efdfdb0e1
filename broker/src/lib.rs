//! Ringmill, the broker: the one place where the storage engine and the wire meet, and what the binary `ringmill` is made of.
//!
//! `config` decides once what is in effect, `metadata` knows the topics, `cli` is the command line and `logging` what it says about
//! its work. `main.rs` only calls [`cli::run`].

pub mod config;
pub mod metadata;
