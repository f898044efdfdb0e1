"""A group member by confluent-kafka; see runner/member_loop.py. Started by `member`."""

import json
import sys

from confluent_kafka import Consumer, KafkaError, KafkaException, TopicPartition

from runner.member_loop import Report, commit_dirty, run

POLL_S = 0.1
RECORDS_MAX = 500
# What a consumer meets while its broker is away.
PASSING = {KafkaError._ALL_BROKERS_DOWN, KafkaError._TRANSPORT}
# When offsets could not be fetched, librdkafka says so once and never reads those partitions: the program must begin anew.
GIVEN_UP = "Failed to fetch committed offsets"


def settings_of(wanted):
    """The consumer's configuration."""
    settings = {"bootstrap.servers": sys.argv[1], "client.id": wanted["name"], "group.id": wanted["group"], "enable.auto.commit": False,
                "auto.offset.reset": "earliest", "check.crcs": True, "fetch.wait.max.ms": 100, "reconnect.backoff.max.ms": 500,
                "socket.timeout.ms": 10_000}
    if wanted["instance"]:
        settings["group.instance.id"] = wanted["instance"]
    if wanted["protocol"] == "consumer":
        settings["group.protocol"] = "consumer"
        if wanted["assignor"]:
            settings["group.remote.assignor"] = wanted["assignor"]
        return settings
    return {**settings, "partition.assignment.strategy": wanted["assignor"], "session.timeout.ms": wanted["session_ms"],
            "heartbeat.interval.ms": wanted["heartbeat_ms"], "max.poll.interval.ms": wanted["rebalance_ms"]}


def main():
    wanted = json.loads(sys.argv[2])
    topic = wanted["topic"]
    report = Report()
    consumer = Consumer(settings_of(wanted))

    def poll():
        records = []
        for message in consumer.consume(RECORDS_MAX, POLL_S):
            if message.error() is None:
                records.append((message.partition(), message.offset(), message.value()))
            elif message.error().code() not in PASSING:
                report.tell("error", error=str(message.error()))
                if GIVEN_UP in message.error().str():
                    consumer.unsubscribe()
                    subscribe()
        return records

    def commit(offsets):
        wanted = [TopicPartition(topic, partition, offset) for partition, offset in offsets.items()]
        for told in consumer.commit(offsets=wanted, asynchronous=False):
            if told.error:
                raise KafkaException(told.error)

    def revoked(_, partitions):
        commit_dirty(report, commit)
        report.lost(partition.partition for partition in partitions)

    def subscribe():
        consumer.subscribe([topic], on_assign=lambda _, partitions: report.gained(partition.partition for partition in partitions),
                           on_revoke=revoked, on_lost=lambda _, partitions: report.lost(partition.partition for partition in partitions))

    subscribe()
    run(report, poll, commit)
    consumer.close()


main()
