//! What the metadata database says about a data directory, read out of a copy in memory: no lock is taken and no byte changed.

use std::path::{Path, PathBuf};

use ringmill_engine::data_dir::{SUPERBLOCK_FILE, Superblock, lock_holder};
use ringmill_engine::log::Identity;
use ringmill_engine::repair::Known;
use ringmill_engine::verify::{Problem, ProblemKind, Report};
use uuid::Uuid;

use crate::data_dir::partition_dir_name;
use crate::metadata::inspect::{Inspected, inspect};
use crate::serve::METADATA_FILE;

/// The data directory that a path belongs to.
pub(super) struct Surroundings {
    /// It, if there is one; partitions may also stand alone.
    pub(super) data_dir: Option<PathBuf>,
    /// Who uses it.
    pub(super) holder: Option<String>,
    /// Whether the path is the data directory itself.
    is_whole: bool,
}

impl Surroundings {
    pub(super) fn of(path: &Path) -> Surroundings {
        let path = std::fs::canonicalize(path).unwrap_or_else(|_| path.to_owned());
        let is_data_dir = |at: &&Path| at.join(SUPERBLOCK_FILE).exists() || at.join(METADATA_FILE).exists();
        let data_dir = path.ancestors().take(3).find(is_data_dir).map(Path::to_owned);
        let holder = data_dir.as_deref().and_then(lock_holder);
        Surroundings { is_whole: data_dir.as_ref() == Some(&path), data_dir, holder }
    }

    /// The metadata database's file, where it must be there or is.
    fn metadata_file(&self) -> Option<PathBuf> {
        Some(self.data_dir.as_ref()?.join(METADATA_FILE))
    }

    fn inspect(&self) -> Result<Inspected, Problem> {
        let Some(file) = self.metadata_file() else { return Ok(Inspected::default()) };
        // While the broker writes it, a copy may be torn; a moment later it is not.
        let tries = if self.holder.is_some() { TRIES_BESIDE_BROKER } else { 1 };
        let mut inspected = inspect(&file);
        for _ in 1..tries {
            if inspected.is_ok() {
                break;
            }
            inspected = inspect(&file);
        }
        inspected.map_err(|error| Problem::new(ProblemKind::Metadata, file, error.to_string()))
    }

    /// What repair needs to know and the files themselves may have lost; and what is wrong with the database.
    pub(super) fn known(&self, node_id: i32) -> (Known, Option<Problem>) {
        let inspected = match self.inspect() {
            Ok(inspected) => inspected,
            Err(problem) => return (Known::default(), Some(problem)),
        };
        let identities = identities(&inspected);
        let superblock = inspected.cluster_id.and_then(|id| Uuid::parse_str(&id).ok()).map(|cluster_id| Superblock {
            cluster_id: cluster_id.into_bytes(),
            directory_id: Uuid::new_v4().into_bytes(),
            node_id,
            incarnation: 0,
            features: 0,
            clean: false,
        });
        (Known { identities, superblock }, None)
    }
}

/// Reads of the database beside a running broker.
const TRIES_BESIDE_BROKER: u32 = 5;

/// Which partition each directory's name stands for.
fn identities(inspected: &Inspected) -> std::collections::BTreeMap<String, Identity> {
    let topics = inspected.topics.iter();
    let partitions = topics.flat_map(|topic| (0..topic.partitions).map(move |index| (topic, index)));
    partitions
        .map(|(topic, partition)| {
            (partition_dir_name(&topic.name, partition), Identity { topic_id: topic.id, partition })
        })
        .collect()
}

/// Adds what is wrong with the metadata database of a data directory, and with partitions that it counts.
pub(super) fn check(surroundings: &Surroundings, report: &mut Report) {
    let Some(data_dir) = surroundings.data_dir.as_ref().filter(|_| surroundings.is_whole) else { return };
    let inspected = match surroundings.inspect() {
        Ok(inspected) => inspected,
        Err(problem) => return report.problems.push(problem),
    };
    report.files_checked += u64::from(inspected.cluster_id.is_some());
    if surroundings.holder.is_some() {
        // Topics come and go meanwhile.
        return;
    }
    for (name, identity) in identities(&inspected) {
        let directory = data_dir.join(&name);
        let says = report.partitions.iter().find(|partition| partition.path.ends_with(&name));
        let says = says.and_then(|partition| partition.identity).filter(|&says| says != identity);
        let what = match says {
            _ if !directory.is_dir() => "the metadata counts this partition, and its directory does not exist",
            Some(_) => "its partition.meta belongs to another partition than the metadata expects under this name",
            None => continue,
        };
        report.problems.push(Problem::new(ProblemKind::Meta, directory, what));
    }
}
