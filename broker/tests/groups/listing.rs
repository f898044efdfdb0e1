//! Groups are listed, described and deleted.

use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::consumer_group_describe::{
    ConsumerGroupDescribeRequest, ConsumerGroupDescribeResponse,
};
use ringmill_net::wire::messages::delete_groups::{DeleteGroupsRequest, DeleteGroupsResponse};
use ringmill_net::wire::messages::describe_groups::{DescribeGroupsRequest, DescribeGroupsResponse};
use ringmill_net::wire::messages::list_groups::{ListGroupsRequest, ListGroupsResponse, ListedGroup};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataResponse};

use crate::member::{Member, code, one_offset};
use crate::offsets::{commit, fetch};
use crate::raw::Raw;
use crate::{OK, broker};

/// Name, kind of protocol, state and type.
type Listed = (String, String, String, String);

pub(crate) fn list(client: &mut Raw, states: &[&str], types: &[&str], version: i16) -> Vec<Listed> {
    let request = ListGroupsRequest { states_filter: states.to_vec(), types_filter: types.to_vec() };
    let frame = client.call(&request, version);
    let answer: ListGroupsResponse<'_> = frame.decode(version);
    assert_eq!(answer.error_code, OK);
    let text = str::to_owned;
    let listed = |each: &ListedGroup<'_>| {
        (text(each.group_id), text(each.protocol_type), text(each.group_state), text(each.group_type))
    };
    let mut all: Vec<Listed> = answer.groups.iter().map(listed).collect();
    all.sort();
    all
}

fn row(name: &str, protocol: &str, state: &str, kind: &str) -> Listed {
    (name.to_owned(), protocol.to_owned(), state.to_owned(), kind.to_owned())
}

#[test]
fn filters_are_by_state_and_type_in_any_spelling() {
    let (broker, _dir) = broker();
    let mut client = Raw::connect(broker.address());
    assert_eq!(list(&mut client, &[], &[], 5), []);
    let frame = client.call(&MetadataRequest::default(), 12);
    let metadata: MetadataResponse<'_> = frame.decode(12);
    assert!(metadata.topics.iter().all(|topic| !topic.is_internal), "who only looks makes no topic");

    assert_eq!(commit(&mut client, "tool", one_offset("logs", 0, 1, None), 9), [ErrorCode::None]);
    let _member = Member::stable(broker.address(), "readers");
    let (readers, tool) = (row("readers", "consumer", "Stable", "classic"), row("tool", "", "Empty", "classic"));
    for (states, types, expected) in [
        (vec![], vec![], vec![readers.clone(), tool.clone()]),
        (vec!["Stable"], vec![], vec![readers.clone()]),
        (vec!["sTABLE", "Dead"], vec!["CLASSIC"], vec![readers.clone()]),
        (vec!["empty"], vec!["Classic", "consumer"], vec![tool.clone()]),
        (vec![], vec!["consumer"], vec![]),
        (vec!["NoSuchState"], vec![], vec![]),
        (vec![], vec!["nosuchtype"], vec![]),
        (vec!["Stable", "Empty"], vec!["classic"], vec![readers.clone(), tool.clone()]),
    ] {
        assert_eq!(list(&mut client, &states, &types, 5), expected, "{states:?} {types:?}");
    }
    assert_eq!(list(&mut client, &["stable"], &["consumer"], 4), [row("readers", "consumer", "Stable", "")]);
    let names = |listed: Vec<Listed>| listed.into_iter().map(|each| (each.0, each.2)).collect::<Vec<_>>();
    let both = [("readers".to_owned(), String::new()), ("tool".to_owned(), String::new())];
    for version in 0..=3 {
        assert_eq!(names(list(&mut client, &["Stable"], &["consumer"], version)), both, "version {version}");
    }
    broker.stop();
}

