"""Writes records without a pause while the members read, each with its partition and offset as its value. Used by `steps`.

Written by the client under trial, through its driver, with an idempotent producer: whatever becomes of the broker, each stands once
and in its place, which the offsets that the client tells must show.
"""

import threading
import time

from runner import records
from runner.failure import Failure

EACH = 5
PAUSE_S = 0.1


class Flow:
    """A thread that writes to all partitions of a topic until it is stopped."""

    def __init__(self, driver, topic, partitions):
        self._driver, self._topic, self._partitions = driver, topic, partitions
        self.written = 0
        self._failure = None
        self._may_write = threading.Lock()
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def _run(self):
        try:
            while not self._stopping.wait(PAUSE_S):
                with self._may_write:
                    self._write()
        except Exception as failure:  # It is the main thread's to raise.
            self._failure = failure

    def _write(self):
        made = [records.record(number, set(), partition, None, b"%d:%d" % (partition, number))
                for number in range(self.written, self.written + EACH) for partition in range(self._partitions)]
        told = self._driver.call("produce", topic=self._topic, records=made, acks="all", codec="none", idempotent=True, linger_ms=5)["offsets"]
        wanted = [number for number in range(self.written, self.written + EACH) for _ in range(self._partitions)]
        if told != wanted:
            raise Failure("offsets of the records that the members are to read", wanted[:3], told[:3])
        self.written += EACH

    def paused(self):
        """Nothing is under way in a `with` of this."""
        return self._may_write

    def require_running(self):
        """Raises what has ended it, if anything has."""
        if self._failure:
            raise self._failure

    def stop(self):
        """Writes no more; gives the log end of each partition."""
        self._stopping.set()
        self._thread.join()
        self.require_running()
        return {partition: self.written for partition in range(self._partitions)}


def wait_for(condition, failure, timeout_s, watched):
    """Waits until `condition()` holds; each of `watched` must go on running meanwhile."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        for one in watched:
            one.require_running()
        if time.monotonic() > deadline:
            raise Failure(f"{failure()}, {timeout_s} s long")
        time.sleep(0.02)
