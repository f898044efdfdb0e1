//! Every setting, once: the tables that parsing, validation, printing and Kafka's config APIs are driven by.
//!
//! Kafka's names, kinds, ranges and defaults are those of Kafka 4.4's own definitions, unless the row says otherwise. Rows without
//! effect stand here so that tools which set them at Kafka's default go on working, and so that every other value is refused by
//! name instead of being swallowed.

use super::setting::{Effect, Kind, Section, Setting};

const ANY: Kind = Kind::Text;
const LIST: Kind = Kind::List;
const BOOL: Kind = Kind::Bool;
const INT_MAX: i64 = i32::MAX as i64;

/// Half of what a frame can say about its length: the other half is left for what stands around the records.
const FRAME_PART_MAX: i64 = 1 << 30;

const fn from(min: i64) -> Kind {
    Kind::Integer { min, max: i64::MAX }
}

const fn int(min: i64, max: i64) -> Kind {
    Kind::Integer { min, max }
}

const fn broker(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting { section: Section::Broker, name, kind, default, effect: Effect::Real, dynamic: false, doc }
}

const fn known_broker(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting { effect: Effect::DefaultOnly, ..broker(name, kind, default, doc) }
}

/// Of consumer groups. Kafka's cannot change while it runs; nothing speaks against it here.
const fn group(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting { dynamic: true, ..broker(name, kind, default, doc) }
}

const fn ringmill(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting { section: Section::Ringmill, name, kind, default, effect: Effect::Real, dynamic: false, doc }
}

const fn topic(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting { section: Section::Topic, name, kind, default, effect: Effect::Real, dynamic: true, doc }
}

const fn known(name: &'static str, kind: Kind, default: &'static str, doc: &'static str) -> Setting {
    Setting { section: Section::Topic, name, kind, default, effect: Effect::DefaultOnly, dynamic: true, doc }
}

