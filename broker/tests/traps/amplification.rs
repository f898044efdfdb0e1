//! Small requests that would cost much: frames whose arrays take many times their bytes in memory, and the same thing asked for again
//! and again. Memory is what the kernel counted at most for the broker's whole process.
//!
//! `bad_input::answers_do_not_grow_beyond_measure` has the limits on how much one request may name.

use std::fs;

use ringmill_net::wire::ApiKey;
use ringmill_net::wire::ErrorCode;
use ringmill_net::wire::messages::describe_configs::{
    BROKER_RESOURCE, DescribeConfigsRequest, DescribeConfigsResource, DescribeConfigsResponse,
};
use ringmill_net::wire::messages::list_offsets::{
    ListOffsetsPartition, ListOffsetsRequest, ListOffsetsResponse, ListOffsetsTopic,
};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};

use crate::raw::process::Process;
use crate::raw::{Raw, batch};
use crate::{OK, with_logs};

/// The body of a request: an array of things with an array in each, all alike.
struct Nest {
    key: ApiKey,
    version: i16,
    before: &'static [u8],
    head: &'static [u8],
    entry: &'static [u8],
    tail: &'static [u8],
    after: &'static [u8],
}

/// The smallest entries of the APIs that have an array in an array, in flexible versions: strings are empty and take one byte.
const NESTS: &[Nest] = &[
    nest(ApiKey::DescribeConfigs, 4, &[], &[2, 1], &[1], &[0], &[0, 0, 0]),
    nest(ApiKey::AlterConfigs, 2, &[], &[2, 1], &[1, 1, 0], &[0], &[0, 0]),
    nest(ApiKey::IncrementalAlterConfigs, 1, &[], &[2, 1], &[1, 0, 1, 0], &[0], &[0, 0]),
    nest(ApiKey::CreateTopics, 5, &[], &[1, 0, 0, 0, 1, 0, 1, 1], &[1, 1, 0], &[0], &[0, 0, 0, 9, 0, 0]),
    nest(
        ApiKey::CreateTopics,
        5,
        &[],
        &[1, 255, 255, 255, 255, 0, 1],
        &[0, 0, 0, 0, 1, 0],
        &[1, 0],
        &[0, 0, 0, 9, 0, 0],
    ),
    nest(ApiKey::CreatePartitions, 3, &[], &[1, 0, 0, 0, 9], &[1, 0], &[0], &[0, 0, 0, 9, 0, 0]),
    nest(ApiKey::Produce, 9, &[0, 0, 1, 0, 0, 0, 9], &[1], &[0, 0, 0, 0, 0, 0], &[0], &[0]),
    nest(ApiKey::DescribeLogDirs, 4, &[], &[1], &[0, 0, 0, 0], &[0], &[0]),
    nest(ApiKey::DescribeProducers, 0, &[], &[1], &[0, 0, 0, 0], &[0], &[0]),
];

const fn nest(
    key: ApiKey,
    version: i16,
    before: &'static [u8],
    head: &'static [u8],
    entry: &'static [u8],
    tail: &'static [u8],
    after: &'static [u8],
) -> Nest {
    Nest { key, version, before, head, entry, tail, after }
}

impl Nest {
    /// A frame of about `bytes`, whose arrays have `entries` each or fewer.
    fn frame(&self, bytes: usize, entries: usize) -> Vec<u8> {
        let entries = entries.min(bytes / self.entry.len());
        let one = [self.head, &count(entries), &self.entry.repeat(entries), self.tail].concat();
        let many = bytes.div_ceil(one.len());
        let mut frame =
            [&self.key.code().to_be_bytes()[..], &self.version.to_be_bytes(), &[0; 4], &[0, 1, b'x', 0]].concat();
        frame.extend([self.before, &count(many), &one.repeat(many), self.after].concat());
        [&u32::try_from(frame.len()).unwrap().to_be_bytes()[..], &frame].concat()
    }
}

