//! Reads the three sources of configuration (file, environment, flags) into assignments to known settings.
//!
//! Refuses what no table knows, with the place and the nearest known name, and collects every mistake instead of stopping at the
//! first. What the values mean together is decided in `resolved`. The command line calls [`load`].

use std::path::{Path, PathBuf};

use toml::de::{DeTable, DeValue};

use super::resolved::BrokerConfig;
use super::setting::{ConfigErrors, Place, Problem, Section, Setting, Value};
use super::{broker_names, suggest, tables};

/// The prefix of every environment variable that sets something: `RINGMILL__BROKER__NUM_PARTITIONS`.
const ENVIRONMENT_PREFIX: &str = "RINGMILL__";

/// Where to read configuration from.
#[derive(Clone, Debug, Default)]
pub struct Sources {
    /// The configuration file.
    pub file: Option<PathBuf>,
    /// Environment variables, all of them; those of other programs are passed over.
    pub environment: Vec<(String, String)>,
    /// Flags, in the order given; a later one wins.
    pub flags: Vec<FlagValue>,
}

/// A flag that sets something.
#[derive(Clone, Debug)]
pub struct FlagValue {
    /// The flag as it was typed, for messages.
    pub flag: String,
    /// The setting's full name, as `broker.listeners`.
    pub full_name: String,
    /// Its value.
    pub value: String,
}

impl Sources {
    /// Adds a flag's value, if the flag was given.
    #[must_use]
    pub fn flag(mut self, flag: &str, full_name: &str, value: Option<String>) -> Sources {
        if let Some(value) = value {
            self.flags.push(FlagValue { flag: flag.to_owned(), full_name: full_name.to_owned(), value });
        }
        self
    }
}

/// Reads all sources and resolves them: flag over environment over file over default.
///
/// # Errors
/// Every mistake found, each with its place.
pub fn load(sources: &Sources) -> Result<BrokerConfig, ConfigErrors> {
    let mut reading = Reading::default();
    if let Some(path) = &sources.file {
        reading.file(path);
    }
    reading.environment(&sources.environment);
    reading.flags(&sources.flags);
    let resolved = BrokerConfig::resolve(reading.values);
    match resolved {
        Ok(config) if reading.problems.is_empty() => Ok(config),
        Ok(_) => Err(ConfigErrors(reading.problems)),
        Err(ConfigErrors(mut more)) => {
            reading.problems.append(&mut more);
            Err(ConfigErrors(reading.problems))
        }
    }
}

/// What has been read so far, weakest source first.
#[derive(Default)]
struct Reading {
    values: Vec<Value>,
    problems: Vec<Problem>,
}

impl Reading {
    fn refuse(&mut self, place: Place, what: String) {
        self.problems.push(Problem { place, what });
    }

    fn assign(&mut self, setting: &'static Setting, text: &str, place: Place) {
        match setting.check(text) {
            Ok(text) => self.values.push(Value { setting, text, place }),
            Err(why) => self.refuse(place, format!("{} = {text:?} is refused: {why}", setting.full_name())),
        }
    }

