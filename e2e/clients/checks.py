"""What an ordinary ZooKeeper client expects, asked of real servers through kazoo.

usage: checks.py HOST:PORT,HOST:PORT,...

Each check prints a line when it holds; the first that does not ends the program with an error. The last one moves a
session, so it wants two addresses of different members; with one address it moves within whatever stands behind it.
"""

import subprocess
import sys
import threading
import uuid

from kazoo.client import KazooClient
from kazoo.exceptions import BadVersionError, NoNodeError, NodeExistsError

from wait import until

# How long anything may take that a healthy ensemble does at once.
LIMIT_S = 20


def connect(hosts, **options):
    client = KazooClient(hosts=hosts, timeout=10, **options)
    client.start(timeout=LIMIT_S)
    return client


def create_and_get(client, base):
    assert client.create(base + "/node", b"hello") == base + "/node"
    data, stat = client.get(base + "/node")
    assert (data, stat.version, stat.data_length) == (b"hello", 0, 5), (data, stat)
    assert stat.czxid == stat.mzxid > 0, stat
    try:
        client.create(base + "/node", b"again")
    except NodeExistsError:
        return
    raise AssertionError("the same node was created twice")


def set_with_version(client, base):
    stat = client.set(base + "/node", b"second", version=0)
    assert stat.version == 1, stat
    try:
        client.set(base + "/node", b"stale", version=0)
    except BadVersionError:
        assert client.get(base + "/node")[0] == b"second"
        return
    raise AssertionError("a write with an old version was taken")


def children(client, base):
    for name in ("a", "b", "c"):
        client.create(f"{base}/parent/{name}", makepath=True)
    assert sorted(client.get_children(base + "/parent")) == ["a", "b", "c"]
    names, stat = client.get_children(base + "/parent", include_data=True)
    assert stat.children_count == len(names) == 3, stat


def delete(client, base):
    client.delete(base + "/parent/b")
    assert client.exists(base + "/parent/b") is None
    try:
        client.delete(base + "/parent/b")
    except NoNodeError:
        assert sorted(client.get_children(base + "/parent")) == ["a", "c"]
        return
    raise AssertionError("a node was deleted twice")


def sequence(client, base):
    paths = [client.create(base + "/queue-", sequence=True) for _ in range(3)]
    numbers = [int(path.rsplit("-", 1)[1]) for path in paths]
    assert numbers == sorted(set(numbers)), paths
    assert all(len(path.rsplit("-", 1)[1]) == 10 for path in paths), paths


def ephemeral(client, base, hosts):
    other = connect(hosts)
    path = other.create(base + "/alive", b"", ephemeral=True)
    until("the ephemeral node is seen by another client", lambda: client.exists(path), LIMIT_S)
    assert client.exists(path).ephemeralOwner == other.client_id[0]
    other.stop()
    other.close()
    until("the ephemeral node goes with its session", lambda: not client.exists(path), LIMIT_S)


def watch(client, base, hosts):
    fired, events = threading.Event(), []

    def on_event(event):
        events.append(event)
        fired.set()

    client.sync(base)
    client.get(base + "/node", watch=on_event)
    other = connect(hosts)
    other.set(base + "/node", b"third")
    assert fired.wait(LIMIT_S), "the watch did not fire"
    assert [(event.type, event.path) for event in events] == [("CHANGED", base + "/node")], events
    assert client.get(base + "/node")[0] == b"third", "an event came before the state that it tells of"
    other.stop()
    other.close()


def move_session(client, base, hosts):
    """A process that holds a session dies; another takes the session over at another member, with all it owns."""
    members = hosts.split(",")
    path = base + "/moves"
    holder = subprocess.Popen(
        [sys.executable, __file__, "--hold", members[0], path], stdout=subprocess.PIPE, text=True
    )
    session, password = holder.stdout.readline().split()
    holder.kill()
    holder.wait()
    client_id = (int(session), bytes.fromhex(password))
    moved = connect(members[-1], client_id=client_id)
    assert moved.client_id == client_id, (moved.client_id, client_id)
    moved.sync(path)
    stat = moved.exists(path)
    assert stat is not None and stat.ephemeralOwner == client_id[0], stat
    moved.stop()
    moved.close()
    until("the moved session's node goes when it ends", lambda: not client.exists(path), LIMIT_S)


def hold(host, path):
    client = connect(host)
    client.create(path, ephemeral=True)
    session, password = client.client_id
    print(session, password.hex(), flush=True)
    threading.Event().wait(LIMIT_S)


def main(hosts):
    client = connect(hosts)
    base = f"/checks-{uuid.uuid4().hex[:8]}"
    client.create(base)
    plain = [create_and_get, set_with_version, children, delete, sequence]
    wider = [ephemeral, watch, move_session]
    for check in plain + wider:
        arguments = (client, base) if check in plain else (client, base, hosts)
        check(*arguments)
        print("ok", check.__name__.replace("_", " "), flush=True)
    client.delete(base, recursive=True)
    client.stop()
    print(f"{len(plain + wider)} checks passed")


if __name__ == "__main__":
    if sys.argv[1] == "--hold":
        hold(*sys.argv[2:])
    else:
        main(sys.argv[1])
