"""The broker's side: runs the real binary, and looks at what is stored with its own command line.

It is the witness that does not depend on the client: what `ringmill consume` reads and `ringmill log dump` finds on disk.
"""

import json
import re
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from runner.failure import Failure
from runner.records import from_cli_json

START_TIMEOUT_S = 20
# What the broker may warn of after it was killed: what it found half written and put right.
USUAL_WARNINGS = ("torn tail", "producer snapshot", "index")
COMMAND_TIMEOUT_S = 60


class Broker:
    """One broker on a temporary data directory; it keeps its port over restarts. `flags` go to `ringmill serve`."""

    starts_slowly = False

    def __init__(self, binary_dir, log_path, listen="127.0.0.1:0", flags=()):
        self._binary = str(Path(binary_dir) / "ringmill")
        self._directory = tempfile.TemporaryDirectory(prefix="ringmill-interop.")
        self.data_dir = Path(self._directory.name) / "data"
        self._log_path = Path(log_path)
        self._log_path.write_bytes(b"")
        self._process = None
        self._flags = list(flags)
        self.address = listen
        self.start()

    def start(self):
        """Starts it and waits until it says where it listens."""
        seen = self._log_path.stat().st_size
        with open(self._log_path, "ab") as log:
            self._process = subprocess.Popen(
                [self._binary, "serve", "--data-dir", str(self.data_dir), "--listen", self.address, "--log-format", "json",
                 *self._flags], stdin=subprocess.DEVNULL, stdout=log, stderr=log)
        deadline = time.monotonic() + START_TIMEOUT_S
        while time.monotonic() < deadline and self._process.poll() is None:
            with open(self._log_path, "rb") as log:
                log.seek(seen)
                ready = re.search(rb'"message":"ready","address":"([^"]+)"', log.read())
            if ready:
                self.address = ready.group(1).decode()
                return
            time.sleep(0.01)
        raise Failure(f"the broker did not start, see {self._log_path}")

    def kill(self):
        """What a power button does to a process."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        """An orderly stop, which must succeed and leave a log that verifies; gives the seconds that it took."""
        began = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        try:
            code = self._process.wait(COMMAND_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Failure(f"the broker did not end within {COMMAND_TIMEOUT_S} s when asked to stop, see {self._log_path}") from None
        stopped_s = time.monotonic() - began
        if code != 0:
            raise Failure(f"the broker ended with {code} when asked to stop, see {self._log_path}")
        if any(self.data_dir.glob("*/*.log")):
            self._run("log", "verify", "--records", str(self.data_dir))
        return stopped_s

    def require_quiet(self):
        """Whatever this client did, the broker must not have found anything wrong with it, or with itself."""
        if found := complaints(self._log_path.read_text(errors="replace")):
            raise Failure(f"{len(found)} complaints in the broker's log, the first: {found[0][:400]}")

    def close(self):
        """Ends it however it stands, and removes its data."""
        if self._process.poll() is None:
            self.kill()
        self._directory.cleanup()

    def create_topic(self, topic, partitions, configs):
        """Creates a topic for a scenario that is not about creating topics."""
        settings = [word for name, value in configs.items() for word in ("--set", f"{name}={value}")]
        self._run("topic", "create", topic, "--partitions", str(partitions), *settings, "--broker", self.address)

    def topics(self):
        """The names of all topics."""
        return [topic["topic"] for topic in json.loads(self._run("topic", "list", "-o", "json", "--broker", self.address))]

    def configs(self, topic):
        """What a topic's settings are, by `ringmill topic config`."""
        told = json.loads(self._run("topic", "config", topic, "-o", "json", "--broker", self.address))
        return {setting["setting"]: setting["value"] for setting in told}

    def produce(self, topic, lines, codec, partition):
        """Writes `lines`, bytes without a line feed, as `ringmill produce` does; what stands before a tab is the key."""
        self._run("produce", topic, "--codec", codec, "--key-separator", "\\t", "--partition", str(partition),
                  "--broker", self.address, stdin=b"".join(line + b"\n" for line in lines))

    def consume(self, topic, partition):
        """All records of a partition up to now."""
        text = self._run("consume", topic, "--partition", str(partition), "-o", "json", "--broker", self.address)
        return [from_cli_json(json.loads(line)) for line in text.splitlines()]

    def batches(self, topic, partition):
        """The header of every batch on disk."""
        text = self._run("log", "dump", "-o", "json", str(self.data_dir / f"{topic}-{partition}"))
        return [json.loads(line) for line in text.splitlines()]

    def active_segment(self, topic, partition):
        """The first offset of the segment that is written to."""
        return max(int(path.stem) for path in (self.data_dir / f"{topic}-{partition}").glob("*.log"))

    def _run(self, *arguments, stdin=b""):
        try:
            done = subprocess.run([self._binary, *arguments], input=stdin, capture_output=True, timeout=COMMAND_TIMEOUT_S)
        except subprocess.TimeoutExpired:
            raise Failure(f"ringmill {' '.join(arguments[:2])} did not end within {COMMAND_TIMEOUT_S} s") from None
        if done.returncode != 0:
            error = (done.stderr or done.stdout).decode(errors="replace").strip()
            raise Failure(f"ringmill {' '.join(arguments[:2])} ended with {done.returncode}: {error[-400:]}")
        return done.stdout


def complaints(log):
    """The lines of a broker's log that no run should bring: errors, warnings that are not usual, and panics, which are not JSON."""
    found = []
    for line in log.splitlines():
        try:
            said = json.loads(line)
        except ValueError:
            found.append(line)
            continue
        is_usual = any(words in said["message"] for words in USUAL_WARNINGS)
        if said["level"] == "ERROR" or said["level"] == "WARN" and not is_usual:
            found.append(line)
    return found
