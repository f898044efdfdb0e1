//! What every command of trials is asked for: where, with which broker, how much, how often.

use std::path::PathBuf;

use clap::Args;

use crate::units::parse_bytes;

use super::amounts::Amounts;

/// Fewer runs than this have no middle.
const RUNS_WANTED: u32 = 3;

#[derive(Args, Debug)]
pub(crate) struct TrialOptions {
    /// Says what each factor compares, and measures nothing.
    #[arg(long)]
    pub(crate) list: bool,
    /// Directory on the disk to measure; what is written into it is removed again.
    #[arg(long, default_value = ".")]
    pub(super) dir: PathBuf,
    /// The broker's program [default: the `ringmill` beside this one].
    #[arg(long, value_name = "PATH")]
    ringmill: Option<PathBuf>,
    /// Moves so little that everything is done soon: to try, not to measure.
    #[arg(long)]
    quick: bool,
    /// Bytes that a row moves at most, such as 4GB [default: 1GB].
    #[arg(long, value_parser = parse_bytes, conflicts_with = "quick")]
    bytes: Option<u64>,
    /// Runs of every row; which row comes first changes from one to the next.
    #[arg(long, default_value_t = 3, value_parser = clap::value_parser!(u32).range(1..=100))]
    pub(super) runs: u32,
    /// Writes the picture alone, as one SVG file.
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
}

impl TrialOptions {
    pub(crate) fn amounts(&self) -> Amounts {
        if self.quick { Amounts::QUICK } else { self.bytes.map_or(Amounts::FULL, Amounts::of_bytes) }
    }

    /// The program to start, if a factor goes through a broker: looked for before anything is measured in vain.
    pub(super) fn broker_program(&self, through_broker: Option<&str>) -> Result<PathBuf, String> {
        let beside = || std::env::current_exe().map(|own| own.with_file_name("ringmill"));
        let program = match &self.ringmill {
            Some(program) => program.clone(),
            None => beside()
                .map_err(|error| format!("this program's own place is unknown: {error}; use --ringmill PATH"))?,
        };
        match through_broker {
            Some(factor) if !program.is_file() => Err(format!(
                "`{factor}` starts brokers, and {} is none: build it, say where it is with --ringmill PATH, or name only factors that need none",
                program.display()
            )),
            Some(_) | None => Ok(program),
        }
    }

    /// What keeps the figures from meaning much.
    pub(super) fn cautions(&self) -> Vec<String> {
        let mut cautions = Vec::new();
        if self.quick {
            cautions.push(
                "--quick moves too little for a figure to mean anything: it shows that everything works".to_owned(),
            );
        }
        if cfg!(debug_assertions) {
            cautions.push("this is a debug build: build with --release to measure".to_owned());
        }
        if self.runs < RUNS_WANTED {
            cautions.push(format!("a median of {} says little: --runs {RUNS_WANTED} or more", self.runs));
        }
        cautions
    }
}
