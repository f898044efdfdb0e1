"""The records that are written, in the form that drivers speak: bytes as base64, null as null.

Values are lines of this host's package log; where there is none, of a generator that imitates the OpenSSH log of Loghub and
is named in the report. A record depends on its number alone, so that every run and every client writes the same.
"""

import base64
import random
from functools import cache
from pathlib import Path

REAL_LOG = Path("/var/log/dpkg.log")
REAL_LINES_MIN = 200
LINES_MAX = 5000
# Records with set timestamps begin at this moment of 2023, one each second.
FIRST_MS = 1_700_000_000_000
STEP_MS = 1000
LARGE_BYTES = 1_000_000


@cache
def source():
    """Lines of text, and where they come from."""
    if REAL_LOG.is_file():
        lines = [line for line in REAL_LOG.read_bytes().splitlines() if line][:LINES_MAX]
        if len(lines) >= REAL_LINES_MIN:
            return lines, f"{len(lines)} lines of {REAL_LOG}"
    return list(generated_lines(LINES_MAX)), "a generator in the format of Loghub's OpenSSH log"


def generated_lines(count):
    """Lines as sshd writes them when strangers try passwords."""
    chance = random.Random(3)
    for number in range(count):
        seconds = 24_000 + number
        clock = f"{seconds // 3600 % 24:02}:{seconds // 60 % 60:02}:{seconds % 60:02}"
        address = ".".join(str(chance.randrange(1, 255)) for _ in range(4))
        yield (f"Dec 10 {clock} LabSZ sshd[{chance.randrange(20_000, 30_000)}]: Failed password for invalid user "
               f"{chance.choice(['admin', 'test', 'oracle', 'webmaster'])} from {address} port {chance.randrange(1024, 65_535)} ssh2").encode()


def line(number):
    """A line with its number in front, so that no two are alike."""
    lines, _ = source()
    return b"%06d %s" % (number, lines[number % len(lines)])


def text_of(data):
    """Bytes as drivers speak them."""
    return None if data is None else base64.b64encode(data).decode()


def bytes_of(text):
    """The reverse."""
    return None if text is None else base64.b64decode(text)


def record(number, can, partition=0, key=None, value=None, headers=(), timestamp_ms=None):
    """One record, without what the client cannot write."""
    if timestamp_ms is None:
        timestamp_ms = FIRST_MS + number * STEP_MS
    if "null_header" not in can:
        headers = [(name, data or b"") for name, data in headers]
    if "binary_header" not in can:
        headers = [(name, data and data.hex().encode()) for name, data in headers if name.isascii()]
    if "header_order" not in can:
        headers = sorted(dict(headers).items())
    if key is None and not value and kind_of_empty(value) not in can or key == b"" and "empty_key" not in can:
        key = b"key-%d" % number
    return {
        "partition": partition,
        "key": text_of(key if key is not None or "null_key" in can else b"key-%d" % number),
        "value": text_of(value if value is not None or "null_value" in can else line(number)),
        "headers": [[name, text_of(data)] for name, data in headers] if "headers" in can else [],
        "timestamp_ms": timestamp_ms if "timestamps" in can else None,
    }


def kind_of_empty(value):
    """The word for a record without a key whose value is this."""
    return "null_record" if value is None else "empty_record"


# What a stretch of a mix looks like: partition, whether keyed, headers, what the value is.
STRETCHES = [
    (0, False, (), "line"),
    (0, True, (), "line"),
    (1, True, (("host", b"web-1"), ("empty", b"")), "line"),
    (1, False, (("host", b"web-2"), ("none", None)), "line"),
    (0, True, (), "null"),
    (1, False, (), "empty"),
    (1, True, (), "line"),
    (0, False, (("trace", bytes(range(16))),), "line"),
]


def mix(count, can, first=0, partitions=2):
    """Keyed and unkeyed lines with and without headers, null and empty values, over one or two partitions."""
    records = []
    for number in range(first, first + count):
        partition, keyed, headers, kind = STRETCHES[(number - first) * len(STRETCHES) // count]
        value = {"line": line(number), "empty": b"", "null": None}[kind]
        key = b"key-%d" % (number % 17) if keyed else None
        records.append(record(number, can, partition % partitions, key, value, headers))
    return records


def lines(count, can, first=0):
    """Nothing but lines in one partition, every third without a key."""
    return [record(number, can, 0, None if number % 3 == 0 else b"key-%d" % (number % 7), line(number))
            for number in range(first, first + count)]


def keyed(count, can, first=0):
    """Lines in one partition, each with a key of its own."""
    return [record(number, can, 0, b"key-%d" % number, line(number)) for number in range(first, first + count)]


def large(can, first=0):
    """Values of 1 MB: one of text, one that no codec makes smaller."""
    text = b"\n".join(line(number) for number in range(LARGE_BYTES // 20))[:LARGE_BYTES]
    noise = random.Random(first).randbytes(LARGE_BYTES)
    return [record(first, can, 0, b"large-text", text), record(first + 1, can, 0, b"large-noise", noise)]


def shapes(can):
    """One record of every odd shape."""
    every_byte = bytes(range(256))
    odd = [
        (None, None, ()),
        (None, b"", ()),
        (b"", None, ()),
        (b"", b"", ()),
        (b"key", None, ()),
        (None, line(5), ()),
        (every_byte, every_byte, ()),
        ("Schlüssel".encode(), "日本語 🪵".encode(), (("größe", "ß".encode()),)),
        (b"\xff\xfe", b"\x00", (("bytes", every_byte),)),
        (b"k", b"two\nlines\r\n", ()),
        (b"k", b"\ttab\t", (("same", b"1"), ("same", b"2"), ("same", b"1"))),
        (b"k", line(11), (("null", None), ("empty", b""), ("full", b"x"))),
        (b"k", line(12), tuple((f"h{number}", b"%d" % number) for number in range(40))),
        (b"long" * 500, line(13), (("long", b"v" * 5000),)),
        (None, b"\x00" * 3000, ()),
        (b"last", b"a=b,c={\"d\": 1}", ()),
    ]
    return [record(number, can, 0, key, value, headers) for number, (key, value, headers) in enumerate(odd)]


def from_cli_json(printed):
    """A record as `ringmill consume -o json` prints it, in the form that drivers speak."""
    def data(fields, name):
        if f"{name}_hex" in fields:
            return text_of(bytes.fromhex(fields[f"{name}_hex"]))
        return None if fields[name] is None else text_of(fields[name].encode())

    return {
        "partition": printed["partition"],
        "offset": printed["offset"],
        "timestamp_ms": printed["timestamp_ms"],
        "key": data(printed, "key"),
        "value": data(printed, "value"),
        "headers": [[header["name"], data(header, "value")] for header in printed.get("headers", [])],
    }


def same(expected, got, fields):
    """The first of `fields` in which two records differ, or None."""
    return next((field for field in fields if expected[field] != got.get(field)), None)


def readable(field, value):
    """A field for an error message: bytes instead of base64."""
    if field in ("key", "value"):
        return bytes_of(value)
    if field == "headers" and isinstance(value, list):
        return [(name, bytes_of(data)) for name, data in value]
    return value
