//! What the handlers of consumer groups share: who asks, asking for many groups at once, and what no answer may outgrow.
//!
//! A handler turns its message into a request of `ringmill-groups`, which owns all that it says, has `group/` ask the core that keeps the
//! group, and turns the answer into its message.

use std::collections::BTreeSet;
use std::rc::Rc;
use std::sync::Arc;

use bytes::BytesMut;
use ringmill_groups::answer::Answer;
use ringmill_groups::request::{self, Client};
use ringmill_net::Request;
use ringmill_net::wire::ErrorCode;

use super::Refusal;
use crate::core::Core;
use crate::group;

/// The longest name of a group, a static member or what members agree on: it is remembered. Clients' own have some fifty bytes.
const NAME_BYTES_MAX: usize = 1024;

/// As much of a client's own name as is remembered with its members.
const CLIENT_ID_BYTES_MAX: usize = 255;

/// Groups of one request that are asked for at the same time.
const AT_A_TIME: usize = 32;

/// About how large the answer to one request gets. Requests are small beside what they may ask for.
pub(super) const ANSWER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// What is said of groups that have no room.
const FULL: &str = "the answer would be too large; ask for fewer groups or partitions at a time";

/// What anybody may do with a group as long as nobody is refused anything: a bit for each of Kafka's `AclOperation`s that a group knows
/// (read, delete, describe, describe configs, alter configs).
pub(super) const GROUP_OPERATIONS: i32 = super::bits(&[3, 6, 8, 10, 11]);

/// Who asks, as groups are described with it.
pub(super) fn client_of(request: &Request) -> Client {
    let id = request.header.client_id.clone().unwrap_or_default();
    let host = request.connection.peer.ip().to_canonical();
    let id = if id.len() > CLIENT_ID_BYTES_MAX { id[..id.floor_char_boundary(CLIENT_ID_BYTES_MAX)].into() } else { id };
    Client { id, host: format!("/{host}").into() }
}

/// Whether all of these names are short enough to be remembered.
pub(super) fn are_short<'a>(names: impl IntoIterator<Item = &'a str>) -> bool {
    names.into_iter().all(|name| name.len() <= NAME_BYTES_MAX)
}

/// Asks the core that keeps the group.
///
/// # Errors
/// INVALID_GROUP_ID for a name that is too long; else as [`group::ask`].
pub(super) async fn ask(core: &Rc<Core>, group: &str, request: request::Request) -> Result<Answer, ErrorCode> {
    if !are_short([group]) {
        return Err(ErrorCode::InvalidGroupId);
    }
    group::ask(core, group, request).await
}

/// Gives the memory of a request back that is parked or was copied.
pub(super) fn release(request: &mut Request) {
    request.body = BytesMut::new();
    request.charge.shrink_to(0);
}

/// Refuses the name that stands for no group. Offsets are kept under it all the same, for the sake of very old clients: what is about
/// offsets alone does not ask here, as in Kafka.
pub(super) fn check_group_id(group: &str) -> Result<(), ErrorCode> {
    if group.is_empty() { Err(ErrorCode::InvalidGroupId) } else { Ok(()) }
}

/// The names, each once and in their order: clients look for one answer to each.
pub(super) fn each_once<'a>(names: &[&'a str]) -> Vec<&'a str> {
    let mut told = BTreeSet::new();
    names.iter().copied().filter(|name| told.insert(*name)).collect()
}

/// Asks for each of the groups, some at a time; the answers come in the order of the requests. Given about how large each makes the
/// message, the first that does not fit is refused, and those after it.
pub(super) async fn ask_each(
    core: &Rc<Core>,
    asked: Vec<(Arc<str>, request::Request)>,
    bytes_of: impl Fn(&Answer) -> usize,
) -> Vec<Result<Answer, Refusal>> {
    let full = || Err(Refusal::new(ErrorCode::InvalidRequest, FULL));
    let mut answers = Vec::with_capacity(asked.len());
    let mut left = Some(ANSWER_BYTES_MAX);
    let mut asked = asked.into_iter().peekable();
    while asked.peek().is_some() {
        let some: Vec<_> = asked.by_ref().take(AT_A_TIME).collect();
        if left.is_none() {
            answers.extend(some.iter().map(|_| full()));
            continue;
        }
        for answer in ask_together(core, some).await {
            let bytes = answer.as_ref().map_or(0, &bytes_of);
            left = left.and_then(|left| left.checked_sub(bytes));
            answers.push(if left.is_some() { answer.map_err(Refusal::from) } else { full() });
        }
    }
    answers
}

async fn ask_together(core: &Rc<Core>, asked: Vec<(Arc<str>, request::Request)>) -> Vec<Result<Answer, ErrorCode>> {
    let spawn = |(group, request): (Arc<str>, request::Request)| {
        let core = Rc::clone(core);
        tokio::task::spawn_local(async move { ask(&core, &group, request).await })
    };
    let tasks: Vec<_> = asked.into_iter().map(spawn).collect();
    let mut answers = Vec::with_capacity(tasks.len());
    for task in tasks {
        answers.push(match task.await {
            Ok(answer) => answer,
            Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
            // The core ends, and with it whoever waits for this answer.
            Err(_) => Err(ErrorCode::CoordinatorNotAvailable),
        });
    }
    answers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_taken_once_and_in_their_order() {
        assert_eq!(each_once(&["b", "a", "b", "", "a", ""]), ["b", "a", ""]);
    }

    #[test]
    fn only_the_empty_name_stands_for_no_group() {
        assert_eq!(check_group_id(""), Err(ErrorCode::InvalidGroupId));
        assert_eq!((check_group_id(" "), check_group_id("a/b")), (Ok(()), Ok(())));
    }
}