#[test]
fn groups_are_described_with_what_their_members_told_and_got() {
    let (broker, _dir) = broker();
    let mut member = Member::named(broker.address(), "g", "one");
    assert_eq!(member.join().error, ErrorCode::None);
    let id = member.id.clone();
    assert_eq!(member.sync(&[(&id, b"all")]).0, ErrorCode::None);
    let mut client = Raw::connect(broker.address());
    for version in 0..=6 {
        let request =
            DescribeGroupsRequest { groups: vec!["g", "none", "g", ""], include_authorized_operations: version == 4 };
        let frame = client.call(&request, version);
        let answer: DescribeGroupsResponse<'_> = frame.decode(version);
        let names: Vec<_> = answer.groups.iter().map(|group| group.group_id).collect();
        assert_eq!(names, ["g", "none", ""], "each once, in their order");
        let group = &answer.groups[0];
        assert_eq!((group.error_code, group.group_state), (OK, "Stable"), "version {version}");
        assert_eq!((group.protocol_type, group.protocol_data), ("consumer", "range"));
        let (told, got) = (group.members[0].member_metadata, group.members[0].member_assignment);
        assert_eq!((group.members[0].member_id, told, got), (&*id, &b"told"[..], &b"all"[..]));
        assert_eq!((group.members[0].client_id, group.members[0].client_host), ("raw", "/127.0.0.1"));
        assert_eq!(group.members[0].group_instance_id, (version >= 4).then_some("one"));
        let operations = if version == 4 { 0b1101_0100_1000 } else { i32::MIN };
        assert_eq!(group.authorized_operations, operations, "version {version}");

        let none = &answer.groups[1];
        assert_eq!((none.group_state, none.members.len(), none.protocol_type), ("Dead", 0, ""), "version {version}");
        match version {
            6 => {
                assert_eq!(code(none.error_code), ErrorCode::GroupIdNotFound);
                assert!(none.error_message.unwrap_or_default().contains("no classic group"), "{none:?}");
            }
            _ => assert_eq!(none.error_code, OK, "version {version}"),
        }
    }
    let frame =
        client.call(&ConsumerGroupDescribeRequest { group_ids: vec!["g", "", "none"], ..Default::default() }, 1);
    let answer: ConsumerGroupDescribeResponse<'_> = frame.decode(1);
    let told: Vec<_> = answer.groups.iter().map(|group| (group.group_id, code(group.error_code))).collect();
    let not_found = ErrorCode::GroupIdNotFound;
    assert_eq!(told, [("g", not_found), ("", ErrorCode::InvalidGroupId), ("none", not_found)]);
    broker.stop();
}

#[test]
fn groups_without_members_go_with_their_offsets() {
    let (broker, _dir) = broker();
    let mut client = Raw::connect(broker.address());
    let mut member = Member::stable(broker.address(), "readers");
    assert_eq!(member.commit("logs", 5), ErrorCode::None);
    for version in 0..=3 {
        assert_eq!(commit(&mut client, "tool", one_offset("logs", 0, 1, None), 9), [ErrorCode::None]);
        let request = DeleteGroupsRequest { groups_names: vec!["readers", "tool", "none", "tool"] };
        let frame = client.call(&request, version);
        let answer: DeleteGroupsResponse<'_> = frame.decode(version);
        let told: Vec<_> = answer.results.iter().map(|each| (each.group_id, code(each.error_code))).collect();
        let (held, none) = (ErrorCode::NonEmptyGroup, ErrorCode::GroupIdNotFound);
        assert_eq!(told, [("readers", held), ("tool", ErrorCode::None), ("none", none)], "version {version}");
        let why = answer.results[0].error_message;
        assert_eq!(why.is_some_and(|why| why.contains("has members")), version == 3, "{why:?}");
        assert_eq!(fetch(&mut client, "tool", None, 9).1, []);
    }
    assert_eq!(member.heartbeat(), ErrorCode::None);
    assert_eq!(member.leave(), ErrorCode::None);
    let frame = client.call(&DeleteGroupsRequest { groups_names: vec!["readers"] }, 2);
    assert_eq!(frame.decode::<DeleteGroupsResponse<'_>>(2).results[0].error_code, OK);
    assert_eq!(list(&mut client, &[], &[], 5), []);
    broker.stop();
}
