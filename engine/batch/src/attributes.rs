//! A batch's attribute word and the two enums inside it: codec and timestamp type.
//!
//! Compressing and decompressing is [`codec`](crate::compress)'s; here are only the bits and the names.

use std::fmt;
use std::str::FromStr;

/// How the records of a batch are compressed. The numbers are the protocol's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum Codec {
    /// Not at all.
    #[default]
    None,
    /// RFC 1952.
    Gzip,
    /// Snappy, raw or in xerial's frames.
    Snappy,
    /// The LZ4 frame format.
    Lz4,
    /// Zstandard; Produce carries it from version 7, Fetch from version 10.
    Zstd,
}

impl Codec {
    /// Every codec, in the order of their numbers.
    pub const ALL: [Codec; 5] = [Codec::None, Codec::Gzip, Codec::Snappy, Codec::Lz4, Codec::Zstd];

    /// Takes bits 0–2 of an attribute word; `None` for the three numbers without a meaning.
    #[must_use]
    pub const fn from_attributes(attributes: i16) -> Option<Codec> {
        match attributes & 0b111 {
            0 => Some(Codec::None),
            1 => Some(Codec::Gzip),
            2 => Some(Codec::Snappy),
            3 => Some(Codec::Lz4),
            4 => Some(Codec::Zstd),
            _ => None,
        }
    }

    /// The number in the attribute word, 0 to 4.
    #[must_use]
    pub const fn id(self) -> i16 {
        match self {
            Codec::None => 0,
            Codec::Gzip => 1,
            Codec::Snappy => 2,
            Codec::Lz4 => 3,
            Codec::Zstd => 4,
        }
    }

    /// The name that Kafka's settings use.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Codec::None => "none",
            Codec::Gzip => "gzip",
            Codec::Snappy => "snappy",
            Codec::Lz4 => "lz4",
            Codec::Zstd => "zstd",
        }
    }
}

impl fmt::Display for Codec {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}

impl FromStr for Codec {
    type Err = UnknownCodec;

    fn from_str(name: &str) -> Result<Codec, UnknownCodec> {
        Codec::ALL.into_iter().find(|codec| codec.name() == name).ok_or(UnknownCodec)
    }
}

/// A codec's name that nobody knows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the codec is one of none, gzip, snappy, lz4, zstd")]
pub struct UnknownCodec;

/// Whose clock a batch's timestamps show.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
pub enum TimestampType {
    /// The producer's, one per record.
    #[default]
    CreateTime,
    /// The broker's at the time of append: every record of the batch has the batch's maximum timestamp.
    LogAppendTime,
}

/// The attribute word of a batch whose codec is known. Bits above 6 have no meaning yet and are carried as they are.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Attributes(i16);

impl Attributes {
    /// Bits 0–2: the codec.
    const CODEC: i16 = 0b111;
    /// Bit 3: the timestamps are the broker's.
    const LOG_APPEND_TIME: i16 = 1 << 3;
    /// Bit 4: the batch belongs to a transaction.
    const TRANSACTIONAL: i16 = 1 << 4;
    /// Bit 5: the records are transaction markers.
    const CONTROL: i16 = 1 << 5;
    /// Bit 6: the base timestamp says when compaction may remove the batch's tombstones.
    const DELETE_HORIZON: i16 = 1 << 6;

    /// Takes the word from the wire or from disk; `None` when its codec is unknown.
    #[must_use]
    pub const fn new(word: i16) -> Option<Attributes> {
        match Codec::from_attributes(word) {
            Some(_) => Some(Attributes(word)),
            None => None,
        }
    }

    /// A plain batch with this codec: create time, no transaction, no control batch.
    #[must_use]
    pub const fn of(codec: Codec) -> Attributes {
        Attributes(codec.id())
    }

    /// The word as the wire and the disk write it.
    #[must_use]
    pub const fn get(self) -> i16 {
        self.0
    }

    /// Bits 0–2.
    #[must_use]
    pub const fn codec(self) -> Codec {
        Codec::from_attributes(self.0).expect("an attribute word is only made with a known codec")
    }

    /// The same with another codec.
    #[must_use]
    pub(crate) const fn with_codec(self, codec: Codec) -> Attributes {
        Attributes(self.0 & !Attributes::CODEC | codec.id())
    }

    /// Bit 3.
    #[must_use]
    pub const fn timestamp_type(self) -> TimestampType {
        if self.0 & Attributes::LOG_APPEND_TIME == 0 { TimestampType::CreateTime } else { TimestampType::LogAppendTime }
    }

    /// The same with bit 3 set.
    #[must_use]
    pub const fn with_log_append_time(self) -> Attributes {
        Attributes(self.0 | Attributes::LOG_APPEND_TIME)
    }

    /// Bit 4.
    #[must_use]
    pub const fn is_transactional(self) -> bool {
        self.0 & Attributes::TRANSACTIONAL != 0
    }

    /// Bit 5.
    #[must_use]
    pub const fn is_control(self) -> bool {
        self.0 & Attributes::CONTROL != 0
    }

    /// Bit 6.
    #[must_use]
    pub const fn has_delete_horizon(self) -> bool {
        self.0 & Attributes::DELETE_HORIZON != 0
    }

    /// The same with bit 6 set.
    #[must_use]
    pub const fn with_delete_horizon(self) -> Attributes {
        Attributes(self.0 | Attributes::DELETE_HORIZON)
    }

    /// What is left of the word when no record is: whether they belonged to a transaction, and were its markers.
    #[must_use]
    pub(crate) const fn of_emptied(self) -> Attributes {
        Attributes(self.0 & (Attributes::TRANSACTIONAL | Attributes::CONTROL))
    }
}

impl fmt::Debug for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Attributes({:#06x})", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_lead_back_to_their_codec() {
        for codec in Codec::ALL {
            assert_eq!(Codec::from_attributes(codec.id()), Some(codec));
            assert_eq!(codec.to_string().parse(), Ok(codec));
        }
        assert_eq!("LZ4".parse::<Codec>(), Err(UnknownCodec));
    }

    #[test]
    fn an_unknown_codec_makes_no_attributes() {
        for id in 5..8 {
            assert_eq!(Attributes::new(id), None);
        }
    }

    #[test]
    fn each_bit_is_read_where_kafka_puts_it() {
        let all = Attributes::new(0b0111_1100).unwrap();
        assert_eq!(all.codec(), Codec::Zstd);
        assert_eq!(all.timestamp_type(), TimestampType::LogAppendTime);
        assert!(all.is_transactional() && all.is_control() && all.has_delete_horizon());

        let plain = Attributes::of(Codec::Gzip);
        assert_eq!(plain.timestamp_type(), TimestampType::CreateTime);
        assert!(!plain.is_transactional() && !plain.is_control() && !plain.has_delete_horizon());
        assert_eq!(plain.with_log_append_time().get(), 0b1001);
        assert_eq!(all.with_codec(Codec::Gzip).get(), 0b0111_1001);
    }
}
