"""A group member's side of a trial, shared by the members written in Python: it reads, commits, and tells all of it, a JSON line each.

What it tells is in runner/groups/history.py. A member offers `poll()`, which gives (partition, offset, value) of new records,
and `commit(offsets)`, which raises unless the broker has accepted them; its client's callbacks call `gained` and `lost`.
"""

import json
import sys
import threading
import time


class Report:
    """What a member tells, and what it must still commit."""

    def __init__(self):
        self.owned = set()
        self.dirty = {}
        self._commits = 0
        self.closing = threading.Event()
        threading.Thread(target=self._wait_for_end, daemon=True).start()

    def _wait_for_end(self):
        sys.stdin.read()
        self.closing.set()

    def tell(self, event, **fields):
        """One line, written at once: a kill must not take it along."""
        line = json.dumps({"e": event, "t": time.time() * 1000, **fields}) + "\n"
        sys.stdout.write(line)
        sys.stdout.flush()

    def gained(self, partitions):
        """The client has been given these, beside what it has."""
        self.owned |= set(partitions)
        self.tell("owned", partitions=sorted(self.owned))

    def lost(self, partitions):
        """The client has given these back, or they were taken."""
        self.owned -= set(partitions)
        self.dirty = {partition: offset for partition, offset in self.dirty.items() if partition in self.owned}
        self.tell("owned", partitions=sorted(self.owned))

    def read(self, records):
        """Processes records: each must be what was written at its offset."""
        ranges = {}
        for partition, offset, value in records:
            if value != b"%d:%d" % (partition, offset):
                self.tell("wrong", p=partition, offset=offset, value=repr(value))
            if partition in ranges and ranges[partition][1] == offset:
                ranges[partition][1] = offset + 1
                continue
            if partition in ranges:
                self._told_read(partition, ranges[partition])
            ranges[partition] = [offset, offset + 1]
        for partition, span in ranges.items():
            self._told_read(partition, span)

    def _told_read(self, partition, span):
        self.tell("read", p=partition, **{"from": span[0], "to": span[1]})
        self.dirty[partition] = span[1]

    def committing(self):
        """The offsets to commit now, told; None if there are none. `done` says what became of them."""
        if not self.dirty:
            return None
        self._commits += 1
        offsets = dict(self.dirty)
        self.tell("commit", n=self._commits, offsets=offsets)
        return offsets

    def done(self, offsets, error=None):
        """The broker has accepted the commit, or it has failed and is to be tried again."""
        if error is not None:
            self.tell("refused", n=self._commits, error=f"{type(error).__name__}: {error}")
            return
        self.tell("committed", n=self._commits)
        self.dirty = {partition: offset for partition, offset in self.dirty.items() if offsets.get(partition) != offset}


def run(report, poll, commit):
    """Reads and commits until standard input ends, for clients whose calls block."""
    while not report.closing.is_set():
        try:
            records = poll()
        except Exception as error:  # A broker that is away is no reason to end.
            report.tell("error", error=f"{type(error).__name__}: {error}")
            time.sleep(0.1)
            continue
        report.read(records)
        commit_dirty(report, commit)


def commit_dirty(report, commit):
    """One commit of all that was read since the last."""
    offsets = report.committing()
    if offsets is None:
        return
    try:
        commit(offsets)
    except Exception as error:
        report.done(offsets, error)
    else:
        report.done(offsets)
