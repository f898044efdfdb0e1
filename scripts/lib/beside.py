"""Prints what loads reached alone and beside something else, and the ratios of the pairs.

Called by scripts/beside-compaction: RESULTS LOAD... RESULTS holds a report of ringmill-bench for each load, way and pair, as
LOAD.alone.PAIR.json and LOAD.beside.PAIR.json. Judges nothing.
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
    print("| load | what | alone | beside | ratio of pairs |")
    print("|---|---|---|---|---|")
    for load in loads:
        for key, name, unit in METRICS:
            alone, beside = (by_pair(results, load, way, key) for way in ("alone", "beside"))
            ratios = [beside[pair] / alone[pair] for pair in alone.keys() & beside.keys() if alone[pair]]
            cells = (shown(alone.values(), unit), shown(beside.values(), unit), shown(ratios, 1))
            print(f"| {load} | {name} |", " | ".join(cells), "|")


def by_pair(results, load, way, key):
    found = {}
    for path in results.glob(f"{load}.{way}.*.json"):
        # A load has one case, and each of its reports one run.
        metric = json.loads(path.read_text())["cases"][0]["metrics"].get(key, {}).get("median")
        if metric is not None:
            found[path.name.split(".")[2]] = metric
    return found


def shown(values, unit):
    """The median, and between which two numbers the middle half lies."""
    values = [value / unit for value in values]
    if len(values) < 2:
        return "–"
    low, median, high = statistics.quantiles(values, method="inclusive")
    return f"{median:.4g} ({low:.4g}–{high:.4g})"


if __name__ == "__main__":
    main()
