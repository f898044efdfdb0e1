//! Reads Kafka's message schemas: JSON with `//` comments, one file per message.
//!
//! Knows their form and none of our tables. `compare.rs` holds the two together.

use serde_json::Value;
use std::ops::RangeInclusive;

/// The highest version that `3+` is taken to reach.
const VERSION_MAX: i16 = 1000;

/// A request, a response, or bytes inside records, as Kafka describes it.
pub(crate) struct Schema {
    pub(crate) name: String,
    /// None for what belongs to no API and to no kind of record.
    pub(crate) key: Option<i16>,
    /// None where Kafka has dropped the message.
    pub(crate) versions: Option<RangeInclusive<i16>>,
    /// Whether the highest version may still change.
    pub(crate) latest_is_unstable: bool,
    pub(crate) flexible: Versions,
    pub(crate) fields: Vec<SchemaField>,
}

/// A field of one.
pub(crate) struct SchemaField {
    /// As our tables write names: `like_this`.
    pub(crate) name: String,
    /// With `[]` before it for arrays.
    pub(crate) kind: String,
    pub(crate) versions: Versions,
    pub(crate) nullable: Versions,
    pub(crate) tagged: Versions,
    pub(crate) tag: Option<u32>,
    pub(crate) default: String,
    pub(crate) fields: Vec<SchemaField>,
}

/// A set of versions: `3`, `3-5`, `3+` or `none`.
#[derive(Clone)]
pub(crate) struct Versions(Option<RangeInclusive<i16>>);

impl Versions {
    fn parse(text: &str) -> Result<Versions, String> {
        let number = |text: &str| text.parse::<i16>().map_err(|_| format!("{text:?} is no version"));
        Ok(Versions(match text {
            "none" => None,
            _ => Some(match (text.strip_suffix('+'), text.split_once('-')) {
                (Some(first), _) => number(first)?..=VERSION_MAX,
                (None, Some((first, last))) => number(first)?..=number(last)?,
                (None, None) => number(text)?..=number(text)?,
            }),
        }))
    }

    pub(crate) fn contains(&self, version: i16) -> bool {
        self.0.as_ref().is_some_and(|range| range.contains(&version))
    }
}

impl Schema {
    /// Reads a file. `None` for what has no table here: headers, and what Kafka's controllers write.
    pub(crate) fn parse(text: &str) -> Result<Option<Schema>, String> {
        let json: Value = serde_json::from_str(&without_comments(text)).map_err(|error| error.to_string())?;
        let kind = string(&json, "type")?;
        if !matches!(kind, "request" | "response" | "coordinator-key" | "coordinator-value" | "data") {
            return Ok(None);
        }
        let key = json["apiKey"].as_i64().and_then(|key| i16::try_from(key).ok());
        if key.is_none() && kind != "data" {
            return Err("no apiKey".to_owned());
        }
        let shared = json["commonStructs"].as_array().map_or(&[][..], Vec::as_slice);
        Ok(Some(Schema {
            name: string(&json, "name")?.to_owned(),
            key,
            versions: Versions::parse(string(&json, "validVersions")?)?.0,
            latest_is_unstable: json["latestVersionUnstable"].as_bool().unwrap_or(false),
            flexible: versions(&json, "flexibleVersions")?,
            fields: fields(&json, shared)?,
        }))
    }
}

fn fields(json: &Value, shared: &[Value]) -> Result<Vec<SchemaField>, String> {
    let list = json["fields"].as_array().map_or(&[][..], Vec::as_slice);
    list.iter().map(|field| read_field(field, shared)).collect()
}

fn read_field(json: &Value, shared: &[Value]) -> Result<SchemaField, String> {
    let kind = string(json, "type")?;
    let own = fields(json, shared)?;
    // A struct that several fields share is written once, at the end.
    let named = shared.iter().find(|one| one["name"] == kind.trim_start_matches("[]"));
    let fields = match named {
        Some(named) if own.is_empty() => fields(named, shared)?,
        _ => own,
    };
    Ok(SchemaField {
        name: snake_case(string(json, "name")?),
        kind: kind.to_owned(),
        // A field that names none has those in which it is tagged.
        versions: Versions::parse(
            string(json, "versions").or_else(|error| json["taggedVersions"].as_str().ok_or(error))?,
        )?,
        nullable: versions(json, "nullableVersions")?,
        tagged: versions(json, "taggedVersions")?,
        tag: json["tag"].as_u64().and_then(|tag| u32::try_from(tag).ok()),
        default: default(&json["default"], kind)?,
        fields,
    })
}

