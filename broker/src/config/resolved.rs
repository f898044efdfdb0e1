//! The validated configuration of a broker: everything the other parts read, typed, decided once at start.
//!
//! Made out of a list of assignments, weakest source first. Checks what concerns more than one value; single values were checked
//! against their table when they were read. The composition root and `config print` use it.

use std::net::{SocketAddr, ToSocketAddrs};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use ringmill_engine::data_dir::SpaceLimits;

use super::raw::{self, Sources};
use super::running::whole_number;
use super::setting::{ConfigErrors, Problem, Section, Value};
use super::topic::TopicDefaults;
use super::{groups, tables};
use crate::core::scrub::ScrubPace;
use crate::logging;

/// Bytes of the memory for requests that large frames never get.
const SMALL_FRAMES_BYTES: i64 = 1 << 20;

/// How files and sockets are used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum IoKind {
    /// io_uring where it works, else plain system calls with one warning.
    Auto,
    /// io_uring, or refuse to start.
    Uring,
    /// Plain system calls.
    Posix,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// Text on a terminal, JSON otherwise.
    Auto,
    /// Text.
    Text,
    /// One JSON object per line.
    Json,
}

/// An address that clients are told instead of the one they dialled. The host is passed on as it is written.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AdvertisedAddress {
    /// Name or address.
    pub host: String,
    /// Port.
    pub port: u16,
}

/// What concerns consumer groups and is fixed while the broker runs; the rest is in `RunningConfig::groups`.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct GroupsConfig {
    /// `group.coordinator.rebalance.protocols`: whether groups may speak the consumer protocol.
    pub consumer_protocol: bool,
    /// `offsets.topic.num.partitions`, of a `__consumer_offsets` that does not exist yet.
    pub offsets_partitions: i32,
    /// `offsets.topic.segment.bytes`, likewise.
    pub offsets_segment_bytes: u64,
    /// `groups.memory.bytes`, for the whole process.
    pub memory_bytes: usize,
}

/// A broker's configuration in effect. Immutable.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct BrokerConfig {
    /// `node.id`.
    pub node_id: i32,
    /// `listeners`: where to listen, resolved.
    pub listen: SocketAddr,
    /// `advertised.listeners`; `None`: the address each client dialled.
    pub advertised: Option<AdvertisedAddress>,
    /// `log.dirs`: the data directory.
    pub data_dir: PathBuf,
    /// `num.partitions`, at least 1.
    pub num_partitions: i32,
    /// `auto.create.topics.enable`.
    pub auto_create_topics: bool,
    /// `socket.request.max.bytes`: a frame's largest length.
    pub request_bytes_max: usize,
    /// `max.connections`.
    pub connections_max: usize,
    /// `max.connections.per.ip`.
    pub connections_per_address_max: usize,
    /// `connections.max.idle.ms`.
    pub idle: Duration,
    /// `fetch.max.bytes`: the most bytes of records in one answer.
    pub fetch_bytes_max: u64,
    /// `max.incremental.fetch.session.cache.slots`, over all cores.
    pub fetch_sessions_max: usize,
    /// What concerns consumer groups and is fixed while the broker runs.
    pub groups: GroupsConfig,
    /// `cores`, the processors' number filled in for 0; at least 1.
    pub cores: usize,
    /// `io`.
    pub io: IoKind,
    /// `request.memory.bytes`, for the whole process.
    pub request_memory_bytes: usize,
    /// `partitions.max`, of all topics.
    pub partitions_max: i64,
    /// `unsynced.bytes.max`, per partition.
    pub unsynced_bytes_max: u64,
    /// `disk.free.bytes.min` and `disk.reserve.bytes`.
    pub disk_space: SpaceLimits,
    /// `scrub.interval.hours` and `scrub.bytes.per.second`; `None`: never.
    pub scrub: Option<ScrubPace>,
    /// `log.cleaner.backoff.ms`.
    pub compaction_backoff: Duration,
    /// `log.cleaner.io.max.bytes.per.second`, at least 1, for the whole process.
    pub compaction_bytes_per_second: u64,
    /// `tcp.congestion.control`; `None`: the system's.
    pub congestion_control: Option<String>,
    /// `log.level`: directives for tracing's filter.
    pub log_level: String,
    /// `log.format`.
    pub log_format: LogFormat,
    /// `[topic]`.
    pub topic_defaults: Arc<TopicDefaults>,
    values: Vec<Value>,
}

