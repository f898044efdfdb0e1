//! `partition.meta`: what a partition's directory says about itself, authoritative and durable before the first append.
//!
//! ```text
//! topic id          16 bytes
//! partition          4
//! log start offset   8
//! epochs             4 bytes count, then for each: epoch 4, start offset 8; the last is the leader epoch of today
//! ```
//! A missing or damaged file quarantines its partition alone.

use std::io;
use std::path::{Path, PathBuf};

use bytes::BytesMut;
use ringmill_batch::{LeaderEpoch, Offset};

use crate::data_dir::durable_file::{self, Format};
use crate::disk::Disk;
use crate::epochs::{EPOCHS_MAX, EpochList};
use crate::fields::{FieldReader, count_field};
use crate::log::Identity;

/// The file's name in the partition's directory.
pub const FILE_NAME: &str = "partition.meta";

const FORMAT: Format = Format { magic: *b"RMpartmt", version: 1, payload_bytes_max: PAYLOAD_BYTES_MAX };

const FIXED_BYTES: usize = 32;

/// Bytes of one epoch.
const EPOCH_BYTES: usize = 12;

#[expect(clippy::cast_possible_truncation, reason = "a few kilobytes")]
const PAYLOAD_BYTES_MAX: u32 = (FIXED_BYTES + EPOCHS_MAX * EPOCH_BYTES) as u32;

/// The file's contents.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionMeta {
    /// Whose directory it is.
    pub identity: Identity,
    /// The first offset that may be read; rises before data is removed.
    pub log_start: Offset,
    /// The reigns so far, with today's.
    pub epochs: EpochList,
}

impl PartitionMeta {
    /// A new partition's.
    #[must_use]
    pub fn new(identity: Identity) -> PartitionMeta {
        PartitionMeta { identity, log_start: Offset::ZERO, epochs: EpochList::new() }
    }

    /// Where it lies.
    #[must_use]
    pub fn path(dir: &Path) -> PathBuf {
        dir.join(FILE_NAME)
    }

    pub(crate) fn begin_next_epoch(&mut self, start: Offset) {
        let next = self.epochs.current().next().expect("a partition is reopened fewer than 2^31 times");
        self.epochs.begin(next, start);
    }

    /// Replaces the file durably.
    ///
    /// # Errors
    /// The disk's; the old file is then still there, or the new one.
    pub async fn write(&self, disk: &dyn Disk, dir: &Path) -> io::Result<()> {
        durable_file::write(disk, &PartitionMeta::path(dir), &FORMAT, &self.encode()).await
    }

    /// Reads the file.
    ///
    /// # Errors
    /// See [`durable_file::ReadError`].
    pub async fn read(disk: &dyn Disk, dir: &Path) -> Result<PartitionMeta, durable_file::ReadError> {
        let path = PartitionMeta::path(dir);
        let payload = durable_file::read(disk, &path, &FORMAT).await?;
        let why = "its fields do not make a partition";
        PartitionMeta::decode(&payload.bytes).ok_or(durable_file::ReadError::Damaged { path, why: why.to_owned() })
    }

    /// The whole file.
    pub(crate) fn to_file(&self) -> BytesMut {
        durable_file::encode(&FORMAT, &self.encode())
    }

    fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        out.extend_from_slice(&self.identity.topic_id);
        out.extend_from_slice(&self.identity.partition.to_be_bytes());
        out.extend_from_slice(&self.log_start.get().to_be_bytes());
        out.extend_from_slice(&count_field(self.epochs.entries().len()));
        for (epoch, start) in self.epochs.entries() {
            out.extend_from_slice(&epoch.get().to_be_bytes());
            out.extend_from_slice(&start.get().to_be_bytes());
        }
        out
    }

    fn decode(bytes: &[u8]) -> Option<PartitionMeta> {
        let mut fields = FieldReader::new(bytes);
        let identity = Identity { topic_id: fields.bytes()?, partition: fields.i32()? };
        let log_start = Offset::new(fields.i64()?)?;
        let count = fields.count(EPOCH_BYTES)?;
        let epochs = (0..count)
            .map(|_| Some((LeaderEpoch::new(fields.i32()?)?, Offset::new(fields.i64()?)?)))
            .collect::<Option<Vec<_>>>()?;
        let epochs = EpochList::from_entries(epochs)?;
        fields.finish(PartitionMeta { identity, log_start, epochs })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_payload_is_what_the_page_draws() {
        let mut meta = PartitionMeta::new(Identity { topic_id: [7; 16], partition: 3 });
        meta.log_start = Offset::new(5).unwrap();
        meta.begin_next_epoch(Offset::new(9).unwrap());
        let mut expected = vec![7; 16];
        expected.extend_from_slice(&[0, 0, 0, 3]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 5]);
        expected.extend_from_slice(&[0, 0, 0, 2]);
        expected.extend_from_slice(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0]);
        expected.extend_from_slice(&[0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 9]);
        assert_eq!(meta.encode(), expected);
        assert_eq!(PartitionMeta::decode(&expected), Some(meta));
    }

    #[test]
    fn cut_or_longer_payloads_are_refused() {
        let bytes = PartitionMeta::new(Identity { topic_id: [0; 16], partition: 0 }).encode();
        for length in 0..bytes.len() {
            assert_eq!(PartitionMeta::decode(&bytes[..length]), None, "{length} bytes");
        }
        assert_eq!(PartitionMeta::decode(&[bytes, vec![0]].concat()), None);
    }
}
