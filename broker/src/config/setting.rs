//! One row of a table of settings, how a value is checked against it, and how a refusal is worded.
//!
//! Values stay text, in the form Kafka's admin protocol carries them; the typed fields are read from checked text once, in
//! `resolved` and `topic`.

use std::fmt;

/// The part of the configuration that a setting stands in: `[broker]`, `[topic]` or `[ringmill]` in the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Section {
    /// Kafka's names for the broker.
    Broker,
    /// Defaults of every topic, by Kafka's names for topics, and ours beside them.
    Topic,
    /// What Kafka has no name for.
    Ringmill,
}

impl Section {
    /// All sections, in the order they are printed.
    pub const ALL: [Section; 3] = [Section::Broker, Section::Topic, Section::Ringmill];

    /// The section's name in the file.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Section::Broker => "broker",
            Section::Topic => "topic",
            Section::Ringmill => "ringmill",
        }
    }
}

/// Which values a setting takes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Kind {
    /// `true` or `false`.
    Bool,
    /// A whole number between two bounds, both included.
    Integer {
        /// The smallest.
        min: i64,
        /// The largest.
        max: i64,
    },
    /// A decimal number between two bounds, both included.
    Decimal {
        /// The smallest.
        min: f64,
        /// The largest.
        max: f64,
    },
    /// One of these words.
    Choice(&'static [&'static str]),
    /// Any text; what it means is checked where it is read.
    Text,
    /// Words with commas between them; what they mean is checked where they are read.
    List,
    /// At least one of these words, each once, with commas between them.
    Words(&'static [&'static str]),
}

/// Whether a setting changes anything here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// It does what its name says.
    Real,
    /// It is known because Kafka knows it, and has no effect here: accepted at its default, refused at any other value.
    DefaultOnly,
}

/// One row of a table.
#[derive(Debug, PartialEq)]
pub struct Setting {
    /// Where it stands.
    pub section: Section,
    /// Its name, with dots, as in Kafka's documentation.
    pub name: &'static str,
    /// Which values it takes.
    pub kind: Kind,
    /// Its default, as text of its own kind. Empty text means "not set".
    pub default: &'static str,
    /// Whether it changes anything here.
    pub effect: Effect,
    /// Whether it can change while the broker runs. A topic's setting always can; this is about the broker's own value.
    pub dynamic: bool,
    /// What it means, in one sentence.
    pub doc: &'static str,
}

impl Setting {
    /// Checks a value and gives it back in its one spelling (`TRUE` becomes `true`, `007` becomes `7`).
    ///
    /// # Errors
    /// The reason, as the end of a sentence: what was expected.
    pub fn check(&self, value: &str) -> Result<String, String> {
        let value = value.trim();
        let normal = self.kind.check(value)?;
        if self.effect == Effect::DefaultOnly && normal != self.default {
            let default = if self.default.is_empty() { "empty" } else { self.default };
            return Err(format!("only its default, {default}, is accepted: {}", self.doc.trim_end_matches('.')));
        }
        Ok(normal)
    }

    /// The environment variable that sets it.
    #[must_use]
    pub fn environment_name(&self) -> String {
        format!("RINGMILL__{}__{}", self.section.name(), self.name.replace('.', "_")).to_ascii_uppercase()
    }

    /// Its name with its section, as `--set` and the error messages spell it.
    #[must_use]
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.section.name(), self.name)
    }
}

/// From here on a decimal number is spelled with an exponent.
const EXPONENT_FROM: f64 = 1e15;

impl Kind {
    /// Whether words can be added to the value and taken away.
    #[must_use]
    pub fn is_list(self) -> bool {
        matches!(self, Kind::List | Kind::Words(_))
    }

