//! Offsets are committed: by the clock at the rate asked for, and as fast as they are answered.
//!
//! Each connection commits for a group of its own, of which it is the only member, so that the broker checks member and generation as it
//! does for consumers. Every request moves all offsets forward by one; what is stored in the end must be what the last answer confirmed.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ringmill_net::Piece;
use ringmill_net::client::Connection;
use ringmill_net::wire::encode_request;
use ringmill_net::wire::messages::offset_commit::{
    OffsetCommitRequest, OffsetCommitRequestPartition, OffsetCommitRequestTopic, OffsetCommitResponse,
};
use tokio::task::JoinSet;

use super::brokers::{Brokers, Topic};
use super::figures::{self, Usage};
use super::options::GroupsOptions;
use super::paced::{self, PACED_IN_FLIGHT_MAX, Requests, decode};
use super::site::Site;
use super::{classic, offsets_topic};
use crate::limits;
use crate::load::{Ending, Schedule, Session, Worker, error_name};
use crate::profile::{Profile, Role};
use crate::report::{Metric, Run, Unit};

/// With leader epochs and without tagged fields: brokers have had it since Kafka 2.3.
const COMMIT_VERSION: i16 = 7;

/// How requests leave.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// So many offsets per second by the clock.
    Offsets(u64),
    /// The next one when there is room for it.
    Answers,
}

/// A connection's group, and what it has committed.
struct Committer {
    group: classic::Group,
    member: classic::Member,
    /// The member's own connection; the commits go over another one.
    connection: Arc<Connection>,
    address: String,
    /// The offset that the last answer confirmed for every partition.
    confirmed: Arc<AtomicU64>,
}

/// The requests of one connection.
struct Commits {
    group: Arc<str>,
    member: classic::Member,
    topic: Topic,
    /// The last offset that was sent, which is also the number of requests.
    sent: u64,
    confirmed: Arc<AtomicU64>,
}

/// Measures one pace once; the first offsets of each run are lower than the last ones of the run before, in groups of its own.
pub(super) fn run(site: &Site<'_>, pace: Pace, number: u32) -> Result<(Run, Profile), String> {
    let options = site.options;
    let topic = site.block_on(site.brokers.topic(&format!("{}-commits", options.topic), options.offsets))?;
    let before = Usage::now(site.server)?;
    let committers = site.block_on(prepare(site, &topic, pace, number))?;
    let size_before = site.block_on(offsets_topic::size(&site.brokers));
    let mut workers = Vec::new();
    for (committer, index) in committers.iter().zip(0..) {
        let commits = Commits {
            group: Arc::clone(&committer.group.id),
            member: committer.member.clone(),
            topic: topic.clone(),
            sent: 0,
            confirmed: Arc::clone(&committer.confirmed),
        };
        workers.push(worker(options, pace, &committer.address, index, commits)?);
    }
    let ending = Ending { duration: Some(options.duration), bytes: None };
    let measured = Session::new(Role::Commit, Duration::ZERO, ending, site.server).run("commits", workers)?;
    let size_after = site.block_on(offsets_topic::size(&site.brokers));
    site.block_on(verify(site, &topic, &committers))?;
    let (_, tally) = measured.collected.loads.first().ok_or("nothing was measured")?;

    let mut run = figures::speed(tally, measured.elapsed, options.offsets, ("offsets_per_s", "requests_per_s"));
    if let Pace::Offsets(rate) = pace {
        let share = 100.0 * run[0].value / figures::as_f64(rate);
        run.insert(1, Metric { key: "share_of_rate_percent", unit: Unit::Percent, value: share });
    }
    if let Some(dir) = &options.limit {
        run.extend(beside_append_sync(dir, tally.latency.micros_at(0.5), tally.bytes, tally.records, options.offsets)?);
    }
    run.extend(figures::cost(&measured, tally.records, "server_cpu_per_offset_us"));
    run.extend(before.memory("memory_before_bytes"));
    run.extend(Usage::now(site.server)?.memory("memory_after_bytes"));
    if let Some((before, after)) = size_before.zip(size_after) {
        run.push(figures::count("written_records_total", after.records.saturating_sub(before.records)));
        run.push(figures::bytes("offsets_topic_grew_bytes", after.bytes.saturating_sub(before.bytes)));
    }
    site.block_on(clear(site, committers));
    let latency = vec![(Role::Commit, tally.latency.clone())];
    Ok((run, Profile { run: 0, latency, samples: measured.collected.samples }))
}

fn worker(
    options: &GroupsOptions,
    pace: Pace,
    address: &str,
    index: u32,
    commits: Commits,
) -> Result<Worker<'static>, String> {
    let (connections, offsets) = (options.connections, u64::from(options.offsets));
    let in_flight_max = match pace {
        Pace::Offsets(_) => PACED_IN_FLIGHT_MAX,
        Pace::Answers => options.in_flight as usize,
    };
    let worker = paced::Worker::connect(address, commits, in_flight_max)?;
    let schedule = move |rate| move |now: Instant| Schedule::new(now, rate, offsets, connections, index);
    let work = Box::new(move |meter: &crate::load::Meter<'_>| match pace {
        Pace::Offsets(rate) => worker.run(meter, Some(schedule(rate))),
        Pace::Answers => worker.run(meter, None::<fn(Instant) -> Schedule>),
    });
    Ok(Worker { role: Role::Commit, work })
}