/// `[broker]`: Kafka's names.
pub static BROKER: &[Setting] = &[
    broker("node.id", int(0, INT_MAX), "1", "This broker's number, shown to clients."),
    broker(
        "listeners",
        LIST,
        "PLAINTEXT://127.0.0.1:9092",
        "The address to listen on: HOST:PORT, or Kafka's PLAINTEXT://HOST:PORT.",
    ),
    broker(
        "advertised.listeners",
        LIST,
        "",
        "The address told to clients; empty: the one each client dialled. Needed behind NAT.",
    ),
    broker("log.dirs", LIST, "/var/lib/ringmill", "The data directory; exactly one."),
    // Kafka's cannot change while it runs; Loki and Mimir ask for it all the same.
    Setting {
        dynamic: true,
        ..broker(
            "num.partitions",
            int(1, 10_000),
            "1",
            "Partitions of a topic that is created without saying how many.",
        )
    },
    broker("auto.create.topics.enable", BOOL, "true", "Whether asking for an unknown topic creates it."),
    broker(
        "socket.request.max.bytes",
        int(1024, FRAME_PART_MAX),
        "104857600",
        "The largest request that is read; a larger one closes its connection.",
    ),
    broker(
        "max.connections",
        int(0, INT_MAX),
        "2147483647",
        "Connections that may be open; more are closed as they come. A quarter of the open files is kept for the data in any case.",
    ),
    broker("max.connections.per.ip", int(0, INT_MAX), "2147483647", "Connections that may be open from one address."),
    broker(
        "connections.max.idle.ms",
        from(1),
        "600000",
        "How long a connection may ask nothing, or take nothing of its answer, before it is closed.",
    ),
    broker(
        "fetch.max.bytes",
        int(1024, FRAME_PART_MAX),
        "57671680",
        "The most bytes of records in the answer to one fetch.",
    ),
    broker(
        "max.incremental.fetch.session.cache.slots",
        int(0, INT_MAX),
        "1000",
        "Consumers whose fetches are remembered, so that they need not name every partition each time.",
    ),
    group(
        "group.min.session.timeout.ms",
        int(1, INT_MAX),
        "6000",
        "The shortest session timeout that a member may ask for.",
    ),
    group(
        "group.max.session.timeout.ms",
        int(1, INT_MAX),
        "1800000",
        "The longest session timeout that a member may ask for.",
    ),
    group(
        "group.initial.rebalance.delay.ms",
        int(0, INT_MAX),
        "3000",
        "How long an empty group waits for more members before its first rebalance.",
    ),
    // Kafka's has no limit; what a stranger can make grow has one here.
    group("group.max.size", int(1, INT_MAX), "10000", "Members of one classic group; more than 100000 never."),
    group(
        "group.consumer.max.size",
        int(1, INT_MAX),
        "10000",
        "Members of one group of the consumer protocol (KIP-848); more than 100000 never.",
    ),
    group(
        "group.consumer.session.timeout.ms",
        int(1, INT_MAX),
        "45000",
        "How long a consumer member may be silent before it is taken for gone.",
    ),
    group(
        "group.consumer.min.session.timeout.ms",
        int(1, INT_MAX),
        "45000",
        "The least that group.consumer.session.timeout.ms may be.",
    ),
    group(
        "group.consumer.max.session.timeout.ms",
        int(1, INT_MAX),
        "60000",
        "The most that group.consumer.session.timeout.ms may be.",
    ),
    group(
        "group.consumer.heartbeat.interval.ms",
        int(1, INT_MAX),
        "5000",
        "How often consumer members are told to send a heartbeat.",
    ),
    group(
        "group.consumer.min.heartbeat.interval.ms",
        int(1, INT_MAX),
        "5000",
        "The least that group.consumer.heartbeat.interval.ms may be.",
    ),
    group(
        "group.consumer.max.heartbeat.interval.ms",
        int(1, INT_MAX),
        "15000",
        "The most that group.consumer.heartbeat.interval.ms may be.",
    ),
    // Kafka has 1000. Here a small group is assigned at once, and a large one pauses by itself.
    group(
        "group.consumer.assignment.interval.ms",
        int(0, INT_MAX),
        "0",
        "The least time between two assignments of a group of the consumer protocol; a large group takes more by itself.",
    ),
    group(
        "group.consumer.min.assignment.interval.ms",
        int(0, INT_MAX),
        "0",
        "The least that group.consumer.assignment.interval.ms may be.",
    ),
    group(
        "group.consumer.max.assignment.interval.ms",
        int(0, INT_MAX),
        "15000",
        "The most that group.consumer.assignment.interval.ms may be.",
    ),
    group(
        "group.consumer.migration.policy",
        Kind::Choice(&["bidirectional", "upgrade", "downgrade", "disabled"]),
        "bidirectional",
        "Whether a group with members may go from the classic protocol to the consumer protocol (upgrade) and back (downgrade).",
    ),
    broker(
        "group.coordinator.rebalance.protocols",
        LIST,
        "classic,consumer",
        "The protocols that groups may speak: classic, and consumer (KIP-848).",
    ),
    group(
        "offsets.retention.minutes",
        int(1, INT_MAX),
        "10080",
        "How long committed offsets are kept after the last use of their group, or of their topic in it.",
    ),
    group(
        "offsets.retention.check.interval.ms",
        from(1),
        "600000",
        "How often offsets are looked for that have been kept for long enough.",
    ),
    group(
        "offset.metadata.max.bytes",
        int(0, INT_MAX),
        "4096",
        "The longest words that a client may leave beside a committed offset.",
    ),
    // Kafka has 50; one broker of a few cores needs fewer.
    broker(
        "offsets.topic.num.partitions",
        int(1, 10_000),
        "16",
        "Partitions of __consumer_offsets, which keeps groups and their offsets; fixed once it exists.",
    ),
    broker(
        "offsets.topic.segment.bytes",
        int(1 << 20, INT_MAX),
        "104857600",
        "The size of its segments; fixed once it exists, as its own segment.bytes.",
    ),
    known_broker("group.consumer.assignors", LIST, "uniform,range", "Both are there, and clients choose."),
    known_broker(
        "group.coordinator.append.linger.ms",
        int(-1, INT_MAX),
        "-1",
        "What comes together is written together.",
    ),
    known_broker("group.coordinator.background.threads", int(1, INT_MAX), "2", "Groups live on the broker's cores."),
    known_broker(
        "group.coordinator.cached.buffer.max.bytes",
        int(1, INT_MAX),
        "1048588",
        "No buffers are kept for groups.",
    ),
    known_broker("group.coordinator.threads", int(1, INT_MAX), "4", "Groups live on the broker's cores."),
    known_broker(
        "offsets.commit.timeout.ms",
        int(1, INT_MAX),
        "5000",
        "A commit is answered when it is durable, or its partition has failed.",
    ),
    known_broker(
        "offsets.load.buffer.size",
        int(1, INT_MAX),
        "5242880",
        "Offsets are loaded in reads of a size of our own.",
    ),
    known_broker("offsets.topic.compression.codec", int(0, 4), "0", "Offsets are not compressed."),
    known_broker(
        "offsets.topic.replication.factor",
        int(1, INT_MAX),
        "1",
        "There is one broker, so every partition has one replica.",
    ),
    broker(
        "log.cleaner.backoff.ms",
        from(1),
        "15000",
        "How long compaction rests when there is nothing to do before it looks again.",
    ),
    Setting {
        dynamic: true,
        ..broker(
            "log.cleaner.io.max.bytes.per.second",
            Kind::Decimal { min: 1.0, max: f64::MAX },
            "1.7976931348623157E308",
            "Bytes per second that compaction reads and writes at most, for the whole process.",
        )
    },
    known_broker(
        "log.cleaner.dedupe.buffer.size",
        from(0),
        "134217728",
        "Compaction takes at most 64 MB on each core, and more only for large batches.",
    ),
    known_broker("log.cleaner.enable", BOOL, "true", "Topics that ask for compaction get it."),
    known_broker(
        "log.cleaner.io.buffer.load.factor",
        Kind::Decimal { min: 0.0, max: f64::MAX },
        "0.9",
        "Compaction fills its map to three quarters.",
    ),
    known_broker(
        "log.cleaner.io.buffer.size",
        int(0, INT_MAX),
        "524288",
        "Compaction reads and writes 1 MiB at a time.",
    ),
    known_broker("log.cleaner.threads", int(0, INT_MAX), "1", "Each core compacts its own partitions, one at a time."),
];

