//! From tables to codecs: the `message!` macro turns a table of fields with version ranges, which reads like the protocol's own
//! description, into a struct, its bounded decoder and its sized encoder.
//!
//! A table (see `messages/`) is a line per field: its name, its Rust type, the versions that carry it, and where they apply `null`
//! (the versions in which it may be null), `default` (what a version without it means; the type's own default otherwise) and `tag`
//! (its number in the tagged section). Decoding gives a field that the version does not carry its default; encoding ignores it.
//! Nothing here knows one API from another, and nothing does I/O.

use crate::wire::api::ApiKey;
use crate::wire::reader::{DecodeError, Problem, Reader};
use crate::wire::writer::{Sink, Sizer};
use std::ops::{Range, RangeInclusive};

mod primitives;

/// Memory taken at first for an array, in entries: more is taken as entries really arrive.
const FIRST_CAPACITY_MAX: usize = 1_000;

/// A topic's id on the wire: 16 bytes, all zero for "none".
pub type Uuid = [u8; 16];

/// A request or a response.
pub trait Message<'a>: Versioned<'a> {
    /// Which API it belongs to.
    const KEY: ApiKey;
}

/// The key or the value of a record in which the group coordinator keeps its state.
pub trait GroupRecordPart<'a>: Versioned<'a> {
    /// Which kind of record it belongs to: Kafka's number, which stands before the key.
    const KIND: i16;
}

/// What has a table with versions: a request, a response, or bytes inside records.
pub trait Versioned<'a>: Field<'a> + Default {
    /// For logs.
    const NAME: &'static str;
    /// The versions that the table describes.
    const VERSIONS: RangeInclusive<i16>;
    /// The first version with compact lengths and tagged fields; the highest number where there is none.
    const FLEXIBLE_FROM: i16;

    /// Reads the message's body. What follows it is left unread.
    ///
    /// # Errors
    /// When the bytes are none of this version's, with the field and the position; when the version is not in [`Self::VERSIONS`].
    fn decode(reader: &mut Reader<'a>, version: i16) -> Result<Self, DecodeError> {
        if !Self::VERSIONS.contains(&version) {
            return Err(reader.error(Problem::UnknownVersion { version }).in_field(Self::NAME, "version"));
        }
        Self::read(reader, Format::of::<Self>(version))
    }

    /// Writes the message's body.
    ///
    /// # Panics
    /// When the version is not in [`Self::VERSIONS`]: the caller has negotiated it.
    fn encode(&self, sink: &mut impl Sink, version: i16) {
        assert!(Self::VERSIONS.contains(&version), "{} has no version {version}", Self::NAME);
        self.write(sink, Format::of::<Self>(version));
    }

    /// What [`Versioned::encode`] will write.
    fn size(&self, version: i16) -> Sizer {
        let mut sizer = Sizer::default();
        self.encode(&mut sizer, version);
        sizer
    }
}

/// How a field is written in the version at hand.
#[derive(Clone, Copy, Debug)]
pub struct Format {
    /// Of the message.
    pub version: i16,
    /// Compact lengths and tagged fields.
    pub flexible: bool,
    /// Whether this field may be null.
    pub nullable: bool,
    /// Whether this field stands in the tagged section.
    pub tagged: bool,
}

impl Format {
    /// The format of a message itself, from which those of its fields follow.
    #[must_use]
    pub fn of<'a, M: Versioned<'a>>(version: i16) -> Format {
        Format { version, flexible: version >= M::FLEXIBLE_FROM, nullable: false, tagged: false }
    }

    /// The format of one of its fields.
    #[must_use]
    pub const fn nullable(self, nullable: bool) -> Format {
        Format { nullable, tagged: false, ..self }
    }

    /// The format of that field in the tagged section.
    #[must_use]
    pub const fn tagged(self) -> Format {
        Format { tagged: true, ..self }
    }

    /// What stands before a struct that may be null and is: a byte in the message, a varint in its tagged section.
    const fn null_marker(self) -> i8 {
        if self.tagged { 0 } else { -1 }
    }
}

