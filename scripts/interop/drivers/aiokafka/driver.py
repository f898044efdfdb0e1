"""Drives aiokafka: one operation per line of standard input, see runner/driver_loop.py. Started by `start`."""

import asyncio
import functools
import sys

import aiokafka
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewPartitions, NewTopic, RecordsToDelete
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code

import extras
from runner.driver_loop import checks, data, headers_in, headers_out, serve, text

LARGE_BYTES = 4 << 20
RETRY_S = 60
CHECK_TIMEOUT_S = 20
# How long a fetch waits in the broker. A tail's waits long, so that a broker that answers only at its end is found out; a
# reader's must not, for the next question on the same connection would wait behind it.
TAIL_WAIT_MS = 5000
READER_WAIT_MS = 100


class Driver:
    def __init__(self, address):
        self.address = address
        self._producers = {}
        self._reader = None
        self._tail = None
        self._admin = None

    async def _consumer(self, wait_ms):
        consumer = AIOKafkaConsumer(
            bootstrap_servers=self.address, group_id=None, enable_auto_commit=False, auto_offset_reset="none", check_crcs=True,
            fetch_max_wait_ms=wait_ms, max_partition_fetch_bytes=LARGE_BYTES)
        await consumer.start()
        return consumer

    async def reader(self):
        self._reader = self._reader or await self._consumer(READER_WAIT_MS)
        return self._reader

    async def admin(self):
        if self._admin is None:
            self._admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
            await self._admin.start()
        return self._admin

    async def hello(self):
        return {"client": "aiokafka", "version": aiokafka.__version__, "language": "Python", "acks": ["0", "1", "all"],
                "codecs": ["none", "gzip", "snappy", "lz4", "zstd"],
                "cannot": {"null_record": "it wants a key or a value", "error_names": "it knows none by number 87, INVALID_RECORD"},
                "can": ["idempotent", "headers", "null_value", "null_key", "timestamps", "read_timestamp", "by_timestamp", "tail",
                        "create_topic", "delete_topic", "alter_topic", "describe_topic", "add_partitions", "delete_records",
                        "list_topics", "extras", "group:range", "group:sticky", "group:static"]}

    async def _producer(self, acks, codec, idempotent, linger_ms):
        settings = (acks, codec, idempotent, linger_ms)
        if settings not in self._producers:
            producer = AIOKafkaProducer(
                bootstrap_servers=self.address, acks=acks if acks == "all" else int(acks),
                compression_type=None if codec == "none" else codec, enable_idempotence=idempotent, linger_ms=linger_ms,
                max_request_size=LARGE_BYTES, request_timeout_ms=RETRY_S * 1000)
            await producer.start()
            self._producers[settings] = producer
        return self._producers[settings]

    async def produce(self, topic, acks, codec, idempotent, linger_ms, records):
        producer = await self._producer(acks, codec, idempotent, linger_ms)
        sent = [await producer.send(topic, data(record["value"]), data(record["key"]), record["partition"],
                                    record["timestamp_ms"], headers_in(record)) for record in records]
        await producer.flush()
        done = await asyncio.gather(*sent)
        return {"offsets": [None if acks == "0" else metadata.offset for metadata in done]}

    async def consume(self, topic, partition, start, count, timeout_ms):
        consumer = await self.reader()
        here = TopicPartition(topic, partition)
        consumer.assign([here])
        if start == "earliest":
            await consumer.seek_to_beginning(here)
        elif start == "latest":
            await consumer.seek_to_end(here)
        elif isinstance(start, dict):
            found = (await consumer.offsets_for_times({here: start["timestamp_ms"]}))[here]
            if found is None:
                await consumer.seek_to_end(here)
            else:
                consumer.seek(here, found.offset)
        else:
            consumer.seek(here, start)
        return {"records": await read(consumer, count, timeout_ms)}

    async def tail_start(self, topic, partition):
        self._tail = self._tail or await self._consumer(TAIL_WAIT_MS)
        here = TopicPartition(topic, partition)
        self._tail.assign([here])
        await self._tail.seek_to_end(here)
        return {"position": await self._tail.position(here)}

    async def tail_read(self, count, timeout_ms):
        return {"records": await read(self._tail, count, timeout_ms)}

    async def watermarks(self, topic, partition):
        consumer = await self.reader()
        here = TopicPartition(topic, partition)
        return {"low": (await consumer.beginning_offsets([here]))[here], "high": (await consumer.end_offsets([here]))[here]}

    async def offset_for_time(self, topic, partition, timestamp_ms):
        here = TopicPartition(topic, partition)
        found = (await (await self.reader()).offsets_for_times({here: timestamp_ms}))[here]
        return {"offset": None if found is None else found.offset}

    async def create_topic(self, topic, partitions, configs):
        answer = await (await self.admin()).create_topics([NewTopic(topic, partitions, 1, topic_configs=configs)])
        require(answer.topic_errors)

    async def alter_topic(self, topic, configs):
        for answer in await (await self.admin()).alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, configs)]):
            require((name, code, message) for code, message, _, name in answer.resources)

    async def describe_topic(self, topic):
        admin = await self.admin()
        (known,) = await admin.describe_topics([topic])
        (answer,) = await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, topic)])
        ((code, message, _, _, configs),) = answer.resources
        require([(topic, code, message)])
        return {"partitions": len(known["partitions"]), "configs": {config[0]: config[1] for config in configs}}

    async def add_partitions(self, topic, count):
        await (await self.admin()).create_partitions({topic: NewPartitions(count)})

    async def delete_records(self, topic, partition, before):
        here = TopicPartition(topic, partition)
        return {"low": (await (await self.admin()).delete_records({here: RecordsToDelete(before)}))[here]}

    async def delete_topic(self, topic):
        require((await (await self.admin()).delete_topics([topic])).topic_error_codes)

    async def list_topics(self):
        return {"topics": await (await self.admin()).list_topics()}

    async def bye(self):
        for client in (*self._producers.values(), self._reader, self._tail):
            if client:
                await client.stop()
        if self._admin:
            await self._admin.close()


def require(errors):
    """Raises the first of the error codes in an answer: the admin client leaves that to its user."""
    for name, code, *message in errors:
        if code:
            raise for_code(code)(f"{name}: {' '.join(str(word) for word in message)}")


async def read(consumer, count, timeout_ms):
    """Up to `count` records from where the consumer stands; it then stands behind the last of them."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + timeout_ms / 1000
    messages = []
    while len(messages) < count and (left := deadline - loop.time()) > 0:
        for part in (await consumer.getmany(timeout_ms=int(left * 1000), max_records=count - len(messages))).values():
            messages += part
    return [{"partition": message.partition, "offset": message.offset, "timestamp_ms": message.timestamp,
             "key": text(message.key), "value": text(message.value), "headers": headers_out(message.headers)}
            for message in messages]


class Blocking:
    """The driver's coroutines as plain calls, run on one event loop."""

    def __init__(self, address):
        self._loop = asyncio.new_event_loop()
        self._driver = Driver(address)

    def __getattr__(self, op):
        return lambda **request: self._loop.run_until_complete(getattr(self._driver, op)(**request))

    def extras(self):
        return checks([self._blocking(behave) for behave in extras.BEHAVIOURS], self._driver)

    def _blocking(self, behave):
        @functools.wraps(behave)
        def run(driver):
            self._loop.run_until_complete(asyncio.wait_for(behave(driver), CHECK_TIMEOUT_S))
        return run


serve(Blocking(sys.argv[1]))
