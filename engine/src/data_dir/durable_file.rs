//! The one mechanism that writes every small file: superblock, partition meta, checkpoints, producer snapshots.
//!
//! A file is replaced whole or not at all: written beside itself, synced, renamed, and the directory synced. It carries what is
//! needed to tell damage from age and from strangers. It knows no payload; its callers encode and decode theirs.
//!
//! All numbers are big-endian:
//!
//! | offset | bytes | |
//! |---|---|---|
//! | 0 | 8 | magic, one per kind of file |
//! | 8 | 4 | version of the payload |
//! | 12 | 4 | n, the payload's length |
//! | 16 | n | payload |
//! | 16 + n | 4 | CRC-32 (ISO-HDLC) of everything before |

use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use bytes::{BufMut, BytesMut};

use crate::disk::{Disk, OpenHow};

/// Ends the name of a file that is being written. One that is found was left by a crash and means nothing.
pub const TEMPORARY_SUFFIX: &str = ".tmp";

const HEADER_BYTES: usize = 16;
const CHECKSUM_BYTES: usize = 4;

/// One kind of file.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// What the file begins with.
    pub magic: [u8; 8],
    /// The payload's version as this program writes it, and the newest it reads.
    pub version: u32,
    /// No payload is longer, neither written nor read.
    pub payload_bytes_max: u32,
}

/// A payload that was whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Payload {
    /// At most the format's own version.
    pub version: u32,
    /// The bytes as they were written.
    pub bytes: BytesMut,
}

/// Why a file was not read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// There is none. The only error that can mean "not yet".
    #[error("{} does not exist", path.display())]
    #[expect(missing_docs, reason = "the message names the field")]
    Missing { path: PathBuf },
    /// The file is not whole, or not of this kind.
    #[error("{} is damaged: {why}", path.display())]
    #[expect(missing_docs, reason = "the message names the fields")]
    Damaged { path: PathBuf, why: String },
    /// A newer program wrote it.
    #[error("{} has version {found}, this program reads up to {known}: run the newer program again", path.display())]
    #[expect(missing_docs, reason = "the message names the fields")]
    Newer { path: PathBuf, found: u32, known: u32 },
    /// The disk failed.
    #[error("{} cannot be read: {source}", path.display())]
    #[expect(missing_docs, reason = "the message names the fields")]
    Io { path: PathBuf, source: io::Error },
}

/// Replaces the file at `path`, durably when this returns. Two writes of the same file must not overlap.
///
/// # Errors
/// What the disk says. Afterwards the old file or the new one is there, never a mixture; after a failed sync of the directory it
/// is not known which one survives a power cut.
///
/// # Panics
/// When the payload is longer than the format allows, or `path` names no file in a directory.
pub async fn write(disk: &dyn Disk, path: &Path, format: &Format, payload: &[u8]) -> io::Result<()> {
    let directory = path.parent().expect("a file to be written lies in a directory");
    let temporary = temporary_path(path);
    let written = write_temporary(disk, &temporary, encode(format, payload)).await;
    let renamed = match written {
        Ok(()) => disk.rename(&temporary, path).await,
        Err(error) => Err(error),
    };
    if let Err(error) = renamed {
        // On a full disk the temporary would hold space that others need. If even this fails, the next write empties it.
        let _ = disk.remove_file(&temporary).await;
        return Err(error);
    }
    disk.sync_dir(directory).await
}

/// Reads the file at `path`, wholly checked.
///
/// # Errors
/// See [`ReadError`].
pub async fn read(disk: &dyn Disk, path: &Path, format: &Format) -> Result<Payload, ReadError> {
    let io_error = |source: io::Error| ReadError::Io { path: path.to_owned(), source };
    let file = match disk.open(path, OpenHow::Read).await {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ReadError::Missing { path: path.to_owned() });
        }
        Err(error) => return Err(io_error(error)),
    };
    // One byte more than can be right, so that a longer file is noticed and not read whole.
    let bytes_max = HEADER_BYTES + format.payload_bytes_max as usize + CHECKSUM_BYTES;
    let length = disk.info(&file).await.map_err(io_error)?.length;
    let wanted = usize::try_from(length).unwrap_or(usize::MAX).min(bytes_max + 1);
    let bytes = disk.read_at(&file, 0, wanted).await.map_err(io_error)?;
    decode(path, format, bytes)
}

/// Where a file is written before it is renamed to `path`.
fn temporary_path(path: &Path) -> PathBuf {
    let mut name = OsString::from(path.file_name().expect("a file to be written has a name"));
    name.push(TEMPORARY_SUFFIX);
    path.with_file_name(name)
}

async fn write_temporary(disk: &dyn Disk, temporary: &Path, bytes: BytesMut) -> io::Result<()> {
    let file = disk.open(temporary, OpenHow::CreateEmpty).await?;
    disk.write_all_at(&file, 0, vec![bytes]).await?;
    disk.sync_all(&file).await
}

