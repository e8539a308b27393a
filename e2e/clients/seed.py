"""Where this project began: an ephemeral node, seen by a second client, gone after the first one ends.

usage: seed.py HOST:PORT,...
"""

import sys

from kazoo.client import KazooClient

from wait import until

LIMIT_S = 30

first = KazooClient(hosts=sys.argv[1], timeout=10)
first.start(timeout=LIMIT_S)
first.create("/data", b"data", ephemeral=True)

second = KazooClient(hosts=sys.argv[1], timeout=10)
second.start(timeout=LIMIT_S)
until("the second client sees /data", lambda: second.exists("/data"), LIMIT_S)
assert second.get("/data")[0] == b"data"

first.stop()
first.close()
until("/data is gone", lambda: not second.exists("/data"), LIMIT_S)
second.stop()
print("seen by the second client, gone after the first one ended")
