//! Writes the corpus anew: one sound input or a few for every driver, for mutations to start from.
//!
//! `cargo run -p ringmill-fuzz --example write_corpus`; run it when a driver or a message is added. Inputs that once broke
//! something have names of their own and stay.

use std::fs;
use std::io;

use ringmill_batch::{BatchBuilder, Codec, LeaderEpoch, Offset, check_stored, compress, stamp};
use ringmill_engine::producer_state::ProducerState;
use ringmill_fuzz::seeded::corpus_directory;
use ringmill_net::Piece;
use ringmill_net::wire::api::SERVED;
use ringmill_net::wire::messages::fetch::{FetchPartition, FetchRequest, FetchResponse, FetchTopic};
use ringmill_net::wire::messages::fetch::{FetchableTopicResponse, PartitionData};
use ringmill_net::wire::messages::metadata::{MetadataRequest, MetadataRequestTopic};
use ringmill_net::wire::messages::produce::{PartitionProduceData, ProduceRequest, TopicProduceData};
use ringmill_net::wire::{ApiKey, Message, Records, encode_request};

fn main() -> io::Result<()> {
    batches()?;
    requests()?;
    responses()?;
    engine()?;
    texts()?;
    scripts()
}

fn put(target: &str, name: &str, bytes: &[u8]) -> io::Result<()> {
    let directory = corpus_directory(target);
    fs::create_dir_all(&directory)?;
    fs::write(directory.join(name), bytes)
}

/// Three records with a key, a null and a header among them.
fn batch(codec: Codec, base_offset: i64) -> Vec<u8> {
    let mut builder = BatchBuilder::new(codec, None);
    builder.producer(7, 0, 40);
    builder.push(1_700_000_000_000, Some(b"host"), Some(b"a line, a line, a line, a line, a line"), &[]);
    builder.push(1_700_000_000_001, None, None, &[(b"name", Some(b"value")), (b"name", None)]);
    builder.push(1_699_999_999_000, Some(b""), Some(b""), &[]);
    let mut batch = builder.finish();
    let base_offset = Offset::new(base_offset).expect("it is positive");
    stamp(&mut batch, base_offset, LeaderEpoch::ZERO);
    batch.to_vec()
}

fn batches() -> io::Result<()> {
    for (choice, codec) in (0_u8..).zip(Codec::ALL) {
        put("batch_check", codec.name(), &batch(codec, 0))?;
        put("batch_records", codec.name(), &batch(codec, 0))?;
        let packed = compress(codec, None, &b"a line that comes again, ".repeat(20));
        put("batch_decompress", codec.name(), &[&[choice], &packed[..]].concat())?;
    }
    let raw_snappy = [2, 12, 44, b'h', b'e', b'l', b'l', b'o', b' ', b'w', b'o', b'r', b'l', b'd', b'!'];
    put("batch_decompress", "snappy-raw", &raw_snappy)
}

/// A request's frame, its length included.
fn frame<'a, M: Message<'a>>(message: &M, version: i16, records: Vec<Piece>) -> Vec<u8> {
    let bytes = |piece: Piece| match piece {
        Piece::Bytes(bytes) => bytes,
        Piece::File { .. } => unreachable!("no files are sent here"),
    };
    encode_request(message, version, 9, Some("corpus"), records).into_iter().flat_map(bytes).collect()
}

fn requests() -> io::Result<()> {
    let mut stream = vec![100];
    for api in SERVED {
        for version in [api.version_min, api.version_max] {
            let frame = request(api.key, version);
            put("wire_requests", &format!("{:?}-{version}", api.key), &frame[4..])?;
            stream.extend(frame);
        }
    }
    put("wire_frames", "all", &stream)?;
    stream[0] = 3;
    put("wire_frames", "all-in-small-pieces", &stream[..400])?;
    put("wire_frames", "negative", &[9, 0xFF, 0xFF, 0xFF, 0xFF, 0, 0])?;
    put("wire_frames", "too-long", &[9, 0, 0, 16, 1, 0, 0])
}

