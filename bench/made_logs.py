"""Logs with known event types, made from a seed in the styles of common programs. Words are the bench's own.

A style is a head of line and its events; every event stands in a log at least once, most of them rarely.
"""

from __future__ import annotations

import json
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import NamedTuple

__all__ = ["MadeLog", "made_logs"]

LINES = 3_000
USERS = [
    "root",
    "admin",
    "alice",
    "bob",
    "carol",
    "dave",
    "oracle",
    "test",
    "guest",
    "backup",
    "www-data",
    "postgres",
    "git",
    "ubuntu",
    "pi",
    "nagios",
    "ftp",
    "jenkins",
]
WORDS = [
    "alpha",
    "beta",
    "gamma",
    "delta",
    "orders",
    "billing",
    "search",
    "cart",
    "users",
    "media",
    "images",
    "reports",
    "invoices",
    "queue",
    "mail",
]


class MadeLog(NamedTuple):
    """`types[i]`: of line i, by name; a line that goes with the one above has that one's."""

    name: str
    lines: list[str]
    types: list[str]


Head = Callable[[random.Random, datetime, str], str]

_HOLE = re.compile(r"\{(\w+)\}")


def _value(kind: str, rng: random.Random) -> str:
    match kind:
        case "n":
            return str(rng.randrange(10 ** rng.randrange(1, 7)))
        case "ip":
            return f"10.{rng.randrange(256)}.{rng.randrange(256)}.{rng.randrange(1, 255)}"
        case "port":
            return str(rng.randrange(1_024, 65_536))
        case "hex":
            return f"0x{rng.getrandbits(40):x}"
        case "id":
            return f"{rng.getrandbits(64):016x}"
        case "uuid":
            raw = f"{rng.getrandbits(128):032x}"
            return f"{raw[:8]}-{raw[8:12]}-{raw[12:16]}-{raw[16:20]}-{raw[20:]}"
        case "ms":
            return f"{rng.random() * 900:.3f}"
        case "user":
            return rng.choice(USERS)
        case "word":
            return rng.choice(WORDS)
        case "path":
            return f"/srv/{rng.choice(WORDS)}/{rng.choice(WORDS)}-{rng.randrange(999)}.dat"
        case "host":
            return f"node-{rng.randrange(64):02d}.{rng.choice(WORDS)}.example.com"
        case "pod":
            ends = "".join(rng.choices("bcdfghjklmnpqrstvwxz2456789", k=5))
            return f"{rng.choice(WORDS)}-{rng.getrandbits(36):09x}-{ends}"
    raise ValueError(f"{kind!r} is no kind of value")


def _filled(template: str, rng: random.Random) -> str:
    return _HOLE.sub(lambda found: _value(found[1], rng), template)


def _iso(rng: random.Random, at: datetime, level: str) -> str:
    return f"{at:%Y-%m-%d %H:%M:%S},{at.microsecond // 1000:03d} {level:5} [worker-{rng.randrange(16)}] "


HEADS: Mapping[str, Head] = {
    "distributed files": lambda rng, at, level: f"{at:%y%m%d %H%M%S} {rng.randrange(9_999)} {level} dfs.",
    "web errors": lambda rng, at, level: f"[{at:%a %b %d %H:%M:%S %Y}] [{level.lower()}] ",
    "system": lambda rng, at, level: f"{at:%b %e %H:%M:%S} combo ",
    "secure shell": lambda rng, at, level: f"{at:%b %e %H:%M:%S} lab sshd[{rng.randrange(99_999)}]: ",
    "batch": lambda rng, at, level: f"{at:%y/%m/%d %H:%M:%S} {level} ",
    "coordination": lambda rng, at, level: f"{at:%Y-%m-%d %H:%M:%S},{at.microsecond // 1000:03d} - {level:5} ",
    "phone": lambda rng, at, level: (
        f"{at:%m-%d %H:%M:%S}.{at.microsecond // 1000:03d} {rng.randrange(9_999):5d} "
        f"{rng.randrange(9_999):5d} {level[0]} "
    ),
    "access": lambda rng, at, level: f"{_value('ip', rng)} - - [{at:%d/%b/%Y:%H:%M:%S} +0000] ",
    "cluster": lambda rng, at, level: f"{level[0]}{at:%m%d %H:%M:%S}.{at.microsecond:06d} {rng.randrange(9):7d} ",
    "service": _iso,
    "chinese": _iso,
    "german": _iso,
    "hindi": _iso,
    "no times": lambda rng, at, level: f"{level.lower()}: ",
}

