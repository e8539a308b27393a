"""Writes as fast as one client can and notes down what was acknowledged, while others break things.

usage: writer.py HOST:PORT,... PATH JOURNAL HISTORY

Creates PATH/n-0000000000, n-0000000001, ... in order. A number enters JOURNAL, flushed, once its write was
acknowledged. HISTORY gets all that the client sent and saw, for zke-check. A write whose answer was lost is asked
again: an existing node then means that it had happened. Ends at SIGTERM; the last line says what happened to the
session.
"""

import signal
import sys
import threading

from kazoo.client import KazooClient
from kazoo.exceptions import ConnectionLoss, NodeExistsError, OperationTimeoutError, SessionExpiredError
from kazoo.protocol.states import KazooState

from history import Recorder

hosts, base, journal, history = sys.argv[1:]
stop = threading.Event()
signal.signal(signal.SIGTERM, lambda *_: stop.set())
signal.signal(signal.SIGINT, lambda *_: stop.set())

lost = []
client = KazooClient(hosts=hosts, timeout=15, randomize_hosts=True)
Recorder(history).attach(client, "writer")
client.add_listener(lambda state: lost.append(state) if state == KazooState.LOST else None)
client.start(timeout=30)
session = client.client_id[0]
client.ensure_path(base)

number, retries = 0, 0
unanswered = False
with open(journal, "a", encoding="ascii") as acknowledged:
    while not stop.is_set():
        try:
            client.create(f"{base}/n-{number:010}", str(number).encode())
        except NodeExistsError:
            assert unanswered, f"{number} exists although nobody wrote it"
        except SessionExpiredError:
            break
        except (ConnectionLoss, OperationTimeoutError):
            retries += 1
            unanswered = True
            stop.wait(0.02)
            continue
        acknowledged.write(f"{number}\n")
        acknowledged.flush()
        number += 1
        unanswered = False

kept = not lost and client.client_id is not None and client.client_id[0] == session
print(f"{number} writes acknowledged, {retries} asked again, session {'kept' if kept else 'LOST'}", flush=True)
client.stop()
sys.exit(0 if kept else 3)
