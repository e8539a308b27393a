"""The first thing that anyone does with a new ensemble: create, get, delete.

usage: hello.py HOST:PORT,...
"""

import sys
import uuid

from kazoo.client import KazooClient

client = KazooClient(hosts=sys.argv[1], timeout=10)
client.start(timeout=30)
path = client.create(f"/hello-{uuid.uuid4().hex[:8]}", b"world")
data, stat = client.get(path)
assert data == b"world", data
client.delete(path)
assert client.exists(path) is None
print(f"created {path}, read {data.decode()!r} back at zxid {stat.czxid:#x}, deleted it")
client.stop()
