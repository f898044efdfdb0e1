//! Reads the metadata database without opening it: out of a copy in memory, for tools that may run beside a broker.
//!
//! It checks what opening checks, but for the broker's own configuration, and changes nothing.

use std::io;
use std::path::Path;

use super::guard;
use super::image::TopicId;
use super::name::check_topic_name;
use super::storage::open_copy;
use super::store::{FORMAT_VERSION, OpenError, PARTITIONS_PER_TOPIC_MAX, TopicRow, deleted_topics, read};

/// A larger file is no metadata database, and not read into memory.
const FILE_BYTES_MAX: u64 = 4 << 30;

/// What the database says.
#[derive(Clone, Debug, Default)]
pub struct Inspected {
    /// Whose it is; `None` from a file in which nothing was ever committed, or that is not there.
    pub cluster_id: Option<String>,
    /// Its topics, by name.
    pub topics: Vec<InspectedTopic>,
}

/// A topic as the database counts it.
#[derive(Clone, Debug)]
pub struct InspectedTopic {
    /// Its name.
    pub name: String,
    /// Its identity.
    pub id: TopicId,
    /// Its partitions.
    pub partitions: i32,
}

/// Reads the database at `path`. A missing one gives nothing: a broker makes it at its first start.
///
/// # Errors
/// [`OpenError`], as when a broker opens it.
pub fn inspect(path: &Path) -> Result<Inspected, OpenError> {
    let name = || path.display().to_string();
    let io_error = |source| OpenError::Io { path: name(), source };
    let damaged = |why: String| OpenError::Damaged { path: name(), why };
    let bytes = match std::fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Inspected::default()),
        Err(error) => return Err(io_error(error)),
        Ok(found) if found.len() > FILE_BYTES_MAX => return Err(damaged(format!("it has {} bytes", found.len()))),
        Ok(_) => std::fs::read(path).map_err(io_error)?,
    };
    if bytes.is_empty() {
        return Err(damaged("it is empty".to_owned()));
    }
    let content = guard::opening(&name(), || {
        let mut database = open_copy(&bytes).map_err(|error| damaged(error.to_string()))?;
        database.check_integrity().map_err(|error| damaged(error.to_string()))?;
        read(&database).map_err(|error| damaged(error.to_string()))
    })?;
    let Some(content) = content else {
        return Ok(Inspected::default());
    };
    if content.format > FORMAT_VERSION {
        return Err(OpenError::NewerFormat { path: name(), found: content.format });
    }
    let mut topics = Vec::with_capacity(content.topics.len());
    for (topic, row) in content.topics {
        let row: TopicRow =
            serde_json::from_str(&row).map_err(|error| damaged(format!("the row of topic {topic}: {error}")))?;
        // A broker would refuse it, and nobody counts partitions by a damaged number.
        check_topic_name(&topic).map_err(|error| damaged(format!("a topic's name: {error}")))?;
        if !(1..=PARTITIONS_PER_TOPIC_MAX).contains(&row.partitions) {
            return Err(damaged(format!("topic {topic} has {} partitions", row.partitions)));
        }
        topics.push(InspectedTopic { name: topic, id: row.id.into_bytes(), partitions: row.partitions });
    }
    deleted_topics(&content.deletions).map_err(damaged)?;
    Ok(Inspected { cluster_id: Some(content.cluster_id), topics })
}
