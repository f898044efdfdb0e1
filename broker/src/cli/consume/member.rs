//! `ringmill consume --group`: prints as a member of a group, and commits what was printed.
//!
//! A record is done when standard output has taken it. What is done is committed every so often, before a partition goes to another
//! member, and at the end, however that comes about; so nothing is left out, and after a crash a little is printed again.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use ringmill_net::client::{
    ClientError, Cluster, ConnectOptions, ConsumerOptions, Fetched, GroupConsumer, GroupEvent, GroupOptions, Start,
};
use ringmill_net::wire::ErrorCode;
use tokio::time::Instant;

use super::Consume;
use crate::cli::failure::Failure;
use crate::cli::interrupt::Interrupt;
use crate::cli::on_client_runtime;
use crate::cli::place::{Bounds, bounds_of, ends_of};

/// Between two commits.
const COMMIT_EVERY: Duration = Duration::from_secs(1);

/// How long to wait for a share of the partitions before it is taken that other members have them all.
const SHARE_PATIENCE: Duration = Duration::from_secs(10);

/// How long an interrupted command may take to commit and to leave.
const LEAVE_GRACE: Duration = Duration::from_secs(10);

/// How long a broker that has gone is waited for.
const GIVE_UP_AFTER_MS: u64 = 60_000;

/// How a run came to its end.
enum End {
    /// Everything was printed, or as much as was wanted.
    Done,
    /// By this signal.
    Signal(i32),
}

/// A run.
struct Run<'a> {
    consume: &'a Consume,
    group: &'a str,
    cluster: Arc<Cluster>,
    member: GroupConsumer,
    /// Where each partition ends, for this run.
    ends: BTreeMap<i32, i64>,
    commit_at: Instant,
    /// Since when it has had nothing to read.
    idle_since: Option<Instant>,
}

impl Consume {
    pub(super) fn run_in(self, group: String) -> Result<(), Failure> {
        let mut interrupt = Interrupt::watch(Some(LEAVE_GRACE))?;
        on_client_runtime(async move {
            let cluster = Arc::new(Cluster::connect(&self.broker.broker, ConnectOptions::default()).await?);
            let topic = cluster.topic(&self.topic, false).await?;
            let partitions: Vec<i32> = topic.partitions.iter().map(|partition| partition.index).collect();
            let ends = if self.follow { BTreeMap::new() } else { ends_of(&cluster, &self.topic, &partitions).await? };
            let mut options = GroupOptions::new(&group, uuid::Uuid::new_v4().to_string(), &self.topic);
            options.give_up_after_ms = GIVE_UP_AFTER_MS;
            // Retention may pass a position that was within the log when it was looked up.
            options.consumer = ConsumerOptions { reset: Some(Start::Earliest), ..ConsumerOptions::default() };
            let member = GroupConsumer::on(Arc::clone(&cluster), options);
            let (consume, now) = (&self, Instant::now());
            let mut run = Run { consume, group: &group, cluster, member, ends, commit_at: now, idle_since: Some(now) };
            let ended = run.print(&mut interrupt).await;
            let closed = run.member.close().await;
            match ended? {
                End::Signal(signal) if !self.follow => Err(Failure::interrupted(signal, "")),
                _ => Ok(closed.map_err(|error| not_stored(&group, error))?),
            }
        })
    }
}

