"""What users of aiokafka do beyond the table of scenarios. Each check makes its own topics; its first error is its detail."""

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import NewPartitions, NewTopic, RecordsToDelete
from aiokafka.errors import InvalidPartitionsError, OffsetOutOfRangeError

from runner.driver_loop import must


async def create(context, topic, partitions=1, **options):
    answer = await (await context.admin()).create_topics([NewTopic(topic, partitions, 1)], **options)
    must(answer.topic_errors[0][1] == 0, answer)


async def write(context, topic, count, partition=0, **settings):
    producer = AIOKafkaProducer(bootstrap_servers=context.address, linger_ms=20, **settings)
    await producer.start()
    sent = [await producer.send(topic, b"line %d" % number, b"key-%d" % number, partition, 1000 + number) for number in range(count)]
    await producer.flush()
    offsets = [(await future).offset for future in sent]
    await producer.stop()
    return offsets


async def cluster(context):
    """the cluster and its one broker are described"""
    found = await (await context.admin()).describe_cluster()
    must(found["cluster_id"] and len(found["brokers"]) == 1 and found["controller_id"] == found["brokers"][0]["node_id"], found)


async def only_validated(context):
    """what is only validated is not done"""
    admin = await context.admin()
    await create(context, "aio-dry", 2, validate_only=True)
    must("aio-dry" not in await admin.list_topics(), "a topic that was only validated exists")
    await create(context, "aio-dry", 2)
    await admin.create_partitions({"aio-dry": NewPartitions(5)}, validate_only=True)
    must(len((await admin.describe_topics(["aio-dry"]))[0]["partitions"]) == 2, "partitions that were only validated exist")
    try:
        await admin.create_partitions({"aio-dry": NewPartitions(1)})
    except InvalidPartitionsError:
        return
    raise AssertionError("fewer partitions were accepted")


async def own_batches(context):
    """batches that the user builds arrive as they were built"""
    await create(context, "aio-batches")
    producer = AIOKafkaProducer(bootstrap_servers=context.address, compression_type="zstd", enable_idempotence=True)
    await producer.start()
    for nth in range(3):
        batch = producer.create_batch()
        for number in range(20):
            must(batch.append(key=b"%d" % nth, value=b"line %d" % number, timestamp=2000 + number) is not None, "the batch is full")
        batch.close()
        told = await (await producer.send_batch(batch, "aio-batches", partition=0))
        must(told.offset == nth * 20, told)
    await producer.stop()
    consumer = await context.reader()
    must((await consumer.end_offsets([TopicPartition("aio-batches", 0)])).popitem()[1] == 60, "not all arrived")


async def several(context):
    """one consumer reads several partitions, some of them paused, one record at a time or many"""
    await create(context, "aio-several", 3)
    for partition in range(3):
        must(await write(context, "aio-several", 40, partition, compression_type="snappy") == list(range(40)), "offsets")
    parts = [TopicPartition("aio-several", partition) for partition in range(3)]
    consumer = AIOKafkaConsumer(bootstrap_servers=context.address, group_id=None, auto_offset_reset="earliest")
    await consumer.start()
    consumer.assign(parts)
    consumer.pause(parts[2])
    consumer.seek(parts[1], 30)
    seen = {part: [] for part in parts}
    for _ in range(50):
        message = await consumer.getone()
        seen[TopicPartition(message.topic, message.partition)].append(message.offset)
    must(seen == {parts[0]: list(range(40)), parts[1]: list(range(30, 40)), parts[2]: []}, {str(part): len(got) for part, got in seen.items()})
    must(consumer.highwater(parts[0]) == 40, consumer.highwater(parts[0]))
    consumer.resume(parts[2])
    must(len((await consumer.getmany(parts[2], timeout_ms=5000)).get(parts[2], [])) > 0, "a resumed partition was not read")
    await consumer.stop()


async def committed_only(context):
    """a reader of what is committed reads all, for nothing is in a transaction"""
    await create(context, "aio-committed")
    await write(context, "aio-committed", 25, enable_idempotence=True)
    consumer = AIOKafkaConsumer(bootstrap_servers=context.address, group_id=None, isolation_level="read_committed")
    await consumer.start()
    here = TopicPartition("aio-committed", 0)
    consumer.assign([here])
    consumer.seek(here, 0)
    got = [(await consumer.getone()).offset for _ in range(25)]
    must(got == list(range(25)) and consumer.last_stable_offset(here) == 25, got, consumer.last_stable_offset(here))
    await consumer.stop()


async def to_the_end(context):
    """records are deleted up to the end, and who reads before it is told"""
    await create(context, "aio-emptied")
    await write(context, "aio-emptied", 30)
    here = TopicPartition("aio-emptied", 0)
    low = (await (await context.admin()).delete_records({here: RecordsToDelete(-1)}))[here]
    must(low == 30, low)
    must(await write(context, "aio-emptied", 5) == list(range(30, 35)), "offsets do not go on where they were")
    consumer = AIOKafkaConsumer(bootstrap_servers=context.address, group_id=None, auto_offset_reset="none")
    await consumer.start()
    consumer.assign([here])
    consumer.seek(here, 3)
    try:
        message = await consumer.getone()
    except OffsetOutOfRangeError:
        pass
    else:
        raise AssertionError(f"record {message.offset} was read")
    finally:
        await consumer.stop()


BEHAVIOURS = [cluster, only_validated, own_batches, several, committed_only, to_the_end]
