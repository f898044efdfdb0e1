//! A report as one HTML page that needs nothing else: figures, charts, conditions, and what the words mean.
//!
//! It measures nothing and decides nothing; every number comes from the [`Report`].

use crate::group::Group;
use crate::profile::{LoadSample, Profile, Role, Sample};
use crate::report::{self, Case, Report};
use crate::units;

mod bars;
mod chart;

pub(crate) use bars::picture;
use chart::{Axis, Chart, Scale, Series};

const STYLE: &str = include_str!("style.css");
/// A percentile's place: how many requests there are to one that took longer. Beyond this a line says nothing reliable.
const ONE_IN_MAX: f64 = 1e6;

/// What readers ask first, by the metric or the word that they meet.
const WORDS: [(&str, &str); 12] = [
    ("rate", "Bytes per second: of record values for a producer, of batches as they are stored for a consumer."),
    (
        "p50, p99, p99.9, max",
        "Latency: half, 99 % and 99.9 % of all took no longer than this, and the longest. A producer's counts from when a request \
         should have left (by the clock where a rate was asked for, else from when it did) to its answer; a consumer's from its \
         question to the answer's last byte; in a mixed load from when a batch should have left its producer until it has wholly arrived.",
    ),
    ("sent late", "How much later than by the schedule requests left. It is contained in the latency."),
    (
        "limit, share of limit",
        "What this machine did without any broker, measured right before each run: an O_DIRECT write at depth 4 for producing, a bare \
         sendfile over one loopback connection for consuming; and the rate's share of it.",
    ),
    (
        "append sync, p50 to append sync",
        "What a bare append of 4 KiB with fdatasync took on this disk right before the run (median), and the broker's median as \
         a share of it. A durable answer stays above 100 % unless the disk has faster ways to write than that.",
    ),
    ("client cpu, client busy", "The load generator's own CPU time: per 10⁹ bytes, and as a share of one core's time."),
    (
        "server cpu, server memory",
        "The broker's CPU time per 10⁹ bytes, and its largest memory without the page cache.",
    ),
    (
        "memory at end",
        "The broker's memory without the page cache, once the load is over and its own connections are closed.",
    ),
    (
        "newest, oldest cold",
        "Of a log with a backlog: reading what was just appended, which lies in the page cache, and reading as much from the log's beginning \
         after its files were dropped from there.",
    ),
    (
        "gain, to first, ×",
        "Where one thing at a time is changed: a row's figure divided by that of the first row in the same round of runs, so that an hour \
         in which the whole machine is slow changes little.",
    ),
    ("median, lowest … highest", "With several runs, a cell shows the median and the spread below it."),
    (
        "durability",
        "synced: an answer means that the records survive a power cut. unsynced: they lie in the page cache of one machine and \
         survive the broker's death, but no power cut.",
    ),
];

/// The whole page.
pub(crate) fn page(report: &Report) -> String {
    let title = format!("ringmill-bench {}", report.command);
    let warnings: String =
        report.warnings.iter().map(|warning| format!("<p class=\"warn\">Warning: {}</p>", escape(warning))).collect();
    let facts: String = report
        .conditions
        .iter()
        .map(|(key, value)| format!("<tr><td>{}</td><td>{}</td></tr>", escape(&key.replace('_', " ")), escape(value)))
        .collect();
    let words: String =
        WORDS.iter().map(|(word, meaning)| format!("<tr><td>{word}</td><td>{meaning}</td></tr>")).collect();
    format!(
        "<!doctype html><html lang=\"en\"><head><meta charset=\"utf-8\"><meta name=\"viewport\" content=\"width=device-width\">\
         <title>{title}</title><style>{STYLE}</style></head><body><h1>{title}</h1><p>{}</p>{warnings}\
         {}{}{}{}<h2>Conditions</h2><table class=\"facts\">{facts}</table>\
         <h2>What the words mean</h2><table class=\"facts\">{words}</table>\
         <p class=\"soft\">Figures of one machine at one hour. Compare them with others of the same run, and with the shares of its limits; \
         KB is 1000 bytes, GB 10⁹.</p></body></html>\n",
        escape(&summary(report)),
        results(report),
        shares(report),
        comparisons(report),
        charts(report),
    )
}

