"""The driver's side of the conversation, shared by the drivers written in Python: JSON lines in, JSON lines out.

A driver offers an object with a method for each operation; its arguments are the request's, its result the answer's.
"""

import base64
import json
import sys


def serve(driver):
    """Answers requests until standard input ends or `bye` comes."""
    for line in sys.stdin.buffer:
        request = json.loads(line)
        op = request.pop("op")
        if "from" in request:
            request["start"] = request.pop("from")
        try:
            answer = {"ok": True, **(getattr(driver, op)(**request) or {})}
        except Exception as error:  # Whatever a client raises is for the runner to judge.
            answer = {"ok": False, "error": f"{type(error).__name__}: {error}"}
        sys.stdout.buffer.write(json.dumps(answer).encode() + b"\n")
        sys.stdout.buffer.flush()
        if op == "bye":
            break


def data(text):
    """Bytes from base64; null stays null."""
    return None if text is None else base64.b64decode(text)


def text(data):
    """Base64 from bytes; null stays null."""
    return None if data is None else base64.b64encode(data).decode()


def headers_in(record):
    """A record's headers as pairs of name and bytes."""
    return [(name, data(value)) for name, value in record["headers"]]


def headers_out(headers):
    """The reverse."""
    return [[name, text(value)] for name, value in headers or []]


def checks(behaviours, *context):
    """The answer of `extras`: what became of each of these functions, whose first line of documentation is their name."""
    return {"checks": [check(behave, context) for behave in behaviours]}


def check(behave, context):
    """One check; what it raises is its detail."""
    name = behave.__doc__.splitlines()[0].rstrip(".")
    try:
        behave(*context)
        return {"name": name, "ok": True, "detail": ""}
    except Exception as error:  # Whatever it is, it is a verdict.
        return {"name": name, "ok": False, "detail": f"{type(error).__name__}: {error}"}


def must(holds, *detail):
    """Raises unless it holds."""
    if not holds:
        raise AssertionError(" ".join(str(word) for word in detail))


def refused(name, ask):
    """Requires that asking raises an error of this class or text."""
    try:
        answer = ask()
    except Exception as error:
        must(name.lower() in f"{type(error).__name__}: {error}".lower(), f"{name} was expected, not {type(error).__name__}: {error}")
    else:
        raise AssertionError(f"{name} was expected, not {answer!r:.200}")
