"""What rows about groups do, each from beginning to end; the words are those of `trial`."""

from runner.groups.history import now_ms
from runner.groups.trial import UNKNOWN_MEMBER_ID, GroupTrial

# Longer than any broker takes to restart, so that nobody's session ends meanwhile.
LONG_SESSION_MS = 60_000


def group(script, **settings):
    """A step that runs `script` with a group of these settings, judges its history, and ends all that it started."""
    def run(scene):
        trial = GroupTrial(scene, **settings)
        try:
            script(trial)
        finally:
            trial.close(scene.history_path)
    return run


def endures(assignor, protocol="classic"):
    """One member of three is killed, one stalls beyond its session, one is added, and the broker restarts twice, while records flow."""
    return group(killed_stalled_added, assignor=assignor, protocol=protocol)


def killed_stalled_added(trial):
    trial.start("a", "b", "c")
    trial.settle()
    trial.require_old_refused()
    _, members = trial.members_by_broker()
    trial.kill("a")
    if trial.may_stall:
        trial.stall("b")
    else:
        trial.kill("b")
    trial.settle()
    # Both are gone; one of them does not know.
    for name in ("a", "b"):
        trial.require_refused(1, members[name].id, UNKNOWN_MEMBER_ID)
    trial.restart_broker()
    if trial.may_stall:
        trial.resume("b")
    trial.start("d")
    trial.settle()
    # In the midst of a rebalance.
    trial.leave("c")
    trial.restart_broker(kill=True)
    trial.settle()
    trial.finish()
    trial.judge()
    trial.empty()


def keeps_static(assignor, protocol="classic"):
    """Members with a group.instance.id: who returns within the session gets the same partitions, and nobody else notices; nor does a
    restart of the broker change who has what."""
    return group(static_returns, assignor=assignor, protocol=protocol, session_ms=LONG_SESSION_MS, rebalance_ms=LONG_SESSION_MS)


def static_returns(trial):
    for name in ("a", "b", "c"):
        trial.start(name, instance=f"instance-{name}")
    trial.settle()
    trial.require_old_refused()
    before, began = trial.owned(), now_ms()
    trial.kill("a")
    trial.start("a2", instance="instance-a")
    trial.wait_for_owned("a2", before["a"])
    trial.settle()
    trial.require_undisturbed(("b", "c"), began)
    trial.kill("a2")
    trial.restart_broker(kill=True)
    trial.start("a3", instance="instance-a")
    # Some clients give back what they have when they find no broker.
    for name, partitions in (("a3", before["a"]), ("b", before["b"]), ("c", before["c"])):
        trial.wait_for_owned(name, partitions)
    trial.settle()
    trial.finish()
    trial.judge()


def upgrades(assignor):
    """A classic group is upgraded by consumer members that come one at a time, and downgraded again."""
    return group(upgraded_and_back, assignor=assignor, protocol="classic")


def upgraded_and_back(trial):
    trial.start("a")
    trial.settle()
    trial.start("b")
    trial.settle()
    trial.require_type("classic")
    trial.start("c", protocol="consumer", assignor="uniform")
    trial.settle()
    trial.require_type("consumer")
    trial.leave("a")
    trial.restart_broker(kill=True)
    trial.settle()
    trial.start("d")
    trial.settle()
    trial.require_type("consumer")
    trial.leave("c")
    trial.settle()
    trial.require_type("classic")
    trial.finish()
    trial.judge()
    trial.empty()


def shares(assignor):
    """Members of two clients in one group: whoever leads it, the others understand what it assigns."""
    return group(shared, assignor=assignor, protocol="classic")


def shared(trial):
    trial.start("a")
    trial.start("b", by=trial.other)
    trial.settle()
    trial.start("c")
    trial.settle()
    # Whoever led the group, another does.
    trial.leave("a")
    trial.settle()
    trial.start("d", by=trial.other)
    trial.settle()
    trial.leave("b")
    trial.settle()
    trial.finish()
    trial.judge()
    trial.empty()
