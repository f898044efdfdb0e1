"""The words that scenarios are made of. Each returns a function of the `Scene` that does something and requires something.

Steps that look at the broker's side begin with `host`, those of the client's with `client`.
"""

import time

from runner import records
from runner.context import abilities, compare_record, wall_ms
from runner.failure import Failure

# A tail waits this long for records that are not there yet; they must come well before, as soon as they are written.
TAIL_TIMEOUT_MS = 10_000
TAIL_LATENCY_MAX_S = 3.0
# Over a restart of the broker it takes as long as the client waits before it connects again: up to 10 s by librdkafka's default.
RESTART_TAIL_TIMEOUT_MS = 40_000
RESTART_LATENCY_MAX_S = 15.0
# How long a client may look for what is not there.
BEYOND_TIMEOUT_MS = 1000
# A batch of fewer records is not asked for its codec: clients leave it as it is when compressing makes it larger.
COMPRESSED_RECORDS_MIN = 10
# How long what was written without acknowledgement may take to arrive, and a deletion to be seen.
ARRIVAL_TIMEOUT_S = 15


def topic(partitions=1, **configs):
    """Creates the scenario's topic from the broker's side."""
    configs = {name.replace("_", "."): value for name, value in configs.items()}
    return lambda scene: scene.host.create_topic(scene.topic, partitions, configs)


def write(make, *arguments, **how):
    """Writes what `make(*arguments, can=…)` makes. `each=True` sends every record alone."""
    def run(scene):
        each = how.get("each", False)
        options = {name: value for name, value in how.items() if name != "each"}
        first = sum(len(stored) for stored in scene.expected.values())
        made = make(*arguments, can=scene.can) if make is records.shapes else make(*arguments, can=scene.can, first=first)
        for portion in ([[record] for record in made] if each else [made]):
            scene.write(portion, **options)
    return run


def host_waits(scene):
    """Waits until the broker has as many records as were written: for those nobody acknowledged."""
    def arrived():
        return all(len(scene.host.consume(scene.topic, partition)) >= len(stored)
                   for partition, stored in scene.expected.items())
    wait_until(arrived, f"not all records arrived within {ARRIVAL_TIMEOUT_S} s")


def wait_until(holds, complaint):
    """Asks until it holds, or fails."""
    deadline = time.monotonic() + ARRIVAL_TIMEOUT_S
    while not holds():
        if time.monotonic() > deadline:
            raise Failure(complaint)
        time.sleep(0.02)


def host_reads(scene):
    """`ringmill consume` reads exactly what was written."""
    for partition in sorted(scene.expected):
        scene.compare(partition, scene.host.consume(scene.topic, partition), "`ringmill consume`")


def client_reads(scene):
    """The client reads exactly what was written, from the earliest record on."""
    for partition, stored in sorted(scene.expected.items()):
        scene.compare(partition, scene.read(partition, "earliest", len(stored)), "the client's reading")


def broker_stamps(scene):
    """From here on the broker's clock counts, whatever timestamps were set."""
    for stored in scene.expected.values():
        for record in stored:
            record["timestamp_ms"] = None


def client_is_refused(make, *arguments, spellings=()):
    """The client is told that what it sends is not taken, and nothing of it is stored. With `spellings` it names the reason in one of
    them, unless it cannot."""
    def run(scene):
        names = () if "error_names" in scene.cannot else spellings
        for record in make(*arguments, can=scene.can):
            scene.client.send("produce", topic=scene.topic, records=[record], acks="all", codec="none", idempotent=False, linger_ms=0)
            answer = scene.client.receive_any("produce")
            if answer.get("ok") or names and not names_one(answer, names):
                raise Failure("producing what the topic does not take", names[0] if names else "an error", answer)
        if stored := scene.host.consume(scene.topic, 0):
            raise Failure("records stored though refused", 0, len(stored))
    return run


def client_is_told(*spellings, op, **arguments):
    """The operation is refused, and the client names the reason in one of these spellings."""
    def run(scene):
        scene.client.send(op, **{"topic": scene.topic, **arguments})
        answer = scene.client.receive_any(op)
        if answer.get("ok") or not names_one(answer, spellings):
            raise Failure(f"the client's error for {op}", spellings[0], answer)
    return run


def names_one(answer, spellings):
    """Whether the error of an answer holds one of these; only letters and digits count."""
    def bare(text):
        return "".join(filter(str.isalnum, text)).lower()
    return any(bare(spelling) in bare(str(answer.get("error"))) for spelling in spellings)


