//! The settings that consumer groups go by, typed: those that the broker was started with, or with what was set since laid over them.
//!
//! Pure. Values have passed their table; what is checked here is that they fit together. `resolved` asks at the start, `running` after
//! each change.

use ringmill_groups::{Migration, Settings};

use super::running::BrokerSettingError;

/// No group has more members, whatever `group.max.size` says: the leader of a rebalance is told of all of them in one answer.
const GROUP_MEMBERS_MAX: usize = 100_000;

const MINUTE_MS: i64 = 60_000;

/// Reads the settings, given the checked text of each by its name.
///
/// # Errors
/// Bounds that contradict each other, or a value outside its bounds: the first one found.
pub(super) fn resolve<'a>(text: impl Fn(&'static str) -> &'a str) -> Result<Settings, BrokerSettingError> {
    let number = |name| text(name).parse::<i64>().expect("the text has passed the check of an integer setting");
    let int = |name| i32::try_from(number(name)).expect("the table bounds this setting to 32 bits");
    let size = |name| usize::try_from(number(name)).expect("the table admits no negative number here");
    check_order(&number, "group.min.session.timeout.ms", "group.max.session.timeout.ms")?;
    check_within(&number, "group.consumer", "session.timeout.ms")?;
    check_within(&number, "group.consumer", "heartbeat.interval.ms")?;
    check_within(&number, "group.consumer", "assignment.interval.ms")?;
    let (heartbeat, session) = ("group.consumer.heartbeat.interval.ms", "group.consumer.session.timeout.ms");
    if number(heartbeat) >= number(session) {
        return Err(refused(heartbeat, format!("{} is not less than {session} ({})", text(heartbeat), text(session))));
    }
    Ok(Settings {
        session_timeout_min_ms: int("group.min.session.timeout.ms"),
        session_timeout_max_ms: int("group.max.session.timeout.ms"),
        initial_rebalance_delay_ms: int("group.initial.rebalance.delay.ms"),
        classic_members_max: size("group.max.size").min(GROUP_MEMBERS_MAX),
        consumer_members_max: size("group.consumer.max.size").min(GROUP_MEMBERS_MAX),
        consumer_session_timeout_ms: int(session),
        consumer_heartbeat_interval_ms: int(heartbeat),
        consumer_assignment_interval_ms: number("group.consumer.assignment.interval.ms").unsigned_abs(),
        migration: migration(text("group.consumer.migration.policy")),
        offsets_retention_ms: number("offsets.retention.minutes") * MINUTE_MS,
        expiry_interval_ms: number("offsets.retention.check.interval.ms").unsigned_abs(),
        offset_metadata_bytes_max: size("offset.metadata.max.bytes"),
        ..Settings::default()
    })
}

/// Whether groups may speak the consumer protocol (KIP-848), given `group.coordinator.rebalance.protocols`.
pub(super) fn knows_consumer_protocol(protocols: &str) -> Result<bool, String> {
    let mut words: Vec<&str> = protocols.split(',').collect();
    words.sort_unstable();
    words.dedup();
    match words[..] {
        ["classic"] => Ok(false),
        ["classic", "consumer"] => Ok(true),
        _ => Err("expected classic, or classic,consumer".to_owned()),
    }
}

fn migration(policy: &str) -> Migration {
    match policy {
        "upgrade" => Migration::Upgrade,
        "downgrade" => Migration::Downgrade,
        "disabled" => Migration::Disabled,
        _ => Migration::Bidirectional,
    }
}

