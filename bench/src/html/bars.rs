//! The picture of a report's groups: a bar for each case, as one SVG that needs nothing else and can be shown by itself.
//!
//! It draws medians, the spread as a thin line, and how many times the first case's figure a case has.

use std::fmt::Write;

use crate::group::{Group, wrapped};
use crate::report::{Case, Report};

use super::escape;

/// The drawing's own units; whoever shows it scales it.
const WIDTH: f64 = 880.0;
const EDGE: f64 = 24.0;
const BARS_FROM: f64 = 250.0;
const BARS_TO: f64 = 620.0;
const FIGURES_AT: f64 = 632.0;
const ROW_HEIGHT: f64 = 24.0;
const BAR_HEIGHT: f64 = 14.0;
const LINE_HEIGHT: f64 = 16.0;
/// Of explanations, at 12 units a line.
const LINE_LETTERS_MAX: usize = 132;
/// A bar that is shorter cannot be seen.
const BAR_MIN: f64 = 1.5;

/// Plain colours first, for viewers that know no media queries.
const STYLE: &str = "\
.gains-page{fill:#fff}.gains-title{font:600 20px system-ui,sans-serif;fill:#1c2733}.gains-head{font:600 14px system-ui,sans-serif;fill:#1c2733}\
.gains-row,.gains-value{font:13px system-ui,sans-serif;fill:#1c2733}.gains-gain{font:600 13px system-ui,sans-serif;fill:#1c2733}\
.gains-soft{font:12px system-ui,sans-serif;fill:#5b6b7b}.gains-track{fill:#eef2f6}.gains-first{fill:#9fb0c0}.gains-bar{fill:#1f6feb}\
.gains-spread{stroke:#1c2733;stroke-width:1.5;opacity:.6}\
@media(prefers-color-scheme:dark){.gains-page{fill:#11171d}.gains-title,.gains-head,.gains-row,.gains-value,.gains-gain{fill:#dde5ec}\
.gains-soft{fill:#95a5b4}.gains-track{fill:#1a232c}.gains-first{fill:#5b6b7b}.gains-bar{fill:#6ea8ff}.gains-spread{stroke:#dde5ec}}";

/// What is drawn so far, and how far down it reaches.
struct Drawing {
    svg: String,
    y: f64,
}

/// The whole picture.
pub(crate) fn picture(report: &Report) -> String {
    let mut drawing = Drawing { svg: String::new(), y: EDGE + 16.0 };
    let title = title(report);
    drawing.text("gains-title", EDGE, "start", title);
    drawing.y += 4.0;
    let conditions =
        format!("{} Bars: medians, thin lines: lowest to highest run, ×: beside a group's first row.", machine(report));
    drawing.lines(&conditions);
    // Whoever meets the picture alone must not take it for more than it is.
    report.warnings.iter().for_each(|warning| drawing.lines(&format!("Warning: {warning}.")));
    for group in report.groups.iter().filter(|group| !group.cases.is_empty()) {
        drawing.group(group);
    }
    let height = drawing.y + EDGE;
    format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {height:.0}\" width=\"{WIDTH}\" role=\"img\" \
         aria-label=\"{title}\"><style>{STYLE}</style><rect class=\"gains-page\" width=\"{WIDTH}\" height=\"{height:.0}\"/>\
         {}</svg>\n",
        drawing.svg
    )
}

fn title(report: &Report) -> &'static str {
    match report.command {
        "growth" => "What growing costs, one thing at a time",
        _ => "What each thing gains, one at a time",
    }
}

/// The conditions without which a bar means nothing, in a sentence.
fn machine(report: &Report) -> String {
    const TOLD: [(&str, &str); 5] =
        [("cores", "cores"), ("processor", ""), ("memory", "memory"), ("kernel", "kernel"), ("file_system", "")];
    let known = TOLD.iter().filter_map(|(key, name)| {
        let (_, value) = report.conditions.iter().find(|(found, _)| found == key)?;
        // The mount options of a file system are for the report.
        let value = value.split(" (").next().unwrap_or(value);
        Some(if *name == "kernel" {
            format!("kernel {value}")
        } else {
            format!("{value} {name}").trim_end().to_owned()
        })
    });
    let runs = report.groups.iter().flat_map(|group| &group.cases).map(|case| case.runs.len()).max().unwrap_or(0);
    let runs = if runs == 1 { "one run".to_owned() } else { format!("{runs} runs") };
    format!("{}; {runs}.", known.collect::<Vec<_>>().join(", "))
}

impl Drawing {
    fn group(&mut self, group: &Group) {
        self.y += 34.0;
        self.text("gains-head", EDGE, "start", group.title);
        self.lines(&group.compared);
        self.y += 8.0;
        let summaries = || group.cases.iter().filter_map(|case| case.summary(group.lead));
        let longest = summaries().map(|summary| summary.highest()).fold(f64::MIN_POSITIVE, f64::max);
        for (place, case) in group.cases.iter().enumerate() {
            self.row(group, case, place == 0, longest);
        }
    }

