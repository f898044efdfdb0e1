"""Reads what collectd's write_kafka wrote in its three formats and checks that all of them say the same.

Called by shippers.sh: `collectd_values.py NEWEST FORMAT=FILE...`. Every record must parse; of one measurement the times must rise;
and up to the second NEWEST each file must hold the same values. It compares files only and knows no broker.
"""

import json
import re
import sys

COMMAND = re.compile(r"PUTVAL (\S+) interval=([0-9.]+) ([0-9.]+):(\S+)")
GRAPHITE = re.compile(r"(\S+) (\S+) ([0-9]+)\r?")


def main() -> None:
    """Compares all files with the first one."""
    newest = int(sys.argv[1])
    read = [(argument, *values_of(*argument.split("=", 1))) for argument in sys.argv[2:]]
    _, _, first = read[0]
    for name, count, values in read:
        if name.startswith("Graphite="):
            # Whole seconds and a name that was folded: only that they parse and rise can be said.
            continue
        wanted = {key: at for key, at in first.items() if key[1] < newest}
        found = {key: at for key, at in values.items() if key[1] < newest}
        if wanted != found or not wanted:
            strange = [key for key in wanted.keys() | found.keys() if wanted.get(key) != found.get(key)]
            example = [(key, wanted.get(key), found.get(key)) for key in sorted(strange)[:3]]
            sys.exit(f"{name}: {len(wanted)} values expected, {len(found)} found, {len(strange)} differ: {example}")
        print(f"{name}: {count} records parse, {len(found)} of them compared")


def values_of(kind: str, path: str) -> tuple[int, dict]:
    """All values of a file by measurement and time; refuses a record that does not parse or is out of order."""
    parse = {"JSON": json_values, "Command": command_values, "Graphite": graphite_values}[kind]
    values, newest, count = {}, {}, 0
    with open(path, encoding="utf-8") as lines:
        for line in lines:
            if not line.strip():
                continue
            count += 1
            for measurement, time, numbers in parse(line.rstrip("\n")):
                if time < newest.get(measurement, 0.0):
                    sys.exit(f"{path}: {measurement} goes back from {newest[measurement]} to {time}")
                newest[measurement] = time
                values[measurement, time] = numbers
    return count, values


def json_values(line: str) -> list:
    """The JSON format: a list of value lists."""
    return [(identifier(item), item["time"], [numbers_alike(value) for value in item["values"]]) for item in json.loads(line)]


def identifier(item: dict) -> str:
    """host/plugin-instance/type-instance, the parts without an instance bare."""
    plugin = "-".join(filter(None, (item["plugin"], item["plugin_instance"])))
    kind = "-".join(filter(None, (item["type"], item["type_instance"])))
    return f"{item['host']}/{plugin}/{kind}"


def command_values(line: str) -> list:
    """The plain text protocol's PUTVAL."""
    found = COMMAND.fullmatch(line)
    if not found:
        sys.exit(f"not a PUTVAL command: {line!r}")
    name, _, time, numbers = found.groups()
    return [(name, float(time), [numbers_alike(number) for number in numbers.split(":")])]


def graphite_values(line: str) -> list:
    """Graphite's lines: name, value, seconds."""
    found = GRAPHITE.fullmatch(line)
    if not found:
        sys.exit(f"not a Graphite line: {line!r}")
    name, number, time = found.groups()
    return [(name, float(time), [numbers_alike(number)])]


def numbers_alike(value: object) -> object:
    """A number as ten digits show it; an undefined one as None, which JSON writes as null and Command as nan."""
    if value is None or str(value) == "nan":
        return None
    return f"{float(str(value)):.10g}"


if __name__ == "__main__":
    main()
