"""Kafka's tools against a broker and its files: prepares what they read, runs the rows, then dumps every segment.

Usage: check.py serving CACHE WORK ADDRESS | check.py stopped CACHE WORK | check.py groups CACHE WORK ADDRESS. CACHE has the jars, WORK the
broker's data and its log, and a folder `tools` with lines.txt; `groups` needs neither of these, and any broker will do. RINGMILL names the
broker's program. Called by kafka_tools.sh.
"""

import functools
import json
import os
import sys
import time

import compacted
import dumps
import groups
import rows
from run import Tools

# Headers, key and value divided by tabs, as the console producer's defaults have them.
KEYED = """a:1,b:2\tkey-1\tfirst line
NIL\tkey-2\tsecond line
a:3\tNIL\tno key
NIL\tkey-4\tNIL
e:\tkey-5\t
"""


def write_inputs(folder):
    """The files that rows name; what they contain that rows must know."""
    with open(f"{folder}/keyed.txt", "w") as file:
        file.write(KEYED)
    for name, offset in (("before-2", 2), ("beyond", 99), ("to-the-end", -1)):
        with open(f"{folder}/{name}.json", "w") as file:
            json.dump({"version": 1, "partitions": [{"topic": "keyed", "partition": 0, "offset": offset}]}, file)
    lines = open(f"{folder}/lines.txt").read()
    return {"inputs": folder, "lines": lines, "line_count": lines.count("\n")}


def main():
    mode, cache, work = sys.argv[1:4]
    started = time.monotonic()
    inputs = f"{work}/tools"
    if mode == "groups":
        tools = Tools(f"{cache}/jars", f"{cache}/classes", inputs, {"address": sys.argv[4]})
        failed = groups.check(tools, cache, inputs, sys.argv[4])
        tools.close()
        print(f"groups: Kafka's tools {tools.version}: {time.monotonic() - started:.0f} s, {failed} failed")
        sys.exit(1 if failed else 0)
    known = write_inputs(inputs)
    if mode == "serving":
        known["address"] = sys.argv[4]
    tools = Tools(f"{cache}/jars", f"{cache}/classes", inputs, known)
    failed = 0
    if mode == "serving":
        failed += tools.run(rows.TOPICS + rows.CONFIGS + rows.RECORDS + rows.PERFORMANCE + compacted.rows())
        failed += compacted.fill(os.environ["RINGMILL"], sys.argv[4], work)
        failed += groups.check(tools, cache, inputs, sys.argv[4])
        failed += dumps.check_the_check(tools, f"{work}/data/load-none-0", inputs)
    failed += dump(tools, mode, work, known)
    tools.close()
    old = Tools(f"{cache}/jars-old", f"{cache}/classes", inputs, known, {"dump-log": "kafka.tools.DumpLogSegments"})
    failed += dump(old, mode, work, known)
    old.close()
    for row in tools.waiting:
        print(f"not run: {row}")
    print(f"{mode}: Kafka's tools {tools.version}, {old.version}: {time.monotonic() - started:.0f} s, {failed} failed")
    sys.exit(1 if failed else 0)


def dump(tools, mode, work, known):
    """Dumps the closed segments of a broker that serves, all of one that has stopped; returns how many checks failed."""
    looks = {f"load-{codec}": dumps.deep for codec in rows.CODECS}
    looks |= {compacted.topic(codec): functools.partial(compacted.deep, work=work, codec=codec) for codec in compacted.CODECS}
    if mode == "stopped":
        looks["lines"] = functools.partial(dumps.deep, values=known["lines"].splitlines())
    return sum(dumps.check(tools, f"{work}/data/{topic}-0", mode == "stopped", look) for topic, look in looks.items())


main()
