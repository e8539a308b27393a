"""Leader election: of all instances one leads; when it dies or is cut off another does.

The leader steps down when it loses its connection, not when it hears that its session is over: by then another one
leads. The nodes are kazoo's own: programs with another library cannot be candidates in the same election.
"""

import sys
import threading

from kazoo.client import KazooClient, KazooState

ELECTION = "/examples/kazoo-leader"
# For so long nobody leads after a leader died.
SESSION_TIMEOUT_S = 6.0
PAUSE_S = 1.0


def main(servers, name):
    client = KazooClient(servers, timeout=SESSION_TIMEOUT_S)
    interrupted = threading.Event()

    def on_state(state):
        if state != KazooState.CONNECTED:
            interrupted.set()

    client.add_listener(on_state)
    client.start()
    election = client.Election(ELECTION, name)
    while True:
        # Before the election: what happens while it is being decided counts as well.
        interrupted.clear()
        election.run(lead, name, interrupted)


def lead(name, interrupted):
    """Whatever only the leader does, until it is interrupted. To return is to step down."""
    if interrupted.is_set():
        return
    print(name, "leads", flush=True)
    while not interrupted.wait(PAUSE_S):
        pass
    print(name, "does not lead any more", flush=True)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("give the servers and a name: leader.py 127.0.0.1:2181 a")
    main(sys.argv[1], sys.argv[2])
