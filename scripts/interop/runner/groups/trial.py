"""One group under trial: its members, the records that flow, the look from outside, and what may be done to them. Used by `steps`."""

import contextlib
import json
import time

from runner.failure import Failure
from runner.groups import wire
from runner.groups.flow import Flow, wait_for
from runner.groups.history import History, now_ms
from runner.groups.judge import judge
from runner.groups.watch import Watch, ask

PARTITIONS = 12
# Kafka's smallest session, and half of the patience that a member has with the others in a rebalance.
SESSION_MS, HEARTBEAT_MS, REBALANCE_MS = 6000, 1000, 12_000
# A member that died is missed after its session, and then the others may take their time to rejoin.
SETTLE_TIMEOUT_S = 45
UNKNOWN_MEMBER_ID, ILLEGAL_GENERATION, STALE_MEMBER_EPOCH = 25, 22, 113
EPOCH_REFUSED = {"classic": ILLEGAL_GENERATION, "consumer": STALE_MEMBER_EPOCH}
# An epoch that no group of a trial reaches.
FUTURE_EPOCH = 1000


class GroupTrial:
    """Everything about the group of one row; to be closed."""

    def __init__(self, scene, **settings):
        self._scene = scene
        self._group = f"group-{scene.topic}"
        self._settings = {"topic": scene.topic, "group": self._group, "instance": None, "session_ms": SESSION_MS,
                          "heartbeat_ms": HEARTBEAT_MS, "rebalance_ms": REBALANCE_MS, **settings}
        self._members = {}
        self._stalled = {}
        # Who has a group.instance.id now: the broker may go on showing the first client.id with it.
        self._instances = {}
        self.history = History(PARTITIONS)
        # Some clients do what no broker can forbid when they come back too late to a group that is not eager.
        self.may_stall = "stall" not in scene.cannot or settings["assignor"] != "cooperative-sticky"
        # What starts a member of another client.
        self.other = scene.launch_other
        # Not by the client, which may still have connections from before the broker's last restart.
        ask(scene.host.address, lambda connection: connection.create_topic(scene.topic, PARTITIONS))
        self._flow = Flow(scene.client, scene.topic, PARTITIONS)
        self._watch = Watch(scene.host.address, self._group, scene.topic, self.history)

    def start(self, *names, by=None, **settings):
        """Adds members: of the client under trial, or `by` another one."""
        for name in names:
            launch = by or self._scene.launch
            self._members[name] = launch(name, {**self._settings, **settings}, self.history)
            self._instances[settings.get("instance")] = name

    def kill(self, name):
        """Ends a member without a word."""
        self._members.pop(name).kill()

    def stall(self, name):
        """Stops a member where it stands."""
        self._stalled[name] = self._members.pop(name)
        self._stalled[name].stall()

    def resume(self, name):
        """Lets a stalled member go on, which knows nothing of what happened meanwhile."""
        self._members[name] = self._stalled.pop(name)
        self._members[name].resume()

    def leave(self, name):
        """Lets a member leave the group in order."""
        self._members.pop(name).leave()

    def restart_broker(self, kill=False):
        """Stops the broker in order, or kills it, and starts it again."""
        with self._flow.paused() if self._scene.host.starts_slowly else contextlib.nullcontext():
            if kill:
                self._scene.host.kill()
            else:
                self._scene.host.stop()
            self._scene.host.start()

    def settle(self):
        """Waits until the members that run own all partitions, each some, and none two; and until all of them get on."""
        self._wait(self._is_settled, self._who_owns)
        began = now_ms()
        self._wait(lambda: all(self._gets_on(name, began) for name in self._members),
                   lambda: f"{' and '.join(name for name in self._members if not self._gets_on(name, began))} did not get on: {self._who_owns()}")

    def _is_settled(self):
        owned = [self.history.owned(name) for name in self._members]
        return all(owned) and sum(map(len, owned)) == PARTITIONS and set().union(*owned) == set(range(PARTITIONS))

    def _who_owns(self):
        return "; ".join(f"{name} has {sorted(self.history.owned(name))}" for name in self._members)

    def _gets_on(self, name, began):
        """Whether what a member has read and committed since then is seen from outside."""
        views = [view for view in self.history.views if view.began >= began]
        return len(views) > 1 and any(views[-1].offsets.get(partition, 0) > views[0].offsets.get(partition, 0)
                                      for partition in self.history.owned(name)) and self.history.told("read", name, began)

    def owned(self):
        """What each of the members that run has now."""
        return {name: self.history.owned(name) for name in self._members}

    def wait_for_owned(self, name, partitions):
        """Waits until a member has exactly these."""
        self._wait(lambda: self.history.owned(name) == partitions, lambda: f"{name} was to get {sorted(partitions)}: {self._who_owns()}")

    def require_undisturbed(self, names, since):
        """These members must not have been given or lost anything since then."""
        for name in names:
            if told := self.history.told("owned", name, since):
                raise Failure(f"{name} was disturbed, it had {sorted(told[0]['partitions'])} in between")

    def members_by_broker(self):
        """The group as the broker describes it, and its members by the names that they have here."""
        description = ask(self._scene.host.address, lambda connection: connection.describe(self._group))
        return description, {self._instances[member.instance] if member.instance else member.client: member for member in description.members}

    def require_type(self, group_type):
        """The group must be of this type by now, classic or consumer."""
        description, _ = self.members_by_broker()
        if description.group_type != group_type:
            raise Failure("the group's type", group_type, str(description))

    def require_refused(self, epoch, member_id, code):
        """A commit with this epoch, in this member's name, must be refused with this code."""
        got = ask(self._scene.host.address, lambda connection: connection.commit(self._group, epoch, member_id, self._scene.topic, 0, 0))
        if got != code:
            raise Failure(f"error code of a commit by member {member_id!r} with generation or epoch {epoch}", code, got)

    def require_old_refused(self):
        """In the name of each member no other generation commits than its own; nor does anybody who is none."""
        description, members = self.members_by_broker()
        for member in members.values():
            for epoch in (0, FUTURE_EPOCH):
                self.require_refused(epoch, member.id, EPOCH_REFUSED[description.group_type])
        self.require_refused(1, "nobody", UNKNOWN_MEMBER_ID)
        self.require_refused(-1, "", UNKNOWN_MEMBER_ID)

    def finish(self):
        """No more is written; what was written must be read and committed by those who live. Then the history is judged."""
        self.history.ends = self._flow.stop()
        self._wait(lambda: self._is_settled() and self.history.views[-1].offsets == self.history.ends,
                   lambda: f"the ends were not committed: {self._who_owns()}; committed {self.history.views[-1].offsets}, "
                           f"the log ends at {self.history.ends[0]}")
        time.sleep(HEARTBEAT_MS / 1000)
        self.history.live = sorted(self._members)
        description, members = self.members_by_broker()
        self.history.described = {name: member.partitions for name, member in members.items()}
        if description.state.lower() != "stable":
            raise Failure("the group's state in the end", "stable", str(description))
        return description

    def empty(self):
        """All members leave; the group is empty then, and its offsets stay."""
        for name in list(self._members):
            self.leave(name)
        description, _ = self.members_by_broker()
        if description.state.lower() != "empty" or description.members:
            raise Failure("the group after all members have left", "empty", str(description))
        stands = ask(self._scene.host.address, lambda connection: connection.committed(self._group, self._scene.topic))
        if stands != self.history.ends:
            raise Failure("committed offsets after all members have left", self.history.ends, stands)

    def judge(self):
        """Raises if anything happened that must not."""
        refused = self._watch.close()
        faults = judge(self.history)
        faults += [f"looking at the offsets was refused with error {code}, {count} times" for code, count in refused.items()]
        if faults:
            raise Failure(f"{len(faults)} faults: " + "; ".join(faults))

    def _wait(self, condition, failure):
        wait_for(condition, failure, SETTLE_TIMEOUT_S, [*self._members.values(), self._flow])

    def close(self, history_path):
        """Ends all that runs and keeps the history for whoever looks into a failure."""
        for member in [*self._members.values(), *self._stalled.values()]:
            member.close()
        self._watch.close()
        kept = {"events": self.history.events, "views": [vars(view) for view in self.history.views], "ends": self.history.ends}
        history_path.write_text(json.dumps(kept, default=sorted))
