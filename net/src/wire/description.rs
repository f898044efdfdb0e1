//! What a table says, as data: for the comparison with Kafka's schemas.
//!
//! Only compiled for tests. The `message!` macro describes every struct; `kafka_schemas` reads the descriptions.

use super::schema::{GroupRecordPart, Message, Records, Uuid, Versioned};
use std::ops::RangeInclusive;

/// A message's table.
pub(crate) struct Table {
    pub(crate) name: &'static str,
    /// What Kafka's schemas call `apiKey`: an API's key or a record's kind; nothing for bytes inside others.
    pub(crate) key: Option<i16>,
    pub(crate) versions: RangeInclusive<i16>,
    pub(crate) flexible_from: i16,
    pub(crate) fields: Vec<FieldDescription>,
}

impl Table {
    pub(crate) fn of<'a, M: Message<'a> + Describe>() -> Table {
        Table { key: Some(M::KEY.code()), ..Table::of_data::<M>() }
    }

    pub(crate) fn of_record<'a, M: GroupRecordPart<'a> + Describe>() -> Table {
        Table { key: Some(M::KIND), ..Table::of_data::<M>() }
    }

    pub(crate) fn of_data<'a, M: Versioned<'a> + Describe>() -> Table {
        let Shape::Struct(_, fields) = M::shape() else { unreachable!("a message is a struct") };
        Table { name: M::NAME, key: None, versions: M::VERSIONS, flexible_from: M::FLEXIBLE_FROM, fields }
    }
}

/// A line of a table.
pub(crate) struct FieldDescription {
    pub(crate) name: &'static str,
    pub(crate) shape: Shape,
    /// Whether a version carries it.
    pub(crate) carried: fn(i16) -> bool,
    /// Whether it may be null in a version.
    pub(crate) nullable: fn(i16) -> bool,
    pub(crate) tag: Option<u32>,
    /// As [`Describe::text`] writes it.
    pub(crate) default: String,
}

/// A field's type, as schemas name it.
pub(crate) enum Shape {
    Plain(&'static str),
    Array(Box<Shape>),
    Struct(&'static str, Vec<FieldDescription>),
}

/// A type that can stand in a table.
pub(crate) trait Describe {
    fn shape() -> Shape;
    /// The value as a schema writes a default: nothing for what is empty, `{}` for a struct without anything said.
    fn text(&self) -> String;
}

/// Numbers and their names.
macro_rules! described_as_written {
    ($($type:ty, $name:literal;)*) => { $(
        impl Describe for $type {
            fn shape() -> Shape {
                Shape::Plain($name)
            }
            fn text(&self) -> String {
                self.to_string()
            }
        }
    )* };
}

described_as_written! {
    bool, "bool";
    i8, "int8";
    i16, "int16";
    i32, "int32";
    i64, "int64";
    &str, "string";
}

impl Describe for Uuid {
    fn shape() -> Shape {
        Shape::Plain("uuid")
    }
    fn text(&self) -> String {
        assert_eq!(*self, Uuid::default(), "no schema has another default");
        String::new()
    }
}

impl Describe for &[u8] {
    fn shape() -> Shape {
        Shape::Plain("bytes")
    }
    fn text(&self) -> String {
        assert!(self.is_empty(), "no schema has another default");
        String::new()
    }
}

impl Describe for Records {
    fn shape() -> Shape {
        Shape::Plain("records")
    }
    fn text(&self) -> String {
        String::new()
    }
}

impl<T: Describe> Describe for Vec<T> {
    fn shape() -> Shape {
        Shape::Array(Box::new(T::shape()))
    }
    fn text(&self) -> String {
        assert!(self.is_empty(), "no schema has another default");
        String::new()
    }
}

impl<T: Describe> Describe for Option<T> {
    fn shape() -> Shape {
        T::shape()
    }
    fn text(&self) -> String {
        self.as_ref().map_or("null".to_owned(), Describe::text)
    }
}
