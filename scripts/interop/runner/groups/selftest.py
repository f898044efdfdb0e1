"""Histories made by hand: the judge must be content with the good ones, and find the one fault in each of the others.

Run by runner/selftest.py before any real client. A fault is a change to a good history and a word of the sentence that must follow.
"""

import copy

from runner.groups.history import History, View
from runner.groups.judge import judge

# A second is long enough to be told apart from another.
S = 1000


def owned(member, seconds, *partitions):
    return {"member": member, "e": "owned", "t": seconds * S, "partitions": list(partitions)}


def read(member, seconds, partition, first, after):
    return {"member": member, "e": "read", "t": seconds * S, "p": partition, "from": first, "to": after}


def commit(member, seconds, number, **offsets):
    """Begun then; offsets as p0=10."""
    return {"member": member, "e": "commit", "t": seconds * S, "n": number, "offsets": {name[1:]: offset for name, offset in offsets.items()}}


def answer(member, seconds, number, kind="committed"):
    return {"member": member, "e": kind, "t": seconds * S, "n": number, "error": "ILLEGAL_GENERATION"}


def view(seconds, **offsets):
    return View(seconds * S, (seconds + 0.1) * S, {int(name[1:]): offset for name, offset in offsets.items()})


def good():
    """Two partitions; b stalls with partition 1, which c is given and reads from where b had committed; b's late commit is refused."""
    history = History(2)
    history.events = [
        owned("a", 1, 0), owned("b", 1, 1),
        read("a", 2, 0, 0, 10), commit("a", 3, 1, p0=10), answer("a", 4, 1),
        read("b", 2, 1, 0, 5), commit("b", 3, 1, p1=5), answer("b", 4, 1),
        read("b", 5, 1, 5, 8),
        owned("a", 10), owned("a", 11, 0), owned("c", 11, 1),
        read("c", 12, 1, 5, 9), commit("c", 13, 1, p1=9), answer("c", 14, 1),
        commit("b", 15, 2, p1=8), answer("b", 16, 2, "refused"), owned("b", 17),
        read("a", 18, 0, 10, 12), commit("a", 19, 2, p0=12), answer("a", 20, 2),
    ]
    history.views = [view(2), view(3.5, p0=10, p1=5), view(6, p0=10, p1=5), view(15, p0=10, p1=9), view(21, p0=12, p1=9)]
    history.ends = {0: 12, 1: 9}
    history.live = ["a", "c"]
    history.described = {"a": {0}, "c": {1}}
    return history


def only(history, member, kind, nth=0):
    """The place of an event in the history."""
    return [place for place, event in enumerate(history.events) if (event["member"], event["e"]) == (member, kind)][nth]


def reads_less(history):
    history.events[only(history, "a", "read", 1)].update({"from": 11})


def reads_short(history):
    history.ends[1] = 10
    history.views[-1].offsets[1] = 10
    history.events += [commit("c", 18, 2, p1=10), answer("c", 19, 2)]


def reads_elsewhere(history):
    history.events.append({"member": "c", "e": "wrong", "t": 12 * S, "p": 1, "offset": 6, "value": "1:7"})


def commits_unread(history):
    history.events[only(history, "a", "commit")]["offsets"]["0"] = 11


def reads_after_commit(history):
    history.events[only(history, "a", "read")]["t"] = 3.5 * S


def view_goes_back(history):
    history.views[3].offsets[0] = 9


def view_loses_all(history):
    history.views[2].offsets = {}


def view_invents(history):
    history.views[1].offsets[0] = 7


def view_is_old(history):
    history.views[2].offsets[1] = 4
    history.events.append(commit("b", 2.5, 0, p1=4))
    history.views[1].offsets[1] = 4


def old_accepted(history):
    history.events[only(history, "b", "refused")]["e"] = "committed"
    history.events[only(history, "b", "commit", 1)]["offsets"]["1"] = 9
    history.events[only(history, "b", "read", 1)]["to"] = 9


def lower_accepted(history):
    place = only(history, "b", "refused")
    history.events[place]["e"] = "committed"
    # As if it had been given it again.
    history.events.insert(place, owned("b", 14.5, 1))


def given_twice(history):
    """c is given partition 0 too while a has it; a goes on committing."""
    history.events.insert(only(history, "c", "read"), owned("c", 11.5, 0, 1))


def begins_early(history):
    history.events[only(history, "c", "read")]["from"] = 4


def begins_late(history):
    history.events[only(history, "c", "read")]["from"] = 6
    history.events[only(history, "b", "read", 1)]["to"] = 6
    history.events[only(history, "b", "read", 1)]["from"] = 6


def orphan(history):
    history.live.remove("c")
    history.described.pop("c")


def two_owners(history):
    history.events.append(owned("a", 30, 0, 1))


def broker_says_otherwise(history):
    history.described = {"a": {0, 1}, "c": set()}


def not_committed(history):
    history.ends[0] = 13
    history.events.append(read("a", 22, 0, 12, 13))


FAULTS = {
    reads_less: "never processed", reads_short: "never processed", reads_elsewhere: "not written there", commits_unread: "was not processed by then",
    reads_after_commit: "was not processed by then", view_goes_back: "went back", view_loses_all: "went back", view_invents: "nobody had asked",
    view_is_old: "and later 4 was seen", old_accepted: "had been given it", lower_accepted: "was accepted after c's", given_twice: "had been given it",
    begins_early: "began at 4", begins_late: "was not processed by then", orphan: "owned by nobody", two_owners: "owned by a and c",
    broker_says_otherwise: "the broker says", not_committed: "is committed in the end",
}


def check():
    """Every fault is found, and nothing in what is right; how many faults there were."""
    assert judge(good()) == [], judge(good())
    for does, word in FAULTS.items():
        history = good()
        history.views = copy.deepcopy(history.views)
        does(history)
        faults = judge(history)
        assert any(word in fault for fault in faults), f"{does.__name__}: {faults}"
    return len(FAULTS)
