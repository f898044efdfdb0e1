//! Fetch sessions (KIP-227): what a consumer fetches is kept here, so that it names only what changes and hears only of what did.
//!
//! One table per core, for a consumer's fetches come over one connection; on another core it is told that its session is unknown, and
//! begins anew. A request takes its session out of the table and puts it back with the answer, so that a connection that goes away
//! while its fetch is parked takes its session along. Knows neither logs nor time: the fetch handler brings both.

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, PartitionData};
use ringmill_net::wire::{ErrorCode, Records, Uuid};
use tokio::time::Instant;

use crate::metadata::TOPIC_NAME_BYTES_MAX;

/// A session that was used so lately never makes room for another: else two consumers too many would end each other's in turns.
const EVICTED_AFTER: Duration = Duration::from_secs(120);

/// The most partitions in all sessions of one core, at some hundred bytes each.
pub const PARTITIONS_MAX: usize = 200_000;

/// A request that belongs to no session, or ends one.
const NO_SESSION: i32 = 0;
const FINAL_EPOCH: i32 = -1;
const INITIAL_EPOCH: i32 = 0;

/// The sessions of one core.
pub struct FetchSessions {
    kept: BTreeMap<i32, (Session, Instant)>,
    used: Rc<Used>,
    sessions_max: usize,
    next_id: i32,
    id_step: i32,
}

/// What all sessions take, those in the hands of a request included.
#[derive(Default)]
struct Used {
    sessions: Cell<usize>,
    partitions: Cell<usize>,
}

/// How a request is to be answered.
pub enum Begun {
    /// Everything it names, and all of that in the answer.
    Full {
        /// Whether the client would like a session of it.
        wants_session: bool,
    },
    /// Everything that the session holds, and only news in the answer. To be given to [`FetchSessions::keep`].
    Incremental(Session),
}

/// What one consumer fetches.
pub struct Session {
    id: i32,
    /// Of the next request.
    epoch: i32,
    by_id: bool,
    topics: BTreeMap<TopicKey, BTreeMap<i32, Member>>,
    partitions: usize,
    used: Rc<Used>,
}

/// A topic's name where topics come by name, or its id where they come by id; the other is empty.
type TopicKey = (Box<str>, Uuid);

/// One partition of a session.
pub struct Member {
    /// The first offset that is wanted.
    pub offset: i64,
    /// The epoch that the client believes in, or −1.
    pub epoch: i32,
    /// The most bytes that it wants of this partition.
    pub bytes_max: u64,
    /// High watermark and log start as the client knows them; `None` before the first answer and after an error.
    told: Cell<Option<(i64, i64)>>,
}

impl Member {
    /// A partition of which the client knows nothing yet.
    #[must_use]
    pub const fn new(offset: i64, epoch: i32, bytes_max: u64) -> Member {
        Member { offset, epoch, bytes_max, told: Cell::new(None) }
    }

    /// Whether this answer has something that the client does not know yet: records, an error, another watermark. From now on it does.
    pub fn is_news(&self, data: &PartitionData) -> bool {
        let now = (data.error_code == 0).then_some((data.high_watermark, data.log_start_offset));
        let before = self.told.replace(now);
        now.is_none() || before != now || data.records.is_some_and(|records: Records| records.length() > 0)
    }
}

impl FetchSessions {
    /// The table of core number `core` of `cores`, with no sessions yet, and never more than `sessions_max`. No two cores give the same
    /// ids, and with another seed after each start a client that comes back does not find a stranger's session under its old id.
    #[must_use]
    pub fn new(sessions_max: usize, seed: u64, core: u16, cores: u16) -> FetchSessions {
        let (first, id_step) = (i32::from(core), i32::from(cores.max(1)));
        // This multiplier, of the golden ratio, spreads seeds that lie near each other over all ids.
        let scattered = seed.wrapping_mul(0x9E37_79B9_7F4A_7C15) >> 34;
        let next_id = i32::try_from(scattered).expect("30 bits") / id_step * id_step + first;
        FetchSessions { kept: BTreeMap::new(), used: Rc::default(), sessions_max, next_id, id_step }
    }

