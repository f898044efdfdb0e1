"""Installs the drivers, runs every scenario with every client, two or three clients at a time, and reports.

Each client has a broker of its own, so that none waits for another or hides its mistakes. Called by clients.sh; exit code 0
if all passed, 1 if anything failed, 77 if nothing failed but a client could not be had.
"""

import argparse
import concurrent.futures
import subprocess
import threading
import time
from pathlib import Path

from runner import matrix, records
from runner.broker import Broker
from runner.context import Scene, abilities
from runner.driver import Driver
from runner.failure import Failure
from runner.groups import wire
from runner.groups.kafka import KafkaPeer
from runner.groups.member import Member
from runner.groups.settings import COORDINATOR
from runner.groups.watch import ask
from scenarios import GROUPS, SCENARIOS

INTEROP = Path(__file__).resolve().parent.parent
REPOSITORY = INTEROP.parent.parent
DRIVERS = INTEROP / "drivers"
WORK = REPOSITORY / "target" / "interop"
# Installing may compile a client's C library on a busy machine.
INSTALL_TIMEOUT_S = 1200
HELLO_TIMEOUT_S = 60
# A client that hangs in every row is given up: no row is begun later than this.
TRIAL_TIMEOUT_S = 900
CLIENTS_AT_A_TIME = 3
# Each has a JVM for itself.
PEERS_AT_A_TIME = 2
# So that no row waits long for compaction to begin.
CLEANER_BACKOFF_MS = 100
# Who writes what the others read; one that is its own other would prove nothing.
OTHER_CLIENTS = ("kcat", "confluent_kafka", "kafka_python")
# What a row may need of the broker, and the request by which it is known.
BROKER_ABILITIES = {"broker:groups": wire.JOIN_GROUP, "broker:KIP-848": wire.CONSUMER_GROUP_HEARTBEAT}
# Whose members join the groups of the others.
OTHER_MEMBERS = ("confluent_kafka", "kafka_clients")
SKIPPED = 77

print_lock = threading.Lock()


def say(text):
    """One line at a time, at once."""
    with print_lock:
        print(text, flush=True)


def main(arguments):
    parser = argparse.ArgumentParser(prog="clients.sh", description="Real clients against the real broker.")
    parser.add_argument("binary_dir", help="holds the binary ringmill")
    parser.add_argument("clients", nargs="*", metavar="CLIENT", help="names in drivers/; all without")
    parser.add_argument("--scenario", default="", metavar="WORDS", help="only rows whose column and name contain this")
    parser.add_argument("--rewrite-readme", action="store_true", help="put this run's matrix into README.md")
    parser.add_argument("--peer", choices=["kafka"], help="another broker in the place of ringmill, on the rows about groups: what these find "
                        "in it is wrong with them")
    options = parser.parse_intermixed_args(arguments)
    known = sorted(path.parent.name for path in DRIVERS.glob("*/start"))
    names = options.clients or known
    if strangers := sorted(set(names) - set(known)):
        parser.error(f"no such driver: {', '.join(strangers)}; there are {', '.join(known)}")
    (WORK / "logs").mkdir(parents=True, exist_ok=True)
    say(f"records: {records.source()[1]}")
    rows = [row for row in (GROUPS if options.peer else SCENARIOS + GROUPS) if options.scenario in f"{row.column} {row.name}"]
    with concurrent.futures.ThreadPoolExecutor(PEERS_AT_A_TIME if options.peer else CLIENTS_AT_A_TIME) as pool:
        results = list(pool.map(lambda name: Trial(name, broker_of(options)).run(rows), names))
    return report(results, options, is_whole=not options.clients and not options.scenario and not options.peer)


def broker_of(options):
    """What starts the broker under trial, given the path of its log."""
    if options.peer:
        return KafkaPeer
    settings = {**COORDINATOR, "log.cleaner.backoff.ms": CLEANER_BACKOFF_MS}
    flags = [word for name, value in settings.items() for word in ("--set", f"broker.{name}={value}")]
    return lambda log_path: Broker(options.binary_dir, log_path, flags=flags)


