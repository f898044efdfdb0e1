//! A record as a line of JSON, and back: what `consume -o json` prints, `produce --input json` takes.
//!
//! Bytes that are not UTF-8 stand in hexadecimal under another name (`value_hex`), so that nothing is lost on the way. `log dump`
//! prints records like this too. Public, so that it can be fuzzed.

use bytes::Bytes;
use ringmill_batch::Record;
use ringmill_net::client::ProducerRecord;
use serde::de::IgnoredAny;
use serde::ser::{SerializeMap, SerializeSeq};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A record to be written as JSON.
pub struct JsonRecord<'a> {
    /// Left out where it goes without saying.
    pub partition: Option<i32>,
    /// The record.
    pub record: &'a Record<'a>,
}

impl Serialize for JsonRecord<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        if let Some(partition) = self.partition {
            object.serialize_entry("partition", &partition)?;
        }
        object.serialize_entry("offset", &self.record.offset.get())?;
        object.serialize_entry("timestamp_ms", &self.record.timestamp_ms)?;
        entry(&mut object, ["key", "key_hex"], self.record.key)?;
        entry(&mut object, ["value", "value_hex"], self.record.value)?;
        if !self.record.headers.is_empty() {
            object.serialize_entry("headers", &JsonHeaders(self.record))?;
        }
        object.end()
    }
}

struct JsonHeaders<'a>(&'a Record<'a>);

impl Serialize for JsonHeaders<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut list = serializer.serialize_seq(Some(self.0.headers.len()))?;
        for (name, value) in self.0.headers.iter() {
            list.serialize_element(&JsonHeader { name, value })?;
        }
        list.end()
    }
}

struct JsonHeader<'a> {
    name: &'a [u8],
    value: Option<&'a [u8]>,
}

impl Serialize for JsonHeader<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut object = serializer.serialize_map(None)?;
        entry(&mut object, ["name", "name_hex"], Some(self.name))?;
        entry(&mut object, ["value", "value_hex"], self.value)?;
        object.end()
    }
}

