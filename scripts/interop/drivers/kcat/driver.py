"""Drives kcat: every operation is one or more runs of the program, see runner/driver_loop.py. Started by `start`.

kcat takes headers and the meaning of an empty value for a whole run, so records are sent in runs of records alike.
"""

import itertools
import json
import queue
import re
import subprocess
import sys
import threading
import time

from runner.driver_loop import data, headers_in, serve, text

# What separates records, and keys from values, in what kcat reads: nothing that stands in a log.
RECORD_END, KEY_END = b"\x1d\x1e<end>", b"\x1d\x1e<key>"
RETRY_S = 60
ANSWER_S = 20
LARGE_BYTES = 4 << 20
# The tail's fetch waits long in the broker, so that one that answers only at its end is found out.
TAIL_WAIT_MS = 5000
FORMAT = "%p %o %T %K %S %h\\n%k%s"


def escaped(data):
    """Bytes as kcat's command line takes them."""
    return "".join(f"\\x{byte:02x}" for byte in data)


class Driver:
    def __init__(self, address):
        self.address = address
        self._tail = None

    def _kcat(self, *arguments, stdin=b"", timeout_s=ANSWER_S):
        done = subprocess.run(["kcat", "-b", self.address, *arguments], input=stdin, capture_output=True, timeout=timeout_s)
        if done.returncode != 0:
            raise RuntimeError(f"kcat {arguments[0]} ended with {done.returncode}: {done.stderr[-300:].decode(errors='replace')}")
        return done

    def hello(self):
        version = subprocess.run(["kcat", "-V"], capture_output=True, check=True).stdout.decode()
        kcat, library = re.search(r"Version (\S+) .*librdkafka (\S+)", version).groups()
        no_admin = "it has no such mode"
        return {"client": "kcat", "version": f"{kcat} (librdkafka {library})", "language": "C", "acks": ["0", "1", "all"],
                "codecs": ["none", "gzip", "snappy", "lz4", "zstd"],
                "can": ["idempotent", "headers", "null_value", "null_key", "read_timestamp", "by_timestamp", "tail",
                        "describe_topic", "list_topics"],
                "cannot": {"timestamps": "it stamps records itself", "create_topic": no_admin, "delete_topic": no_admin,
                           "alter_topic": no_admin, "add_partitions": no_admin, "delete_records": no_admin,
                           "empty_record": "it skips empty messages without a key",
                           "null_record": "it skips empty messages without a key",
                           "empty_key": "with null values, an empty key is null too",
                           "binary_header": "headers are arguments, and printed as text"}}

    def produce(self, topic, acks, codec, idempotent, linger_ms, records):
        def alike(record):
            return record["partition"], headers_in(record), record["value"] is None

        offsets = []
        for (partition, headers, is_null), run in itertools.groupby(records, alike):
            offsets += self._send(topic, partition, headers, is_null, list(run), acks,
                                  {"compression.type": codec, "acks": acks, "enable.idempotence": str(idempotent).lower(),
                                   "linger.ms": linger_ms, "max.in.flight": 5 if idempotent else 1})
        return {"offsets": offsets}

    def _send(self, topic, partition, headers, is_null, records, acks, settings):
        settings |= {"message.max.bytes": LARGE_BYTES, "message.timeout.ms": RETRY_S * 1000, "retry.backoff.ms": 50,
                     "reconnect.backoff.max.ms": 500, "topic.produce.offset.report": "true"}
        options = [word for name, value in settings.items() for word in ("-X", f"{name}={value}")]
        for name, value in headers:
            options += ["-H", name if value is None else f"{name}={value.decode()}"]
        stream = b"".join((b"" if record["key"] is None else data(record["key"]) + KEY_END) + (data(record["value"]) or b"")
                          + RECORD_END for record in records)
        # -E: a broker that goes away for a while is no reason to end. -vvv: tell every delivery.
        done = self._kcat("-P", "-t", topic, "-p", str(partition), "-E", "-vvv", "-D", escaped(RECORD_END), "-K", escaped(KEY_END),
                          *(["-Z"] if is_null else []), *options, stdin=stream, timeout_s=RETRY_S)
        if acks == "0":
            return [None] * len(records)
        told = re.findall(rb"Message delivered to partition \d+ \(offset (\d+)\)", done.stderr)
        if len(told) != len(records):
            raise RuntimeError(f"{len(told)} of {len(records)} records delivered: {done.stderr[-300:].decode(errors='replace')}")
        return [int(offset) for offset in told]

    def consume(self, topic, partition, start, count, timeout_ms):
        place = {"earliest": "beginning", "latest": "end"}.get(start, start) if not isinstance(start, dict) else f"s@{start['timestamp_ms']}"
        reader = Reader(self.address, topic, partition, place, "-c", str(count), "-X", "fetch.wait.max.ms=100")
        return {"records": reader.take(count, timeout_ms, last=True)}

    def tail_start(self, topic, partition):
        if self._tail:
            self._tail.end()
        position = self._query(topic, partition, -1)
        # -E: without it kcat ends with the broker.
        self._tail = Reader(self.address, topic, partition, position, "-E", "-u", "-X", f"fetch.wait.max.ms={TAIL_WAIT_MS}")
        return {"position": position}

    def tail_read(self, count, timeout_ms):
        return {"records": self._tail.take(count, timeout_ms)}

    def _query(self, topic, partition, timestamp_ms):
        answer = self._kcat("-Q", "-t", f"{topic}:{partition}:{timestamp_ms}").stdout
        return int(re.search(rb"offset (-?\d+)", answer).group(1))

    def watermarks(self, topic, partition):
        return {"low": self._query(topic, partition, -2), "high": self._query(topic, partition, -1)}

    def offset_for_time(self, topic, partition, timestamp_ms):
        offset = self._query(topic, partition, timestamp_ms)
        return {"offset": None if offset < 0 else offset}

    def _metadata(self, *arguments):
        return json.loads(self._kcat("-L", "-J", *arguments).stdout)["topics"]

    def describe_topic(self, topic):
        return {"partitions": len(self._metadata("-t", topic)[0]["partitions"])}

    def list_topics(self):
        return {"topics": [topic["topic"] for topic in self._metadata()]}

    def bye(self):
        if self._tail:
            self._tail.end()


