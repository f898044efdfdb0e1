"""Kafka's ConsumerGroupCommand, VerifiableProducer and VerifiableConsumer against a broker with groups, of both kinds.

The consumers run as processes of their own while ConsumerGroupCommand looks at their group; what they print is checked line by line.
The calls are in group_rows.py. Called by check.py.
"""

import json
import subprocess
import time

import group_rows

# The kinds of groups, each with a request that a broker with such groups serves.
PROTOCOLS = {"classic": "JoinGroup", "consumer": "ConsumerGroupHeartbeat"}
RECORDS = 400
PARTITIONS = 4
JOIN_TIMEOUT_S = 30
PRODUCE_TIMEOUT_S = 60
END_TIMEOUT_S = 20


class Failed(Exception):
    """What a consumer printed is not what it must."""


def command(tools, cache, tool, *arguments):
    """A tool's command line, in a JVM of its own: what it does when that ends, it does nowhere else."""
    return ["java", "-XX:TieredStopAtLevel=1", "-XX:+UseSerialGC", "-Xmx128m", "-Dorg.slf4j.simpleLogger.defaultLogLevel=error",
            "-cp", f"{cache}/jars/*", tools.classes[tool], *arguments]


class Consumer:
    """A VerifiableConsumer that runs until it is ended, and what it has printed."""

    def __init__(self, tools, cache, address, group, protocol, log_path):
        self._log_path = log_path
        asked = command(tools, cache, "verifiable-consumer", "--bootstrap-server", address, "--topic", "verified", "--group-id", group,
                        "--group-protocol", protocol, "--reset-policy", "earliest")
        with open(log_path, "wb") as log:
            self._process = subprocess.Popen(asked, stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT)

    def told(self, name):
        """What it has printed of this name."""
        lines = open(self._log_path, errors="replace").read().splitlines()
        events = [json.loads(line) for line in lines if line.startswith("{") and line.endswith("}")]
        return [event for event in events if event["name"] == name]

    def owned(self):
        """The partitions that it has now."""
        owned = set()
        for line in open(self._log_path, errors="replace").read().splitlines():
            if '"name":"partitions_' in line and line.endswith("}"):
                event = json.loads(line)
                change = {partition["partition"] for partition in event["partitions"]}
                owned = owned | change if event["name"] == "partitions_assigned" else owned - change
        return owned

    def require_running(self):
        if self._process.poll() is not None:
            raise Failed(f"a consumer ended with {self._process.returncode}: {open(self._log_path, errors='replace').read()[-1000:]}")

    def end(self):
        """Asks it to end, and waits."""
        self._process.terminate()
        self._process.wait(END_TIMEOUT_S)

    def close(self):
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


def check(tools, cache, work, address):
    """All of it that the broker serves; returns how many checks failed."""
    failed = tools.run(group_rows.TOPIC)
    failed += verdict("verifiable-producer", lambda: produce(tools, cache, work, address))
    for protocol, api in PROTOCOLS.items():
        if not tools.served(api):
            tools.waiting.append(f"ConsumerGroupCommand and VerifiableConsumer with {protocol} groups: the broker does not serve {api}")
            continue
        failed += tools.run(group_rows.without_group(protocol))
        failed += watch(tools, cache, work, address, protocol)
        failed += tools.run(group_rows.alone(protocol))
        failed += tools.run(group_rows.autocommit(protocol))
    return failed


def verdict(what, does):
    """Says how a check went; 1 if it failed."""
    started = time.monotonic()
    try:
        does()
    except Failed as error:
        print(f"{time.monotonic() - started:6.2f} s  {what}: FAILED: {error}", flush=True)
        return 1
    print(f"{time.monotonic() - started:6.2f} s  {what}: ok", flush=True)
    return 0


def produce(tools, cache, work, address):
    """Every value is acknowledged once, each at an offset of its own, without a gap; the producer counts the same."""
    asked = command(tools, cache, "verifiable-producer", "--bootstrap-server", address, "--topic", "verified", "--max-messages", str(RECORDS),
                    "--acks", "-1", "--repeating-keys", "40")
    with open(f"{work}/verifiable-producer.err", "wb") as log:
        done = subprocess.run(asked, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=log, timeout=PRODUCE_TIMEOUT_S)
    events = [json.loads(line) for line in done.stdout.splitlines()]
    told = {name: [event for event in events if event["name"] == name] for name in {event["name"] for event in events}}
    sent = told.pop("producer_send_success", [])
    if done.returncode != 0 or sorted(told) != ["shutdown_complete", "startup_complete", "tool_data"]:
        raise Failed(f"exit code {done.returncode}, and it told {sorted(told)}: {open(log.name).read()[-1000:]}")
    (summary,) = told["tool_data"]
    if (summary["sent"], summary["acked"]) != (RECORDS, RECORDS):
        raise Failed(f"it counts {summary}")
    if sorted(int(event["value"]) for event in sent) != list(range(RECORDS)):
        raise Failed(f"{len(sent)} acknowledged values are not those from 0 to {RECORDS}")
    for partition in range(PARTITIONS):
        offsets = sorted(event["offset"] for event in sent if event["partition"] == partition)
        if offsets != list(range(len(offsets))) or not offsets:
            raise Failed(f"offsets in partition {partition}: {offsets[:10]}")


def watch(tools, cache, work, address, protocol):
    """Two consumers share the topic while ConsumerGroupCommand looks at them; returns how many checks failed."""
    consumers = []
    try:
        for number in range(2):
            consumers.append(Consumer(tools, cache, address, f"watched-{protocol}", protocol, f"{work}/consumer-{protocol}-{number}"))
        failed = verdict(f"two verifiable-consumers of a {protocol} group share four partitions", lambda: wait_for_shares(consumers))
        failed += tools.run(group_rows.watched(protocol))
        for consumer in consumers:
            consumer.end()
        return failed + verdict(f"what verifiable-consumers of a {protocol} group printed", lambda: require_consumed(consumers))
    finally:
        for consumer in consumers:
            consumer.close()


def wait_for_shares(consumers):
    """Until each has two partitions and all is committed."""
    deadline = time.monotonic() + JOIN_TIMEOUT_S
    while not (sorted(map(len, owned := [consumer.owned() for consumer in consumers])) == [2, 2] and not owned[0] & owned[1]
               and sum(committed(consumers).values()) == RECORDS):
        for consumer in consumers:
            consumer.require_running()
        if time.monotonic() > deadline:
            raise Failed(f"they have {owned}, and have committed {committed(consumers)}")
        time.sleep(0.05)


def committed(consumers):
    """The highest offset of each partition in a commit that was accepted."""
    offsets = {}
    for consumer in consumers:
        for event in consumer.told("offsets_committed"):
            for place in event["offsets"] if event["success"] else []:
                offsets[place["partition"]] = max(place["offset"], offsets.get(place["partition"], 0))
    return offsets


def require_consumed(consumers):
    """Together they have read every record, from each partition's beginning without a gap, and have ended in order."""
    read = {}
    for consumer in consumers:
        for event in consumer.told("records_consumed"):
            for span in event["partitions"]:
                read.setdefault(span["partition"], set()).update(range(span["minOffset"], span["maxOffset"] + 1))
        if not consumer.told("shutdown_complete"):
            raise Failed("a consumer has not ended in order")
        if consumer.owned():
            raise Failed(f"a consumer has not given back {consumer.owned()}")
    if sum(map(len, read.values())) != RECORDS or any(offsets != set(range(len(offsets))) for offsets in read.values()):
        raise Failed(f"records read: { {partition: len(offsets) for partition, offsets in sorted(read.items())} }")
