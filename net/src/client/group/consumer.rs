//! A consumer that is a member of a group: reads the partitions that the group's coordinator gives it, and stores how far it is.
//!
//! Carries out what `membership` says. There is no task of its own: the coordinator hears from the member while somebody polls it, so that
//! a member that does nothing any more is put out, and others go on where it had committed.
//!
//! Only what the caller has [marked](GroupConsumer::mark) as done is ever committed: when it says so, before a partition goes to somebody
//! else, and at the end. Between two commits a member may be lost, and what it had read since then is read again: at least once.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::{Instant, sleep, timeout};

use super::super::{ClientError, Cluster, Connection, Consumer, ConsumerOptions, Fetched, Start};
use super::admin::{Speaker, commit_positions, fetch_positions};
use super::membership::{Heard, Membership, Partition, Step, Told};
use crate::wire::messages::consumer_group_heartbeat::{
    ConsumerGroupHeartbeatRequest, ConsumerGroupHeartbeatResponse, TopicPartitions,
};
use crate::wire::{ErrorCode, Uuid};

/// Before a word to the coordinator, or a question about positions, is repeated.
const BACKOFF_MS: u64 = 100;
/// How long records are waited for at a time while an answer of the coordinator is under way.
const SLICE: Duration = Duration::from_millis(20);
/// How long a commit is tried while the coordinator cannot take it.
const COMMIT_PATIENCE: Duration = Duration::from_secs(5);
/// How long the last word may take.
const FAREWELL: Duration = Duration::from_secs(3);

/// Which group, as whom, and what.
#[derive(Clone, Debug)]
pub struct GroupOptions {
    /// The group's id.
    pub group: String,
    /// The member's, made by whoever makes the member; no two may have the same, and Kafka wants a random UUID.
    pub member_id: String,
    /// What it wants to read.
    pub topics: Vec<String>,
    /// How long it may take to give up a partition.
    pub rebalance_timeout_ms: u32,
    /// How long a coordinator that cannot be reached is tried.
    pub give_up_after_ms: u64,
    /// How it fetches.
    pub consumer: ConsumerOptions,
}

impl GroupOptions {
    /// A member that reads one topic.
    #[must_use]
    pub fn new(group: impl Into<String>, member_id: impl Into<String>, topic: impl Into<String>) -> GroupOptions {
        GroupOptions {
            group: group.into(),
            member_id: member_id.into(),
            topics: vec![topic.into()],
            rebalance_timeout_ms: 60_000,
            give_up_after_ms: 60_000,
            consumer: ConsumerOptions::default(),
        }
    }
}

/// Something that a member must know.
#[derive(Clone, Debug)]
pub enum GroupEvent {
    /// Records of one of its partitions.
    Records(Fetched),
    /// These are its own from now on, each with the position that the group has stored. The caller says where to
    /// [begin](GroupConsumer::begin); until then they are not read.
    Assigned(Vec<(Arc<str>, i32, Option<i64>)>),
    /// These are no longer its own; what was marked of them has been committed, or the reason why not comes with them.
    Revoked(Vec<(Arc<str>, i32)>, Option<ClientError>),
    /// The coordinator has put the member out, and it joins anew: these may be read by others already, from where they were committed.
    Lost(Vec<(Arc<str>, i32)>),
}

type Place = (String, i32);

/// What came of a word to the coordinator, and the connection that it went over.
type Answered = (Option<Arc<Connection>>, Result<Heard, ClientError>);

/// A member of a group.
pub struct GroupConsumer {
    cluster: Arc<Cluster>,
    consumer: Consumer,
    membership: Membership,
    options: GroupOptions,
    started: Instant,
    coordinator: Option<Arc<Connection>>,
    /// The answer that is waited for.
    answer: Option<oneshot::Receiver<Answered>>,
    /// When the coordinator was last heard.
    heard_at: Instant,
    names: BTreeMap<Uuid, Arc<str>>,
    /// What it has.
    places: BTreeMap<Partition, (Arc<str>, i32)>,
    /// What is done and not yet committed: the next offset of each.
    marked: BTreeMap<Place, i64>,
}

impl GroupConsumer {
    /// A member of the group as soon as it is polled.
    #[must_use]
    pub fn on(cluster: Arc<Cluster>, options: GroupOptions) -> GroupConsumer {
        let consumer = Consumer::on(Arc::clone(&cluster), options.consumer.clone());
        GroupConsumer {
            cluster,
            consumer,
            membership: Membership::new(),
            options,
            started: Instant::now(),
            coordinator: None,
            answer: None,
            heard_at: Instant::now(),
            names: BTreeMap::new(),
            places: BTreeMap::new(),
            marked: BTreeMap::new(),
        }
    }

