"""`pennyweight batch submit | status | fetch`: a file of requests through the gateway, answered when it suits it.

The file is as for OpenAI's Batch API, a line `{"custom_id", "method", "url", "body"}`, or the bodies alone. The calls
go through the gateway like any others, with its caches, budgets, routes and receipts.
"""

from __future__ import annotations

import http.client
import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec

from ..config import find, load
from ..errors import BadRequest, Unreachable

__all__ = ["command"]

_URL = click.option("--url", help="The gateway. Default: this machine, at the configured port.")
_KEY = click.option("--key", envvar="PENNYWEIGHT_KEY", help="A virtual key. Default: $PENNYWEIGHT_KEY, or none.")


class _Line(msgspec.Struct, frozen=True):
    """One request. `url`: the path of its endpoint."""

    body: msgspec.Raw
    custom_id: str = ""
    url: str = ""


@click.group("batch")
def command() -> None:
    """A file of requests, answered when that is cheap; lanes.marked must be on in the gateway.

    \b
    pennyweight batch submit requests.jsonl > submitted.jsonl
    pennyweight batch fetch submitted.jsonl > answers.jsonl
    """


@command.command("submit", epilog="Try: pennyweight batch submit requests.jsonl > submitted.jsonl")
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE")
@click.option("--endpoint", default="/v1/chat/completions", show_default=True, help="For lines without a url.")
@click.option("--deadline-s", type=float, help="Seconds from now. Default: as the gateway is configured.")
@click.option("--webhook", help="A name of [lanes.webhooks] in the gateway's configuration.")
@_URL
@_KEY
def submit(
    path: Path, endpoint: str, deadline_s: float | None, webhook: str | None, url: str | None, key: str | None
) -> None:
    """Hand in every line of FILE; prints `{"custom_id", "id"}` for each."""
    headers = {"x-pennyweight-deliver": f"webhook:{webhook}" if webhook else "later"}
    if deadline_s is not None:
        headers["x-pennyweight-deadline-s"] = str(deadline_s)
    gateway = _Gateway(url, key)
    failed = 0
    for number, line in _lines(path):
        status, body = gateway.ask("POST", line.url or endpoint, headers, bytes(line.body))
        name = line.custom_id or f"line-{number}"
        if status == 202:
            click.echo(json.dumps({"custom_id": name, "id": json.loads(body)["id"]}))
        else:
            failed += 1
            click.echo(f"{path}:{number}: {status} {_message(body)}", err=True)
    sys.exit(1 if failed else 0)


@command.command("status")
@click.option("--json", "as_json", is_flag=True, help="Print the list as JSON.")
@_URL
@_KEY
def status(url: str | None, key: str | None, as_json: bool) -> None:
    """How many of your calls wait, and how many answers are there."""
    code, body = _Gateway(url, key).ask("GET", "/pennyweight/lanes", {})
    if code != 200:
        raise BadRequest(f"The gateway answered {code}: {_message(body)}")
    calls = json.loads(body)
    if as_json:
        click.echo(json.dumps(calls))
        return
    waiting = sum(call["status"] == "waiting" for call in calls)
    click.echo(f"{waiting} waiting, {len(calls) - waiting} answered.")


@command.command("fetch", epilog="Try: pennyweight batch fetch submitted.jsonl")
@click.argument("path", type=click.Path(path_type=Path, exists=True, dir_okay=False), metavar="FILE")
@_URL
@_KEY
def fetch(path: Path, url: str | None, key: str | None) -> None:
    """Print the answers to what `submit` printed into FILE, in the shape of OpenAI's results.

    Exit status 1 while some are not there yet.
    """
    gateway = _Gateway(url, key)
    waiting = 0
    for text in path.read_text("utf-8").splitlines():
        if not text.strip():
            continue
        submitted = json.loads(text)
        code, body = gateway.ask("GET", f"/pennyweight/lanes/{submitted['id']}", {})
        if code == 202:
            waiting += 1
            continue
        response = {"status_code": code, "request_id": submitted["id"], "body": _json(body)}
        click.echo(json.dumps({"custom_id": submitted["custom_id"], "response": response, "error": None}))
    if waiting:
        click.echo(f"{waiting} are not there yet.", err=True)
        sys.exit(1)


class _Gateway:
    """The gateway at an address. Raises Unreachable when nothing answers there."""

    def __init__(self, url: str | None, key: str | None) -> None:
        if url is None:
            url = f"http://127.0.0.1:{load(find(os.environ), os.environ).server.port}"
        self._parts = urlsplit(url)
        if self._parts.scheme not in ("http", "https") or not self._parts.hostname:
            raise BadRequest(f"{url!r} is no http(s) address.")
        self._key = key
        self._connection: http.client.HTTPConnection | None = None

    def ask(self, method: str, path: str, headers: dict[str, str], body: bytes = b"") -> tuple[int, bytes]:
        sent = {"content-type": "application/json", **headers}
        if self._key:
            sent["x-pennyweight-key"] = self._key
        try:
            connection = self._connected()
            connection.request(method, path, body or None, sent)
            answer = connection.getresponse()
            return answer.status, answer.read()
        except (OSError, http.client.HTTPException) as error:
            self._connection = None
            where = self._parts.netloc
            raise Unreachable(
                f"No gateway answers at {where} ({type(error).__name__}). Run: pennyweight serve"
            ) from None

    def _connected(self) -> http.client.HTTPConnection:
        if self._connection is None:
            kind = http.client.HTTPSConnection if self._parts.scheme == "https" else http.client.HTTPConnection
            self._connection = kind(self._parts.hostname or "", self._parts.port, timeout=60)
        return self._connection


def _lines(path: Path) -> Iterator[tuple[int, _Line]]:
    for number, text in enumerate(path.read_bytes().splitlines(), 1):
        if not text.strip():
            continue
        try:
            fields = msgspec.json.decode(text, type=dict[str, msgspec.Raw])
            line = msgspec.json.decode(text, type=_Line) if "body" in fields else _Line(msgspec.Raw(text))
        except msgspec.DecodeError as error:
            raise BadRequest(f"{path}:{number} is no request: {error}.") from None
        yield number, line


def _json(body: bytes) -> Any:
    try:
        return json.loads(body)
    except ValueError:
        return body.decode("utf-8", "replace")


def _message(body: bytes) -> str:
    told = _json(body)
    error = told.get("error") if isinstance(told, dict) else None
    return str(error.get("message")) if isinstance(error, dict) else "no message"
