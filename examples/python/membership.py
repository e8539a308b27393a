"""Cluster membership: each instance is an ephemeral node, and prints who is there whenever that changes.

An instance that dies is gone for the others when its session is. One that lived on and only lost its session, because
it was stopped or cut off for too long, joins again in a new one.
"""

import logging
import sys
import threading

from kazoo.client import KazooClient, KazooState
from kazoo.exceptions import NodeExistsError

GROUP = "/examples/members"
# For so long the others believe in an instance that is dead.
SESSION_TIMEOUT_S = 6.0

# Two threads speak here, and print() may mix their lines.
log = logging.getLogger("membership")


def main(servers, name):
    client = KazooClient(servers, timeout=SESSION_TIMEOUT_S)
    connected = threading.Event()

    def on_state(state):
        # On the client's own thread: to wait here for an answer would be to wait for ever.
        if state == KazooState.CONNECTED:
            connected.set()

    client.add_listener(on_state)
    client.start()
    client.ensure_path(GROUP)

    # Set again by kazoo after a reconnect and in a new session.
    @client.ChildrenWatch(GROUP)
    def on_members(members):
        log.info("%s sees %s", name, " ".join(sorted(members)))

    while True:
        connected.wait()
        connected.clear()
        client.retry(join, client, name)


def join(client, name):
    """Returns once this session's node is there; after a mere reconnect it still is."""
    node = f"{GROUP}/{name}"
    while True:
        try:
            client.create(node, ephemeral=True)
            log.info("%s is a member", name)
            return
        except NodeExistsError:
            gone = threading.Event()
            stat = client.exists(node, watch=lambda event: gone.set())
            if stat is not None and stat.owner_session_id == client.client_id[0]:
                return
            if stat is not None:
                # Of an earlier session, which nobody closed: it goes when that one expires.
                gone.wait(SESSION_TIMEOUT_S)


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit("give the servers and a name: membership.py 127.0.0.1:2181 a")
    logging.basicConfig(format="%(message)s", stream=sys.stdout)
    log.setLevel(logging.INFO)
    main(sys.argv[1], sys.argv[2])
