//! How the admin protocol changes what is set on a resource: single changes or a whole new set, checked name by name.
//!
//! Pure: from what is set and what is wanted to what will be set, or to the one reason why not. That several values fit together is
//! checked where they are resolved (`topic`, `running`). The metadata calls it, as the one place that knows what is set.

use std::collections::BTreeSet;

use super::running::{RunningConfig, Settings};
use super::setting::{Section, Setting};
use super::topic::{TopicDefaults, unknown};
use super::{broker_names, suggest, tables};

/// The longest piece of a stranger's text that is repeated to him.
const QUOTED_CHARS_MAX: usize = 100;

/// What is done to one setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Operation {
    /// Give it this value.
    Set(String),
    /// Take its own value away.
    Delete,
    /// Add words to a list.
    Append(String),
    /// Take words out of a list.
    Subtract(String),
}

/// One change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The setting's name.
    pub name: String,
    /// What is done to it.
    pub operation: Operation,
}

/// What is wanted of one resource.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Alteration {
    /// Change these and leave the others.
    Incremental(Vec<Change>),
    /// Have these and no others.
    Replace(Vec<(String, String)>),
}

/// Why an alteration is refused. The first two are INVALID_REQUEST in the protocol, as in Kafka, the last is INVALID_CONFIG.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AlterError {
    /// The request contradicts itself.
    #[error("{0}")]
    Malformed(String),
    /// The setting is fixed while the broker runs.
    #[error(
        "Cannot update these configs dynamically: [{0}]; set it in the configuration file and start the broker anew"
    )]
    ReadOnly(String),
    /// The name is not known, or the value is not accepted.
    #[error("{0}")]
    Refused(String),
}

/// What a resource says about a name.
enum Known<'a> {
    /// It can be set; if it is not, it has this value.
    Changeable(&'static Setting, &'a str),
    /// Its value is fixed.
    ReadOnly,
    /// There is none. How to go on, as the end of a sentence, is found out when it is told: a nearest name takes time to find.
    Unknown(fn(&str) -> String),
}

/// What will be set on a topic.
///
/// # Errors
/// See [`AlterError`].
pub fn alter_topic(set: &Settings, wanted: &Alteration, defaults: &TopicDefaults) -> Result<Settings, AlterError> {
    let known = |name: &str| match tables::find(Section::Topic, name) {
        Some(setting) => Known::Changeable(setting, defaults.value_of(setting.name)),
        None => Known::Unknown(unknown),
    };
    alter("topic", set, wanted, known)
}

/// What will be set on this broker or on all brokers.
///
/// # Errors
/// See [`AlterError`].
pub fn alter_broker(set: &Settings, wanted: &Alteration, running: &RunningConfig) -> Result<Settings, AlterError> {
    let known = |name: &str| match broker_names::find(name) {
        Some(setting) if setting.dynamic => Known::Changeable(setting, running.list_before(setting)),
        Some(_) => Known::ReadOnly,
        None => Known::Unknown(unknown_on_broker),
    };
    alter("broker", set, wanted, known)
}

fn alter<'a>(
    resource: &str,
    set: &Settings,
    wanted: &Alteration,
    known: impl Fn(&str) -> Known<'a>,
) -> Result<Settings, AlterError> {
    match wanted {
        Alteration::Replace(values) => {
            check_names_differ(values.iter().map(|(name, _)| name))?;
            let mut next = Settings::new();
            for (name, value) in values {
                let (setting, _) = changeable(resource, name, known(name))?;
                next.insert(name.clone(), checked(resource, name, setting, value)?);
            }
            Ok(next)
        }
        Alteration::Incremental(changes) => {
            check_names_differ(changes.iter().map(|change| &change.name))?;
            let mut next = set.clone();
            for change in changes {
                apply(resource, &mut next, change, known(&change.name))?;
            }
            Ok(next)
        }
    }
}

fn apply(resource: &str, set: &mut Settings, change: &Change, known: Known<'_>) -> Result<(), AlterError> {
    let Change { name, operation } = change;
    if *operation == Operation::Delete {
        // Taking away what nobody has ever heard of changes nothing, and tools do it: Kafka says yes, too.
        return match known {
            Known::ReadOnly => Err(AlterError::ReadOnly(shorten(name))),
            Known::Changeable(..) | Known::Unknown(_) => {
                set.remove(name);
                Ok(())
            }
        };
    }
    let (setting, inherited) = changeable(resource, name, known)?;
    let before = set.get(name).map_or(inherited, String::as_str);
    let value = match operation {
        Operation::Set(value) => checked(resource, name, setting, value)?,
        Operation::Append(words) => checked(resource, name, setting, &appended(name, setting, before, words)?)?,
        Operation::Subtract(words) => checked(resource, name, setting, &subtracted(name, setting, before, words)?)?,
        Operation::Delete => unreachable!("deletions were dealt with above"),
    };
    set.insert(name.clone(), value);
    Ok(())
}

