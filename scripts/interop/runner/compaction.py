"""Steps about a compacted topic: later records replace earlier ones of the same key, whole batches of which nothing is left among them.

What is left keeps its offsets, so a reader meets gaps, and batches without records in the midst of an answer.
"""

import random
import time

from runner import records
from runner.failure import Failure

BATCH_RECORDS = 5
# Two batches of three are replaced entirely, side by side; the third keeps its keys.
KINDS = 3
# One of the records that close segments fits into it, a second does not.
SEGMENT_BYTES = 1 << 20
COMPACTION_TIMEOUT_S = 30


def client_writes_replaced(*stretches):
    """Stretches of so many small batches, by every codec in turn, with a record in front of each but the first that closes a segment."""
    def run(scene):
        number = scene.expected[0][-1]["offset"] + 1 if scene.expected else 0
        for nth, batches in enumerate(stretches):
            if nth:
                scene.write([records.record(number, scene.can, 0, b"filler", filler(nth))])
                number += 1
            for batch in range(batches):
                keys = [b"own-%d" % (number + place) if batch % KINDS == 0 else b"shared-%d" % place for place in range(BATCH_RECORDS)]
                made = [records.record(number + place, scene.can, 0, key, records.line(number + place)) for place, key in enumerate(keys)]
                scene.write(made, codec=scene.codecs[batch % len(scene.codecs)])
                number += BATCH_RECORDS
    return run


def filler(seed):
    """Text that leaves room for nothing like it in the same segment."""
    return random.Random(seed).randbytes(records.LARGE_BYTES // 2).hex().encode()


def host_compacts(scene):
    """Waits until of the closed segments nothing is left but the last record of each key; from here on that is what must stand."""
    deadline = time.monotonic() + COMPACTION_TIMEOUT_S
    while True:
        left = what_is_left(scene)
        stored = [record["offset"] for record in scene.host.consume(scene.topic, 0)]
        if stored == [record["offset"] for record in left]:
            break
        if time.monotonic() > deadline:
            raise Failure(f"records left after {COMPACTION_TIMEOUT_S} s of compaction", len(left), len(stored))
        time.sleep(0.1)
    if not any(batch["record_count"] == 0 for batch in scene.host.batches(scene.topic, 0)):
        raise Failure("compaction leaves no batch without records: this row tries nothing that others do not")
    scene.expected[0] = left


def what_is_left(scene):
    """The records that a whole compaction keeps."""
    active = scene.host.active_segment(scene.topic, 0)
    last = {record["key"]: record["offset"] for record in scene.expected[0] if record["offset"] < active}
    return [record for record in scene.expected[0] if record["offset"] >= active or last[record["key"]] == record["offset"]]


def client_reads_from_gaps(scene):
    """From an offset whose record is gone, or whose batch is, the client goes on with the next record there is."""
    offsets = [record["offset"] for record in scene.expected[0]]
    gaps = [before + 1 for before, after in zip(offsets, offsets[1:]) if after > before + 1]
    for start in (gaps[0], gaps[0] + 1, gaps[len(gaps) // 2] + BATCH_RECORDS, gaps[-1]):
        wanted = sum(offset >= start for offset in offsets)
        scene.compare(0, scene.read(0, start, wanted), "the client's reading", first=start)