/// A type that can stand in a table.
pub trait Field<'a>: Sized {
    /// The fewest bytes that a value takes, which bounds how many of them a frame can hold.
    fn bytes_min(format: Format) -> usize;
    /// Reads a value.
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Self, DecodeError>;
    /// Writes a value. `None` in a version that has no null is written as empty.
    fn write<S: Sink>(&self, sink: &mut S, format: Format);
    /// Some value that this version can carry, for property tests.
    #[cfg(test)]
    fn sample(entropy: &mut crate::wire::sample::Entropy, format: Format) -> Self;
}

/// Where the record batches of one partition are.
///
/// Decoded: their place in the body, so that the caller can split them off the frame without a copy. To encode: only their length
/// counts; the bytes themselves are given to `frame::encode_response` or `frame::encode_request` beside the message.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Records {
    start: usize,
    length: usize,
}

impl Records {
    /// Record bytes that the caller will put in.
    #[must_use]
    pub const fn of_length(length: usize) -> Records {
        Records { start: 0, length }
    }

    /// Their place in the body that was decoded.
    #[must_use]
    pub const fn range(self) -> Range<usize> {
        self.start..self.start + self.length
    }

    /// In bytes.
    #[must_use]
    pub const fn length(self) -> usize {
        self.length
    }
}

impl<'a, T: Field<'a>> Field<'a> for Vec<T> {
    fn bytes_min(format: Format) -> usize {
        if format.flexible { 1 } else { 4 }
    }
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Vec<T>, DecodeError> {
        read_array(reader, format)?.ok_or_else(|| reader.error(Problem::UnexpectedNull))
    }
    fn write<S: Sink>(&self, sink: &mut S, format: Format) {
        sink.put_length(Some(self.len()), format.flexible);
        for element in self {
            element.write(sink, format.nullable(false));
        }
    }
    #[cfg(test)]
    fn sample(entropy: &mut crate::wire::sample::Entropy, format: Format) -> Vec<T> {
        (0..entropy.below(4)).map(|_| T::sample(entropy, format.nullable(false))).collect()
    }
}

impl<'a, T: Field<'a>> Field<'a> for Option<Vec<T>> {
    fn bytes_min(format: Format) -> usize {
        <Vec<T>>::bytes_min(format)
    }
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Option<Vec<T>>, DecodeError> {
        let array = read_array(reader, format)?;
        null_checked(array, reader, format)
    }
    fn write<S: Sink>(&self, sink: &mut S, format: Format) {
        match self {
            Some(array) => array.write(sink, format),
            None => sink.put_length(if format.nullable { None } else { Some(0) }, format.flexible),
        }
    }
    #[cfg(test)]
    fn sample(entropy: &mut crate::wire::sample::Entropy, format: Format) -> Option<Vec<T>> {
        (!format.nullable || entropy.below(3) > 0).then(|| Vec::sample(entropy, format))
    }
}

/// A struct inside a message, made by a table.
pub trait Nested<'a>: Field<'a> + Default {}

/// Where it may be null, a byte stands before a struct: −1 for null, 1 for a value; in a tagged section 0 is null. Kafka takes any other
/// that is greater for 1.
impl<'a, T: Nested<'a>> Field<'a> for Option<T> {
    fn bytes_min(format: Format) -> usize {
        if format.nullable { 1 } else { T::bytes_min(format) }
    }
    fn read(reader: &mut Reader<'a>, format: Format) -> Result<Option<T>, DecodeError> {
        if format.nullable && i8::from_be_bytes(reader.fixed()?) <= format.null_marker() {
            return Ok(None);
        }
        T::read(reader, format.nullable(false)).map(Some)
    }
    fn write<S: Sink>(&self, sink: &mut S, format: Format) {
        if format.nullable {
            let marker = if self.is_some() { 1 } else { format.null_marker() };
            sink.put(&marker.to_be_bytes());
        }
        match self {
            Some(value) => value.write(sink, format.nullable(false)),
            None if format.nullable => {}
            None => T::default().write(sink, format.nullable(false)),
        }
    }
    #[cfg(test)]
    fn sample(entropy: &mut crate::wire::sample::Entropy, format: Format) -> Option<T> {
        (!format.nullable || entropy.below(3) > 0).then(|| T::sample(entropy, format.nullable(false)))
    }
}