fn check_names_differ<'a>(names: impl Iterator<Item = &'a String>) -> Result<(), AlterError> {
    let mut seen = BTreeSet::new();
    for name in names {
        if !seen.insert(name) {
            let why = format!("Error due to duplicate config keys: {} is named more than once", shorten(name));
            return Err(AlterError::Malformed(why));
        }
    }
    Ok(())
}

fn changeable<'a>(resource: &str, name: &str, known: Known<'a>) -> Result<(&'static Setting, &'a str), AlterError> {
    match known {
        Known::Changeable(setting, inherited) => Ok((setting, inherited)),
        Known::ReadOnly => Err(AlterError::ReadOnly(shorten(name))),
        Known::Unknown(hint) => {
            Err(AlterError::Refused(format!("Unknown {resource} config name: {}: {}", shorten(name), hint(name))))
        }
    }
}

fn checked(resource: &str, name: &str, setting: &Setting, value: &str) -> Result<String, AlterError> {
    setting.check(value).map_err(|why| {
        let quoted = shorten(value);
        AlterError::Refused(format!("Invalid value {quoted} for {resource} configuration {name}: {why}"))
    })
}

fn appended(name: &str, setting: &Setting, before: &str, words: &str) -> Result<String, AlterError> {
    check_is_list(name, setting, "APPEND")?;
    let mut all: Vec<&str> = list(before).collect();
    for word in list(words) {
        if !all.contains(&word) {
            all.push(word);
        }
    }
    Ok(all.join(","))
}

fn subtracted(name: &str, setting: &Setting, before: &str, words: &str) -> Result<String, AlterError> {
    check_is_list(name, setting, "SUBTRACT")?;
    let gone: BTreeSet<&str> = list(words).collect();
    Ok(list(before).filter(|word| !gone.contains(word)).collect::<Vec<_>>().join(","))
}

fn check_is_list(name: &str, setting: &Setting, operation: &str) -> Result<(), AlterError> {
    if setting.kind.is_list() {
        return Ok(());
    }
    Err(AlterError::Refused(format!("Can't {operation} to key {name} because its type is not LIST.")))
}

fn list(text: &str) -> impl Iterator<Item = &str> {
    text.split(',').map(str::trim).filter(|word| !word.is_empty())
}

fn unknown_on_broker(name: &str) -> String {
    let topic_default = tables::find(Section::Topic, name).and_then(broker_names::of);
    match topic_default.or_else(|| suggest::nearest(name, broker_names::all())) {
        Some(near) => format!("no such setting; did you mean {near}?"),
        None => "no such setting; describe the broker to see all".to_owned(),
    }
}