/// `PREFIX.WHAT` lies between `PREFIX.min.WHAT` and `PREFIX.max.WHAT`.
fn check_within(number: &impl Fn(&'static str) -> i64, prefix: &str, what: &str) -> Result<(), BrokerSettingError> {
    let name = |part: &str| {
        let full = format!("{prefix}.{part}{what}");
        super::tables::find(super::setting::Section::Broker, &full).expect("the table has this setting").name
    };
    let (least, value, most) = (name("min."), name(""), name("max."));
    check_order(number, least, most)?;
    if number(value) < number(least) || number(value) > number(most) {
        let (told, from, to) = (number(value), number(least), number(most));
        return Err(refused(value, format!("{told} is not between {least} ({from}) and {most} ({to})")));
    }
    Ok(())
}

fn check_order(
    number: &impl Fn(&'static str) -> i64,
    least: &'static str,
    most: &'static str,
) -> Result<(), BrokerSettingError> {
    if number(least) <= number(most) {
        return Ok(());
    }
    Err(refused(least, format!("{} is more than {most} ({})", number(least), number(most))))
}

fn refused(name: &str, why: String) -> BrokerSettingError {
    BrokerSettingError { name: name.to_owned(), why }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::setting::Section;
    use crate::config::{BrokerConfig, tables};

    fn with(set: &[(&str, &'static str)]) -> Result<Settings, String> {
        let default = |name: &str| tables::find(Section::Broker, name).expect("the table has it").default;
        let text = |name: &str| set.iter().find(|(set, _)| *set == name).map_or(default(name), |(_, text)| *text);
        resolve(text).map_err(|error| error.to_string())
    }

    #[test]
    fn the_tables_defaults_are_those_of_the_groups_themselves() {
        assert_eq!(with(&[]), Ok(Settings::default()));
    }

    #[test]
    fn values_arrive_where_they_belong() {
        let settings = with(&[
            ("group.max.size", "2147483647"),
            ("group.consumer.max.size", "7"),
            ("group.consumer.migration.policy", "upgrade"),
            ("offsets.retention.minutes", "2147483647"),
            ("offset.metadata.max.bytes", "0"),
            ("offsets.retention.check.interval.ms", "9223372036854775807"),
            ("group.initial.rebalance.delay.ms", "0"),
            ("group.consumer.assignment.interval.ms", "1000"),
        ]);
        let settings = settings.unwrap();
        assert_eq!((settings.classic_members_max, settings.consumer_members_max), (GROUP_MEMBERS_MAX, 7));
        assert_eq!((settings.migration, settings.offsets_retention_ms), (Migration::Upgrade, 128_849_018_820_000));
        assert_eq!((settings.offset_metadata_bytes_max, settings.initial_rebalance_delay_ms), (0, 0));
        assert_eq!((settings.expiry_interval_ms, settings.consumer_assignment_interval_ms), (i64::MAX as u64, 1_000));
    }

    #[test]
    fn what_does_not_fit_together_is_refused_by_name() {
        let check = |set: &[(&str, &'static str)], expected: &str| {
            let why = with(set).expect_err("refused");
            assert!(why.contains(expected), "{why:?} does not say {expected:?}");
        };
        check(
            &[("group.min.session.timeout.ms", "1800001")],
            "group.min.session.timeout.ms: 1800001 is more than group.max.session.timeout.ms (1800000)",
        );
        check(
            &[("group.consumer.session.timeout.ms", "1000")],
            "group.consumer.session.timeout.ms: 1000 is not between group.consumer.min.session.timeout.ms (45000) and",
        );
        check(
            &[("group.consumer.max.heartbeat.interval.ms", "4999")],
            "group.consumer.min.heartbeat.interval.ms: 5000 is more than group.consumer.max.heartbeat.interval.ms (4999)",
        );
        let set =
            [("group.consumer.heartbeat.interval.ms", "45000"), ("group.consumer.max.heartbeat.interval.ms", "45000")];
        check(
            &set,
            "group.consumer.heartbeat.interval.ms: 45000 is not less than group.consumer.session.timeout.ms (45000)",
        );
    }

    #[test]
    fn mistakes_are_found_when_the_configuration_is_read() {
        let check = |name: &str, value: &str, expected: &str| {
            let message = BrokerConfig::from_settings(&[(name, value)]).expect_err("refused").to_string();
            assert!(message.contains(expected), "{message:?} does not say {expected:?}");
        };
        check(
            "broker.group.consumer.session.timeout.ms",
            "1",
            "flag --set: broker.group.consumer.session.timeout.ms: 1 is not between",
        );
        check("broker.group.coordinator.rebalance.protocols", "consumer", "expected classic, or classic,consumer");
        check("broker.group.coordinator.rebalance.protocols", "classic,streams", "is refused: expected classic");
        check("broker.offsets.topic.replication.factor", "3", "only its default, 1, is accepted: There is one broker");
        let classic = BrokerConfig::from_settings(&[("broker.group.coordinator.rebalance.protocols", "classic")]);
        assert!(!classic.expect("accepted").groups.consumer_protocol);
        let both =
            BrokerConfig::from_settings(&[("broker.group.coordinator.rebalance.protocols", "consumer, classic")]);
        assert!(both.expect("accepted").groups.consumer_protocol);
    }
}