    /// Whether it is a member and has all that it shall have at present.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.membership.is_settled()
    }

    /// The partitions that it has.
    pub fn assignment(&self) -> impl Iterator<Item = (&str, i32)> {
        self.places.values().map(|(topic, partition)| (&**topic, *partition))
    }

    /// The next offset of one of its partitions that will be handed out; none before it was begun.
    #[must_use]
    pub fn position(&self, topic: &str, partition: i32) -> Option<i64> {
        self.consumer.position(topic, partition)
    }

    /// Begins to read a partition of its own at an offset. Says nothing of one that it has lost meanwhile.
    ///
    /// # Errors
    /// None at present.
    pub async fn begin(&mut self, topic: &str, partition: i32, offset: i64) -> Result<(), ClientError> {
        if !self.has(topic, partition) {
            return Ok(());
        }
        self.consumer.assign(topic, partition, Start::Offset(offset)).await
    }

    /// Everything of a partition before `next_offset` is done, and may be committed. What it has lost is left to others.
    pub fn mark(&mut self, topic: &str, partition: i32, next_offset: i64) {
        if self.has(topic, partition) {
            self.marked.insert((topic.to_owned(), partition), next_offset);
        }
    }

    /// Waits up to `wait` for records or a change; `None` when there was neither. Errors that may pass are waited out.
    ///
    /// # Errors
    /// Those that will not pass: a group that refuses the member, a coordinator that is gone for good, and those of
    /// [`Consumer::poll`].
    pub async fn poll(&mut self, wait: Duration) -> Result<Option<GroupEvent>, ClientError> {
        let deadline = Instant::now() + wait;
        loop {
            self.take_answer()?;
            match self.membership.next(self.now_ms()) {
                Step::Tell(told) => self.tell(told),
                Step::GiveUp(partitions) => return self.give_up(&partitions).await.map(Some),
                Step::Take(partitions) => {
                    if let Some(event) = self.take(partitions).await? {
                        return Ok(Some(event));
                    }
                }
                Step::Lose(partitions) => {
                    self.membership.lost();
                    return Ok(Some(GroupEvent::Lost(self.stop(&partitions))));
                }
                Step::Wait { until_ms } => {
                    let until = self.started.checked_add(Duration::from_millis(until_ms)).unwrap_or(deadline);
                    let left = until.min(deadline).saturating_duration_since(Instant::now());
                    if let Some(fetched) = self.wait(left).await? {
                        return Ok(Some(GroupEvent::Records(fetched)));
                    }
                }
            }
            if Instant::now() >= deadline {
                return Ok(None);
            }
        }
    }

    /// Waits for records, or for the coordinator where there is nothing else to wait for.
    async fn wait(&mut self, left: Duration) -> Result<Option<Fetched>, ClientError> {
        match &mut self.answer {
            Some(answer) if self.places.is_empty() || !self.membership.is_settled() => {
                if let Ok(answered) = timeout(left, answer).await {
                    self.answer = None;
                    self.hear(answered.map_err(|_| ClientError::Closed)?)?;
                }
                Ok(None)
            }
            waiting => {
                let left = if waiting.is_some() { left.min(SLICE) } else { left };
                self.consumer.poll(left).await
            }
        }
    }

    /// Commits what is marked. A commit that comes too late, because others have the partitions already, is refused.
    ///
    /// # Errors
    /// Of the connections; `Refused` with the coordinator's reason.
    pub async fn commit(&mut self) -> Result<(), ClientError> {
        let deadline = Instant::now() + COMMIT_PATIENCE;
        // The epoch changes with the answer that is under way.
        self.await_answer().await?;
        while !self.marked.is_empty() {
            let error = match self.try_commit().await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            match &error {
                ClientError::Refused { code: ErrorCode::StaleMemberEpoch, .. } => {
                    self.membership.tell_soon(self.now_ms());
                    if let Step::Tell(told) = self.membership.next(self.now_ms()) {
                        self.tell(told);
                        self.await_answer().await?;
                    }
                }
                error if is_put_out(error) => self.membership.put_out(self.now_ms()),
                error if error.is_retriable() => self.coordinator = None,
                _ => return Err(error),
            }
            if self.membership.epoch() <= 0 || Instant::now() >= deadline {
                return Err(error);
            }
            sleep(Duration::from_millis(BACKOFF_MS)).await;
        }
        Ok(())
    }

    async fn try_commit(&mut self) -> Result<(), ClientError> {
        let coordinator = self.coordinator().await?;
        let fates = commit_positions(&coordinator, self.speaker(), &self.marked).await?;
        let mut refused = Ok(());
        for (place, fate) in fates {
            match fate {
                Ok(()) => drop(self.marked.remove(&place)),
                Err(error) if error.is_retriable() => refused = Err(error),
                // One that will not pass is told once; others are not to wait for it.
                Err(error) => {
                    self.marked.remove(&place);
                    refused = Err(error);
                }
            }
        }
        refused
    }

    /// Commits what is marked and leaves the group, so that others need not wait for it to be missed.
    ///
    /// # Errors
    /// Of the commit; that it could not say farewell is nobody's concern.
    pub async fn close(mut self) -> Result<(), ClientError> {
        let committed = self.commit().await;
        if let Some(told) = self.membership.leave() {
            self.tell(told);
            if let Some(answer) = self.answer.take() {
                let _ = timeout(FAREWELL, answer).await;
            }
        }
        committed
    }

    fn now_ms(&self) -> u64 {
        u64::try_from(self.started.elapsed().as_millis()).unwrap_or(u64::MAX)
    }

    fn has(&self, topic: &str, partition: i32) -> bool {
        self.places.values().any(|(name, index)| **name == *topic && *index == partition)
    }

    fn speaker(&self) -> Speaker<'_> {
        Speaker { group: &self.options.group, member_id: &self.options.member_id, epoch: self.membership.epoch() }
    }

    async fn coordinator(&mut self) -> Result<Arc<Connection>, ClientError> {
        match &self.coordinator {
            Some(coordinator) if coordinator.is_usable() => Ok(Arc::clone(coordinator)),
            _ => {
                let coordinator = self.cluster.coordinator(&self.options.group).await?;
                self.coordinator = Some(Arc::clone(&coordinator));
                Ok(coordinator)
            }
        }
    }

    /// Sends a word to the coordinator; its answer comes beside the records.
    fn tell(&mut self, told: Told) {
        let (sender, receiver) = oneshot::channel();
        self.answer = Some(receiver);
        let (cluster, options) = (Arc::clone(&self.cluster), self.options.clone());
        let known = self.coordinator.clone().filter(|coordinator| coordinator.is_usable());
        tokio::spawn(async move {
            let coordinator = match known {
                Some(coordinator) => Ok(coordinator),
                None => cluster.coordinator(&options.group).await,
            };
            let answered = match coordinator {
                Ok(coordinator) => {
                    let heard = heartbeat(&coordinator, &options, &told).await;
                    (Some(coordinator), heard)
                }
                Err(error) => (None, Err(error)),
            };
            // A member that is gone does not mind.
            let _ = sender.send(answered);
        });
    }

    /// Hears the coordinator if it has answered.
    fn take_answer(&mut self) -> Result<(), ClientError> {
        let Some(answer) = &mut self.answer else { return Ok(()) };
        match answer.try_recv() {
            Ok(answered) => {
                self.answer = None;
                self.hear(answered)
            }
            Err(oneshot::error::TryRecvError::Empty) => Ok(()),
            Err(oneshot::error::TryRecvError::Closed) => Err(ClientError::Closed),
        }
    }

    async fn await_answer(&mut self) -> Result<(), ClientError> {
        let Some(answer) = &mut self.answer else { return Ok(()) };
        let answered = answer.await.map_err(|_| ClientError::Closed)?;
        self.answer = None;
        self.hear(answered)
    }

    fn hear(&mut self, (coordinator, heard): Answered) -> Result<(), ClientError> {
        let now_ms = self.now_ms();
        self.coordinator = coordinator;
        let give_up_after = Duration::from_millis(self.options.give_up_after_ms);
        match heard {
            Ok(heard) => {
                self.heard_at = Instant::now();
                self.membership.answered(now_ms, heard);
            }
            Err(error) if is_put_out(&error) => {
                self.heard_at = Instant::now();
                self.membership.put_out(now_ms);
            }
            Err(error) if error.is_retriable() && self.heard_at.elapsed() < give_up_after => {
                self.coordinator = None;
                self.membership.unanswered(now_ms, BACKOFF_MS);
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Stops reading, and says what that was.
    fn stop(&mut self, partitions: &BTreeSet<Partition>) -> Vec<(Arc<str>, i32)> {
        let places: Vec<_> = partitions.iter().filter_map(|partition| self.places.remove(partition)).collect();
        for (topic, partition) in &places {
            self.consumer.unassign(topic, *partition);
            self.marked.remove(&(topic.to_string(), *partition));
        }
        places
    }

    async fn give_up(&mut self, partitions: &BTreeSet<Partition>) -> Result<GroupEvent, ClientError> {
        // Others begin where this commit says. Where it fails they begin earlier, and nothing is skipped.
        let failed = self.commit().await.err();
        let places = self.stop(partitions);
        self.membership.gave_up(self.now_ms());
        Ok(GroupEvent::Revoked(places, failed))
    }

    /// `None` where it cannot be done yet.
    async fn take(&mut self, partitions: BTreeSet<Partition>) -> Result<Option<GroupEvent>, ClientError> {
        let positions = match self.stored(&partitions).await {
            Ok(Some(positions)) => positions,
            Ok(None) => {
                self.membership.postpone(self.now_ms(), BACKOFF_MS);
                return Ok(None);
            }
            Err(error) if is_put_out(&error) => {
                self.membership.put_out(self.now_ms());
                return Ok(None);
            }
            Err(error) if error.is_retriable() || is_stale(&error) => {
                self.coordinator = self.coordinator.take().filter(|_| is_stale(&error));
                self.membership.postpone(self.now_ms(), BACKOFF_MS);
                self.membership.tell_soon(self.now_ms());
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        let mut assigned = Vec::new();
        for (partition, place, offset) in positions {
            assigned.push((Arc::clone(&place.0), place.1, offset));
            self.places.insert(partition, place);
        }
        self.membership.took(partitions, self.now_ms());
        Ok(Some(GroupEvent::Assigned(assigned)))
    }

    /// The stored positions of partitions; `None` while the name of a topic is not known here.
    async fn stored(
        &mut self,
        partitions: &BTreeSet<Partition>,
    ) -> Result<Option<Vec<(Partition, (Arc<str>, i32), Option<i64>)>>, ClientError> {
        if partitions.iter().any(|(id, _)| !self.names.contains_key(id)) {
            let topics: Vec<&str> = self.options.topics.iter().map(String::as_str).collect();
            self.names.extend(self.cluster.names_of_ids(&topics).await?);
        }
        let mut places = Vec::new();
        for (id, partition) in partitions {
            let Some(name) = self.names.get(id) else { return Ok(None) };
            places.push(((*id, *partition), (Arc::clone(name), *partition)));
        }
        let asked: Vec<Place> = places.iter().map(|(_, (name, partition))| (name.to_string(), *partition)).collect();
        let coordinator = self.coordinator().await?;
        let found = fetch_positions(&coordinator, self.speaker(), Some(&asked)).await?;
        let with_offset = |((id, place), asked): ((Partition, (Arc<str>, i32)), &Place)| {
            (id, place, found.get(asked).map(|position| position.offset))
        };
        Ok(Some(places.into_iter().zip(&asked).map(with_offset).collect()))
    }
}

fn is_put_out(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { code: ErrorCode::UnknownMemberId | ErrorCode::FencedMemberEpoch, .. })
}

fn is_stale(error: &ClientError) -> bool {
    matches!(error, ClientError::Refused { code: ErrorCode::StaleMemberEpoch, .. })
}

async fn heartbeat(coordinator: &Connection, options: &GroupOptions, told: &Told) -> Result<Heard, ClientError> {
    let owned = told.owned.as_ref().map(|owned| {
        owned.iter().map(|(id, partitions)| TopicPartitions { topic_id: *id, partitions: partitions.clone() }).collect()
    });
    let mut request = ConsumerGroupHeartbeatRequest {
        group_id: &options.group,
        member_id: &options.member_id,
        member_epoch: told.epoch,
        topic_partitions: owned,
        ..Default::default()
    };
    if told.everything {
        request.rebalance_timeout_ms = i32::try_from(options.rebalance_timeout_ms).unwrap_or(i32::MAX);
        request.subscribed_topic_names = Some(options.topics.iter().map(String::as_str).collect());
    }
    let answer = coordinator.call(&request).await?;
    let response: ConsumerGroupHeartbeatResponse<'_> = answer.decode()?;
    ClientError::check(response.error_code, response.error_message, || format!("group {}", options.group))?;
    let assignment = response.assignment.map(|assignment| {
        let partitions = |topic: TopicPartitions| topic.partitions.into_iter().map(move |each| (topic.topic_id, each));
        assignment.topic_partitions.into_iter().flat_map(partitions).collect()
    });
    Ok(Heard { epoch: response.member_epoch, interval_ms: response.heartbeat_interval_ms, assignment })
}