impl BrokerConfig {
    /// A configuration out of full names and values alone, without file or environment, as if each were given by a flag: for
    /// embedding and tests. For example `[("broker.log.dirs", "data"), ("ringmill.cores", "2")]`.
    ///
    /// # Errors
    /// As [`raw::load`].
    pub fn from_settings(settings: &[(&str, &str)]) -> Result<BrokerConfig, ConfigErrors> {
        let sources = settings
            .iter()
            .fold(Sources::default(), |sources, (name, value)| sources.flag("--set", name, Some((*value).to_owned())));
        raw::load(&sources)
    }

    /// Every setting with its value in effect and its place, section by section.
    pub fn values(&self) -> impl Iterator<Item = &Value> {
        self.values.iter()
    }

    /// Folds assignments, weakest first, over the tables' defaults.
    pub(super) fn resolve(assigned: Vec<Value>) -> Result<BrokerConfig, ConfigErrors> {
        let mut values: Vec<Value> = Section::ALL.into_iter().flat_map(tables::of).map(Value::at_default).collect();
        for value in assigned {
            let row = values
                .iter_mut()
                .find(|row| row.setting == value.setting)
                .expect("assigned settings are in the tables");
            *row = value;
        }
        let mut problems = Vec::new();
        let topic_values: Vec<_> =
            values.iter().filter(|value| value.setting.section == Section::Topic).cloned().collect();
        let read = Read { values: &values };
        let unsynced_bytes_max = read.bytes(Section::Ringmill, "unsynced.bytes.max") as u64;
        let topic_defaults = TopicDefaults::new(&topic_values, unsynced_bytes_max);
        let topic_defaults = topic_defaults.map_err(|error| {
            let place = read.value(Section::Topic, &error.name).place.clone();
            Problem { place, what: error.to_string() }
        });
        let listen = keep(read.parsed(Section::Broker, "listeners", listen_address), &mut problems);
        let advertised = read.parsed(Section::Broker, "advertised.listeners", advertised_address);
        let advertised = keep(advertised, &mut problems);
        let data_dir = keep(read.parsed(Section::Broker, "log.dirs", data_dir), &mut problems);
        keep(read.parsed(Section::Ringmill, "log.level", logging::check_level), &mut problems);
        let topic_defaults = keep(topic_defaults, &mut problems);
        keep(read.check_request_memory(), &mut problems);
        let groups = keep(read.groups(), &mut problems);
        let (Some(listen), Some(advertised), Some(data_dir), Some(topic_defaults), Some(groups)) =
            (listen, advertised, data_dir, topic_defaults, groups)
        else {
            return Err(ConfigErrors(problems));
        };
        if !problems.is_empty() {
            return Err(ConfigErrors(problems));
        }
        Ok(BrokerConfig {
            node_id: read.int(Section::Broker, "node.id"),
            listen,
            advertised,
            data_dir,
            num_partitions: read.int(Section::Broker, "num.partitions"),
            auto_create_topics: read.value(Section::Broker, "auto.create.topics.enable").boolean(),
            request_bytes_max: read.bytes(Section::Broker, "socket.request.max.bytes"),
            connections_max: read.bytes(Section::Broker, "max.connections"),
            connections_per_address_max: read.bytes(Section::Broker, "max.connections.per.ip"),
            idle: Duration::from_millis(read.bytes(Section::Broker, "connections.max.idle.ms") as u64),
            fetch_bytes_max: read.bytes(Section::Broker, "fetch.max.bytes") as u64,
            fetch_sessions_max: read.bytes(Section::Broker, "max.incremental.fetch.session.cache.slots"),
            groups,
            cores: cores(read.bytes(Section::Ringmill, "cores")),
            io: io_kind(read.text(Section::Ringmill, "io")),
            request_memory_bytes: read.bytes(Section::Ringmill, "request.memory.bytes"),
            partitions_max: read.value(Section::Ringmill, "partitions.max").integer(),
            unsynced_bytes_max,
            disk_space: read.disk_space(),
            scrub: read.scrub(),
            compaction_backoff: Duration::from_millis(read.bytes(Section::Broker, "log.cleaner.backoff.ms") as u64),
            compaction_bytes_per_second: whole_number(
                read.text(Section::Broker, "log.cleaner.io.max.bytes.per.second"),
            ),
            congestion_control: read.name(Section::Ringmill, "tcp.congestion.control"),
            log_level: read.text(Section::Ringmill, "log.level").to_owned(),
            log_format: match read.text(Section::Ringmill, "log.format") {
                "text" => LogFormat::Text,
                "json" => LogFormat::Json,
                _ => LogFormat::Auto,
            },
            topic_defaults: Arc::new(topic_defaults),
            values,
        })
    }
}

