//! The driver for fetch sessions: any sequence of requests against a model that is a map.
//!
//! A session is what its requests have made of it, whoever else has one; a request that does not fit is refused and changes nothing;
//! there are never more sessions than were allowed, and one that was used lately is never ended for another's sake.

use std::collections::BTreeMap;
use std::time::Duration;

use ringmill::fetch_sessions::{Begun, FetchSessions, Member, Session};
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchTopic, ForgottenTopic, PartitionData};
use ringmill_net::wire::{ErrorCode, Records, Uuid};
use tokio::time::Instant;

use crate::script::Script;

const SESSIONS_MAX: usize = 3;

/// By this age a session makes room; the table's own constant is private, and this is its contract.
const EVICTED_AFTER: Duration = Duration::from_secs(120);

const TOPICS: [(&str, Uuid); 3] = [("a", [1; 16]), ("b", [2; 16]), ("", [0; 16])];

/// What a session should be. Names and ids of topics go together in this driver, so places are the same in both ways: the wanted offset of each partition, and what the client was told of it.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Expected {
    epoch: i32,
    by_id: bool,
    members: BTreeMap<Place, (i64, Told)>,
}

/// A topic of [`TOPICS`], and a partition.
type Place = (usize, i32);

/// High watermark and log start as the client was told them last.
type Told = Option<(i64, i64)>;

struct Run {
    table: FetchSessions,
    now: Instant,
    kept: BTreeMap<i32, (Expected, Instant)>,
    /// Sessions in the hands of requests that are being answered.
    held: Vec<(Session, Expected)>,
    /// Every id that was ever given, so that requests find old ones too.
    ids: Vec<i32>,
}

/// Steps of a script.
pub fn sessions(data: &[u8]) {
    let mut script = Script::new(data);
    let seed = script.byte().into();
    let mut run = Run {
        table: FetchSessions::new(SESSIONS_MAX, seed, 1, 2),
        now: Instant::now(),
        kept: BTreeMap::new(),
        held: Vec::new(),
        ids: Vec::new(),
    };
    while let Some(step) = script.step() {
        match step % 8 {
            0..=3 => run.request(&mut script),
            4 => run.now += Duration::from_secs(u64::from(script.byte()) * 2),
            5 => run.hang_up(&mut script),
            _ => run.answer(&mut script),
        }
        run.check();
    }
}

impl Run {
    fn request(&mut self, script: &mut Script<'_>) {
        let known = match script.byte() {
            0 => 0,
            1 => script.number_i32(),
            choice if self.ids.is_empty() => choice.into(),
            choice => self.ids[usize::from(choice) % self.ids.len()],
        };
        let right_epoch = self.kept.get(&known).map_or(0, |(session, _)| session.epoch);
        let session_epoch = match script.byte() % 8 {
            0 => 0,
            1 => -1,
            2 => script.number_i32(),
            _ => right_epoch,
        };
        let by_id = script.byte().is_multiple_of(8);
        let (asked, touched, forgotten) = fetch_request(script, known, session_epoch);
        let too_long = asked.topics.iter().any(|topic| topic.topic.len() > 249);
        let begun = self.table.begin(&asked, by_id);
        if matches!(session_epoch, 0 | -1) {
            self.kept.remove(&known);
            let Ok(Begun::Full { wants_session }) = begun else { panic!("a full request is answered in full") };
            assert_eq!(wants_session, session_epoch == 0 && !too_long);
            if wants_session {
                self.open(by_id, &touched);
            }
            return;
        }
        let expected = match self.kept.get(&known) {
            None => Err(ErrorCode::FetchSessionIdNotFound),
            Some((session, _)) if session.by_id != by_id => Err(ErrorCode::FetchSessionTopicIdError),
            Some((session, _)) if session.epoch != session_epoch => Err(ErrorCode::InvalidFetchSessionEpoch),
            Some(_) if too_long => {
                self.kept.remove(&known);
                Err(ErrorCode::FetchSessionIdNotFound)
            }
            Some(_) => Ok(self.kept.remove(&known).expect("it was just there").0),
        };
        match (expected, begun) {
            (Err(expected), Err(found)) => assert_eq!(found, expected),
            (Ok(mut session), Ok(begun)) => {
                session.follow(&touched, &forgotten);
                match begun {
                    Begun::Incremental(found) => {
                        assert_eq!(found.id(), known);
                        self.held.push((found, session));
                    }
                    Begun::Full { wants_session } => assert!(!wants_session && session.members.is_empty()),
                }
            }
            (expected, found) => panic!("expected {expected:?}, found another: {:?}", found.err()),
        }
    }