/// `[ringmill]`: what Kafka has no name for.
pub static RINGMILL: &[Setting] = &[
    ringmill("cores", int(0, 1024), "0", "Threads that own partitions and serve connections; 0: one per processor."),
    ringmill(
        "io",
        Kind::Choice(&["auto", "uring", "posix"]),
        "auto",
        "How files and sockets are used: io_uring, plain system calls, or the best that works here.",
    ),
    ringmill(
        "request.memory.bytes",
        from(4 << 20),
        "268435456",
        "Memory for requests being read or not yet answered, for the whole process.",
    ),
    ringmill(
        "groups.memory.bytes",
        from(16 << 20),
        "1073741824",
        "Memory for members and committed offsets of all consumer groups; each partition of __consumer_offsets has an equal part.",
    ),
    ringmill(
        "partitions.max",
        int(1, INT_MAX),
        "100000",
        "Partitions of all topics together: no topic is created or grown beyond it.",
    ),
    ringmill(
        "unsynced.bytes.max",
        int(1 << 20, INT_MAX),
        "67108864",
        "The most bytes of one partition that may be written and not yet durable.",
    ),
    ringmill(
        "disk.free.bytes.min",
        from(0),
        "268435456",
        "Below so many free bytes on the data directory's disk records are refused until there is room again; at most a 32nd of the disk; 0: never.",
    ),
    ringmill(
        "disk.reserve.bytes",
        from(0),
        "8388608",
        "Bytes of the disk held back for deletions and metadata, should others fill the rest; at most a 64th of the disk; 0: none.",
    ),
    ringmill(
        "scrub.interval.hours",
        int(0, 100_000),
        "168",
        "How often closed segments are looked through for damage; 0: never.",
    ),
    ringmill(
        "scrub.bytes.per.second",
        int(64 << 10, 1 << 40),
        "16777216",
        "Bytes per second that this looks through, for the whole process; they do not pass through the page cache.",
    ),
    ringmill(
        "tcp.congestion.control",
        ANY,
        "",
        "The congestion control of clients' connections, by the kernel's name for it; empty: the system's.",
    ),
    ringmill(
        "log.level",
        ANY,
        "info",
        "What is logged: error, warn, info, debug or trace, or per module, as in info,ringmill_engine=debug.",
    ),
    ringmill(
        "log.format",
        Kind::Choice(&["auto", "text", "json"]),
        "auto",
        "How log lines look; auto: text on a terminal, JSON otherwise.",
    ),
];