fn read_array<'a, T: Field<'a>>(reader: &mut Reader<'a>, format: Format) -> Result<Option<Vec<T>>, DecodeError> {
    let element = format.nullable(false);
    let Some(count) = reader.array_count(format.flexible, T::bytes_min(element))? else { return Ok(None) };
    reader.count_array_bytes(count.saturating_mul(size_of::<T>()))?;
    let mut array = Vec::with_capacity(count.min(FIRST_CAPACITY_MAX));
    for _ in 0..count {
        array.push(T::read(reader, element)?);
    }
    Ok(Some(array))
}

#[inline]
fn null_checked<T>(value: Option<T>, reader: &Reader<'_>, format: Format) -> Result<Option<T>, DecodeError> {
    if value.is_none() && !format.nullable { Err(reader.error(Problem::UnexpectedNull)) } else { Ok(value) }
}

/// Turns tables into codecs; see the head of this file for how a table reads.
///
/// `Name<'a>: Api, versions 3..=13, flexible 9.. { … }` is a message, `Name<'a>: record 5, versions …` part of a group coordinator's record
/// of that kind, `Name<'a>: data, versions …` stands in the bytes of another; without the part after the colon it is a struct inside one.
/// A table that is never flexible says `flexible none`.
macro_rules! message {
    ($(
        $(#[$about:meta])*
        $name:ident $(<$life:lifetime>)?
        $(: $key:ident $($kind:literal)?, versions $first:literal ..= $last:literal, flexible $($flexible:literal ..)? $($never:ident)?)?
        { $( $(#[$note:meta])* $field:ident: $type:ty, $versions:expr
             $(, null $null:expr)? $(, default $default:expr)? $(, tag $tag:literal)?; )* }
    )*) => { $(
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Eq)]
        #[allow(missing_docs, reason = "fields bear the protocol's own names; a note stands where the name does not say enough")]
        pub struct $name $(<$life>)? { $( $(#[$note])* pub $field: $type, )* }

        impl $(<$life>)? Default for $name $(<$life>)? {
            fn default() -> Self {
                Self { $( $field: message!(@default $($default)?), )* }
            }
        }

        impl<'a> crate::wire::schema::Field<'a> for $name $(<$life>)? {
            fn bytes_min(format: crate::wire::schema::Format) -> usize {
                // A flexible struct ends in its tagged section, which takes a byte when it is empty.
                let mut bytes = usize::from(format.flexible);
                $( message!(@plain [$($tag)?] {
                    if ($versions).contains(&format.version) {
                        bytes += <$type as crate::wire::schema::Field>::bytes_min(message!(@field format $($null)?));
                    }
                }); )*
                bytes
            }

            fn read(
                reader: &mut crate::wire::reader::Reader<'a>,
                format: crate::wire::schema::Format,
            ) -> Result<Self, crate::wire::reader::DecodeError> {
                let mut message = Self::default();
                $( message!(@plain [$($tag)?] {
                    if ($versions).contains(&format.version) {
                        message.$field = crate::wire::schema::Field::read(reader, message!(@field format $($null)?))
                            .map_err(|error| error.in_field(stringify!($name), stringify!($field)))?;
                    }
                }); )*
                if format.flexible {
                    reader.tagged_fields(|_tag, _reader| {
                        $( message!(@tagged [$($tag)?] {
                            if _tag == message!(@tag $($tag)?) && ($versions).contains(&format.version) {
                                let format = message!(@field format $($null)?).tagged();
                                message.$field = crate::wire::schema::Field::read(_reader, format)
                                    .map_err(|error| error.in_field(stringify!($name), stringify!($field)))?;
                                return Ok(true);
                            }
                        }); )*
                        Ok(false)
                    }).map_err(|error| error.in_field(stringify!($name), "tagged fields"))?;
                }
                Ok(message)
            }

            fn write<S: crate::wire::writer::Sink>(&self, sink: &mut S, format: crate::wire::schema::Format) {
                $( message!(@plain [$($tag)?] {
                    if ($versions).contains(&format.version) {
                        self.$field.write(sink, message!(@field format $($null)?));
                    }
                }); )*
                if format.flexible {
                    // A tagged field is written only when it differs from what its absence means.
                    let _default = Self::default();
                    let count = 0 $( + message!(@count [$($tag)?] {
                        u32::from(($versions).contains(&format.version) && self.$field != _default.$field)
                    }) )*;
                    sink.put_unsigned_varint(count);
                    $( message!(@tagged [$($tag)?] {
                        if ($versions).contains(&format.version) && self.$field != _default.$field {
                            let format = message!(@field format $($null)?).tagged();
                            let mut size = crate::wire::writer::Sizer::default();
                            self.$field.write(&mut size, format);
                            sink.put_unsigned_varint(message!(@tag $($tag)?));
                            sink.put_unsigned_varint(u32::try_from(size.own_bytes).expect("a frame holds less than 2 GiB"));
                            self.$field.write(sink, format);
                        }
                    }); )*
                }
            }

            #[cfg(test)]
            fn sample(entropy: &mut crate::wire::sample::Entropy, format: crate::wire::schema::Format) -> Self {
                let mut message = Self::default();
                $( if ($versions).contains(&format.version) {
                    message.$field = crate::wire::schema::Field::sample(entropy, message!(@field format $($null)?));
                } )*
                message
            }
        }

        #[cfg(test)]
        impl $(<$life>)? crate::wire::description::Describe for $name $(<$life>)? {
            fn shape() -> crate::wire::description::Shape {
                let default = Self::default();
                crate::wire::description::Shape::Struct(stringify!($name), vec![ $(
                    crate::wire::description::FieldDescription {
                        name: stringify!($field),
                        shape: <$type as crate::wire::description::Describe>::shape(),
                        carried: |version| ($versions).contains(&version),
                        nullable: |_version| message!(@nullable _version $($null)?),
                        tag: message!(@tag_if_any $($tag)?),
                        default: crate::wire::description::Describe::text(&default.$field),
                    },
                )* ])
            }
            fn text(&self) -> String {
                assert_eq!(*self, Self::default(), "no schema has another default");
                "{}".to_owned()
            }
        }

        message!(@top [$($key $($kind)?, $first, $last, [$($flexible)? $($never)?])?] $name $(<$life>)?);
    )* };

    (@top [] $name:ident $(<$life:lifetime>)?) => {
        impl<'a> crate::wire::schema::Nested<'a> for $name $(<$life>)? {}
    };
    (@top [data, $first:literal, $last:literal, [$flexible:tt]] $name:ident $(<$life:lifetime>)?) => {
        impl<'a> crate::wire::schema::Versioned<'a> for $name $(<$life>)? {
            const NAME: &'static str = stringify!($name);
            const VERSIONS: std::ops::RangeInclusive<i16> = $first..=$last;
            const FLEXIBLE_FROM: i16 = message!(@flexible $flexible);
        }
    };
    (@top [record $kind:literal, $first:literal, $last:literal, [$flexible:tt]] $name:ident $(<$life:lifetime>)?) => {
        message!(@top [data, $first, $last, [$flexible]] $name $(<$life>)?);
        impl<'a> crate::wire::schema::GroupRecordPart<'a> for $name $(<$life>)? {
            const KIND: i16 = $kind;
        }
    };
    (@top [$key:ident, $first:literal, $last:literal, [$flexible:tt]] $name:ident $(<$life:lifetime>)?) => {
        message!(@top [data, $first, $last, [$flexible]] $name $(<$life>)?);
        impl<'a> crate::wire::schema::Message<'a> for $name $(<$life>)? {
            const KEY: crate::wire::api::ApiKey = crate::wire::api::ApiKey::$key;
        }
    };
    (@flexible none) => { i16::MAX };
    (@flexible $flexible:literal) => { $flexible };
    (@default) => { Default::default() };
    (@default $default:expr) => { $default };
    (@field $format:ident) => { $format.nullable(false) };
    (@field $format:ident $null:expr) => { $format.nullable(($null).contains(&$format.version)) };
    (@nullable $version:ident) => { false };
    (@nullable $version:ident $null:expr) => { ($null).contains(&$version) };
    (@tag_if_any) => { None };
    (@tag_if_any $tag:literal) => { Some($tag) };
    (@plain [] $body:block) => { $body };
    (@plain [$tag:literal] $body:block) => {};
    (@tagged [] $body:block) => {};
    (@tagged [$tag:literal] $body:block) => { $body };
    (@tag $tag:literal) => { $tag };
    (@count [] $body:block) => { 0 };
    (@count [$tag:literal] $body:block) => { $body };
}

pub(crate) use message;
