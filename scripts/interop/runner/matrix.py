"""What every client passed, as a table for people: printed, kept in target/interop/matrix.md, and compared with README.md.

README.md holds the table between two markers. Versions there may be older than those of a run, for the newest is installed;
clients, verdicts and what a client cannot do must be the same.
"""

from dataclasses import dataclass, field

from scenarios import GROUPS, SCENARIOS

BEGIN = "<!-- clients: begin; written by scripts/interop/clients.sh --rewrite-readme -->"
END = "<!-- clients: end -->"
ROWS = SCENARIOS + GROUPS
COLUMNS = list(dict.fromkeys(row.column for row in ROWS))
# Columns that say which of their rows passed, instead of whether all did.
LISTING_COLUMNS = ("codecs", "acks", "groups", "KIP-848")
VERSION_COLUMN = 1


@dataclass
class Result:
    """What became of one client."""
    name: str
    hello: dict = None
    skipped: str = None
    passed: list = field(default_factory=list)
    failures: dict = field(default_factory=dict)
    cannot: dict = field(default_factory=dict)


def render(results):
    """The table and, below it, what clients cannot do."""
    header = ["client", "version", "language", *COLUMNS]
    lines = [line(header), line(["---"] * len(header))]
    started = sorted((result for result in results if result.hello), key=lambda result: result.hello["client"].lower())
    lines += [line(cells(result)) for result in started]
    notes = [note for result in started if (note := cannot(result))]
    return "\n".join([*lines, "", *notes]) + "\n"


def line(words):
    return f"| {' | '.join(words)} |"


def cells(result):
    """A client's line of the table."""
    hello = result.hello
    return [hello["client"], hello["version"], hello["language"], *(verdict(result, column) for column in COLUMNS)]


def verdict(result, column):
    """`yes` for all rows of a column, `no` if one failed, `part` if the client can only some, `-` if none."""
    names = [row.name for row in ROWS if row.column == column]
    passed = [name for name in names if name in result.passed]
    if failed := [name for name in names if name in result.failures]:
        return f"no ({', '.join(failed)})"
    if column in LISTING_COLUMNS:
        return " ".join(passed) or "-"
    return "yes" if len(passed) == len(names) else "part" if passed else "-"


def cannot(result):
    """One line on what the client itself cannot do, by its reasons."""
    by_reason = {}
    for word, reason in sorted(result.hello.get("cannot", {}).items()):
        by_reason.setdefault(reason, []).append(word.replace("_", " "))
    reasons = "; ".join(f"{', '.join(words)}: {reason}" for reason, words in by_reason.items())
    return f"- {result.hello['client']}: {reasons}" if reasons else None


def differences(readme, results, is_complete):
    """What README.md says otherwise than this run, version numbers aside; without `is_complete`, more clients may stand there."""
    text = readme.read_text()
    if BEGIN not in text or END not in text:
        return ["it has no table of clients between the markers"]
    stands = comparable(text[text.index(BEGIN) + len(BEGIN):text.index(END)])
    runs = comparable(render(results))
    if not stands:
        return ["its table of clients is empty"]
    missing = [f"it lacks: {' '.join(words)}" for words in runs if words not in stands]
    clients = {words[0] for words in runs}
    lies = [f"it says otherwise: {' '.join(words)}" for words in stands if words not in runs and (is_complete or words[0] in clients)]
    return missing + lies


def comparable(table):
    """The lines of a table and its notes without versions."""
    lines = []
    for text in table.strip().splitlines():
        words = [word.strip() for word in text.strip("| ").split("|")]
        if text.startswith("|"):
            lines.append(tuple(words[:VERSION_COLUMN] + words[VERSION_COLUMN + 1:]))
        elif text:
            lines.append((text.removeprefix("- ").partition(":")[0], text))
    return lines


def rewrite(readme, table):
    """Puts the table between the markers."""
    text = readme.read_text()
    begin, end = text.index(BEGIN) + len(BEGIN), text.index(END)
    readme.write_text(f"{text[:begin]}\n{table}{text[end:]}")