/// `[topic]`: defaults of every topic, and what may be set on one topic. Sorted by name.
pub static TOPIC: &[Setting] = &[
    topic(
        "cleanup.policy",
        Kind::Words(&["compact", "delete"]),
        "delete",
        "Whether old records are deleted (delete), only the last record of each key is kept (compact), or both.",
    ),
    known("compression.gzip.level", int(-1, 9), "-1", "Batches are not compressed anew by the broker."),
    known("compression.lz4.level", int(1, 17), "9", "Batches are not compressed anew by the broker."),
    known("compression.type", ANY, "producer", "Batches stay as the producer compressed them."),
    known("compression.zstd.level", int(-131_072, 22), "3", "Batches are not compressed anew by the broker."),
    topic(
        "delete.retention.ms",
        from(0),
        "86400000",
        "With compaction: how long a record without a value, which deletes its key, is still shown.",
    ),
    known("errors.deadletterqueue.group.enable", BOOL, "false", "Share groups do not exist yet."),
    known("file.delete.delay.ms", from(0), "60000", "Files are removed at once here; readers keep theirs open."),
    topic(
        "flush.bytes",
        int(1 << 20, INT_MAX),
        "536870912",
        "With write.caching: the most bytes that a crash may take back.",
    ),
    known("flush.messages", from(1), "9223372036854775807", "Every answer is synced already; see write.caching."),
    // Kafka's default is "never", which leaves the window to the kernel; ours states it.
    topic("flush.ms", from(1), "1000", "With write.caching: the longest time that a record stays unsynced."),
    known("follower.replication.throttled.replicas", LIST, "", "There is no replication yet."),
    topic("index.interval.bytes", int(0, INT_MAX), "4096", "Bytes of records between two entries of the offset index."),
    known("leader.replication.throttled.replicas", LIST, "", "There is no replication yet."),
    known("local.retention.bytes", from(-2), "-2", "There is no tiered storage."),
    known("local.retention.ms", from(-2), "-2", "There is no tiered storage."),
    topic(
        "max.compaction.lag.ms",
        from(1),
        "9223372036854775807",
        "With compaction: when a record is compacted at the latest, however little is new.",
    ),
    known(
        "max.decompressed.message.bytes",
        int(1, 2_147_483_639),
        "2147483639",
        "What the broker decompresses has bounds of its own.",
    ),
    topic("max.message.bytes", int(0, INT_MAX), "1048588", "The largest record batch that is taken, as it is sent."),
    topic(
        "message.timestamp.after.max.ms",
        from(0),
        "3600000",
        "How far a producer's timestamp may lie ahead of the broker's clock.",
    ),
    topic(
        "message.timestamp.before.max.ms",
        from(0),
        "9223372036854775807",
        "How far a producer's timestamp may lie behind the broker's clock.",
    ),
    topic(
        "message.timestamp.type",
        Kind::Choice(&["CreateTime", "LogAppendTime"]),
        "CreateTime",
        "Whose clock stamps the records: the producer's or the broker's.",
    ),
    topic(
        "min.cleanable.dirty.ratio",
        Kind::Decimal { min: 0.0, max: 1.0 },
        "0.5",
        "With compaction: the part of a partition that is new before it is compacted again.",
    ),
    topic(
        "min.compaction.lag.ms",
        from(0),
        "0",
        "With compaction: how long a record stays in any case, by the broker's time of append.",
    ),
    known("min.insync.replicas", int(1, INT_MAX), "1", "There is one replica."),
    known("preallocate", BOOL, "false", "Space is always allocated ahead, in steps."),
    known("remote.copy.lag.bytes", from(-1), "-1", "There is no tiered storage."),
    known("remote.copy.lag.ms", from(-1), "0", "There is no tiered storage."),
    known("remote.log.copy.disable", BOOL, "false", "There is no tiered storage."),
    known("remote.log.delete.on.disable", BOOL, "false", "There is no tiered storage."),
    known("remote.storage.enable", BOOL, "false", "There is no tiered storage."),
    topic("retention.bytes", from(-1), "-1", "Bytes kept per partition, whole segments; -1: no limit."),
    topic(
        "retention.ms",
        from(-1),
        "604800000",
        "How long records are kept, by the broker's time of append; -1: for ever.",
    ),
    topic(
        "segment.bytes",
        int(1 << 20, INT_MAX),
        "1073741824",
        "A segment's size; a full one is closed and a new one begun.",
    ),
    known("segment.index.bytes", int(4, INT_MAX), "10485760", "Indexes grow as they need."),
    known("segment.jitter.ms", from(0), "0", "Segments roll on time."),
    topic("segment.ms", from(1), "604800000", "How long a segment is written to before a new one is begun."),
    topic(
        "strict.records",
        BOOL,
        "false",
        "Decompress every batch that is produced and refuse it when its records are not what its header says.",
    ),
    known("unclean.leader.election.enable", BOOL, "false", "There is one replica."),
    topic(
        "write.caching",
        BOOL,
        "false",
        "Answer after the write instead of after the sync; a crash may take back up to flush.ms or flush.bytes of records.",
    ),
];

