"""Every scenario that a client library is tried on: a row is a name, what the client must be able to do, and the steps.

The words of the steps are in runner/steps.py, the records in runner/records.py. A row runs if the client has all the words
and codecs it needs; `column` says where the matrix counts it. Drivers state what their client can: see runner/driver.py.
"""

from collections import namedtuple

from runner.compaction import SEGMENT_BYTES, client_reads_from_gaps, client_writes_replaced, host_compacts
from runner.context import CODECS
from runner.groups.steps import endures, keeps_static, shares, upgrades
from runner.records import keyed, large, lines, mix, shapes
from runner.steps import (
    broker_stamps, client_adds_partitions, client_alters_topic, client_creates_topic, client_deletes_records, client_deletes_topic,
    client_is_refused, client_is_told, client_reads, client_reads_beyond, client_reads_by_time, client_reads_from_offsets, client_reads_latest,
    client_reads_some, client_tails, client_tries_its_own, client_watermarks, host_finds_codec, host_finds_producer, host_reads,
    host_restarts, host_waits, host_writes,
    other_writes, topic, write, write_over_kill,
)

# How clients name INVALID_RECORD (87): most by that, librdkafka and some others in words.
INVALID_RECORD = ("INVALID_RECORD", "failed to validate record", "has failed the validation on broker")

Row = namedtuple("Row", "column name needs steps")


def row(column, name, *steps, needs=""):
    """A row; `needs` are words of the driver's `can`, or `codec:NAME`, `acks:NAME`, `other` for a second client."""
    return Row(column, name, frozenset(needs.split()), steps)


SCENARIOS = [
    *[row("codecs", codec,
          topic(2), write(mix, 1600, codec=codec, linger_ms=50), write(large, codec=codec, each=True),
          host_finds_codec(codec), host_reads, client_reads, needs=f"codec:{codec}") for codec in CODECS],

    *[row("acks", acks,
          topic(), write(lines, 400, acks=acks), write(large, acks=acks, each=True), host_waits, host_reads, client_reads,
          needs=f"acks:{acks}") for acks in ("0", "1", "all")],

    row("idempotent", "idempotent",
        topic(2), write(mix, 800, idempotent=True), write(mix, 800, idempotent=True), host_finds_producer, host_reads,
        client_reads, needs="idempotent"),

    row("records", "odd shapes", topic(), write(shapes), host_reads, client_reads),
    row("records", "stamped by the broker",
        topic(message_timestamp_type="LogAppendTime"), write(lines, 100), broker_stamps, host_reads, client_reads,
        needs="append_time"),
    row("records", "cached writes", topic(write_caching="true"), write(lines, 300), host_reads, client_reads),

    row("reads", "earliest and offsets",
        topic(2), write(mix, 900), client_reads_some(7), client_reads_from_offsets(0, 0.001, 0.5, 0.9, 1)),
    row("reads", "latest", topic(), write(lines, 30), client_reads_latest),
    row("reads", "timestamp", topic(), write(lines, 300), write(lines, 100), client_reads_by_time, needs="by_timestamp"),
    row("reads", "watermarks", topic(2), write(mix, 60), client_watermarks),
    row("reads", "written by ringmill", topic(), host_writes(200), host_reads, client_reads),
    row("reads", "written by another client", topic(2), other_writes(mix, 400), host_reads, client_reads, needs="other"),

    row("compacted", "replaced records",
        topic(cleanup_policy="compact", segment_bytes=str(SEGMENT_BYTES), min_cleanable_dirty_ratio="0.01"),
        client_writes_replaced(20, 20, 20, 5), host_compacts, client_reads, client_reads_from_gaps, client_writes_replaced(2), client_reads),

    row("tails", "tail", topic(), write(lines, 20), client_tails(3), needs="tail"),

    row("creates", "unknown topic", write(lines, 100), host_reads, client_reads),
    row("creates", "create", client_creates_topic(3, retention_ms="7200000"), write(mix, 60), client_reads,
        needs="create_topic"),
    row("alters", "alter", topic(retention_ms="7200000"), write(lines, 20),
        client_alters_topic(retention_ms="3600000", max_message_bytes="2000000"), client_reads, needs="alter_topic"),
    row("alters", "add partitions", topic(), write(lines, 30), client_adds_partitions(3), host_reads, client_reads,
        needs="add_partitions"),
    row("deletes", "delete records", topic(), write(lines, 100), client_deletes_records(40), client_watermarks, host_reads,
        client_reads, needs="delete_records"),
    row("deletes", "delete topic", topic(2), write(mix, 60), client_deletes_topic, write(lines, 20), host_reads,
        client_reads, needs="delete_topic"),

    row("refusals", "too large", topic(max_message_bytes="500000"), client_is_refused(large), write(lines, 10), host_reads),
    row("refusals", "no key",
        topic(cleanup_policy="compact"), client_is_refused(lines, 1, spellings=INVALID_RECORD), write(keyed, 1), host_reads, client_reads,
        needs="null_key"),
    row("refusals", "bad name",
        client_is_told("INVALID_TOPIC", "TOPIC_EXCEPTION", op="create_topic", topic="no/such name", partitions=1, configs={}),
        needs="create_topic"),
    row("refusals", "name twice", topic(2), write(mix, 30),
        client_is_told("ALREADY_EXISTS", "TOPIC_EXISTS", "name already exists", op="create_topic", partitions=2, configs={}),
        host_reads, needs="create_topic"),
    # Some clients refuse so many by themselves.
    row("refusals", "a billion partitions",
        client_is_told("INVALID_PARTITIONS", "number of partitions is invalid", "number of partitions is below",
                       "num_partitions out of expected range",
                       op="create_topic", partitions=10**9, configs={}), needs="create_topic"),
    *[row("refusals", f"bad setting {name}",
          client_is_told("INVALID_CONFIG", "configuration is invalid", op="create_topic", partitions=1, configs={name: "soon"}),
          needs="create_topic configs") for name in ("no.such.setting", "retention.ms")],

    row("refusals", "beyond the end",
        topic(), write(lines, 40), client_reads_beyond(1000), client_reads, write(lines, 10), client_reads),

    row("restart", "killed while writing", topic(), write_over_kill(30, 50, idempotent=False)),
    row("restart", "killed while writing, idempotent",
        topic(), write_over_kill(30, 50, idempotent=True), host_finds_producer, host_reads, client_reads, needs="idempotent"),
    row("restart", "killed while tailing", topic(), write(lines, 20), client_tails(2, over_kill=True), needs="tail"),
    row("restart", "killed while idle", topic(), write(lines, 200), host_restarts, client_reads, write(lines, 50), host_reads),

    row("own checks", "own checks", client_tries_its_own, needs="extras"),
]

# Every record is processed, none skipped, commits only grow: judged by runner/groups/judge.py. Any broker can be put in ringmill's place.
GROUPS = [
    *[row("groups", assignor, endures(assignor), needs=f"broker:groups group:{assignor}")
      for assignor in ("range", "roundrobin", "sticky", "cooperative-sticky")],
    row("groups", "static", keeps_static("range"), needs="broker:groups group:static"),
    row("groups", "mixed", shares("range"), needs="broker:groups group:range group:other"),
    row("KIP-848", "uniform", endures("uniform", "consumer"), needs="broker:KIP-848 group:consumer"),
    row("KIP-848", "range-by-broker", endures("range", "consumer"), needs="broker:KIP-848 group:consumer"),
    row("KIP-848", "upgrade", upgrades("range"), needs="broker:KIP-848 group:range group:consumer"),
]
