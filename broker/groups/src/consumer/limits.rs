//! What members can make a group of the consumer protocol hold at most. Each is far above what clients do.

/// Bytes of a member's id: a UUID has 36.
pub(crate) const MEMBER_ID_BYTES_MAX: usize = 512;
/// Bytes of a static name or a rack; clients allow 249.
pub(crate) const NAME_BYTES_MAX: usize = 512;
/// Bytes of a topic's name in a subscription; no topic's is longer.
pub(crate) const TOPIC_BYTES_MAX: usize = 249;
/// Topics that one member names.
pub(crate) const SUBSCRIBED_TOPICS_MAX: usize = 10_000;
/// Topics that all members of a group name, each counted as often as it is named.
pub(crate) const GROUP_SUBSCRIPTIONS_MAX: usize = 200_000;
/// Bytes of a regular expression.
pub(crate) const REGEX_BYTES_MAX: usize = 1_024;
/// Bytes of a regular expression once compiled, and of what it may keep while it is matched.
pub(crate) const REGEX_PROGRAM_BYTES_MAX: usize = 128 << 10;
/// Different regular expressions in one group: each is matched with all topics when those change.
pub(crate) const REGEXES_MAX: usize = 100;
/// Regular expressions are not matched anew more often than this, however often topics change.
pub(crate) const REGEX_REFRESH_MIN_MS: u64 = 2_000;
/// Pairs of an expression and a topic's name that one step of a shard matches again; one expression more is begun while any is left.
pub(crate) const REGEX_STEP_PAIRS_MAX: usize = 20_000;
/// Compiling an expression counts as so many pairs of an expression and a topic's name, whose program may have 128 KiB.
pub(crate) const REGEX_COMPILE_PAIRS: usize = 1_000;
/// Names of topics that a shard keeps to tell several groups what the same expressions mean, while they are matched.
pub(crate) const REGEX_SHARED_NAMES_MAX: usize = 200_000;
/// So much of a target assignment (members, partitions, topics of subscriptions) is made in a millisecond at most: a large group waits for
/// its next one, so that the work takes a few hundredths of the core however many members come and go. Of 100 there is no wait.
pub(crate) const ASSIGNED_PER_MS: u64 = 100;
/// Partitions in one heartbeat.
pub(crate) const OWNED_PARTITIONS_MAX: usize = 100_000;
