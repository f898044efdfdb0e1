//! How long record values are: all alike, evenly spread, log-normal as real logs are, or as long as a line happens to be.

use std::fmt;
use std::str::FromStr;

use crate::units::parse_bytes;

use super::random::Random;

/// No record is longer; brokers take far less.
const VALUE_BYTES_MAX: u64 = 64_000_000;
/// The spread of a log-normal distribution that names none: one value in a hundred is longer than ten medians.
const SIGMA_DEFAULT: f64 = 1.0;
const SIGMA_MAX: f64 = 4.0;
/// A log-normal value is at most so many medians long, so that a batch stays near what was asked for.
const MEDIANS_MAX: u64 = 100;

/// The distribution of values' lengths, in bytes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Sizes {
    Fixed(u64),
    /// Every length from `min` to `max` is equally likely.
    Uniform {
        min: u64,
        max: u64,
    },
    /// The logarithm of the length is normal with deviation `sigma`.
    LogNormal {
        median: u64,
        sigma: f64,
    },
    /// One generated line per value.
    Line,
}

impl Sizes {
    /// The next value's length; `None` if its line decides.
    pub(super) fn draw(self, random: &mut Random) -> Option<usize> {
        let bytes = match self {
            Sizes::Fixed(bytes) => bytes,
            Sizes::Uniform { min, max } => min + random.below(max - min + 1),
            Sizes::LogNormal { median, sigma } => log_normal(median, sigma * random.normal()),
            Sizes::Line => return None,
        };
        Some(usize::try_from(bytes).expect("at most VALUE_BYTES_MAX"))
    }

    /// What a value's length comes to, roughly: to judge how much memory a load will need before it is made.
    pub(crate) fn typical_bytes(self) -> u64 {
        const LINE_BYTES: u64 = 150;
        match self {
            Sizes::Fixed(bytes) => bytes,
            Sizes::Uniform { min, max } => u64::midpoint(min, max),
            // The mean, which lies above the median.
            Sizes::LogNormal { median, sigma } => log_normal(median, sigma * sigma / 2.0),
            Sizes::Line => LINE_BYTES,
        }
    }
}

#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    clippy::cast_precision_loss,
    reason = "positive, and cut to the limits right behind"
)]
fn log_normal(median: u64, exponent: f64) -> u64 {
    ((median as f64 * exponent.exp()) as u64).clamp(1, (median * MEDIANS_MAX).min(VALUE_BYTES_MAX))
}

impl FromStr for Sizes {
    type Err = String;

    fn from_str(text: &str) -> Result<Sizes, String> {
        let sizes = if text == "line" {
            Sizes::Line
        } else if let Some(shape) = text.strip_prefix("log:") {
            let (median, sigma) = shape.split_once(':').unwrap_or((shape, ""));
            let sigma = if sigma.is_empty() { Some(SIGMA_DEFAULT) } else { sigma.parse().ok() };
            let sigma = sigma.filter(|sigma| (0.0..=SIGMA_MAX).contains(sigma));
            let sigma = sigma.ok_or_else(|| format!("`{text}`: sigma lies between 0 and {SIGMA_MAX}"))?;
            Sizes::LogNormal { median: value_bytes(median)?, sigma }
        } else if let Some((min, max)) = text.split_once("..") {
            Sizes::Uniform { min: value_bytes(min)?, max: value_bytes(max)? }
        } else {
            Sizes::Fixed(value_bytes(text)?)
        };
        match sizes {
            Sizes::Uniform { min, max } if min > max => Err(format!("`{text}`: the range ends before it begins")),
            sizes => Ok(sizes),
        }
    }
}

fn value_bytes(text: &str) -> Result<u64, String> {
    let bytes = parse_bytes(text)?;
    if (1..=VALUE_BYTES_MAX).contains(&bytes) {
        Ok(bytes)
    } else {
        Err(format!("`{text}`: values have between 1 byte and 64 MB"))
    }
}

impl fmt::Display for Sizes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Sizes::Fixed(bytes) => write!(f, "{bytes} bytes"),
            Sizes::Uniform { min, max } => write!(f, "{min} to {max} bytes"),
            Sizes::LogNormal { median, sigma } => write!(f, "log-normal bytes (median {median}, sigma {sigma})"),
            Sizes::Line => f.write_str("one line each"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_form_is_read_and_nonsense_is_refused() {
        assert_eq!("1KB".parse(), Ok(Sizes::Fixed(1000)));
        assert_eq!("100B..4KB".parse(), Ok(Sizes::Uniform { min: 100, max: 4000 }));
        assert_eq!("log:1KB".parse(), Ok(Sizes::LogNormal { median: 1000, sigma: 1.0 }));
        assert_eq!("log:200:0.5".parse(), Ok(Sizes::LogNormal { median: 200, sigma: 0.5 }));
        assert_eq!("line".parse(), Ok(Sizes::Line));
        for nonsense in ["0", "4KB..1KB", "log:1KB:-1", "log:1KB:x", "65MB", "lines"] {
            assert!(nonsense.parse::<Sizes>().is_err(), "{nonsense}");
        }
    }

    #[test]
    fn draws_keep_to_their_distribution() {
        let mut random = Random::new(1);
        let mut draws = |sizes: Sizes| {
            let mut drawn: Vec<usize> = (0..2000).filter_map(|_| sizes.draw(&mut random)).collect();
            drawn.sort_unstable();
            drawn
        };
        let uniform = draws(Sizes::Uniform { min: 10, max: 20 });
        assert_eq!((uniform[0], uniform[1999]), (10, 20));
        let log = draws(Sizes::LogNormal { median: 1000, sigma: 1.0 });
        assert!((900..1100).contains(&log[1000]), "{}", log[1000]);
        // The quantile 0.99 of the logarithm lies 2.33 deviations out: ten medians.
        assert!((7500..14_000).contains(&log[1980]), "{}", log[1980]);
    }
}