impl Run<'_> {
    async fn print(&mut self, interrupt: &mut Interrupt) -> Result<End, Failure> {
        let mut printer = self.consume.printer();
        while printer.left > 0 && !self.is_at_its_end() {
            let event = tokio::select! {
                biased;
                signal = interrupt.first() => return Ok(End::Signal(signal)),
                event = self.member.poll(COMMIT_EVERY) => event?,
            };
            match event {
                Some(GroupEvent::Records(fetched)) => {
                    let end = self.end_of(fetched.partition);
                    let stopped = printer.print(&fetched, end)?;
                    self.mark(&fetched, stopped, end);
                }
                Some(GroupEvent::Assigned(partitions)) => self.begin(&partitions).await?,
                Some(GroupEvent::Revoked(_, Some(error))) => self.warn(&error),
                Some(GroupEvent::Lost(partitions)) if !partitions.is_empty() => eprintln!(
                    "ringmill: group {} had taken this member for gone; it joins again, and records may come twice",
                    self.group
                ),
                Some(GroupEvent::Revoked(..) | GroupEvent::Lost(_)) | None => {}
            }
            if Instant::now() >= self.commit_at {
                self.commit().await?;
            }
        }
        Ok(End::Done)
    }

    /// The first offset that is not printed any more.
    fn end_of(&self, partition: i32) -> i64 {
        if self.consume.follow { i64::MAX } else { self.ends.get(&partition).copied().unwrap_or(0) }
    }

    fn mark(&mut self, fetched: &Fetched, stopped: Option<i64>, end: i64) {
        let next = stopped.or_else(|| self.member.position(&fetched.topic, fetched.partition));
        self.member.mark(&fetched.topic, fetched.partition, next.unwrap_or(fetched.from).min(end));
    }

    /// What was marked meanwhile is committed.
    async fn commit(&mut self) -> Result<(), Failure> {
        self.commit_at = Instant::now() + COMMIT_EVERY;
        match self.member.commit().await {
            Ok(()) => Ok(()),
            // The next poll tells what became of the membership.
            Err(error) if is_about_membership(&error) => {
                self.warn(&error);
                Ok(())
            }
            // It stays marked, and whoever polls finds out when the broker stays away.
            Err(error) if error.is_retriable() => Ok(()),
            Err(error) => Err(not_stored(self.group, error)),
        }
    }

    fn warn(&self, error: &ClientError) {
        eprintln!("ringmill: what was printed last may be printed again by another member: {error}");
    }

    /// Whether all that it has is printed up to the end, or there is nothing for it to do.
    fn is_at_its_end(&mut self) -> bool {
        if self.consume.follow || !self.member.is_settled() {
            return false;
        }
        let mut left = false;
        let mut idle = true;
        for (topic, partition) in self.member.assignment() {
            idle = false;
            let next = self.member.position(topic, partition).unwrap_or(0);
            left |= next < self.ends.get(&partition).copied().unwrap_or(0);
        }
        if !idle {
            self.idle_since = None;
            return !left;
        }
        let since = *self.idle_since.get_or_insert_with(Instant::now);
        if since.elapsed() < SHARE_PATIENCE {
            return false;
        }
        eprintln!("ringmill: other members of group {} read all partitions of {}", self.group, self.consume.topic);
        true
    }

    /// Begins where the group was, or where `--from` says.
    async fn begin(&mut self, partitions: &[(Arc<str>, i32, Option<i64>)]) -> Result<(), Failure> {
        let topic = &self.consume.topic;
        let indexes: Vec<i32> = partitions.iter().map(|(_, partition, _)| *partition).collect();
        let bounds = bounds_of(&self.cluster, topic, &indexes).await?;
        let from = self.consume.from.resolve(&self.cluster, topic, &bounds).await?;
        for (_, partition, committed) in partitions {
            let (partition, Bounds { start, end }) = (*partition, bounds[partition]);
            // One that was added since the start is read as far as it goes now.
            self.ends.entry(partition).or_insert(end);
            let first = from[&partition].clamp(start, end);
            let offset = match *committed {
                Some(offset) if offset > end => {
                    eprintln!("ringmill: {topic}-{partition} ends at {end}, before the group's position {offset}");
                    first
                }
                Some(offset) => {
                    if offset < start {
                        eprintln!(
                            "ringmill: {topic}-{partition} begins at offset {start}; what was before it has been deleted"
                        );
                    }
                    offset.max(start)
                }
                None => first,
            };
            self.member.begin(topic, partition, offset).await?;
            // From now on the group has a position, even if nothing comes.
            self.member.mark(topic, partition, offset);
        }
        Ok(())
    }
}

/// Whether the member was told that it is none, or not in that epoch.
fn is_about_membership(error: &ClientError) -> bool {
    matches!(
        error,
        ClientError::Refused {
            code: ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch | ErrorCode::StaleMemberEpoch,
            ..
        }
    )
}

fn not_stored(group: &str, error: ClientError) -> Failure {
    let message =
        format!("it could not be stored how far group {group} is, and the next run may print records again: {error}");
    Failure::saying(error, message)
}