/// The table of a section.
#[must_use]
pub fn of(section: Section) -> &'static [Setting] {
    match section {
        Section::Broker => BROKER,
        Section::Topic => TOPIC,
        Section::Ringmill => RINGMILL,
    }
}

/// Finds a setting by its name.
#[must_use]
pub fn find(section: Section, name: &str) -> Option<&'static Setting> {
    of(section).iter().find(|setting| setting.name == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_default_passes_its_own_check_in_its_one_spelling() {
        for section in Section::ALL {
            for setting in of(section) {
                assert_eq!(setting.check(setting.default).as_deref(), Ok(setting.default), "{}", setting.name);
                assert_eq!(setting.section, section, "{}", setting.name);
                assert!(setting.doc.ends_with('.'), "{}", setting.name);
            }
        }
    }

    #[test]
    fn names_are_unique_and_topic_settings_are_sorted() {
        let names: Vec<_> = TOPIC.iter().map(|setting| setting.name).collect();
        assert!(names.is_sorted());
        for section in Section::ALL {
            let mut names: Vec<_> = of(section).iter().map(Setting::environment_name).collect();
            names.sort();
            let count = names.len();
            names.dedup();
            assert_eq!(names.len(), count, "{}", section.name());
        }
    }

    #[test]
    fn the_readme_lists_every_setting_with_an_effect() {
        let readme = include_str!("../../../README.md");
        for setting in Section::ALL.into_iter().flat_map(of).filter(|setting| setting.effect == Effect::Real) {
            let default = if setting.default.is_empty() { "not set" } else { &format!("`{}`", setting.default) };
            let row = format!("| `{}` | {default} | {} |", setting.name, setting.doc);
            assert!(readme.contains(&row), "README.md has no row {row}");
        }
    }

    /// A frame's length has 31 bits, and records are not all that is in it: an answer beyond them would end the process.
    #[test]
    fn no_setting_lets_an_answer_outgrow_a_frame() {
        for name in ["fetch.max.bytes", "socket.request.max.bytes"] {
            let setting = find(Section::Broker, name).expect("the table has it");
            assert!(setting.check("1073741824").is_ok() && setting.check("2147483647").is_err(), "{name}");
        }
    }

    #[test]
    fn values_are_checked_by_kind_and_effect() {
        let check = |name: &str, value: &str, expected: Result<&str, &str>| {
            let setting = find(Section::Topic, name).unwrap_or_else(|| panic!("{name} is not in the table"));
            let got = setting.check(value);
            match expected {
                Ok(text) => assert_eq!(got.as_deref(), Ok(text), "{name}={value}"),
                Err(part) => assert!(got.as_ref().is_err_and(|why| why.contains(part)), "{name}={value}: {got:?}"),
            }
        };
        check("retention.ms", " 007 ", Ok("7"));
        check("retention.ms", "-1", Ok("-1"));
        check("retention.ms", "-2", Err("at least -1"));
        check("retention.ms", "1 day", Err("whole number"));
        check("segment.bytes", "14", Err("from 1048576 to 2147483647"));
        check("segment.bytes", "9223372036854775808", Err("whole number"));
        check("write.caching", "TRUE", Ok("true"));
        check("write.caching", "yes", Err("true or false"));
        check("message.timestamp.type", "LogAppendTime", Ok("LogAppendTime"));
        check("message.timestamp.type", "logappendtime", Err("CreateTime, LogAppendTime"));
        check("cleanup.policy", "delete", Ok("delete"));
        check("cleanup.policy", "compact", Ok("compact"));
        check("cleanup.policy", " compact, delete", Ok("compact,delete"));
        for refused in ["", "compact,", "compact,compact", "archive"] {
            check("cleanup.policy", refused, Err("expected at least one of compact, delete"));
        }
        check("min.cleanable.dirty.ratio", "1.5", Err("from 0 to 1"));
        check("compression.type", "zstd", Err("only its default, producer, is accepted"));
        check("min.cleanable.dirty.ratio", "0.50", Ok("0.5"));
        check("min.cleanable.dirty.ratio", "NaN", Err("from 0 to 1"));
        check("min.insync.replicas", "2", Err("There is one replica"));
        check("follower.replication.throttled.replicas", "0:1", Err("only its default, empty, is accepted"));
        check("preallocate", "true", Err("allocated ahead"));
    }
}
