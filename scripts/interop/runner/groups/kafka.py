"""Apache Kafka in the place of the broker under trial: what groups do with it is what they must do. Run by scripts/peers/kafka.sh.

Offers what `broker.Broker` offers to rows about groups.
"""

import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from runner.failure import Failure
from runner.groups.settings import COORDINATOR

SCRIPT = Path(__file__).resolve().parents[3] / "peers" / "kafka.sh"
START_TIMEOUT_S = 120
# A broker that lives for seconds only gains nothing from better code later.
JVM_OPTIONS = "-XX:TieredStopAtLevel=1"
HEAP = "384m"
# The controller believes in a broker that was killed until its session ends, and lets no other one in its place.
SETTINGS = {**COORDINATOR, "broker.session.timeout.ms": 1500, "broker.heartbeat.interval.ms": 300, "offsets.topic.num.partitions": 4}


class KafkaPeer:
    """One node on a temporary data directory; it keeps its port over restarts."""

    # On a busy machine its start outlasts the patience of a producer.
    starts_slowly = True

    def __init__(self, log_path):
        self._directory = tempfile.TemporaryDirectory(prefix="ringmill-interop-kafka.")
        self._log_path = Path(log_path)
        self._log_path.write_bytes(b"")
        self._settings = [word for name, value in SETTINGS.items() for word in ("--set", f"{name}={value}")]
        self.address = None
        self.start()

    def start(self):
        """Starts it, on the same data if there are any."""
        port = ["--port", self.address.rsplit(":", 1)[1]] if self.address else []
        self._run("start", "--heap", HEAP, "--dir", self._directory.name, *port, *self._settings)
        self.address = (Path(self._directory.name) / "address").read_text().strip()

    def stop(self):
        self._run("stop", self._directory.name, "--keep")

    def kill(self):
        pid_file = Path(self._directory.name) / "pid"
        pid = int(pid_file.read_text())
        os.kill(pid, signal.SIGKILL)
        # It is no child of ours, so it cannot be waited for; and whose child it is may leave it there without a command line.
        command_line = Path(f"/proc/{pid}/cmdline")
        while command_line.exists() and command_line.read_bytes():
            time.sleep(0.02)
        pid_file.unlink()

    def require_quiet(self):
        """What it logs is its own affair."""

    def close(self):
        if (Path(self._directory.name) / "pid").exists():
            self.kill()
        self._directory.cleanup()

    def _run(self, *arguments):
        with open(self._log_path, "ab") as log:
            done = subprocess.run([SCRIPT, *arguments], stdin=subprocess.DEVNULL, stdout=log, stderr=log, timeout=START_TIMEOUT_S,
                                  env={**os.environ, "JAVA_TOOL_OPTIONS": JVM_OPTIONS})
        if done.returncode != 0:
            raise Failure(f"kafka.sh {arguments[0]} ended with {done.returncode}, see {self._log_path}")
