//! `compaction`: up to which offset a log has been cleaned. Derived: losing it costs a pass over the whole log.
//!
//! ```text
//! cleaned to     8   before this offset no key stands twice
//! ```
//! Written at the end of a pass, when all that it has swapped is durable. A value that is too low is as good as none; one that lies past
//! the segment that is being written is none, and a start removes it.

use std::io;
use std::path::{Path, PathBuf};

use ringmill_batch::Offset;

use crate::data_dir::durable_file::{self, Format, ReadError};
use crate::disk::Disk;
use crate::fields::FieldReader;

/// The file's name in the partition's directory.
pub(crate) const FILE_NAME: &str = "compaction";

const FORMAT: Format = Format { magic: *b"RMcompct", version: 1, payload_bytes_max: 8 };

/// Where it lies.
pub(crate) fn path(dir: &Path) -> PathBuf {
    dir.join(FILE_NAME)
}

/// Replaces the file durably.
///
/// # Errors
/// The disk's; what was cleaned is then cleaned again.
pub(crate) async fn write(disk: &dyn Disk, dir: &Path, cleaned_to: Offset) -> io::Result<()> {
    durable_file::write(disk, &path(dir), &FORMAT, &cleaned_to.get().to_be_bytes()).await
}

/// The whole file.
#[cfg(test)]
pub(crate) fn to_file(cleaned_to: Offset) -> bytes::BytesMut {
    durable_file::encode(&FORMAT, &cleaned_to.get().to_be_bytes())
}

/// Reads the file.
///
/// # Errors
/// See [`ReadError`].
pub(crate) async fn read(disk: &dyn Disk, dir: &Path) -> Result<Offset, ReadError> {
    let payload = durable_file::read(disk, &path(dir), &FORMAT).await?;
    let mut fields = FieldReader::new(&payload.bytes);
    let cleaned_to = fields.i64().and_then(Offset::new).and_then(|offset| fields.finish(offset));
    let why = "its field is no offset".to_owned();
    cleaned_to.ok_or(ReadError::Damaged { path: path(dir), why })
}