/// What was done, in a sentence.
fn summary(report: &Report) -> String {
    let what = match report.command {
        "limits" => "What this machine can do by itself, with no broker in between",
        "produce" => "Generated records, sent to a broker that speaks Kafka's protocol",
        "replay" => "Lines of a real log, sent to a broker that speaks Kafka's protocol",
        "consume" => "Records, fetched from a broker that speaks Kafka's protocol",
        "mixed" => "Records produced and consumed at the same time through a broker that speaks Kafka's protocol",
        "compare" => "The same loads on several brokers in turn",
        "gains" => "What each thing gains on this machine, one changed at a time and all else the same",
        "growth" => "What it costs when one thing grows and all else stays the same",
        "groups" => "What consumer groups cost a broker that speaks Kafka's protocol",
        _ => "Measured by ringmill-bench",
    };
    let cases = report.cases.iter().chain(report.groups.iter().flat_map(|group| &group.cases));
    let runs = cases.map(|case| case.runs.len()).max().unwrap_or(0);
    let runs = if runs == 1 { "one run".to_owned() } else { format!("medians of {runs} runs") };
    format!("{what}; {runs}.")
}

/// A bar for each case that was measured beside a limit: its rate as a share of what the machine does by itself.
fn shares(report: &Report) -> String {
    let bar_of = |case: &Case| {
        let (share, limit) = (case.median("share_of_limit_percent")?, case.median("limit_bytes_per_s")?);
        let text = format!("{} % of {}", units::three_digits(share), units::decimal(limit, "B/s"));
        Some(bar(&case.name, share, &text))
    };
    let bars: String = report.cases.iter().filter_map(bar_of).collect();
    if bars.is_empty() { bars } else { format!("<h2>Beside this machine's limits</h2>{bars}") }
}

/// Cases side by side, where they are what was compared: a report whose runs have no course of their own.
fn comparisons(report: &Report) -> String {
    /// A metric's key, its column's title, and what to say of it.
    const COMPARED: [(&str, &str, &str); 3] = [
        ("rate_bytes_per_s", "rate", "Throughput, longer is better"),
        ("p99_us", "p99", "p99 latency, shorter is better"),
        ("server_cpu_s_per_gb", "server cpu", "The broker's CPU per 10⁹ bytes, shorter is better"),
    ];
    if !report.profiles.is_empty() {
        return String::new();
    }
    let block = |(key, title, heading): &(&str, &str, &str)| {
        let measured: Vec<(&Case, f64)> =
            report.cases.iter().filter_map(|case| Some((case, case.median(key)?))).collect();
        if measured.len() < 2 {
            return String::new();
        }
        let longest = measured.iter().map(|(_, value)| *value).fold(f64::MIN_POSITIVE, f64::max);
        let line = |(case, value): &(&Case, f64)| {
            let shown = case.cell(title);
            let (median, spread) = shown.split_once('\n').unwrap_or((&shown, ""));
            let spread = if spread.is_empty() { String::new() } else { format!(" ({spread})") };
            bar(&case.name, 100.0 * value / longest, &format!("{median}{spread}"))
        };
        format!("<h2>{heading}</h2>{}", measured.iter().map(line).collect::<String>())
    };
    COMPARED.iter().map(block).collect()
}

/// A bar of so many percent of its full length, between a name and what it stands for.
fn bar(name: &str, percent: f64, text: &str) -> String {
    let width = percent.clamp(0.0, 100.0);
    let (name, text) = (escape(name), escape(text));
    format!(
        "<div class=\"bar\"><span>{name}</span><div><i style=\"width:{width:.1}%\"></i></div><span>{text}</span></div>"
    )
}

/// All figures: in one table, or of groups as a picture and a table for each.
fn results(report: &Report) -> String {
    if report.groups.is_empty() {
        return format!("<h2>Results</h2><div class=\"wide\">{}</div>", table(&report.cases));
    }
    let section = |group: &Group| {
        let (title, compared, why) = (escape(group.title), escape(&group.compared), escape(group.why));
        format!("<h2>{title}</h2><p>{compared}</p><div class=\"wide\">{}</div><p>{why}</p>", table(&group.cases))
    };
    let sections: String = report.groups.iter().map(section).collect();
    format!("<figure>{}</figure>{sections}", picture(report))
}

fn table(cases: &[Case]) -> String {
    let columns = report::columns(cases);
    let headings: String = columns.iter().map(|title| format!("<th>{}</th>", escape(title))).collect();
    let cell = |case: &Case, title: &str| {
        let shown = case.cell(title);
        let (median, spread) = shown.split_once('\n').unwrap_or((&shown, ""));
        let spread = if spread.is_empty() { String::new() } else { format!("<small>{}</small>", escape(spread)) };
        format!("<td>{}{spread}</td>", escape(median))
    };
    let row = |case: &Case| {
        let cells: String = columns.iter().map(|title| cell(case, title)).collect();
        format!("<tr><td>{}</td>{cells}</tr>", escape(&case.name))
    };
    let rows: String = cases.iter().map(row).collect();
    format!("<table><tr><th></th>{headings}</tr>{rows}</table>")
}