/// The whole file with this payload.
pub(crate) fn encode(format: &Format, payload: &[u8]) -> BytesMut {
    let length = u32::try_from(payload.len()).ok().filter(|length| *length <= format.payload_bytes_max);
    let length = length.unwrap_or_else(|| panic!("{} bytes of payload for {format:?}", payload.len()));
    let mut bytes = BytesMut::with_capacity(HEADER_BYTES + payload.len() + CHECKSUM_BYTES);
    bytes.put_slice(&format.magic);
    bytes.put_u32(format.version);
    bytes.put_u32(length);
    bytes.put_slice(payload);
    bytes.put_u32(crc32fast::hash(&bytes));
    bytes
}

fn decode(path: &Path, format: &Format, mut bytes: BytesMut) -> Result<Payload, ReadError> {
    let damaged = |why: String| Err(ReadError::Damaged { path: path.to_owned(), why });
    if bytes.len() < HEADER_BYTES + CHECKSUM_BYTES {
        return damaged(format!("it has {} bytes, too few for a header", bytes.len()));
    }
    if bytes[..8] != format.magic {
        return damaged(format!(
            "it begins with {:02x?}, not with {:?}",
            &bytes[..8],
            format.magic.escape_ascii().to_string()
        ));
    }
    let version = u32_at(&bytes, 8);
    let length = u32_at(&bytes, 12);
    if length > format.payload_bytes_max {
        return damaged(format!("it claims {length} bytes of payload, the limit is {}", format.payload_bytes_max));
    }
    let checked = HEADER_BYTES + length as usize;
    if bytes.len() != checked + CHECKSUM_BYTES {
        return damaged(format!("it claims {length} bytes of payload and has {} bytes in all", bytes.len()));
    }
    if u32_at(&bytes, checked) != crc32fast::hash(&bytes[..checked]) {
        return damaged("its checksum does not match".to_owned());
    }
    // Only now, for a damaged version number is damage and not age.
    if version > format.version {
        return Err(ReadError::Newer { path: path.to_owned(), found: version, known: format.version });
    }
    bytes.truncate(checked);
    Ok(Payload { version, bytes: bytes.split_off(HEADER_BYTES) })
}

fn u32_at(bytes: &[u8], offset: usize) -> u32 {
    u32::from_be_bytes(bytes[offset..offset + 4].try_into().expect("four bytes are four bytes"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::{PosixDisk, block_on};

    const FORMAT: Format = Format { magic: *b"RM-tests", version: 2, payload_bytes_max: 100 };

    fn decoded(bytes: &[u8]) -> Result<Payload, String> {
        decode(Path::new("f"), &FORMAT, BytesMut::from(bytes)).map_err(|error| error.to_string())
    }

    #[test]
    fn the_layout_is_the_documented_one() {
        let expected = b"RM-tests\0\0\0\x02\0\0\0\x03abc\xda\x41\xd1\xe2";
        assert_eq!(encode(&FORMAT, b"abc"), expected[..]);
        assert_eq!(decoded(expected), Ok(Payload { version: 2, bytes: BytesMut::from(&b"abc"[..]) }));
    }

    #[test]
    fn no_changed_byte_and_no_changed_length_passes() {
        let whole = encode(&FORMAT, b"payload");
        for place in 0..whole.len() {
            for bit in 0..8 {
                let mut changed = whole.clone();
                changed[place] ^= 1 << bit;
                let error = decoded(&changed).unwrap_err();
                assert!(error.contains("damaged"), "byte {place}: {error}");
            }
        }
        for length in 0..whole.len() {
            assert!(decoded(&whole[..length]).unwrap_err().contains("damaged"));
        }
        assert!(decoded(&[&whole[..], b"x"].concat()).unwrap_err().contains("damaged"));
    }

    #[test]
    fn a_newer_version_is_not_taken_for_damage() {
        let newer = Format { version: 3, ..FORMAT };
        assert!(decoded(&encode(&newer, b"abc")).unwrap_err().contains("has version 3, this program reads up to 2"));
        let older = Format { version: 1, ..FORMAT };
        assert_eq!(decoded(&encode(&older, b"abc")).unwrap().version, 1);
    }

    #[test]
    fn files_are_replaced_and_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let disk = PosixDisk::new(1).unwrap();
        block_on(&disk, async {
            let disk: &dyn Disk = &disk;
            assert!(matches!(read(disk, &path, &FORMAT).await, Err(ReadError::Missing { .. })));
            for payload in [&b"first"[..], b"the second", b""] {
                write(disk, &path, &FORMAT, payload).await.unwrap();
                assert_eq!(read(disk, &path, &FORMAT).await.unwrap().bytes, payload);
                assert_eq!(disk.list_dir(dir.path()).await.unwrap().len(), 1, "no temporary is left");
            }
            std::fs::write(&path, vec![0; 1 << 20]).unwrap();
            let error = read(disk, &path, &FORMAT).await.unwrap_err();
            assert!(matches!(error, ReadError::Damaged { .. }), "{error}");
        });
    }
}
