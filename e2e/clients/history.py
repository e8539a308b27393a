"""Records what kazoo clients send and see, as a history that zke-check judges (docs/checking.md).

    recorder = Recorder("history.jsonl")
    client = KazooClient(hosts=..., timeout=10)
    recorder.attach(client, "writer")      # before start()

Everything is taken down in the thread that owns the connection, where requests leave and replies arrive: so the lines
stand in the order of the bytes, whichever threads asked. kazoo sets no watches again after a lost connection, and so
there is no setWatches to record.
"""

import collections
import hashlib
import json
import threading
import time

from kazoo.exceptions import RolledBackError, SessionExpiredError
from kazoo.protocol import serialization as wire
from kazoo.protocol.states import ZnodeStat

EVENTS = {1: "NodeCreated", 2: "NodeDeleted", 3: "NodeDataChanged", 4: "NodeChildrenChanged"}
# Longer data are recorded by their hash.
DATA_MAX_BYTES = 64


def now_us():
    """The clock that all processes of one machine share."""
    return time.monotonic_ns() // 1000


class Recorder:
    """One file, for as many clients and threads of this process as there are."""

    def __init__(self, path):
        self._file = open(path, "a", encoding="utf-8", buffering=1)
        self._lock = threading.Lock()
        self._next_id = 0

    def attach(self, client, process):
        """Records the client from its first connection on, under a name that no other client of the run has."""
        Tap(self, client, process)

    def fault(self, name, phase):
        """`phase` is "begin" or "end"."""
        self.write(event="fault", at_us=now_us(), name=name, phase=phase)

    def member(self, member, zxid, digest, index=None):
        """What a member says of its state; those at one zxid and index must agree."""
        self.write(event="member", at_us=now_us(), member=member, zxid=zxid, digest=digest, index=index)

    def dump(self, client, *roots):
        """Reads all nodes at and below the roots; nothing may be written meanwhile. Returns how many there are."""
        client.retry(client.sync, roots[0])
        nodes = 0
        left = list(roots)
        while left:
            path = left.pop()
            data, stat = client.retry(client.get, path)
            self.write(event="node", path=path, data=text(data), stat=fields(stat))
            nodes += 1
            if stat.numChildren:
                left += [f"{path.rstrip('/')}/{name}" for name in client.retry(client.get_children, path)]
        zxid = client.last_zxid
        self.write(event="dump", at_us=now_us(), zxid=zxid, roots=list(roots), nodes=nodes)
        return nodes

    def write(self, **event):
        line = json.dumps({key: value for key, value in event.items() if value is not None})
        with self._lock:
            self._file.write(line + "\n")

    def next_id(self):
        with self._lock:
            self._next_id += 1
            return self._next_id


class Tap:
    """Stands between a client's connection and its socket."""

    def __init__(self, recorder, client, process):
        self._recorder, self._client, self._process = recorder, client, process
        self._session, self._connected = 0, False
        self._asked = collections.deque()
        self._header, self._at_us = None, 0
        connection = client._connection
        for name in ("_connect", "_connect_attempt", "_submit", "_read_header", "_read_response", "_read_watch_event"):
            original = getattr(connection, name)
            setattr(connection, name, self._wrap(getattr(self, name), original))

    @staticmethod
    def _wrap(tap, original):
        return lambda *arguments, **options: tap(original, *arguments, **options)

    def _write(self, event, at_us, **more):
        self._recorder.write(event=event, at_us=at_us, process=self._process, **more)

    def _connect(self, original, *arguments):
        session = self._client._session_id or 0
        try:
            result = original(*arguments)
        except SessionExpiredError:
            self._write("session", now_us(), session=session, state="expired")
            raise
        self._session, self._connected = self._client._session_id, True
        # kazoo reads for two thirds of what was negotiated.
        timeout_ms = round(result[0] * 3 / 2)
        host, port = self._client._connection._socket.getpeername()[:2]
        member = f"{host}:{port}"
        self._write("session", now_us(), session=self._session, state="connected", member=member, timeout_ms=timeout_ms)
        return result

    def _connect_attempt(self, original, *arguments):
        try:
            return original(*arguments)
        finally:
            if self._connected:
                self._connected = False
                for number, _ in self._asked:
                    self._write("return", now_us(), id=number, unknown="connection lost")
                self._asked.clear()
                self._write("session", now_us(), session=self._session, state="suspended")

    def _submit(self, original, request, timeout, xid=None):
        op = operation(request)
        # Pings, the handshake and credentials are no part of a history, but their replies take a turn.
        if op is not None and self._connected:
            number = self._recorder.next_id()
            self._asked.append((number, request))
            self._write("invoke", now_us(), id=number, session=self._session, op=op)
        return original(request, timeout, xid)

    def _read_header(self, original, timeout):
        header, body, offset = original(timeout)
        self._header, self._at_us = header, now_us()
        return header, body, offset

    def _read_watch_event(self, original, body, offset):
        watch, _ = wire.Watch.deserialize(body, offset)
        if watch.type in EVENTS:
            self._write(
                "watch",
                self._at_us,
                session=self._session,
                kind=EVENTS[watch.type],
                path=watch.path,
                zxid=self._header.zxid,
            )
        return original(body, offset)

    def _read_response(self, original, header, body, offset):
        request, result, _ = self._client._pending[0]
        at_us = self._at_us
        answered = original(header, body, offset)
        if self._asked and self._asked[0][1] is request:
            number, _ = self._asked.popleft()
            self._write("return", at_us, id=number, zxid=header.zxid, **outcome(request, header, result))
        return answered


