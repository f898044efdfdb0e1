//! A place in a topic as it is typed: an end, an offset, so many records before the end, or a time.
//!
//! `consume` begins and ends at such places, `topic trim` deletes up to one, `group seek` sends a group there. What a place means for each partition is found out here, by
//! as few questions to the brokers as there are leaders.

use std::collections::BTreeMap;
use std::str::FromStr;
use std::time::{SystemTime, UNIX_EPOCH};

use ringmill_net::client::{ClientError, Cluster};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

/// ListOffsets' words for the start and the end of a partition.
const EARLIEST: i64 = -2;
const LATEST: i64 = -1;

/// What is said of a place that cannot be understood.
const EXPECTED: &str = "expected earliest, latest, an offset (1000), the last so many (-10), so long ago (10m-ago, 1h30m-ago, 2d-ago) \
                        or a time (2026-11-21T13:00:00Z)";

/// A place in each partition of a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// The first record that there is.
    Earliest,
    /// Behind the last one.
    Latest,
    /// An offset.
    Offset(i64),
    /// So many before the end.
    FromEnd(i64),
    /// The first record at or after this time, in milliseconds since 1970.
    Time(i64),
    /// The first record that is not older than so many milliseconds.
    Ago(i64),
}

/// What a partition holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Bounds {
    /// The first offset that there is.
    pub(super) start: i64,
    /// The offset that the next record will get.
    pub(super) end: i64,
}

impl FromStr for Place {
    type Err = String;

    fn from_str(text: &str) -> Result<Place, String> {
        let place = match text {
            "earliest" => Some(Place::Earliest),
            "latest" => Some(Place::Latest),
            _ => match text.strip_suffix("-ago") {
                Some(duration) => duration_ms(duration).map(Place::Ago),
                None => number(text).or_else(|| time_ms(text).map(Place::Time)),
            },
        };
        place.ok_or_else(|| EXPECTED.to_owned())
    }
}

fn number(text: &str) -> Option<Place> {
    match (text.parse::<i64>().ok()?, text.strip_prefix('-')) {
        (number, None) => Some(Place::Offset(number)),
        (number, Some(_)) => number.checked_neg().map(Place::FromEnd),
    }
}

fn time_ms(text: &str) -> Option<i64> {
    let time = OffsetDateTime::parse(text, &Rfc3339).ok()?;
    let milliseconds = i64::try_from(time.unix_timestamp_nanos().div_euclid(1_000_000)).ok()?;
    (milliseconds >= 0).then_some(milliseconds)
}

/// Numbers with units, as `90s`, `1h30m` or `2d`.
fn duration_ms(text: &str) -> Option<i64> {
    let mut rest = text;
    let mut total: i64 = 0;
    while !rest.is_empty() {
        let digits = rest.find(|letter: char| !letter.is_ascii_digit())?;
        let (number, behind) = rest.split_at(digits);
        let letters = behind.find(|letter: char| letter.is_ascii_digit()).unwrap_or(behind.len());
        let (unit, behind) = behind.split_at(letters);
        let unit_ms = match unit {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            "w" => 604_800_000,
            _ => return None,
        };
        total = total.checked_add(number.parse::<i64>().ok()?.checked_mul(unit_ms)?)?;
        rest = behind;
    }
    (!text.is_empty()).then_some(total)
}

/// What each partition holds now.
pub(super) async fn bounds_of(
    cluster: &Cluster,
    topic: &str,
    partitions: &[i32],
) -> Result<BTreeMap<i32, Bounds>, ClientError> {
    let asked: Vec<_> = partitions.iter().map(|partition| (*partition, EARLIEST)).collect();
    let starts = cluster.list_offsets(topic, &asked).await?;
    let ends = ends_of(cluster, topic, partitions).await?;
    // Both answers name every partition that was asked for, in the same order.
    Ok(starts.into_iter().zip(ends.into_values()).map(|((index, start), end)| (index, Bounds { start, end })).collect())
}

/// The offset that the next record of each partition will get.
pub(super) async fn ends_of(
    cluster: &Cluster,
    topic: &str,
    partitions: &[i32],
) -> Result<BTreeMap<i32, i64>, ClientError> {
    let asked: Vec<_> = partitions.iter().map(|partition| (*partition, LATEST)).collect();
    cluster.list_offsets(topic, &asked).await
}