EVENTS: Mapping[str, Sequence[str]] = {
    "distributed files": (
        "INFO Node$Receiver: Receiving block blk_{n} src: /{ip}:{port} dest: /{ip}:50010",
        "INFO Node$Responder: Responder {n} for block blk_-{n} ends",
        "INFO Names: BLOCK* added: map updated: {ip}:50010 holds blk_{n} size {n}",
        "INFO Names: BLOCK* allocated: {path}. blk_-{n}",
        "WARN Node: Block blk_{n} was served to /{ip} while it was deleted",
        "ERROR Node$Receiver: Exception in receiving block blk_{n}: the connection was reset by /{ip}",
        "INFO Scanner: Verification succeeded for blk_{n}",
        "INFO Names: BLOCK* ask {ip}:50010 to replicate blk_{n} to 2 nodes",
    ),
    "web errors": (
        "NOTICE pool.init() ok {path}",
        "ERROR child pool in error state {n}",
        "NOTICE init() found child {n} in slot {n}",
        "ERROR [client {ip}] Directory index forbidden by rule: {path}",
        "ERROR [client {ip}] File does not exist: {path}",
        "NOTICE Graceful restart requested, doing restart",
        "WARN child process {n} still did not exit, sending a SIGTERM",
    ),
    "system": (
        "INFO sshd(pam)[{n}]: authentication failure; uid=0 euid=0 tty=ssh rhost={host} user={user}",
        "INFO sshd(pam)[{n}]: check pass; user unknown",
        "INFO su(pam)[{n}]: session opened for user {user} by (uid=0)",
        "INFO su(pam)[{n}]: session closed for user {user}",
        "INFO ftpd[{n}]: connection from {ip} () at noon",
        "INFO kernel: CPU {n}: temperature above threshold, clock throttled",
        "INFO kernel: Out of Memory: Killed process {n} ({word}).",
        "INFO logrotate: ALERT exited abnormally with [{n}]",
        "INFO named[{n}]: lame server resolving '{host}'",
        "INFO crond[{n}]: ({user}) CMD (run-parts /etc/cron.hourly)",
    ),
    "secure shell": (
        "INFO Failed password for {user} from {ip} port {port} ssh2",
        "INFO Failed password for invalid user {user} from {ip} port {port} ssh2",
        "INFO Accepted password for {user} from {ip} port {port} ssh2",
        "INFO Connection closed by {ip} [preauth]",
        "INFO Received disconnect from {ip}: 11: Bye Bye [preauth]",
        "INFO reverse mapping of {host} [{ip}] failed - POSSIBLE BREAK-IN ATTEMPT!",
        "INFO fatal: Write failed: Connection reset by peer [preauth]",
        "INFO error: maximum number of attempts reached for {user} from {ip} port {port}",
    ),
    "batch": (
        "INFO executor.Executor: Running task {n}.0 in stage {n}.0 (TID {n})",
        "INFO executor.Executor: Finished task {n}.0 in stage {n}.0 (TID {n}). {n} bytes result sent to driver",
        "INFO storage.Store: Block broadcast_{n} stored as values in memory (size {n}.0 B, free {n}.1 KB)",
        "INFO storage.Manager: Found block rdd_{n}_{n} locally",
        "INFO rdd.Input: Input split: {path}:{n}+{n}",
        "WARN executor.Heart: Heartbeat took {n} ms",
        "ERROR executor.Backend: RECEIVED SIGNAL 15: SIGTERM",
        "INFO util.Hook: Shutdown hook called",
    ),
    "coordination": (
        "INFO  [/{ip}:3888:Listener@493] - Received connection request /{ip}:{port}",
        "WARN  [SendWorker:{n}:Manager$SendWorker@679] - Interrupted while waiting for message on queue",
        "WARN  [RecvWorker:{n}:Manager$RecvWorker@762] - Connection broken for id {n}, my id = {n}, error =",
        "INFO  [Server:0.0.0.0:2181:Server@1001] - Closed socket connection for client /{ip}:{port} ({n})",
        "INFO  [ProcessThread:-1:Prep@476] - Processed session termination for sessionid: {hex}",
        "ERROR [Leader:{ip}:Handler@562] - Unexpected exception causing shutdown while sock still open",
        "INFO  [Quorum:1/0:0:0:0:0:0:0:0:2181:Environment@100] - Server environment:java.io.tmpdir={path}",
    ),
    "phone": (
        'DEBUG PowerService: acquire lock={n}, flags={hex}, tag="View Lock", uid={n}, pid={n}',
        "DEBUG PowerService: release lock={n}, flg={hex}, uid={n}, pid={n}",
        "INFO ActivityService: START u0 flg={hex} from uid {n} on display 0",
        "WARN ActivityService: caller {n} does not hold REAL_GET_TASKS; limiting output",
        "VERBOSE WindowService: Skipping AppWindowToken[{hex} token={hex}] -- going to hide",
        "ERROR AudioTrack: start: release {hex} of a dead track, status -{n}",
        "DEBUG DisplayPower: updatePowerState mPendingRequestLocked=policy={n}, brightness={n}",
    ),
    "access": (
        'INFO "GET /api/items/{n} HTTP/1.1" 200 {n} "-" "agent/{n}.0"',
        'INFO "GET /static/{word}.{id}.js HTTP/1.1" 304 0 "-" "agent/{n}.0"',
        'INFO "POST /api/orders HTTP/1.1" 201 {n} "-" "agent/{n}.0"',
        'INFO "GET /health HTTP/1.1" 200 2 "-" "probe/1.0"',
        'INFO "DELETE /api/sessions/{uuid} HTTP/1.1" 204 0 "-" "agent/{n}.0"',
        'INFO "POST /api/orders HTTP/1.1" 502 157 "-" "agent/{n}.0"',
    ),
    "cluster": (
        'INFO kubelet.go:{n}] "SyncLoop (probe)" probe="readiness" status="ready" pod="shop/{pod}"',
        'INFO scope.go:{n}] "RemoveContainer" containerID="{id}{id}"',
        'ERROR workers.go:{n}] "Error syncing pod, skipping" err="CrashLoopBackOff" pod="shop/{pod}"',
        'INFO topology.go:{n}] "Topology Admit Handler" podUID="{uuid}" pod="shop/{pod}"',
        "WARN watcher.go:{n}] watch of *v1.ConfigMap ended with: too old resource version: {n} ({n})",
        'INFO event.go:{n}] "Event occurred" object="shop/{pod}" reason="Pulled" message="image is there"',
    ),
    "service": (
        "INFO api.Orders: order {n} of user {user} accepted in {ms} ms trace={id}",
        "INFO api.Orders: order {n} shipped from {host}",
        "DEBUG db.Pool: {n} connections idle, {n} busy",
        "DEBUG cache.Local: miss for key {uuid}",
        "WARN db.Pool: slow query took {ms} ms on {host}",
        "ERROR api.Orders: order {n} is lost: the disk of {host} is full",
        "ERROR api.Users: cannot read {path}: permission denied",
        "INFO jobs.Nightly: run {uuid} begins",
        "INFO jobs.Nightly: run {uuid} is done: {n} rows",
    ),
    "chinese": (
        "INFO 订单 {n} 已接收，用时 {ms} 毫秒",
        "INFO 订单 {n} 已发货，来源 {ip}",
        "WARN 数据库连接 {n} 超时，正在重试",
        "ERROR 磁盘已满：{path} 无法写入",
        "DEBUG 缓存未命中：{uuid}",
    ),
    "german": (
        "INFO Bestellung {n} geprüft: {ms} Euro für {user}",
        "INFO Lieferung {n} verlässt das Lager über {host}",
        "WARN Verbindung {n} schläft seit {n} Sekunden",
        "ERROR Datei {path} lässt sich nicht öffnen",
        "DEBUG Schlüssel {uuid} nicht im Zwischenspeicher",
    ),
    "hindi": (
        "INFO आदेश {n} स्वीकार हुआ, समय {ms} मिलीसेकंड",
        "INFO आदेश {n} भेजा गया, स्रोत {ip}",
        "WARN डेटाबेस कनेक्शन {n} धीमा है",
        "ERROR डिस्क भर गई: {path}",
        "DEBUG कुंजी {uuid} नहीं मिली",
    ),
    "no times": (
        "INFO copied {path} to {host} in {ms} seconds",
        "INFO skipped {path}: it has not changed",
        "WARN {path} is newer on {host}, kept there",
        "ERROR {host} does not answer after {n} tries",
        "INFO {n} files looked at so far, {n} bytes sent",
    ),
}
TRACE = (
    "Traceback (most recent call last):",
    '  File "/srv/app/orders.py", line 41, in ship',
    "    raise StorageFull(disk)",
    "orders.StorageFull: no space left on the device",
)
JSON_EVENTS = (
    "request done",
    "request refused",
    "cache warmed",
    "job begun",
    "job done",
    "upstream is gone",
    "token expired",
)