/// The default as our tables' descriptions write theirs.
fn default(json: &Value, kind: &str) -> Result<String, String> {
    let text = match json {
        Value::Null => return Ok(default_of_type(kind).to_owned()),
        Value::String(text) => text.clone(),
        Value::Bool(_) | Value::Number(_) => json.to_string(),
        Value::Array(_) | Value::Object(_) => return Err(format!("{json} is no default")),
    };
    Ok(match text.strip_prefix("0x") {
        Some(digits) => i64::from_str_radix(digits, 16).map_err(|error| error.to_string())?.to_string(),
        None => text,
    })
}

/// What a schema means that names none.
fn default_of_type(kind: &str) -> &'static str {
    match kind {
        "bool" => "false",
        "int8" | "int16" | "uint16" | "int32" | "uint32" | "int64" => "0",
        "float64" => "0.0",
        // Kafka's generated classes begin without records.
        "records" => "null",
        "string" | "bytes" | "uuid" => "",
        array if array.starts_with("[]") => "",
        _ => "{}",
    }
}

fn versions(json: &Value, name: &str) -> Result<Versions, String> {
    json[name].as_str().map_or(Ok(Versions(None)), Versions::parse)
}

fn string<'a>(json: &'a Value, name: &str) -> Result<&'a str, String> {
    json[name].as_str().ok_or_else(|| format!("no {name} in {json}"))
}

/// Without what stands between `//` and the end of a line, except inside strings.
fn without_comments(text: &str) -> String {
    let mut json = String::with_capacity(text.len());
    let (mut in_string, mut escaped) = (false, false);
    let mut rest = text.chars().peekable();
    while let Some(letter) = rest.next() {
        if !in_string && letter == '/' && rest.peek() == Some(&'/') {
            for skipped in rest.by_ref() {
                if skipped == '\n' {
                    break;
                }
            }
            json.push('\n');
            continue;
        }
        if letter == '"' && !escaped {
            in_string = !in_string;
        }
        escaped = in_string && letter == '\\' && !escaped;
        json.push(letter);
    }
    json
}

/// `LikeThis` to `like_this`.
fn snake_case(name: &str) -> String {
    let mut snake = String::new();
    for letter in name.chars() {
        if letter.is_ascii_uppercase() && !snake.is_empty() {
            snake.push('_');
        }
        snake.push(letter.to_ascii_lowercase());
    }
    snake
}

#[test]
fn comments_end_with_their_line_and_begin_in_no_string() {
    let text = "// {\n{ \"about\": \"see \\\"http://x\\\"\", // note \"\n \"n\": 1 }";
    let json: Value = serde_json::from_str(&without_comments(text)).unwrap();
    assert_eq!((json["about"].as_str(), json["n"].as_i64()), (Some("see \"http://x\""), Some(1)));
}

#[test]
fn versions_are_read_in_all_their_forms() {
    let check = |text: &str, inside: &[i16], outside: &[i16]| {
        let versions = Versions::parse(text).unwrap();
        assert!(inside.iter().all(|version| versions.contains(*version)), "{text}");
        assert!(!outside.iter().any(|version| versions.contains(*version)), "{text}");
    };
    check("none", &[], &[0, 1]);
    check("3", &[3], &[2, 4]);
    check("3-5", &[3, 4, 5], &[2, 6]);
    check("3+", &[3, 99], &[2]);
    assert!(Versions::parse("three").is_err());
}

#[test]
fn defaults_are_read_as_they_are_meant() {
    let check = |json: &str, kind: &str, expected: &str| {
        assert_eq!(default(&serde_json::from_str(json).unwrap(), kind).unwrap(), expected);
    };
    check("null", "int32", "0");
    check("null", "[]Topic", "");
    check("\"null\"", "string", "null");
    check("\"0x7fffffff\"", "int32", "2147483647");
    check("-2", "int32", "-2");
    check("false", "bool", "false");
}
