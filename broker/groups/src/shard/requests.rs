//! Each request finds its group, or is told that there is none. Whatever changes a group settles it.

use std::sync::Arc;

use ringmill_net::wire::ErrorCode;

use super::{Groups, Members};
use crate::answer::{Answer, ClassicDescription, ConsumerDescription, JoinRefused, TopicOffsets};
use crate::context::{Context, Ticket};
use crate::offsets::Offsets;
use crate::request::{Heartbeat, JoinGroup, LeaveGroup, OffsetCommit, OffsetDelete, OffsetFetch, Request, SyncGroup};

impl Groups {
    pub(super) fn handle(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: Request) {
        let answer = match request {
            // These may be answered later.
            Request::Join(join) => return self.join(cx, ticket, &join),
            Request::Sync(sync) => return self.sync(cx, ticket, &sync),
            Request::Heartbeat(beat) => Answer::Heartbeat(self.heartbeat(cx, &beat)),
            Request::Leave(leave) => Answer::Leave(self.leave(cx, &leave)),
            Request::Commit(commit) => Answer::Commit(self.commit(cx, &commit)),
            Request::Fetch(fetch) => Answer::Fetch(self.fetch(cx, &fetch)),
            Request::DeleteOffsets(delete) => Answer::DeleteOffsets(self.delete_offsets(cx, &delete)),
            Request::DescribeClassic(id) => Answer::DescribeClassic(self.describe_classic(&id)),
            Request::DescribeConsumer(id) => Answer::DescribeConsumer(self.describe_consumer(cx, &id)),
            Request::List(asked) => Answer::List(self.list(&asked)),
            Request::Delete(id) => Answer::Delete(self.delete(cx, &id)),
            Request::ConsumerHeartbeat(beat) => Answer::ConsumerHeartbeat(self.consumer_heartbeat(cx, &beat)),
        };
        cx.answer(ticket, answer);
    }

    fn join(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &JoinGroup) {
        let refused = if request.group.is_empty() {
            Some(ErrorCode::InvalidGroupId)
        } else if !self.by_id.contains_key(&request.group) && !request.member_id.is_empty() {
            Some(ErrorCode::UnknownMemberId)
        } else if let Err(full) = self.room_to_join(cx, request) {
            cx.no_room(&request.group, "JoinGroup", full);
            Some(ErrorCode::GroupMaxSizeReached)
        } else {
            None
        };
        if let Some(code) = refused {
            let member_id = Arc::clone(&request.member_id);
            return cx.answer(ticket, Answer::Join(Err(JoinRefused { code, member_id })));
        }
        self.downgrade_if_empty(cx, &request.group);
        match &mut self.group(cx, &request.group).members {
            Members::Classic(group) => group.join(cx, ticket, request),
            Members::Consumer(group) => {
                group.join(cx, ticket, request);
                self.downgrade_if_due(cx, &request.group);
            }
        }
        self.settle(&request.group, cx.now.monotonic_ms);
    }

    fn sync(&mut self, cx: &mut Context<'_>, ticket: Ticket, request: &SyncGroup) {
        let room = self.room_to_sync(cx, request);
        match self.members(&request.group) {
            Ok(Members::Classic(group)) => group.sync(cx, ticket, request, room),
            Ok(Members::Consumer(group)) => group.sync(cx, ticket, request),
            Err(code) => return cx.answer(ticket, Answer::Sync(Err(code))),
        }
        self.settle(&request.group, cx.now.monotonic_ms);
    }

    fn heartbeat(&mut self, cx: &mut Context<'_>, request: &Heartbeat) -> Result<(), ErrorCode> {
        let result = match self.members(&request.group)? {
            Members::Classic(group) => group.heartbeat(cx, request),
            Members::Consumer(group) => group.classic_heartbeat(cx, request),
        };
        // It leaves no records.
        self.settle_deadline(&request.group, cx.now.monotonic_ms);
        result
    }

    fn leave(&mut self, cx: &mut Context<'_>, request: &LeaveGroup) -> Result<Vec<Result<(), ErrorCode>>, ErrorCode> {
        let results = match self.members(&request.group)? {
            Members::Classic(group) => group.leave(cx, request),
            Members::Consumer(group) => group.classic_leave(cx, request),
        };
        self.downgrade_if_due(cx, &request.group);
        self.settle(&request.group, cx.now.monotonic_ms);
        Ok(results)
    }

