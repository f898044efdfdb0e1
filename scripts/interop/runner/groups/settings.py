"""The coordinator's settings in a trial, by Kafka's names. Used by `main` for the broker under trial and by `kafka`."""

from runner.groups.trial import HEARTBEAT_MS, SESSION_MS

# With the consumer protocol the broker chooses these for the members, and its defaults are those of a group that lives for months.
COORDINATOR = {
    "group.initial.rebalance.delay.ms": 100,
    "group.consumer.session.timeout.ms": SESSION_MS,
    "group.consumer.min.session.timeout.ms": SESSION_MS,
    "group.consumer.heartbeat.interval.ms": HEARTBEAT_MS // 2,
    "group.consumer.min.heartbeat.interval.ms": HEARTBEAT_MS // 2,
}
