//! `kills`: the broker is killed at random moments and started again.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::broker::Launch;
use crate::random::Random;
use crate::report::{Counts, Failure, Progress};

/// Kill the broker at random moments and compare what it has with what it promised
#[derive(Debug, Args)]
pub(crate) struct Kills {
    /// The directory with the program `ringmill`
    #[arg(value_name = "BINARY_DIR")]
    binaries: PathBuf,
    /// How often to kill
    #[arg(long, default_value_t = 200)]
    cycles: u64,
    /// Decides everything that the operating system does not
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Kills {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::not_possible("the runtime"))?;
        LocalSet::new().block_on(&runtime, self.cycle())
    }

    async fn cycle(&self) -> Result<(), Failure> {
        let dir = tempfile::tempdir().map_err(Failure::not_possible("a temporary directory"))?;
        let launch = Launch {
            binary: self.binaries.join("ringmill"),
            data_dir: dir.path().join("data"),
            log: dir.path().join("broker.log"),
            io: "uring",
            cores: 2,
            settings: Vec::new(),
        };
        let (mut random, mut counts) = (Random::new(self.seed), Counts::default());
        let mut progress = Progress::new("kills", self.cycles);
        for cycle in 0..self.cycles {
            let mut broker = launch.start()?;
            let during = tokio::select! {
                biased;
                ready = broker.ready() => if ready.is_some() { "kills while serving" } else { "starts that failed" },
                () = sleep(Duration::from_millis(random.below(120))) => "kills during the start",
            };
            broker.kill().await.map_err(|status| Failure::Broken(format!("the broker ended by itself: {status}")))?;
            if let Some(alarm) = broker.said().alarms.first() {
                return Err(Failure::Broken(format!("cycle {cycle}: {alarm}")));
            }
            counts.add(during, 1);
            progress.at(cycle, &counts);
        }
        progress.end(self.cycles, &counts);
        Ok(())
    }
}