    /// The members of a group that is there.
    fn members(&mut self, id: &Arc<str>) -> Result<&mut Members, ErrorCode> {
        if id.is_empty() {
            return Err(ErrorCode::InvalidGroupId);
        }
        self.by_id.get_mut(id).map(|group| &mut group.members).ok_or(ErrorCode::UnknownMemberId)
    }

    fn commit(&mut self, cx: &mut Context<'_>, commit: &OffsetCommit) -> Vec<Result<(), ErrorCode>> {
        if let Err(code) = self.check_commit(cx, commit) {
            return vec![Err(code); commit.offsets.len()];
        }
        let offsets = &mut self.group(cx, &commit.group).offsets;
        let before_bytes = offsets.bytes();
        let results = offsets.commit(cx, commit);
        self.settle_offsets(&commit.group, before_bytes, cx.now.monotonic_ms);
        results
    }

    fn check_commit(&mut self, cx: &mut Context<'_>, commit: &OffsetCommit) -> Result<(), ErrorCode> {
        if let Err(full) = self.room_to_commit(cx, commit) {
            cx.no_room(&commit.group, "OffsetCommit", full);
            return Err(ErrorCode::InvalidCommitOffsetSize);
        }
        let Some(group) = self.by_id.get_mut(&commit.group) else {
            // A group that only keeps offsets begins with its first commit; a member's group is gone.
            return if commit.generation < 0 { Ok(()) } else { Err(ErrorCode::IllegalGeneration) };
        };
        group.members.check_commit(cx, commit)
    }

    fn fetch(&self, cx: &Context<'_>, fetch: &OffsetFetch) -> Result<Vec<TopicOffsets>, ErrorCode> {
        let topics = fetch.topics.as_deref();
        let Some(group) = self.by_id.get(&fetch.group) else {
            return Ok(Offsets::default().fetch(cx.topics, topics));
        };
        group.members.check_fetch(fetch)?;
        Ok(group.offsets.fetch(cx.topics, topics))
    }

    fn delete_offsets(
        &mut self,
        cx: &mut Context<'_>,
        request: &OffsetDelete,
    ) -> Result<Vec<Vec<Result<(), ErrorCode>>>, ErrorCode> {
        let group = self.by_id.get_mut(&request.group).ok_or(ErrorCode::GroupIdNotFound)?;
        if let Members::Classic(classic) = &group.members {
            classic.check_delete_offsets()?;
        }
        let read = group.members.read_of(request.topics.iter().map(|(topic, _)| Arc::clone(topic)).collect());
        let delete = |(topic, partitions): &(Arc<str>, Vec<i32>)| {
            let result = match read.contains(topic) {
                true => Err(ErrorCode::GroupSubscribedToTopic),
                false => Ok(()),
            };
            if result.is_ok() {
                for partition in partitions {
                    group.offsets.delete(cx, &request.group, topic, *partition);
                }
            }
            vec![result; partitions.len()]
        };
        let results = request.topics.iter().map(delete).collect();
        self.settle(&request.group, cx.now.monotonic_ms);
        Ok(results)
    }

    fn describe_classic(&self, id: &Arc<str>) -> Result<ClassicDescription, ErrorCode> {
        match self.by_id.get(id).map(|group| &group.members) {
            Some(Members::Classic(group)) => Ok(group.describe()),
            Some(Members::Consumer(_)) | None => Err(ErrorCode::GroupIdNotFound),
        }
    }

    fn describe_consumer(&self, cx: &Context<'_>, id: &Arc<str>) -> Result<ConsumerDescription, ErrorCode> {
        match self.by_id.get(id).map(|group| &group.members) {
            Some(Members::Consumer(group)) => Ok(group.describe(cx.topics)),
            Some(Members::Classic(_)) | None => Err(ErrorCode::GroupIdNotFound),
        }
    }

    fn delete(&mut self, cx: &mut Context<'_>, id: &Arc<str>) -> Result<(), ErrorCode> {
        let group = self.by_id.get_mut(id).ok_or(ErrorCode::GroupIdNotFound)?;
        if !group.members.is_empty() {
            return Err(ErrorCode::NonEmptyGroup);
        }
        group.offsets.delete_all(cx, id);
        self.forget(cx, id);
        Ok(())
    }
}
