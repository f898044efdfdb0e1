//! `ringmill group`: list, describe, move and delete consumer groups.
//!
//! What takes more than a question and its answer has a file of its own.

use clap::{Args, Subcommand};
use ringmill_net::client::{ClientError, Cluster, ConnectOptions, GroupDescription, ListedGroup};
use ringmill_net::wire::ErrorCode;
use serde_json::{Value, json};

use super::deletion::delete_each;
use super::failure::Failure;
use super::output::Rows;
use super::{BrokerAddress, OutputOption, on_client_runtime};

mod describe;
mod seek;

/// List, describe, move and delete consumer groups.
#[derive(Debug, Subcommand)]
#[command(after_help = "\
Examples:
  ringmill group list
  ringmill group describe readers                        # how far is it, and who reads?
  ringmill group seek readers logs --to 1h-ago --dry-run
  ringmill group seek readers logs:0 --to earliest
  ringmill group delete readers

Groups are made by their first reader: see `ringmill consume --group`.")]
pub(super) enum Group {
    /// List all groups
    List(List),
    /// Show a group's positions, its lag, and its members
    Describe(describe::Describe),
    /// Set where a group goes on reading
    Seek(seek::Seek),
    /// Delete groups with all their positions
    Delete(Delete),
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill group list
  ringmill group list -o json

The type is `classic` or `consumer`: by which of Kafka's two group protocols the members speak.")]
pub(super) struct List {
    #[command(flatten)]
    broker: BrokerAddress,
    #[command(flatten)]
    output: OutputOption,
}

#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  ringmill group delete readers
  ringmill group delete readers others --if-exists

A group with members cannot be deleted: stop them first. There is no question before it, and no way back.")]
pub(super) struct Delete {
    /// The groups' names
    #[arg(required = true, value_name = "GROUP")]
    groups: Vec<String>,
    /// Pass over groups that are not there, without an error
    #[arg(long)]
    if_exists: bool,
    #[command(flatten)]
    broker: BrokerAddress,
    #[command(flatten)]
    output: OutputOption,
}

impl Group {
    pub(super) fn run(self) -> Result<(), Failure> {
        match self {
            Group::List(list) => on_client_runtime(list.run()),
            Group::Describe(describe) => on_client_runtime(describe.run()),
            Group::Seek(seek) => on_client_runtime(seek.run()),
            Group::Delete(delete) => on_client_runtime(delete.run()),
        }
    }
}

impl BrokerAddress {
    async fn cluster(&self) -> Result<Cluster, ClientError> {
        Cluster::connect(&self.broker, ConnectOptions::default()).await
    }
}

fn is_unknown_group(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { code: ErrorCode::GroupIdNotFound, .. })
}

impl List {
    async fn run(self) -> Result<(), Failure> {
        let groups = self.broker.cluster().await?.groups().await?;
        let row = |(group, description): &(ListedGroup, Option<GroupDescription>)| {
            let members = description.as_ref().map_or(Value::Null, |described| json!(described.members.len()));
            // The older answer has neither; the description knows better.
            let state = description.as_ref().map_or(&group.state, |described| &described.state);
            let group_type = description
                .as_ref()
                .map_or(group.group_type.to_lowercase(), |described| described.group_type.to_owned());
            vec![json!(group.id), json!(group_type), json!(state), members]
        };
        let columns = &["group", "type", "state", "members"];
        Rows { columns, rows: groups.iter().map(row).collect() }.print(self.output.output)
    }
}

impl Delete {
    async fn run(self) -> Result<(), Failure> {
        let cluster = &self.broker.cluster().await?;
        let is_there = async |group: &str| match cluster.delete_group(group).await {
            Err(error) if self.if_exists && is_unknown_group(&error) => Ok(false),
            deleted => deleted.map(|()| true),
        };
        delete_each(&["group", "deleted"], &self.groups, self.output.output, is_there).await
    }
}
