//! DescribeLogDirs (key 35): what takes how much space in the data directory.

use crate::wire::schema::message;

/// "Not known", in the fields that tell of a file system's size.
pub const UNKNOWN_VOLUME_BYTES: i64 = -1;

message! {
    /// Which partitions are of interest.
    DescribeLogDirsRequest<'a>: DescribeLogDirs, versions 1..=5, flexible 2.. {
        /// Null: all of them.
        topics: Option<Vec<DescribableLogDirTopic<'a>>>, 0.., null 0.., default Some(Vec::new());
    }

    /// A topic's partitions.
    DescribableLogDirTopic<'a> {
        topic: &'a str, 0..;
        partitions: Vec<i32>, 0..;
    }

    /// The directories.
    DescribeLogDirsResponse<'a>: DescribeLogDirs, versions 1..=5, flexible 2.. {
        throttle_time_ms: i32, 0..;
        error_code: i16, 3..;
        results: Vec<DescribeLogDirsResult<'a>>, 0..;
    }

    /// A directory and what lies in it.
    DescribeLogDirsResult<'a> {
        error_code: i16, 0..;
        log_dir: &'a str, 0..;
        topics: Vec<DescribeLogDirsTopic<'a>>, 0..;
        total_bytes: i64, 4.., default UNKNOWN_VOLUME_BYTES;
        usable_bytes: i64, 4.., default UNKNOWN_VOLUME_BYTES;
        /// Whether new partitions are kept away from it.
        is_cordoned: bool, 5..;
    }

    /// A topic's share of a directory.
    DescribeLogDirsTopic<'a> {
        name: &'a str, 0..;
        partitions: Vec<DescribeLogDirsPartition>, 0..;
    }

    /// A partition's size.
    DescribeLogDirsPartition {
        partition_index: i32, 0..;
        /// Of its segments, in bytes.
        partition_size: i64, 0..;
        /// How far a log that is being moved or followed lies behind, in offsets.
        offset_lag: i64, 0..;
        /// Whether it is being moved here.
        is_future_key: bool, 0..;
    }
}
