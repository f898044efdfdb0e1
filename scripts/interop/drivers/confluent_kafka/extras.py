"""What users of confluent-kafka do beyond the table of scenarios. Each check makes its own topics; its first error is its detail."""

from confluent_kafka import (
    OFFSET_BEGINNING, Consumer, IsolationLevel, KafkaError, KafkaException, Producer, TopicCollection, TopicPartition,
)
from confluent_kafka.admin import AlterConfigOpType, ConfigEntry, ConfigResource, NewPartitions, NewTopic, OffsetSpec, ResourceType

from runner.driver_loop import must, refused

ANSWER_S = 20


def done(futures):
    """The result of the one future of an admin call."""
    (future,) = futures.values() if isinstance(futures, dict) else [futures]
    return future.result(ANSWER_S)


def create(context, topic, partitions=1, **options):
    done(context.admin.create_topics([NewTopic(topic, partitions, 1)], **options))


def write(context, topic, count, partition=0, **settings):
    offsets = []
    producer = Producer({**context.address, "linger.ms": 20, **settings})
    for number in range(count):
        producer.produce(topic, b"line %d" % number, b"key-%d" % number, partition=partition, timestamp=1000 + number,
                         on_delivery=lambda error, message: offsets.append(error or message.offset()))
    must(producer.flush(ANSWER_S) == 0, "records are left")
    return offsets


def consumer(context, **settings):
    return Consumer({**context.address, "group.id": "unused", "enable.auto.commit": False, "auto.offset.reset": "error", **settings})


def cluster(context):
    """the cluster and its one broker are described"""
    found = context.admin.describe_cluster().result(ANSWER_S)
    must(found.cluster_id and len(found.nodes) == 1 and found.controller.id == found.nodes[0].id, found)


def described(context):
    """a topic is described with its id and its partitions' leaders"""
    create(context, "cf-described", 3)
    found = done(context.admin.describe_topics(TopicCollection(["cf-described"])))
    must(len(found.partitions) == 3 and all(part.leader is not None and len(part.isr) == 1 for part in found.partitions), found)
    must(str(found.topic_id) not in ("", "AAAAAAAAAAAAAAAAAAAAAA"), found.topic_id)
    refused("UNKNOWN_TOPIC_OR_PART", lambda: done(context.admin.describe_topics(TopicCollection(["cf-nowhere"]))))


def only_validated(context):
    """what is only validated is not done"""
    create(context, "cf-dry", 2, validate_only=True)
    must("cf-dry" not in context.admin.list_topics(timeout=ANSWER_S).topics, "a topic that was only validated exists")
    create(context, "cf-dry", 2)
    done(context.admin.create_partitions([NewPartitions("cf-dry", 5)], validate_only=True))
    must(len(context.admin.list_topics("cf-dry", timeout=ANSWER_S).topics["cf-dry"].partitions) == 2, "partitions were added")
    refused("INVALID_PARTITIONS", lambda: done(context.admin.create_partitions([NewPartitions("cf-dry", 1)])))


def offsets(context):
    """offsets are listed by every specification, in both isolations"""
    create(context, "cf-offsets")
    write(context, "cf-offsets", 50)
    here = TopicPartition("cf-offsets", 0)
    wanted = [(OffsetSpec.earliest(), 0), (OffsetSpec.latest(), 50), (OffsetSpec.max_timestamp(), 49),
              (OffsetSpec.for_timestamp(1020), 20), (OffsetSpec.for_timestamp(999_999), -1)]
    for isolation in (IsolationLevel.READ_UNCOMMITTED, IsolationLevel.READ_COMMITTED):
        for spec, offset in wanted:
            got = done(context.admin.list_offsets({here: spec}, isolation_level=isolation)).offset
            must(got == offset, f"{offset} was expected, not {got}")


def configs(context):
    """settings are described with their sources, altered, and put back to their defaults"""
    create(context, "cf-configs")
    def alter(name, value, how):
        entry = ConfigEntry(name, value, incremental_operation=how)
        done(context.admin.incremental_alter_configs([ConfigResource(ResourceType.TOPIC, "cf-configs", incremental_configs=[entry])]))
    def entry(name):
        return done(context.admin.describe_configs([ConfigResource(ResourceType.TOPIC, "cf-configs")]))[name]
    before = entry("retention.ms")
    must(before.is_default, before)
    alter("retention.ms", "12345678", AlterConfigOpType.SET)
    alter("segment.bytes", "100000000", AlterConfigOpType.SET)
    after = entry("retention.ms")
    must(after.value == "12345678" and not after.is_default, after)
    alter("retention.ms", None, AlterConfigOpType.DELETE)
    must(entry("retention.ms").value == before.value and entry("segment.bytes").value == "100000000", "not as before")
    refused("INVALID_CONFIG", lambda: alter("retention.ms", "soon", AlterConfigOpType.SET))
    refused("INVALID_CONFIG", lambda: alter("no.such.setting", "1", AlterConfigOpType.SET))