fn keep<T>(result: Result<T, Problem>, problems: &mut Vec<Problem>) -> Option<T> {
    result.map_err(|problem| problems.push(problem)).ok()
}

/// Finds checked values by name.
struct Read<'a> {
    values: &'a [Value],
}

impl<'a> Read<'a> {
    fn value(&self, section: Section, name: &str) -> &'a Value {
        let found = self.values.iter().find(|value| value.setting.section == section && value.setting.name == name);
        found.expect("the tables have this setting")
    }

    fn text(&self, section: Section, name: &str) -> &'a str {
        &self.value(section, name).text
    }

    fn int(&self, section: Section, name: &str) -> i32 {
        i32::try_from(self.value(section, name).integer()).expect("the table bounds this setting to 32 bits")
    }

    fn bytes(&self, section: Section, name: &str) -> usize {
        usize::try_from(self.value(section, name).integer()).expect("the table admits no negative number here")
    }

    /// A text that may be left out.
    fn name(&self, section: Section, name: &str) -> Option<String> {
        Some(self.text(section, name)).filter(|text| !text.is_empty()).map(str::to_owned)
    }

    fn disk_space(&self) -> SpaceLimits {
        SpaceLimits {
            free_bytes_min: self.bytes(Section::Ringmill, "disk.free.bytes.min") as u64,
            reserve_bytes: self.bytes(Section::Ringmill, "disk.reserve.bytes") as u64,
        }
    }

    fn scrub(&self) -> Option<ScrubPace> {
        let hours = self.bytes(Section::Ringmill, "scrub.interval.hours") as u64;
        let bytes_per_second = self.bytes(Section::Ringmill, "scrub.bytes.per.second") as u64;
        (hours > 0).then(|| ScrubPace { interval: Duration::from_secs(hours * 3600), bytes_per_second })
    }

    /// The largest request must fit into the memory for requests, or it would wait for ever.
    fn check_request_memory(&self) -> Result<(), Problem> {
        let memory = self.value(Section::Ringmill, "request.memory.bytes");
        let request_bytes_max = self.value(Section::Broker, "socket.request.max.bytes").integer();
        if memory.integer() - SMALL_FRAMES_BYTES >= request_bytes_max {
            return Ok(());
        }
        let what = format!(
            "{} = {} is refused: the largest request (broker.socket.request.max.bytes = {request_bytes_max}) does not fit into it \
             beside the {SMALL_FRAMES_BYTES} kept for small ones; raise the one or lower the other",
            memory.setting.full_name(),
            memory.text,
        );
        Err(Problem { place: memory.place.clone(), what })
    }

    /// Most settings of groups change while the broker runs; what it starts with must fit together all the same.
    fn groups(&self) -> Result<GroupsConfig, Problem> {
        groups::resolve(|name| self.text(Section::Broker, name)).map_err(|error| {
            let value = self.value(Section::Broker, &error.name);
            Problem { place: value.place.clone(), what: format!("{}: {}", value.setting.full_name(), error.why) }
        })?;
        let protocols = "group.coordinator.rebalance.protocols";
        Ok(GroupsConfig {
            consumer_protocol: self.parsed(Section::Broker, protocols, groups::knows_consumer_protocol)?,
            offsets_partitions: self.int(Section::Broker, "offsets.topic.num.partitions"),
            offsets_segment_bytes: self.bytes(Section::Broker, "offsets.topic.segment.bytes") as u64,
            memory_bytes: self.bytes(Section::Ringmill, "groups.memory.bytes"),
        })
    }

    fn parsed<T>(&self, section: Section, name: &str, parse: impl Fn(&str) -> Result<T, String>) -> Result<T, Problem> {
        let value = self.value(section, name);
        parse(&value.text).map_err(|why| Problem {
            place: value.place.clone(),
            what: format!("{} = {:?} is refused: {why}", value.setting.full_name(), value.text),
        })
    }
}

fn cores(asked: usize) -> usize {
    match asked {
        0 => std::thread::available_parallelism().map_or(1, usize::from),
        cores => cores,
    }
}

fn io_kind(text: &str) -> IoKind {
    match text {
        "uring" => IoKind::Uring,
        "posix" => IoKind::Posix,
        _ => IoKind::Auto,
    }
}

