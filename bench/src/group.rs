//! Cases that differ in one thing, with what that is and why it matters: how a report explains what it lists.
//!
//! It holds and prints; [`trials`](crate::trials) fills it, the page draws it.

use serde_json::{Value, json};

use crate::report::{self, Case};

/// The metric that sets a case beside the first of its group, whose own is 1, where a change is to gain something.
pub(crate) const GAIN: &str = "gain_ratio";

/// The same where something grows, and a figure should stay what it was.
pub(crate) const TO_FIRST: &str = "to_first_ratio";

/// Letters of a line on a terminal.
const LINE_LETTERS_MAX: usize = 100;

/// Cases side by side.
#[derive(Debug)]
pub(crate) struct Group {
    /// Its name on the command line; several groups may share one.
    pub(crate) factor: &'static str,
    pub(crate) title: &'static str,
    /// What is compared, and under which conditions.
    pub(crate) compared: String,
    /// Why it comes out as it does.
    pub(crate) why: &'static str,
    /// The metric that is drawn, and divided by the first case's.
    pub(crate) lead: &'static str,
    /// The metric that is the outcome of that division.
    pub(crate) ratio: &'static str,
    pub(crate) cases: Vec<Case>,
}

impl Group {
    /// Its title, what is compared, the table, and why.
    pub(crate) fn to_text(&self) -> String {
        let lines =
            |text: &str| wrapped(text, LINE_LETTERS_MAX).iter().map(|line| format!("  {line}\n")).collect::<String>();
        let title = self.title;
        format!("\n{title}\n{}{}\n{}", lines(&self.compared), report::table(&self.cases), lines(self.why))
    }

    pub(crate) fn to_json(&self) -> Value {
        json!({
            "factor": self.factor,
            "title": self.title,
            "compared": self.compared,
            "why": self.why,
            "lead": self.lead,
            "ratio": self.ratio,
            "cases": self.cases.iter().map(Case::to_json).collect::<Vec<_>>(),
        })
    }
}

/// The text in lines of at most so many letters, as long as no word is longer.
pub(crate) fn wrapped(text: &str, letters_max: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    for word in text.split_whitespace() {
        match lines.last_mut() {
            Some(line) if line.chars().count() + 1 + word.chars().count() <= letters_max => {
                line.push(' ');
                line.push_str(word);
            }
            Some(_) | None => lines.push(word.to_owned()),
        }
    }
    lines
}

#[cfg(test)]
mod tests {
    use crate::report::{Metric, Unit};

    use super::*;

    #[test]
    fn lines_break_between_words() {
        assert_eq!(wrapped("one two three", 7), ["one two", "three"]);
        assert_eq!(wrapped("×× ×", 4), ["×× ×"], "letters count, not bytes");
        assert_eq!(wrapped("unbreakable a", 5), ["unbreakable", "a"]);
        assert!(wrapped(" ", 5).is_empty());
    }

    #[test]
    fn a_group_says_what_is_compared_before_its_figures_and_why_behind_them() {
        let case =
            Case { name: "in order".to_owned(), runs: vec![vec![Metric { key: GAIN, unit: Unit::Ratio, value: 4.0 }]] };
        let group = Group {
            factor: "writes",
            title: "Writes",
            compared: "The same blocks.".to_owned(),
            why: "Neighbours go together.",
            lead: "rate_bytes_per_s",
            ratio: GAIN,
            cases: vec![case],
        };
        let text = group.to_text();
        let at = |part: &str| text.find(part).unwrap_or_else(|| panic!("no {part} in {text}"));
        assert!(at("The same") < at("in order") && at("in order") < at("4.00 ×") && at("4.00 ×") < at("Neighbours"));
        assert_eq!(group.to_json()["cases"][0]["metrics"][GAIN]["median"], 4.0);
    }
}
