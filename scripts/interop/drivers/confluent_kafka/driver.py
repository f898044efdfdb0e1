"""Drives confluent-kafka, a current librdkafka: one operation per line, see runner/driver_loop.py. Started by `start`."""

import sys
import time

import confluent_kafka
from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import (
    AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, ResourceType,
)

import extras
from runner.driver_loop import checks, data, headers_in, headers_out, serve, text

LARGE_BYTES = 4 << 20
ANSWER_S = 20
RETRY_S = 60
# How long a fetch waits in the broker. A tail's waits long, so that a broker that answers only at its end is found out; a
# reader's must not, for the next question on the same connection would wait behind it.
TAIL_WAIT_MS = 5000
READER_WAIT_MS = 100


class Driver:
    def __init__(self, address):
        # A broker that restarts is to be found again at once.
        self.address = {"bootstrap.servers": address, "reconnect.backoff.max.ms": 500}
        self._producers = {}
        self._reader = self._consumer(READER_WAIT_MS)
        self._tail = None
        self.admin = AdminClient(self.address)

    def _consumer(self, wait_ms):
        return Consumer({**self.address, "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "error",
                         "check.crcs": True, "fetch.wait.max.ms": wait_ms, "max.partition.fetch.bytes": LARGE_BYTES})

    def hello(self):
        return {"client": "confluent-kafka", "version": f"{confluent_kafka.__version__} (librdkafka {confluent_kafka.libversion()[0]})",
                "language": "Python", "acks": ["0", "1", "all"], "codecs": ["none", "gzip", "snappy", "lz4", "zstd"], "cannot": {},
                "can": ["idempotent", "headers", "null_value", "null_key", "timestamps", "read_timestamp", "by_timestamp", "tail",
                        "create_topic", "delete_topic", "alter_topic", "describe_topic", "add_partitions", "delete_records",
                        "list_topics", "extras", "group:range", "group:cooperative-sticky", "group:static", "group:consumer"]}

    def _producer(self, acks, codec, idempotent, linger_ms):
        settings = (acks, codec, idempotent, linger_ms)
        if settings not in self._producers:
            self._producers[settings] = Producer({
                **self.address, "acks": acks, "compression.type": codec, "enable.idempotence": idempotent, "linger.ms": linger_ms,
                "message.max.bytes": LARGE_BYTES, "message.timeout.ms": RETRY_S * 1000, "retry.backoff.ms": 50,
                "max.in.flight": 5 if idempotent else 1})
        return self._producers[settings]

    def produce(self, topic, acks, codec, idempotent, linger_ms, records):
        producer = self._producer(acks, codec, idempotent, linger_ms)
        offsets, errors = {}, []

        def delivered(number):
            def note(error, message):
                if error:
                    errors.append(error)
                else:
                    offsets[number] = message.offset()
            return note

        for number, record in enumerate(records):
            stamp = {} if record["timestamp_ms"] is None else {"timestamp": record["timestamp_ms"]}
            producer.produce(topic, key=data(record["key"]), value=data(record["value"]), headers=headers_in(record) or None,
                             partition=record["partition"], on_delivery=delivered(number), **stamp)
            producer.poll(0)
        left = producer.flush(RETRY_S)
        if left or errors:
            raise KafkaException(errors[0] if errors else f"{left} records were not delivered within {RETRY_S} s")
        return {"offsets": [None if acks == "0" else offsets[number] for number in range(len(records))]}

    def consume(self, topic, partition, start, count, timeout_ms):
        if isinstance(start, dict):
            offset = self._time_search(topic, partition, start["timestamp_ms"])
        else:
            offset = {"earliest": OFFSET_BEGINNING, "latest": OFFSET_END}.get(start, start)
        self._reader.assign([TopicPartition(topic, partition, offset)])
        return {"records": read(self._reader, count, timeout_ms)}

    def tail_start(self, topic, partition):
        self._tail = self._tail or self._consumer(TAIL_WAIT_MS)
        _, end = self._tail.get_watermark_offsets(TopicPartition(topic, partition), timeout=ANSWER_S)
        self._tail.assign([TopicPartition(topic, partition, end)])
        return {"position": end}

    def tail_read(self, count, timeout_ms):
        return {"records": read(self._tail, count, timeout_ms)}

    def watermarks(self, topic, partition):
        low, high = self._reader.get_watermark_offsets(TopicPartition(topic, partition), timeout=ANSWER_S)
        return {"low": low, "high": high}

    def _time_search(self, topic, partition, timestamp_ms):
        found = self._reader.offsets_for_times([TopicPartition(topic, partition, timestamp_ms)], timeout=ANSWER_S)[0]
        if found.error:
            raise KafkaException(found.error)
        return found.offset

    def offset_for_time(self, topic, partition, timestamp_ms):
        offset = self._time_search(topic, partition, timestamp_ms)
        return {"offset": None if offset == OFFSET_END else offset}

    def create_topic(self, topic, partitions, configs):
        done(self.admin.create_topics([NewTopic(topic, partitions, 1, config=configs)]))

    def alter_topic(self, topic, configs):
        entries = [ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in configs.items()]
        done(self.admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)]))

    def describe_topic(self, topic):
        partitions = self.admin.list_topics(topic, timeout=ANSWER_S).topics[topic].partitions
        known = done(self.admin.describe_configs([ConfigResource(ResourceType.TOPIC, topic)]))
        return {"partitions": len(partitions), "configs": {name: entry.value for name, entry in known.items()}}

    def add_partitions(self, topic, count):
        done(self.admin.create_partitions([NewPartitions(topic, count)]))

    def delete_records(self, topic, partition, before):
        return {"low": done(self.admin.delete_records([TopicPartition(topic, partition, before)])).low_watermark}

    def delete_topic(self, topic):
        done(self.admin.delete_topics([topic]))

    def list_topics(self):
        return {"topics": list(self.admin.list_topics(timeout=ANSWER_S).topics)}

    def extras(self):
        return checks(extras.BEHAVIOURS, self)

    def bye(self):
        for consumer in (self._reader, self._tail):
            if consumer:
                consumer.close()


def done(futures):
    """The result of the one future of an admin call."""
    (future,) = futures.values()
    return future.result(ANSWER_S)


def read(consumer, count, timeout_ms):
    """Up to `count` records from where the consumer stands; it then stands behind the last of them."""
    deadline = time.monotonic() + timeout_ms / 1000
    messages = []
    while len(messages) < count and (left := deadline - time.monotonic()) > 0:
        message = consumer.poll(left)
        if message is not None and message.error():
            raise KafkaException(message.error())
        if message is not None:
            messages.append(message)
    return [{"partition": message.partition(), "offset": message.offset(), "timestamp_ms": message.timestamp()[1],
             "key": text(message.key()), "value": text(message.value()), "headers": headers_out(message.headers())}
            for message in messages]


serve(Driver(sys.argv[1]))