def client_reads_beyond(distance):
    """Where nothing is, far behind the end or before the beginning, the client gets nothing or an error, and no other record."""
    def run(scene):
        end = scene.first.get(0, 0) + len(scene.expected[0])
        scene.client.send("consume", topic=scene.topic, partition=0, count=1, timeout_ms=BEYOND_TIMEOUT_MS, **{"from": end + distance})
        answer = scene.client.receive_any("consume")
        if answer.get("records"):
            raise Failure(f"reading at offset {end + distance}", "nothing or an error", answer)
    return run


def host_finds_codec(codec):
    """Every batch of some size on disk has this codec: a client that cannot compress must not do so silently."""
    def run(scene):
        found = set()
        for partition in scene.expected:
            for batch in scene.host.batches(scene.topic, partition):
                if batch["record_count"] >= COMPRESSED_RECORDS_MIN or codec == "none":
                    found.add(batch["codec"])
        if found != {codec}:
            raise Failure("codec of the stored batches", codec, ", ".join(sorted(found)) or "no batch of several records")
    return run


def host_finds_producer(scene):
    """Every batch on disk bears a producer id, and sequence numbers without a gap."""
    for partition in scene.expected:
        following = {}
        for batch in scene.host.batches(scene.topic, partition):
            producer = (batch["producer_id"], batch["producer_epoch"])
            if producer[0] < 0:
                raise Failure("an idempotent producer's batch bears no producer id", ">= 0", producer[0])
            expected = following.get(producer, 0)
            if batch["base_sequence"] != expected:
                raise Failure(f"sequence of the batch at offset {batch['base_offset']}", expected, batch["base_sequence"])
            following[producer] = expected + batch["record_count"]


def client_reads_from_offsets(*fractions):
    """The client reads from offsets inside a partition to its end; fractions of its length say where."""
    def run(scene):
        for partition, stored in sorted(scene.expected.items()):
            begin = scene.first.get(partition, 0)
            for fraction in fractions:
                start = begin + min(int(len(stored) * fraction), len(stored) - 1)
                got = scene.read(partition, start, begin + len(stored) - start)
                scene.compare(partition, got, "the client's reading", first=start)
    return run


def client_reads_some(count):
    """Asked for fewer records than there are, the client gives so many and no more."""
    def run(scene):
        got = scene.read(0, "earliest", count)
        if [record["offset"] for record in got] != list(range(count)):
            raise Failure("offsets of the first records", f"0..{count - 1}", [record["offset"] for record in got])
    return run


def client_reads_latest(scene):
    """From `latest` on, the client gives nothing older than what is written once it waits."""
    end = len(scene.expected[0])
    scene.client.send("consume", topic=scene.topic, partition=0, count=1, timeout_ms=TAIL_TIMEOUT_MS, **{"from": "latest"})
    deadline = scene.now() + TAIL_TIMEOUT_MS / 1000
    sent = 0
    # Nobody knows when the client has found the end, so a line is written every now and then.
    while not scene.client.answered() and scene.now() < deadline:
        scene.host.produce(scene.topic, [b"latest %d" % sent], "none", 0)
        sent += 1
        time.sleep(0.1)
    got = scene.client.receive("consume")["records"]
    if len(got) != 1 or not got[0]["offset"] >= end:
        raise Failure("reading from latest", f"one record at {end} or later", got)
    expected = {"partition": 0, "offset": got[0]["offset"], "key": None,
                "value": records.text_of(b"latest %d" % (got[0]["offset"] - end))}
    compare_record(expected, got[0], list(expected), "the record from latest on")