    /// Finds out what a request wants, and brings its session up to what it says.
    ///
    /// # Errors
    /// What the client answers by beginning anew: its session is not here, not at this epoch, names topics in the other way, has
    /// become too large, or would have to keep a name that no topic can have.
    pub fn begin(&mut self, asked: &FetchRequest<'_>, by_id: bool) -> Result<Begun, ErrorCode> {
        if matches!(asked.session_epoch, INITIAL_EPOCH | FINAL_EPOCH) {
            self.kept.remove(&asked.session_id);
            return Ok(Begun::Full { wants_session: asked.session_epoch == INITIAL_EPOCH && can_be_kept(asked) });
        }
        let (session, _) = self.kept.get(&asked.session_id).ok_or(ErrorCode::FetchSessionIdNotFound)?;
        if session.by_id != by_id {
            return Err(ErrorCode::FetchSessionTopicIdError);
        }
        if session.epoch != asked.session_epoch {
            return Err(ErrorCode::InvalidFetchSessionEpoch);
        }
        let (mut session, _) = self.kept.remove(&asked.session_id).expect("it was just there");
        if !can_be_kept(asked) {
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        session.follow(asked);
        if self.used.partitions.get() > PARTITIONS_MAX {
            return Err(ErrorCode::FetchSessionIdNotFound);
        }
        session.epoch = session.epoch.checked_add(1).unwrap_or(1);
        // An empty session is over, as Kafka has it: the request is one for nothing.
        Ok(if session.partitions == 0 { Begun::Full { wants_session: false } } else { Begun::Incremental(session) })
    }

    /// A new session for that many partitions, if there is room for it or some can be made.
    pub fn open(&mut self, by_id: bool, partitions: usize, now: Instant) -> Option<Session> {
        let fits = |used: &Used| {
            used.sessions.get() < self.sessions_max && used.partitions.get() + partitions <= PARTITIONS_MAX
        };
        while !fits(&self.used) {
            let (&oldest, &(_, used_at)) = self.kept.iter().min_by_key(|(_, (_, used_at))| *used_at)?;
            if now.duration_since(used_at) < EVICTED_AFTER {
                return None;
            }
            self.kept.remove(&oldest);
        }
        (partitions > 0).then(|| Session::new(self.next_free_id(), by_id, &self.used))
    }

    /// Puts a session back until its next request.
    pub fn keep(&mut self, session: Session, now: Instant) {
        self.kept.insert(session.id, (session, now));
    }

    fn next_free_id(&mut self) -> i32 {
        loop {
            // Ids that wrap around may meet an old session, and 0 is none.
            self.next_id = self.next_id.checked_add(self.id_step).unwrap_or(self.next_id % self.id_step);
            if self.next_id != NO_SESSION && !self.kept.contains_key(&self.next_id) {
                return self.next_id;
            }
        }
    }
}

impl Session {
    fn new(id: i32, by_id: bool, used: &Rc<Used>) -> Session {
        used.sessions.set(used.sessions.get() + 1);
        Session { id, epoch: 1, by_id, topics: BTreeMap::new(), partitions: 0, used: Rc::clone(used) }
    }

    /// Its number on the wire.
    #[must_use]
    pub fn id(&self) -> i32 {
        self.id
    }

    /// How many partitions it holds.
    #[must_use]
    pub fn partitions(&self) -> usize {
        self.partitions
    }

    /// Adds a partition, or changes what is wanted of it.
    pub fn put(&mut self, topic: &str, topic_id: Uuid, index: i32, wanted: Member) {
        let partitions = self.topics.entry(key(self.by_id, topic, topic_id)).or_default();
        match partitions.get_mut(&index) {
            Some(member) => *member = Member { told: member.told.clone(), ..wanted },
            None => {
                partitions.insert(index, wanted);
                self.count(1, 0);
            }
        }
    }

    /// What it holds, topic by topic: name, id and partitions.
    pub fn topics(&self) -> impl Iterator<Item = (&str, Uuid, &BTreeMap<i32, Member>)> {
        self.topics.iter().map(|((name, id), partitions)| (&**name, *id, partitions))
    }