def made_logs(seed: int, lines: int = LINES) -> Iterator[MadeLog]:
    """A log of about so many lines in each style, and one of JSON lines."""
    for name, events in EVENTS.items():
        yield _made(name, events, random.Random(f"{seed} {name}"), lines)
    yield _json_lines(random.Random(f"{seed} json"), lines)


def _made(name: str, events: Sequence[str], rng: random.Random, lines: int) -> MadeLog:
    at = datetime(2026, 3, 1, 6, 0, 0)  # noqa: DTZ001 - a log tells no zone
    weights = [1 / (place + 1) ** 2 for place in range(len(events))]
    drawn = rng.choices(range(len(events)), weights, k=lines - len(events)) + list(range(len(events)))
    rng.shuffle(drawn)
    log = MadeLog(name, [], [])
    for event in drawn:
        at += timedelta(milliseconds=rng.randrange(4_000))
        level, _, template = events[event].partition(" ")
        log.lines.append(HEADS[name](rng, at, level) + _filled(template.lstrip(), rng))
        log.types.append(f"{name} {event}")
        if name == "service" and level == "ERROR":
            log.lines.extend(TRACE)
            log.types.extend(f"{name} trace {place}" for place in range(len(TRACE)))
    return log


def _json_lines(rng: random.Random, lines: int) -> MadeLog:
    log = MadeLog("json lines", [], [])
    at = datetime(2026, 3, 1, 6, 0, 0)  # noqa: DTZ001
    for number in range(lines):
        at += timedelta(milliseconds=rng.randrange(900))
        said = JSON_EVENTS[number] if number < len(JSON_EVENTS) else rng.choice(JSON_EVENTS[:4])
        level = "error" if "gone" in said or "refused" in said else "info"
        row = {
            "time": f"{at:%Y-%m-%dT%H:%M:%S}.{at.microsecond // 1000:03d}Z",
            "level": level,
            "msg": said,
            "trace_id": _value("id", rng),
            "path": f"/v1/items/{rng.randrange(9_999)}",
            "ms": round(rng.random() * 900, 2),
        }
        log.lines.append(json.dumps(row))
        log.types.append(said)
    return log