def broker_configs(context):
    """num.partitions changes while the broker runs, and counts for topics that are created by their use"""
    broker = str(context.admin.describe_cluster().result(ANSWER_S).controller.id)
    def alter(value, how):
        entry = ConfigEntry("num.partitions", value, incremental_operation=how)
        done(context.admin.incremental_alter_configs([ConfigResource(ResourceType.BROKER, broker, incremental_configs=[entry])]))
    alter("3", AlterConfigOpType.SET)
    try:
        write(context, "cf-by-use", 10)
        count = len(context.admin.list_topics("cf-by-use", timeout=ANSWER_S).topics["cf-by-use"].partitions)
        must(count == 3, f"{count} partitions")
    finally:
        alter(None, AlterConfigOpType.DELETE)


def to_the_end(context):
    """records are deleted up to the end"""
    create(context, "cf-emptied")
    write(context, "cf-emptied", 30)
    here = TopicPartition("cf-emptied", 0, -1)
    must(done(context.admin.delete_records([here])).low_watermark == 30, "the beginning has not moved")
    must(write(context, "cf-emptied", 5) == list(range(30, 35)), "offsets do not go on where they were")
    refused("OFFSET_OUT_OF_RANGE", lambda: done(context.admin.delete_records([TopicPartition("cf-emptied", 0, 99)])))


def several(context):
    """one consumer reads several partitions, added one by one, some of them paused, and is told each end"""
    create(context, "cf-several", 3)
    for partition in range(3):
        must(write(context, "cf-several", 40, partition, **{"compression.type": "lz4"}) == list(range(40)), "offsets")
    reader = consumer(context, **{"enable.partition.eof": True})
    parts = [TopicPartition("cf-several", partition, OFFSET_BEGINNING) for partition in range(3)]
    reader.incremental_assign(parts[:2])
    reader.incremental_assign(parts[2:])
    reader.pause(parts[2:])
    seen, ended = {0: [], 1: [], 2: []}, set()
    while ended != {0, 1}:
        message = reader.poll(ANSWER_S)
        must(message is not None, "nothing came", ended)
        if message.error() and message.error().code() == KafkaError._PARTITION_EOF:
            ended.add(message.partition())
        else:
            must(not message.error(), message.error())
            seen[message.partition()].append(message.offset())
    must(seen == {0: list(range(40)), 1: list(range(40)), 2: []}, {part: len(got) for part, got in seen.items()})
    reader.resume(parts[2:])
    message = reader.poll(ANSWER_S)
    must(message is not None and (message.partition(), message.offset()) == (2, 0), "a resumed partition was not read")
    reader.seek(TopicPartition("cf-several", 1, 7))
    while (message := reader.poll(ANSWER_S)) is not None and message.partition() != 1:
        pass
    must(message is not None and message.offset() == 7, "a seek was not followed")
    reader.close()


def out_of_range(context):
    """who reads before the beginning is told, or begins anew where that is wished"""
    create(context, "cf-range")
    write(context, "cf-range", 10)
    done(context.admin.delete_records([TopicPartition("cf-range", 0, 4)]))
    for reset, first in (("error", None), ("earliest", 4)):
        reader = consumer(context, **{"auto.offset.reset": reset})
        reader.assign([TopicPartition("cf-range", 0, 2)])
        message = reader.poll(ANSWER_S)
        must(message is not None, "nothing came")
        if first is None:
            must(message.error() and message.error().code() == KafkaError._AUTO_OFFSET_RESET, message.error())
        else:
            must(not message.error() and message.offset() == first, message.error() or message.offset())
        reader.close()


def partitioner(context):
    """keys choose partitions as in Java, and the same key the same one"""
    create(context, "cf-keys", 4)
    told = {}
    producer = Producer({**context.address, "partitioner": "murmur2_random", "enable.idempotence": True})
    for number in range(400):
        producer.produce("cf-keys", b"v", b"key-%d" % (number % 40),
                         on_delivery=lambda error, message: told.setdefault(message.key(), set()).add(error or message.partition()))
    must(producer.flush(ANSWER_S) == 0, "records are left")
    must(len(told) == 40 and all(len(partitions) == 1 for partitions in told.values()), told)
    must(len(set.union(*told.values())) == 4, "not all partitions were chosen")


def unknown(context):
    """who asks for a topic without wanting it created is told that there is none"""
    reader = consumer(context, **{"allow.auto.create.topics": False})
    told = reader.list_topics("cf-never", timeout=ANSWER_S).topics["cf-never"].error
    must(told is not None and told.code() == KafkaError.UNKNOWN_TOPIC_OR_PART, told)
    reader.close()
    must("cf-never" not in context.admin.list_topics(timeout=ANSWER_S).topics, "it was created")


def transactions(context):
    """a transactional producer is told, and does not hang"""
    producer = Producer({**context.address, "transactional.id": "nobody", "transaction.timeout.ms": 5000})
    try:
        producer.init_transactions(2)
    except KafkaException:
        return
    raise AssertionError("transactions are not there yet, and were begun")


BEHAVIOURS = [cluster, described, only_validated, offsets, configs, broker_configs, to_the_end, several, out_of_range, partitioner,
              unknown, transactions]
