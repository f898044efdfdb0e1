"""One member of a group: a process of its own, to be killed, stalled and asked to leave. What it tells goes into the history.

A driver that can join groups has a program `member CACHE_DIR ADDRESS SETTINGS` beside its `start`; SETTINGS is a JSON object:
  name          its client.id
  topic, group
  protocol      classic or consumer
  assignor      range, roundrobin, sticky or cooperative-sticky; for consumer: empty, or a name that the broker knows
  instance      its group.instance.id, or null
  session_ms, heartbeat_ms, rebalance_ms: its timeouts, where the client sets them
It prints the lines that `history` describes until its standard input ends; then it leaves the group and ends.
"""

import contextlib
import json
import os
import signal
import subprocess
import threading

from runner.failure import Failure

# How long a member may take to leave: it may have a commit under way.
LEAVE_TIMEOUT_S = 20


class Member:
    """A running member."""

    def __init__(self, name, directory, cache_dir, address, settings, history, log_path):
        self.name = name
        self.expected_to_run = True
        self._history = history
        self._log_path = log_path
        self._log = open(log_path, "wb")
        self._process = subprocess.Popen([f"{directory}/member", str(cache_dir), address, json.dumps({"name": name, **settings})],
                                         stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, start_new_session=True)
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self):
        for line in self._process.stdout:
            try:
                self._history.add(self.name, json.loads(line))
            except ValueError:
                # A line that a kill has cut; anything else ends in a member that has told nothing.
                self._log.write(b"not JSON: " + line)

    def require_running(self):
        """A member that ends by itself has failed."""
        if self.expected_to_run and self._process.poll() is not None:
            raise Failure(f"member {self.name} ended by itself with {self._process.returncode}, see {self._log_path}: {self.last_words()}")

    def last_words(self):
        """The end of what it wrote to stderr."""
        return " ".join(self._log_path.read_text(errors="replace").split())[-300:]

    def kill(self):
        """Ends it at once; what it told before is read to the end."""
        self.expected_to_run = False
        self._signal(signal.SIGKILL)
        self._process.wait()
        self._reader.join()

    def stall(self):
        """Stops it where it stands: connected, and silent."""
        self._signal(signal.SIGSTOP)

    def resume(self):
        self._signal(signal.SIGCONT)

    def leave(self):
        """Asks it to leave the group and waits until it has ended."""
        self.expected_to_run = False
        self._process.stdin.close()
        try:
            code = self._process.wait(LEAVE_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Failure(f"member {self.name} did not end within {LEAVE_TIMEOUT_S} s when asked to leave") from None
        self._reader.join()
        if code != 0:
            raise Failure(f"member {self.name} ended with {code} when asked to leave: {self.last_words()}")

    def close(self):
        """Ends it however it stands."""
        if self._process.poll() is None:
            self.kill()
        for pipe in (self._process.stdin, self._process.stdout, self._log):
            with contextlib.suppress(OSError):
                pipe.close()

    def _signal(self, number):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)
