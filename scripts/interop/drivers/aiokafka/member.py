"""A group member by aiokafka; see runner/member_loop.py. Started by `member`."""

import asyncio
import json
import sys

from aiokafka import AIOKafkaConsumer, ConsumerRebalanceListener, TopicPartition
from aiokafka.coordinator.assignors.range import RangePartitionAssignor
from aiokafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from aiokafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from runner.member_loop import Report

ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor, "sticky": StickyPartitionAssignor}
POLL_MS = 100
COMMIT_S = 5


class Listener(ConsumerRebalanceListener):
    """Tells what the client is given and loses. It rebalances in the background, so it is made to wait for the records in hand."""

    def __init__(self, report, busy):
        self._report = report
        self._busy = busy

    async def on_partitions_assigned(self, assigned):
        self._report.gained(partition.partition for partition in assigned)

    async def on_partitions_revoked(self, revoked):
        async with self._busy:
            self._report.lost(partition.partition for partition in revoked)


async def process(consumer, report, topic, polled):
    """Processes what was read of the partitions that are still the member's, and commits it."""
    report.read((record.partition, record.offset, record.value) for records in polled.values() for record in records
                if record.partition in report.owned)
    offsets = report.committing()
    if offsets is None:
        return
    wanted = {TopicPartition(topic, partition): offset for partition, offset in offsets.items()}
    try:
        await asyncio.wait_for(consumer.commit(wanted), COMMIT_S)
    except Exception as error:
        report.done(offsets, error)
    else:
        report.done(offsets)


async def main():
    wanted = json.loads(sys.argv[2])
    report = Report()
    busy = asyncio.Lock()
    consumer = AIOKafkaConsumer(
        bootstrap_servers=sys.argv[1], client_id=wanted["name"], group_id=wanted["group"], group_instance_id=wanted["instance"],
        enable_auto_commit=False, auto_offset_reset="earliest", check_crcs=True, fetch_max_wait_ms=100, retry_backoff_ms=100,
        session_timeout_ms=wanted["session_ms"], heartbeat_interval_ms=wanted["heartbeat_ms"],
        max_poll_interval_ms=wanted["rebalance_ms"], rebalance_timeout_ms=wanted["rebalance_ms"], request_timeout_ms=10_000,
        partition_assignment_strategy=[ASSIGNORS[wanted["assignor"]]])
    consumer.subscribe([wanted["topic"]], listener=Listener(report, busy))
    await consumer.start()
    while not report.closing.is_set():
        try:
            # Not while busy: this waits for a rebalance to end.
            polled = await consumer.getmany(timeout_ms=POLL_MS)
            async with busy:
                await process(consumer, report, wanted["topic"], polled)
        except Exception as error:  # A broker that is away is no reason to end.
            report.tell("error", error=f"{type(error).__name__}: {error}")
            await asyncio.sleep(0.1)
        # So that a listener that waits for its turn gets it.
        await asyncio.sleep(0)
    await consumer.stop()


asyncio.run(main())
