//! Loads on brokers that do not speak Kafka's protocol, against servers of a few lines.

#![expect(clippy::unwrap_used, reason = "a test's own machinery may panic")]

mod fake;
mod nats;
mod rabbitmq;
mod redis;
