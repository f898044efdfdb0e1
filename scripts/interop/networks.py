#!/usr/bin/env python3
"""Real clients on odd networks, and a broker that stops while they wait in long polls.

For every row of NETWORKS one broker serves all of CLIENTS at once: each finds it by what it was told, writes and reads back, and
waits for more. Then the broker is stopped, which must answer or close every waiting poll at once; it is started again, a record is
written to each, and every client must get it. Usage: networks.py BINARY_DIR. Exit code 77 if nothing failed but a client could
not be had.
"""

import sys

sys.dont_write_bytecode = True

import contextlib
import socket
import threading
import time
from collections import namedtuple
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from runner import records
from runner.broker import Broker
from runner.driver import Driver
from runner.failure import Failure
from runner.main import DRIVERS, SKIPPED, WORK, install

# One of every family of client libraries.
CLIENTS = ["rdkafka", "rskafka", "kafka_python", "kafka_clients", "franz_go", "kafkajs"]
WRITTEN = 60
READ_TIMEOUT_MS = 20_000
# How long a client may take to come back to a broker that was away for a moment.
TAIL_TIMEOUT_MS = 30_000
# Every poll is answered or closed at once, however long it was to wait.
STOP_MAX_S = 1.0
# An address of this host that only the forwarder dials from.
FORWARDER_SOURCE = "127.0.0.3"

# What a client cannot do by itself, with the reason.
CANNOT = {("kafkajs", "IPv6"): "it cuts a bootstrap address at its first colon"}

# `listen` is the broker's; clients are given `dial` with the port; `advertise` is the host told to them, or nothing: then they must be
# told what they dialled. A forwarded broker listens where no client is sent.
Network = namedtuple("Network", "name listen dial advertise is_forwarded")
NETWORKS = [
    Network("advertised by name", "127.0.0.1", "127.0.0.1", "localhost", False),
    Network("IPv6", "[::1]", "[::1]", None, False),
    Network("every IPv4 address", "0.0.0.0", "127.0.0.1", None, False),
    Network("every address, dialled by IPv4", "[::]", "127.0.0.1", None, False),
    Network("behind a forwarded port", "127.0.0.2", "127.0.0.1", "127.0.0.1", True),
]


def main():
    if len(sys.argv) != 2:
        sys.exit("usage: networks.py BINARY_DIR")
    (WORK / "logs").mkdir(parents=True, exist_ok=True)
    try:
        clients = [name for name in CLIENTS if is_installed(name)]
    except Failure as failure:
        sys.exit(f"FAILED: {failure}")
    if not clients:
        print("SKIPPED: no client could be installed")
        sys.exit(SKIPPED)
    failed = [network.name for network in NETWORKS if not passes(network, clients)]
    if failed:
        sys.exit(f"FAILED: {', '.join(failed)}")
    if skipped := [name for name in CLIENTS if name not in clients]:
        print(f"SKIPPED {', '.join(skipped)}: not to be had here; passed with {', '.join(clients)}")
        sys.exit(SKIPPED)


def is_installed(name):
    why = install(DRIVERS / name, WORK / name, WORK / "logs" / f"{name}.install.log")
    if why:
        print(f"SKIPPED {name}: {why}")
    return not why


def passes(network, clients):
    """Runs one row; says how it went."""
    began = time.monotonic()
    for name in clients:
        if why := CANNOT.get((name, network.name)):
            print(f"{network.name}: without {name}: {why}")
    clients = [name for name in clients if (name, network.name) not in CANNOT]
    try:
        with contextlib.ExitStack() as cleanup:
            stopped_s = Trial(network, clients, cleanup).run()
    except Failure as failure:
        print(f"FAILED: {network.name}: {failure}", flush=True)
        return False
    print(f"{network.name}: {len(clients)} clients, stopped in {stopped_s:.2f} s, all came back; "
          f"{time.monotonic() - began:.0f} s", flush=True)
    return True