    fn file(&mut self, path: &Path) {
        let shown = path.display().to_string();
        let at = |line| Place::File { path: shown.clone(), line };
        let text = match std::fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) => {
                let what = format!("cannot read the configuration file: {error}; check the path given to --config");
                return self.refuse(at(0), what);
            }
        };
        let document = match DeTable::parse(&text) {
            Ok(document) => document.into_inner(),
            Err(error) => {
                let line = error.span().map_or(0, |span| line_of(&text, span.start));
                return self.refuse(at(line), format!("this is not TOML: {}", error.message()));
            }
        };
        for (key, value) in &document {
            let line = line_of(&text, key.span().start);
            let name = key.get_ref().as_ref();
            let Some(section) = Section::ALL.into_iter().find(|section| section.name() == name) else {
                self.refuse(at(line), unknown_section(name));
                continue;
            };
            match value.get_ref() {
                DeValue::Table(table) => self.table(section, "", table, &text, &shown),
                _ => self.refuse(
                    at(line),
                    format!("[{name}] is a section, not a value; write [{name}] on a line of its own"),
                ),
            }
        }
    }

    /// One section, or the inside of a dotted key: `num.partitions = 3` without quotes means the same as with them.
    fn table(&mut self, section: Section, prefix: &str, table: &DeTable<'_>, text: &str, path: &str) {
        for (key, value) in table {
            let place = Place::File { path: path.to_owned(), line: line_of(text, key.span().start) };
            let name = format!("{prefix}{}", key.get_ref());
            let value = match value.get_ref() {
                DeValue::Table(inner) => {
                    self.table(section, &format!("{name}."), inner, text, path);
                    continue;
                }
                DeValue::String(value) => value.to_string(),
                DeValue::Integer(value) => match i64::from_str_radix(value.as_str(), value.radix()) {
                    Ok(value) => value.to_string(),
                    Err(_) => value.as_str().to_owned(),
                },
                DeValue::Float(value) => value.as_str().to_owned(),
                DeValue::Boolean(value) => value.to_string(),
                DeValue::Array(_) | DeValue::Datetime(_) => {
                    self.refuse(place, format!("{}.{name}: expected a string, a number or true/false", section.name()));
                    continue;
                }
            };
            let Some(setting) = tables::find(section, &name) else {
                self.refuse(place, unknown_setting(section, &name));
                continue;
            };
            if self.values.iter().any(|value| value.setting == setting) {
                self.refuse(place, format!("{} is set twice; keep one", setting.full_name()));
                continue;
            }
            self.assign(setting, &value, place);
        }
    }

    fn environment(&mut self, variables: &[(String, String)]) {
        let mut variables: Vec<_> = variables.iter().filter(|(name, _)| name.starts_with(ENVIRONMENT_PREFIX)).collect();
        variables.sort();
        for (variable, value) in variables {
            let place = Place::Environment(variable.clone());
            match all_settings().find(|setting| setting.environment_name() == *variable) {
                Some(setting) => self.assign(setting, value, place),
                None => {
                    let names: Vec<String> = all_settings().map(Setting::environment_name).collect();
                    let hint = match suggest::nearest(variable, names.iter().map(String::as_str)) {
                        Some(near) => format!("did you mean {near}?"),
                        None => "`ringmill config print` lists all settings; dots become underscores".to_owned(),
                    };
                    self.refuse(place, format!("no such setting; {hint}"));
                }
            }
        }
    }

    fn flags(&mut self, flags: &[FlagValue]) {
        for FlagValue { flag, full_name, value } in flags {
            let place = Place::Flag(flag.clone());
            let (section, name) = full_name.split_once('.').unwrap_or((full_name, ""));
            match Section::ALL.into_iter().find(|known| known.name() == section) {
                None => self.refuse(place, unknown_section(section)),
                Some(section) => match tables::find(section, name) {
                    Some(setting) => self.assign(setting, value, place),
                    None => self.refuse(place, unknown_setting(section, name)),
                },
            }
        }
    }
}

fn all_settings() -> impl Iterator<Item = &'static Setting> {
    Section::ALL.into_iter().flat_map(tables::of)
}

fn unknown_section(name: &str) -> String {
    let hint =
        match all_settings().find(|setting| setting.name == name || setting.name.starts_with(&format!("{name}."))) {
            Some(setting) => format!("{} belongs under [{}]", setting.name, setting.section.name()),
            None => match suggest::nearest(name, Section::ALL.into_iter().map(Section::name)) {
                Some(near) => format!("did you mean [{near}]?"),
                None => "the sections are [broker], [topic] and [ringmill]".to_owned(),
            },
        };
    format!("no such section: [{name}]; {hint}")
}

fn unknown_setting(section: Section, name: &str) -> String {
    let elsewhere =
        Section::ALL.into_iter().filter(|other| *other != section).find_map(|other| tables::find(other, name));
    let topic_name = broker_names::topic_name_behind(name);
    let hint = if let (Section::Broker, Some(topic_name)) = (section, topic_name) {
        format!("topic defaults stand under [topic]: set \"{topic_name}\" there")
    } else if let Some(setting) = elsewhere {
        format!("it belongs under [{}]", setting.section.name())
    } else if let Some(near) = suggest::nearest(name, tables::of(section).iter().map(|setting| setting.name)) {
        format!("did you mean \"{near}\"?")
    } else {
        "`ringmill config print` lists all settings".to_owned()
    };
    format!("no such setting: \"{name}\" under [{}]; {hint}", section.name())
}

