//! What clients put down, in the order in which they learnt of it. An answer is put down when it has come, a request before it is sent.
//!
//! Several clients write one history, so an answer may be older than the line before it. Whatever was looked up therefore says when
//! it was asked for: only what stands above that line is held against it.

use serde::{Deserialize, Serialize};

use crate::made::Foreign;

/// A position in a history: the first event is line 1.
pub type Line = u64;

/// A partition. Topics are numbered by the history, and a topic that is created anew under an old name is another topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct Place {
    /// The number that [`Event::Topic`] gave it.
    pub topic: u32,
    /// Its index.
    pub partition: i32,
}

/// Records of one producer that stand side by side: `count` of them, from `offset` on, with numbers from `number` on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Run {
    /// Of the first record.
    pub offset: i64,
    /// Who made them.
    pub producer: u32,
    /// Of the first record.
    pub number: u64,
    /// At least 1.
    pub count: u64,
}

/// One thing that happened.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(tag = "event", rename_all = "snake_case")]
pub enum Event {
    /// The first line: what made this history and how to do it again, in words.
    Begin {
        /// For whoever reads the file.
        words: String,
    },
    /// A topic is about to be created, with these promises.
    Topic {
        /// Numbered from 0, never given twice.
        topic: u32,
        /// As the broker knows it.
        name: String,
        /// Whether it has `write.caching`: a power cut may take what was not synced.
        caching: bool,
        /// With retention: how many records of a partition it leaves at least. `None`: it removes nothing by itself.
        retained_records_min: Option<u64>,
    },
    /// A topic that was announced is compacted: of each key the last record stays. Which key a record has follows from who made it
    /// ([`Made::key`](crate::Made::key)).
    Compacted {
        /// Which one.
        topic: u32,
        /// How many keys its records have.
        keys: u32,
        /// How long the last record of a key is shown in any case, in microseconds after it was sent, if it is a tombstone.
        tombstones_kept_us: u64,
    },
    /// Its creation was answered.
    TopicMade {
        /// Which one.
        topic: u32,
    },
    /// Its deletion is about to be asked for: from here on nothing of it is promised.
    TopicDropSent {
        /// Which one.
        topic: u32,
    },
    /// Its deletion was answered: it must not be seen again.
    TopicDropped {
        /// Which one.
        topic: u32,
    },
    /// The broker says that it has this topic.
    TopicFound {
        /// Which one.
        topic: u32,
        /// When that was asked.
        asked: Line,
    },
    /// The broker says that it has no such topic.
    TopicAbsent {
        /// Which one.
        topic: u32,
        /// When that was asked.
        asked: Line,
    },
    /// A producer: one stream of records, numbered from 0 without a gap, to one partition, in order.
    ///
    /// An idempotent one sends a batch again, as it was, until it is acknowledged. A plain one sends everything once, and writes on one connection
    /// in all its life, unless the broker died between two: requests of two connections may overtake each other.
    Producer {
        /// Numbered from 0, never given twice.
        producer: u32,
        /// Where it writes.
        place: Place,
        /// Whether the broker recognises repeats.
        idempotent: bool,
    },
    /// A batch is about to be sent, for the first time or again.
    Sent {
        /// Whose.
        producer: u32,
        /// The number of its first record.
        first: u64,
        /// Its records.
        count: u64,
    },
    /// A batch was acknowledged.
    Acked {
        /// Whose.
        producer: u32,
        /// Which: the number of its first record.
        first: u64,
        /// Where it lies; `None` when the broker knows only that it has it.
        offset: Option<i64>,
    },
    /// A batch was refused. What was never answered gets no event.
    Refused {
        /// Whose.
        producer: u32,
        /// Which: the number of its first record.
        first: u64,
        /// Kafka's error code.
        code: i16,
    },
    /// A fetch was answered with records, or with none.
    Seen {
        /// Who reads; reads of one consumer that follow on each other make one reading.
        consumer: u32,
        /// What it reads.
        place: Place,
        /// When the fetch was sent.
        asked: Line,
        /// The offset that was asked for.
        from: i64,
        /// As the answer says, −1 if it does not.
        log_start: i64,
        /// The high watermark, as the answer says.
        end: i64,
        /// The records from `from` on.
        runs: Vec<Run>,
        /// Where the reading goes on, if that is not right behind the last record: batches of compacted topics may have lost all of theirs.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        next: Option<i64>,
        /// Something that no producer of this history made.
        foreign: Option<Foreign>,
    },
    /// A fetch was refused.
    ReadRefused {
        /// What was asked for.
        place: Place,
        /// When the fetch was sent.
        asked: Line,
        /// The offset that was asked for.
        from: i64,
        /// Kafka's error code.
        code: i16,
    },
    /// A consumer has tried to read a whole partition: its reading must reach from `log_start` to `end`.
    Whole {
        /// Who read.
        consumer: u32,
        /// What it read.
        place: Place,
        /// Where the log began when the reading began.
        log_start: i64,
        /// Where the log ended when the reading began.
        end: i64,
    },
    /// A deletion of records is about to be asked for.
    TrimSent {
        /// Where.
        place: Place,
        /// All records before this offset.
        before: i64,
    },
    /// It was answered.
    Trimmed {
        /// Where.
        place: Place,
        /// The log start, as the answer says.
        log_start: i64,
    },
    /// A group of consumers is about to be used.
    Group {
        /// Its name.
        group: String,
        /// Whether it speaks the consumer protocol (KIP-848): members hand partitions over one by one, and each has an epoch of its own.
        /// In the classic one all members share out anew with each generation.
        is_consumer: bool,
    },
    /// A member was told what is its own. In a group of the consumer protocol, what it had before and does not find here is its own until it
    /// has given it up.
    Assigned {
        /// The group's name.
        group: String,
        /// The member's id.
        member: String,
        /// The generation, or the member's epoch.
        generation: i32,
        /// All of it.
        places: Vec<Place>,
    },
    /// A member of a group of the consumer protocol has ceased to read these, and is about to say so.
    GaveUp {
        /// The group's name.
        group: String,
        /// The member's id.
        member: String,
        /// What it no longer reads.
        places: Vec<Place>,
    },
    /// A member owns nothing any more. In a group of the classic protocol only a static member needs to say so: another process may take
    /// its place within a generation.
    MemberOut {
        /// The group's name.
        group: String,
        /// The member's id.
        member: String,
        /// The broker has said so. Else it is about to leave, or its session may have ended meanwhile.
        told: bool,
    },
    /// A group's offset is about to be committed.
    CommitSent {
        /// The group's name.
        group: String,
        /// By which member; `None` for a commit from outside.
        member: Option<String>,
        /// In which generation, or at which epoch.
        generation: i32,
        /// The number of the commit, which is sent as its metadata: never given twice for a partition of a group.
        commit: u64,
        /// Of what.
        place: Place,
        /// The next offset to read.
        offset: i64,
    },
    /// It was acknowledged.
    Committed {
        /// The group's name.
        group: String,
        /// The commit's number.
        commit: u64,
        /// Of what.
        place: Place,
    },
    /// It was refused. What was never answered gets no event.
    CommitRefused {
        /// The group's name.
        group: String,
        /// The commit's number.
        commit: u64,
        /// Of what.
        place: Place,
        /// Kafka's error code.
        code: i16,
    },
    /// A group's committed offset was looked up.
    CommitFound {
        /// The group's name.
        group: String,
        /// Of what.
        place: Place,
        /// When that was asked.
        asked: Line,
        /// `None` if there is none.
        offset: Option<i64>,
        /// The commit's number, as its metadata says; `None` if that is no number.
        commit: Option<u64>,
    },
    /// The broker serves, for the first time or again.
    Booted,
    /// Start and end of a log, asked for after a start, before anything was written to it in this life.
    Recovered {
        /// Which.
        place: Place,
        /// When it was asked for.
        asked: Line,
        /// The log start.
        log_start: i64,
        /// The high watermark.
        end: i64,
    },
    /// The broker has stopped in order and said so: nothing may be lost, not even what only the page cache had.
    Stopped,
    /// The process was killed: what it had handed to the system stays.
    Killed,
    /// The power was cut: what was not synced is gone.
    PowerCut,
    /// The power of a disk that lies about flushes was cut: anything may be gone. What is left must still be what it was.
    LyingCut,
    /// The disk begins, or ceases, to answer with errors: partitions may refuse to be read until the next start after it ceased.
    Faults {
        /// Begins.
        on: bool,
    },
}

impl Event {
    /// Whether a history is written out at this event, so that a reader finds everything before it in the file.
    pub(crate) fn is_mark(&self) -> bool {
        matches!(
            self,
            Event::Begin { .. }
                | Event::Booted
                | Event::Stopped
                | Event::Killed
                | Event::PowerCut
                | Event::LyingCut
                | Event::Faults { .. }
        )
    }
}
