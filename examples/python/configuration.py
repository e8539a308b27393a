"""Configuration: one node's data, printed at the start and whenever somebody changes it.

With a value as second argument it stores that and ends. A change made while this program was cut off is seen as well:
kazoo reads the node again after each reconnect.
"""

import sys
import threading

from kazoo.client import KazooClient
from kazoo.exceptions import NodeExistsError

NODE = "/examples/configuration"
SESSION_TIMEOUT_S = 6.0


def follow(client):
    @client.DataWatch(NODE)
    def on_change(value, stat):
        if stat is None:
            print("there is none yet", flush=True)
        else:
            print("version", stat.version, "is", value.decode(), flush=True)

    threading.Event().wait()


def store(client, value):
    try:
        client.create(NODE, value, makepath=True)
    except NodeExistsError:
        client.set(NODE, value)
    print("stored", value.decode(), flush=True)


def main(servers, value=None):
    client = KazooClient(servers, timeout=SESSION_TIMEOUT_S)
    client.start()
    if value is None:
        follow(client)
    else:
        # Tried again if the connection is lost. Stored twice is no harm: it is the same value.
        client.retry(store, client, value.encode())
        client.stop()


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit("give the servers: configuration.py 127.0.0.1:2181 [value]")
    main(*sys.argv[1:])