def report(results, options, is_whole):
    """Prints the matrix, keeps README.md true, and gives the exit code."""
    ran = [result for result in results if not result.skipped]
    text = matrix.render(ran)
    (WORK / "matrix.md").write_text(text)
    print("\n" + text)
    for result in results:
        if result.skipped:
            print(f"SKIPPED {result.name}: {result.skipped}")
    for result in results:
        for name, why in result.failures.items():
            print(f"FAILED: {result.name}: {name}: {why}")
    if not ran:
        print("SKIPPED: no client could be installed")
        return SKIPPED
    failed = any(result.failures for result in results)
    if is_whole and options.rewrite_readme:
        matrix.rewrite(REPOSITORY / "README.md", text)
    elif is_whole:
        for difference in matrix.differences(REPOSITORY / "README.md", ran, len(ran) == len(results)):
            print(f"FAILED: README.md: {difference}; `scripts/interop/clients.sh BINARY_DIR --rewrite-readme` puts it right")
            failed = True
    passed = sum(len(result.passed) for result in ran)
    print(f"{len(ran)} clients, {passed} scenarios passed, {sum(len(result.failures) for result in ran)} failed")
    if skipped := [result.name for result in results if result.skipped]:
        print(f"SKIPPED {', '.join(skipped)}: not to be had here; {len(ran)} clients were tried")
    return 1 if failed else SKIPPED if skipped else 0