/// A request with something in it where the codec has structure, the default message elsewhere.
fn request(key: ApiKey, version: i16) -> Vec<u8> {
    match key {
        ApiKey::Produce => {
            let batch = batch(Codec::None, 0);
            let records = Some(Records::of_length(batch.len()));
            let partition_data = vec![PartitionProduceData { index: 1, records }];
            let topic = TopicProduceData { name: "logs", topic_id: [7; 16], partition_data };
            let message = ProduceRequest { acks: -1, timeout_ms: 1000, topic_data: vec![topic], ..Default::default() };
            frame(&message, version, vec![Piece::Bytes(batch.into())])
        }
        ApiKey::Fetch => {
            let partitions = vec![FetchPartition { partition: 1, partition_max_bytes: 1 << 20, ..Default::default() }];
            let topics = vec![FetchTopic { topic: "logs", topic_id: [7; 16], partitions }];
            frame(&FetchRequest { max_wait_ms: 100, topics, rack_id: "r", ..Default::default() }, version, vec![])
        }
        ApiKey::Metadata => {
            let topics = Some(vec![MetadataRequestTopic { name: Some("logs"), ..Default::default() }]);
            frame(&MetadataRequest { topics, ..Default::default() }, version, vec![])
        }
        other => default_request(other, version),
    }
}

fn default_request(key: ApiKey, version: i16) -> Vec<u8> {
    use ringmill_net::wire::messages::*;
    match key {
        ApiKey::ListOffsets => frame(&list_offsets::ListOffsetsRequest::default(), version, vec![]),
        ApiKey::FindCoordinator => frame(&find_coordinator::FindCoordinatorRequest::default(), version, vec![]),
        ApiKey::ApiVersions => frame(&api_versions::ApiVersionsRequest::default(), version, vec![]),
        ApiKey::CreateTopics => frame(&create_topics::CreateTopicsRequest::default(), version, vec![]),
        ApiKey::DeleteTopics => frame(&delete_topics::DeleteTopicsRequest::default(), version, vec![]),
        ApiKey::InitProducerId => frame(&init_producer_id::InitProducerIdRequest::default(), version, vec![]),
        ApiKey::CreatePartitions => frame(&create_partitions::CreatePartitionsRequest::default(), version, vec![]),
        ApiKey::DeleteRecords => frame(&delete_records::DeleteRecordsRequest::default(), version, vec![]),
        ApiKey::DescribeConfigs => frame(&describe_configs::DescribeConfigsRequest::default(), version, vec![]),
        ApiKey::AlterConfigs => frame(&alter_configs::AlterConfigsRequest::default(), version, vec![]),
        ApiKey::IncrementalAlterConfigs => {
            frame(&incremental_alter_configs::IncrementalAlterConfigsRequest::default(), version, vec![])
        }
        ApiKey::ListConfigResources => {
            frame(&list_config_resources::ListConfigResourcesRequest::default(), version, vec![])
        }
        ApiKey::DescribeCluster => frame(&describe_cluster::DescribeClusterRequest::default(), version, vec![]),
        ApiKey::DescribeTopicPartitions => {
            frame(&describe_topic_partitions::DescribeTopicPartitionsRequest::default(), version, vec![])
        }
        ApiKey::DescribeLogDirs => frame(&describe_log_dirs::DescribeLogDirsRequest::default(), version, vec![]),
        ApiKey::DescribeProducers => frame(&describe_producers::DescribeProducersRequest::default(), version, vec![]),
        ApiKey::OffsetForLeaderEpoch => {
            frame(&offset_for_leader_epoch::OffsetForLeaderEpochRequest::default(), version, vec![])
        }
        other => group_request(other, version),
    }
}