    fn row(&mut self, group: &Group, case: &Case, first: bool, longest: f64) {
        let Some(summary) = case.summary(group.lead) else { return };
        let place = |value: f64| BARS_FROM + (BARS_TO - BARS_FROM) * (value / longest).clamp(0.0, 1.0);
        let (top, class) = (self.y + 5.0, if first { "gains-first" } else { "gains-bar" });
        let (track, bar) = (BARS_TO - BARS_FROM, (place(summary.median) - BARS_FROM).max(BAR_MIN));
        let rect = |class: &str, width: f64| {
            format!(
                "<rect class=\"{class}\" x=\"{BARS_FROM}\" y=\"{top:.1}\" width=\"{width:.1}\" height=\"{BAR_HEIGHT}\" rx=\"2\"/>"
            )
        };
        self.svg.push_str(&rect("gains-track", track));
        self.svg.push_str(&rect(class, bar));
        let (low, high) = (place(summary.lowest()), place(summary.highest()));
        // Two runs that came out alike have no spread to show.
        if high - low > 1.0 {
            let middle = top + BAR_HEIGHT / 2.0;
            self.push(format_args!(
                "<line class=\"gains-spread\" x1=\"{low:.1}\" y1=\"{middle:.1}\" x2=\"{high:.1}\" y2=\"{middle:.1}\"/>"
            ));
        }
        self.y += 17.0;
        self.text("gains-row", BARS_FROM - 12.0, "end", &case.name);
        self.text("gains-value", FIGURES_AT, "start", &summary.show_median());
        if let Some(gain) = case.summary(group.ratio) {
            self.text("gains-gain", WIDTH - EDGE, "end", &gain.show_median());
        }
        self.y += ROW_HEIGHT - 17.0;
    }

    fn lines(&mut self, text: &str) {
        for line in wrapped(text, LINE_LETTERS_MAX) {
            self.y += LINE_HEIGHT;
            self.text("gains-soft", EDGE, "start", &line);
        }
    }

    fn text(&mut self, class: &str, x: f64, anchor: &str, text: &str) {
        let (y, text) = (self.y, escape(text));
        self.push(format_args!(
            "<text class=\"{class}\" x=\"{x}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{text}</text>"
        ));
    }

    fn push(&mut self, text: std::fmt::Arguments<'_>) {
        self.svg.write_fmt(text).expect("a string takes what is written to it");
    }
}

#[cfg(test)]
mod tests {
    use crate::group::GAIN;
    use crate::report::{Metric, Unit};

    use super::*;

    const RATE: &str = "rate_bytes_per_s";

    fn report(rates: &[(&str, &[f64])]) -> Report {
        let run = |rate: f64| {
            vec![
                Metric { key: RATE, unit: Unit::BytesPerSecond, value: rate },
                Metric { key: GAIN, unit: Unit::Ratio, value: rate / 1e6 },
            ]
        };
        let case = |(name, rates): &(&str, &[f64])| Case {
            name: (*name).to_owned(),
            runs: rates.iter().copied().map(run).collect(),
        };
        let group = Group {
            factor: "writes",
            title: "a < b",
            compared: "The same blocks.".to_owned(),
            why: "Because.",
            lead: RATE,
            ratio: GAIN,
            cases: rates.iter().map(case).collect(),
        };
        Report {
            command: "gains",
            conditions: vec![("kernel", "6.18".to_owned()), ("file_system", "ext4 on /dev/vda at / (rw)".to_owned())],
            cases: Vec::new(),
            groups: vec![group],
            warnings: Vec::new(),
            profiles: Vec::new(),
        }
    }

    #[test]
    fn bars_are_as_long_as_their_medians_and_a_spread_shows() {
        let svg = picture(&report(&[("shuffled", &[1e6, 1e6]), ("in order", &[2e6, 4e6, 3e6])]));
        // The longest run is 4 MB/s, which is 370 wide; the medians are 1 and 3.
        assert!(svg.contains("class=\"gains-first\" x=\"250\"") && svg.contains("width=\"92.5\""), "{svg}");
        assert!(svg.contains("width=\"277.5\"") && svg.contains("x1=\"435.0\""), "{svg}");
        assert_eq!(svg.matches("<line").count(), 1, "runs that came out alike have no spread: {svg}");
        assert!(svg.contains(">3.00 MB/s<") && svg.contains(">3.00 ×<") && svg.contains("a &lt; b"), "{svg}");
        assert!(svg.contains("kernel 6.18, ext4 on /dev/vda at /; 3 runs."), "{svg}");
    }

    #[test]
    fn a_picture_fetches_nothing_and_a_hair_of_a_bar_can_be_seen() {
        let svg = picture(&report(&[("one", &[1.0]), ("many", &[1e6])]));
        assert!(svg.contains("width=\"1.5\""), "{svg}");
        for fetched in ["href", "url(", "<script", "<image", "@import", "@font-face"] {
            assert!(!svg.contains(fetched), "{fetched} in {svg}");
        }
    }
}
