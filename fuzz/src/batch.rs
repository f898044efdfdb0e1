//! Drivers for record batches: checks, the record walk and the codecs.

use ringmill_batch::{
    BatchBuilder, BatchHeader, Codec, DecompressLimit, LeaderEpoch, Offset, Record, RecordError, check_produced,
    check_stored, crc32c, decompress, read_records, stamp, stamp_append_time, stamp_max_timestamp,
};

use crate::allocation::peak_of;

/// Small, so that memory stays small too: whatever the input claims.
const LIMIT: DecompressLimit =
    DecompressLimit { output_bytes_max: 1 << 20, ratio_max: 1100, ratio_free_bytes: 1 << 16 };

/// The checks on produce and on recovery. What passes can be stamped and then passes again. The bytes are checked as they are, and once
/// more with a sound checksum, so that what lies behind it is reached.
pub fn check(data: &[u8]) {
    check_as_it_is(data);
    let mut sound = data.to_vec();
    if mend_checksums(&mut sound) > 0 {
        check_as_it_is(&sound);
    }
}

/// Gives every batch whose length can be read the checksum of its bytes, one behind the other; answers how many were changed.
pub fn mend_checksums(bytes: &mut [u8]) -> usize {
    const LENGTH: usize = 8;
    const CRC: usize = 17;
    let (mut rest, mut changed) = (bytes, 0);
    while let Some(length) = rest.get(LENGTH..).and_then(|fields| fields.first_chunk()) {
        let length = usize::try_from(i32::from_be_bytes(*length)).unwrap_or(0) + BatchHeader::LENGTH_PREFIX_BYTES;
        if length < BatchHeader::BYTES || length > rest.len() {
            break;
        }
        let (batch, behind) = rest.split_at_mut(length);
        let crc = crc32c(&batch[CRC + 4..]).to_be_bytes();
        changed += usize::from(batch[CRC..CRC + 4] != crc);
        batch[CRC..CRC + 4].copy_from_slice(&crc);
        rest = behind;
    }
    changed
}

fn check_as_it_is(data: &[u8]) {
    let Ok(stored) = check_stored(data) else {
        assert!(check_produced(data).is_err(), "what is no batch cannot be produced");
        return;
    };
    assert!((BatchHeader::BYTES..=data.len()).contains(&stored.total_bytes()));
    assert!(stored.last_offset() >= stored.base_offset && stored.next_offset() > stored.last_offset());
    assert!(stored.last_sequence() >= 0);
    let mut again = [0; BatchHeader::BYTES];
    stored.write(&mut again);
    assert_eq!(again, data[..BatchHeader::BYTES], "a header is written as it was read");

    let Ok(produced) = check_produced(data) else { return };
    assert_eq!(produced, stored);
    assert_eq!(produced.total_bytes(), data.len());
    let mut stamped = data.to_vec();
    let (offset, epoch) = (Offset::new(1 << 40).expect("it is positive"), LeaderEpoch::new(7).expect("it is positive"));
    stamp(&mut stamped, offset, epoch);
    assert_eq!(check_stored(&stamped), Ok(produced.stamped(offset, epoch)));
    if let Ok(header) = stamp_max_timestamp(&mut stamped, LIMIT) {
        assert_eq!(check_stored(&stamped), Ok(header));
    }
    let header = stamp_append_time(&mut stamped, 1_000);
    assert_eq!(check_stored(&stamped), Ok(header));
}

/// The record walk, on any batch whatever its checksum says. A whole walk meets all that was announced, and the same records
/// built anew are walked to the same again.
pub fn records(data: &[u8]) {
    let Ok(set) = read_records(data, LIMIT) else { return };
    let mut walked: Vec<Record<'_>> = Vec::new();
    let whole = set.iter().try_for_each(|record| {
        walked.push(record?);
        Ok::<(), RecordError>(())
    });
    let payload = |record: &Record<'_>| record.key.map_or(0, <[u8]>::len) + record.value.map_or(0, <[u8]>::len);
    assert!(walked.iter().map(payload).sum::<usize>() <= set.bytes(), "records are parts of what was decompressed");
    assert!(walked.windows(2).all(|pair| pair[0].offset < pair[1].offset));
    assert!(
        walked.iter().all(|record| (set.header().base_offset..=set.header().last_offset()).contains(&record.offset))
    );
    if whole.is_err() || walked.is_empty() {
        return;
    }
    assert_eq!(i32::try_from(walked.len()), Ok(set.header().record_count));
    rebuild(&walked);
}

fn rebuild(records: &[Record<'_>]) {
    let mut builder = BatchBuilder::new(Codec::None, None);
    for record in records {
        let headers: Vec<_> = record.headers.iter().collect();
        builder.push(record.timestamp_ms, record.key, record.value, &headers);
    }
    let batch = builder.finish();
    check_produced(&batch).expect("what is built can be produced");
    let set = read_records(&batch, LIMIT).expect("what is built can be read");
    let again = set.iter().map(|record| record.expect("what is built can be walked"));
    for (record, again) in records.iter().zip(again) {
        let parts = |record: &Record<'_>| {
            (record.timestamp_ms, record.key.map(<[u8]>::to_vec), record.value.map(<[u8]>::to_vec))
        };
        assert_eq!(parts(record), parts(&again));
        assert!(record.headers.iter().eq(again.headers.iter()));
    }
}

/// Decompression: the first byte chooses the codec, the rest is the input.
pub fn decompressed(data: &[u8]) {
    let Some((&choice, input)) = data.split_first() else { return };
    let codec = Codec::ALL[usize::from(choice) % Codec::ALL.len()];
    let (output, peak_bytes) = peak_of(|| decompress(codec, input, LIMIT));
    // A buffer that grows is there twice for a moment, and codecs have windows: LZ4's frames of old take 16 MiB whatever they hold.
    const WINDOW_BYTES_MAX: usize = 20 << 20;
    assert!(peak_bytes <= 4 * LIMIT.output_bytes_max + WINDOW_BYTES_MAX, "{codec} took {peak_bytes} bytes");
    if let Ok(output) = output {
        assert!(output.len() <= LIMIT.output_bytes_max, "{codec} gave {} bytes", output.len());
    }
}