    /// Takes an answer of one of its partitions as told to the client.
    pub fn tell(&self, topic: &str, topic_id: Uuid, data: &PartitionData) {
        let member =
            self.topics.get(&key(self.by_id, topic, topic_id)).and_then(|topic| topic.get(&data.partition_index));
        if let Some(member) = member {
            member.is_news(data);
        }
    }

    /// Lays a request's changes over what is held.
    fn follow(&mut self, asked: &FetchRequest<'_>) {
        for topic in &asked.topics {
            for partition in &topic.partitions {
                self.put(topic.topic, topic.topic_id, partition.partition, Member::from(partition));
            }
        }
        for forgotten in &asked.forgotten_topics_data {
            let key = key(self.by_id, forgotten.topic, forgotten.topic_id);
            let Some(partitions) = self.topics.get_mut(&key) else { continue };
            let before = partitions.len();
            for index in &forgotten.partitions {
                partitions.remove(index);
            }
            let gone = before - partitions.len();
            if partitions.is_empty() {
                self.topics.remove(&key);
            }
            self.count(0, gone);
        }
    }

    fn count(&mut self, more: usize, fewer: usize) {
        self.partitions = self.partitions + more - fewer;
        self.used.partitions.set(self.used.partitions.get() + more - fewer);
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.used.sessions.set(self.used.sessions.get() - 1);
        self.count(0, self.partitions);
    }
}

impl From<&FetchPartition> for Member {
    fn from(asked: &FetchPartition) -> Member {
        let bytes_max = u64::try_from(asked.partition_max_bytes).unwrap_or(0);
        Member::new(asked.fetch_offset, asked.current_leader_epoch, bytes_max)
    }
}

/// A name may have 32 KiB on the wire, and a session outlives the request's share of the byte budget.
fn can_be_kept(asked: &FetchRequest<'_>) -> bool {
    asked.topics.iter().all(|topic| topic.topic.len() <= TOPIC_NAME_BYTES_MAX)
}

fn key(by_id: bool, topic: &str, topic_id: Uuid) -> TopicKey {
    if by_id { (Box::default(), topic_id) } else { (topic.into(), Uuid::default()) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use ringmill_net::wire::messages::fetch::{FetchTopic, ForgottenTopic};

    fn table(sessions_max: usize) -> FetchSessions {
        FetchSessions::new(sessions_max, 7, 0, 2)
    }

    fn asks<'a>(session: (i32, i32), topic: &'a str, partitions: &[(i32, i64)]) -> FetchRequest<'a> {
        let partition =
            |&(partition, fetch_offset)| FetchPartition { partition, fetch_offset, ..FetchPartition::default() };
        let partitions: Vec<_> = partitions.iter().map(partition).collect();
        let topics = if partitions.is_empty() {
            vec![]
        } else {
            vec![FetchTopic { topic, partitions, ..FetchTopic::default() }]
        };
        FetchRequest { session_id: session.0, session_epoch: session.1, topics, ..FetchRequest::default() }
    }

    /// A session of the partitions 0.. of "logs", kept.
    fn opened(table: &mut FetchSessions, partitions: i32, now: Instant) -> Option<i32> {
        let mut session = table.open(false, usize::try_from(partitions).unwrap(), now)?;
        for index in 0..partitions {
            session.put("logs", Uuid::default(), index, Member::new(0, -1, 100));
        }
        let id = session.id();
        table.keep(session, now);
        Some(id)
    }

    fn next(table: &mut FetchSessions, asked: &FetchRequest<'_>) -> Result<Option<Session>, ErrorCode> {
        match table.begin(asked, false)? {
            Begun::Incremental(session) => Ok(Some(session)),
            Begun::Full { .. } => Ok(None),
        }
    }

    fn offsets(session: &Session) -> Vec<(String, i32, i64)> {
        let of = |(name, _, members): (&str, Uuid, &BTreeMap<i32, Member>)| {
            members.iter().map(|(index, member)| (name.to_owned(), *index, member.offset)).collect::<Vec<_>>()
        };
        session.topics().flat_map(of).collect()
    }

