//! Why this broker answers an error code, and what a client does then, for the page `net/PROTOCOL.md`.
//!
//! Only compiled for tests: `protocol_page.rs` writes the page from it. A test of the broker holds the page against the codes that its
//! sources name, in both directions.

use super::error_code::ErrorCode;

/// A code that the broker can answer, why it does, and what clients do about it beside trying again or giving up.
pub(crate) struct Cause {
    /// The code.
    pub(crate) code: ErrorCode,
    /// What happened here.
    pub(crate) cause: &'static str,
    /// What ordinary clients do.
    pub(crate) client: &'static str,
}

const fn row(code: ErrorCode, cause: &'static str, client: &'static str) -> Cause {
    Cause { code, cause, client }
}

/// By code.
// A row is a line, for whoever reads the list.
#[rustfmt::skip]
pub(crate) const CAUSES: &[Cause] = &[
    row(ErrorCode::UnknownServerError, "a bug: the handler left a partition unanswered; or a leader's assignment makes its group larger than half a segment of `__consumer_offsets`", "fails the call"),
    row(ErrorCode::None, "no error", "goes on"),
    row(ErrorCode::OffsetOutOfRange, "the offset lies before the log's start or past its end (for DeleteRecords only the latter)", "a consumer goes where `auto.offset.reset` says"),
    row(ErrorCode::CorruptMessage, "a produced batch's CRC-32C is wrong; or a stored one is damaged", "sends or fetches again; a damaged batch stays damaged"),
    row(ErrorCode::UnknownTopicOrPartition, "there is no topic of this name, or it has no such partition", "asks for metadata and tries again until its own deadline"),
    row(ErrorCode::LeaderNotAvailable, "Metadata names more than 100 topics that would be made by asking; this one is not made yet", "asks again, and then it is made"),
    row(ErrorCode::NotLeaderOrFollower, "the partition's queue is full, or it is just closing; nothing was appended", "asks for metadata and sends again"),
    row(ErrorCode::RequestTimedOut, "the batch, or the deletion of records, was not durable within the request's timeout (at least 1 s); it may become so yet", "sends again; an idempotent producer without a second copy"),
    row(ErrorCode::MessageTooLarge, "the batch is larger than the topic's `max.message.bytes`, or too large for a compacted topic", "splits the batch, or fails the record"),
    row(ErrorCode::OffsetMetadataTooLarge, "the words beside a committed offset are longer than `offset.metadata.max.bytes`", "fails the commit"),
    row(ErrorCode::CoordinatorLoadInProgress, "the group's partition of `__consumer_offsets` is being read after a start, or after its disk failed", "asks again"),
    row(ErrorCode::CoordinatorNotAvailable, "the broker stops; or `__consumer_offsets` cannot be made or written: the disk failed or is full, or there are as many partitions as there may be. A commit may have happened", "looks for the coordinator and tries again"),
    row(ErrorCode::InvalidTopicException, "the topic's name is empty, too long, `.`, `..` or has characters other than letters, digits, `.`, `_`, `-`; or it is `__consumer_offsets`, which clients may only read", "fails the call"),
    row(ErrorCode::RecordListTooLarge, "the batch is larger than the topic's `segment.bytes`", "fails the batch"),
    row(ErrorCode::InvalidRequiredAcks, "acks is none of −1, 0 and 1", "fails the call"),
    row(ErrorCode::IllegalGeneration, "the member speaks of another generation of its group than the present one", "joins again; what it committed is lost, and read again by the new owner"),
    row(ErrorCode::InconsistentGroupProtocol, "the member offers no protocol that all the others know, or is of another kind than they", "fails the call"),
    row(ErrorCode::InvalidGroupId, "the group's name is empty, or longer than 1,024 bytes", "fails the call"),
    row(ErrorCode::UnknownMemberId, "the group has no such member: it was silent for longer than its session timeout, has left, or has been replaced", "joins again as a new member"),
    row(ErrorCode::InvalidSessionTimeout, "the session timeout is outside `group.min.session.timeout.ms` and `group.max.session.timeout.ms`", "fails the call"),
    row(ErrorCode::RebalanceInProgress, "the group shares its partitions anew", "joins again"),
    row(ErrorCode::InvalidCommitOffsetSize, "the groups of this partition of `__consumer_offsets` have as many offsets as memory is allowed for", "fails the commit"),
    row(ErrorCode::InvalidTimestamp, "a timestamp outside `message.timestamp.{before,after}.max.ms`, or a producer that claims LogAppendTime", "fails the batch"),
    row(ErrorCode::UnsupportedVersion, "ApiVersions in a version that is not known; the answer has the whole list. ListOffsets by a special time that its version does not have. The consumer protocol of groups where `group.coordinator.rebalance.protocols` does not admit it", "asks again in a version of the list"),
    row(ErrorCode::TopicAlreadyExists, "a topic of this name exists", "fails the call"),
    row(ErrorCode::InvalidPartitions, "a number of partitions that cannot be, or that is no increase; the message says the numbers", "fails the call"),
    row(ErrorCode::InvalidReplicationFactor, "a replication factor other than 1 (or −1): there is one broker", "fails the call"),
    row(ErrorCode::InvalidReplicaAssignment, "partitions assigned to a broker that is not there, or with gaps", "fails the call"),
    row(ErrorCode::InvalidConfig, "a setting that is unknown, out of its range or without effect here; the message names it", "fails the call"),
    row(ErrorCode::InvalidRequest, "the request contradicts itself, or asks for what is not served; the message says which", "fails the call"),
    row(ErrorCode::PolicyViolation, "one request would make more than 10,000 partitions", "fails the call; asked for in parts, it goes"),
    row(ErrorCode::OutOfOrderSequenceNumber, "an idempotent producer's batch is not the next one", "fails the batch; many producers then begin a new epoch"),
    row(ErrorCode::InvalidProducerEpoch, "a newer epoch of this producer has been seen", "the older producer gives up"),
    row(ErrorCode::InvalidTxnState, "a transactional batch: there is no open transaction", "fails the batch"),
    row(ErrorCode::KafkaStorageError, "the partition takes or gives no records: its disk failed or is full, or its files are damaged; the broker's log says more", "asks for metadata and tries again"),
    row(ErrorCode::NonEmptyGroup, "the group has members, so it is not deleted", "fails the call"),
    row(ErrorCode::GroupIdNotFound, "there is no such group, or it speaks the other of the two protocols", "fails the call; a member joins anew"),
    row(ErrorCode::FetchSessionIdNotFound, "a fetch goes on with a session that is not kept, or not by the core of this connection", "begins a new session"),
    row(ErrorCode::InvalidFetchSessionEpoch, "a fetch is not the next one of its session", "begins a new session"),
    row(ErrorCode::FencedLeaderEpoch, "the client knows an older leader epoch than the partition's", "asks for metadata, then checks its position"),
    row(ErrorCode::UnknownLeaderEpoch, "the client knows a newer leader epoch than the partition's", "asks for metadata and tries again"),
    row(ErrorCode::UnsupportedCompressionType, "zstd in a Produce request below version 7", "fails the batch"),
    row(ErrorCode::MemberIdRequired, "a new member is given an id, and is to join with it", "joins with it"),
    row(ErrorCode::GroupMaxSizeReached, "the group has `group.max.size` or `group.consumer.max.size` members; or the groups of its partition of `__consumer_offsets` fill the memory allowed for them; or the group would be larger than half a segment of it", "fails the call"),
    row(ErrorCode::FencedInstanceId, "another process has taken the place of this static member", "fails for good"),
    row(ErrorCode::GroupSubscribedToTopic, "members read the topic, so its offsets are not deleted", "fails the call"),
    row(ErrorCode::InvalidRecord, "not exactly one batch of format 2, or one that contradicts itself; a control batch; a producer id without a sequence", "fails the batch"),
    row(ErrorCode::UnknownTopicId, "there is no topic of this id: it was deleted, or made again under its name", "asks for metadata and tries again"),
    row(ErrorCode::FetchSessionTopicIdError, "a fetch names topics by name in a session that began with ids, or the other way", "begins a new session"),
    row(ErrorCode::FencedMemberEpoch, "a consumer member speaks of another epoch than the coordinator knows", "gives up its partitions and joins again"),
    row(ErrorCode::UnreleasedInstanceId, "another process still holds the place of this static member", "fails for good"),
    row(ErrorCode::UnsupportedAssignor, "an assignor other than `uniform` and `range`", "fails for good"),
    row(ErrorCode::StaleMemberEpoch, "a commit or a question for offsets from an older epoch than the member's present one", "takes the new epoch from its next heartbeat and tries again"),
    row(ErrorCode::MismatchedEndpointType, "DescribeCluster asks for controllers, and this is a broker", "fails the call"),
    row(ErrorCode::UnsupportedEndpointType, "DescribeCluster asks for neither brokers nor controllers", "fails the call"),
    row(ErrorCode::InvalidRegularExpression, "the expression that a member subscribes with cannot be read", "fails for good"),
    row(ErrorCode::RebootstrapRequired, "ApiVersions from a client that means another broker or cluster; its address leads here", "forgets its brokers and begins at its bootstrap servers"),
];