class Reader:
    """A kcat that consumes one partition, and the records that it has printed so far."""

    def __init__(self, address, topic, partition, place, *options):
        self._process = subprocess.Popen(
            ["kcat", "-C", "-b", address, "-t", topic, "-p", str(partition), "-o", str(place), "-q", "-f", FORMAT,
             "-X", f"max.partition.fetch.bytes={LARGE_BYTES}", "-X", "check.crcs=true", *options],
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
        self._records = queue.SimpleQueue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        while line := self._process.stdout.readline():
            partition, offset, timestamp, key_bytes, value_bytes, headers = line.rstrip(b"\n").split(b" ", 5)
            self._records.put({"partition": int(partition), "offset": int(offset), "timestamp_ms": int(timestamp),
                               "key": self._bytes(int(key_bytes)), "value": self._bytes(int(value_bytes)),
                               "headers": parse_headers(headers.decode())})
        self._records.put(None)

    def _bytes(self, count):
        return None if count < 0 else text(self._process.stdout.read(count))

    def take(self, count, timeout_ms, last=False):
        """Up to `count` records, waiting for them; with `last` the process ends then."""
        deadline = time.monotonic() + timeout_ms / 1000
        taken = []
        while len(taken) < count and (left := deadline - time.monotonic()) > 0:
            try:
                record = self._records.get(timeout=left)
            except queue.Empty:
                break
            if record is None:
                raise RuntimeError(f"kcat ended with {self._process.wait()} after {len(taken)} records")
            taken.append(record)
        if last:
            self.end()
        return taken

    def end(self):
        self._process.kill()
        self._process.wait()


def parse_headers(printed):
    """Headers as kcat prints them: NAME=VALUE, separated by commas, a null as NULL."""
    pairs = (pair.split("=", 1) for pair in printed.split(",") if pair)
    return [[name, None if value == "NULL" else text(value.encode())] for name, value in pairs]


driver = Driver(sys.argv[1])
try:
    serve(driver)
finally:
    # Without a `bye` too: a kcat that tails does not end with its reader.
    driver.bye()