/// The charts of the run whose rate is the median, for that is the one that the table shows.
fn charts(report: &Report) -> String {
    let mut profiles: Vec<&Profile> = report.profiles.iter().collect();
    profiles.sort_by(|a, b| total_rate(a).total_cmp(&total_rate(b)));
    let Some(profile) = profiles.get(profiles.len() / 2) else { return String::new() };
    let which = if profiles.len() == 1 {
        String::new()
    } else {
        format!("<p class=\"soft\">Run {} of {}, the one with the median rate.</p>", profile.run, profiles.len())
    };
    let drawn: String = [throughput(profile), p99(profile), percentiles(profile), cpu(profile), memory(profile)]
        .iter()
        .map(Chart::to_html)
        .collect();
    format!("<h2>Over time</h2>{which}<div class=\"charts\">{drawn}</div>")
}

#[expect(clippy::cast_precision_loss, reason = "bytes of a run stay far below 2^53")]
fn total_rate(profile: &Profile) -> f64 {
    let bytes: u64 = profile.samples.iter().flat_map(|sample| &sample.loads).map(|load| load.bytes).sum();
    let seconds: f64 = profile.samples.iter().map(|sample| sample.span.as_secs_f64()).sum();
    bytes as f64 / seconds.max(1e-9)
}

const TIME: Axis = Axis { label: "seconds from the start", scale: Scale::Linear, show: seconds };

fn seconds(value: f64) -> String {
    format!("{} s", trimmed(value))
}

/// A number without zeros at its end.
fn trimmed(value: f64) -> String {
    let text = format!("{value:.2}");
    text.trim_end_matches('0').trim_end_matches('.').to_owned()
}

fn throughput(profile: &Profile) -> Chart {
    Chart {
        title: "Throughput",
        caption: "Bytes per second, in each stretch of the run.".to_owned(),
        x: TIME,
        y: Axis { label: "", scale: Scale::Linear, show: |value| units::decimal(value, "B/s") },
        series: by_role(profile, |sample, load| Some(load.bytes_per_s(sample.span))),
    }
}

fn p99(profile: &Profile) -> Chart {
    Chart {
        title: "p99 latency",
        caption: "What 99 % of the answers in each stretch of the run did not exceed; the scale is logarithmic."
            .to_owned(),
        x: TIME,
        y: Axis { label: "", scale: Scale::Log, show: units::micros },
        series: by_role(profile, |_, load| load.latency_us.map(|(_, p99)| p99)),
    }
}

fn by_role(profile: &Profile, value: impl Fn(&Sample, &LoadSample) -> Option<f64>) -> Vec<Series> {
    let line = |role: &Role| {
        let points = profile.samples.iter().filter_map(|sample| {
            let load = sample.loads.iter().find(|load| load.role == *role)?;
            Some((sample.at.as_secs_f64(), value(sample, load)?))
        });
        Series { name: role.name().to_owned(), points: points.collect() }
    };
    Role::ALL.iter().map(line).collect()
}

fn percentiles(profile: &Profile) -> Chart {
    let line = |(role, latency): &(Role, crate::latency::Latency)| {
        let points =
            latency.quantiles().into_iter().map(|(quantile, micros)| (1.0 / (1.0 - quantile).max(1e-12), micros));
        Series { name: role.name().to_owned(), points: points.filter(|point| point.0 <= ONE_IN_MAX).collect() }
    };
    Chart {
        title: "Latency by percentile",
        caption: "To the right ever rarer answers, up to how long they took. A line that climbs late and little is a good one.".to_owned(),
        x: Axis { label: "percentile", scale: Scale::Log, show: percentile },
        y: Axis { label: "", scale: Scale::Log, show: units::micros },
        series: profile.latency.iter().map(line).collect(),
    }
}

/// `one_in`: of so many answers one took longer.
fn percentile(one_in: f64) -> String {
    let digits = if one_in < 1000.0 { 1 } else { 4 };
    let text = format!("{:.digits$}", 100.0 * (1.0 - 1.0 / one_in));
    format!("{} %", if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text })
}

