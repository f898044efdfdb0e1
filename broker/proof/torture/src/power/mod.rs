//! `power`: the power of the broker's disk is cut at random moments, on real file systems over loop devices.
//!
//! The order of a cut matters. First every thread of the broker stands still, only then the file system is shut down: a sync that is
//! under way meanwhile may return 0 though its data is gone (seen on ext4, in 5 of 60 runs of a program that only writes and syncs),
//! which no real power cut would let anybody hear.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use tokio::task::LocalSet;
use tokio::time::sleep;

use crate::broker::Launch;
use crate::namespace::{self, Room};
use crate::random::Random;
use crate::report::{Counts, Failure, Progress};

pub(crate) mod file_system;
pub(crate) mod rig;
mod shutdown;

use file_system::Kind;
use rig::Rig;
use shutdown::Shutdown;

/// How much memory images and mounts may take.
const ROOM_BYTES: u64 = 4 << 30;

/// Cut the power of the broker's disk at random moments, on real file systems (needs root)
#[derive(Debug, Args)]
pub(crate) struct Power {
    /// The directory with the program `ringmill`
    #[arg(value_name = "BINARY_DIR")]
    binaries: PathBuf,
    /// How often to cut
    #[arg(long, default_value_t = 200)]
    cycles: u64,
    /// Decides everything that the operating system does not
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// The file system
    #[arg(long, value_enum, default_value_t = Kind::Ext4)]
    fs: Kind,
}

impl Power {
    pub(crate) fn run(&self) -> Result<(), Failure> {
        let mkfs = format!("mkfs.{}", self.fs);
        let room = namespace::enter(&[&mkfs, "mount"], ROOM_BYTES).map_err(Failure::Skipped)?;
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
        let runtime = runtime.map_err(Failure::not_possible("the runtime"))?;
        LocalSet::new().block_on(&runtime, self.cycle(&room))
    }

    async fn cycle(&self, room: &Room) -> Result<(), Failure> {
        let mut random = Random::new(self.seed);
        let mut rig = Rig::on_image(self.fs, room.path(), &mut random)?;
        rig.mount()?;
        let launch = Launch {
            binary: self.binaries.join("ringmill"),
            data_dir: rig.path().join("data"),
            log: room.path().join("broker.log"),
            io: "uring".to_owned(),
            cores: 2,
            settings: Vec::new(),
        };
        let (mut counts, mut progress) = (Counts::default(), Progress::new("power", self.cycles));
        for cycle in 0..self.cycles {
            let mut broker = launch.start()?;
            if broker.ready().await.is_none() {
                return Err(Failure::Broken(format!("no start after a cut: {:?}", broker.said())));
            }
            sleep(Duration::from_millis(random.below(50))).await;
            broker.freeze().map_err(Failure::not_possible("stopping the broker's threads"))?;
            rig.cut(Shutdown::NothingFlushed)?;
            broker.kill().await.map_err(|status| Failure::Broken(format!("the broker ended by itself: {status}")))?;
            rig.restore()?;
            rig.mount()?;
            counts.add("power cuts", 1);
            progress.at(cycle, &counts);
        }
        progress.end(self.cycles, &counts);
        Ok(())
    }
}
