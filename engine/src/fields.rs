//! Big-endian fields of the engine's own small files: written one behind the other, read back with every bound checked.
//!
//! Frame, checksum and version belong to `data_dir::durable_file`; this knows only what lies inside.

/// Reads fields in order. Every method gives `None` when the bytes are at their end.
pub(crate) struct FieldReader<'a>(&'a [u8]);

impl<'a> FieldReader<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> FieldReader<'a> {
        FieldReader(bytes)
    }

    pub(crate) fn bytes<const N: usize>(&mut self) -> Option<[u8; N]> {
        let (field, rest) = self.0.split_first_chunk()?;
        self.0 = rest;
        Some(*field)
    }

    pub(crate) fn u32(&mut self) -> Option<u32> {
        self.bytes().map(u32::from_be_bytes)
    }

    pub(crate) fn i32(&mut self) -> Option<i32> {
        self.bytes().map(i32::from_be_bytes)
    }

    pub(crate) fn u64(&mut self) -> Option<u64> {
        self.bytes().map(u64::from_be_bytes)
    }

    pub(crate) fn i64(&mut self) -> Option<i64> {
        self.bytes().map(i64::from_be_bytes)
    }

    /// A count of elements of at least `element_bytes` each: never more than the rest can hold.
    pub(crate) fn count(&mut self, element_bytes: usize) -> Option<usize> {
        let count = usize::try_from(self.u32()?).ok()?;
        (count <= self.0.len() / element_bytes).then_some(count)
    }

    /// `value` if nothing is left.
    pub(crate) fn finish<T>(self, value: T) -> Option<T> {
        self.0.is_empty().then_some(value)
    }
}

/// A count as the files hold it.
pub(crate) fn count_field(count: usize) -> [u8; 4] {
    u32::try_from(count).expect("no small file lists 2^32 things").to_be_bytes()
}
