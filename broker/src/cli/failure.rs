//! How a command fails: one sentence for people, one exit code for scripts.
//!
//! Every command returns a [`Failure`]; `cli::run` reports it.

use std::io;
use std::process::ExitCode;

use ringmill_net::client::ClientError;
use ringmill_net::wire::ErrorCode;

use crate::config::ConfigErrors;

/// The command line is wrong.
pub(super) const USAGE: u8 = 2;
const OTHER: u8 = 1;
const CONFIG: u8 = 3;
const UNREACHABLE: u8 = 4;
const REFUSED: u8 = 5;
const DAMAGE: u8 = 6;

/// Why a command did not do what it was told.
#[derive(Debug)]
pub(super) struct Failure {
    exit_code: u8,
    /// Empty when everything has been said already.
    message: String,
}

impl Failure {
    /// Anything without a code of its own.
    pub(super) fn other(message: impl Into<String>) -> Failure {
        Failure { exit_code: OTHER, message: message.into() }
    }

    /// What was typed makes no sense.
    pub(super) fn usage(message: impl Into<String>) -> Failure {
        Failure { exit_code: USAGE, message: message.into() }
    }

    /// Files are damaged; the command's output has said where.
    pub(super) fn damage(message: impl Into<String>) -> Failure {
        Failure { exit_code: DAMAGE, message: message.into() }
    }

    /// The broker, or what it said about itself, stands against it.
    pub(super) fn refused(message: impl Into<String>) -> Failure {
        Failure { exit_code: REFUSED, message: message.into() }
    }

    /// A client's failure in other words than its own.
    pub(super) fn saying(error: ClientError, message: String) -> Failure {
        Failure { message, ..Failure::from(error) }
    }

    /// With what was done before it.
    pub(super) fn after(self, done: &str) -> Failure {
        if done.is_empty() {
            return self;
        }
        Failure { message: format!("{}; {done}", self.message), ..self }
    }

    /// A signal ended it before it was done.
    pub(super) fn interrupted(signal: i32, message: impl Into<String>) -> Failure {
        // What a shell reports for a process that a signal ended.
        Failure { exit_code: u8::try_from(128 + signal).unwrap_or(OTHER), message: message.into() }
    }

    /// Standard output was closed by who read it, as `head` does: nothing to say, and no failure.
    fn closed_output() -> Failure {
        Failure { exit_code: 0, message: String::new() }
    }

    /// Says it on standard error.
    pub(super) fn report(&self) -> ExitCode {
        if !self.message.is_empty() {
            eprintln!("ringmill: {}", self.message);
        }
        self.exit_code.into()
    }
}

impl From<ConfigErrors> for Failure {
    fn from(errors: ConfigErrors) -> Failure {
        Failure { exit_code: CONFIG, message: format!("the configuration is wrong\n{errors}") }
    }
}

impl From<ClientError> for Failure {
    fn from(error: ClientError) -> Failure {
        match error {
            ClientError::Connect { .. } => {
                let message =
                    format!("{error}; is the broker running there? Another address is given with --broker HOST:PORT");
                Failure { exit_code: UNREACHABLE, message }
            }
            ClientError::Disconnected { .. } | ClientError::TimedOut { .. } => {
                Failure { exit_code: UNREACHABLE, message: error.to_string() }
            }
            ClientError::Refused { code, .. } => {
                Failure { exit_code: REFUSED, message: format!("{error}{}", advice(code)) }
            }
            ClientError::BadRecords { .. } => Failure { exit_code: DAMAGE, message: error.to_string() },
            error => Failure::other(error.to_string()),
        }
    }
}

/// What to do about a refusal, where that can be said.
fn advice(code: ErrorCode) -> &'static str {
    match code {
        ErrorCode::UnknownTopicOrPartition => "; `ringmill topic list` shows what there is",
        ErrorCode::OffsetOutOfRange => "; `ringmill topic describe` shows what each partition holds",
        ErrorCode::GroupIdNotFound => "; `ringmill group list` shows what there is",
        ErrorCode::NonEmptyGroup => "; `ringmill group describe` shows its members: stop them first",
        ErrorCode::InvalidConfig => "; `ringmill topic config TOPIC` shows what can be set, and what it means",
        ErrorCode::InvalidPartitions => "; a topic has at least one partition, and can only get more",
        _ => "",
    }
}

/// Only standard output's errors come this way; files name themselves where they are opened.
impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Failure {
        match error.kind() {
            io::ErrorKind::BrokenPipe => Failure::closed_output(),
            _ => Failure::other(format!("cannot write to standard output: {error}")),
        }
    }
}
