//! `ringmill group seek`: sets the positions of a group that nobody reads by at the moment.
//!
//! A member would go on from where it is and write its own positions over these, so a group with members is refused.

use std::str::FromStr;

use clap::Args;
use ringmill_net::client::{ClientError, GroupDescription};
use ringmill_net::wire::ErrorCode;
use serde_json::json;

use super::is_unknown_group;
use crate::cli::failure::Failure;
use crate::cli::output::Rows;
use crate::cli::place::{Bounds, Place, bounds_of};
use crate::cli::topic::choose;
use crate::cli::{BrokerAddress, OutputOption};

/// Members that are named when they stand against it.
const NAMED_MEMBERS_MAX: usize = 3;

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill group seek readers logs --to earliest            # everything once more
  ringmill group seek readers logs --to latest              # pass over all that there is
  ringmill group seek readers logs --to 1h-ago --dry-run    # where would that be?
  ringmill group seek readers logs:0 --to 1000
  ringmill group seek readers logs:0,2 --to -10             # the last ten of each
  ringmill group seek readers logs --to 2026-11-21T13:00:00Z

The group must have no members: stop them first. A group that does not exist is made, and its first reader begins there.")]
pub(in crate::cli) struct Seek {
    /// The group's name
    group: String,
    /// The topic, and after a colon its partitions with commas between them, if not all
    #[arg(value_name = "TOPIC[:PARTITION]")]
    target: Target,
    /// Where to go on: earliest, latest, an offset, -N (the last N of each partition), 10m-ago, or a time (RFC 3339)
    #[arg(long, value_name = "WHERE", allow_hyphen_values = true)]
    to: Place,
    /// Only show what would be done
    #[arg(short = 'n', long)]
    dry_run: bool,
    #[command(flatten)]
    broker: BrokerAddress,
    #[command(flatten)]
    output: OutputOption,
}

/// A topic, and which of its partitions; all without any.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Target {
    topic: String,
    partitions: Vec<i32>,
}

impl FromStr for Target {
    type Err = String;

    fn from_str(text: &str) -> Result<Target, String> {
        let Some((topic, numbers)) = text.split_once(':') else {
            return Ok(Target { topic: text.to_owned(), partitions: Vec::new() });
        };
        let number = |text: &str| text.parse().ok().filter(|number: &i32| *number >= 0);
        let partitions: Option<Vec<i32>> = numbers.split(',').map(number).collect();
        let expected = || format!("expected partition numbers after the colon, as in {topic}:0 or {topic}:0,2");
        let mut partitions = partitions.ok_or_else(expected)?;
        partitions.sort_unstable();
        partitions.dedup();
        Ok(Target { topic: topic.to_owned(), partitions })
    }
}

impl Seek {
    pub(super) async fn run(self) -> Result<(), Failure> {
        let Target { topic, partitions: wanted } = &self.target;
        let cluster = self.broker.cluster().await?;
        let all: Vec<i32> = cluster.topic(topic, false).await?.partitions.iter().map(|each| each.index).collect();
        let partitions = choose(topic, all, wanted)?;
        self.check_place(&partitions)?;
        self.check_members(cluster.describe_group(&self.group).await)?;
        let bounds = bounds_of(&cluster, topic, &partitions).await?;
        let mut places = self.to.resolve(&cluster, topic, &bounds).await?;
        for (partition, offset) in &mut places {
            *offset = self.within(*partition, *offset, bounds[partition])?;
        }
        let before = cluster.group_positions(&self.group).await?;
        let mut failed = None;
        if self.dry_run {
            eprintln!("ringmill: nothing was changed; without --dry-run it would be:");
        } else {
            let positions = places.iter().map(|(partition, offset)| ((topic.clone(), *partition), *offset)).collect();
            let fates = cluster.set_group_positions(&self.group, &positions).await.map_err(|error| self.say(error))?;
            for ((_, partition), fate) in fates {
                if let Err(error) = fate {
                    places.remove(&partition);
                    failed.get_or_insert(error);
                }
            }
        }
        let row = |(partition, to): (&i32, &i64)| {
            let from = before.get(&(topic.clone(), *partition)).map(|position| position.offset);
            vec![json!(topic), json!(partition), json!(from), json!(to), json!(bounds[partition].end - to)]
        };
        let columns = &["topic", "partition", "from", "to", "lag"];
        Rows { columns, rows: places.iter().map(row).collect() }.print(self.output.output)?;
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    /// An offset alone is no place in several partitions.
    fn check_place(&self, partitions: &[i32]) -> Result<(), Failure> {
        let Target { topic, partitions: wanted } = &self.target;
        match self.to {
            Place::Offset(offset) if partitions.len() > 1 && wanted.is_empty() => Err(Failure::usage(format!(
                "offset {offset} is another place in each of the {} partitions of {topic}; say which, as {topic}:0",
                partitions.len()
            ))),
            _ => Ok(()),
        }
    }

    fn check_members(&self, group: Result<GroupDescription, ClientError>) -> Result<(), Failure> {
        let group = match group {
            Ok(group) => group,
            Err(error) if is_unknown_group(&error) => {
                eprintln!("ringmill: there was no group {} before", self.group);
                return Ok(());
            }
            Err(error) => return Err(error.into()),
        };
        let count = group.members.len();
        if count == 0 {
            return Ok(());
        }
        let name = |member: &ringmill_net::client::GroupMember| format!("{} at {}", member.client_id, member.host);
        let mut names: Vec<String> = group.members.iter().take(NAMED_MEMBERS_MAX).map(name).collect();
        if count > NAMED_MEMBERS_MAX {
            names.push(format!("{} more", count - NAMED_MEMBERS_MAX));
        }
        let (who, them) = if count == 1 { ("an active member", "it") } else { ("active members", "them") };
        let message = format!(
            "group {} has {who} ({}), which would write over its positions; stop {them}, then try again",
            self.group,
            names.join(", ")
        );
        Err(Failure::refused(message))
    }

    /// The offset as the partition has it.
    fn within(&self, partition: i32, offset: i64, Bounds { start, end }: Bounds) -> Result<i64, Failure> {
        let topic = &self.target.topic;
        if offset > end {
            let message = format!(
                "--to {offset} lies behind the end of {topic}-{partition}, which is {end}; nothing was changed"
            );
            return Err(Failure::refused(message));
        }
        if offset < start {
            eprintln!("ringmill: {topic}-{partition} begins at offset {start}; what was before it has been deleted");
        }
        Ok(offset.max(start))
    }

    /// Somebody joined between the question and the order.
    fn say(&self, error: ClientError) -> Failure {
        match error {
            ClientError::Refused {
                code: ErrorCode::UnknownMemberId | ErrorCode::StaleMemberEpoch | ErrorCode::IllegalGeneration,
                ..
            } => {
                let message = format!("group {} has got a member meanwhile; nothing was changed", self.group);
                Failure::saying(error, message)
            }
            error => error.into(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn targets_are_read() {
        let check = |text: &str, expected: Option<(&str, &[i32])>| {
            let expected =
                expected.map(|(topic, partitions)| Target { topic: topic.to_owned(), partitions: partitions.to_vec() });
            assert_eq!(text.parse().ok(), expected, "{text}");
        };
        check("logs", Some(("logs", &[])));
        check("logs:0", Some(("logs", &[0])));
        check("logs:2,0,2", Some(("logs", &[0, 2])));
        for wrong in ["logs:", "logs:a", "logs:-1", "logs:0,", "logs:0:1"] {
            check(wrong, None);
        }
    }
}
