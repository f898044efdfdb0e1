//! What the broker says about its work: one line per event on standard error, as text for a person at a terminal, as JSON for a collector.
//!
//! Called once, by `ringmill serve`, before anything else happens. The parts log through `tracing` and know nothing of this file.

use std::io::{self, IsTerminal};

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt;
use tracing_subscriber::prelude::*;

use crate::config::resolved::LogFormat;

/// Checks what `log.level` may say: a level, or a list of `module=level`, for example `info,ringmill_engine=debug`.
///
/// # Errors
/// What is wrong, as the end of a sentence.
pub fn check_level(directives: &str) -> Result<(), String> {
    for directive in directives.split(',') {
        let level = directive.rsplit_once('=').map_or(directive, |(_, level)| level).trim();
        // Tracing's own parser takes a misspelt level for the name of a module, and then nothing is logged.
        if level.parse::<LevelFilter>().is_err() || level.is_empty() {
            return Err(format!("{level:?} is no level; expected off, error, warn, info, debug or trace"));
        }
    }
    EnvFilter::builder().parse(directives).map(drop).map_err(|error| error.to_string())
}

/// Starts logging to standard error. `directives` have passed [`check_level`].
///
/// # Panics
/// When logging was started before, or the directives were not checked.
pub fn start(directives: &str, format: LogFormat) {
    let filter = EnvFilter::builder().parse(directives).expect("the directives were checked with the configuration");
    let terminal = io::stderr().is_terminal();
    let text = match format {
        LogFormat::Auto => terminal,
        LogFormat::Text => true,
        LogFormat::Json => false,
    };
    let lines = fmt::layer().with_writer(io::stderr);
    let lines = match text {
        true => lines.with_ansi(terminal).with_target(false).boxed(),
        false => lines.json().flatten_event(true).boxed(),
    };
    tracing_subscriber::registry().with(lines.with_filter(filter)).init();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn levels_are_checked_before_tracing_could_misread_them() {
        for good in ["info", "WARN", "off", "info,ringmill_engine=debug", "ringmill_net::connection=trace"] {
            assert_eq!(check_level(good), Ok(()), "{good}");
        }
        for bad in ["", "inf", "info,", "ringmill=loud", "=,="] {
            assert!(check_level(bad).is_err(), "{bad}");
        }
    }
}
