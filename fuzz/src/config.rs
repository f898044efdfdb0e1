//! Drivers for configuration: the file, and changes of settings by the admin protocol against a model that is a map.

use std::sync::LazyLock;

use ringmill::config::alter::{Alteration, Change, Operation, alter_broker, alter_topic};
use ringmill::config::print;
use ringmill::config::running::{Scope, Settings};
use ringmill::config::setting::{Kind, Section};
use ringmill::config::{
    BrokerConfig, DynamicSettings, Format, RunningConfig, Sources, broker_names, describe, load, tables,
};

use crate::scratch;
use crate::script::Script;

/// What the settings are laid over.
static STARTED: LazyLock<BrokerConfig> =
    LazyLock::new(|| BrokerConfig::from_settings(&[]).expect("the defaults are good"));

/// A configuration file, and behind a zero byte environment variables, one a line. What is accepted can be printed, and what was
/// printed means the same.
pub fn file(data: &[u8]) {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (text, environment) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let environment = String::from_utf8_lossy(environment);
    let variables = environment.lines().filter_map(|line| line.split_once('='));
    let environment = variables.map(|(name, value)| (format!("RINGMILL__{name}"), value.to_owned())).collect();
    // Names of hosts would be looked up: this is about parsing.
    if data.windows(9).any(|piece| piece.eq_ignore_ascii_case(b"listeners")) {
        return;
    }
    let file = scratch::file("ringmill.toml");
    std::fs::write(&file, text).expect("a small file can be written");
    let loaded = load(&Sources { file: Some(file.clone()), environment, flags: Vec::new() });
    match loaded {
        Ok(config) => {
            assert!(!print(&config, Format::Json).is_empty());
            let printed = print(&config, Format::Toml { origin: true });
            std::fs::write(&file, &printed).expect("a small file can be written");
            let again = load(&Sources { file: Some(file.clone()), ..Sources::default() });
            let again = again.unwrap_or_else(|errors| panic!("{errors}\n{printed}"));
            let values = |config: &BrokerConfig| config.values().map(|value| value.text.clone()).collect::<Vec<_>>();
            assert_eq!(values(&again), values(&config), "{printed}");
        }
        Err(errors) => assert!(!errors.to_string().is_empty()),
    }
}

/// Steps of a script: a resource is changed, and what is set on it is what the model says; what is refused changes nothing.
pub fn alterations(data: &[u8]) {
    let mut script = Script::new(data);
    let started = &*STARTED;
    let mut dynamic = DynamicSettings::default();
    let mut topic = Settings::new();
    while let Some(step) = script.step() {
        let running = RunningConfig::resolve(started, dynamic.clone()).expect("only what resolves is kept");
        let scope = if step & 4 == 0 { Scope::Cluster } else { Scope::Broker };
        let on_topic = step & 2 == 0;
        let wanted = alteration(&mut script, step & 1 == 0, on_topic);
        let before = if on_topic { &topic } else { dynamic.of(scope) };
        let altered = match on_topic {
            true => alter_topic(before, &wanted, running.topic_defaults()),
            false => alter_broker(before, &wanted, &running),
        };
        let next = match altered {
            Ok(next) => next,
            Err(why) => {
                assert!(why.to_string().len() < 2_000, "a stranger's text is not repeated at length");
                continue;
            }
        };
        check_altered(before, &wanted, &next);
        match on_topic {
            true => {
                if let Ok(config) = running.topic_defaults().resolve(&next) {
                    assert_eq!(describe::topic(&config, started, &running).count(), tables::TOPIC.len());
                    topic = next;
                }
            }
            false => {
                let changed = dynamic.with(scope, next);
                // As the metadata has it: a broker's setting must fit the topics that there are.
                let resolved = RunningConfig::resolve(started, changed.clone());
                if resolved.is_ok_and(|running| running.topic_defaults().resolve(&topic).is_ok()) {
                    dynamic = changed;
                }
            }
        }
    }
}

fn alteration(script: &mut Script<'_>, incremental: bool, on_topic: bool) -> Alteration {
    let count = script.below(4);
    let changes = (0..count).map(|_| change(script, on_topic)).collect::<Vec<_>>();
    if incremental {
        return Alteration::Incremental(changes);
    }
    let value = |change: Change| match change.operation {
        Operation::Set(value) | Operation::Append(value) | Operation::Subtract(value) => (change.name, value),
        Operation::Delete => (change.name, String::new()),
    };
    Alteration::Replace(changes.into_iter().map(value).collect())
}

fn change(script: &mut Script<'_>, on_topic: bool) -> Change {
    let names: Vec<&str> = match on_topic {
        true => tables::TOPIC.iter().map(|setting| setting.name).collect(),
        false => broker_names::all().collect(),
    };
    let name = match script.byte() {
        255 => script.text(300).to_owned(),
        choice => names[usize::from(choice) % names.len()].to_owned(),
    };
    let value = match script.byte() % 8 {
        0 => script.text(300).to_owned(),
        1 | 2 => valid(script, &name, on_topic),
        _ => script.number().to_string(),
    };
    let operation = match script.byte() % 8 {
        0 => Operation::Delete,
        1 => Operation::Append(value),
        2 => Operation::Subtract(value),
        _ => Operation::Set(value),
    };
    Change { name, operation }
}

/// Something that the setting's table accepts.
fn valid(script: &mut Script<'_>, name: &str, on_topic: bool) -> String {
    let setting = if on_topic { tables::find(Section::Topic, name) } else { broker_names::find(name) };
    match setting.map(|setting| (setting.kind, setting.default)) {
        Some((Kind::Bool, _)) => if script.flag() { "TRUE" } else { "false" }.to_owned(),
        Some((Kind::Integer { min, max }, _)) => script.number().clamp(min, max).to_string(),
        Some((Kind::Choice(words), _)) => script.choose(words).to_owned(),
        Some((_, default)) => default.to_owned(),
        None => String::new(),
    }
}

/// Names that were not touched are as they were; those that were set are there, those taken away are not; and having exactly this is a
/// wish that is granted, so every value stands in its one spelling.
fn check_altered(before: &Settings, wanted: &Alteration, next: &Settings) {
    match wanted {
        Alteration::Replace(values) => {
            assert!(values.iter().all(|(name, _)| next.contains_key(name)) && next.len() == values.len());
        }
        Alteration::Incremental(changes) => {
            for change in changes {
                assert_eq!(next.contains_key(&change.name), change.operation != Operation::Delete, "{change:?}");
            }
            let untouched = |name: &&String| changes.iter().all(|change| change.name != **name);
            let names = before.keys().chain(next.keys());
            for name in names.filter(untouched) {
                assert_eq!(before.get(name), next.get(name), "{name} was not touched");
            }
        }
    }
    for (name, value) in next {
        let setting = broker_names::find(name).or_else(|| tables::find(Section::Topic, name));
        let setting = setting.expect("only known settings are set");
        assert_eq!(setting.check(value).as_ref(), Ok(value), "{name}");
    }
}
