"""A check that cannot fail is worth nothing: every row must pass with an honest fake, and every fault must be found.

Run by clients.sh before any real client: `python3 -m runner.selftest`. It takes a second and starts no process.
"""

import sys

from runner import fake, steps
from runner.context import Scene
from runner.failure import Failure
from scenarios import SCENARIOS

# Each fault of the fake client, and a row that must fail because of it.
FAULTS = {
    "produce drops a record": "zstd",
    "produce swaps two records": "idempotent",
    "produce alters a value": "1",
    "produce repeats records": "killed while writing, idempotent",
    "produce loses headers": "odd shapes",
    "produce loses timestamps": "odd shapes",
    "produce writes null as empty": "odd shapes",
    "produce does not compress": "snappy",
    "produce is not idempotent": "idempotent",
    "produce writes nothing without acks": "0",
    "produce tells wrong offsets": "all",
    "consume drops a record": "gzip",
    "consume skips a record": "earliest and offsets",
    "consume swaps two records": "written by ringmill",
    "consume alters a value": "tail",
    "consume reads empty as null": "odd shapes",
    "consume reads a null key as empty": "lz4",
    "consume sorts headers": "odd shapes",
    "consume shifts timestamps": "none",
    "consume takes latest for earliest": "latest",
    "consume begins late": "timestamp",
    "consume ignores the count": "earliest and offsets",
    "tail comes late": "tail",
    "watermarks are low": "watermarks",
    "offset_for_time finds nothing": "timestamp",
    "create_topic ignores partitions": "create",
    "create_topic ignores settings": "create",
    "alter_topic does nothing": "alter",
    "add_partitions does nothing": "add partitions",
    "delete_records does nothing": "delete records",
    "delete_topic fails": "delete topic",
    "list_topics forgets all": "create",
}


def verdict(row, fault):
    """What a row says of the fake client with a fault: None, or why it failed."""
    broker = fake.FakeBroker()
    client = fake.FakeDriver(broker, fault)
    other = fake.FakeDriver(broker)
    scene = Scene(client, client.hello(), broker, lambda: (other, other.hello()), "selftest", client.now)
    try:
        for step in row.steps:
            step(scene)
    except Failure as failure:
        return str(failure)
    return None


def main():
    # A fake never answers later than at once.
    steps.ARRIVAL_TIMEOUT_S = 0
    rows = {row.name: row for row in SCENARIOS}
    assert len(rows) == len(SCENARIOS), "two rows have the same name"
    for row in SCENARIOS:
        why = verdict(row, None)
        assert why is None, f"the row {row.name!r} fails an honest client: {why}"
    for fault, name in FAULTS.items():
        assert verdict(rows[name], fault) is not None, f"the row {name!r} does not notice that {fault}"
    print(f"the runner itself: {len(SCENARIOS)} scenarios pass an honest client, {len(FAULTS)} faulty ones are all found")


if __name__ == "__main__":
    sys.exit(main())
