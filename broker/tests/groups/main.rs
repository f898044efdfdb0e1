//! Consumer groups over the wire: every API by requests that a test writes itself, and what must hold across restarts.
//!
//! The state machine's own rules are tested beside it, in `ringmill-groups`; here is what handlers, coordinator and log make of them.

#[path = "../raw/mod.rs"]
mod raw;

mod topic;

const OK: i16 = 0;
