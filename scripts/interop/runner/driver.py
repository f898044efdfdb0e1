"""A client under test: its driver program, spoken to in JSON lines over its standard input and output.

Nothing is known here of scenarios. A driver that dies, hangs or answers with an error raises `Failure`; after the first two
it must be started anew.

A driver is a directory in drivers/ with two programs. `install CACHE_DIR` gets the client from its registry, quickly when it
is there already, and ends with 77 and a reason if it cannot be had. `start CACHE_DIR ADDRESS` reads a JSON object per line and
answers each with one that has `ok`, and `error` if that is false. Operations and their fields are those of drivers/kafka_python.
A driver that can `extras` answers that operation with `checks`, a list of name, ok and detail: what only its client does.
`hello` tells what the client `can`; in `cannot` stand reasons, and words that are otherwise taken for granted: `null_header`,
`binary_header`, `header_order` (and a name that comes twice), `null_record` (neither key nor value), `empty_record` (no key, an
empty value), `empty_key`, `append_time` (reading timestamps that the broker set), `error_names` (of whatever a produce is refused with),
`configs` (creating topics with settings). With `group:NAME` among what it can, it has a third program, `member`: see
groups/member.py; NAME is an assignor, `static` or `consumer` (KIP-848), and `stall` among what it cannot is explained in groups/trial.py.
"""

import contextlib
import json
import os
import queue
import signal
import subprocess
import threading

from runner.failure import Failure

# How long any operation may take. Producing over a restart of the broker takes longest, on a busy machine.
ANSWER_TIMEOUT_S = 90
# How long a driver may take to end by itself once its standard input is closed.
END_TIMEOUT_S = 15


class Driver:
    """One running driver. Requests are answered in order, so several may be under way."""

    def __init__(self, name, directory, cache_dir, address, log_path):
        self.name = name
        self.dead = None
        self._log = open(log_path, "ab")
        # A group of its own, so that what the driver starts ends with it.
        self._process = subprocess.Popen([f"{directory}/start", str(cache_dir), address], stdin=subprocess.PIPE,
                                         stdout=subprocess.PIPE, stderr=self._log, start_new_session=True)
        self._requests = queue.SimpleQueue()
        self._answers = queue.SimpleQueue()
        # Both pipes have a thread: a driver that writes a large answer must not wait for one that writes a request.
        threading.Thread(target=self._write, daemon=True).start()
        threading.Thread(target=self._read, daemon=True).start()

    def _write(self):
        try:
            while (line := self._requests.get()) is not None:
                self._process.stdin.write(line)
                self._process.stdin.flush()
            self._process.stdin.close()
        except OSError:
            pass  # The driver is gone, which the reading side reports.

    def _read(self):
        for line in self._process.stdout:
            self._answers.put(line)
        self._answers.put(None)

    def send(self, op, **arguments):
        """Sends a request without waiting for its answer."""
        self._requests.put(json.dumps({"op": op, **arguments}).encode() + b"\n")

    def receive(self, op, timeout_s=ANSWER_TIMEOUT_S):
        """The answer to the oldest request that has none yet; `op` is only for the error's text."""
        answer = self.receive_any(op, timeout_s)
        if not answer.get("ok"):
            raise Failure(f"{op} failed in the client: {str(answer.get('error', 'no error given'))[:400]}")
        return answer

    def receive_any(self, op, timeout_s=ANSWER_TIMEOUT_S):
        """The same, but an error of the client is an answer too."""
        if self.dead:
            raise Failure(self.dead)
        try:
            line = self._answers.get(timeout=timeout_s)
        except queue.Empty:
            self.dead = f"the driver did not answer {op} within {timeout_s} s"
            raise Failure(self.dead) from None
        if line is None:
            self.dead = f"the driver ended during {op}, exit code {self._exit_code()}"
            raise Failure(self.dead)
        try:
            return json.loads(line)
        except ValueError:
            self.dead = f"the driver answered {op} with something else than JSON: {line[:200]!r}"
            raise Failure(self.dead) from None

    def answered(self):
        """Whether an answer waits to be received."""
        return not self._answers.empty()

    def call(self, op, timeout_s=ANSWER_TIMEOUT_S, **arguments):
        """Sends a request and waits for its answer."""
        self.send(op, **arguments)
        return self.receive(op, timeout_s)

    def end(self):
        """Closes its standard input and waits until it has ended; one that is dead, or does not end, is killed."""
        self._requests.put(None)
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(0 if self.dead else END_TIMEOUT_S)
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()
        self._log.close()

    def _exit_code(self):
        """That of a driver whose standard output has ended, which ought to have ended itself."""
        try:
            return self._process.wait(END_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            return "none yet"
