"""Writes a real log through confluent-kafka in every way it can be acknowledged, and reads it back in every direction.

Usage: confluent.py ADDRESS FILE [--read-only]. With --read-only only the reading runs, on what an earlier run has written.
"""

import sys

from confluent_kafka import OFFSET_BEGINNING, OFFSET_END, Consumer, Producer, TopicPartition, libversion
from confluent_kafka.admin import AdminClient, NewTopic

# A day in 2024; record number n carries FIRST_MS + n, so that a search by time has one right answer.
FIRST_MS = 1_700_000_000_000

MODES = {
    "plain-acks-1": {"acks": "1"},
    "plain-acks-all": {"acks": "all", "compression.type": "lz4"},
    "idempotent": {"enable.idempotence": True, "compression.type": "zstd"},
}


def records_of(path):
    """The records to write: lines of the file as values, with keys, nulls, empty values and headers mixed in."""
    lines = open(path, "rb").read().splitlines()
    records = []
    for number, line in enumerate(lines):
        key = None if number % 3 == 0 else b"key-%d" % (number % 7)
        value = None if number % 101 == 100 else b"" if number % 103 == 102 else line
        headers = [("n", b"%d" % number), ("empty", b""), ("null", None)] if number % 5 == 0 else None
        records.append((key, value, headers))
    records.append((b"large", b"x" * 900_000, None))
    return records


def write(address, topic, settings, records):
    """Produces all records to partition 0 and requires that each was acknowledged, in order, without an error."""
    offsets, errors = [], []

    def delivered(error, message):
        (errors if error else offsets).append(error or message.offset())

    producer = Producer({"bootstrap.servers": address, "linger.ms": 5, **settings})
    for number, (key, value, headers) in enumerate(records):
        while True:
            try:
                producer.produce(topic, key=key, value=value, headers=headers, partition=0,
                                 timestamp=FIRST_MS + number, on_delivery=delivered)
                break
            except BufferError:
                producer.poll(0.1)
        producer.poll(0)
    left = producer.flush(30)
    assert left == 0 and not errors, f"{topic}: {left} records left, errors {errors[:3]}"
    assert offsets == list(range(len(records))), f"{topic}: acknowledged offsets are not 0..{len(records) - 1} in order"


def read(address, topic, start, count):
    """Reads `count` records from `start` on."""
    consumer = Consumer({"bootstrap.servers": address, "group.id": "unused", "enable.auto.commit": False,
                         "auto.offset.reset": "error", "check.crcs": True})
    consumer.assign([TopicPartition(topic, 0, start)])
    messages = []
    while len(messages) < count:
        message = consumer.poll(20)
        assert message is not None, f"{topic}: only {len(messages)} of {count} records came from {start}"
        assert message.error() is None, message.error()
        messages.append(message)
    consumer.close()
    return messages


def compare(topic, messages, records, first):
    """Every byte of what was read against what was written."""
    for number, message in enumerate(messages, start=first):
        key, value, headers = records[number]
        got = (message.offset(), message.timestamp()[1], message.key(), message.value(), message.headers())
        assert got == (number, FIRST_MS + number, key, value, headers), f"{topic} record {number}: got {got!r:.300}"


def read_all_ways(address, topic, records):
    end = len(records)
    compare(topic, read(address, topic, OFFSET_BEGINNING, end), records, 0)
    for offset in (1, end // 2, end - 1):
        compare(topic, read(address, topic, offset, end - offset), records, offset)

    consumer = Consumer({"bootstrap.servers": address, "group.id": "unused"})
    assert consumer.get_watermark_offsets(TopicPartition(topic, 0), timeout=10) == (0, end)
    for number in (0, 1, end // 3, end - 1):
        found = consumer.offsets_for_times([TopicPartition(topic, 0, FIRST_MS + number)], timeout=10)[0]
        assert found.offset == number, f"{topic}: time of record {number} led to {found.offset}"
    beyond = consumer.offsets_for_times([TopicPartition(topic, 0, FIRST_MS + end)], timeout=10)[0]
    assert beyond.offset in (-1, OFFSET_END), f"{topic}: a time after the last record led to {beyond.offset}"
    consumer.close()


def main():
    address, path = sys.argv[1:3]
    records = records_of(path)
    if "--read-only" not in sys.argv:
        admin = AdminClient({"bootstrap.servers": address})
        for topic, future in admin.create_topics([NewTopic(mode, 2, 1) for mode in MODES]).items():
            future.result(timeout=10)
        for mode, settings in MODES.items():
            write(address, mode, settings, records)
    for mode in MODES:
        read_all_ways(address, mode, records)
        print(f"{mode}: {len(records)} records compared from both ends, by offset and by time")
    print(f"librdkafka {libversion()[0]}")


main()
