//! Line charts as SVG text: axes with round ticks, a line for each series, a legend, and nothing fetched from anywhere.
//!
//! It knows numbers and how to print them; what they mean is [`html`](super)'s.

use std::fmt::Write;

/// The drawing's own units; the page scales it.
const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 300.0;
const LEFT: f64 = 78.0;
const RIGHT: f64 = 16.0;
const TOP: f64 = 14.0;
const BOTTOM: f64 = 42.0;
/// A line with more points than pixels shows nothing more; of several that fall together the highest stays.
const POINTS_MAX: usize = 720;
const TICKS_AIM: f64 = 6.0;

/// How an axis is divided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Scale {
    /// From zero.
    Linear,
    /// By powers of ten; what is not above zero is left out.
    Log,
}

/// One direction of a chart.
#[derive(Clone, Copy)]
pub(super) struct Axis {
    pub(super) label: &'static str,
    pub(super) scale: Scale,
    /// Prints a tick's value.
    pub(super) show: fn(f64) -> String,
}

/// A line.
pub(super) struct Series {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart with its caption.
pub(super) struct Chart {
    pub(super) title: &'static str,
    /// What it shows and how to read it.
    pub(super) caption: String,
    pub(super) x: Axis,
    pub(super) y: Axis,
    pub(super) series: Vec<Series>,
}

/// An axis with its ends, which maps values to the drawing.
struct Ruler {
    axis: Axis,
    low: f64,
    high: f64,
    /// Where its ends lie in the drawing.
    from: f64,
    to: f64,
}

impl Chart {
    /// A figure, or nothing where there is no line to draw.
    pub(super) fn to_html(&self) -> String {
        let usable = |point: &&(f64, f64)| {
            let fits = |value: f64, axis: Axis| value.is_finite() && (axis.scale == Scale::Linear || value > 0.0);
            fits(point.0, self.x) && fits(point.1, self.y)
        };
        let lines: Vec<(&str, Vec<(f64, f64)>)> = self
            .series
            .iter()
            .map(|series| (series.name.as_str(), thin_out(series.points.iter().filter(usable).copied().collect())))
            .filter(|(_, points)| !points.is_empty())
            .collect();
        if lines.is_empty() {
            return String::new();
        }
        let all = || lines.iter().flat_map(|(_, points)| points);
        let x = Ruler::new(self.x, all().map(|point| point.0), LEFT, WIDTH - RIGHT);
        let y = Ruler::new(self.y, all().map(|point| point.1), HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<figure><h3>{}</h3><svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" aria-label=\"{}\">",
            self.title, self.title
        );
        push_axes(&mut svg, &x, &y);
        for (at, (name, points)) in lines.iter().enumerate() {
            push_line(&mut svg, at, name, points, &x, &y);
        }
        svg.push_str("</svg>");
        if lines.len() > 1 {
            let entry = |(at, (name, _)): (usize, &(&str, _))| {
                format!("<span><i class=\"line{at}\"></i>{}</span>", super::escape(name))
            };
            let entries: String = lines.iter().enumerate().map(entry).collect();
            svg.push_str(&format!("<div class=\"legend\">{entries}</div>"));
        }
        format!("{svg}<figcaption>{}</figcaption></figure>", super::escape(&self.caption))
    }
}

fn push_axes(svg: &mut String, x: &Ruler, y: &Ruler) {
    let (bottom, right) = (HEIGHT - BOTTOM, WIDTH - RIGHT);
    for tick in y.ticks() {
        let at = y.place(tick);
        let text = (y.axis.show)(tick);
        push(svg, format_args!("<line class=\"grid\" x1=\"{LEFT}\" y1=\"{at:.1}\" x2=\"{right}\" y2=\"{at:.1}\"/>"));
        push(svg, format_args!("<text x=\"{}\" y=\"{:.1}\" text-anchor=\"end\">{text}</text>", LEFT - 8.0, at + 4.0));
    }
    for tick in x.ticks() {
        let at = x.place(tick);
        let text = (x.axis.show)(tick);
        push(svg, format_args!("<line class=\"grid\" x1=\"{at:.1}\" y1=\"{TOP}\" x2=\"{at:.1}\" y2=\"{bottom}\"/>"));
        push(svg, format_args!("<text x=\"{at:.1}\" y=\"{}\" text-anchor=\"middle\">{text}</text>", bottom + 16.0));
    }
    let middle = f64::midpoint(LEFT, right);
    let label = x.axis.label;
    push(svg, format_args!("<text x=\"{middle}\" y=\"{}\" text-anchor=\"middle\">{label}</text>", HEIGHT - 8.0));
    push(svg, format_args!("<line class=\"axis\" x1=\"{LEFT}\" y1=\"{bottom}\" x2=\"{right}\" y2=\"{bottom}\"/>"));
}

fn push_line(svg: &mut String, at: usize, name: &str, points: &[(f64, f64)], x: &Ruler, y: &Ruler) {
    let place = |point: &(f64, f64)| (x.place(point.0), y.place(point.1));
    // A single point would be a line of no length.
    if let [point] = points {
        let (cx, cy) = place(point);
        push(svg, format_args!("<circle class=\"line{at}\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"3\"/>"));
    } else {
        let places: Vec<String> = points.iter().map(place).map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        push(svg, format_args!("<polyline class=\"line{at}\" points=\"{}\"/>", places.join(" ")));
    }
    // Shown by browsers when the pointer rests on a point.
    for point in points.iter().step_by(points.len().div_ceil(80)) {
        let (cx, cy) = place(point);
        let (name, x, y) = (super::escape(name), (x.axis.show)(point.0), (y.axis.show)(point.1));
        push(svg, format_args!("<circle class=\"touch\" cx=\"{cx:.1}\" cy=\"{cy:.1}\" r=\"6\">"));
        push(svg, format_args!("<title>{name} at {x}: {y}</title></circle>"));
    }
}

fn push(svg: &mut String, text: std::fmt::Arguments<'_>) {
    svg.write_fmt(text).expect("a string takes what is written to it");
}

/// At most [`POINTS_MAX`] points: of each group the one that stands highest.
fn thin_out(points: Vec<(f64, f64)>) -> Vec<(f64, f64)> {
    let group = points.len().div_ceil(POINTS_MAX).max(1);
    let highest = |group: &[(f64, f64)]| group.iter().copied().max_by(|a, b| a.1.total_cmp(&b.1));
    points.chunks(group).filter_map(highest).collect()
}

impl Ruler {
    fn new(axis: Axis, values: impl Iterator<Item = f64> + Clone, from: f64, to: f64) -> Ruler {
        let lowest = values.clone().fold(f64::INFINITY, f64::min);
        let highest = values.fold(f64::NEG_INFINITY, f64::max);
        let (low, high) = match axis.scale {
            Scale::Linear => {
                let step = round_step(highest.max(0.0) / TICKS_AIM);
                (0.0, (highest / step).ceil().max(1.0) * step)
            }
            Scale::Log => {
                let low = 10_f64.powf(lowest.log10().floor());
                (low, 10_f64.powf(highest.log10().ceil()).max(low * 10.0))
            }
        };
        Ruler { axis, low, high, from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let share = match self.axis.scale {
            Scale::Linear => (value - self.low) / (self.high - self.low),
            Scale::Log => (value / self.low).log10() / (self.high / self.low).log10(),
        };
        self.from + share * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<f64> {
        let mut ticks = Vec::new();
        let step = round_step(self.high / TICKS_AIM);
        let mut tick = self.low;
        // Half a step of slack, for sums of doubles miss their goal by a little.
        while tick < self.high + self.low.max(step) / 2.0 {
            ticks.push(tick);
            tick = if self.axis.scale == Scale::Linear { tick + step } else { tick * 10.0 };
        }
        ticks
    }
}

/// The next of 1, 2, 5, 10, 20 … that is not below `step`.
fn round_step(step: f64) -> f64 {
    if step <= 0.0 {
        return 1.0;
    }
    let power = 10_f64.powf(step.log10().floor());
    let factor = [1.0, 2.0, 5.0].into_iter().find(|factor| factor * power >= step * 0.999_999).unwrap_or(10.0);
    factor * power
}

#[cfg(test)]
mod tests {
    use super::*;

    fn axis(scale: Scale) -> Axis {
        Axis { label: "axis", scale, show: |value| format!("{value}") }
    }

    #[test]
    fn ticks_are_round_and_reach_beyond_the_highest_value() {
        let ruler = Ruler::new(axis(Scale::Linear), [3.0, 730.0].into_iter(), 0.0, 100.0);
        assert_eq!(ruler.ticks(), [0.0, 200.0, 400.0, 600.0, 800.0]);
        assert!((ruler.place(400.0) - 50.0).abs() < 1e-9);
        let ruler = Ruler::new(axis(Scale::Log), [30.0, 730.0].into_iter(), 0.0, 100.0);
        assert_eq!(ruler.ticks(), [10.0, 100.0, 1000.0]);
        assert!((ruler.place(100.0) - 50.0).abs() < 1e-9);
        let ruler = Ruler::new(axis(Scale::Linear), [0.0].into_iter(), 0.0, 1.0);
        assert!(ruler.high > 0.9 && ruler.ticks().len() > 1);
    }

    #[test]
    fn a_chart_without_a_usable_point_is_left_out_and_one_with_draws_each_line() {
        let series = |name: &str, points| Series { name: name.to_owned(), points };
        let chart = |series| Chart {
            title: "Latency",
            caption: "a < b".to_owned(),
            x: axis(Scale::Linear),
            y: axis(Scale::Log),
            series,
        };
        assert_eq!(chart(vec![series("zero", vec![(1.0, 0.0)])]).to_html(), "");
        let html = chart(vec![series("one", vec![(0.0, 1.0), (1.0, 9.0)]), series("two", vec![(1.0, 3.0)])]).to_html();
        assert!(html.contains("<polyline class=\"line0\"") && html.contains("<circle class=\"line1\""), "{html}");
        assert!(html.contains("a &lt; b") && html.contains("class=\"legend\""), "{html}");
    }

    #[test]
    fn a_peak_survives_the_thinning() {
        let points: Vec<(f64, f64)> = (0..5000).map(|at| (f64::from(at), if at == 4321 { 9.0 } else { 1.0 })).collect();
        let thin = thin_out(points);
        assert!(thin.len() <= POINTS_MAX && thin.iter().any(|point| point.1 > 8.0));
    }
}