    #[tokio::test(start_paused = true)]
    async fn a_session_follows_what_its_requests_change() {
        let mut table = table(10);
        let now = Instant::now();
        let id = opened(&mut table, 3, now).unwrap();
        let changed = FetchRequest {
            forgotten_topics_data: vec![ForgottenTopic {
                topic: "logs",
                partitions: vec![0, 9],
                ..ForgottenTopic::default()
            }],
            ..asks((id, 1), "logs", &[(1, 50), (7, 70)])
        };
        let session = next(&mut table, &changed).unwrap().unwrap();
        let expected = [(1, 50), (2, 0), (7, 70)].map(|(index, offset)| ("logs".to_owned(), index, offset));
        assert_eq!(offsets(&session), expected);
        table.keep(session, now);
        let other = next(&mut table, &asks((id, 2), "metrics", &[(0, 5)])).unwrap().unwrap();
        assert_eq!((other.partitions(), offsets(&other)[3].clone()), (4, ("metrics".to_owned(), 0, 5)));
    }

    #[tokio::test(start_paused = true)]
    async fn what_does_not_fit_the_session_is_refused_and_the_session_stays() {
        let mut table = table(10);
        let now = Instant::now();
        let id = opened(&mut table, 1, now).unwrap();
        let mut refused = |session, by_id| table.begin(&asks(session, "logs", &[]), by_id).err();
        assert_eq!(refused((0, 1), false), Some(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(refused((id + 2, 1), false), Some(ErrorCode::FetchSessionIdNotFound));
        for epoch in [2, i32::MAX, -2] {
            assert_eq!(refused((id, epoch), false), Some(ErrorCode::InvalidFetchSessionEpoch), "{epoch}");
        }
        assert_eq!(refused((id, 1), true), Some(ErrorCode::FetchSessionTopicIdError));
        assert_eq!(refused((id, 1), false), None);
    }

    #[tokio::test(start_paused = true)]
    async fn epochs_wrap_around_zero() {
        let mut table = table(10);
        let id = opened(&mut table, 1, Instant::now()).unwrap();
        table.kept.get_mut(&id).unwrap().0.epoch = i32::MAX;
        let session = next(&mut table, &asks((id, i32::MAX), "logs", &[])).unwrap().unwrap();
        table.keep(session, Instant::now());
        assert!(next(&mut table, &asks((id, 1), "logs", &[])).unwrap().is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn a_new_or_final_epoch_ends_the_session_and_so_does_the_last_partition_that_leaves() {
        let mut table = table(1);
        let now = Instant::now();
        for epoch in [INITIAL_EPOCH, FINAL_EPOCH] {
            let id = opened(&mut table, 1, now).unwrap();
            assert!(next(&mut table, &asks((id, epoch), "logs", &[])).unwrap().is_none());
        }
        let id = opened(&mut table, 1, now).unwrap();
        let forgotten_topics_data =
            vec![ForgottenTopic { topic: "logs", partitions: vec![0], ..ForgottenTopic::default() }];
        let emptied = FetchRequest { forgotten_topics_data, ..asks((id, 1), "logs", &[]) };
        assert!(next(&mut table, &emptied).unwrap().is_none());
        assert_eq!((table.used.sessions.get(), table.used.partitions.get()), (0, 0));
    }

    #[tokio::test(start_paused = true)]
    async fn room_is_made_only_by_sessions_that_were_long_unused() {
        let mut table = table(2);
        let begin = Instant::now();
        let first = opened(&mut table, 1, begin).unwrap();
        let second = opened(&mut table, 1, begin + Duration::from_secs(60)).unwrap();
        assert_eq!(opened(&mut table, 1, begin + Duration::from_secs(119)), None);
        assert!(opened(&mut table, 1, begin + Duration::from_secs(121)).is_some());
        assert_eq!(next(&mut table, &asks((first, 1), "logs", &[])).err(), Some(ErrorCode::FetchSessionIdNotFound));
        // One in the hands of a request takes its place too, until that request ends, however it ends.
        let taken = next(&mut table, &asks((second, 1), "logs", &[])).unwrap().unwrap();
        assert_eq!(opened(&mut table, 1, begin + Duration::from_secs(122)), None);
        drop(taken);
        assert!(opened(&mut table, 1, begin + Duration::from_secs(122)).is_some());
    }

    #[tokio::test(start_paused = true)]
    async fn partitions_are_limited_over_all_sessions() {
        let mut table = table(10);
        let now = Instant::now();
        let half = i32::try_from(PARTITIONS_MAX / 2).unwrap();
        let id = opened(&mut table, half, now).unwrap();
        assert!(opened(&mut table, half, now).is_some());
        assert_eq!(opened(&mut table, 1, now), None);
        // One that outgrows the limit ends; its client begins anew, with fewer or without a session.
        let grown = asks((id, 1), "more", &[(0, 0)]);
        assert_eq!(next(&mut table, &grown).err(), Some(ErrorCode::FetchSessionIdNotFound));
        assert_eq!(table.used.partitions.get(), PARTITIONS_MAX / 2);
    }

    /// A session kept whatever name it was sent: two hundred thousand of 32 KiB each were six gigabytes.
    #[tokio::test(start_paused = true)]
    async fn a_name_that_no_topic_can_have_is_not_kept() {
        let mut table = table(10);
        let (longest, longer) = ("a".repeat(TOPIC_NAME_BYTES_MAX), "a".repeat(TOPIC_NAME_BYTES_MAX + 1));
        let wants_session = |table: &mut FetchSessions, name: &str| {
            matches!(table.begin(&asks((0, 0), name, &[(0, 0)]), false), Ok(Begun::Full { wants_session: true }))
        };
        assert!(wants_session(&mut table, &longest));
        assert!(!wants_session(&mut table, &longer));
        let id = opened(&mut table, 1, Instant::now()).unwrap();
        let session = next(&mut table, &asks((id, 1), &longest, &[(0, 0)])).unwrap().unwrap();
        table.keep(session, Instant::now());
        let grown = asks((id, 2), &longer, &[(0, 0)]);
        assert_eq!(next(&mut table, &grown).err(), Some(ErrorCode::FetchSessionIdNotFound));
        assert_eq!((table.used.sessions.get(), table.used.partitions.get()), (0, 0));
    }

    #[test]
    fn only_news_is_told() {
        let member = Member::new(0, -1, 100);
        let answer = |error_code, high_watermark, log_start_offset, bytes| PartitionData {
            error_code,
            high_watermark,
            log_start_offset,
            records: Some(Records::of_length(bytes)),
            ..PartitionData::default()
        };
        let steps = [
            ((0, 5, 0, 0), true, "nothing is known at first"),
            ((0, 5, 0, 0), false, "nothing has changed"),
            ((0, 5, 0, 9), true, "records"),
            ((0, 6, 0, 0), true, "another high watermark"),
            ((0, 6, 2, 0), true, "another log start"),
            ((0, 6, 2, 0), false, "nothing has changed"),
            ((1, -1, -1, 0), true, "an error"),
            ((1, -1, -1, 0), true, "an error is told as long as it lasts"),
            ((0, 6, 2, 0), true, "the error has gone"),
        ];
        for ((error, watermark, start, bytes), expected, why) in steps {
            assert_eq!(member.is_news(&answer(error, watermark, start, bytes)), expected, "{why}");
        }
    }

    #[test]
    fn cores_and_starts_give_different_ids() {
        let mut ids = Vec::new();
        for seed in [1_700_000_000_000, 1_700_000_000_001] {
            for core in 0..3 {
                let mut table = FetchSessions::new(10, seed, core, 3);
                ids.extend((0..4).map(|_| table.next_free_id()));
                table.next_id = i32::MAX - 1 - (i32::MAX - 1 - i32::from(core)) % 3;
                let wrapped = [table.next_free_id(), table.next_free_id()];
                assert!(wrapped.iter().all(|id| *id > 0 && id % 3 == i32::from(core)), "{wrapped:?}");
            }
        }
        ids.sort_unstable();
        ids.dedup();
        assert_eq!(ids.len(), 24);
    }
}
