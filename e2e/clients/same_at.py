"""Proves that one ensemble holds exactly what another one held at a zxid: no node more, none less, the same data.

usage: same_at.py HOST:PORT,... HOST:PORT,... PATH ZXID

The first ensemble has gone on writing since; the second one was restored from an archive of it. Nodes of `PATH` must
never have been changed or deleted, as those of writer.py are not.
"""

import sys

from kazoo.client import KazooClient

source_hosts, copy_hosts, base, zxid = sys.argv[1:]
zxid = int(zxid, 16)


def nodes(hosts):
    client = KazooClient(hosts=hosts, timeout=15)
    client.start(timeout=60)
    client.sync(base)
    found = {}
    for name in client.get_children(base):
        data, stat = client.get(f"{base}/{name}")
        found[name] = (data, stat.czxid, stat.version)
    # Something new, to see where zxids go on.
    _, stat = client.create(f"{base}-{zxid:x}", include_data=True)
    client.delete(f"{base}-{zxid:x}")
    left = [path for path in client.get_children("/") if path.startswith("alive")]
    client.stop()
    return found, stat.czxid, left


source, source_next, source_alive = nodes(source_hosts)
copy, copy_next, copy_alive = nodes(copy_hosts)
at_zxid = {name: node for name, node in source.items() if node[1] <= zxid}
missing, invented = sorted(at_zxid.keys() - copy.keys()), sorted(copy.keys() - at_zxid.keys())
wrong = sorted(name for name in at_zxid.keys() & copy.keys() if at_zxid[name] != copy[name])
if missing or invented or wrong or not at_zxid:
    sys.exit(f"missing {missing[:5]}, invented {invented[:5]}, wrong {wrong[:5]} of {len(at_zxid)}")
if copy_next >> 32 <= source_next >> 32:
    sys.exit(f"a client of the source has seen {source_next:#x}, and the copy goes on at {copy_next:#x}")
if not source_alive or copy_alive:
    sys.exit(f"ephemeral nodes: {source_alive} in the source, {copy_alive} in the copy")
print(f"{len(copy)} nodes as at {zxid:#x}; the source has {len(source)}, the copy goes on at {copy_next:#x}")
