//! Drivers for what the command line reads: records as JSON, and places in a topic.

use ringmill::cli::place::Place;
use ringmill::cli::record_json::{JsonRecord, parse};
use ringmill_batch::{BatchBuilder, Codec, DecompressLimit, read_records};

/// A line of JSON. A record that is read, put into a batch and printed reads the same again.
pub fn record(data: &[u8]) {
    let Ok(record) = parse(data) else { return };
    let mut builder = BatchBuilder::new(Codec::None, None);
    let headers: Vec<_> = record.headers.iter().map(|(name, value)| (&name[..], value.as_deref())).collect();
    let timestamp_ms = record.timestamp_ms.unwrap_or(0);
    builder.push(timestamp_ms, record.key.as_deref(), record.value.as_deref(), &headers);
    let batch = builder.finish();
    let records = read_records(&batch, DecompressLimit::default()).expect("what is built can be read");
    let stored = records.iter().next().expect("there is one").expect("what is built can be walked");
    let line = serde_json::to_vec(&JsonRecord { partition: record.partition, record: &stored });
    let again = parse(&line.expect("bytes become text")).expect("what is printed can be read");
    assert_eq!((again.key, again.value, again.headers), (record.key, record.value, record.headers));
    assert_eq!((again.partition, again.timestamp_ms), (record.partition, Some(timestamp_ms)));
}

/// A place as it is typed. What is understood lies in bounds that nothing behind it checks again.
pub fn place(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    let Ok(place) = text.parse::<Place>() else { return };
    match place {
        Place::Earliest => assert_eq!(text, "earliest"),
        Place::Latest => assert_eq!(text, "latest"),
        Place::Offset(number) | Place::FromEnd(number) | Place::Time(number) | Place::Ago(number) => {
            assert!(number >= 0, "{text:?} means {number}");
        }
    }
    if let Place::Time(timestamp_ms) = place {
        assert!(!ringmill::cli::place::format_time(timestamp_ms).is_empty());
    }
}