/// A request of a member of a group, or of who looks after groups.
fn group_request(key: ApiKey, version: i16) -> Vec<u8> {
    use ringmill_net::wire::messages::*;
    match key {
        ApiKey::JoinGroup => {
            let protocols = vec![join_group::JoinGroupRequestProtocol { name: "range", metadata: b"told" }];
            let message = join_group::JoinGroupRequest { group_id: "g", protocols, ..Default::default() };
            frame(&message, version, vec![])
        }
        ApiKey::SyncGroup => {
            let assignments = vec![sync_group::SyncGroupRequestAssignment { member_id: "m", assignment: b"given" }];
            let message = sync_group::SyncGroupRequest { group_id: "g", assignments, ..Default::default() };
            frame(&message, version, vec![])
        }
        ApiKey::Heartbeat => frame(&heartbeat::HeartbeatRequest::default(), version, vec![]),
        ApiKey::LeaveGroup => {
            let members = vec![leave_group::MemberIdentity { member_id: "m", ..Default::default() }];
            frame(&leave_group::LeaveGroupRequest { group_id: "g", members, ..Default::default() }, version, vec![])
        }
        ApiKey::OffsetCommit => {
            let partitions = vec![offset_commit::OffsetCommitRequestPartition::default()];
            let topic = offset_commit::OffsetCommitRequestTopic { name: "logs", topic_id: [7; 16], partitions };
            let message = offset_commit::OffsetCommitRequest { topics: vec![topic], ..Default::default() };
            frame(&message, version, vec![])
        }
        ApiKey::OffsetFetch => {
            let groups = vec![offset_fetch::OffsetFetchRequestGroup { group_id: "g", ..Default::default() }];
            frame(&offset_fetch::OffsetFetchRequest { groups, ..Default::default() }, version, vec![])
        }
        ApiKey::OffsetDelete => frame(&offset_delete::OffsetDeleteRequest::default(), version, vec![]),
        ApiKey::DescribeGroups => {
            let message = describe_groups::DescribeGroupsRequest { groups: vec!["g"], ..Default::default() };
            frame(&message, version, vec![])
        }
        ApiKey::ListGroups => {
            let (states_filter, types_filter) = (vec!["Stable"], vec!["classic"]);
            frame(&list_groups::ListGroupsRequest { states_filter, types_filter }, version, vec![])
        }
        ApiKey::DeleteGroups => frame(&delete_groups::DeleteGroupsRequest { groups_names: vec!["g"] }, version, vec![]),
        ApiKey::ConsumerGroupHeartbeat => {
            let owned = consumer_group_heartbeat::TopicPartitions { topic_id: [7; 16], partitions: vec![0, 1] };
            let message = consumer_group_heartbeat::ConsumerGroupHeartbeatRequest {
                subscribed_topic_names: Some(vec!["logs"]),
                topic_partitions: Some(vec![owned]),
                ..Default::default()
            };
            frame(&message, version, vec![])
        }
        ApiKey::ConsumerGroupDescribe => {
            let message =
                consumer_group_describe::ConsumerGroupDescribeRequest { group_ids: vec!["g"], ..Default::default() };
            frame(&message, version, vec![])
        }
        other => unreachable!("{other:?} is not served yet"),
    }
}

fn responses() -> io::Result<()> {
    // Zeros are a sound answer of most versions: no error, nothing in the arrays.
    for choice in 0..20_u8 {
        put("wire_responses", &format!("zeros-{choice}"), &[&[choice, 3][..], &[0; 60]].concat())?;
    }
    let batch = batch(Codec::None, 0);
    let records = Some(Records::of_length(batch.len()));
    let partitions = vec![PartitionData { partition_index: 1, records, ..Default::default() }];
    let topic = FetchableTopicResponse { topic: "logs", topic_id: [7; 16], partitions };
    let message = FetchResponse { responses: vec![topic], ..Default::default() };
    put("client_answers", "zeros", &[&[0, 0, 3][..], &[&[0, 60][..], &[0; 60]].concat().repeat(6)].concat())?;
    for version in [4_u8, 11, 18] {
        // Length, correlation id and, where flexible, an empty tagged section stand before the body.
        let header_bytes = if version < 12 { 8 } else { 9 };
        let response =
            ringmill_net::wire::encode_response(&message, version.into(), 0, vec![Piece::Bytes(batch.clone().into())]);
        let frame: Vec<u8> = response
            .into_pieces()
            .into_iter()
            .flat_map(|piece| match piece {
                Piece::Bytes(bytes) => bytes,
                Piece::File { .. } => unreachable!("no files are sent here"),
            })
            .collect();
        put("wire_responses", &format!("fetch-{version}"), &[&[1, version - 4], &frame[header_bytes..]].concat())?;
        // To a consumer at offset 5 that checks checksums, with versions narrowed to this one or not.
        let narrowed = if version == 18 { 0 } else { 7 };
        let told = [&[narrowed, 1, 0][..], &piece(&frame[header_bytes..])].concat();
        put("client_answers", &format!("fetch-{version}"), &told)?;
    }
    Ok(())
}

fn engine() -> io::Result<()> {
    let mut producers = ProducerState::new();
    let (mut log, mut offset_index) = (Vec::new(), Vec::new());
    for (index, codec) in (0_u8..).zip(Codec::ALL) {
        let batch = batch(codec, i64::from(index) * 3);
        let header = check_stored(&batch).expect("it is sound");
        producers.advance(&header, 1_700_000_000_000);
        if index > 0 {
            offset_index.extend((u32::from(index) * 3 + 2).to_be_bytes());
            offset_index.extend(u32::try_from(log.len()).expect("it is short").to_be_bytes());
        }
        log.extend(batch);
    }
    let time_index = [&1_700_000_000_001_i64.to_be_bytes()[..], &2_u32.to_be_bytes()].concat();
    put("engine_producers", "one", &producers.encode(Offset::new(100).expect("it is positive")))?;
    put("engine_producers", "none", &[0; 4])?;
    let lengths =
        [offset_index.len(), time_index.len()].map(|length| u16::try_from(length).expect("it is short").to_be_bytes());
    let files = [lengths.concat(), offset_index, time_index, log.clone()].concat();
    put("engine_verify", "segment", &files)?;
    put("engine_verify", "with-zeros", &[&[0; 4][..], &log, &[0; 500]].concat())?;
    recovery(&log)?;
    let meta = [&[7; 16][..], &[0; 4], &[0; 8], &[0, 0, 0, 1], &[0; 12]].concat();
    put("engine_small_files", "meta", &[&[1, 1][..], &meta].concat())?;
    let superblock = [&[1; 16][..], &[2; 16], &[0, 0, 0, 1], &[0; 17]].concat();
    put("engine_small_files", "superblock", &[&[0, 1][..], &superblock].concat())?;
    let entry =
        [&[7; 16][..], &[0; 4], &[0, 0, 0, 0, 0, 0, 0, 9], &[0, 0, 0, 0, 4, 0, 0, 0], &[0, 0, 0, 1], &[0; 24]].concat();
    put("engine_small_files", "checkpoint", &[&[2, 1, 0, 0, 0, 1][..], &entry].concat())
}

