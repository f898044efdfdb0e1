"""A check that cannot fail is worth nothing: every row must pass with an honest fake, and every fault must be found.

Run by clients.sh before any real client: `python3 -m runner.selftest`. It takes two seconds.
"""

import sys
import tempfile
from pathlib import Path

from runner import broker, fake, matrix, steps
from runner.context import Scene
from runner.driver import Driver
from runner.failure import Failure
from runner.groups import selftest as groups_selftest
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
    "produce is refused for another reason": "no key",
    "produce is always refused by a compacted topic": "no key",
    "produce is not idempotent": "idempotent",
    "produce hides refusals": "too large",
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
    "consume tells the year 1970": "stamped by the broker",
    "consume takes latest for earliest": "latest",
    "consume begins late": "timestamp",
    "consume stops at a gap": "replaced records",
    "consume finds no gap": "replaced records",
    "consume ignores the count": "earliest and offsets",
    "tail comes late": "tail",
    "watermarks are low": "watermarks",
    "offset_for_time finds nothing": "timestamp",
    "create_topic ignores partitions": "create",
    "create_topic ignores settings": "create",
    "create_topic hides refusals": "bad setting retention.ms",
    "alter_topic does nothing": "alter",
    "add_partitions does nothing": "add partitions",
    "delete_records does nothing": "delete records",
    "delete_topic fails": "delete topic",
    "list_topics forgets all": "create",
    "extras find a fault": "own checks",
}


def verdict(row, fault):
    """What a row says of the fake client with a fault: None, or why it failed."""
    memory = fake.FakeBroker()
    client = fake.FakeDriver(memory, fault)
    other = fake.FakeDriver(memory)
    scene = Scene(client, client.hello(), memory, lambda: (other, other.hello()), lambda: client, "selftest", client.now)
    try:
        for step in row.steps:
            step(scene)
    except Failure as failure:
        return str(failure)
    return None


def check_rows():
    """Honest clients pass, faulty ones do not."""
    rows = {row.name: row for row in SCENARIOS}
    assert len(rows) == len(SCENARIOS), "two rows have the same name"
    for row in SCENARIOS:
        why = verdict(row, None)
        assert why is None, f"the row {row.name!r} fails an honest client: {why}"
    for fault, name in FAULTS.items():
        assert verdict(rows[name], fault) is not None, f"the row {name!r} does not notice that {fault}"


# What a driver's program may do instead of answering, and a word of the failure that must follow.
BROKEN_PROGRAMS = {
    "exit 3": "exit code 3",
    "read line; echo no": "something else than JSON",
    "read line; echo '{\"ok\": false, \"error\": \"BROKER_SAYS_NO\"}'": "BROKER_SAYS_NO",
    "read line; exec sleep 60": "did not answer",
}


def check_broken_drivers():
    """A driver that dies, babbles, refuses or hangs is found out."""
    with tempfile.TemporaryDirectory() as directory:
        program = Path(directory) / "start"
        for does, word in BROKEN_PROGRAMS.items():
            program.write_text(f"#!/bin/sh\n{does}\n")
            program.chmod(0o755)
            driver = Driver("broken", directory, directory, "127.0.0.1:1", Path(directory) / "log")
            why = None
            try:
                driver.call("hello", timeout_s=0.5)
            except Failure as failure:
                why = str(failure)
            driver.dead = "it has served"
            driver.end()
            assert why and word in why, f"a driver that does {does!r}: {why}"


def check_readme():
    """A README that says otherwise than a run is found out; one with older versions is not."""
    def result(client, version, **more):
        return matrix.Result(client, hello={"client": client, "version": version, "language": "C", **more},
                             passed=[row.name for row in matrix.ROWS])

    results = [result("one", "1.0"), result("two", "2.0", cannot={"headers": "too old"})]
    with tempfile.TemporaryDirectory() as directory:
        readme = Path(directory) / "README.md"
        readme.write_text(f"before\n{matrix.BEGIN}\n{matrix.END}\nafter\n")
        assert matrix.differences(readme, results, True), "an empty table differs"
        matrix.rewrite(readme, matrix.render(results))
        honest = readme.read_text()
        assert honest.startswith("before") and honest.endswith("after\n"), "what stands around the table stays"
        assert not matrix.differences(readme, results, True), "what was just written is right"
        assert not matrix.differences(readme, results[:1], False), "a client that was skipped is not judged"
        assert matrix.differences(readme, results[:1], True), "a client that has no driver any more"
        assert not matrix.differences(readme, [result("one", "1.1"), results[1]], True), "versions may be older"
        for truth, lie in [("yes", "part"), ("| two", "| three"), ("too old", "too new"), ("gzip", "")]:
            readme.write_text(honest.replace(truth, lie, 1))
            assert matrix.differences(readme, results, True), f"{lie!r} instead of {truth!r} is a lie"
        results[0].passed.remove("tail")
        results[0].failures["tail"] = "it slept"
        readme.write_text(honest)
        assert matrix.differences(readme, results, True), "a scenario that fails now is said to pass"


def check_broker_log():
    """Errors, warnings and panics in the broker's log are found, and what a kill leaves is not held against it."""
    said = '{"level":"%s","message":"%s"}'
    log = [said % ("INFO", "ready"), said % ("WARN", "a torn tail was set aside"), said % ("WARN", "closed: the peer breaks the protocol"),
           said % ("ERROR", "index"), "thread 'core-0' panicked at"]
    assert broker.complaints("\n".join(log)) == log[2:]


def main():
    # A fake never answers later than at once.
    steps.ARRIVAL_TIMEOUT_S = 0
    check_rows()
    check_broken_drivers()
    check_readme()
    check_broker_log()
    group_faults = groups_selftest.check()
    print(f"the runner itself: {len(SCENARIOS)} scenarios pass an honest client, {len(FAULTS)} faulty ones are all found, "
          f"and so are {group_faults} faults in histories of groups")


if __name__ == "__main__":
    sys.exit(main())
