"""Runs rows of Kafka tools in one JVM and compares what they print, their exit code and their stderr with what the row says.

What is run stands in rows.py; the JVM's side is Launcher.java. Called by scripts/interop/kafka_tools.sh.
"""

import os
import re
import shlex
import subprocess
import sys
import time
from dataclasses import dataclass

# The class behind each of Kafka's bin/*.sh; topic-configs is our own comparison with Kafka's code.
TOOLS = {
    "topics": "org.apache.kafka.tools.TopicCommand",
    "configs": "kafka.admin.ConfigCommand",
    "get-offsets": "org.apache.kafka.tools.GetOffsetShell",
    "delete-records": "org.apache.kafka.tools.DeleteRecordsCommand",
    "log-dirs": "org.apache.kafka.tools.LogDirsCommand",
    "broker-api-versions": "org.apache.kafka.tools.BrokerApiVersionsCommand",
    "console-producer": "org.apache.kafka.tools.ConsoleProducer",
    "console-consumer": "org.apache.kafka.tools.consumer.ConsoleConsumer",
    "producer-perf-test": "org.apache.kafka.tools.ProducerPerformance",
    "consumer-perf-test": "org.apache.kafka.tools.ConsumerPerformance",
    "topic-configs": "TopicConfigs",
    "e2e-latency": "org.apache.kafka.tools.EndToEndLatency",
    "features": "org.apache.kafka.tools.FeatureCommand",
    "cluster": "org.apache.kafka.tools.ClusterTool",
    "client-metrics": "org.apache.kafka.tools.ClientMetricsCommand",
    "consumer-groups": "org.apache.kafka.tools.consumer.group.ConsumerGroupCommand",
    "verifiable-producer": "org.apache.kafka.tools.VerifiableProducer",
    "verifiable-consumer": "org.apache.kafka.tools.VerifiableConsumer",
    "dump-log": "org.apache.kafka.tools.DumpLogSegments",
}
WITHOUT_BROKER = {"dump-log"}
# These want a verb before every flag.
WITH_VERB = {"cluster"}


@dataclass
class Row:
    """One call of a tool. {names} in the texts are values that are known before, or that earlier rows found."""

    tool: str
    arguments: str
    #: Regular expressions that must match the output; their named groups are known to later rows.
    shows: tuple = ()
    #: Regular expressions that must not match the output.
    hides: tuple = ()
    exit_code: int = 0
    #: What stderr must be, all of it.
    stderr: str = ""
    stdin: str = "/dev/null"
    #: An API, as broker-api-versions names it, without which the tool cannot work: as long as the broker lacks it, the tool must say so.
    needs: str = ""
    why: str = ""


class Failed(Exception):
    """A row that did not do what it says."""


def version_in(jars):
    """The version of Kafka in this folder."""
    return next(found[1] for name in os.listdir(jars) if (found := re.fullmatch(r"kafka-tools-(\d.*)\.jar", name)))


class Tools:
    """The JVM, and what the rows have found so far. `classes` replaces some of TOOLS."""

    def __init__(self, jars, launcher, work, known, classes=()):
        self.work, self.known, self.waiting = work, known, []
        self.classes = {**TOOLS, **dict(classes)}
        self.version = version_in(jars)
        self.jvm = subprocess.Popen(
            ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx512m", "-Djava.security.manager=allow",
             "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn", "-cp", f"{launcher}:{jars}/*", "Launcher"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=open(f"{work}/jvm.err", "wb"), text=True)

    def run(self, rows):
        """Runs all of them and says of each how it went; returns how many failed."""
        failed = 0
        for row in rows:
            started = time.monotonic()
            try:
                verdict = self.one(row)
            except Failed as error:
                failed += 1
                verdict = f"FAILED: {error}"
            print(f"{time.monotonic() - started:6.2f} s  {row.tool} {row.arguments}: {verdict}", flush=True)
        return failed

    def one(self, row):
        """One row; the verdict in a word."""
        try:
            arguments, stdin = row.arguments.format(**self.known), row.stdin.format(**self.known)
        except KeyError as name:
            raise Failed(f"no earlier row has found {name}") from None
        code, out, err = self.call(row.tool, arguments, stdin)
        if row.needs and not self.served(row.needs):
            return self.must_wait(row, out, err)
        shown = f"\n--- stdout\n{out[-3000:]}\n--- stderr\n{err[-3000:]}"
        if code != row.exit_code:
            raise Failed(f"exit code {code}, not {row.exit_code}{shown}")
        if not re.fullmatch(self.filled(row.stderr), err.strip(), re.DOTALL):
            raise Failed(f"stderr is not {row.stderr!r}{shown}")
        for pattern in row.shows:
            found = re.search(self.filled(pattern), out, re.MULTILINE)
            if not found:
                raise Failed(f"the output lacks {pattern!r}{shown}")
            self.known.update(found.groupdict())
        for pattern in row.hides:
            found = re.search(self.filled(pattern), out, re.MULTILINE)
            if found:
                raise Failed(f"the output must not have {found[0]!r}{shown}")
        return "ok"

    def must_wait(self, row, out, err):
        """The tool itself must name the API that it lacks; else the row must not be passed over."""
        name = re.sub(r"(?<=[a-z])(?=[A-Z])", "_", row.needs).upper()
        reason = re.search(rf"The node does not support {name}\b", err)
        if not reason:
            raise Failed(f"it does not say that it lacks {name}\n--- stdout\n{out[-3000:]}\n--- stderr\n{err[-3000:]}")
        self.waiting.append(f"{row.tool} {row.arguments}: {row.why}, and says \"{reason[0]}\"")
        return f"waits for {row.needs}"

    def filled(self, pattern):
        """A pattern with what is known put in for {names}; other braces are the pattern's own."""
        return re.sub(r"\{([a-z_]+)\}", lambda name: re.escape(str(self.known.get(name[1], name[0]))), pattern)

    def served(self, api):
        """Whether the broker speaks it, as broker-api-versions says."""
        if "apis" not in self.known:
            self.known["apis"] = self.call("broker-api-versions", "", "/dev/null")[1]
        return re.search(rf"{api}\(\d+\): \d", self.known["apis"]) is not None

    def call(self, tool, arguments, stdin="/dev/null"):
        """Runs one tool; its exit code, stdout and stderr."""
        out, err = f"{self.work}/tool.out", f"{self.work}/tool.err"
        words = shlex.split(arguments)
        if tool not in WITHOUT_BROKER:
            at = 1 if tool in WITH_VERB else 0
            words[at:at] = ["--bootstrap-server", self.known["address"]]
        print("\x1f".join([out, err, stdin, self.classes[tool], *words]), file=self.jvm.stdin, flush=True)
        code = self.jvm.stdout.readline()
        if not code:
            sys.exit(f"FAILED: the JVM ended in {tool} {arguments}: {open(f'{self.work}/jvm.err').read()[-2000:]}")
        return int(code), open(out, errors="replace").read(), open(err, errors="replace").read()

    def close(self):
        """Ends the JVM."""
        self.jvm.stdin.close()
        try:
            self.jvm.wait(30)
        except subprocess.TimeoutExpired:
            self.jvm.kill()
            sys.exit("FAILED: the JVM did not end within 30 s of its last tool")