fn cpu(profile: &Profile) -> Chart {
    let line = |name: &str, cpu: fn(&Sample) -> Option<std::time::Duration>| {
        let points = profile.samples.iter().filter_map(|sample| {
            let share = 100.0 * cpu(sample)?.as_secs_f64() / sample.span.as_secs_f64().max(1e-9);
            Some((sample.at.as_secs_f64(), share))
        });
        Series { name: name.to_owned(), points: points.collect() }
    };
    Chart {
        title: "CPU",
        caption: "100 % is one core. The broker's is known where its process id was given (--pid), and counts in steps of 10 ms.".to_owned(),
        x: TIME,
        y: Axis { label: "", scale: Scale::Linear, show: |value| format!("{} %", trimmed(value)) },
        series: vec![
            line("broker", |sample| sample.server_cpu),
            line("load generator", |sample| Some(sample.client_cpu)),
        ],
    }
}

#[expect(clippy::cast_precision_loss, reason = "a process's memory stays far below 2^53 bytes")]
fn memory(profile: &Profile) -> Chart {
    let points =
        profile.samples.iter().filter_map(|sample| Some((sample.at.as_secs_f64(), sample.server_memory_bytes? as f64)));
    Chart {
        title: "Broker memory",
        caption: "Anonymous memory of the broker's process, page cache aside.".to_owned(),
        x: TIME,
        y: Axis { label: "", scale: Scale::Linear, show: |value| units::decimal(value, "B") },
        series: vec![Series { name: "broker".to_owned(), points: points.collect() }],
    }
}

/// Text as HTML shows it.
fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::latency::Latency;
    use crate::report::{Metric, Unit};

    fn sample(at_s: u64) -> Sample {
        let loads =
            vec![LoadSample { role: Role::Produce, records: 10, bytes: 1_000_000, latency_us: Some((100.0, 900.0)) }];
        Sample {
            at: Duration::from_secs(at_s),
            span: Duration::from_secs(1),
            loads,
            client_cpu: Duration::from_millis(100),
            server_cpu: Some(Duration::from_millis(250)),
            server_memory_bytes: Some(20_000_000),
        }
    }

    fn report() -> Report {
        let mut latency = Latency::new();
        (1..2000).for_each(|micros| latency.record(Duration::from_micros(micros)));
        let run = vec![
            Metric { key: "rate_bytes_per_s", unit: Unit::BytesPerSecond, value: 1e6 },
            Metric { key: "limit_bytes_per_s", unit: Unit::BytesPerSecond, value: 4e6 },
            Metric { key: "share_of_limit_percent", unit: Unit::Percent, value: 25.0 },
        ];
        Report {
            command: "produce",
            conditions: vec![("broker", "<host>".to_owned())],
            cases: vec![Case { name: "produce".to_owned(), runs: vec![run.clone(), run] }],
            groups: Vec::new(),
            warnings: vec!["a & b".to_owned()],
            profiles: vec![Profile {
                run: 1,
                latency: vec![(Role::Produce, latency)],
                samples: vec![sample(1), sample(2)],
            }],
        }
    }

    #[test]
    fn a_page_holds_every_figure_and_chart_and_fetches_nothing() {
        let page = page(&report());
        for part in [
            "1.00 MB/s",
            "&lt;host&gt;",
            "Warning: a &amp; b",
            "medians of 2 runs",
            "99.9 %",
            "20.0 MB",
            "25.0 % of 4.00 MB/s",
        ] {
            assert!(page.contains(part), "no {part} in {page}");
        }
        for title in ["Throughput", "p99 latency", "Latency by percentile", "CPU", "Broker memory"] {
            assert!(page.contains(&format!("<h3>{title}</h3>")), "no {title} in {page}");
        }
        for fetched in ["http", "src=", "<link", "url(", "<script", "@import"] {
            assert!(!page.contains(fetched), "{fetched} in {page}");
        }
    }

    #[test]
    fn percentiles_are_named_as_people_say_them() {
        assert_eq!([1.0, 10.0, 100.0, 1e3, 1e4].map(percentile), ["0 %", "90 %", "99 %", "99.9 %", "99.99 %"]);
    }

    #[test]
    fn a_report_without_profiles_sets_its_cases_side_by_side() {
        let case = |name: &str, value| {
            let metric = Metric { key: "rate_bytes_per_s", unit: Unit::BytesPerSecond, value };
            Case { name: name.to_owned(), runs: vec![vec![metric]] }
        };
        let cases = vec![case("a", 1e6), case("b", 4e6)];
        let page = page(&Report { profiles: Vec::new(), cases, ..report() });
        assert!(!page.contains("<svg") && !page.contains("p99 latency, "), "{page}");
        assert!(page.contains("Throughput, longer") && page.contains("width:25.0%"), "{page}");
        assert!(page.contains("<span>4.00 MB/s</span>"), "{page}");
    }
}