def client_reads_by_time(scene):
    """From a timestamp on, the client begins at the first record that is not older."""
    stored = scene.host.consume(scene.topic, 0)
    stamps = [record["timestamp_ms"] for record in stored]
    for moment in (stamps[0] - 1000, stamps[len(stamps) // 2], stamps[len(stamps) // 2] - 1, max(stamps)):
        expected = next(record["offset"] for record in stored if record["timestamp_ms"] >= moment)
        offset = scene.client.call("offset_for_time", topic=scene.topic, partition=0, timestamp_ms=moment)["offset"]
        if offset != expected:
            raise Failure(f"offset for the time {moment}", expected, offset)
        got = scene.read(0, {"timestamp_ms": moment}, len(stored) - expected)
        scene.compare(0, got, "the client's reading", first=expected)
    later = max(stamps) + 60_000
    offset = scene.client.call("offset_for_time", topic=scene.topic, partition=0, timestamp_ms=later)["offset"]
    # Clients tell in three ways that there is no such record: nothing, -1, or the end.
    if offset not in (None, -1, len(stored)):
        raise Failure("offset for a time after all records", None, offset)


def client_watermarks(scene):
    """The client sees where every partition begins and ends."""
    for partition, stored in sorted(scene.expected.items()):
        low = scene.first.get(partition, 0)
        answer = scene.client.call("watermarks", topic=scene.topic, partition=partition)
        if (answer["low"], answer["high"]) != (low, low + len(stored)):
            raise Failure(f"watermarks of partition {partition}", (low, low + len(stored)), (answer["low"], answer["high"]))


def client_tails(rounds, over_kill=False):
    """A waiting client gets what is written at once, not at the end of its poll; after a restart, once it is connected again."""
    timeout_ms = RESTART_TAIL_TIMEOUT_MS if over_kill else TAIL_TIMEOUT_MS
    latency_max_s = RESTART_LATENCY_MAX_S if over_kill else TAIL_LATENCY_MAX_S
    def run(scene):
        end = len(scene.expected.get(0, []))
        position = scene.client.call("tail_start", topic=scene.topic, partition=0)["position"]
        if position != end:
            raise Failure("position at the end", end, position)
        for number in range(rounds):
            lines = [b"tail\tround %d line %d" % (number, nth) for nth in range(3)]
            scene.client.send("tail_read", count=len(lines), timeout_ms=timeout_ms)
            time.sleep(0.1)  # So that the client's request waits in the broker by now; it holds either way.
            if over_kill:
                host_restarts(scene)
            scene.host.produce(scene.topic, lines, "none", 0)
            written = scene.now()
            got = scene.client.receive("tail_read")["records"]
            latency_s = scene.now() - written
            require_tail(lines, got, end)
            if latency_s > latency_max_s:
                raise Failure(f"seconds from writing to the end of a poll of {timeout_ms / 1000:.0f} s",
                              f"below {latency_max_s}", round(latency_s, 2))
            end += len(lines)
    return run


def require_tail(lines, got, end):
    """What a tail read must be these lines, from offset `end` on."""
    if len(got) != len(lines):
        raise Failure("records of the tail", len(lines), len(got))
    for nth, (line, record) in enumerate(zip(lines, got)):
        key, value = line.split(b"\t")
        expected = {"partition": 0, "offset": end + nth, "key": records.text_of(key), "value": records.text_of(value)}
        compare_record(expected, record, list(expected), f"the tail's record {end + nth}")


def client_creates_topic(partitions, **configs):
    """The client creates the topic; both sides see it, with its partitions and, where the client can tell, settings."""
    configs = {name.replace("_", "."): value for name, value in configs.items()}
    def run(scene):
        scene.client.call("create_topic", topic=scene.topic, partitions=partitions, configs=configs)
        require_listed(scene, True)
        describe(scene, partitions, configs)
        if "configs" in scene.can:
            require_configs(scene, configs)
    return run


def client_alters_topic(**configs):
    """The client changes settings and reads them back."""
    configs = {name.replace("_", "."): value for name, value in configs.items()}
    def run(scene):
        scene.client.call("alter_topic", topic=scene.topic, configs=configs)
        describe(scene, None, configs)
        require_configs(scene, configs)
    return run


def describe(scene, partitions, configs):
    """What the client says of the topic, where it can."""
    if "describe_topic" not in scene.can:
        return
    answer = scene.client.call("describe_topic", topic=scene.topic)
    if partitions is not None and answer["partitions"] != partitions:
        raise Failure("partitions described", partitions, answer["partitions"])
    if answer.get("configs") is not None:
        got = {name: answer["configs"].get(name) for name in configs}
        if got != configs:
            raise Failure("settings described", configs, got)


def require_configs(scene, configs):
    """`ringmill topic config` shows these settings, whatever the client says of them."""
    known = scene.host.configs(scene.topic)
    got = {name: known.get(name) for name in configs}
    if got != configs:
        raise Failure("settings by `ringmill topic config`", configs, got)


def client_adds_partitions(count):
    """The client enlarges the topic; what was there stays, and the last new partition takes records."""
    def run(scene):
        scene.client.call("add_partitions", topic=scene.topic, count=count)
        describe(scene, count, {})
        # A client that wrote before believes for minutes what it knows of the topic, with any broker.
        scene.renew_client()
        scene.write([records.record(number, scene.can, count - 1, b"new", records.line(number)) for number in range(20)])
    return run


def client_deletes_records(before):
    """The client cuts the beginning off; nobody can read it any more, and the rest stays where it was."""
    def run(scene):
        answer = scene.client.call("delete_records", topic=scene.topic, partition=0, before=before)
        if answer.get("low") not in (None, before):
            raise Failure("low watermark after deleting records", before, answer["low"])
        scene.expected[0] = scene.expected[0][before - scene.first.get(0, 0):]
        scene.first[0] = before
    return run


def client_deletes_topic(scene):
    """The client deletes the topic; it is gone for both sides, and one of the same name begins empty."""
    scene.client.call("delete_topic", topic=scene.topic)
    wait_until(lambda: scene.topic not in scene.host.topics(), "`ringmill topic list` still shows the deleted topic")
    require_listed(scene, False)
    scene.host.create_topic(scene.topic, 1, {})
    if stored := scene.host.consume(scene.topic, 0):
        raise Failure("records in a topic of the same name, created anew", 0, len(stored))
    scene.expected.clear()


def require_listed(scene, wanted):
    """Both sides must list the topic, or not."""
    if (scene.topic in scene.host.topics()) != wanted:
        raise Failure("`ringmill topic list` shows the topic", wanted, not wanted)
    if "list_topics" in scene.can and (scene.topic in scene.client.call("list_topics")["topics"]) != wanted:
        raise Failure("the client lists the topic", wanted, not wanted)


def write_over_kill(portions, each, idempotent):
    """Writes many portions without a pause; the broker is killed in their midst and started again on the same data."""
    def run(scene):
        made = [records.lines(each, can=scene.can, first=nth * each) for nth in range(portions)]
        began_ms = wall_ms()
        for portion in made:
            scene.client.send("produce", topic=scene.topic, records=portion, acks="all", codec="none",
                              idempotent=idempotent, linger_ms=5)
        offsets = []
        for nth in range(portions):
            if nth == portions // 3:
                scene.host.kill()
                scene.host.start()
            offsets.append(scene.client.receive("produce")["offsets"])
        if idempotent:
            for portion, told in zip(made, offsets):
                scene.written(portion, told, began_ms, "produce")
        else:
            require_all_there(scene, made, offsets)
    return run


def require_all_there(scene, made, offsets):
    """Every acknowledged record stands where the client says; what else is there is a repetition of one of them."""
    stored = scene.host.consume(scene.topic, 0)
    sent = {record["value"]: record for portion in made for record in portion}
    for record in stored:
        if record["value"] not in sent:
            raise Failure(f"record {record['offset']} was never sent", None, records.readable("value", record["value"]))
        compare_record(sent[record["value"]], record, ["key", "headers"], f"record {record['offset']} after the restart")
    for portion, told in zip(made, offsets):
        for record, offset in zip(portion, told, strict=True):
            got = stored[offset]["value"] if offset is not None and 0 <= offset < len(stored) else None
            if got != record["value"]:
                raise Failure(f"the record acknowledged at {offset}", records.readable("value", record["value"]),
                              records.readable("value", got))


def host_restarts(scene):
    """The broker is killed and started again while the client idles."""
    scene.host.kill()
    scene.host.start()


def host_writes(count):
    """`ringmill produce` writes keyed lines with every codec that the client can read, one after the other."""
    def run(scene):
        for codec in scene.codecs:
            first = len(scene.expected.get(0, []))
            made = [records.record(number, {"null_key"}, 0, b"key-%d" % number if number % 2 else None, records.line(number))
                    for number in range(first, first + count)]
            began_ms = wall_ms()
            lines = [(records.bytes_of(record["key"]) + b"\t" if record["key"] else b"") + records.bytes_of(record["value"])
                     for record in made]
            scene.host.produce(scene.topic, lines, codec, 0)
            scene.written(made, [None] * count, began_ms, "`ringmill produce`")
    return run


def other_writes(make, *arguments):
    """Another client writes with every codec that both have."""
    def run(scene):
        other, hello = scene.other()
        for codec in (codec for codec in scene.codecs if codec in hello["codecs"]):
            first = sum(len(stored) for stored in scene.expected.values())
            made = make(*arguments, can=abilities(hello) & (scene.can | {"timestamps"}), first=first)
            scene.write(made, by=other, codec=codec)
    return run


def client_tries_its_own(scene):
    """What only this client's driver knows to try: checks that it makes itself, with topics of its own."""
    checks = scene.client.call("extras")["checks"]
    if not checks:
        raise Failure("the driver tried nothing of its own")
    if failed := [check for check in checks if not check["ok"]]:
        said = "; ".join(f"{check['name']}: {check['detail'][:300]}" for check in failed)
        raise Failure(f"{len(failed)} of the driver's own {len(checks)} checks failed: {said}")