/// Bytes as text under the first name, or in hexadecimal under the second.
fn entry<M: SerializeMap>(object: &mut M, names: [&'static str; 2], bytes: Option<&[u8]>) -> Result<(), M::Error> {
    match bytes.map(|bytes| str::from_utf8(bytes).map_err(|_| bytes)) {
        None => object.serialize_entry(names[0], &None::<&str>),
        Some(Ok(text)) => object.serialize_entry(names[0], text),
        Some(Err(bytes)) => object.serialize_entry(names[1], &to_hex(bytes)),
    }
}

/// A line as it is read. Other names are refused, for a misspelt one would lose what it holds.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    /// What a record from elsewhere may also say of itself; it gets another.
    #[serde(default, rename = "topic")]
    _topic: Option<IgnoredAny>,
    #[serde(default, rename = "offset")]
    _offset: Option<IgnoredAny>,
    partition: Option<i32>,
    timestamp_ms: Option<i64>,
    #[serde(default, deserialize_with = "present")]
    key: Option<Option<String>>,
    key_hex: Option<String>,
    #[serde(default, deserialize_with = "present")]
    value: Option<Option<String>>,
    value_hex: Option<String>,
    #[serde(default)]
    headers: Vec<Header>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Header {
    name: Option<String>,
    name_hex: Option<String>,
    #[serde(default, deserialize_with = "present")]
    value: Option<Option<String>>,
    value_hex: Option<String>,
}

/// Tells a null from nothing.
fn present<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Option<String>>, D::Error> {
    Option::deserialize(deserializer).map(Some)
}

/// Reads a line; the record has no topic yet.
///
/// # Errors
/// What is wrong with the line, to be told to whoever wrote it.
pub fn parse(line: &[u8]) -> Result<ProducerRecord, String> {
    let line: Line = serde_json::from_slice(line).map_err(|error| {
        // The parser counts lines inside the line that it is given.
        let text = error.to_string();
        let (message, _) = text.rsplit_once(" at line ").unwrap_or((&text, ""));
        format!("column {}: {message}", error.column())
    })?;
    if let Some(partition) = line.partition.filter(|partition| *partition < 0) {
        return Err(format!("partition {partition} is negative"));
    }
    let header = |header: Header| {
        let name = take("name", header.name.map(Some), header.name_hex)?.ok_or("a header has no name")?;
        Ok((name, take("value", header.value, header.value_hex)?))
    };
    if line.value.is_none() && line.value_hex.is_none() {
        return Err("there is no \"value\"; write null for none".to_owned());
    }
    Ok(ProducerRecord {
        partition: line.partition,
        timestamp_ms: line.timestamp_ms,
        key: take("key", line.key, line.key_hex)?,
        value: take("value", line.value, line.value_hex)?,
        headers: line.headers.into_iter().map(header).collect::<Result<_, String>>()?,
        ..ProducerRecord::default()
    })
}

fn take(name: &str, text: Option<Option<String>>, hex: Option<String>) -> Result<Option<Bytes>, String> {
    match (text, hex) {
        (Some(_), Some(_)) => Err(format!("both \"{name}\" and \"{name}_hex\" are given")),
        (text, None) => Ok(text.flatten().map(Bytes::from)),
        (None, Some(hex)) => match from_hex(&hex) {
            Some(bytes) => Ok(Some(bytes.into())),
            None => Err(format!("\"{name}_hex\" is not hexadecimal, two digits a byte")),
        },
    }
}

fn to_hex(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    let digits = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    digits.map(|digit| char::from(DIGITS[usize::from(digit)])).collect()
}

fn from_hex(text: &str) -> Option<Vec<u8>> {
    let digit = |letter: u8| char::from(letter).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let (pairs, []) = text.as_bytes().as_chunks::<2>() else { return None };
    pairs.iter().map(|[high, low]| Some(digit(*high)? << 4 | digit(*low)?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmill_batch::{BatchBuilder, Codec, DecompressLimit, read_records};
    use serde_json::json;

    type Header<'a> = (&'a [u8], Option<&'a [u8]>);

    /// The record as a line of JSON, and what is read from that.
    fn there_and_back(
        key: Option<&[u8]>,
        value: Option<&[u8]>,
        headers: &[Header<'_>],
    ) -> (serde_json::Value, ProducerRecord) {
        let mut builder = BatchBuilder::new(Codec::None, None);
        builder.push(5, key, value, headers);
        let batch = builder.finish();
        let records = read_records(&batch, DecompressLimit::default()).unwrap();
        let record = records.iter().next().unwrap().unwrap();
        let line = serde_json::to_vec(&JsonRecord { partition: Some(3), record: &record }).unwrap();
        (serde_json::from_slice(&line).unwrap(), parse(&line).unwrap())
    }

    #[test]
    fn json_is_as_documented() {
        let (first, _) = there_and_back(None, Some(b"caf\xc3\xa9"), &[(b"h", Some(b"1")), (b"\xff", None)]);
        let headers = json!([{"name": "h", "value": "1"}, {"name_hex": "ff", "value": null}]);
        let expected =
            json!({"partition": 3, "offset": 0, "timestamp_ms": 5, "key": null, "value": "café", "headers": headers});
        assert_eq!(first, expected);
        let (second, _) = there_and_back(Some(b"\xff\x00"), None, &[]);
        let expected = json!({"partition": 3, "offset": 0, "timestamp_ms": 5, "key_hex": "ff00", "value": null});
        assert_eq!(second, expected);
    }

    #[test]
    fn every_byte_comes_back() {
        let all: Vec<u8> = (0..=255).collect();
        let pieces: [Option<&[u8]>; 7] = [
            None,
            Some(b""),
            Some(b"text"),
            Some(b"\xff"),
            Some(&all),
            Some(b"\"\\\n\t\0"),
            Some("\u{fffd}\u{1f600}".as_bytes()),
        ];
        for key in pieces {
            for value in pieces {
                let headers: Vec<Header<'_>> = pieces.iter().flatten().map(|name| (*name, value)).collect();
                let (_, record) = there_and_back(key, value, &headers);
                assert_eq!((record.key.as_deref(), record.value.as_deref()), (key, value));
                let back: Vec<Header<'_>> =
                    record.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
                assert_eq!(back, headers);
                assert_eq!((record.partition, record.timestamp_ms), (Some(3), Some(5)));
            }
        }
    }

    #[test]
    fn lines_that_are_no_records_are_refused_with_the_reason() {
        for (line, expected) in [
            ("", "column 0: EOF while parsing a value"),
            ("hello", "column 1: expected value"),
            ("[1]", "column 3: "),
            (r#"{"vaule": "x"}"#, "unknown field `vaule`"),
            (r#"{"key": "x"}"#, "there is no \"value\"; write null for none"),
            (r#"{"value": {"a": 1}}"#, "invalid type: map, expected a string"),
            (r#"{"value": "a", "value_hex": "00"}"#, "both \"value\" and \"value_hex\" are given"),
            (r#"{"value_hex": "0"}"#, "\"value_hex\" is not hexadecimal"),
            (r#"{"value_hex": "0g"}"#, "\"value_hex\" is not hexadecimal"),
            (r#"{"value_hex": "é"}"#, "\"value_hex\" is not hexadecimal"),
            (r#"{"value": null, "headers": [{"value": "x"}]}"#, "a header has no name"),
            (r#"{"value": null, "partition": -1}"#, "partition -1 is negative"),
            (r#"{"value": null} {}"#, "trailing characters"),
            (r#"{"value": null, "timestamp_ms": "now"}"#, "invalid type: string \"now\", expected i64"),
        ] {
            let error = parse(line.as_bytes()).unwrap_err();
            assert!(error.contains(expected), "{line}: {error}");
        }
    }
}
