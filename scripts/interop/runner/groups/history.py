"""What happened to one group: what its members told, what was seen from outside, and what was written.

Only data, filled by `member`, `watch` and `flow` while a row runs, and read by `judge`. All times are milliseconds since 1970: every
process runs on this host.

A member tells, a JSON object a line, each with `e`, and `t` the time:
  owned      partitions=[...]: all that it has from now on, told before it reads them and before it gives others back
  read       p, from, to: it has processed these records, the second exclusive
  commit     n, offsets={p: next}: it is about to commit, and n numbers it
  committed  n: the broker has accepted it
  refused    n, error: it has not, or nobody knows
  wrong      p, offset, value: a record that is not what was written there
  error      error: what its client complained of; no fault by itself
"""

import threading
import time
from dataclasses import dataclass, field


def now_ms():
    """The clock of all times here."""
    return time.time() * 1000


@dataclass
class View:
    """The group's committed offsets, asked for at `began`; a partition without one is absent."""
    began: float
    ended: float
    offsets: dict


@dataclass
class Commit:
    """A commit by a member; `accepted` is None if it never told what became of it."""
    member: str
    began: float
    offsets: dict
    ended: float = None
    accepted: bool = None


@dataclass
class History:
    """Everything about one group; `ends` are the partitions' log ends, `described` who has what by the broker's word."""
    partitions: int
    events: list = field(default_factory=list)
    views: list = field(default_factory=list)
    ends: dict = field(default_factory=dict)
    live: list = field(default_factory=list)
    described: dict = field(default_factory=dict)

    def __post_init__(self):
        self._lock = threading.Lock()

    def add(self, member, event):
        """Notes what a member told."""
        with self._lock:
            self.events.append({**event, "member": member})

    def saw(self, view):
        """Notes a look from outside."""
        with self._lock:
            self.views.append(view)

    def told(self, kind, member=None, since=0):
        """The events of a kind, in the order in which they came."""
        with self._lock:
            events = list(self.events)
        return [event for event in events if event["e"] == kind and event["t"] >= since and member in (None, event["member"])]

    def owned(self, member):
        """What a member says that it has now."""
        told = self.told("owned", member)
        return set(told[-1]["partitions"]) if told else set()

    def commits(self):
        """All commits, by the time at which they began."""
        by_number = {}
        for event in sorted([*self.events], key=lambda event: event["t"]):
            key = (event["member"], event.get("n"))
            if event["e"] == "commit":
                offsets = {int(partition): offset for partition, offset in event["offsets"].items()}
                by_number[key] = Commit(event["member"], event["t"], offsets)
            elif event["e"] in ("committed", "refused") and key in by_number:
                by_number[key].ended = event["t"]
                by_number[key].accepted = event["e"] == "committed"
        return list(by_number.values())
