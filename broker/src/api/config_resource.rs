//! The resources of Kafka's config APIs: which of them exist here, and in which words the others are refused.
//!
//! The words and codes are those that Kafka 4.4 answers with. Shared by the four handlers; it changes and reads nothing itself.

use std::collections::BTreeMap;
use std::rc::Rc;

use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::describe_configs::{
    BROKER_LOGGER_RESOURCE, BROKER_RESOURCE, CLIENT_METRICS_RESOURCE, GROUP_RESOURCE, TOPIC_RESOURCE,
};

use super::{Refusal, metadata_refusal};
use crate::config::alter::Alteration;
use crate::config::running::Scope;
use crate::core::Core;
use crate::metadata::{Resource, check_topic_name};
use crate::settings;

/// A resource as a request names it: type and name.
pub(super) type Named<'a> = (i8, &'a str);

/// One alteration per resource of a request, or why it cannot be one, in the request's order.
pub(super) type Wanted<'a> = Vec<(Named<'a>, Result<Alteration, Refusal>)>;

/// Alters one resource after the other, each as a whole or not at all. What became of each, in the same order.
pub(super) async fn alter_each<'a>(
    core: &Rc<Core>,
    wanted: Wanted<'a>,
    validate_only: bool,
) -> Vec<(Named<'a>, Result<(), Refusal>)> {
    let mut named: BTreeMap<Named<'a>, usize> = BTreeMap::new();
    for (resource, _) in &wanted {
        *named.entry(*resource).or_default() += 1;
    }
    let mut results = Vec::with_capacity(wanted.len());
    for (resource, alteration) in wanted {
        let result = if named[&resource] > 1 {
            Err(Refusal::new(ErrorCode::InvalidRequest, "Each resource must appear at most once."))
        } else {
            alter(core, resource, alteration, validate_only).await
        };
        results.push((resource, result));
    }
    results
}

async fn alter(
    core: &Rc<Core>,
    resource: Named<'_>,
    alteration: Result<Alteration, Refusal>,
    validate_only: bool,
) -> Result<(), Refusal> {
    let resource = alterable(resource, core.shared().config.node_id)?;
    let altered = settings::alter(core, resource, alteration?, validate_only).await;
    altered.map_err(|error| metadata_refusal(&error))
}

fn alterable((resource_type, name): Named<'_>, node_id: i32) -> Result<Resource, Refusal> {
    let refuse = |why: String| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    match resource_type {
        TOPIC_RESOURCE if name.is_empty() => refuse("Default topic resources are not allowed.".to_owned()),
        TOPIC_RESOURCE => match check_topic_name(name) {
            Ok(()) => Ok(Resource::Topic(name.to_owned())),
            Err(why) => Err(Refusal::new(ErrorCode::InvalidTopicException, why)),
        },
        BROKER_RESOURCE if name.is_empty() => Ok(Resource::Broker(Scope::Cluster)),
        BROKER_RESOURCE => match name.parse::<i32>() {
            Ok(id) if id == node_id => Ok(Resource::Broker(Scope::Broker)),
            Ok(id) => refuse(format!("Unexpected broker id, expected {node_id}, but received {id}")),
            Err(_) => refuse(format!("Node id must be an integer, but it is: {name}")),
        },
        BROKER_LOGGER_RESOURCE => refuse(
            "log levels cannot change while the broker runs; set ringmill.log.level and start it anew".to_owned(),
        ),
        CLIENT_METRICS_RESOURCE => refuse("there are no subscriptions to clients' metrics here".to_owned()),
        GROUP_RESOURCE => refuse("there are no settings of groups here".to_owned()),
        other => refuse(format!("Unknown resource type {other}")),
    }
}

/// Which broker's settings are to be shown.
pub(super) fn described_broker(name: &str, node_id: i32) -> Result<Scope, Refusal> {
    if name.is_empty() {
        return Ok(Scope::Cluster);
    }
    check_broker_id(name, node_id, "expected {id} or empty string,").map(|()| Scope::Broker)
}

/// Whether the loggers of this broker are meant.
pub(super) fn check_logger_resource(name: &str, node_id: i32) -> Result<(), Refusal> {
    if name.is_empty() {
        return Err(Refusal::new(ErrorCode::InvalidRequest, "Broker id must not be empty"));
    }
    check_broker_id(name, node_id, "expected {id}")
}

fn check_broker_id(name: &str, node_id: i32, expected: &str) -> Result<(), Refusal> {
    let refuse = |why: String| Err(Refusal::new(ErrorCode::InvalidRequest, why));
    match name.parse::<i32>() {
        Ok(id) if id == node_id => Ok(()),
        Ok(id) => {
            let expected = expected.replace("{id}", &node_id.to_string());
            refuse(format!("Unexpected broker id, {expected} but received {id}"))
        }
        Err(_) => refuse(format!("Broker id must be an integer, but it is: {name}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn resources_that_cannot_be_altered_are_refused_in_kafkas_words() {
        let check = |resource: Named<'_>, code: ErrorCode, expected: &str| {
            let refusal = alterable(resource, 1).expect_err("refused");
            let why = refusal.why.unwrap_or_default();
            assert!(refusal.code == code && why.contains(expected), "{resource:?}: {} {why}", refusal.code);
        };
        let invalid = ErrorCode::InvalidRequest;
        check((2, ""), invalid, "Default topic resources are not allowed.");
        check((2, "a b"), ErrorCode::InvalidTopicException, "other letters");
        check((4, "x"), invalid, "Node id must be an integer, but it is: x");
        check((4, "2"), invalid, "Unexpected broker id, expected 1, but received 2");
        check((4, " 1"), invalid, "must be an integer");
        check((8, "1"), invalid, "ringmill.log.level");
        check((16, "s"), invalid, "no subscriptions");
        check((32, "g"), invalid, "no settings of groups");
        for other in [0, 1, 64, -1, i8::MIN] {
            check((other, "x"), invalid, &format!("Unknown resource type {other}"));
        }
        assert_eq!(alterable((4, ""), 1), Ok(Resource::Broker(Scope::Cluster)));
        assert_eq!(alterable((4, "1"), 1), Ok(Resource::Broker(Scope::Broker)));
        assert_eq!(alterable((2, "logs"), 1), Ok(Resource::Topic("logs".to_owned())));
    }

    #[test]
    fn only_this_broker_is_described() {
        assert_eq!((described_broker("", 1), described_broker("1", 1)), (Ok(Scope::Cluster), Ok(Scope::Broker)));
        let why = |refused: Result<(), Refusal>| refused.expect_err("refused").why.unwrap_or_default();
        let expected = "Unexpected broker id, expected 1 or empty string, but received 2";
        assert_eq!(why(described_broker("2", 1).map(drop)), expected);
        assert_eq!(why(check_logger_resource("7", 1)), "Unexpected broker id, expected 1 but received 7");
        assert_eq!(why(check_logger_resource("x", 1)), "Broker id must be an integer, but it is: x");
        assert_eq!(why(check_logger_resource("", 1)), "Broker id must not be empty");
    }
}
