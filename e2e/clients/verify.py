"""Proves that every write that writer.py noted down is there, with its content, and nothing that nobody wrote.

usage: verify.py HOST:PORT,... PATH JOURNAL [HISTORY]

HISTORY gets a dump of PATH, for zke-check.
"""

import sys

from kazoo.client import KazooClient

from history import Recorder

hosts, base, journal, *history = sys.argv[1:]
with open(journal, encoding="ascii") as file:
    acknowledged = [int(line) for line in file if line.endswith("\n")]

client = KazooClient(hosts=hosts, timeout=15)
client.start(timeout=60)
# What is asked here is what is there, not whether a connection lasts.
client.retry(client.sync, base)
present = {int(name.removeprefix("n-")) for name in client.retry(client.get_children, base)}
missing = sorted(set(acknowledged) - present)
# The one write that was under way when the writer ended may or may not have happened.
invented = sorted(present - set(acknowledged) - {len(acknowledged)})
content = {number: client.retry(client.get, f"{base}/n-{number:010}")[0] for number in sorted(present)}
wrong = [number for number, data in content.items() if data != str(number).encode()]
if history:
    Recorder(history[0]).dump(client, base)
client.stop()
if missing or invented or wrong:
    sys.exit(f"missing {missing[:10]}, invented {invented[:10]}, wrong content {wrong[:10]}")
print(f"{len(acknowledged)} acknowledged writes are all there")