/// The line of a byte position, counted from 1.
fn line_of(text: &str, position: usize) -> usize {
    1 + text.bytes().take(position).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Origin;

    fn load_text(text: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Result<BrokerConfig, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("ringmill.toml");
        std::fs::write(&path, text).unwrap();
        let mut sources = Sources { file: Some(path.clone()), ..Sources::default() };
        sources.environment =
            environment.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        for (name, value) in flags {
            sources = sources.flag("--set", name, Some((*value).to_owned()));
        }
        load(&sources).map_err(|errors| errors.to_string().replace(&path.display().to_string(), "FILE"))
    }

    #[test]
    fn flag_wins_over_environment_over_file_over_default() {
        let file = "[broker]\n\"num.partitions\" = 2\n";
        let environment = [("RINGMILL__BROKER__NUM_PARTITIONS", "3"), ("HOME", "/root")];
        let flags = [("broker.num.partitions", "4")];
        let check = |config: Result<BrokerConfig, String>, expected: i32, origin: Origin| {
            let config = config.unwrap();
            let value = config.values().find(|value| value.setting.name == "num.partitions").unwrap();
            assert_eq!((config.num_partitions, value.place.origin()), (expected, origin));
        };
        check(load_text("", &[], &[]), 1, Origin::Default);
        check(load_text(file, &[], &[]), 2, Origin::File);
        check(load_text(file, &environment, &[]), 3, Origin::Environment);
        check(load_text(file, &environment, &flags), 4, Origin::Flag);
        check(load_text("", &[], &[flags[0], ("broker.num.partitions", "5")]), 5, Origin::Flag);
    }

    #[test]
    fn quoted_and_plain_dotted_names_mean_the_same() {
        for text in ["[topic]\n\"retention.ms\" = 5", "[topic]\nretention.ms = 5", "topic.retention.ms = \"5\""] {
            let config = load_text(text, &[], &[]).unwrap();
            let topic = config.topic_defaults.resolve(&std::collections::BTreeMap::new()).unwrap();
            assert_eq!(topic.retention_ms, Some(5), "{text}");
        }
    }

    #[test]
    fn mistakes_name_their_place_and_the_way_out() {
        let check = |text: &str, environment: &[(&str, &str)], flags: &[(&str, &str)], expected: &str| {
            let message = load_text(text, environment, flags).expect_err("refused");
            assert!(message.contains(expected), "{text:?}: {message:?} does not say {expected:?}");
        };
        check(
            "\n[broker]\n\"num.partitons\" = 1",
            &[],
            &[],
            "FILE:3: no such setting: \"num.partitons\" under [broker]; did you mean \"num.partitions\"?",
        );
        check(
            "[broker]\n\"retention.ms\" = 1",
            &[],
            &[],
            "FILE:2: no such setting: \"retention.ms\" under [broker]; it belongs under [topic]",
        );
        check("[broker]\n\"log.retention.hours\" = 1", &[], &[], "set \"retention.ms\" there");
        check("[brokr]\na = 1", &[], &[], "FILE:1: no such section: [brokr]; did you mean [broker]?");
        check("num.partitions = 1", &[], &[], "num.partitions belongs under [broker]");
        check("broker = 1", &[], &[], "[broker] is a section");
        check(
            "[broker]\n\"num.partitions\" = 0",
            &[],
            &[],
            "FILE:2: broker.num.partitions = \"0\" is refused: expected a whole number from 1",
        );
        check("[broker]\n\"num.partitions\" = [1]", &[], &[], "expected a string, a number");
        check("[broker]\nnum.partitions = 1\n\"num.partitions\" = 2", &[], &[], "is set twice");
        check("[broker\n", &[], &[], "FILE:1: this is not TOML");
        check("[topic]\n\"cleanup.policy\" = \"archive\"", &[], &[], "expected at least one of compact, delete");
        check(
            "",
            &[("RINGMILL__BROKER__NUM_PARTITION", "1")],
            &[],
            "environment variable RINGMILL__BROKER__NUM_PARTITION: no such setting; did you mean RINGMILL__BROKER__NUM_PARTITIONS?",
        );
        check("", &[("RINGMILL__RINGMILL__IO", "fast")], &[], "expected one of auto, uring, posix");
        check(
            "",
            &[],
            &[("ringmill.coers", "2")],
            "flag --set: no such setting: \"coers\" under [ringmill]; did you mean \"cores\"?",
        );
        check("", &[], &[("broker.listeners", "SSL://h:1")], "flag --set: broker.listeners");
        check("", &[], &[("broker.log.dirs", "/a,/b")], "exactly one");
        check(
            "",
            &[],
            &[("ringmill.request.memory.bytes", "67108864")],
            "(broker.socket.request.max.bytes = 104857600) does not fit",
        );
        check("", &[], &[("ringmill.log.level", "loud")], "\"loud\" is no level");
    }

    #[test]
    fn all_mistakes_are_reported_at_once() {
        let message = load_text("[broker]\na = 1\nb = 2", &[("RINGMILL__X", "1")], &[("broker.listeners", "nowhere")])
            .unwrap_err();
        assert_eq!(message.lines().count(), 4, "{message}");
    }

    #[test]
    fn a_file_that_is_not_there_is_named() {
        let errors = load(&Sources { file: Some("/nonexistent/r.toml".into()), ..Sources::default() }).unwrap_err();
        assert!(errors.to_string().contains("/nonexistent/r.toml"), "{errors}");
    }
}
