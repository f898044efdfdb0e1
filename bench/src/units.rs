//! Sizes, counts and times as people write them: parsed from flags, and printed in tables.

use std::time::Duration;

/// Bytes per GB: decimal, as disks and networks are sold.
pub(crate) const GB: f64 = 1e9;

/// Parses `1000`, `64KiB`, `1.5GB`: decimal and binary multiples.
pub(crate) fn parse_bytes(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 8] = [
        ("", 1.0),
        ("B", 1.0),
        ("KB", 1e3),
        ("MB", 1e6),
        ("GB", 1e9),
        ("KiB", 1024.0),
        ("MiB", 1_048_576.0),
        ("GiB", 1_073_741_824.0),
    ];
    let (number, unit) = split_unit(text);
    let factor = UNITS.iter().find(|(name, _)| name.eq_ignore_ascii_case(unit)).map(|(_, factor)| *factor);
    match (number.parse::<f64>(), factor) {
        (Ok(number), Some(factor)) if number >= 0.0 => Ok(whole(number * factor)),
        _ => Err(format!("`{text}` is not a size: write it like 1000, 64KiB or 2GB")),
    }
}

/// Parses `1500`, `50k`, `4M`.
pub(crate) fn parse_count(text: &str) -> Result<u64, String> {
    const UNITS: [(&str, f64); 3] = [("", 1.0), ("k", 1e3), ("M", 1e6)];
    let (number, unit) = split_unit(text);
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    match (number.parse::<f64>(), factor) {
        (Ok(number), Some(factor)) if number >= 0.0 => Ok(whole(number * factor)),
        _ => Err(format!("`{text}` is not a count: write it like 1500, 50k or 4M")),
    }
}

/// Parses `500ms`, `10s`, `2m`; a bare number is seconds.
pub(crate) fn parse_duration(text: &str) -> Result<Duration, String> {
    const UNITS: [(&str, f64); 4] = [("", 1.0), ("ms", 1e-3), ("s", 1.0), ("m", 60.0)];
    let (number, unit) = split_unit(text);
    let factor = UNITS.iter().find(|(name, _)| *name == unit).map(|(_, factor)| *factor);
    match (number.parse::<f64>(), factor) {
        (Ok(number), Some(factor)) => {
            Duration::try_from_secs_f64(number * factor).map_err(|error| format!("`{text}`: {error}"))
        }
        _ => Err(format!("`{text}` is not a time: write it like 500ms, 10s or 2m")),
    }
}

fn split_unit(text: &str) -> (&str, &str) {
    let text = text.trim();
    let at = text.find(|letter: char| letter.is_ascii_alphabetic()).unwrap_or(text.len());
    (text[..at].trim(), text[at..].trim())
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a size or count is far below 2^63 and not negative"
)]
fn whole(number: f64) -> u64 {
    number as u64
}

/// A number with the multiple that keeps it short: `1.25 G`, `980 k`.
pub(crate) fn decimal(value: f64, unit: &str) -> String {
    let (scaled, prefix) = match value.abs() {
        size if size >= 1e9 => (value / 1e9, "G"),
        size if size >= 1e6 => (value / 1e6, "M"),
        size if size >= 1e3 => (value / 1e3, "k"),
        _ => (value, ""),
    };
    format!("{} {prefix}{unit}", three_digits(scaled))
}

/// A time given in microseconds, as µs, ms or s.
pub(crate) fn micros(value: f64) -> String {
    match value {
        us if us < 1e3 => format!("{} µs", three_digits(us)),
        us if us < 1e6 => format!("{} ms", three_digits(us / 1e3)),
        us => format!("{} s", three_digits(us / 1e6)),
    }
}

/// Three significant digits, as far as they stand behind the point.
pub(crate) fn three_digits(value: f64) -> String {
    match value.abs() {
        size if size >= 100.0 || size == 0.0 => format!("{value:.0}"),
        size if size >= 10.0 => format!("{value:.1}"),
        size if size >= 1.0 => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_are_read_in_decimal_and_binary_multiples() {
        assert_eq!(parse_bytes("1KB"), Ok(1000));
        assert_eq!(parse_bytes("1.5 KiB"), Ok(1536));
        assert_eq!(parse_bytes("2gb"), Ok(2_000_000_000));
        assert!(parse_bytes("ten").is_err() && parse_bytes("1XB").is_err() && parse_bytes("-1").is_err());
        assert_eq!(parse_count("4M"), Ok(4_000_000));
    }

    #[test]
    fn times_are_read_with_and_without_a_unit() {
        assert_eq!(parse_duration("500ms"), Ok(Duration::from_millis(500)));
        assert_eq!(parse_duration("3"), Ok(Duration::from_secs(3)));
        assert!(parse_duration("-3s").is_err() && parse_duration("3h").is_err());
    }

    #[test]
    fn numbers_are_printed_short() {
        assert_eq!(decimal(1_253_000_000.0, "B/s"), "1.25 GB/s");
        assert_eq!(micros(310.4), "310 µs");
        assert_eq!(micros(2_500.0), "2.50 ms");
    }
}