/// A count of entries as flexible messages write it.
fn count(entries: usize) -> Vec<u8> {
    let mut rest = entries + 1;
    let mut bytes = Vec::new();
    while rest > 0x7f {
        bytes.push(u8::try_from(rest & 0x7f).unwrap() | 0x80);
        rest >>= 7;
    }
    bytes.push(u8::try_from(rest).unwrap());
    bytes
}

/// The most memory that the process ever had, in MiB.
fn peak_mib(broker: &Process) -> usize {
    let status = fs::read_to_string(format!("/proc/{}/status", broker.pid().as_raw_nonzero())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().strip_suffix(" kB").unwrap().parse::<usize>().unwrap() / 1024
}

/// A frame of 48 MiB once made a broker of 1400 MiB, and its core was busy for seconds.
#[test]
fn arrays_of_next_to_nothing_do_not_fill_the_memory() {
    let dir = tempfile::tempdir().unwrap();
    let broker = Process::start(dir.path(), "auto");
    let mut witness = Raw::connect(broker.address);
    assert_eq!(witness.create_topic("logs", 1, &[]), OK);
    let before = peak_mib(&broker);
    for nest in NESTS {
        for entries in [1, 999_999] {
            let mut client = Raw::connect(broker.address);
            client.send_bytes(&nest.frame(24 << 20, entries));
            assert!(client.receive().is_none(), "{:?} with {entries} entries each", nest.key);
        }
        assert_eq!(witness.produce("logs", 0, batch(1, 1)).error, OK, "after {:?}", nest.key);
        let more = peak_mib(&broker) - before;
        // Some of a frame, as it grows and grows again, and the arrays; it would be five times as much without a bound.
        assert!(more < 200, "{more} MiB for {:?}", nest.key);
    }
}

/// To search by time may be to decompress a batch, and a broker with all its settings and their meaning is 13 kB.
#[test]
fn what_is_named_twice_is_refused_or_answered_once() {
    let (broker, mut client, _dir) = with_logs(2, &[]);
    assert_eq!(client.produce("logs", 0, batch(3, 1)).error, OK);
    let twice = ErrorCode::InvalidRequest.code();

    let asked = |partition_index| ListOffsetsPartition { partition_index, timestamp: 0, current_leader_epoch: -1 };
    let topic = |partitions| ListOffsetsTopic { name: "logs", partitions };
    let topics = vec![topic(vec![asked(0), asked(1)]), topic(vec![asked(0)])];
    let frame = client.call(&ListOffsetsRequest { topics, ..ListOffsetsRequest::default() }, 7);
    let found: ListOffsetsResponse<'_> = frame.decode(7);
    let errors = found.topics.iter().flat_map(|topic| &topic.partitions).map(|partition| partition.error_code);
    assert_eq!(errors.collect::<Vec<_>>(), [twice, OK, twice]);

    let broker_resource = DescribeConfigsResource {
        resource_type: BROKER_RESOURCE,
        resource_name: "",
        ..DescribeConfigsResource::default()
    };
    let request =
        DescribeConfigsRequest { resources: vec![broker_resource; 5000], ..DescribeConfigsRequest::default() };
    let frame = client.call(&request, 4);
    assert_eq!(frame.decode::<DescribeConfigsResponse<'_>>(4).results.len(), 1);
    broker.stop();
}

#[test]
fn nobody_names_hundreds_of_thousands_of_settings_or_topics() {
    let (broker, _, _dir) = with_logs(1, &[]);
    let mut client = Raw::connect(broker.address());
    let resource = DescribeConfigsResource {
        resource_type: BROKER_RESOURCE,
        configuration_keys: Some(vec!["k"; 50_001]),
        ..DescribeConfigsResource::default()
    };
    let resources = vec![resource; 2];
    client.send(&DescribeConfigsRequest { resources, ..DescribeConfigsRequest::default() }, 4, Vec::new());
    assert!(client.receive().is_none());
    let mut client = Raw::connect(broker.address());
    let topics = Some(vec![MetadataRequestTopic::default(); 100_001]);
    client.send(&MetadataRequest { topics, ..MetadataRequest::default() }, 12, Vec::new());
    assert!(client.receive().is_none());
    broker.stop();
}
