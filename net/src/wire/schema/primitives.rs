//! The protocol's plain types as they stand in a table: numbers, ids, texts, bytes and records.
//!
//! Lists and structs, which hold others, are in `schema.rs`.

use super::{Field, Format, Records, Uuid, null_checked};
use crate::wire::reader::{DecodeError, Problem, Reader};
#[cfg(test)]
use crate::wire::sample::Entropy;
use crate::wire::writer::Sink;

impl<'a> Field<'a> for bool {
    fn bytes_min(_: Format) -> usize {
        1
    }
    #[inline]
    fn read(reader: &mut Reader<'a>, _: Format) -> Result<bool, DecodeError> {
        Ok(reader.fixed::<1>()? != [0])
    }
    #[inline]
    fn write<S: Sink>(&self, sink: &mut S, _: Format) {
        sink.put(&[u8::from(*self)]);
    }
    #[cfg(test)]
    fn sample(entropy: &mut Entropy, _: Format) -> bool {
        entropy.below(2) == 1
    }
}

impl<'a> Field<'a> for i8 {
    fn bytes_min(_: Format) -> usize {
        1
    }
    #[inline]
    fn read(reader: &mut Reader<'a>, _: Format) -> Result<i8, DecodeError> {
        Ok(i8::from_be_bytes(reader.fixed()?))
    }
    #[inline]
    fn write<S: Sink>(&self, sink: &mut S, _: Format) {
        sink.put(&self.to_be_bytes());
    }
    #[cfg(test)]
    fn sample(entropy: &mut Entropy, _: Format) -> i8 {
        i8::from_be_bytes(entropy.number())
    }
}

impl<'a> Field<'a> for i16 {
    fn bytes_min(_: Format) -> usize {
        2
    }
    #[inline]
    fn read(reader: &mut Reader<'a>, _: Format) -> Result<i16, DecodeError> {
        reader.i16()
    }
    #[inline]
    fn write<S: Sink>(&self, sink: &mut S, _: Format) {
        sink.put(&self.to_be_bytes());
    }
    #[cfg(test)]
    fn sample(entropy: &mut Entropy, _: Format) -> i16 {
        i16::from_be_bytes(entropy.number())
    }
}

impl<'a> Field<'a> for i32 {
    fn bytes_min(_: Format) -> usize {
        4
    }
    #[inline]
    fn read(reader: &mut Reader<'a>, _: Format) -> Result<i32, DecodeError> {
        reader.i32()
    }
    #[inline]
    fn write<S: Sink>(&self, sink: &mut S, _: Format) {
        sink.put(&self.to_be_bytes());
    }
    #[cfg(test)]
    fn sample(entropy: &mut Entropy, _: Format) -> i32 {
        i32::from_be_bytes(entropy.number())
    }
}

impl<'a> Field<'a> for i64 {
    fn bytes_min(_: Format) -> usize {
        8
    }
    #[inline]
    fn read(reader: &mut Reader<'a>, _: Format) -> Result<i64, DecodeError> {
        Ok(i64::from_be_bytes(reader.fixed()?))
    }
    #[inline]
    fn write<S: Sink>(&self, sink: &mut S, _: Format) {
        sink.put(&self.to_be_bytes());
    }
    #[cfg(test)]
    fn sample(entropy: &mut Entropy, _: Format) -> i64 {
        i64::from_be_bytes(entropy.number())
    }
}

impl<'a> Field<'a> for Uuid {
    fn bytes_min(_: Format) -> usize {
        16
    }
    #[inline]
    fn read(reader: &mut Reader<'a>, _: Format) -> Result<Uuid, DecodeError> {
        reader.fixed()
    }
    #[inline]
    fn write<S: Sink>(&self, sink: &mut S, _: Format) {
        sink.put(self);
    }
    #[cfg(test)]
    fn sample(entropy: &mut Entropy, _: Format) -> Uuid {
        entropy.number()
    }
}

impl<'a> Field<'a> for &'a str {
    fn bytes_min(format: Format) -> usize {
        if format.flexible { 1 } else { 2 }
    }
    #[inline]
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<&'a str, DecodeError> {
        reader.string(format.flexible)?.ok_or_else(|| reader.error(Problem::UnexpectedNull))
    }
    fn write<S: Sink>(&self, sink: &mut S, format: Format) {
        sink.put_string(Some(self), format.flexible);
    }
    #[cfg(test)]
    fn sample(entropy: &mut Entropy, _: Format) -> &'a str {
        entropy.text()
    }
}

impl<'a> Field<'a> for Option<&'a str> {
    fn bytes_min(format: Format) -> usize {
        <&str>::bytes_min(format)
    }
    #[inline]
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Option<&'a str>, DecodeError> {
        let text = reader.string(format.flexible)?;
        null_checked(text, reader, format)
    }
    fn write<S: Sink>(&self, sink: &mut S, format: Format) {
        sink.put_string(self.or(if format.nullable { None } else { Some("") }), format.flexible);
    }
    #[cfg(test)]
    fn sample(entropy: &mut Entropy, format: Format) -> Option<&'a str> {
        (!format.nullable || entropy.below(3) > 0).then(|| entropy.text())
    }
}

impl<'a> Field<'a> for &'a [u8] {
    fn bytes_min(format: Format) -> usize {
        if format.flexible { 1 } else { 4 }
    }
    #[inline]
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<&'a [u8], DecodeError> {
        let Some(length) = reader.length(format.flexible)? else { return Err(reader.error(Problem::UnexpectedNull)) };
        reader.take(length)
    }
    fn write<S: Sink>(&self, sink: &mut S, format: Format) {
        sink.put_length(Some(self.len()), format.flexible);
        sink.put(self);
    }
    #[cfg(test)]
    fn sample(entropy: &mut Entropy, _: Format) -> &'a [u8] {
        entropy.text().as_bytes()
    }
}

impl<'a> Field<'a> for Option<&'a [u8]> {
    fn bytes_min(format: Format) -> usize {
        <&[u8]>::bytes_min(format)
    }
    #[inline]
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Option<&'a [u8]>, DecodeError> {
        let bytes = match reader.length(format.flexible)? {
            Some(length) => Some(reader.take(length)?),
            None => None,
        };
        null_checked(bytes, reader, format)
    }
    fn write<S: Sink>(&self, sink: &mut S, format: Format) {
        match self {
            None if format.nullable => sink.put_length(None, format.flexible),
            _ => self.unwrap_or_default().write(sink, format),
        }
    }
    #[cfg(test)]
    fn sample(entropy: &mut Entropy, format: Format) -> Option<&'a [u8]> {
        (!format.nullable || entropy.below(3) > 0).then(|| entropy.text().as_bytes())
    }
}

impl<'a> Field<'a> for Option<Records> {
    fn bytes_min(format: Format) -> usize {
        if format.flexible { 1 } else { 4 }
    }
    #[inline]
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Option<Records>, DecodeError> {
        let records = match reader.length(format.flexible)? {
            Some(length) => {
                let start = reader.position();
                reader.take(length)?;
                Some(Records { start, length })
            }
            None => None,
        };
        null_checked(records, reader, format)
    }
    fn write<S: Sink>(&self, sink: &mut S, format: Format) {
        let length = self.map(Records::length).or(if format.nullable { None } else { Some(0) });
        sink.put_length(length, format.flexible);
        sink.splice(length.unwrap_or(0));
    }
    #[cfg(test)]
    fn sample(entropy: &mut Entropy, format: Format) -> Option<Records> {
        (!format.nullable || entropy.below(3) > 0).then(|| Records::of_length(entropy.below(300)))
    }
}