class Trial:
    """All scenarios with one client."""

    def __init__(self, name, start_broker):
        self.name = name
        self.result = matrix.Result(name)
        self._start_broker = start_broker
        self._directory = DRIVERS / name
        self._cache_dir = WORK / name
        self._logs = WORK / "logs"
        self._broker = None
        self._driver = None
        self._other = None
        self._served = set()

    def run(self, rows):
        """Runs what the client can, and gives the result."""
        began = time.monotonic()
        try:
            if why := self.install():
                self.result.skipped = why
                say(f"{self.name}: SKIPPED, {why}")
                return self.result
            began = time.monotonic()
            self._broker = self._start_broker(self._logs / f"{self.name}.broker.log")
            self._served = ask(self._broker.address, lambda connection: connection.apis())
            self.begin()
            for row in rows:
                if time.monotonic() - began > TRIAL_TIMEOUT_S:
                    raise Failure(f"all rows together take more than {TRIAL_TIMEOUT_S} s, from {row.name!r} on none was tried")
                self.row(row)
            self.end()
        except Failure as failure:
            self.result.failures["the whole"] = str(failure)
            say(f"{self.name}: FAILED: {failure}")
        finally:
            self.close()
        say(f"{self.name}: {len(self.result.passed)} passed, {len(self.result.failures)} failed, "
            f"{time.monotonic() - began:.0f} s")
        return self.result

    def install(self):
        """Installs the client; gives the reason if it cannot be had."""
        return install(self._directory, self._cache_dir, self._logs / f"{self.name}.install.log")

    def begin(self):
        """Starts the driver and asks what its client can."""
        self._driver = Driver(self.name, self._directory, self._cache_dir, self._broker.address,
                              self._logs / f"{self.name}.driver.log")
        self.result.hello = self._driver.call("hello", HELLO_TIMEOUT_S)

    def row(self, row):
        """Runs one scenario, if the client can."""
        if missing := sorted(row.needs - self.abilities()):
            self.result.cannot[row.name] = missing
            return
        if self._driver.dead:
            self._driver.end()
            self.begin()
        began = time.monotonic()
        topic = f"{row.column}-{row.name}".replace(" ", "-").replace(",", "")
        scene = Scene(self._driver, self.result.hello, self._broker, self.other, self.renewed, topic,
                      launch=self.launcher(self.name, topic), launch_other=self.launch_other(topic), history_path=self._logs / f"{self.name}.{topic}.history.json")
        try:
            for step in row.steps:
                step(scene)
        except Exception as failure:  # An answer that lacks a field, say: no reason to leave the other rows and clients untried.
            why = str(failure) if isinstance(failure, Failure) else repr(failure)
            self.result.failures[row.name] = why
            say(f"{self.name}: {row.column}, {row.name}: FAILED: {why}")
            # What it was doing may still be under way, so the next row gets a new one.
            self._driver.dead = self._driver.dead or "it failed before"
        else:
            self.result.passed.append(row.name)
            say(f"{self.name}: {row.column}, {row.name}: passed, {time.monotonic() - began:.1f} s")

    def renewed(self):
        """The driver, ended and started again."""
        self._driver.call("bye")
        self._driver.end()
        self.begin()
        return self._driver

    def launcher(self, client, topic):
        """What starts a group member by a client: given its name, its settings and where its history goes."""
        def launch(name, settings, history):
            return Member(name, DRIVERS / client, WORK / client, self._broker.address, settings, history,
                          self._logs / f"{self.name}.{topic}.{name}.log")
        return launch

    def launch_other(self, topic):
        """The same by another client, which is installed when it is first asked for."""
        def launch(name, settings, history):
            other = self.other_member()
            if why := install(DRIVERS / other, WORK / other, self._logs / f"{other}.install.log"):
                raise Failure(f"the other client, {other}, could not be installed: {why}")
            return self.launcher(other, topic)(name, settings, history)
        return launch

    def other_member(self):
        """The first of the other clients that join groups that is there."""
        return next((name for name in OTHER_MEMBERS if name != self.name and (DRIVERS / name / "member").exists()), None)

    def abilities(self):
        """What rows may need, in their words."""
        hello = self.result.hello
        other = (["other"] if self.other_name() else []) + (["group:other"] if self.other_member() else [])
        served = [word for word, api in BROKER_ABILITIES.items() if api in self._served]
        return {*served, *abilities(hello), *(f"codec:{codec}" for codec in hello["codecs"]), *(f"acks:{acks}" for acks in hello["acks"]), *other}

    def other_name(self):
        """The first of the other clients that is there."""
        return next((name for name in OTHER_CLIENTS if name != self.name and (DRIVERS / name / "start").exists()), None)

    def other(self):
        """The other client, started when it is first asked for."""
        if self._other is None:
            name = self.other_name()
            if why := install(DRIVERS / name, WORK / name, self._logs / f"{name}.install.log"):
                raise Failure(f"the other client, {name}, could not be installed: {why}")
            driver = Driver(name, DRIVERS / name, WORK / name, self._broker.address, self._logs / f"{self.name}.other.log")
            self._other = (driver, driver.call("hello", HELLO_TIMEOUT_S))
        return self._other

    def end(self):
        """Asks the driver to end and stops the broker, which must leave a log that verifies."""
        if not self._driver.dead:
            self._driver.call("bye")
        self._broker.stop()
        self._broker.require_quiet()

    def close(self):
        """Ends whatever runs."""
        for driver in (self._driver, self._other and self._other[0]):
            if driver:
                driver.end()
        if self._broker:
            self._broker.close()


install_locks = {}


def install(directory, cache_dir, log_path):
    """Runs a driver's `install`, one at a time for each; gives the reason if the client cannot be had, exit code 77."""
    with print_lock:
        lock = install_locks.setdefault(directory.name, threading.Lock())
    with lock, open(log_path, "wb") as log:
        cache_dir.mkdir(parents=True, exist_ok=True)
        # `timeout` ends the compilers and downloads that `install` started too.
        code = subprocess.run(["timeout", str(INSTALL_TIMEOUT_S), f"{directory}/install", str(cache_dir)],
                              stdin=subprocess.DEVNULL, stdout=log, stderr=log).returncode
    if code == 0:
        return None
    said = log_path.read_text(errors="replace").strip().splitlines()
    if code == SKIPPED:
        return said[-1] if said else "it does not say why"
    why = f"took more than {INSTALL_TIMEOUT_S} s" if code == 124 else f"ended with {code}: {' '.join(said[-3:])[-400:]}"
    raise Failure(f"its installation {why}, see {log_path}")
