//! The Kafka protocol as bytes: primitives, the tables of the messages, headers and frames, in both directions.
//!
//! Pure functions from bytes to structs and back; no I/O, no time, nothing about logs or topics. The broker's handlers, the
//! connections and the client stand on it.

#[cfg(test)]
mod agreement;
pub mod api;
#[cfg(test)]
mod api_plan;
#[cfg(test)]
mod description;
pub mod embedded_protocol;
#[cfg(test)]
mod error_cause;
pub mod error_code;
pub mod frame;
pub mod group_records;
#[cfg(test)]
mod kafka_schemas;
pub mod messages;
mod prefixed;
#[cfg(test)]
mod protocol_page;
pub mod reader;
#[cfg(test)]
pub(crate) mod sample;
pub mod schema;
pub mod writer;

pub use api::{Api, ApiKey};
pub use error_code::ErrorCode;
pub use frame::{RequestHeader, encode_request, encode_response};
pub use reader::{DecodeError, Reader};
pub use schema::{GroupRecordPart, Message, Records, Uuid, Versioned};