fn listen_address(text: &str) -> Result<SocketAddr, String> {
    let (host, port) = host_and_port(text)?;
    // Kafka's way to say "all interfaces" is an empty host.
    let host = if host.is_empty() { "0.0.0.0" } else { host };
    let found =
        (host, port).to_socket_addrs().map_err(|error| format!("the host {host} is not known here: {error}"))?;
    found.into_iter().next().ok_or_else(|| format!("the host {host} has no address"))
}

fn advertised_address(text: &str) -> Result<Option<AdvertisedAddress>, String> {
    if text.is_empty() {
        return Ok(None);
    }
    match host_and_port(text)? {
        ("", _) => Err("clients need a host name or an address; write HOST:PORT".to_owned()),
        ("0.0.0.0" | "::", _) => {
            Err("clients cannot dial this address; write one that reaches this machine".to_owned())
        }
        (_, 0) => Err("clients cannot dial port 0; write the port that reaches this machine".to_owned()),
        (host, port) => Ok(Some(AdvertisedAddress { host: host.to_owned(), port })),
    }
}

/// `HOST:PORT`, `[v6]:PORT` or `:PORT`, with or without `PLAINTEXT://`.
fn host_and_port(text: &str) -> Result<(&str, u16), String> {
    if text.contains(',') {
        return Err("one address is supported, not a list".to_owned());
    }
    let address = match text.split_once("://") {
        Some(("PLAINTEXT", address)) => address,
        Some((protocol, _)) => {
            return Err(format!("the protocol {protocol} is not supported; write PLAINTEXT://HOST:PORT"));
        }
        None => text,
    };
    let Some((host, port)) = address.rsplit_once(':') else {
        return Err("expected HOST:PORT, for example 127.0.0.1:9092".to_owned());
    };
    let port = port.parse().map_err(|_| format!("{port:?} is not a port; expected a number from 0 to 65535"))?;
    let host = match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(v6) => v6,
        None if host.contains(':') => return Err("write an IPv6 address in brackets: [::1]:9092".to_owned()),
        None => host,
    };
    Ok((host, port))
}

fn data_dir(text: &str) -> Result<PathBuf, String> {
    match text {
        "" => Err("a data directory is needed; write its path".to_owned()),
        _ if text.contains(',') => Err("exactly one data directory is supported, not a list".to_owned()),
        _ => Ok(PathBuf::from(text)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn listeners_are_read_in_kafkas_form_and_in_the_plain_one() {
        let check = |text: &str, expected: Result<&str, &str>| match (listen_address(text), expected) {
            (Ok(address), Ok(expected)) => assert_eq!(address.to_string(), expected, "{text}"),
            (Err(why), Err(part)) => assert!(why.contains(part), "{text}: {why}"),
            (got, _) => panic!("{text}: {got:?}"),
        };
        check("127.0.0.1:9092", Ok("127.0.0.1:9092"));
        check("PLAINTEXT://127.0.0.1:0", Ok("127.0.0.1:0"));
        check("PLAINTEXT://:9092", Ok("0.0.0.0:9092"));
        check("[::1]:9092", Ok("[::1]:9092"));
        check("::1:9092", Err("in brackets"));
        check("SASL_SSL://h:1", Err("SASL_SSL is not supported"));
        check("127.0.0.1", Err("expected HOST:PORT"));
        check("127.0.0.1:99999", Err("not a port"));
        check("127.0.0.1:1,127.0.0.1:2", Err("not a list"));
    }

    #[test]
    fn advertised_addresses_must_be_dialable() {
        assert_eq!(advertised_address(""), Ok(None));
        let expected = AdvertisedAddress { host: "logs.example.org".to_owned(), port: 9092 };
        assert_eq!(advertised_address("PLAINTEXT://logs.example.org:9092"), Ok(Some(expected)));
        for text in ["0.0.0.0:9092", ":9092", "host:0", "host"] {
            assert!(advertised_address(text).is_err(), "{text}");
        }
    }

    #[test]
    fn settings_given_in_code_resolve() {
        let config = BrokerConfig::from_settings(&[("broker.log.dirs", "d"), ("ringmill.cores", "3")]).unwrap();
        assert_eq!((config.cores, config.data_dir), (3, PathBuf::from("d")));
        assert!(BrokerConfig::from_settings(&[]).unwrap().cores >= 1);
    }

    #[test]
    fn contradictions_between_settings_name_the_place_of_one() {
        let settings = [("topic.max.message.bytes", "2000000"), ("ringmill.unsynced.bytes.max", "1048576")];
        let message = BrokerConfig::from_settings(&settings).unwrap_err().to_string();
        assert!(message.starts_with("flag --set: topic setting max.message.bytes: 2000000 is more than"), "{message}");
    }
}
