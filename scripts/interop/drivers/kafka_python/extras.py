"""What users of kafka-python do beyond the table of scenarios. Each check makes its own topics; its first error is its detail."""

import uuid

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import ConfigResource, ConfigResourceType, OffsetSpec

from runner.driver_loop import must, refused


def write(context, topic, count, partition=0, **settings):
    producer = KafkaProducer(bootstrap_servers=context.address, linger_ms=20, **settings)
    sent = [producer.send(topic, b"line %d" % number, b"key-%d" % number, partition=partition, timestamp_ms=1000 + number)
            for number in range(count)]
    producer.flush(20)
    offsets = [future.get(timeout=20).offset for future in sent]
    producer.close()
    return offsets


def cluster(context):
    """the cluster and its one broker are described"""
    found = context.admin.describe_cluster()
    must(found["cluster_id"] and len(found["brokers"]) == 1, found)
    must(found["controller_id"] == found["brokers"][0].get("node_id", found["brokers"][0].get("broker_id")), found)


def topic_ids(context):
    """topics are described and deleted by their ids"""
    context.admin.create_topics({"py-id": {"num_partitions": 2, "replication_factor": 1}})
    (by_name,) = context.admin.describe_topics(["py-id"])
    topic_id = uuid.UUID(str(by_name["topic_id"]))
    must(topic_id.int != 0, by_name)
    (by_id,) = context.admin.describe_topics([topic_id])
    must(by_id["name"] == "py-id" and len(by_id["partitions"]) == 2, by_id)
    context.admin.delete_topics([topic_id])
    must("py-id" not in context.admin.list_topics(), "it is still listed")
    refused("UnknownTopicId", lambda: context.admin.delete_topics([topic_id]))


def only_validated(context):
    """what is only validated is not done"""
    wanted = {"py-dry": {"num_partitions": 2, "replication_factor": 1}}
    context.admin.create_topics(wanted, validate_only=True)
    must("py-dry" not in context.admin.list_topics(), "a topic that was only validated exists")
    context.admin.create_topics(wanted)
    context.admin.create_partitions({"py-dry": 5}, validate_only=True)
    must(len(context.admin.describe_topics(["py-dry"])[0]["partitions"]) == 2, "partitions that were only validated exist")
    refused("InvalidPartitions", lambda: context.admin.create_partitions({"py-dry": 1}))


def pages(context):
    """partitions are described page by page"""
    context.admin.create_topics({"py-pages": {"num_partitions": 7, "replication_factor": 1}})
    seen, cursor = [], None
    while True:
        page = context.admin.describe_topic_partitions(["py-pages"], response_partition_limit=3, cursor=cursor)
        seen += [partition["partition_index"] for topic in page["topics"] for partition in topic["partitions"]]
        cursor = page["next_cursor"]
        if cursor is None:
            break
        must(len(seen) < 20, seen)
    must(seen == list(range(7)), seen)


def offsets(context):
    """offsets are listed by every specification"""
    context.admin.create_topics({"py-offsets": {"num_partitions": 2, "replication_factor": 1}})
    write(context, "py-offsets", 50)
    here = TopicPartition("py-offsets", 0)
    wanted = [(OffsetSpec.EARLIEST, 0), (OffsetSpec.LATEST, 50), (OffsetSpec.MAX_TIMESTAMP, 49), (1020, 20), (999_999, -1)]
    for spec, offset in wanted:
        got = context.admin.list_partition_offsets({here: spec})[here].offset
        must(got == offset, f"{spec!r}: {offset} was expected, not {got}")
    must(context.admin.list_partition_offsets({TopicPartition("py-offsets", 1): OffsetSpec.LATEST}) is not None)


def log_dirs(context):
    """the log directory is described with the bytes of a partition"""
    context.admin.create_topics({"py-dirs": {"num_partitions": 1, "replication_factor": 1}})
    write(context, "py-dirs", 100)
    told = str(context.admin.describe_log_dirs())
    must("py-dirs" in told, told[:300])


