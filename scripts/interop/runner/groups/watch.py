"""Looks at a group's committed offsets from outside, again and again, and notes what it sees. Used by `steps`.

A broker that is down, or has not loaded the group, gives no view; that is no fault, as long as it says so.
"""

import threading
import time

from runner.groups.history import View, now_ms
from runner.groups.wire import Connection, Refused

PAUSE_S = 0.1
# Coordinator is loading, not available, not this one: what a broker may answer while it starts.
NOT_NOW = {14, 15, 16}


class Watch:
    """A thread that asks for the offsets of one group in one topic until it is closed."""

    def __init__(self, address, group, topic, history):
        self._address, self._group, self._topic, self._history = address, group, topic, history
        self.refusals = {}
        self._closing = threading.Event()
        self._connection = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        while not self._closing.wait(PAUSE_S):
            self._look()
        self._disconnect()

    def _look(self):
        try:
            self._connection = self._connection or Connection(self._address)
            began = now_ms()
            offsets = self._connection.committed(self._group, self._topic)
            self._history.saw(View(began, now_ms(), offsets))
        except OSError:
            self._disconnect()
        except Refused as refused:
            self.refusals[refused.code] = self.refusals.get(refused.code, 0) + 1

    def _disconnect(self):
        if self._connection:
            self._connection.close()
        self._connection = None

    def close(self):
        """Ends the thread; gives the error codes that were none of those of a start, with how often they came."""
        self._closing.set()
        self._thread.join()
        return {code: count for code, count in sorted(self.refusals.items()) if code not in NOT_NOW}


def ask(address, question, timeout_s=20):
    """The answer of `question(connection)`, asked again while the coordinator is not there yet."""
    deadline = time.monotonic() + timeout_s
    while True:
        try:
            connection = Connection(address)
            try:
                return question(connection)
            finally:
                connection.close()
        except (OSError, Refused) as error:
            is_passing = isinstance(error, OSError) or error.code in NOT_NOW
            if not is_passing or time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_S)
