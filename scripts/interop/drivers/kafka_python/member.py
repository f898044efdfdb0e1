"""A group member by kafka-python; see runner/member_loop.py. Started by `member`."""

import json
import sys

from kafka import ConsumerRebalanceListener, KafkaConsumer, OffsetAndMetadata, TopicPartition
from kafka.coordinator.assignors.cooperative_sticky import CooperativeStickyAssignor
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.coordinator.assignors.roundrobin import RoundRobinPartitionAssignor
from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor

from runner.member_loop import Report, run

ASSIGNORS = {"range": RangePartitionAssignor, "roundrobin": RoundRobinPartitionAssignor, "sticky": StickyPartitionAssignor,
             "cooperative-sticky": CooperativeStickyAssignor}
POLL_MS = 100
COMMIT_MS = 5000


class Listener(ConsumerRebalanceListener):
    """Tells what the client is given and loses. A commit would have to wait for the loop that calls this."""

    def __init__(self, report):
        self._report = report

    def on_partitions_assigned(self, assigned):
        self._report.gained(partition.partition for partition in assigned)

    def on_partitions_revoked(self, revoked):
        self._report.lost(partition.partition for partition in revoked)

    on_partitions_lost = on_partitions_revoked


def main():
    wanted = json.loads(sys.argv[2])
    topic = wanted["topic"]
    report = Report()
    consumer = KafkaConsumer(
        bootstrap_servers=sys.argv[1], client_id=wanted["name"], group_id=wanted["group"], group_instance_id=wanted["instance"],
        enable_auto_commit=False, auto_offset_reset="earliest", check_crcs=True, fetch_max_wait_ms=100, reconnect_backoff_max_ms=500,
        session_timeout_ms=wanted["session_ms"], heartbeat_interval_ms=wanted["heartbeat_ms"], max_poll_interval_ms=wanted["rebalance_ms"],
        request_timeout_ms=10_000, partition_assignment_strategy=[ASSIGNORS[wanted["assignor"]]])

    def poll():
        polled = consumer.poll(timeout_ms=POLL_MS)
        return [(record.partition, record.offset, record.value) for records in polled.values() for record in records]

    def commit(offsets):
        consumer.commit({TopicPartition(topic, partition): OffsetAndMetadata(offset, "", -1) for partition, offset in offsets.items()},
                        timeout_ms=COMMIT_MS)

    consumer.subscribe([topic], listener=Listener(report))
    run(report, poll, commit)
    consumer.close(autocommit=False)


main()
