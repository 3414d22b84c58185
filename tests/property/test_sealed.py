"""Sealed values: what goes in comes out, and nothing else ever does."""

from __future__ import annotations

import base64
import os

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st

from pennyweight.errors import ConfigError
from pennyweight.stores.sealed import Codec, read_keys

KEY, OTHER = b"k" * 32, b"o" * 32
CODECS = {"plain": Codec(), "encrypted": Codec([KEY])}

codecs = st.sampled_from(sorted(CODECS)).map(CODECS.__getitem__)
values = st.binary(max_size=600) | st.builds(
    lambda part, times: part * times, st.binary(max_size=40), st.integers(0, 99)
)
keys = st.text(max_size=40)


@settings(max_examples=150, deadline=None)
@given(codecs, keys, values)
def test_what_goes_in_comes_out(codec: Codec, key: str, value: bytes) -> None:
    sealed = codec.seal(key, value)
    assert codec.open(key, sealed) == value
    assert not sealed[:1].isdigit()  # a counter, which is not sealed, cannot be taken for one that is
    assert not sealed.startswith(b"-")


@settings(max_examples=150, deadline=None)
@given(codecs, keys, values, st.data())
def test_what_was_changed_is_not_opened(codec: Codec, key: str, value: bytes, data: st.DataObject) -> None:
    sealed = bytearray(codec.seal(key, value))
    at = data.draw(st.integers(0, len(sealed) - 1))
    sealed[at] ^= data.draw(st.integers(1, 255))
    assert codec.open(key, bytes(sealed)) is None


@settings(max_examples=100, deadline=None)
@given(codecs, keys, values, st.data())
def test_what_was_cut_or_grew_is_not_opened(codec: Codec, key: str, value: bytes, data: st.DataObject) -> None:
    sealed = codec.seal(key, value)
    cut = sealed[: data.draw(st.integers(0, len(sealed) - 1))]
    assert codec.open(key, cut) is None
    assert codec.open(key, sealed + data.draw(st.binary(min_size=1, max_size=20))) is None


@settings(max_examples=100, deadline=None)
@given(codecs, keys, keys, values)
def test_what_was_sealed_for_one_key_is_not_opened_for_another(codec: Codec, one: str, two: str, value: bytes) -> None:
    opened = codec.open(two, codec.seal(one, value))
    assert opened == value if one == two else opened is None


@settings(max_examples=150, deadline=None)
@given(codecs, keys, st.binary(max_size=200))
def test_anything_else_is_not_opened(codec: Codec, key: str, data: bytes) -> None:
    assert codec.open(key, data) is None
    assert codec.open(key, b"\xf1" + data) is None


def test_an_entry_of_another_version_is_a_miss_and_not_taken_for_damage() -> None:
    codec = Codec()
    sealed = codec.seal("k", b"value")
    newer = b"\xf2" + sealed[1:]
    assert codec.open("k", newer) is None
    assert not codec.is_ours(newer)
    assert codec.open("k", sealed[:-1]) is None
    assert codec.is_ours(sealed[:-1])
    assert codec.is_ours(b"")


def test_keys_can_be_changed_without_losing_what_is_kept() -> None:
    before, between, after = Codec([OTHER]), Codec([KEY, OTHER]), Codec([KEY])
    old = before.seal("k", b"value")
    assert between.open("k", old) == b"value"
    assert after.open("k", between.seal("k", b"value")) == b"value"
    assert after.open("k", old) is None
    assert not after.is_ours(old)


def test_with_a_key_what_is_not_encrypted_is_not_taken() -> None:
    assert Codec([KEY]).open("k", Codec().seal("k", b"value")) is None
    assert Codec().open("k", Codec([KEY]).seal("k", b"value")) is None


def test_encrypted_entries_show_nothing_and_differ_each_time() -> None:
    codec = Codec([KEY])
    one, two = codec.seal("k", b"secret" * 100), codec.seal("k", b"secret" * 100)
    assert one != two
    assert b"secret" not in one


def test_a_small_entry_cannot_fill_the_memory() -> None:
    """Entries that anybody could have written, with the right checksum: their sizes are lies."""
    codec = Codec(limit_bytes=10_000)
    assert codec.open("k", codec.seal("k", b"x" * 10_000)) == b"x" * 10_000
    with pytest.raises(ValueError, match="at most 10000"):
        codec.seal("k", b"x" * 10_001)

    bomb = zstandard.ZstdCompressor(level=19).compress(bytes(50 << 20))
    silent = zstandard.ZstdCompressor(write_content_size=False).compress(bytes(50 << 20))
    stream = zstandard.ZstdCompressor().compressobj()
    chunked = stream.compress(bytes(50 << 20)) + stream.flush()
    small = zstandard.ZstdCompressor().compress(b"x" * 1000)
    for body in (bomb, silent, chunked, small + small, small[:-1], b"", b"no zstd"):
        assert codec.open("k", forged("k", body)) is None
    assert codec.open("k", forged("k", small)) == b"x" * 1000


def forged(key: str, body: bytes) -> bytes:
    """A compressed entry as the format says, written down apart from the code."""
    from hashlib import blake2b

    head, name = b"\xf1\x01", key.encode()
    return head + blake2b(head + len(name).to_bytes(8, "little") + name + body, digest_size=16).digest() + body


def test_keys_are_read_and_never_quoted() -> None:
    one, two = os.urandom(32), os.urandom(32)
    text = f"{base64.b64encode(one).decode()}, {base64.b64encode(two).decode()}"
    assert read_keys(text) == (one, two)
    for bad in ("geheim", base64.b64encode(b"short").decode(), f"{text},", "ключ"):
        with pytest.raises(ConfigError, match="openssl rand -base64 32") as failure:
            read_keys(bad)
        assert "geheim" not in failure.value.message
