"""Holds an ephemeral node until it is told to end.

usage: alive.py HOST:PORT,... PATH
"""

import signal
import sys
import threading

from kazoo.client import KazooClient

stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
client = KazooClient(hosts=sys.argv[1], timeout=15)
client.start(timeout=30)
client.create(sys.argv[2], b"here", ephemeral=True)
print("holding", flush=True)
stop.wait()
client.stop()
