//! Who a data directory belongs to, what it needs to be understood, and whether its last stop was clean.
//!
//! Pure bytes in and out, and a reader for tools; [`DataDir`](super::DataDir) reads and writes the file. The payload, big-endian:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 16 | cluster id |
//! | 16 | 16 | directory id |
//! | 32 | 4 | node id |
//! | 36 | 8 | incarnation |
//! | 44 | 8 | feature bits a reader must know |
//! | 52 | 1 | 1 after a clean stop, else 0 |

use std::path::Path;

use bytes::{Buf, BufMut, BytesMut};

use super::durable_file::{self, Format, ReadError};
use crate::disk::Disk;

/// The superblock's file name inside the data directory.
pub const SUPERBLOCK_FILE: &str = "superblock";

pub(super) const FORMAT: Format = Format { magic: *b"RM-super", version: 1, payload_bytes_max: 4096 };

const PAYLOAD_BYTES: usize = 53;

/// Feature bits that this program understands. A directory that needs others is refused: its data could be misread.
pub(super) const FEATURES_KNOWN: u64 = 0;

/// See the module's page.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Superblock {
    /// Which cluster the directory belongs to; made up at initialisation.
    pub cluster_id: [u8; 16],
    /// Tells directories apart, copies included only by accident; made up at initialisation.
    pub directory_id: [u8; 16],
    /// Kafka's `node.id`, 0 or more.
    pub node_id: i32,
    /// Rises by one at every start.
    pub incarnation: u64,
    /// What a reader must know to understand the directory.
    pub features: u64,
    /// Whether everything was drained, synced and healthy when the broker stopped.
    pub clean: bool,
}

impl Superblock {
    /// Reads the superblock of the data directory `dir` and changes nothing.
    ///
    /// # Errors
    /// See [`ReadError`].
    pub async fn read(disk: &dyn Disk, dir: &Path) -> Result<Superblock, ReadError> {
        let path = dir.join(SUPERBLOCK_FILE);
        let payload = durable_file::read(disk, &path, &FORMAT).await?;
        Superblock::decode(&payload.bytes).map_err(|why| ReadError::Damaged { path, why })
    }

    /// The whole file.
    pub(crate) fn to_file(&self) -> BytesMut {
        durable_file::encode(&FORMAT, &self.encode())
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let mut bytes = Vec::with_capacity(PAYLOAD_BYTES);
        bytes.put_slice(&self.cluster_id);
        bytes.put_slice(&self.directory_id);
        bytes.put_i32(self.node_id);
        bytes.put_u64(self.incarnation);
        bytes.put_u64(self.features);
        bytes.put_u8(u8::from(self.clean));
        debug_assert_eq!(bytes.len(), PAYLOAD_BYTES);
        bytes
    }

    /// Takes a payload apart whose checksum was right; what is wrong with it otherwise.
    pub(super) fn decode(mut bytes: &[u8]) -> Result<Superblock, String> {
        if bytes.len() != PAYLOAD_BYTES {
            return Err(format!("its payload has {} bytes, not {PAYLOAD_BYTES}", bytes.len()));
        }
        let mut cluster_id = [0; 16];
        bytes.copy_to_slice(&mut cluster_id);
        let mut directory_id = [0; 16];
        bytes.copy_to_slice(&mut directory_id);
        let node_id = bytes.get_i32();
        let incarnation = bytes.get_u64();
        let features = bytes.get_u64();
        let clean = match bytes.get_u8() {
            0 => false,
            1 => true,
            other => return Err(format!("its clean mark is {other}, neither 0 nor 1")),
        };
        if node_id < 0 {
            return Err(format!("its node id is {node_id}"));
        }
        Ok(Superblock { cluster_id, directory_id, node_id, incarnation, features, clean })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The bytes of version 1. They never change: a new layout takes a new version and keeps this test.
    const GOLDEN: &[u8; PAYLOAD_BYTES] = b"cluster-id-here!directory-id-is!\
        \0\0\0\x07\0\0\0\0\0\0\x01\x02\0\0\0\0\0\0\0\x04\x01";

    fn golden() -> Superblock {
        Superblock {
            cluster_id: *b"cluster-id-here!",
            directory_id: *b"directory-id-is!",
            node_id: 7,
            incarnation: 258,
            features: 4,
            clean: true,
        }
    }

    #[test]
    fn version_1_keeps_its_bytes() {
        assert_eq!(golden().encode(), GOLDEN);
        assert_eq!(Superblock::decode(GOLDEN), Ok(golden()));
    }

    #[test]
    fn payloads_that_disagree_are_refused() {
        assert!(Superblock::decode(&GOLDEN[1..]).unwrap_err().contains("52 bytes"));
        let mut unclear = *GOLDEN;
        unclear[52] = 2;
        assert!(Superblock::decode(&unclear).unwrap_err().contains("clean mark is 2"));
        let mut negative = *GOLDEN;
        negative[32] = 0x80;
        assert!(Superblock::decode(&negative).unwrap_err().contains("node id"));
    }
}
