//! Records with a group's positions: kind 1, and kind 0 from before 2014, which reads the same.

use crate::wire::schema::{Uuid, message};

message! {
    /// Which position.
    OffsetCommitKey<'a>: record 1, versions 0..=0, flexible none {
        group: &'a str, 0..;
        topic: &'a str, 0..;
        partition: i32, 0..;
    }

    /// The position. Version 1 alone can say when it expires: commits of clients from before KIP-211 that ask for it.
    OffsetCommitValue<'a>: record 1, versions 0..=4, flexible 4.. {
        offset: i64, 0..;
        leader_epoch: i32, 3.., default -1;
        metadata: &'a str, 0..;
        commit_timestamp: i64, 0..;
        expire_timestamp: i64, 1..=1, default -1;
        topic_id: Uuid, 4.., tag 0;
    }
}