/// A file in an input of the recovery driver.
fn file(kind: u8, base: u8, contents: &[u8]) -> Vec<u8> {
    let length = u16::try_from(contents.len()).expect("it is short").to_be_bytes();
    [&[kind, base, length[0], length[1]], contents].concat()
}

fn recovery(log: &[u8]) -> io::Result<()> {
    const CLEAN: u8 = 1;
    const CHECKPOINT: u8 = 2;
    // Five batches of three records, then one more segment of the same.
    let second = [batch(Codec::None, 15), batch(Codec::Lz4, 18)].concat();
    let both = [file(0, 0, log), file(0, 15, &second)].concat();
    put("engine_recovery", "clean", &[&[CLEAN, 0][..], &both].concat())?;
    put("engine_recovery", "crashed", &[&[0, 0][..], &both].concat())?;
    put("engine_recovery", "clean-with-checkpoint", &[&[CLEAN | CHECKPOINT, 21][..], &both].concat())?;
    put("engine_recovery", "crashed-with-checkpoint", &[&[CHECKPOINT, 18][..], &both].concat())?;
    let mut producers = ProducerState::new();
    producers.advance(&check_stored(log).expect("it is sound"), 1_700_000_000_000);
    let snapshot = producers.encode(Offset::new(15).expect("it is positive"));
    let meta = [&[7; 16][..], &[0; 4], &[0; 8], &[0, 0, 0, 1], &[0; 12]].concat();
    const SOUND: u8 = 130;
    let sound =
        [file(SOUND, 0, log), file(SOUND, 15, &second), file(SOUND + 3, 15, &snapshot), file(SOUND + 4, 0, &meta)];
    put("engine_recovery", "sound-by-construction", &[&[0, 0][..], &sound.concat()].concat())?;
    let zeros = [log, &[0; 300]].concat();
    put("engine_recovery", "secured-space", &[&[CHECKPOINT, 6][..], &file(0, 0, &zeros)].concat())?;
    let mut torn = log.to_vec();
    let end = torn.len();
    torn[end - 150..end - 100].fill(0);
    put("engine_recovery", "torn", &[&[CHECKPOINT, 6][..], &file(0, 0, &torn)].concat())
}