impl Place {
    /// The place in each of the partitions; an offset is taken as it is, whatever they hold.
    pub(super) async fn resolve(
        self,
        cluster: &Cluster,
        topic: &str,
        bounds: &BTreeMap<i32, Bounds>,
    ) -> Result<BTreeMap<i32, i64>, ClientError> {
        let in_each =
            |place: &dyn Fn(Bounds) -> i64| bounds.iter().map(|(index, bounds)| (*index, place(*bounds))).collect();
        Ok(match self {
            Place::Earliest => in_each(&|bounds| bounds.start),
            Place::Latest => in_each(&|bounds| bounds.end),
            Place::Offset(offset) => in_each(&|_| offset),
            Place::FromEnd(count) => in_each(&|bounds| bounds.end.saturating_sub(count).max(bounds.start)),
            Place::Time(timestamp_ms) => at_time(cluster, topic, bounds, timestamp_ms).await?,
            Place::Ago(ago_ms) => at_time(cluster, topic, bounds, now_ms().saturating_sub(ago_ms).max(0)).await?,
        })
    }
}

/// The first record of each partition at or after a time; the end where there is none.
async fn at_time(
    cluster: &Cluster,
    topic: &str,
    bounds: &BTreeMap<i32, Bounds>,
    timestamp_ms: i64,
) -> Result<BTreeMap<i32, i64>, ClientError> {
    let asked: Vec<_> = bounds.keys().map(|index| (*index, timestamp_ms)).collect();
    let found = cluster.list_offsets(topic, &asked).await?;
    let offset = |(index, bounds): (&i32, &Bounds)| {
        let offset = found.get(index).copied().unwrap_or(-1);
        (*index, if offset < 0 { bounds.end } else { offset })
    };
    Ok(bounds.iter().map(offset).collect())
}

/// A timestamp as people read it; the number itself where no calendar has it.
#[must_use]
pub fn format_time(timestamp_ms: i64) -> String {
    let time = OffsetDateTime::from_unix_timestamp_nanos(i128::from(timestamp_ms) * 1_000_000);
    match time {
        _ if timestamp_ms < 0 => "-".to_owned(),
        Ok(time) => {
            let (year, month, day) = time.to_calendar_date();
            let (hour, minute, second, milli) = time.to_hms_milli();
            format!("{year:04}-{:02}-{day:02}T{hour:02}:{minute:02}:{second:02}.{milli:03}Z", u8::from(month))
        }
        Err(_) => timestamp_ms.to_string(),
    }
}

fn now_ms() -> i64 {
    let since_1970 = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since_1970.as_millis()).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_read() {
        for (text, expected) in [
            ("earliest", Some(Place::Earliest)),
            ("latest", Some(Place::Latest)),
            ("0", Some(Place::Offset(0))),
            ("12", Some(Place::Offset(12))),
            ("-5", Some(Place::FromEnd(5))),
            ("10m-ago", Some(Place::Ago(600_000))),
            ("1h30m-ago", Some(Place::Ago(5_400_000))),
            ("2d-ago", Some(Place::Ago(172_800_000))),
            ("5ms-ago", Some(Place::Ago(5))),
            ("1970-01-01T00:00:01Z", Some(Place::Time(1000))),
            ("1970-01-01T01:00:00.5+01:00", Some(Place::Time(500))),
            ("", None),
            ("-", None),
            ("--5", None),
            ("now", None),
            ("10m", None),
            ("-ago", None),
            ("m-ago", None),
            ("10-ago", None),
            ("10y-ago", None),
            ("9999999999999999w-ago", None),
            ("-9223372036854775808", None),
            ("1969-12-31T23:59:59Z", None),
            ("2026-11-21", None),
            ("2026-13-21T00:00:00Z", None),
        ] {
            assert_eq!(text.parse().ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn timestamps_are_readable() {
        assert_eq!(format_time(1_700_000_000_123), "2023-11-14T22:13:20.123Z");
        assert_eq!(format_time(-1), "-");
        assert_eq!(format_time(i64::MAX), "9223372036854775807");
    }
}