def operation(request):
    """The request in the words of a history; None for what does not belong into one."""
    watch = bool(getattr(request, "watcher", None))
    match request:
        case wire.Create() | wire.Create2():
            kinds = {4: "container", 5: "ttl", 6: "ttl"}
            kind = kinds.get(request.flags, "ephemeral" if request.flags & 1 else "persistent")
            sequential = request.flags in (2, 3, 6)
            return {
                "create": {"path": request.path, "data": text(request.data), "kind": kind, "sequential": sequential}
            }
        case wire.Delete():
            return {"delete": {"path": request.path, "version": request.version}}
        case wire.SetData():
            return {"setData": {"path": request.path, "data": text(request.data), "version": request.version}}
        case wire.CheckVersion():
            return {"check": {"path": request.path, "version": request.version}}
        case wire.Transaction():
            return {"multi": {"ops": [operation(part) for part in request.operations]}}
        case wire.Exists():
            return {"exists": {"path": request.path, "watch": watch}}
        case wire.GetData():
            return {"getData": {"path": request.path, "watch": watch}}
        case wire.GetChildren() | wire.GetChildren2():
            return {"getChildren": {"path": request.path, "watch": watch}}
        case wire.Sync():
            return {"sync": {"path": request.path}}
        case wire.Close():
            return {"close": {}}
    return None


def outcome(request, header, result):
    """What came back, as the fields of a return."""
    if header.err:
        return {"error": {"code": code(header.err)}}
    if result is None or isinstance(request, wire.Close):
        return {"ok": {}}
    if result.exception is not None:
        return {"unknown": f"unreadable: {result.exception!r}"}
    value = result.value
    if isinstance(request, wire.Transaction):
        failed = [index for index, part in enumerate(value) if isinstance(part, Exception)]
        if not failed:
            return {"ok": {"results": [answer(part) for part in value]}}
        first = next(index for index in failed if not isinstance(value[index], RolledBackError))
        return {"error": {"code": name(value[first]), "failed": first}}
    if isinstance(request, (wire.GetChildren, wire.GetChildren2)):
        children, stat = value if isinstance(request, wire.GetChildren2) else (value, None)
        return {"ok": {"children": children} | answer(stat)}
    if isinstance(request, (wire.GetData, wire.Create2)):
        first, stat = value
        told = {"data": text(first)} if isinstance(request, wire.GetData) else {"path": first}
        return {"ok": told | answer(stat)}
    if isinstance(request, wire.Sync):
        return {"ok": {}}
    return {"ok": answer(value)}


def answer(value):
    if isinstance(value, ZnodeStat):
        return {"stat": fields(value)}
    return {"path": value} if isinstance(value, str) else {}


def fields(stat):
    return {
        "czxid": stat.czxid,
        "mzxid": stat.mzxid,
        "pzxid": stat.pzxid,
        "version": stat.version,
        "cversion": stat.cversion,
        "ephemeralOwner": stat.ephemeralOwner,
        "numChildren": stat.numChildren,
    }


def code(number):
    from kazoo.exceptions import EXCEPTIONS

    return name(EXCEPTIONS[number]())


def name(exception):
    return type(exception).__name__.removesuffix("Error")


def text(data):
    """Bytes as they are compared: themselves if they are short and text, else their hash."""
    data = data or b""
    if len(data) <= DATA_MAX_BYTES:
        try:
            return data.decode()
        except UnicodeDecodeError:
            pass
    return "sha256:" + hashlib.sha256(data).hexdigest()
