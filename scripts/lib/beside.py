"""Prints what loads reached alone and beside something else, and the ratio of the medians.

Called by scripts/beside-compaction: RESULTS LOAD... RESULTS holds a report of ringmill-bench for each load, way and run, as
LOAD.alone.RUN.json and LOAD.beside.RUN.json. Judges nothing.
"""

import json
import pathlib
import statistics
import sys

# What is compared, how it is headed, and what one of its units is in the report's.
METRICS = (
    ("rate_bytes_per_s", "MB/s", 1e6),
    ("p50_us", "p50 ms", 1e3),
    ("p99_us", "p99 ms", 1e3),
    ("server_cpu_s_per_gb", "CPU s/GB", 1),
)


def main():
    results, loads = pathlib.Path(sys.argv[1]), sys.argv[2:]
    print("| load | what | alone | beside | ratio of the medians |")
    print("|---|---|---|---|---|")
    for load in loads:
        alone, beside = (reports(results, load, way) for way in ("alone", "beside"))
        for key, name, unit in METRICS:
            print(f"| {load} | {name} | {shown(alone, key, unit)} | {shown(beside, key, unit)} | {ratio(alone, beside, key)} |")


def reports(results, load, way):
    return [json.loads(path.read_text()) for path in sorted(results.glob(f"{load}.{way}.*.json"))]


def values(reports, key):
    """A load has one case, and each of its reports one run."""
    found = (report["cases"][0]["metrics"].get(key, {}).get("median") for report in reports)
    return [value for value in found if value is not None]


def shown(reports, key, unit):
    """The median, and from where to where it came."""
    found = [value / unit for value in values(reports, key)]
    if not found:
        return "–"
    return f"{statistics.median(found):.3g} ({min(found):.3g}–{max(found):.3g})"


def ratio(alone, beside, key):
    one, other = values(alone, key), values(beside, key)
    if not one or not other or statistics.median(one) == 0:
        return "–"
    return f"{statistics.median(other) / statistics.median(one):.3f}"


if __name__ == "__main__":
    main()
