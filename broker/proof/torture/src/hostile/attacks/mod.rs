//! The attacks: what each is called, what it does, and how the broker is set up for it.

use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;

use super::field::Field;

mod answers;
mod connections;
mod control;
mod floods;
pub(super) mod frames;
mod groups;
mod stalls;

/// An attack under way; ends when the field says so.
type Run = Pin<Box<dyn Future<Output = ()>>>;

/// Topics that an attack needs besides the honest clients'.
#[derive(Clone, Copy, Debug)]
pub(super) enum Needs {
    Nothing,
    /// One with a thousand partitions.
    Wide,
    /// One with 8 MB of records, whose produces are decompressed.
    Large,
}

/// One attack.
pub(super) struct Attack {
    pub(super) name: &'static str,
    /// One line for people.
    pub(super) what: &'static str,
    /// Settings of the broker besides the defaults, as `--set` takes them.
    pub(super) settings: &'static [&'static str],
    /// The broker's limit for open files; none: what this process has.
    pub(super) open_files: Option<u64>,
    pub(super) needs: Needs,
    /// What it makes stays, with its files: topics are not given back when a client goes.
    pub(super) stays: bool,
    /// It meets a limit that refuses: if nothing was refused, the limit is none, or nothing was tried.
    pub(super) is_refused: bool,
    /// The most resident anonymous memory that the broker may have.
    pub(super) memory_bytes_max: u64,
    /// No attack at all, but what the attacks are compared with.
    pub(super) is_control: bool,
    pub(super) run: fn(Rc<Field>) -> Run,
}

const fn attack(name: &'static str, what: &'static str, run: fn(Rc<Field>) -> Run) -> Attack {
    Attack {
        name,
        what,
        settings: &[],
        open_files: None,
        needs: Needs::Nothing,
        stays: false,
        is_refused: false,
        memory_bytes_max: MEMORY_BYTES_MAX,
        is_control: false,
        run,
    }
}

/// One that fills the memory for groups, which is small enough to be full soon. What fills it stays: nobody takes it back.
const fn group_attack(name: &'static str, what: &'static str, run: fn(Rc<Field>) -> Run) -> Attack {
    Attack {
        settings: &["ringmill.groups.memory.bytes=67108864", "broker.group.initial.rebalance.delay.ms=0"],
        stays: true,
        is_refused: true,
        memory_bytes_max: GROUPS_MEMORY_BYTES_MAX,
        ..attack(name, what, run)
    }
}

/// The most resident anonymous memory that a broker with default settings may ever have: its 256 MiB for requests, as much again for
/// the answers, connections and allocator, and no more.
const MEMORY_BYTES_MAX: u64 = 512 << 20;

/// The same with 64 MiB for groups, in front of which few requests wait: as much again for what the allocator makes of them, and what a broker
/// takes at rest.
const GROUPS_MEMORY_BYTES_MAX: u64 = 256 << 20;

/// All of them, in the order of the table.
pub(super) static ATTACKS: &[Attack] = &[
    Attack {
        is_control: true,
        ..attack("control", "no attack, but as many threads that only compute as there are processors", |field| {
            Box::pin(control::busy_threads(field))
        })
    },
    attack("idle", "10,000 connections that say nothing", |field| Box::pin(connections::idle(field))),
    attack("dribble", "10,000 produces of 1 MB, a byte a second each", |field| Box::pin(stalls::dribble(field))),
    attack("claims", "1 GiB claimed on every connection, 5,000 a second", |field| Box::pin(stalls::claims(field))),
    attack("large-frames", "2,000 frames of the largest size, dribbled", |field| Box::pin(stalls::large(field))),
    attack("small-frames", "2,000 frames of 16 KB, dribbled", |field| Box::pin(stalls::small(field))),
    Attack {
        needs: Needs::Wide,
        settings: &["broker.connections.max.idle.ms=2000"],
        ..attack("half-open", "2,000 fetches whose peers vanish without a word", |field| {
            Box::pin(connections::half_open(field))
        })
    },
    Attack {
        needs: Needs::Large,
        ..attack("unread-fetches", "1,000 readers that ask for 8 MB and never read", |field| {
            Box::pin(answers::unread_fetches(field))
        })
    },
    Attack {
        needs: Needs::Wide,
        ..attack("unread-answers", "10,000 connections that ask about 1,000 partitions and never read", |field| {
            Box::pin(answers::unread_metadata(field))
        })
    },
    attack("api-versions", "50 endless pipelines of ApiVersions", |field| Box::pin(floods::api_versions(field))),
    Attack {
        needs: Needs::Wide,
        ..attack("metadata", "50 endless pipelines of Metadata, 1,000 partitions each", |field| {
            Box::pin(floods::metadata(field))
        })
    },
    Attack {
        needs: Needs::Wide,
        ..attack("fetches", "50 endless pipelines of fetches of 30,000 partitions", |field| {
            Box::pin(floods::fetches(field))
        })
    },
    Attack {
        needs: Needs::Wide,
        ..attack("list-offsets", "50 endless pipelines of ListOffsets by time, 1,000 partitions each", |field| {
            Box::pin(floods::list_offsets(field))
        })
    },
    Attack {
        needs: Needs::Wide,
        ..attack("configs", "50 endless pipelines of DescribeConfigs", |field| Box::pin(floods::configs(field)))
    },
    Attack {
        needs: Needs::Wide,
        ..attack("parked-fetches", "200 parked fetches of 30,000 partitions, woken by every append", |field| {
            Box::pin(floods::parked(field))
        })
    },
    Attack {
        needs: Needs::Wide,
        ..attack("sessions", "10,000 fetch sessions", |field| Box::pin(floods::sessions(field)))
    },
    Attack {
        needs: Needs::Wide,
        ..attack("acks-0", "20 endless pipelines of produces that want no answer", |field| {
            Box::pin(floods::silent(field))
        })
    },
    Attack {
        needs: Needs::Large,
        ..attack("bombs", "20 endless pipelines of batches of 1 KB that unpack to 64 MB", |field| {
            Box::pin(floods::bombs(field))
        })
    },
    attack("reconnects", "connections that are reset at once, 10,000 a second", |field| {
        Box::pin(connections::reconnects(field))
    }),
    attack("strangers", "TLS, HTTP and noise, 5,000 connections a second", |field| {
        Box::pin(connections::strangers(field))
    }),
    attack("unserved", "requests of unknown APIs, 5,000 connections a second", |field| {
        Box::pin(connections::unserved(field))
    }),
    Attack {
        open_files: Some(2000),
        ..attack("descriptors", "more connections than the broker may have open files", |field| {
            Box::pin(connections::idle(field))
        })
    },
    Attack {
        stays: true,
        ..attack("topics", "topics of 10,000 partitions, one after the other", |field| Box::pin(floods::topics(field)))
    },
    group_attack(
        "groups",
        "commits to ever new groups with names of 1,000 bytes, until memory is full and on",
        |field| Box::pin(groups::groups(field)),
    ),
    group_attack(
        "members",
        "ever new classic members with 8 protocols of 1 KB, until memory is full and on",
        |field| Box::pin(groups::members(field)),
    ),
    group_attack("consumers", "ever new consumer members with 50 topics each, until memory is full and on", |field| {
        Box::pin(groups::consumers(field))
    }),
    Attack {
        memory_bytes_max: MEMORY_BYTES_MAX,
        ..group_attack("list-groups", "8 endless pipelines of ListGroups, with memory full of groups", |field| {
            Box::pin(groups::lists(field))
        })
    },
];
