//! A progress line on a terminal's standard error, and nothing anywhere else.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

/// A bar that fills up with bytes; the caller sets the message to what happens meanwhile.
pub(crate) fn bytes_bar(title: &str, total_bytes: u64) -> ProgressBar {
    bar(title, total_bytes, "{prefix:8} {wide_bar} {decimal_bytes:>10} {msg:>24} {eta:>4}")
}

/// A bar that fills up with milliseconds; the caller sets the message to what happens meanwhile.
pub(crate) fn time_bar(title: &str, total: Duration) -> ProgressBar {
    bar(title, u64::try_from(total.as_millis()).unwrap_or(u64::MAX), "{prefix:8} {wide_bar} {msg:>24} {eta:>4}")
}

/// A bar that fills up with things of one kind.
pub(crate) fn things_bar(title: &str, total: u64) -> ProgressBar {
    bar(title, total, "{prefix:8} {wide_bar} {pos:>7} / {len} {eta:>4}")
}

/// A bar over a known number of steps; the caller sets the message to the step that runs.
pub(crate) fn steps_bar(total: u64) -> ProgressBar {
    bar("limits", total, "{prefix} {pos}/{len} {wide_bar} {msg:>40}")
}

fn bar(title: &str, total: u64, template: &str) -> ProgressBar {
    // On anything but a terminal indicatif draws nothing.
    let style = ProgressStyle::with_template(template).expect("the template is a constant");
    ProgressBar::new(total).with_style(style).with_prefix(title.to_owned())
}

/// Bytes so far, where nobody knows how many there will be.
pub(crate) fn bytes_spinner(title: &str) -> ProgressBar {
    bar(title, u64::MAX, "{prefix:8} {decimal_bytes:>10} {msg:>24}")
}
