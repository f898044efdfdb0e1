"""Drives kafka-python: one operation per line of standard input, see runner/driver_loop.py. Started by `start`."""

import sys
import time

from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.version import __version__

import extras
from runner.driver_loop import checks, data, headers_in, headers_out, serve, text

LARGE_BYTES = 4 << 20
RETRY_S = 60
# How long a fetch waits in the broker. A tail's waits long, so that a broker that answers only at its end is found out; a
# reader's must not, for the next question on the same connection would wait behind it.
TAIL_WAIT_MS = 5000
READER_WAIT_MS = 100


class Driver:
    def __init__(self, address):
        self.address = address
        self._producers = {}
        self._reader = self._consumer(READER_WAIT_MS)
        self._tail = None
        self._tail_partition = None
        self.admin = KafkaAdminClient(bootstrap_servers=address)

    def _consumer(self, wait_ms):
        return KafkaConsumer(bootstrap_servers=self.address, group_id=None, enable_auto_commit=False, fetch_min_bytes=1,
                             fetch_max_wait_ms=wait_ms, max_partition_fetch_bytes=LARGE_BYTES,
                             auto_offset_reset="none", check_crcs=True, max_poll_records=100_000)

    def hello(self):
        return {"client": "kafka-python", "version": __version__, "language": "Python", "acks": ["0", "1", "all"],
                "codecs": ["none", "gzip", "snappy", "lz4", "zstd"], 
                "cannot": {"null_header": "its headers are text and bytes", "null_record": "it wants a key or a value"},
                "can": ["idempotent", "headers", "null_value", "null_key", "timestamps", "read_timestamp", "by_timestamp", "tail",
                        "create_topic", "delete_topic", "alter_topic", "describe_topic", "add_partitions", "delete_records",
                        "list_topics", "extras", "group:range", "group:sticky",
                        "group:cooperative-sticky", "group:static"]}

    def _producer(self, acks, codec, idempotent, linger_ms):
        settings = (acks, codec, idempotent, linger_ms)
        if settings not in self._producers:
            self._producers[settings] = KafkaProducer(
                bootstrap_servers=self.address, acks=acks if acks == "all" else int(acks),
                compression_type=None if codec == "none" else codec, enable_idempotence=idempotent, linger_ms=linger_ms,
                max_request_size=LARGE_BYTES, delivery_timeout_ms=RETRY_S * 1000, request_timeout_ms=10_000,
                max_in_flight_requests_per_connection=5 if idempotent else 1, reconnect_backoff_max_ms=500)
        return self._producers[settings]

    def produce(self, topic, acks, codec, idempotent, linger_ms, records):
        producer = self._producer(acks, codec, idempotent, linger_ms)
        sent = [producer.send(topic, data(record["value"]), data(record["key"]), headers_in(record), record["partition"],
                              record["timestamp_ms"]) for record in records]
        producer.flush(RETRY_S)
        offsets = [future.get(timeout=RETRY_S).offset for future in sent]
        return {"offsets": [None] * len(offsets) if acks == "0" else offsets}

    def consume(self, topic, partition, start, count, timeout_ms):
        here = TopicPartition(topic, partition)
        self._reader.assign([here])
        if start == "earliest":
            self._reader.seek_to_beginning(here)
        elif start == "latest":
            self._reader.seek_to_end(here)
        elif isinstance(start, dict):
            found = self._reader.offsets_for_times({here: start["timestamp_ms"]})[here]
            if found is None:
                self._reader.seek_to_end(here)
            else:
                self._reader.seek(here, found.offset)
        else:
            self._reader.seek(here, start)
        return {"records": read(self._reader, here, count, timeout_ms)}

    def tail_start(self, topic, partition):
        self._tail = self._tail or self._consumer(TAIL_WAIT_MS)
        self._tail_partition = TopicPartition(topic, partition)
        self._tail.assign([self._tail_partition])
        self._tail.seek_to_end(self._tail_partition)
        return {"position": self._tail.position(self._tail_partition)}

    def tail_read(self, count, timeout_ms):
        return {"records": read(self._tail, self._tail_partition, count, timeout_ms)}

    def watermarks(self, topic, partition):
        here = TopicPartition(topic, partition)
        return {"low": self._reader.beginning_offsets([here])[here], "high": self._reader.end_offsets([here])[here]}

    def offset_for_time(self, topic, partition, timestamp_ms):
        here = TopicPartition(topic, partition)
        found = self._reader.offsets_for_times({here: timestamp_ms})[here]
        return {"offset": None if found is None else found.offset}

    def create_topic(self, topic, partitions, configs):
        self.admin.create_topics({topic: {"num_partitions": partitions, "replication_factor": 1, "configs": configs}})

    def alter_topic(self, topic, configs):
        answer = self.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)])
        if (verdict := answer["topic"][topic]) not in (None, "OK", "Success", "NoError"):
            raise RuntimeError(str(verdict))

    def describe_topic(self, topic):
        partitions = self.admin.describe_topics([topic])[0]["partitions"]
        known = self.admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)], config_filter="all")
        return {"partitions": len(partitions),
                "configs": {name: config["value"] for name, config in known["topic"][topic].items()}}

    def add_partitions(self, topic, count):
        self.admin.create_partitions({topic: count})

    def delete_records(self, topic, partition, before):
        here = TopicPartition(topic, partition)
        return {"low": self.admin.delete_records({here: before})[here]["low_watermark"]}

    def delete_topic(self, topic):
        self.admin.delete_topics([topic])

    def list_topics(self):
        return {"topics": self.admin.list_topics()}

    def extras(self):
        return checks(extras.BEHAVIOURS, self)

    def bye(self):
        for client in (*self._producers.values(), self._reader, self._tail, self.admin):
            if client:
                client.close()


def read(consumer, here, count, timeout_ms):
    """Up to `count` records from where the consumer stands; it then stands behind the last of them."""
    deadline = time.monotonic() + timeout_ms / 1000
    messages = []
    while len(messages) < count and (left := deadline - time.monotonic()) > 0:
        got = consumer.poll(timeout_ms=int(left * 1000), max_records=count - len(messages))
        messages += got.get(here, [])
    return [{"partition": message.partition, "offset": message.offset, "timestamp_ms": message.timestamp,
             "key": text(message.key), "value": text(message.value), "headers": headers_out(message.headers)}
            for message in messages]


serve(Driver(sys.argv[1]))