/// A group with its only member for each connection; they form all at once, for the broker waits a while for more members of each.
async fn prepare(site: &Site<'_>, topic: &Topic, pace: Pace, number: u32) -> Result<Vec<Committer>, String> {
    let options = site.options;
    let kind = if pace == Pace::Answers { "fast" } else { "paced" };
    let mut entering = JoinSet::new();
    for index in 0..options.connections {
        let id: Arc<str> = format!("{}-commits-{kind}-{number}-{index}", site.tag).into();
        let group = classic::Group::new(id, topic.clone(), options.session_timeout_ms(), 1);
        entering.spawn(Committer::enter(Arc::clone(&site.brokers), group));
    }
    let mut committers = Vec::new();
    while let Some(entered) = entering.join_next().await {
        committers.push(entered.map_err(|error| error.to_string())??);
    }
    Ok(committers)
}

impl Committer {
    async fn enter(brokers: Arc<Brokers>, group: classic::Group) -> Result<Committer, String> {
        let address = brokers.coordinator(&group.id).await?;
        let connection = brokers.connection(&address).await?;
        let mut member = classic::Member::new();
        member.enter(&connection, &group).await?;
        Ok(Committer { group, member, connection, address, confirmed: Arc::default() })
    }
}

/// An answer was a promise: what it confirmed has to be there.
async fn verify(site: &Site<'_>, topic: &Topic, committers: &[Committer]) -> Result<(), String> {
    for Committer { group, confirmed, .. } in committers {
        let stored = site.brokers.cluster.group_positions(&group.id).await.map_err(|error| error.to_string())?;
        let confirmed = i64::try_from(confirmed.load(Ordering::Acquire)).unwrap_or(i64::MAX);
        let is_stored = |partition: i32| {
            let position = stored.get(&(topic.name.as_ref().to_owned(), partition));
            position.is_some_and(|position| position.offset == confirmed)
        };
        let lost = (0..topic.partitions).filter(|partition| !is_stored(*partition)).count();
        if lost > 0 {
            return Err(format!(
                "group {}: offset {confirmed} was confirmed for {} partitions, but is not what is stored for {lost} of them",
                group.id, topic.partitions,
            ));
        }
    }
    Ok(())
}

async fn clear(site: &Site<'_>, committers: Vec<Committer>) {
    for Committer { group, member, connection, .. } in committers {
        let left = classic::leave(&connection, &group, &[member]).await;
        let deleted = site.brokers.delete_group(&group.id).await;
        site.note_leftover(left.and(deleted));
    }
}

/// What a bare append and sync of as many bytes as a request takes, and how the median compares with it.
fn beside_append_sync(
    dir: &std::path::Path,
    p50_us: f64,
    bytes: u64,
    offsets: u64,
    offsets_per_request: u32,
) -> Result<Run, String> {
    let requests = (offsets / u64::from(offsets_per_request)).max(1);
    let bare = limits::append_sync(dir, usize::try_from(bytes / requests).unwrap_or(usize::MAX))?;
    let Some(bare) = bare.iter().find(|metric| metric.key == "p50_us") else { return Ok(Run::new()) };
    let share = 100.0 * p50_us / bare.value;
    Ok(vec![
        Metric { key: "append_sync_p50_us", ..*bare },
        Metric { key: "p50_to_append_sync_percent", unit: Unit::Percent, value: share },
    ])
}

impl Requests for Commits {
    fn next(&mut self, correlation_id: i32) -> Vec<Piece> {
        self.sent += 1;
        let committed_offset = i64::try_from(self.sent).unwrap_or(i64::MAX);
        let partition = |partition_index| OffsetCommitRequestPartition {
            partition_index,
            committed_offset,
            committed_leader_epoch: -1,
            committed_metadata: Some(""),
        };
        let request = OffsetCommitRequest {
            group_id: &self.group,
            generation_id_or_member_epoch: self.member.generation,
            member_id: &self.member.id,
            topics: vec![OffsetCommitRequestTopic {
                name: &self.topic.name,
                partitions: (0..self.topic.partitions).map(partition).collect(),
                ..Default::default()
            }],
            ..Default::default()
        };
        encode_request(&request, COMMIT_VERSION, correlation_id, Some("ringmill-bench"), Vec::new())
    }

    fn confirmed(&mut self, answer: &[u8]) -> Result<u64, String> {
        let response: OffsetCommitResponse<'_> = decode(answer, COMMIT_VERSION)?;
        let partitions = || response.topics.iter().flat_map(|topic| &topic.partitions);
        if let Some(refused) = partitions().find(|partition| partition.error_code != 0) {
            let (partition, code) = (refused.partition_index, error_name(refused.error_code));
            return Err(format!("group {}: the offset of partition {partition} was refused: {code}", self.group));
        }
        self.confirmed.fetch_add(1, Ordering::Release);
        Ok(partitions().count() as u64)
    }
}
