//! What can go wrong on a client's side, and whether trying again may help.

use std::io;

use crate::wire::{ApiKey, DecodeError, ErrorCode};

/// An error of the client. Cheap to clone: one broken connection fails many requests.
#[derive(Clone, Debug, thiserror::Error)]
pub enum ClientError {
    /// No connection could be made.
    #[error("cannot connect to {address}: {reason}")]
    Connect {
        /// As it was given.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// The connection ended or broke while requests were waiting on it.
    #[error("the connection to {address} ended: {reason}")]
    Disconnected {
        /// Of the broker.
        address: String,
        /// What the system said.
        reason: String,
    },
    /// No answer in time. The request may have been carried out.
    #[error("{api:?} was not answered within {timeout_ms} ms")]
    TimedOut {
        /// Which request.
        api: ApiKey,
        /// How long it was waited for.
        timeout_ms: u64,
    },
    /// The broker speaks no version of this API that we speak.
    #[error("the broker offers {api:?} in versions {offered}, this client speaks {spoken}")]
    NoCommonVersion {
        /// Which API.
        api: ApiKey,
        /// The broker's versions.
        offered: String,
        /// Ours.
        spoken: String,
    },
    /// The broker's answer could not be read.
    #[error("the broker's answer to {api:?} is not readable: {error}")]
    BadAnswer {
        /// Which request.
        api: ApiKey,
        /// Where and why.
        error: DecodeError,
    },
    /// The broker refused.
    #[error("{what}: {}{}", code.name(), message.as_ref().map(|reason| format!(" ({reason})")).unwrap_or_default())]
    Refused {
        /// What was asked for.
        what: String,
        /// The broker's reason.
        code: ErrorCode,
        /// The broker's words, if it had any.
        message: Option<String>,
    },
    /// A record larger than the producer may hold or the topic may take.
    #[error("a record of {record_bytes} bytes is larger than the limit of {limit_bytes}")]
    RecordTooLarge {
        /// Of the record.
        record_bytes: usize,
        /// The limit that it passed.
        limit_bytes: usize,
    },
    /// A record batch from the broker is damaged.
    #[error("{topic}-{partition}: a fetched record batch is damaged: {reason}")]
    BadRecords {
        /// Where it came from.
        topic: String,
        /// Where it came from.
        partition: i32,
        /// What the check said.
        reason: String,
    },
    /// The producer was closed, or could not go on after an earlier error.
    #[error("the producer is closed")]
    Closed,
}

impl ClientError {
    /// Whether the same request may succeed later, on this or on another connection.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        match self {
            ClientError::Connect { .. } | ClientError::Disconnected { .. } | ClientError::TimedOut { .. } => true,
            ClientError::Refused { code, .. } => code.is_retriable(),
            ClientError::NoCommonVersion { .. }
            | ClientError::BadAnswer { .. }
            | ClientError::RecordTooLarge { .. }
            | ClientError::BadRecords { .. }
            | ClientError::Closed => false,
        }
    }

    pub(super) fn disconnected(address: &str, error: &io::Error) -> ClientError {
        ClientError::Disconnected { address: address.to_owned(), reason: error.to_string() }
    }

    /// `Ok` for the code that means success.
    pub(super) fn check(code: i16, message: Option<&str>, what: impl FnOnce() -> String) -> Result<(), ClientError> {
        match ErrorCode::from_code(code).unwrap_or(ErrorCode::UnknownServerError) {
            ErrorCode::None => Ok(()),
            code => Err(ClientError::Refused { what: what(), code, message: message.map(str::to_owned) }),
        }
    }
}
