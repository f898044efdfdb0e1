"""Sets the hot paths' instruction counts beside those that are stored, and stores them if asked to.

Called by scripts/perf: COUNTS CONDITIONS STORED [--store]. COUNTS has a line for each path: its name, how many operations were counted, the
instructions of two counts, and what it is. A path whose two counts differ is no measure, and makes this fail.
"""

import argparse
import json
import pathlib
import sys


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("counts", type=pathlib.Path)
    parser.add_argument("conditions", type=pathlib.Path)
    parser.add_argument("stored", type=pathlib.Path)
    parser.add_argument("--store", action="store_true")
    options = parser.parse_args()
    paths, uneven = {}, []
    for line in options.counts.read_text().splitlines():
        name, operations, first, second, what = line.split(maxsplit=4)
        paths[name] = {"what": what, "operations": int(operations), "instructions": int(first)}
        if first != second:
            uneven.append(f"{name}: {first} instructions, then {second}")
    now = {
        "about": "Instructions of the hot paths under callgrind, by scripts/perf --instructions; --store writes this file.",
        "conditions": options.conditions.read_text().split("\n")[:-1],
        "paths": paths,
    }
    before = json.loads(options.stored.read_text()) if options.stored.exists() else None
    print_table(paths, before["paths"] if before else {})
    print_notes(now, before, options.stored)
    if uneven:
        sys.exit("FAILED: a path is not the same each time\n" + "\n".join(uneven))
    if options.store:
        options.stored.parent.mkdir(parents=True, exist_ok=True)
        options.stored.write_text(json.dumps(now, indent=2, ensure_ascii=False) + "\n")
        print(f"stored in {options.stored}")


def each(path):
    """Instructions of one operation."""
    return path["instructions"] / path["operations"]


def print_table(paths, before):
    rows = [("instructions an operation", "now", "stored", "difference", "")]
    for name, path in paths.items():
        old = before.get(name)
        stored = difference = "-"
        if old:
            stored = f"{each(old):.1f}"
            difference = compared(path, old)
        rows.append((name, f"{each(path):.1f}", stored, difference, path["what"]))
    for name in before.keys() - paths.keys():
        rows.append((name, "-", f"{each(before[name]):.1f}", "gone", before[name]["what"]))
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for row in rows:
        name, *figures, what = (cell.ljust(width) for cell, width in zip(row, widths))
        print(f"{name}  {'  '.join(figure.rstrip().rjust(len(figure)) for figure in figures)}  {what}".rstrip())


def compared(path, old):
    """The exact difference of as many operations; a different number of them can only be compared for one."""
    if path["operations"] != old["operations"]:
        return f"{each(path) - each(old):+.1f}, other count"
    difference = path["instructions"] - old["instructions"]
    if difference == 0:
        return "0"
    return f"{difference / path['operations']:+.1f} ({100 * difference / old['instructions']:+.2f} %)"


def print_notes(now, before, stored):
    for condition in now["conditions"]:
        print(condition)
    if before is None:
        print(f"nothing is stored yet: there is no {stored}; --store writes it")
        return
    for condition in before["conditions"]:
        if condition not in now["conditions"]:
            print(f"stored with another: {condition}; differences may come from that")
    same = now["paths"] == before["paths"]
    print("every count is the stored one" if same else "counts differ from the stored ones")


if __name__ == "__main__":
    main()
