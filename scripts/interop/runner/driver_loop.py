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
