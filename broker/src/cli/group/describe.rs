//! `ringmill group describe`: how far a group is in each partition, how much is left there, and who reads it.
//!
//! Partitions are those that have a position and those that a member has. A topic that is gone keeps its rows as long as the group keeps
//! its positions, without an end.

use std::collections::{BTreeMap, BTreeSet};

use clap::Args;
use ringmill_net::client::{ClientError, Cluster, GroupDescription, GroupMember, Positions};
use ringmill_net::wire::ErrorCode;
use serde_json::{Value, json};

use crate::cli::failure::Failure;
use crate::cli::output::{self, Rows};
use crate::cli::place::ends_of;
use crate::cli::{BrokerAddress, OutputFormat, OutputOption};

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill group describe readers
  ringmill group describe readers -o json

COMMITTED is the next offset that the group will read, END the one that the next record will get, LAG what lies between them. A dash
stands for what there is not: nothing committed yet, no member that reads the partition, a topic that was deleted.")]
pub(in crate::cli) struct Describe {
    /// The group's name
    group: String,
    #[command(flatten)]
    broker: BrokerAddress,
    #[command(flatten)]
    output: OutputOption,
}

/// The ends of partitions, by topic and partition; those that there are.
type Ends = BTreeMap<(String, i32), i64>;

impl Describe {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let cluster = self.broker.cluster().await?;
        let group = cluster.describe_group(&self.group).await?;
        let positions = cluster.group_positions(&self.group).await?;
        let ends = ends(&cluster, &places(&group, &positions)).await?;
        let partitions = partitions(&group, &positions, &ends);
        match self.output.output {
            OutputFormat::Table => output::print(&table(&group, &partitions)),
            OutputFormat::Json => output::print(&format!("{:#}\n", as_json(&group, &partitions))),
        }
    }
}

/// All partitions that there is something to say of.
fn places(group: &GroupDescription, positions: &Positions) -> BTreeSet<(String, i32)> {
    let assigned = group.members.iter().flat_map(|member| &member.assignment);
    let assigned = assigned.flat_map(|(topic, partitions)| partitions.iter().map(|each| (topic.clone(), *each)));
    positions.keys().cloned().chain(assigned).collect()
}

/// The ends of those that there still are.
async fn ends(cluster: &Cluster, places: &BTreeSet<(String, i32)>) -> Result<Ends, ClientError> {
    let mut wanted: BTreeMap<&str, Vec<i32>> = BTreeMap::new();
    for (topic, partition) in places {
        wanted.entry(topic).or_default().push(*partition);
    }
    let mut ends = Ends::new();
    for (topic, mut partitions) in wanted {
        let info = match cluster.topic(topic, false).await {
            Ok(info) => info,
            Err(ClientError::Refused { code: ErrorCode::UnknownTopicOrPartition, .. }) => continue,
            Err(error) => return Err(error),
        };
        partitions.retain(|partition| info.partitions.iter().any(|each| each.index == *partition));
        let found = ends_of(cluster, topic, &partitions).await?;
        ends.extend(found.into_iter().map(|(partition, end)| ((topic.to_owned(), partition), end)));
    }
    Ok(ends)
}

fn partitions(group: &GroupDescription, positions: &Positions, ends: &Ends) -> Rows {
    let reader = |topic: &str, partition: i32| {
        let has = |member: &&GroupMember| {
            member.assignment.get(topic).is_some_and(|partitions| partitions.contains(&partition))
        };
        group.members.iter().find(has)
    };
    let row = |place: (String, i32)| {
        let (committed, end) = (positions.get(&place).map(|position| position.offset), ends.get(&place).copied());
        // A topic that was made anew may be shorter than it was.
        let lag = end.zip(committed).map(|(end, committed)| (end - committed).max(0));
        let member = reader(&place.0, place.1);
        vec![
            json!(place.0),
            json!(place.1),
            json!(committed),
            json!(end),
            json!(lag),
            json!(member.map(|member| &member.id)),
            json!(member.map(|member| &member.client_id)),
            json!(member.map(|member| &member.host)),
        ]
    };
    Rows {
        columns: &["topic", "partition", "committed", "end", "lag", "member", "client", "host"],
        rows: places(group, positions).into_iter().map(row).collect(),
    }
}

