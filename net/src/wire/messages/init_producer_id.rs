//! InitProducerId (key 22): an identity for an idempotent producer.
//!
//! Kafka 4.4's version 6 (two-phase commit) is marked unstable there and is not in the table.

use crate::wire::schema::message;

message! {
    /// Asks for a producer id, or with a known id for its next epoch.
    InitProducerIdRequest<'a>: InitProducerId, versions 0..=5, flexible 2.. {
        /// Null for a producer that is idempotent only.
        transactional_id: Option<&'a str>, 0.., null 0..;
        transaction_timeout_ms: i32, 0..;
        producer_id: i64, 3.., default -1;
        producer_epoch: i16, 3.., default -1;
    }

    /// The identity.
    InitProducerIdResponse: InitProducerId, versions 0..=5, flexible 2.. {
        throttle_time_ms: i32, 0..;
        error_code: i16, 0..;
        producer_id: i64, 0.., default -1;
        producer_epoch: i16, 0..;
    }
}
