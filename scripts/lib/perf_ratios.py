"""Sets what scripts/perf has measured beside what is stored, and stores it if asked to.

Called by scripts/perf: RESULTS STORED [--store] --asked TEXT LOAD... RESULTS holds a report of ringmill-bench for each load and run, as
LOAD.RUN.json. Judges nothing.
"""

import argparse
import json
import pathlib
import statistics
import subprocess

RATE, SHARE, CPU = "rate_bytes_per_s", "share_of_limit_percent", "server_cpu_s_per_gb"
# What tells one machine from another, as the reports call it.
MACHINE = ("kernel", "processor", "cores", "memory")
# The directory of the run, a comma, and the file system that it lies on.
PLACE = "limit_measured_in"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("results", type=pathlib.Path)
    parser.add_argument("stored", type=pathlib.Path)
    parser.add_argument("--store", action="store_true")
    parser.add_argument("--asked", required=True)
    parser.add_argument("loads", nargs="+")
    options = parser.parse_args()
    measured, reports = {}, []
    for load in options.loads:
        of_load = [json.loads(path.read_text()) for path in sorted(options.results.glob(f"{load}.*.json"))]
        measured[load] = {key: [value(report, key) for report in of_load] for key in (RATE, SHARE, CPU)}
        reports += of_load
    now = {
        "about": "Medians by scripts/perf, which prints later ones beside them; --store writes this file.",
        "commit": commit(),
        "asked": options.asked,
        "machine": machine(reports[0]["conditions"]),
        "loads": {load: {key: rounded(values) for key, values in keys.items()} for load, keys in measured.items()},
    }
    before = json.loads(options.stored.read_text()) if options.stored.exists() else None
    print_table(measured, before["loads"] if before else {})
    print_notes(now, before, options.stored, reports)
    if options.store:
        options.stored.parent.mkdir(parents=True, exist_ok=True)
        options.stored.write_text(json.dumps(now, indent=2, ensure_ascii=False) + "\n")
        print(f"stored in {options.stored}")


def value(report, key):
    """A load has one case, and each of its reports one run."""
    return report["cases"][0]["metrics"].get(key, {}).get("median")


def median(values):
    """None where the reports do not have it."""
    return None if not values or None in values else statistics.median(values)


def rounded(values):
    """Three digits: more would only make the file harder to read."""
    middle = median(values)
    return middle if middle is None else float(f"{middle:.3g}")


def machine(conditions):
    """The same in every report of a run."""
    facts = {key: conditions.get(key, "unknown") for key in MACHINE}
    return facts | {"file_system": conditions[PLACE].split(", ", 1)[1]}


def commit():
    asked = ["git", "describe", "--always", "--dirty"]
    said = subprocess.run(asked, capture_output=True, text=True, check=False)
    return said.stdout.strip() or "unknown"


def print_table(measured, before):
    titles = ("load", "rate", "of its limit", "stored", "ratio", "broker CPU", "stored", "ratio")
    rows = [titles]
    for load, keys in measured.items():
        rate, share, cpu = (median(keys[key]) for key in (RATE, SHARE, CPU))
        old = before.get(load, {})
        spread = f" ({min(keys[SHARE]):.0f}-{max(keys[SHARE]):.0f})" if share is not None else ""
        rows.append((
            load,
            shown(rate, lambda rate: f"{rate / 1e9:.2f} GB/s"),
            shown(share, lambda share: f"{share:.0f} %{spread}"),
            shown(old.get(SHARE), lambda share: f"{share:.0f} %"),
            ratio(share, old.get(SHARE)),
            shown(cpu, lambda cpu: f"{cpu:.2f} s/GB"),
            shown(old.get(CPU), lambda cpu: f"{cpu:.2f}"),
            ratio(cpu, old.get(CPU)),
        ))
    widths = [max(len(row[column]) for row in rows) for column in range(len(titles))]
    for row in rows:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())


def shown(number, form):
    return "-" if number is None else form(number)


def ratio(now, before):
    return f"{now / before:.2f}" if now and before else "-"


def print_notes(now, before, stored, reports):
    # Of the system's bbr, too, although the script has set the broker's sockets to cubic.
    warnings = {warning for report in reports for warning in report["warnings"] if "bbr" not in warning}
    for warning in sorted(warnings):
        print(f"warning: {warning}")
    if before is None:
        print(f"nothing is stored yet: there is no {stored}; --store writes it")
        return
    print(f"stored: commit {before['commit']}, {before['asked']}")
    if before["asked"] != now["asked"]:
        print(f"these were {now['asked']}: short runs and long ones differ")
    for key, fact in now["machine"].items():
        if before["machine"].get(key) != fact:
            print(f"another {key.replace('_', ' ')} than stored: {fact}, before {before['machine'].get(key)}")


if __name__ == "__main__":
    main()
