"""Makes the README's tables of speed from the reports that scripts/figures has left.

Called by scripts/figures: RESULTS [--rewrite-readme] LOAD... RESULTS holds loads/LOAD.json, compare.json and gains.svg, as far as they were
measured. Judges nothing.
"""

import argparse
import json
import pathlib
import re
import shutil

README, PICTURE = pathlib.Path("README.md"), pathlib.Path("bench/gains.svg")
BEGIN = "<!-- {}: begin; written by scripts/figures --rewrite-readme -->"
END = "<!-- {}: end -->"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("--rewrite-readme", action="store_true")
    parser.add_argument("loads", nargs="+")
    options = parser.parse_args()
    tables = {}
    loads = {load: json.loads(path.read_text()) for load in options.loads if (path := options.results / "loads" / f"{load}.json").exists()}
    if loads:
        tables["loads"] = loads_table(loads)
    if (compared := options.results / "compare.json").exists():
        tables["compared"] = compared_table(json.loads(compared.read_text()))
    for table in tables.values():
        print(table, end="\n\n")
    if options.rewrite_readme:
        for name, table in tables.items():
            put_into_readme(name, table)
        if (picture := options.results / "gains.svg").exists():
            shutil.copyfile(picture, PICTURE)


def loads_table(loads):
    """A line for each role of each load."""
    rows = [("load", "durable before the answer", "rate", "of its limit", "p50", "p99", "broker CPU, s/GB", "broker memory")]
    for load, report in loads.items():
        whole = report["cases"][-1]["metrics"]
        # A mixed load has a case for both roles together behind theirs.
        cases = report["cases"][:-1] if len(report["cases"]) > 1 else report["cases"]
        for case in cases:
            rows.append(load_row(load, case, whole, is_first=case is cases[0]))
    conditions = next(iter(loads.values()))["conditions"]
    place = conditions["limit_measured_in"].split(", ", 1)[1]
    machine = f"{conditions['processor']}, {conditions['cores']} cores, {conditions['memory']}, kernel {conditions['kernel']}, {place.split(' (')[0]}"
    return f"{markdown(rows)}\n\nMeasured on: {machine}; ringmill {conditions['version']}."


def load_row(load, case, whole, is_first):
    metrics = case["metrics"]
    of_records = "100B" in load
    rate = shown(metrics["records_per_s"], 1e6, "M/s") if of_records else shown(metrics["rate_bytes_per_s"], 1e9, "GB/s")
    share, limit = metrics.get("share_of_limit_percent"), metrics.get("append_sync_p50_us")
    return (
        title(load, case["name"]),
        "–" if load.startswith("consume") else "yes" if "synced" in load else "no",
        rate,
        # What is answered from memory is not bound by the disk, and what goes by the clock by nothing.
        f"{share['median']:.0f} %" if share and load.startswith(("consume", "produce")) and "cached" not in load else "–",
        milliseconds(metrics["p50_us"]) + (f"; a bare append and sync {milliseconds(limit)}" if limit and "synced" in load else ""),
        milliseconds(metrics["p99_us"]),
        shown(whole["server_cpu_s_per_gb"], 1, "") if is_first else "",
        f"{whole['server_memory_bytes']['highest'] / 1e6:.0f} MB" if is_first else "",
    )


def title(load, role):
    """For people: `produce-4x5-synced` is `produce 4 × 5`."""
    words = load.split("-")
    shape = re.sub(r"^(\d+)x(\d+)$", r"\1 × \2", words[1])
    if words[0] in ("produce", "consume"):
        extra = ", 100 B" if "100B" in words else ", 20 GB" if "20GB" in words else ""
        return f"{words[0]} {shape}{extra}"
    at = " at 1 GB/s" if "1GB" in words else ""
    return f"mixed {shape} + {shape}{at}: {role}" if words[0] == "mixed" else "produce at 50 MB/s, 100 a batch"


def compared_table(report):
    """The ratios of the comparison, each with its spread, below what the brokers reached."""
    rows = [("load", "broker", "rate", "p99", "broker CPU, s/GB", "broker memory")]
    ratios = [("load", "compared", "rate", "p99", "broker CPU", "broker memory")]
    load = ""
    for case in report["cases"]:
        metrics = case["metrics"]
        if "rate_ratio" in metrics:
            if "ringmill-cached," not in case["name"]:
                ratios.append((load, case["name"].strip(), *(times(metrics.get(f"{key}_ratio")) for key in ("rate", "p99", "server_cpu", "server_memory"))))
            continue
        load, broker = case["name"].split(": ", 1)
        of_records = "100 B" in load
        rate = shown(metrics["records_per_s"], 1e6, "M/s") if of_records else shown(metrics["rate_bytes_per_s"], 1e9, "GB/s")
        memory = f"{metrics['server_memory_bytes']['median'] / 1e6:.0f} MB"
        rows.append((load, broker, rate, milliseconds(metrics["p99_us"]), shown(metrics["server_cpu_s_per_gb"], 1, ""), memory))
    return f"{markdown(rows)}\n\n{markdown(ratios)}"


def shown(metric, unit, name):
    """`1.23 (1.01–1.30) GB/s`: the median and, of several runs, the lowest and highest."""
    values = [f"{metric[key] / unit:.3g}" for key in ("median", "lowest", "highest")]
    spread = f" ({values[1]}–{values[2]})" if len(metric["runs"]) > 1 else ""
    return f"{values[0]}{spread} {name}".strip()


def times(metric):
    """A ratio is missing where a side used less CPU than the clock's steps show."""
    if metric is None:
        return "–"
    values = [f"{metric[key]:.2g}" for key in ("median", "lowest", "highest")]
    return f"{values[0]} × ({values[1]}–{values[2]})"


def milliseconds(metric):
    value = metric["median"] / 1000
    return f"{value / 1000:.2g} s" if value >= 1000 else f"{value:.0f} ms" if value >= 10 else f"{value:.2g} ms"


def markdown(rows):
    lines = [f"| {' | '.join(row)} |" for row in rows]
    return "\n".join([lines[0], "|" + " --- |" * len(rows[0]), *lines[1:]])


def put_into_readme(name, table):
    begin, end = BEGIN.format(name), END.format(name)
    text = README.read_text()
    if begin not in text or end not in text:
        raise SystemExit(f"README.md has no `{begin}` with its end")
    before, after = text.split(begin)[0], text.split(end)[1]
    README.write_text(f"{before}{begin}\n{table}\n{end}{after}")


if __name__ == "__main__":
    main()
