"""Kafka's DumpLogSegments on our segments and their indexes: every batch valid, every offset there once, nothing on stderr.

The tool reports mismatches between an index and its log on stderr with exit code 0, so stderr must be empty. Our snapshots of
producers (`.producers`) are in a format of our own, not Kafka's `.snapshot`, and are no input for it. Called by check.py.
"""

import os
import re
import shutil
import time

from run import Failed

#: About every so many bytes a batch gets an entry.
INDEX_INTERVAL_BYTES = 4096


def check(tools, folder, whole, look):
    """Dumps the closed segments of a partition, or with `whole` all of them; returns how many checks failed.

    What its records must be says `look`, which is given the tools, the log files and the offset behind them, or None. Without `whole` the
    partition must have rolled at least once.
    """
    segments = sorted(name[:-4] for name in os.listdir(folder) if name.endswith(".log"))
    end = None if whole else int(segments[-1])
    if not whole:
        segments = segments[:-1]
    failed = 0
    for what, run in (
        ("deep iteration", lambda: look(tools, files(folder, segments, "log"), end)),
        ("index entries", lambda: entries(tools, folder, segments)),
        ("verify index only", lambda: silent(tools, "--verify-index-only", files(folder, segments, "index", "timeindex"))),
        ("index sanity check", lambda: sane(tools, files(folder, segments, "index", "timeindex"))),
    ):
        started = time.monotonic()
        try:
            verdict = run()
        except Failed as error:
            failed += 1
            verdict = f"FAILED: {error}"
        print(f"{time.monotonic() - started:6.2f} s  dump-log, {what}, {os.path.basename(folder)}, Kafka {tools.version}: {verdict}", flush=True)
    return failed


def check_the_check(tools, folder, work):
    """A copy of a segment whose index leads astray must be found out; returns how many checks failed."""
    segment = sorted(name[:-4] for name in os.listdir(folder) if name.endswith(".log"))[0]
    copies = f"{work}/{os.path.basename(folder)}"
    os.mkdir(copies)
    for path in files(folder, [segment], "log", "index", "timeindex"):
        shutil.copy(path, copies)
    index = files(copies, [segment], "index")[0]
    with open(index, "r+b") as file:
        # The second entry's offset, in its last byte: 8 bytes an entry, offset and position.
        file.seek(8 + 3)
        offset = file.read(1)[0]
        file.seek(8 + 3)
        file.write(bytes([offset ^ 1]))
    try:
        silent(tools, "--verify-index-only", [index])
    except Failed:
        return 0
    print(f"        FAILED: dump-log has nothing against a damaged index of {folder}")
    return 1


def files(folder, segments, *suffixes):
    """Their paths."""
    return [f"{folder}/{segment}.{suffix}" for segment in segments for suffix in suffixes]


def silent(tools, flags, paths):
    """What the tool printed about these files, if it had nothing to complain about."""
    if not paths:
        raise Failed("there is no closed segment")
    code, out, err = tools.call("dump-log", f"{flags} --files {','.join(paths)}")
    for path in paths if tools.version.startswith("4.") else []:
        err = err.replace(first_offset_complaint(path), "")
    if code != 0 or err:
        raise Failed(f"exit code {code}, stderr: {err[:2000]}")
    return f"ok, {len(paths)} files" if "--verify" in flags else out


def first_offset_complaint(path):
    """What the tool of Kafka 4.3, newly rewritten, says of every log file whose first offset is not 0, Kafka's own too: it expects 0 in
    each. Older ones must say nothing at all."""
    base = int(os.path.basename(path).split(".")[0])
    return f"Non-consecutive offsets in {path}\n  -1 is followed by {base}\n" if base > 0 and path.endswith(".log") else ""


def deep(tools, paths, end, values=None):
    """Every offset, and every value where that is known."""
    out = silent(tools, "--deep-iteration --print-data-log", paths)
    batches = re.findall(r"^baseOffset: .* isvalid: (\w+)$", out, re.MULTILINE)
    if not batches or set(batches) != {"true"}:
        raise Failed(f"batches that are not valid: {batches.count('false')} of {len(batches)}")
    offsets = [int(offset) for offset in re.findall(r"^\| offset: (\d+) ", out, re.MULTILINE)]
    if offsets != list(range(end if end is not None else len(offsets))):
        raise Failed(f"{len(offsets)} records, and their offsets are not 0..{end}")
    found = re.findall(r"^(?:\| offset: .*)? payload: (.*)$", out, re.MULTILINE)
    if values is not None and found != values:
        raise Failed(f"{len(found)} values are not the {len(values)} that were written")
    return f"ok, {len(paths)} segments, {len(batches)} batches, {len(offsets)} records"


def entries(tools, folder, segments):
    """The indexes have entries, and each leads where it says: without a flag the tool looks each one up in the log."""
    paths = files(folder, segments, "index", "timeindex")
    out = silent(tools, "", paths)
    found = re.findall(r"^(?:offset: \d+ position: [1-9]\d*|timestamp: [1-9]\d* offset: \d+)$", out, re.MULTILINE)
    # Of a segment with nothing but a few large batches, or none with a record, there may be no entry.
    if len(found) < len(paths) // 2:
        raise Failed(f"only {len(found)} entries in {len(paths)} files: {out[:500]}")
    return f"ok, {len(found)} entries in {len(paths)} files"


def sane(tools, paths):
    """The check that a Kafka broker makes before it trusts an index. Of one without an entry it says that it is empty: its log, of which
    compaction has left next to nothing, must have no batch that is due for one."""
    out = silent(tools, "--index-sanity-check", paths)
    empty = re.findall(r"^(\S+)\.index is empty\.$", out, re.MULTILINE)
    passed = out.count(" passed sanity check.") + sum(last_position(tools, f"{path}.log") <= INDEX_INTERVAL_BYTES for path in empty)
    if passed != len(paths):
        raise Failed(f"{passed} of {len(paths)} files passed: {out[:500]}")
    return f"ok, {passed} files"


def last_position(tools, path):
    """Where the last batch of a log file begins."""
    _, out, _ = tools.call("dump-log", f"--files {path}")
    return int(re.findall(r" position: (\d+) ", out)[-1])
