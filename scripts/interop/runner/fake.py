"""A broker and a client that are only memory, for `selftest`: the client is honest, or has one named fault.

Both offer the same methods as `broker.Broker` and `driver.Driver`, without processes and without waiting.
"""

import copy

from runner import records
from runner.context import wall_ms
from runner.failure import Failure


class FakeBroker:
    """Topics as lists of records."""

    def __init__(self):
        self.topics_by_name = {}
        self.is_up = True

    def create_topic(self, topic, partitions, configs):
        self.topics_by_name[topic] = {"configs": dict(configs), "low": {},
                                      "partitions": [{"records": [], "batches": []} for _ in range(partitions)]}

    def refuse(self, topic, partitions, configs):
        """Refuses what a broker must not create."""
        if topic in self.topics_by_name:
            raise Failure("TOPIC_ALREADY_EXISTS")
        if "/" in topic:
            raise Failure("INVALID_TOPIC_EXCEPTION")
        if partitions > 100_000:
            raise Failure("INVALID_PARTITIONS")
        if any(not value.isdecimal() or name.startswith("no.") for name, value in configs.items()):
            raise Failure("INVALID_CONFIG")

    def topics(self):
        return list(self.topics_by_name)

    def configs(self, topic):
        return dict(self.topics_by_name[topic]["configs"])

    def kill(self):
        self.is_up = False

    def start(self):
        self.is_up = True

    def partition(self, topic, partition):
        if topic not in self.topics_by_name:
            self.create_topic(topic, 1, {})
        return self.topics_by_name[topic]["partitions"][partition]

    def append(self, topic, partition, made, codec, producer_id):
        """Appends one batch and gives the offset of its first record."""
        log = self.partition(topic, partition)
        base = len(log["records"])
        sequence = sum(batch["record_count"] for batch in log["batches"] if batch["producer_id"] == producer_id)
        configs = self.topics_by_name[topic]["configs"]
        if any(len(record["value"] or "") > int(configs.get("max.message.bytes", 1 << 30)) for record in made):
            raise Failure("produce failed in the client: MESSAGE_TOO_LARGE")
        if configs.get("cleanup.policy") == "compact" and any(record["key"] is None for record in made):
            raise Failure("produce failed in the client: INVALID_RECORD")
        by_broker = configs.get("message.timestamp.type") == "LogAppendTime"
        for nth, record in enumerate(made):
            stamp = wall_ms() if by_broker or record["timestamp_ms"] is None else record["timestamp_ms"]
            log["records"].append({**record, "offset": base + nth, "timestamp_ms": stamp})
        log["batches"].append({"base_offset": base, "record_count": len(made), "codec": codec, "producer_id": producer_id,
                               "producer_epoch": 0, "base_sequence": sequence})
        return base

    def produce(self, topic, lines, codec, partition):
        made = []
        for line in lines:
            key, tab, value = line.partition(b"\t")
            made.append({"partition": partition, "key": records.text_of(key if tab else None),
                         "value": records.text_of(value if tab else key), "headers": [], "timestamp_ms": None})
        self.append(topic, partition, made, codec, -1)

    def consume(self, topic, partition):
        low = self.topics_by_name[topic]["low"].get(partition, 0)
        stored = self.partition(topic, partition)["records"][low:]
        if self.topics_by_name[topic]["configs"].get("cleanup.policy") == "compact":
            active = self.active_segment(topic, partition)
            last = {record["key"]: record["offset"] for record in stored if record["offset"] < active}
            stored = [record for record in stored if record["offset"] >= active or last[record["key"]] == record["offset"]]
        return copy.deepcopy(stored)

    def batches(self, topic, partition):
        found = self.partition(topic, partition)["batches"]
        if self.topics_by_name[topic]["configs"].get("cleanup.policy") == "compact":
            left = {record["offset"] for record in self.consume(topic, partition)}
            ranges = [range(batch["base_offset"], batch["base_offset"] + batch["record_count"]) for batch in found]
            found = [{**batch, "record_count": sum(offset in left for offset in offsets)} for batch, offsets in zip(found, ranges)]
        return found

    def active_segment(self, topic, partition):
        large = [record["offset"] for record in self.partition(topic, partition)["records"] if len(record["value"] or "") >= records.LARGE_BYTES]
        return max(large, default=0)


