//! Members of the classic protocol among the others: they join, sync and beat, some giving everything up before they join.

use std::sync::Arc;

use ringmill_net::wire::ErrorCode;

use super::super::assignment::{either, minus};
use super::super::world::ClassicClient;
use super::{Member, Model};

impl Member {
    fn as_client(&self) -> ClassicClient<'_> {
        ClassicClient { id: &self.id, instance_id: self.instance_id.as_ref(), names: &self.names, owned: &self.owned }
    }

    /// Something was asked, and no answer came: the group may wait for it from now on.
    fn heard_nothing(&mut self, now_ms: u64) {
        self.revokes_since_ms.get_or_insert(now_ms);
    }

    fn joins_next(&mut self, now_ms: u64) {
        (self.must_sync, self.tells_all) = (false, true);
        self.revokes_since_ms.get_or_insert(now_ms);
    }
}

impl Model {
    /// The member's next request.
    pub(super) fn classic_step(&mut self, at: usize, lossy: bool) {
        let lost = lossy && self.dice.below(10) == 0;
        let member = &self.members[at];
        if member.must_sync {
            self.classic_sync(at, lost);
        } else if member.tells_all || member.tells_subscription {
            self.classic_join(at, lost);
        } else {
            self.classic_beat(at, lost);
        }
    }

    fn classic_join(&mut self, at: usize, lost: bool) {
        if self.dice.below(3) == 0 {
            let member = &mut self.members[at];
            member.owned.clear();
            member.told.clear();
        }
        let outcome = self.world.join(&self.members[at].as_client());
        let now_ms = self.world.now_ms;
        let member = &mut self.members[at];
        match outcome {
            _ if lost => member.heard_nothing(now_ms),
            Ok(joined) => {
                if joined.member_id != member.id {
                    (member.id, member.largest_epoch) = (joined.member_id, 0);
                }
                assert!(joined.generation >= member.largest_epoch.max(1), "{}: {member:?}", self.seed);
                (member.epoch, member.largest_epoch) = (joined.generation, joined.generation);
                (member.must_sync, member.tells_all, member.tells_subscription) = (true, false, false);
                member.heard_ms = now_ms;
                member.heard_nothing(now_ms);
            }
            Err(refused) => self.classic_refused(at, refused.code),
        }
    }

    fn classic_sync(&mut self, at: usize, lost: bool) {
        let member = &self.members[at];
        let outcome = self.world.sync(&member.as_client(), member.epoch);
        let now_ms = self.world.now_ms;
        let member = &mut self.members[at];
        match outcome {
            _ if lost => member.joins_next(now_ms),
            Ok(assignment) => {
                member.owned = either(&member.owned, &assignment);
                member.told = assignment;
                member.must_sync = false;
                member.heard_ms = now_ms;
                member.revokes_since_ms = None;
                if !minus(&member.owned, &member.told).is_empty() {
                    member.joins_next(now_ms);
                }
            }
            Err(code) => self.classic_refused(at, code),
        }
    }

    fn classic_beat(&mut self, at: usize, lost: bool) {
        let member = &self.members[at];
        let outcome = self.world.classic_beat(&member.as_client(), member.epoch);
        let now_ms = self.world.now_ms;
        let member = &mut self.members[at];
        match outcome {
            _ if lost => member.heard_nothing(now_ms),
            Ok(()) => (member.heard_ms, member.revokes_since_ms) = (now_ms, None),
            Err(code) => self.classic_refused(at, code),
        }
    }

    pub(super) fn classic_leave(&mut self, at: usize) {
        let _ = self.world.classic_leave(&self.members[at].as_client());
        self.members[at].is_out();
    }

    fn classic_refused(&mut self, at: usize, code: ErrorCode) {
        let now_ms = self.world.now_ms;
        let member = &mut self.members[at];
        match code {
            ErrorCode::RebalanceInProgress => {
                member.heard_ms = now_ms;
                member.joins_next(now_ms);
            }
            ErrorCode::UnknownMemberId | ErrorCode::IllegalGeneration | ErrorCode::FencedInstanceId => {
                member.is_out();
                if code == ErrorCode::FencedInstanceId {
                    member.id = Arc::from("");
                }
            }
            _ => panic!("seed {}: {code:?} to {member:?}", self.seed),
        }
    }
}