class Trial:
    """One network with all clients."""

    def __init__(self, network, clients, cleanup):
        self.network = network
        self.clients = clients
        self.pool = cleanup.enter_context(ThreadPoolExecutor(len(clients)))
        advertised, flags = None, []
        if network.advertise:
            advertised = free_port()
            flags = ["--set", f"broker.advertised.listeners={network.advertise}:{advertised}"]
        port = advertised if network.advertise and not network.is_forwarded else 0
        log = WORK / "logs" / f"network.{network.name.replace(' ', '-').replace(',', '')}.broker.log"
        self.broker = Broker(sys.argv[1], log, f"{network.listen}:{port}", flags)
        cleanup.callback(self.broker.close)
        host, port = address_of(self.broker.address)
        if network.is_forwarded:
            forwarder = Forwarder(advertised, (host, port))
            cleanup.callback(forwarder.close)
            port = advertised
        self.drivers = {name: self.driver(name, f"{network.dial}:{port}", cleanup) for name in clients}

    def driver(self, name, address, cleanup):
        driver = Driver(name, DRIVERS / name, WORK / name, address, WORK / "logs" / f"{name}.network.log")
        cleanup.callback(driver.end)
        return driver

    def run(self):
        """All that a row is about; gives the seconds that the stop took."""
        for name in self.clients:
            self.broker.create_topic(topic_of(name), 1, {})
        self.of_all(self.writes_and_reads)
        self.of_all(self.begins_to_wait)
        if self.network.is_forwarded:
            require_all_forwarded(self.broker.address)
        stopped_s = self.broker.stop()
        if stopped_s > STOP_MAX_S:
            raise Failure("seconds for the stop", f"below {STOP_MAX_S}", round(stopped_s, 2))
        self.broker.start()
        for name in self.clients:
            self.broker.produce(topic_of(name), [b"after the stop"], "none", 0)
        self.of_all(self.gets_what_came)
        return stopped_s

    def of_all(self, what):
        """Does it for all clients at once."""
        for _ in self.pool.map(what, self.clients):
            pass

    def writes_and_reads(self, name):
        driver, topic = self.drivers[name], topic_of(name)
        hello = driver.call("hello")
        sent = records.lines(WRITTEN, can=set(hello["can"]))
        driver.call("produce", topic=topic, records=sent, acks="all", codec="none", idempotent=False, linger_ms=5)
        got = driver.call("consume", topic=topic, partition=0, count=WRITTEN, timeout_ms=READ_TIMEOUT_MS,
                          **{"from": "earliest"})["records"]
        if [record["value"] for record in got] != [record["value"] for record in sent]:
            raise Failure(f"{name}: the values read back differ", len(sent), len(got))

    def begins_to_wait(self, name):
        position = self.drivers[name].call("tail_start", topic=topic_of(name), partition=0)["position"]
        if position != WRITTEN:
            raise Failure(f"{name}: position at the end", WRITTEN, position)
        self.drivers[name].send("tail_read", count=1, timeout_ms=TAIL_TIMEOUT_MS)
        time.sleep(0.5)  # So that its poll waits in the broker by now.

    def gets_what_came(self, name):
        got = self.drivers[name].receive("tail_read")["records"]
        values = [records.bytes_of(record["value"]) for record in got]
        if values != [b"after the stop"] or got[0]["offset"] != WRITTEN:
            raise Failure(f"{name}: what came after the stop", [b"after the stop"], values)
        self.drivers[name].call("bye")


def topic_of(client):
    return f"of-{client}"


def address_of(text):
    host, _, port = text.rpartition(":")
    return host.strip("[]"), int(port)


def free_port():
    """A port that nobody has at the moment: an advertised one must be known before the broker starts."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def require_all_forwarded(address):
    """Nobody but the forwarder is connected to the broker: every client followed the advertised address."""
    host, port = address_of(address)
    local = f"{socket.inet_aton(host)[::-1].hex().upper()}:{port:04X}"
    remotes = set()
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        _, at, remote, state, *_ = line.split()
        if at == local and state == "01":
            remotes.add(socket.inet_ntoa(bytes.fromhex(remote.split(":")[0])[::-1]))
    if remotes != {FORWARDER_SOURCE}:
        raise Failure("who is connected to the broker", {FORWARDER_SOURCE}, remotes)


class Forwarder:
    """What a container's published port or a router does: carries bytes between a port here and the broker."""

    def __init__(self, port, target):
        self._target = target
        self._listener = socket.create_server(("127.0.0.1", port))
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self):
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                try:
                    broker = socket.create_connection(self._target, source_address=(FORWARDER_SOURCE, 0))
                except OSError:
                    client.close()
                    continue
                for pair in ((client, broker), (broker, client)):
                    threading.Thread(target=self._carry, args=pair, daemon=True).start()

    @staticmethod
    def _carry(source, sink):
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                sink.sendall(data)
        for end in (source, sink):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    def close(self):
        # Closing alone would leave a waiting accept where it is.
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()


main()
