//! Holds one of our tables against Kafka's schema of the same message, field by field and version by version.
//!
//! Both are laid out flat for each version that the table has; what differs is told once, with the versions in which it does.

use super::schema::{Schema, SchemaField};
use crate::wire::description::{FieldDescription, Shape, Table};
use std::collections::BTreeMap;
use std::fmt;

/// Something that a table and a schema say differently.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Difference {
    pub(crate) message: String,
    /// With `[]` behind what is an array; empty for the message itself.
    pub(crate) field: String,
    pub(crate) about: About,
    pub(crate) ours: String,
    pub(crate) kafkas: String,
    pub(crate) versions: Vec<i16>,
}

/// What the difference is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum About {
    Name,
    Versions,
    Flexible,
    Advertised,
    Presence,
    Order,
    Type,
    Nullable,
    Tag,
    Default,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Difference { message, field, about, ours, kafkas, versions } = self;
        write!(f, "{message}.{field} in versions {versions:?}: {about:?} is {ours:?} here, {kafkas:?} in Kafka")
    }
}

/// A field as it stands in one version.
#[derive(PartialEq, Eq)]
struct Flat {
    path: String,
    kind: String,
    nullable: bool,
    tag: Option<u32>,
    default: String,
}

/// All that differs.
pub(crate) fn differences(table: &Table, schema: &Schema) -> Vec<Difference> {
    let mut found = Found::default();
    if table.name != schema.name {
        found.note("", About::Name, table.name, &schema.name, None);
    }
    if table.key != schema.key {
        let text = |key: Option<i16>| key.map_or("none".to_owned(), |key| key.to_string());
        found.note("", About::Name, text(table.key), text(schema.key), None);
    }
    for version in table.versions.clone() {
        if !schema.versions.as_ref().is_some_and(|versions| versions.contains(&version)) {
            found.note("", About::Versions, "a table", "none", Some(version));
            continue;
        }
        let (ours, kafkas) = (version >= table.flexible_from, schema.flexible.contains(version));
        if ours != kafkas {
            found.note("", About::Flexible, ours, kafkas, Some(version));
        }
        let (mut ours, mut kafkas) = (Vec::new(), Vec::new());
        flatten_ours("", &table.fields, version, &mut ours);
        flatten_kafkas("", &schema.fields, version, &mut kafkas);
        compare_fields(&ours, &kafkas, version, &mut found);
    }
    found.into_list(table.name)
}

fn compare_fields(ours: &[Flat], kafkas: &[Flat], version: i16, found: &mut Found) {
    let version = Some(version);
    for field in ours {
        let Some(other) = kafkas.iter().find(|other| other.path == field.path) else {
            found.note(&field.path, About::Presence, "a field", "none", version);
            continue;
        };
        if field.kind != other.kind {
            found.note(&field.path, About::Type, &field.kind, &other.kind, version);
        }
        if field.nullable != other.nullable {
            found.note(&field.path, About::Nullable, field.nullable, other.nullable, version);
        }
        if field.tag != other.tag {
            found.note(&field.path, About::Tag, tag_text(field.tag), tag_text(other.tag), version);
        }
        if field.default != other.default {
            found.note(&field.path, About::Default, &field.default, &other.default, version);
        }
    }
    for missing in kafkas.iter().filter(|other| ours.iter().all(|field| field.path != other.path)) {
        found.note(&missing.path, About::Presence, "none", "a field", version);
    }
    // Only the order of what both have, and only of what is not found by its tag.
    let order = |fields: &[Flat], others: &[Flat]| -> Vec<String> {
        let both =
            fields.iter().filter(|field| field.tag.is_none() && others.iter().any(|other| other.path == field.path));
        both.map(|field| field.path.clone()).collect()
    };
    let (our_order, kafkas_order) = (order(ours, kafkas), order(kafkas, ours));
    if let Some(at) = our_order.iter().zip(&kafkas_order).position(|(ours, kafkas)| ours != kafkas) {
        found.note("", About::Order, &our_order[at], &kafkas_order[at], version);
    }
}

fn tag_text(tag: Option<u32>) -> String {
    tag.map_or("none".to_owned(), |tag| tag.to_string())
}

fn flatten_ours(prefix: &str, fields: &[FieldDescription], version: i16, flat: &mut Vec<Flat>) {
    for field in fields.iter().filter(|field| (field.carried)(version)) {
        let (mut kind, mut path, mut shape) = (String::new(), format!("{prefix}{}", field.name), &field.shape);
        while let Shape::Array(element) = shape {
            (kind, path, shape) = (kind + "[]", path + "[]", element);
        }
        let (name, inner) = match shape {
            Shape::Struct(name, inner) => (*name, &inner[..]),
            Shape::Plain(name) => (*name, &[][..]),
            Shape::Array(_) => unreachable!("arrays were taken off"),
        };
        let (nullable, default) = ((field.nullable)(version), field.default.clone());
        flat.push(Flat { path: path.clone(), kind: kind + name, nullable, tag: field.tag, default });
        flatten_ours(&(path + "."), inner, version, flat);
    }
}

fn flatten_kafkas(prefix: &str, fields: &[SchemaField], version: i16, flat: &mut Vec<Flat>) {
    for field in fields.iter().filter(|field| field.versions.contains(version)) {
        let arrays = "[]".repeat(field.kind.matches("[]").count());
        let path = format!("{prefix}{}{arrays}", field.name);
        flat.push(Flat {
            path: path.clone(),
            kind: field.kind.clone(),
            nullable: field.nullable.contains(version),
            tag: field.tag.filter(|_| field.tagged.contains(version)),
            default: field.default.clone(),
        });
        flatten_kafkas(&(path + "."), &field.fields, version, flat);
    }
}

/// Gathers versions under what they share.
#[derive(Default)]
struct Found(BTreeMap<(String, About, String, String), Vec<i16>>);

impl Found {
    fn note(&mut self, field: &str, about: About, ours: impl ToString, kafkas: impl ToString, version: Option<i16>) {
        let place = (field.to_owned(), about, ours.to_string(), kafkas.to_string());
        self.0.entry(place).or_default().extend(version);
    }

    fn into_list(self, message: &str) -> Vec<Difference> {
        let difference = |((field, about, ours, kafkas), versions)| Difference {
            message: message.to_owned(),
            field,
            about,
            ours,
            kafkas,
            versions,
        };
        self.0.into_iter().map(difference).collect()
    }
}