class FakeDriver:
    """A client that does as it is told, except for one fault."""

    def __init__(self, broker, fault=None):
        self.broker = broker
        self.fault = fault
        self.clock_s = 0.0
        self._requests = []
        self._tail = None

    def now(self):
        """Seconds on the fake's own clock, which only its faults move."""
        return self.clock_s

    def send(self, op, **arguments):
        self._requests.append((op, arguments))

    def receive(self, op, timeout_s=0):
        sent, arguments = self._requests.pop(0)
        assert sent == op, f"{op} was expected, {sent} sent"
        return getattr(self, op)(**arguments) or {}

    def receive_any(self, op, timeout_s=0):
        try:
            return {"ok": True, **self.receive(op)}
        except Failure as failure:
            if self.fault == "produce is refused for another reason" and op == "produce":
                return {"ok": False, "error": "produce failed in the client: UNKNOWN_SERVER_ERROR"}
            return {"ok": False, "error": str(failure)}

    def call(self, op, timeout_s=0, **arguments):
        self.send(op, **arguments)
        return self.receive(op)

    def answered(self):
        # The request for what is latest is answered once something was written.
        topic = self._requests[0][1]["topic"]
        return any(record["value"] == records.text_of(b"latest 1") for record in self.broker.consume(topic, 0))

    def hello(self):
        return {"client": "fake", "version": "1", "language": "none", "codecs": ["none", "gzip", "snappy", "lz4", "zstd"],
                "acks": ["0", "1", "all"], "cannot": {},
                "can": ["idempotent", "headers", "null_value", "null_key", "timestamps", "read_timestamp", "by_timestamp", "tail",
                        "create_topic", "delete_topic", "alter_topic", "describe_topic", "add_partitions", "delete_records",
                        "list_topics", "extras"]}

    def produce(self, topic, records, acks, codec, idempotent, linger_ms):
        sent = copy.deepcopy(records)
        if self.fault == "produce drops a record":
            sent = sent[:-1]
        if self.fault == "produce swaps two records" and len(sent) > 9:
            sent[4], sent[5] = sent[5], sent[4]
        if self.fault == "produce alters a value" and sent[-1]["value"]:
            sent[-1]["value"] = "AAAA" + sent[-1]["value"][4:]
        if self.fault == "produce repeats records" and len(sent) < 60:
            sent += sent
        if self.fault == "produce loses headers":
            sent = [{**record, "headers": []} for record in sent]
        if self.fault == "produce loses timestamps":
            sent = [{**record, "timestamp_ms": None} for record in sent]
        if self.fault == "produce writes null as empty":
            sent = [{**record, "value": record["value"] or ""} for record in sent]
        if self.fault == "produce does not compress":
            codec = "none"
        if self.fault == "produce hides refusals" and len(sent) == 1:
            return {"offsets": [0]}
        if self.fault == "produce is always refused by a compacted topic" and self.broker.configs(topic).get("cleanup.policy") == "compact":
            raise Failure("produce failed in the client: INVALID_RECORD")
        if self.fault == "produce is not idempotent":
            idempotent = False
        if self.fault == "produce writes nothing without acks" and acks == "0":
            return {"offsets": [None] * len(records)}
        offsets = {}
        for partition in sorted({record["partition"] for record in sent}):
            part = [record for record in sent if record["partition"] == partition]
            base = self.broker.append(topic, partition, part, codec, 7 if idempotent else -1)
            offsets[partition] = iter(range(base, base + 2 * len(records)))
        told = [next(offsets[record["partition"]], None) if record["partition"] in offsets else None for record in records]
        if self.fault == "produce tells wrong offsets":
            told = [offset + 1 for offset in told]
        return {"offsets": [None] * len(told) if acks == "0" else told}

    def consume(self, topic, partition, count, timeout_ms, **start):
        stored = self.broker.consume(topic, partition)
        start = start["from"]
        if start == "latest":
            stored = stored[0 if self.fault == "consume takes latest for earliest" else -1:]
        elif isinstance(start, dict):
            late = 1000 if self.fault == "consume begins late" else 0
            stored = [record for record in stored if record["timestamp_ms"] >= start["timestamp_ms"] + late]
        elif start != "earliest":
            late = 1 if self.fault == "consume begins late" else 0
            if self.fault == "consume finds no gap" and all(record["offset"] != start for record in stored):
                stored = []
            stored = [record for record in stored if record["offset"] >= start + late]
        return {"records": self.tamper(stored[:None if self.fault == "consume ignores the count" else count])}

    def tamper(self, stored):
        """What was read, as a client with a fault would give it."""
        if self.fault == "consume drops a record":
            return stored[:-1]
        if self.fault == "consume skips a record" and len(stored) > 3:
            return stored[:1] + stored[2:] + stored[-1:]
        if self.fault == "consume stops at a gap":
            return [record for nth, record in enumerate(stored) if record["offset"] == stored[0]["offset"] + nth]
        if self.fault == "consume swaps two records" and len(stored) > 1:
            stored[0], stored[1] = stored[1], stored[0]
        if self.fault == "consume alters a value" and stored and stored[-1]["value"]:
            stored[-1]["value"] = stored[-1]["value"][:-4] + "AAAA"
        if self.fault == "consume reads empty as null":
            stored = [{**record, "value": record["value"] or None} for record in stored]
        if self.fault == "consume reads a null key as empty":
            stored = [{**record, "key": record["key"] or ""} for record in stored]
        if self.fault == "consume sorts headers":
            stored = [{**record, "headers": sorted(record["headers"], key=str)} for record in stored]
        if self.fault == "consume tells the year 1970":
            stored = [{**record, "timestamp_ms": 0} for record in stored]
        if self.fault == "consume shifts timestamps":
            stored = [{**record, "timestamp_ms": record["timestamp_ms"] + 1} for record in stored]
        return stored

    def tail_start(self, topic, partition):
        self._tail = (topic, partition, len(self.broker.consume(topic, partition)))
        return {"position": self._tail[2]}

    def tail_read(self, count, timeout_ms):
        topic, partition, position = self._tail
        got = self.broker.consume(topic, partition)[position:position + count]
        self._tail = (topic, partition, position + len(got))
        if self.fault == "tail comes late":
            self.clock_s += timeout_ms / 1000 / 2
        return {"records": self.tamper(got)}

    def watermarks(self, topic, partition):
        stored = self.broker.partition(topic, partition)["records"]
        low = self.broker.topics_by_name[topic]["low"].get(partition, 0)
        return {"low": low, "high": len(stored) - (1 if self.fault == "watermarks are low" else 0)}

    def offset_for_time(self, topic, partition, timestamp_ms):
        stored = self.broker.consume(topic, partition)
        found = next((record["offset"] for record in stored if record["timestamp_ms"] >= timestamp_ms), None)
        return {"offset": 0 if self.fault == "offset_for_time finds nothing" and found else found}

    def extras(self):
        return {"checks": [{"name": "an own check", "ok": self.fault != "extras find a fault", "detail": "a fault"}]}

    def create_topic(self, topic, partitions, configs):
        if self.fault != "create_topic hides refusals":
            self.broker.refuse(topic, partitions, configs)
        self.broker.create_topic(topic, 1 if self.fault == "create_topic ignores partitions" else partitions,
                                 {} if self.fault == "create_topic ignores settings" else configs)

    def alter_topic(self, topic, configs):
        if self.fault != "alter_topic does nothing":
            self.broker.topics_by_name[topic]["configs"].update(configs)

    def describe_topic(self, topic):
        known = self.broker.topics_by_name[topic]
        return {"partitions": len(known["partitions"]), "configs": known["configs"]}

    def add_partitions(self, topic, count):
        known = self.broker.topics_by_name[topic]["partitions"]
        if self.fault != "add_partitions does nothing":
            known += [{"records": [], "batches": []} for _ in range(count - len(known))]

    def delete_records(self, topic, partition, before):
        if self.fault != "delete_records does nothing":
            self.broker.topics_by_name[topic]["low"][partition] = before
        return {"low": before}

    def delete_topic(self, topic):
        if self.fault == "delete_topic fails":
            raise Failure("delete_topic failed in the client")
        self.broker.topics_by_name.pop(topic)

    def list_topics(self):
        ghosts = ["ghost"] if self.fault == "list_topics forgets all" else None
        return {"topics": ghosts or self.broker.topics()}
