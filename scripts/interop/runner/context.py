"""What the steps of one scenario share: the client, the broker, the topic, and what must stand in it by now."""

import time

from runner import records
from runner.failure import Failure, short

CODECS = ("none", "gzip", "snappy", "lz4", "zstd")
READ_TIMEOUT_MS = 20_000
# How far the clocks that stamp a record may be from the moments around writing it: the same host, so only by rounding.
CLOCK_SLACK_MS = 1000


# What a client is taken to be able to write and read unless its driver names it among what it cannot.
USUAL = frozenset(["null_header", "binary_header", "header_order", "null_record", "empty_record", "empty_key",
                   "append_time", "configs"])


def abilities(hello):
    """What a client can, by its driver's word, and what is usual."""
    return set(hello["can"]) | (USUAL - set(hello.get("cannot", {})))


class Scene:
    """One scenario under way with one client."""

    def __init__(self, client, hello, host, other, renewed, topic, now=time.monotonic, launch=None, launch_other=None, history_path=None):
        self.client = client
        self.host = host
        self._other = other
        self._renewed = renewed
        self.topic = topic
        self.now = now
        # For groups: what starts a member of this client or another, and where the group's history is kept.
        self.launch = launch
        self.launch_other = launch_other
        self.history_path = history_path
        self.can = abilities(hello)
        self.cannot = hello.get("cannot", {})
        self.codecs = [codec for codec in CODECS if codec in hello["codecs"]]
        # What must stand in each partition, from `first` on: the log start, which deleting records moves.
        self.expected = {}
        self.first = {}

    def other(self):
        """Another client, as `(client, hello)`, to write what this one reads; None where there is none."""
        return self._other()

    def renew_client(self):
        """Goes on with a client that was started afterwards, and so knows nothing from before."""
        self.client = self._renewed()

    def written(self, sent, offsets, began_ms, by):
        """Notes records that were acknowledged, in the order sent; offsets that a client tells must be right."""
        for record, offset in zip(sent, offsets, strict=True):
            stored = self.expected.setdefault(record["partition"], [])
            expected_offset = stored[-1]["offset"] + 1 if stored else self.first.get(record["partition"], 0)
            if offset is not None and offset != expected_offset:
                raise Failure(f"{by} says a wrong offset for record {expected_offset}", expected_offset, offset)
            stored.append({**record, "offset": expected_offset, "began_ms": began_ms})

    def write(self, sent, by=None, **how):
        """Produces through the client under test, or `by` another one."""
        client = by or self.client
        options = {"acks": "all", "codec": "none", "idempotent": False, "linger_ms": 5, **how}
        began_ms = wall_ms()
        answer = client.call("produce", topic=self.topic, records=sent, **options)
        offsets = answer.get("offsets", [])
        if len(offsets) != len(sent):
            raise Failure("produce answered for another number of records", len(sent), len(offsets))
        if options["acks"] != "0" and None in offsets:
            raise Failure(f"produce told no offset for {offsets.count(None)} of {len(sent)} records")
        self.written(sent, offsets, began_ms, "produce")

    def read(self, partition, start, count, timeout_ms=READ_TIMEOUT_MS):
        """Consumes through the client under test."""
        if count == 0:
            return []
        answer = self.client.call("consume", topic=self.topic, partition=partition, count=count, timeout_ms=timeout_ms,
                                  **{"from": start})
        return answer["records"]

    def compare(self, partition, got, by, first=None):
        """Every byte of what was read, and its order, against what must stand from offset `first` to the end."""
        stored = self.expected.get(partition, [])
        wanted = [record for record in stored if first is None or record["offset"] >= first]
        if len(got) != len(wanted):
            raise Failure(f"{by} of partition {partition}: number of records", len(wanted), len(got))
        fields = ["partition", "offset", "key", "value"]
        is_client = by == "the client's reading"
        if not is_client or "headers" in self.can:
            fields.append("headers")
        read_timestamps = not is_client or "read_timestamp" in self.can
        for expected, record in zip(wanted, got):
            compare_record(expected, record, fields, f"{by} of partition {partition}, record {expected['offset']}")
            if read_timestamps:
                compare_timestamp(expected, record, f"{by} of partition {partition}, record {expected['offset']}")


def compare_record(expected, got, fields, what):
    """Two records in the named fields."""
    if (field := records.same(expected, got, fields)) is not None:
        raise Failure(f"{what}: {field}", records.readable(field, expected[field]), records.readable(field, got.get(field)))


def compare_timestamp(expected, got, what):
    """The timestamp that was set, or one of the time of writing."""
    timestamp = got.get("timestamp_ms")
    if expected["timestamp_ms"] is not None:
        if timestamp != expected["timestamp_ms"]:
            raise Failure(f"{what}: timestamp", expected["timestamp_ms"], timestamp)
        return
    low, high = expected["began_ms"] - CLOCK_SLACK_MS, wall_ms() + CLOCK_SLACK_MS
    if timestamp is None or not low <= timestamp <= high:
        raise Failure(f"{what}: timestamp", f"{low}..{high}", short(timestamp))


def wall_ms():
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