def configs(context):
    """settings are described, altered, and put back to their defaults"""
    context.admin.create_topics({"py-configs": {"num_partitions": 1, "replication_factor": 1}})
    def resource(values=None):
        return [ConfigResource(ConfigResourceType.TOPIC, "py-configs", values)]
    def value(name):
        return context.admin.describe_configs(resource(), config_filter="all")["topic"]["py-configs"][name]["value"]
    before = value("retention.ms")
    context.admin.alter_configs(resource({"retention.ms": "12345678"}), incremental=True)
    must(value("retention.ms") == "12345678", value("retention.ms"))
    context.admin.alter_configs(resource({"segment.bytes": "100000000"}), incremental=True)
    must(value("retention.ms") == "12345678", "an incremental change touched another setting")
    context.admin.reset_configs(resource({"retention.ms": None}))
    must(value("retention.ms") == before, value("retention.ms"))
    must(value("segment.bytes") == "100000000", value("segment.bytes"))


def broker_configs(context):
    """num.partitions changes while the broker runs, and counts for topics that are created by their use"""
    broker = str(context.admin.describe_cluster()["controller_id"])
    def altered(values):
        return context.admin.alter_configs([ConfigResource(ConfigResourceType.BROKER, broker, values)], incremental=True)
    altered({"num.partitions": "3"})
    try:
        write(context, "py-by-use", 10)
        count = len(context.admin.describe_topics(["py-by-use"])[0]["partitions"])
        must(count == 3, f"{count} partitions")
    finally:
        altered({"num.partitions": ("DELETE", None)})


def to_the_end(context):
    """records are deleted up to the end"""
    context.admin.create_topics({"py-emptied": {"num_partitions": 1, "replication_factor": 1}})
    write(context, "py-emptied", 30)
    here = TopicPartition("py-emptied", 0)
    context.admin.delete_records({here: -1})
    must(context.admin.list_partition_offsets({here: OffsetSpec.EARLIEST})[here].offset == 30, "the beginning has not moved")
    must(write(context, "py-emptied", 5) == list(range(30, 35)), "offsets do not go on where they were")
    refused("OffsetOutOfRange", lambda: context.admin.delete_records({here: 99}))


def several(context):
    """one consumer reads several partitions, some of them paused"""
    context.admin.create_topics({"py-several": {"num_partitions": 3, "replication_factor": 1}})
    for partition in range(3):
        write(context, "py-several", 40, partition, acks="all", compression_type="zstd")
    parts = [TopicPartition("py-several", partition) for partition in range(3)]
    consumer = KafkaConsumer(bootstrap_servers=context.address, group_id=None, auto_offset_reset="earliest", consumer_timeout_ms=10_000)
    consumer.assign(parts)
    consumer.seek(parts[1], 30)
    consumer.pause(parts[2])
    seen = {part: [] for part in parts}
    while len(seen[parts[0]]) < 40 or len(seen[parts[1]]) < 10:
        got = consumer.poll(timeout_ms=5000)
        must(got, "nothing came", {part.partition: len(offsets) for part, offsets in seen.items()})
        for part, messages in got.items():
            seen[part] += [message.offset for message in messages]
    must(seen[parts[2]] == [], "a paused partition was read")
    must(seen[parts[0]] == list(range(40)) and seen[parts[1]] == list(range(30, 40)), "offsets are not in order")
    must(consumer.highwater(parts[0]) == 40, consumer.highwater(parts[0]))
    consumer.resume(parts[2])
    must(len(consumer.poll(timeout_ms=5000).get(parts[2], [])) == 40, "a resumed partition was not read")
    consumer.close()


def out_of_range(context):
    """who reads beyond the end or before the beginning is told"""
    context.admin.create_topics({"py-range": {"num_partitions": 1, "replication_factor": 1}})
    write(context, "py-range", 10)
    here = TopicPartition("py-range", 0)
    context.admin.delete_records({here: 4})
    consumer = KafkaConsumer(bootstrap_servers=context.address, group_id=None, auto_offset_reset="none")
    consumer.assign([here])
    for offset in (3, 99):
        consumer.seek(here, offset)
        refused("OffsetOutOfRange", lambda: consumer.poll(timeout_ms=5000))
    consumer.close()


BEHAVIOURS = [cluster, topic_ids, only_validated, pages, offsets, log_dirs, configs, broker_configs, to_the_end, several, out_of_range]