    fn open(&mut self, by_id: bool, touched: &[(Place, i64)]) {
        let wanted: BTreeMap<_, _> = touched.iter().map(|&(place, offset)| (place, (offset, None))).collect();
        let mut kept: Vec<_> = self.kept.iter().map(|(&id, &(_, used_at))| (used_at, id)).collect();
        kept.sort_unstable();
        let mut count = self.kept.len() + self.held.len();
        let mut old = kept.into_iter();
        let fits = loop {
            if count < SESSIONS_MAX {
                break true;
            }
            match old.next() {
                Some((used_at, id)) if self.now.duration_since(used_at) >= EVICTED_AFTER => {
                    self.kept.remove(&id);
                    count -= 1;
                }
                _ => break false,
            }
        };
        let opened = self.table.open(by_id, wanted.len(), self.now);
        assert_eq!(opened.is_some(), fits && !wanted.is_empty());
        let Some(mut session) = opened else { return };
        assert!(session.id() > 0 && !self.kept.contains_key(&session.id()));
        for (&(topic, index), &(offset, _)) in &wanted {
            session.put(TOPICS[topic].0, TOPICS[topic].1, index, Member::new(offset, -1, 1));
        }
        self.ids.push(session.id());
        self.held.push((session, Expected { epoch: 1, by_id, members: wanted }));
    }

    /// A request is answered: something is told of some partitions, and the session goes back.
    fn answer(&mut self, script: &mut Script<'_>) {
        if self.held.is_empty() {
            return;
        }
        let (session, mut expected) = self.held.swap_remove(script.below(self.held.len()));
        for _ in 0..script.below(4) {
            let (topic, index) = (script.below(TOPICS.len()), i32::from(script.byte() % 4));
            let data = PartitionData {
                partition_index: index,
                error_code: i16::from(script.byte().is_multiple_of(8)),
                high_watermark: script.number(),
                log_start_offset: i64::from(script.byte()),
                records: Some(Records::of_length(script.below(2))),
                ..PartitionData::default()
            };
            let told = (data.error_code == 0).then_some((data.high_watermark, data.log_start_offset));
            let (name, id) = TOPICS[topic];
            let member = session
                .topics()
                .find(|found| if expected.by_id { found.1 == id } else { found.0 == name })
                .and_then(|(_, _, members)| members.get(&index));
            let known = expected.members.get_mut(&(topic, index));
            assert_eq!(member.is_some(), known.is_some());
            let (Some(member), Some((_, before))) = (member, known) else { continue };
            let news = told.is_none() || *before != told || data.records.is_some_and(|records| records.length() > 0);
            assert_eq!(member.is_news(&data), news);
            assert!(told.is_none() || !member.is_news(&PartitionData { records: None, ..data }), "told once");
            *before = told;
        }
        self.kept.insert(session.id(), (expected, self.now));
        self.table.keep(session, self.now);
    }

    /// A connection goes away, and takes its session along.
    fn hang_up(&mut self, script: &mut Script<'_>) {
        if !self.held.is_empty() {
            let at = script.below(self.held.len());
            drop(self.held.swap_remove(at));
        }
    }

    fn check(&self) {
        assert!(self.held.len() + self.kept.len() <= SESSIONS_MAX);
        for (session, expected) in &self.held {
            assert_eq!(session.partitions(), expected.members.len());
            let found: BTreeMap<_, _> = session
                .topics()
                .flat_map(|(name, id, members)| {
                    let same = |topic: &(&str, Uuid)| if expected.by_id { topic.1 == id } else { topic.0 == name };
                    let topic = TOPICS.iter().position(same).expect("only these were asked for");
                    members.iter().map(move |(index, member)| ((topic, *index), member.offset))
                })
                .collect();
            let wanted = expected.members.iter().map(|(place, (offset, _))| (*place, *offset));
            assert!(found.into_iter().eq(wanted), "a session is what its requests have made of it");
        }
    }
}

impl Expected {
    fn follow(&mut self, touched: &[(Place, i64)], forgotten: &[Place]) {
        for &(place, offset) in touched {
            self.members.entry(place).or_insert((offset, None)).0 = offset;
        }
        for &place in forgotten {
            self.members.remove(&place);
        }
        self.epoch = self.epoch.checked_add(1).unwrap_or(1);
    }
}

/// A request, the partitions that it names with their offsets, and those that it forgets.
fn fetch_request(
    script: &mut Script<'_>,
    session_id: i32,
    session_epoch: i32,
) -> (FetchRequest<'static>, Vec<(Place, i64)>, Vec<Place>) {
    const LONG: &str = "0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\
                        0123456789012345678901234567890123456789012345678901234567890123456789012345678901234567890123456789\
                        01234567890123456789012345678901234567890123456789";
    let (mut touched, mut forgotten) = (Vec::new(), Vec::new());
    let mut asked = FetchRequest { session_id, session_epoch, ..FetchRequest::default() };
    for _ in 0..script.below(4) {
        let (topic, index) = (script.below(TOPICS.len()), i32::from(script.byte() % 4));
        let (name, topic_id) = TOPICS[topic];
        if script.byte().is_multiple_of(4) {
            asked.forgotten_topics_data.push(ForgottenTopic { topic: name, topic_id, partitions: vec![index, 77] });
            forgotten.push((topic, index));
        } else {
            let fetch_offset = script.number();
            let partition = FetchPartition { partition: index, fetch_offset, ..FetchPartition::default() };
            asked.topics.push(FetchTopic { topic: name, topic_id, partitions: vec![partition] });
            touched.push(((topic, index), fetch_offset));
        }
    }
    if script.byte() == 255 {
        asked.topics.push(FetchTopic { topic: LONG, ..FetchTopic::default() });
    }
    (asked, touched, forgotten)
}