fn texts() -> io::Result<()> {
    let file = b"[broker]\n\"num.partitions\" = 3\nlog.dirs = \"/data\"\n\n[topic]\nretention.ms = 0x10\n\"write.caching\" = true\n\n[ringmill]\ncores = 2\n";
    put("config_file", "sections", file)?;
    put("config_file", "mistakes", b"[brokr]\na = 1\n[topic]\nretention.msx = [1]\nsegment.bytes = 1.5\n")?;
    put(
        "config_file",
        "environment",
        b"topic.segment.ms = \"5\"\n\0BROKER__NUM_PARTITIONS=7\nRINGMILL__IO=posix\nX=1\n",
    )?;
    put("cli_record", "all", br#"{"topic":"t","partition":3,"offset":0,"timestamp_ms":5,"key_hex":"ff00","value":"caf\u00e9","headers":[{"name":"h","value":"1"},{"name_hex":"ff","value":null}]}"#)?;
    put("cli_record", "null", br#"{"key":null,"value":null}"#)?;
    for (name, place) in
        [("ago", "1h30m-ago"), ("time", "2026-11-21T13:00:00.5+01:00"), ("offset", "1000"), ("last", "-10")]
    {
        put("cli_place", name, place.as_bytes())?;
    }
    put("cli_place", "word", b"earliest")
}

/// A piece of bytes with its length, as scripts take them.
fn piece(bytes: &[u8]) -> Vec<u8> {
    [&u16::try_from(bytes.len()).expect("it is short").to_be_bytes(), bytes].concat()
}

/// A member of a classic group that joins, gets its share, commits and comes back after a kill, and a consumer member beside it; by
/// the decisions in `broker/request/groups.rs`.
fn members() -> Vec<u8> {
    let open: &[u8] = &[0, 1, 0, 0, 0];
    // A step that is a request of the only client; then the API.
    let request = |api: u8, says: &[u8]| [&[3, 0, 128 + api][..], says].concat();
    let listen: &[u8] = &[28, 0, 255];
    let join = request(0, &[1, 16, 0, 0, 0, 0, 0, 1, 0, 0, 0]);
    let sync = request(1, &[0, 0, 200, 0, 2, 0, 0, 0]);
    let heartbeat = request(2, &[0, 200, 0, 2, 0]);
    let commit = request(3, &[0, 16, 1, 2, 16, 0, 5, 0, 0, 200, 0, 2, 0, 0]);
    let fetch = request(4, &[7, 16, 200, 1, 2, 0, 0, 0, 2, 1, 0, 0, 0]);
    let beat = request(5, &[1, 16, 1, 1, 1, 2, 0, 0, 1, 0, 0, 0, 1, 1, 0, 0, 1]);
    let describe = request(7, &[0, 16, 0, 1]);
    let list = request(8, &[5, 0, 0]);
    let describe_consumer = request(11, &[0, 16, 1, 1]);
    let killed: &[u8] = &[31, 0];
    let first = [
        open,
        &join,
        listen,
        &sync,
        listen,
        &heartbeat,
        &commit,
        &fetch,
        &beat,
        listen,
        &beat,
        &describe,
        &list,
        &describe_consumer,
    ];
    let second = [listen, killed, open, &heartbeat, &commit, &fetch, &beat, &list, listen];
    [&[0][..], &first.concat(), &second.concat()].concat()
}

/// Inputs that are read step by step: any bytes are a sequence, so a few that look random are a good beginning.
fn scripts() -> io::Result<()> {
    for target in [
        "fetch_sessions",
        "engine_producers_model",
        "config_alterations",
        "broker_requests",
        "engine_disk",
        "engine_log",
    ] {
        let mut state: u32 = 1;
        for name in ["one", "two", "three"] {
            let bytes = std::iter::repeat_with(|| {
                state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
                state.to_be_bytes()[0]
            });
            put(target, name, &bytes.take(600).collect::<Vec<_>>())?;
        }
    }
    put("broker_requests", "members", &members())?;
    let topic = br#"{"id":"67e55044-10b1-426f-9247-bb680e5fe0c8","partitions":3,"placement":2,"created_ms":1,"settings":{"retention.ms":"5"}}"#;
    let rows = [
        &[0][..],
        &piece(b"logs"),
        &piece(topic),
        &[4, 0, 200],
        &[2],
        &piece(b"1"),
        &piece(br#"{"num.partitions":"4"}"#),
    ];
    put("metadata_rows", "topic", &rows.concat())?;
    let deletion = [&[1][..], &piece(b"67e55044-10b1-426f-9247-bb680e5fe0c8"), &piece(b"gone"), &[4, 0, 0, 1, 202]];
    put("metadata_rows", "deletion", &deletion.concat())?;
    // These were taken as they stood.
    let row = |partitions: &str| {
        let id = r#""id":"67e55044-10b1-426f-9247-bb680e5fe0c8""#;
        format!(r#"{{{id},"partitions":{partitions},"placement":2,"created_ms":1,"settings":{{}}}}"#)
    };
    for (name, topic, partitions) in [
        ("a-name-that-leads-elsewhere", "../elsewhere", "1"),
        ("no-partitions", "logs", "0"),
        ("two-billion-partitions", "logs", "2147483647"),
    ] {
        put("metadata_rows", name, &[&[0][..], &piece(topic.as_bytes()), &piece(row(partitions).as_bytes())].concat())?;
    }
    let two = [&[0][..], &piece(b"one"), &piece(topic), &[0], &piece(b"other"), &piece(topic)];
    put("metadata_rows", "an-id-twice", &two.concat())?;
    put("metadata_rows", "the-last-producer-id", &[4, 0, 0, 0, 208])?;
    put("metadata_database", "untouched", &[])?;
    let flipped = [&[0, 0, 9][..], &piece(&[255]), &[0, 16, 8], &piece(&[1, 2, 3, 4]), &[1, 0, 64], &piece(&[0; 16])];
    put("metadata_database", "flipped", &flipped.concat())
}
