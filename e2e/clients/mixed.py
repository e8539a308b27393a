"""A load of several clients that do a bit of everything, recorded for zke-check while others break things.

usage: mixed.py HOST:PORT,... BASE HISTORY [--clients N] [--seconds S] [--seed SEED]

Everything happens at and below BASE, which must not be there yet. At its end, all clients still at work have synced and
read everything, and HISTORY holds a dump of BASE. Prints how many operations there were; an operation that fails is part
of the game, a client that cannot connect for a minute is not.
"""

import argparse
import random
import signal
import threading
import time

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionClosedError, KazooException
from kazoo.handlers.threading import KazooTimeoutError

from history import Recorder

# A session that its member's restart does not outlive is part of the load.
TIMEOUT_S = 4
# An answer that takes longer is not waited for; the history shows it all the same.
ANSWER_S = 10


class Client(threading.Thread):
    """Works until it is told to stop; now and then it closes its session and begins another."""

    def __init__(self, recorder, hosts, base, number, seed, stop):
        super().__init__(name=f"c{number}")
        self.recorder, self.hosts, self.base, self.stop = recorder, hosts, base, stop
        self.random = random.Random(f"{seed}-{number}")
        self.sessions, self.operations, self.failures = 0, 0, 0
        self.broken = None

    def run(self):
        try:
            while not self.stop.is_set():
                self.work()
        except Exception as broken:
            self.broken = broken

    def work(self):
        self.sessions += 1
        client = KazooClient(hosts=self.hosts, timeout=TIMEOUT_S, randomize_hosts=True)
        self.recorder.attach(client, f"{self.name}-{self.sessions}")
        client.start(timeout=60)
        ends = time.monotonic() + self.random.uniform(3, 12)
        while not self.stop.is_set() and time.monotonic() < ends:
            self.attempt(client, self.random_operation(client))
        if self.stop.is_set():
            for path in [self.base] + self.paths():
                self.attempt(client, lambda: client.sync(path))
                self.attempt(client, lambda: client.get(path))
        client.stop()
        client.close()

    def attempt(self, client, operation):
        self.operations += 1
        try:
            operation()
        except (KazooException, KazooTimeoutError, ConnectionClosedError):
            self.failures += 1
            if not client.connected:
                self.stop.wait(0.02)

    def paths(self):
        return [f"{self.base}/{name}" for name in ("a", "b", "c", "a/x", "a/y", "b/x")]

    def random_operation(self, client):
        path = self.random.choice(self.paths())
        data = f"{self.name}-{self.operations}".encode()
        watch = (lambda event: None) if self.random.random() < 0.3 else None
        version = self.random.choice([-1, -1, -1, 0, 1])
        ephemeral = self.random.random() < 0.3
        return self.random.choices(
            [
                lambda: client.create(path, data, ephemeral=ephemeral, include_data=bool(version + 1)),
                lambda: client.create(f"{self.base}/q-", data, ephemeral=ephemeral, sequence=True),
                lambda: client.set(path, data, version=version),
                lambda: client.delete(path, version=version),
                lambda: self.multi(client, path, data),
                lambda: client.get(path, watch=watch),
                lambda: client.exists(path, watch=watch),
                lambda: client.get_children(self.base, watch=watch, include_data=ephemeral),
                lambda: client.sync(path),
                lambda: self.pipeline(client, path, data),
                lambda: self.trim(client),
            ],
            [12, 6, 20, 6, 6, 20, 10, 6, 8, 3, 2],
        )[0]

    def multi(self, client, path, data):
        transaction = client.transaction()
        transaction.set_data(self.random.choice(self.paths()), data)
        transaction.create(path, data)
        if self.random.random() < 0.5:
            transaction.check(path, 0)
        transaction.commit()

    def pipeline(self, client, path, data):
        """Asks for more before the first answer is there."""
        asked = [client.set_async(path, data + b"-%d" % number) for number in range(5)]
        asked += [client.get_async(path), client.sync_async(path), client.get_async(path)]
        for result in asked:
            try:
                result.get(timeout=ANSWER_S)
            except KazooException:
                self.failures += 1

    def trim(self, client):
        """Or the sequential nodes would become ever more."""
        for name in client.get_children(self.base):
            if name.startswith("q-"):
                client.delete(f"{self.base}/{name}")


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("hosts")
    parser.add_argument("base")
    parser.add_argument("history")
    parser.add_argument("--clients", type=int, default=4)
    parser.add_argument("--seconds", type=float, default=30)
    parser.add_argument("--seed", default=str(random.randrange(1 << 32)))
    options = parser.parse_args()
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    recorder = Recorder(options.history)

    observer = KazooClient(hosts=options.hosts, timeout=TIMEOUT_S)
    recorder.attach(observer, "observer")
    observer.start(timeout=60)
    observer.create(options.base)
    clients = [
        Client(recorder, options.hosts, options.base, number, options.seed, stop) for number in range(options.clients)
    ]
    for client in clients:
        client.start()
    stop.wait(options.seconds)
    stop.set()
    for client in clients:
        client.join()
    observer.retry(observer.sync, options.base)
    nodes = recorder.dump(observer, options.base)
    observer.stop()
    broken = [client.broken for client in clients if client.broken is not None]
    if broken:
        raise SystemExit(f"seed {options.seed}: a client gave up: {broken}")
    operations, failures = sum(c.operations for c in clients), sum(c.failures for c in clients)
    sessions = sum(c.sessions for c in clients)
    print(f"{operations} operations of {sessions} sessions, {failures} failed; {nodes} nodes left; seed {options.seed}")


if __name__ == "__main__":
    main()