    fn check(self, value: &str) -> Result<String, String> {
        match self {
            Kind::Bool => match value.to_ascii_lowercase().as_str() {
                word @ ("true" | "false") => Ok(word.to_owned()),
                _ => Err("expected true or false".to_owned()),
            },
            Kind::Integer { min, max } => match value.parse::<i64>() {
                Ok(number) if (min..=max).contains(&number) => Ok(number.to_string()),
                _ if max == i64::MAX => Err(format!("expected a whole number of at least {min}")),
                _ => Err(format!("expected a whole number from {min} to {max}")),
            },
            Kind::Decimal { min, max } => match value.parse::<f64>() {
                // As Java spells it where digits would be many: Kafka's "no limit" is its largest number.
                Ok(number) if (EXPONENT_FROM..=max).contains(&number) => Ok(format!("{number:E}")),
                Ok(number) if (min..=max).contains(&number) => Ok(number.to_string()),
                _ if max == f64::MAX => Err(format!("expected a number of at least {min}")),
                _ => Err(format!("expected a number from {min} to {max}")),
            },
            Kind::Choice(words) => match words.iter().find(|word| **word == value) {
                Some(word) => Ok((*word).to_owned()),
                None => Err(format!("expected one of {}", words.join(", "))),
            },
            Kind::Text => Ok(value.to_owned()),
            Kind::List => Ok(value.split(',').map(str::trim).collect::<Vec<_>>().join(",")),
            Kind::Words(words) => {
                let given: Vec<&str> = value.split(',').map(str::trim).collect();
                let is_known = |(number, word): (usize, &&str)| words.contains(word) && !given[..number].contains(word);
                match given.iter().enumerate().all(is_known) {
                    true => Ok(given.join(",")),
                    false => Err(format!(
                        "expected at least one of {}, each once, with commas between them",
                        words.join(", ")
                    )),
                }
            }
        }
    }
}

/// Which source a value came from, weakest first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Origin {
    /// The table.
    Default,
    /// The configuration file.
    File,
    /// An environment variable.
    Environment,
    /// A command-line flag.
    Flag,
    /// The admin protocol: set for all brokers.
    DynamicDefault,
    /// The admin protocol: set on this broker.
    DynamicBroker,
    /// The admin protocol: set on the topic itself.
    Topic,
}

impl Origin {
    /// One word for it.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Origin::Default => "default",
            Origin::File => "file",
            Origin::Environment => "environment",
            Origin::Flag => "flag",
            Origin::DynamicDefault => "dynamic default",
            Origin::DynamicBroker => "dynamic",
            Origin::Topic => "topic",
        }
    }
}

/// Exactly where a value, or a mistake, stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// In the table of settings.
    Default,
    /// In a line of the file; lines count from 1.
    File {
        /// The file.
        path: String,
        /// The line.
        line: usize,
    },
    /// In an environment variable.
    Environment(String),
    /// In a flag.
    Flag(String),
}

impl Place {
    /// The source it belongs to.
    #[must_use]
    pub fn origin(&self) -> Origin {
        match self {
            Place::Default => Origin::Default,
            Place::File { .. } => Origin::File,
            Place::Environment(_) => Origin::Environment,
            Place::Flag(_) => Origin::Flag,
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Place::Default => write!(out, "default"),
            Place::File { path, line } => write!(out, "{path}:{line}"),
            Place::Environment(variable) => write!(out, "environment variable {variable}"),
            Place::Flag(flag) => write!(out, "flag {flag}"),
        }
    }
}

/// A setting's value and where it came from. The text has passed [`Setting::check`].
#[derive(Clone, Debug, PartialEq)]
pub struct Value {
    /// The setting.
    pub setting: &'static Setting,
    /// Its value, in its one spelling.
    pub text: String,
    /// Where it stands.
    pub place: Place,
}

impl Value {
    /// The setting at its default.
    #[must_use]
    pub fn at_default(setting: &'static Setting) -> Value {
        Value { setting, text: setting.default.to_owned(), place: Place::Default }
    }

    pub(super) fn integer(&self) -> i64 {
        self.text.parse().expect("the text has passed the check of an integer setting")
    }

    pub(super) fn boolean(&self) -> bool {
        self.text == "true"
    }
}

/// One mistake in the configuration: where it stands, what it is, what to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, and what to do about it.
    pub what: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{}: {}", self.place, self.what)
    }
}

/// All mistakes found, so that they can be mended in one go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConfigErrors(pub Vec<Problem>);

impl fmt::Display for ConfigErrors {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, problem) in self.0.iter().enumerate() {
            if index > 0 {
                writeln!(out)?;
            }
            write!(out, "{problem}")?;
        }
        Ok(())
    }
}

impl std::error::Error for ConfigErrors {}
