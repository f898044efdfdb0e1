//! Bytes that begin with a number of 16 bits which says how to read the rest: the parts of the group coordinator's records, and what
//! members of classic groups tell each other.

use super::reader::{DecodeError, Reader};
use super::schema::Versioned;
use super::writer::{Sink, Writer};
use bytes::Bytes;

/// The number and the table's bytes in that version.
pub(super) fn encode<'a, T: Versioned<'a>>(number: i16, table: &T, version: i16) -> Bytes {
    let prefix = number.to_be_bytes();
    let mut writer = Writer::with_capacity(prefix.len() + table.size(version).total_bytes());
    writer.put(&prefix);
    table.encode(&mut writer, version);
    writer.bytes.freeze()
}

/// The number, and a reader of what follows. `whose` names the place in the error.
pub(super) fn split<'a>(
    bytes: &'a [u8],
    array_bytes_max: usize,
    whose: &'static str,
) -> Result<(i16, Reader<'a>), DecodeError> {
    let mut reader = Reader::bounded(bytes, array_bytes_max);
    let number = reader.i16().map_err(|error| error.in_field(whose, "version"))?;
    Ok((number, reader))
}
