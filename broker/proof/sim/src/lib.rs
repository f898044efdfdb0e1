//! The whole broker as tasks of one thread: a simulated disk, connections in memory, and a clock that only jumps. One seed decides
//! everything, and the same seed gives the same trace.
//!
//! [`run`](run::run) runs a seed: lives of a broker with crashes between them, under the faults and with the clients that the seed picks.
//! Whoever only wants a broker on such a machine (tests, fuzz targets) takes a [`Machine`] and boots it inside a `LocalSet`. Nothing here
//! touches a real disk, a socket or the real time.

mod actors;
pub mod client;
mod compacting;
mod consumer;
mod groups;
pub mod history;
mod life;
pub mod machine;
mod plan;
mod producer;
pub mod random;
pub mod reached;
pub mod records;
pub mod run;
pub mod theme;

pub use client::Client;
pub use machine::{Machine, NotBooted, Running};
pub use random::Random;
pub use theme::Theme;