/// As much of a stranger's text as a message can hold.
#[must_use]
pub fn shorten(text: &str) -> String {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        Some((end, _)) => format!("{}… ({} bytes)", &text[..end], text.len()),
        None => text.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{BrokerConfig, DynamicSettings};

    fn set(name: &str, value: &str) -> Change {
        Change { name: name.to_owned(), operation: Operation::Set(value.to_owned()) }
    }

    fn on(name: &str, operation: Operation) -> Change {
        Change { name: name.to_owned(), operation }
    }

    fn settings(pairs: &[(&str, &str)]) -> Settings {
        pairs.iter().map(|(name, text)| ((*name).to_owned(), (*text).to_owned())).collect()
    }

    fn on_topic(before: &[(&str, &str)], wanted: &Alteration) -> Result<Settings, AlterError> {
        let defaults = BrokerConfig::from_settings(&[]).unwrap().topic_defaults;
        alter_topic(&settings(before), wanted, &defaults)
    }

    fn on_broker(changes: Vec<Change>) -> Result<Settings, AlterError> {
        let started = BrokerConfig::from_settings(&[]).unwrap();
        let running = RunningConfig::resolve(&started, DynamicSettings::default()).unwrap();
        alter_broker(&Settings::new(), &Alteration::Incremental(changes), &running)
    }

    #[test]
    fn single_changes_leave_the_others_and_a_replacement_does_not() {
        let before = [("retention.ms", "5"), ("segment.ms", "6")];
        let changes = vec![set("retention.ms", " 007 "), on("segment.ms", Operation::Delete), set("flush.ms", "8")];
        let after = on_topic(&before, &Alteration::Incremental(changes));
        assert_eq!(after, Ok(settings(&[("flush.ms", "8"), ("retention.ms", "7")])));
        let wanted = Alteration::Replace(vec![("flush.ms".to_owned(), "9".to_owned())]);
        assert_eq!(on_topic(&before, &wanted), Ok(settings(&[("flush.ms", "9")])));
        assert_eq!(on_topic(&before, &Alteration::Replace(Vec::new())), Ok(Settings::new()));
        assert_eq!(on_topic(&before, &Alteration::Incremental(Vec::new())), Ok(settings(&before)));
    }

    #[test]
    fn lists_grow_and_shrink_by_words() {
        let change = |operation| on_topic(&[], &Alteration::Incremental(vec![on("cleanup.policy", operation)]));
        assert_eq!(change(Operation::Append("delete".to_owned())), Ok(settings(&[("cleanup.policy", "delete")])));
        assert_eq!(change(Operation::Subtract("compact".to_owned())), Ok(settings(&[("cleanup.policy", "delete")])));
        let refused = |operation, expected: &str| {
            let why = change(operation).expect_err("refused").to_string();
            assert!(why.contains(expected), "{why:?} does not say {expected:?}");
        };
        let both = Ok(settings(&[("cleanup.policy", "delete,compact")]));
        assert_eq!(change(Operation::Append(" compact ".to_owned())), both);
        refused(Operation::Append("archive".to_owned()), "Invalid value delete,archive for topic configuration");
        refused(Operation::Subtract("delete".to_owned()), "expected at least one of compact, delete");
        assert_eq!(appended("a", list_setting(), "x,y", "y, z,,z").unwrap(), "x,y,z");
        assert_eq!(subtracted("a", list_setting(), "x,y,z", "z,x").unwrap(), "y");
    }

    fn list_setting() -> &'static Setting {
        tables::find(Section::Topic, "cleanup.policy").unwrap()
    }

    #[test]
    fn refusals_name_the_setting_the_value_and_what_is_accepted() {
        let check = |changes: Vec<Change>, expected: &str| {
            let why = on_topic(&[], &Alteration::Incremental(changes)).expect_err("refused").to_string();
            assert!(why.contains(expected), "{why:?} does not say {expected:?}");
        };
        check(
            vec![set("retention.msx", "1")],
            "Unknown topic config name: retention.msx: no such setting; did you mean",
        );
        check(vec![set("", "1")], "Unknown topic config name: : no such setting");
        check(
            vec![set("retention.ms", "soon")],
            "Invalid value soon for topic configuration retention.ms: expected a whole",
        );
        check(vec![set("retention.ms", "")], "Invalid value  for topic configuration retention.ms");
        check(vec![set("retention.ms", "1"), set("retention.ms", "2")], "retention.ms is named more than once");
        check(vec![on("retention.ms", Operation::Append("1".to_owned()))], "Can't APPEND to key retention.ms");
        check(vec![on("retention.ms", Operation::Subtract("1".to_owned()))], "Can't SUBTRACT to key retention.ms");
        let endless = "9".repeat(32_000);
        check(vec![set("retention.ms", &endless)], "… (32000 bytes) for topic configuration retention.ms");
        check(vec![set(&endless, "1")], "… (32000 bytes): no such setting");
        let twice = Alteration::Replace(vec![("flush.ms".to_owned(), "1".to_owned()); 2]);
        assert!(matches!(on_topic(&[], &twice), Err(AlterError::Malformed(_))));
    }

    #[test]
    fn taking_away_what_is_not_there_changes_nothing() {
        let deletion = |name: &str| Alteration::Incremental(vec![on(name, Operation::Delete)]);
        assert_eq!(on_topic(&[], &deletion("retention.ms")), Ok(Settings::new()));
        assert_eq!(on_topic(&[], &deletion("message.format.version")), Ok(Settings::new()));
    }

    #[test]
    fn a_broker_changes_what_is_dynamic_and_nothing_else() {
        let good = on_broker(vec![
            set("num.partitions", "3"),
            set("log.retention.ms", "5"),
            set("topic.write.caching", "TRUE"),
        ]);
        let expected = [("log.retention.ms", "5"), ("num.partitions", "3"), ("topic.write.caching", "true")];
        assert_eq!(good, Ok(settings(&expected)));
        for name in ["listeners", "auto.create.topics.enable", "log.retention.hours", "broker.id", "ringmill.io"] {
            assert_eq!(on_broker(vec![set(name, "1")]), Err(AlterError::ReadOnly(name.to_owned())), "{name}");
            assert_eq!(on_broker(vec![on(name, Operation::Delete)]), Err(AlterError::ReadOnly(name.to_owned())));
        }
        let why = on_broker(vec![set("retention.ms", "1")]).unwrap_err().to_string();
        assert!(why.contains("did you mean log.retention.ms?"), "{why}");
        let why = on_broker(vec![set("num.partitions", "0")]).unwrap_err().to_string();
        assert!(
            why.contains("Invalid value 0 for broker configuration num.partitions: expected a whole number from 1"),
            "{why}"
        );
    }
}
