"""Topics that the broker compacts again and again, and what Kafka's DumpLogSegments must say of what is left of them.

`fill` writes keys over and over, with tombstones, and waits for a pass after each round; it notes what our own consumer returns then. `deep`
holds the tool's output against that, record by record. The tool counts offsets without a gap in every log and lists each gap on stderr, Kafka's
compacted logs included: these complaints must be exactly the gaps that there are. Called by check.py.
"""

import json
import os
import random
import re
import subprocess
import time

from run import Failed, Row

CODECS = ("none", "lz4", "zstd")
ROUNDS = 3
KEYS = 1500
RECORDS_PER_ROUND = 9000
#: Two tombstones in a hundred records.
TOMBSTONES = 0.02
#: Keys that are written and deleted once, at the beginning: two passes later nothing is left of them.
GONE = 50
PASS_SECONDS_MAX = 60


def topic(codec):
    return f"compacted-{codec}"


def rows():
    """The topics: small segments, a pass whenever something is new, and tombstones that the pass after their first takes away."""
    settings = ("cleanup.policy=compact", "segment.bytes=1048576", "min.cleanable.dirty.ratio=0", "delete.retention.ms=1")
    configs = " ".join(f"--config {setting}" for setting in settings)
    return [Row("topics", f"--create --topic {topic(codec)} --partitions 1 {configs}", [rf"^Created topic {topic(codec)}\.$"]) for codec in CODECS]


def fill(ringmill, address, work):
    """Fills the topics and notes what is left of them; returns how many failed."""
    failed = 0
    for codec in CODECS:
        started = time.monotonic()
        try:
            verdict = fill_one(ringmill, address, work, codec)
        except Failed as error:
            failed += 1
            verdict = f"FAILED: {error}"
        print(f"{time.monotonic() - started:6.2f} s  {topic(codec)}, at least {ROUNDS} passes: {verdict}", flush=True)
    return failed


def fill_one(ringmill, address, work, codec):
    folder, numbers, last = f"{work}/data/{topic(codec)}-0", random.Random(codec), {}
    lines = [f"gone-{number:04}\t{value}\n" for value in ("a value", "") for number in range(GONE)]
    for _ in range(ROUNDS):
        for _ in range(RECORDS_PER_ROUND):
            key = f"key-{numbers.randrange(KEYS):04}"
            last[key] = None if numbers.random() < TOMBSTONES else f"{numbers.getrandbits(1200):0300x}"
            lines.append(f"{key}\t{last[key] or ''}\n")
        produce = [ringmill, "produce", topic(codec), "-b", address, "-q", "-K", "\\t", "--empty-as-null", "-z", codec]
        subprocess.run(produce, input="".join(lines), text=True, check=True)
        wait_for_pass(work, folder)
        lines = []
    consume = [ringmill, "consume", topic(codec), "-b", address, "-o", "json"]
    out = subprocess.run(consume, stdout=subprocess.PIPE, text=True, check=True).stdout
    left = [(record["offset"], record["key"], record["value"]) for record in map(json.loads, out.splitlines())]
    tombstones = sum(value is None for _, _, value in left)
    found = {key: value for _, key, value in left}
    # A tombstone may have gone like the keys that were deleted at the beginning.
    if found != {key: value for key, value in last.items() if key in found or value is not None}:
        raise Failed("what our consumer returns last of a key is not what was written last, or a deleted key is still there")
    if not tombstones or len(left) > ROUNDS * RECORDS_PER_ROUND / 2:
        raise Failed(f"{len(left)} records are left, {tombstones} of them tombstones: nothing to try the tool on")
    with open(expected_path(work, codec), "w") as file:
        json.dump(left, file)
    return f"ok, {len(left)} records are left, {tombstones} of them tombstones, and of {GONE} deleted keys nothing"


def wait_for_pass(work, folder):
    """Until all that is closed has been compacted."""
    give_up = time.monotonic() + PASS_SECONDS_MAX
    while time.monotonic() < give_up:
        active = max(int(name[:-4]) for name in os.listdir(folder) if re.fullmatch(r"\d{20}\.log", name))
        with open(f"{work}/broker.log") as file:
            passes = [line for line in file if '"compacted"' in line and folder in line]
        if active > 0 and passes and int(re.search(r'"compacted_to":"?(\d+)', passes[-1])[1]) == active:
            return
        time.sleep(0.1)
    raise Failed(f"{folder} was not compacted up to its active segment within {PASS_SECONDS_MAX} s")


def expected_path(work, codec):
    return f"{work}/tools/{topic(codec)}.json"


def deep(tools, paths, end, work, codec):
    """Every batch valid, and the records those of our consumer: offset, key and value."""
    code, out, err = tools.call("dump-log", f"--deep-iteration --print-data-log --files {','.join(paths)}")
    batches = re.findall(r"^baseOffset: .* count: (\d+) .* compresscodec: (\S+) .* isvalid: (\w+)$", out, re.MULTILINE)
    if code != 0 or not batches or {valid for _, _, valid in batches} != {"true"}:
        raise Failed(f"exit code {code}, {len(batches)} batches, not all of them valid: {err[:2000]}")
    if codec not in {name.lower() for count, name, _ in batches if count != "0"}:
        raise Failed(f"no batch is compressed by {codec}")
    found, gaps, path = [], set(), None
    for line in out.splitlines():
        if line.startswith("Dumping "):
            # The old tool counts from a file's first record on, the new one from 0.
            path, last = line.removeprefix("Dumping "), -1 if tools.version.startswith("4.") else None
        if not (record := re.match(r"\| offset: (\d+) .*? headerKeys: \[\](?: key: (\S+))?(?: payload: (.*))?$", line)):
            continue
        offset = int(record[1])
        if last is not None and offset != last + 1:
            gaps.add((path, last, offset))
        last = offset
        found.append([offset, record[2], record[3]])
    with open(expected_path(work, codec)) as file:
        expected = [record for record in json.load(file) if end is None or record[0] < end]
    if found != expected:
        different = next((pair for pair in zip(found, expected) if pair[0] != pair[1]), None)
        raise Failed(f"{len(found)} records where our consumer has {len(expected)}; the first that differs: {different}")
    if complaints(err) != gaps:
        raise Failed(f"stderr is not the {len(gaps)} gaps: {err[:2000]}")
    empty = sum(count == "0" for count, _, _ in batches)
    return f"ok, {len(paths)} segments, {len(batches)} batches, {empty} of them empty, {len(found)} records, {len(gaps)} gaps"


def complaints(err):
    """The gaps that the tool lists, as (file, offset before, offset behind); anything else is one that matches nothing."""
    found, path = set(), None
    for line in err.splitlines():
        if line.startswith("Non-consecutive offsets in "):
            path = line.removeprefix("Non-consecutive offsets in ")
        elif pair := re.fullmatch(r"  (-?\d+) is followed by (\d+)", line):
            found.add((path, int(pair[1]), int(pair[2])))
        else:
            found.add(line)
    return found
