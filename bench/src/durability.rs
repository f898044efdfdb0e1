//! What a broker's answer means for a record, by the topic's settings as the broker tells them.
//!
//! It stands beside every figure, for an answer before the sync is another thing than one behind it.

use ringmill_net::client::Setting;

/// Where a broker does not say.
pub(crate) const UNKNOWN: &str = "durability unknown";

/// `synced`: an answered record survives a power cut. `unsynced`: it survives the broker's death.
pub(crate) fn promised_by(settings: &[Setting]) -> &'static str {
    let value =
        |name: &str| settings.iter().find(|setting| setting.name == name).and_then(|setting| setting.value.as_deref());
    judge(value("write.caching"), value("flush.messages"))
}

/// Ringmill says by `write.caching` whether it answers before the sync; Kafka syncs before each answer only if every message is flushed.
fn judge(write_caching: Option<&str>, flush_messages: Option<&str>) -> &'static str {
    match (write_caching, flush_messages) {
        (Some("false"), _) | (None, Some("1")) => "synced",
        (Some(_), _) | (None, Some(_)) => "unsynced",
        (None, None) => UNKNOWN,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_brokers_own_settings_tell_what_its_answers_promise() {
        assert_eq!(judge(Some("false"), Some("9223372036854775807")), "synced");
        assert_eq!(judge(Some("true"), None), "unsynced");
        assert_eq!(judge(None, Some("1")), "synced");
        assert_eq!(judge(None, Some("9223372036854775807")), "unsynced");
        assert_eq!(judge(None, None), UNKNOWN);
    }
}
