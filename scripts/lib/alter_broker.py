"""Gives a setting of a running broker a value: IncrementalAlterConfigs (KIP-339) by hand, for a script that needs no client for it.

Usage: alter_broker.py HOST:PORT NAME VALUE
"""

import socket
import struct
import sys

API_KEY, VERSION = 44, 0
BROKER, SET = 4, 0


def main():
    address, name, value = sys.argv[1:]
    host, port = address.rsplit(":", 1)
    header = struct.pack(">hhi", API_KEY, VERSION, 1) + string("ringmill scripts")
    # One resource: all brokers, with one setting; and it is meant.
    body = struct.pack(">ib", 1, BROKER) + string("") + struct.pack(">i", 1) + string(name) + struct.pack(">b", SET) + string(value) + b"\0"
    request = header + body
    with socket.create_connection((host, int(port)), timeout=10) as connection:
        connection.sendall(struct.pack(">i", len(request)) + request)
        (length,) = struct.unpack(">i", exactly(connection, 4))
        answer = exactly(connection, length)
    # Behind the correlation id, the throttle time and the number of resources.
    (error,) = struct.unpack_from(">h", answer, 12)
    if error != 0:
        sys.exit(f"{name}={value}: the broker answers with error {error}: {answer[16:].decode(errors='replace')}")


def string(text):
    return struct.pack(">h", len(text)) + text.encode()


def exactly(connection, length):
    received = b""
    while len(received) < length:
        more = connection.recv(length - len(received))
        if not more:
            sys.exit("the broker has closed the connection")
        received += more
    return received


if __name__ == "__main__":
    main()
