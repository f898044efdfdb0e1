//! Shows a resolved configuration: as a file that can be read back, with or without origins, or as JSON.
//!
//! `ringmill config print` calls it.

use serde_json::json;

use super::resolved::BrokerConfig;
use super::setting::{Kind, Origin, Section, Value};

/// How to show it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// TOML, each setting under its meaning; with `origin`, where each value comes from.
    Toml {
        /// Whether to say where each value comes from.
        origin: bool,
    },
    /// A JSON array of objects, origins included.
    Json,
}

/// The whole configuration in effect as text.
#[must_use]
pub fn print(config: &BrokerConfig, format: Format) -> String {
    match format {
        Format::Toml { origin } => toml(config, origin),
        Format::Json => {
            let rows: Vec<_> = config.values().map(json_row).collect();
            format!("{:#}\n", serde_json::Value::Array(rows))
        }
    }
}

fn json_row(value: &Value) -> serde_json::Value {
    json!({
        "section": value.setting.section.name(),
        "name": value.setting.name,
        "value": value.text,
        "origin": value.place.origin().name(),
        "place": value.place.to_string(),
        "default": value.setting.default,
        "environment": value.setting.environment_name(),
        "doc": value.setting.doc,
    })
}

fn toml(config: &BrokerConfig, origin: bool) -> String {
    let mut out = String::new();
    for section in Section::ALL {
        if !out.is_empty() {
            out.push('\n');
        }
        out.push_str(&format!("[{}]\n", section.name()));
        for value in config.values().filter(|value| value.setting.section == section) {
            let text = match value.setting.kind {
                Kind::Choice(_) | Kind::Text | Kind::List | Kind::Words(_) => {
                    toml::Value::String(value.text.clone()).to_string()
                }
                Kind::Bool | Kind::Integer { .. } | Kind::Decimal { .. } => value.text.clone(),
            };
            let row = format!("\"{}\" = {text}", value.setting.name);
            match (origin, value.place.origin()) {
                (false, _) => out.push_str(&format!("# {}\n{row}\n", value.setting.doc)),
                (true, Origin::Default) => out.push_str(&format!("{row:<60} # default\n")),
                (true, origin) => out.push_str(&format!("{row:<60} # {}: {}\n", origin.name(), value.place)),
            }
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{Sources, load};

    #[test]
    fn what_is_printed_reads_back_to_the_same_configuration() {
        let config = BrokerConfig::from_settings(&[("topic.retention.ms", "5"), ("ringmill.io", "posix")]).unwrap();
        for origin in [false, true] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("c.toml");
            std::fs::write(&path, print(&config, Format::Toml { origin })).unwrap();
            let again = load(&Sources { file: Some(path), ..Sources::default() }).unwrap();
            assert!(config.values().zip(again.values()).all(|(one, two)| one.text == two.text));
        }
    }

    #[test]
    fn origins_are_named() {
        let config = BrokerConfig::from_settings(&[("topic.retention.ms", "5")]).unwrap();
        let text = print(&config, Format::Toml { origin: true });
        let row = |name: &str| text.lines().find(|line| line.starts_with(&format!("\"{name}\""))).unwrap().to_owned();
        assert!(row("retention.ms").ends_with("# flag: flag --set"), "{text}");
        assert!(row("segment.ms").ends_with("# default"), "{text}");
        let json: serde_json::Value = serde_json::from_str(&print(&config, Format::Json)).unwrap();
        assert!(json.as_array().unwrap().iter().any(|row| row["name"] == "retention.ms" && row["origin"] == "flag"));
    }
}