fn members(group: &GroupDescription) -> Rows {
    let row = |member: &GroupMember| {
        let count: usize = member.assignment.values().map(Vec::len).sum();
        vec![
            json!(member.id),
            json!(member.instance_id),
            json!(member.client_id),
            json!(member.host),
            json!(member.epoch),
            json!(count),
        ]
    };
    Rows {
        columns: &["member", "instance", "client", "host", "epoch", "partitions"],
        rows: group.members.iter().map(row).collect(),
    }
}

fn lag(partitions: &Rows) -> i64 {
    partitions.rows.iter().filter_map(|row| row[4].as_i64()).sum()
}

fn table(group: &GroupDescription, partitions: &Rows) -> String {
    let mut head = format!("{}  {}, {}", group.id, group.group_type, group.state);
    if let Some(epoch) = group.epoch {
        head += &format!(", epoch {epoch}");
    }
    if !group.assignor.is_empty() {
        head += &format!(", {}", group.assignor);
    }
    let count = group.members.len();
    head += &format!(", {count} member{}, lag {}\n", if count == 1 { "" } else { "s" }, lag(partitions));
    let members = if count == 0 { String::new() } else { format!("\n{}", members(group).to_table()) };
    format!("{head}{}{members}", partitions.to_table())
}

fn as_json(group: &GroupDescription, partitions: &Rows) -> Value {
    json!({
        "group": group.id,
        "type": group.group_type,
        "state": group.state,
        "epoch": group.epoch,
        "assignment_epoch": group.assignment_epoch,
        "assignor": group.assignor,
        "lag": lag(partitions),
        "partitions": partitions.to_json(),
        "members": members(group).to_json(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmill_net::client::Position;

    fn group() -> GroupDescription {
        let member = GroupMember {
            id: "m1".to_owned(),
            instance_id: None,
            client_id: "c".to_owned(),
            host: "10.0.0.7".to_owned(),
            epoch: Some(3),
            assignment: BTreeMap::from([("logs".to_owned(), vec![0, 1])]),
        };
        GroupDescription {
            id: "g".to_owned(),
            group_type: "consumer",
            state: "Stable".to_owned(),
            epoch: Some(3),
            assignment_epoch: Some(3),
            assignor: "uniform".to_owned(),
            members: vec![member],
        }
    }

    #[test]
    fn a_dash_stands_for_what_there_is_not() {
        let at = |topic: &str, partition| (topic.to_owned(), partition);
        let position = |offset| Position { offset, metadata: String::new() };
        let stored = [(at("gone", 0), position(5)), (at("logs", 0), position(7)), (at("logs", 2), position(9))];
        let positions = Positions::from(stored);
        let ends = Ends::from([(at("logs", 0), 10), (at("logs", 1), 4), (at("logs", 2), 8)]);
        let table = table(&group(), &partitions(&group(), &positions, &ends));
        let lines: Vec<String> =
            table.lines().map(|line| line.split_whitespace().collect::<Vec<_>>().join(" ")).collect();
        assert_eq!(
            lines,
            [
                "g consumer, Stable, epoch 3, uniform, 1 member, lag 3",
                "TOPIC PARTITION COMMITTED END LAG MEMBER CLIENT HOST",
                "gone 0 5 - - - - -",
                "logs 0 7 10 3 m1 c 10.0.0.7",
                "logs 1 - 4 - m1 c 10.0.0.7",
                "logs 2 9 8 0 - - -",
                "",
                "MEMBER INSTANCE CLIENT HOST EPOCH PARTITIONS",
                "m1 - c 10.0.0.7 3 2",
            ]
        );
    }
}
