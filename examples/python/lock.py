"""A distributed lock: instances take turns, and no two ever work at the same time.

Whoever loses the connection stops working at once, since from then on it cannot know when its session ends and the
lock goes to another. The nodes are kazoo's own: programs with another library cannot contend for the same lock.
"""

import sys
import threading

from kazoo.client import KazooClient, KazooState

LOCK = "/examples/kazoo-lock"
# For so long nobody gets the lock of a holder that died.
SESSION_TIMEOUT_S = 6.0
WORK_S = 0.3


def main(servers, name):
    client = KazooClient(servers, timeout=SESSION_TIMEOUT_S)
    interrupted = threading.Event()

    def on_state(state):
        if state != KazooState.CONNECTED:
            interrupted.set()

    client.add_listener(on_state)
    client.start()
    lock = client.Lock(LOCK, name)
    while True:
        # Before the lock is asked for: what happens while it is being granted counts as well.
        interrupted.clear()
        with lock:
            if not interrupted.is_set():
                work(name, interrupted)
        # Here it is released, if need be after the next reconnect.


def work(name, interrupted):
    """Whatever needs the lock; it has to look at `interrupted` often.

    A program that is stopped here for longer than its session lives goes on before it hears that the lock is not its
    own any more. Where that matters, let each write to ZooKeeper be a transaction that also checks the lock's node.
    """
    print(name, "holds the lock", flush=True)
    if interrupted.wait(WORK_S):
        print(name, "stops", flush=True)
    else:
        print(name, "releases the lock", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("give the servers and a name: lock.py 127.0.0.1:2181 a")
    main(sys.argv[1], sys.argv[2])
