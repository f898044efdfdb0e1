"""Compares what ClickHouse holds with nginx's own log and with what the clients saw.

Called by sink.sh: sink_compare.py ACCESS_LOG ANSWERS ROWS SUMS. ANSWERS has a line `status bytes` for each answer, ROWS the table as
JSONEachRow, SUMS the table's own `status, count, bytes, milliseconds`. Prints the sums, or what differs, and then fails.
"""

import json
import sys
from collections import Counter
from datetime import datetime, timezone


def main():
    access_log, answers, rows, sums = sys.argv[1:]
    logged = [as_row(json.loads(line)) for line in open(access_log, encoding="utf-8")]
    stored = [plain(json.loads(line)) for line in open(rows, encoding="utf-8")]
    compare_rows(by_id(logged, "nginx's log"), by_id(stored, "the table"))

    requests, size, milliseconds = Counter(), Counter(), Counter()
    for row in logged:
        requests[row["status"]] += 1
        size[row["status"]] += row["bytes"]
        milliseconds[row["status"]] += row["request_ms"]
    expected = [[status, requests[status], size[status], milliseconds[status]] for status in sorted(requests)]
    found = [[int(field) for field in line.split("\t")] for line in open(sums, encoding="utf-8")]
    expect(expected, found, "sums by status in nginx's log and in the table")

    seen, seen_size = Counter(), Counter()
    for line in open(answers, encoding="utf-8"):
        status, received = map(int, line.split())
        seen[status] += 1
        seen_size[status] += received
    expect(requests, seen, "requests by status in nginx's log and at the clients")
    expect(+size, +seen_size, "bytes by status in nginx's log and at the clients")
    print(f"{len(logged)} requests, each once and equal in every column; status, requests, bytes, milliseconds:")
    for line in found:
        print("  ", *line)


def as_row(line):
    """What the recipe is to make of a line of the log."""
    row = line | {"time": int(line["time"]), "request_ms": round(line["request_time"] * 1000)}
    del row["request_time"]
    return row


def plain(row):
    """A row without the ways of ClickHouse, which quotes 64-bit numbers and writes times as text."""
    moment = datetime.fromisoformat(row["time"]).replace(tzinfo=timezone.utc)
    return row | {"time": int(moment.timestamp()), "bytes": int(row["bytes"])}


def by_id(rows, where):
    found = {row["request_id"]: row for row in rows}
    expect(len(rows), len(found), f"rows and request ids in {where}")
    return found


def compare_rows(logged, stored):
    expect(set(), logged.keys() - stored.keys(), "requests that the table lacks")
    expect(set(), stored.keys() - logged.keys(), "requests that only the table has")
    for request_id, row in logged.items():
        expect(row, stored[request_id], f"request {request_id} in nginx's log and in the table")


def expect(wanted, found, what):
    if wanted != found:
        sys.exit(f"{what}: {str(wanted)[:500]} != {str(found)[:500]}")


main()
