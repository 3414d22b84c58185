"""Proxies from the environment, as curl and most programs read them."""

from __future__ import annotations

import pytest

from pennyweight.config import inspect, load
from pennyweight.errors import ConfigError

LOCAL = ("localhost", "127.0.0.1", "::1")


def read(**env: str) -> tuple[dict[str, str], tuple[str, ...]]:
    found = load(None, env).proxies
    return {scheme: url.reveal() for scheme, url in found.urls.items()}, found.direct


def test_none_are_set() -> None:
    assert read(NO_PROXY="example.com") == ({}, ())


@pytest.mark.parametrize(
    ("env", "urls"),
    [
        ({"HTTPS_PROXY": "http://p:1"}, {"https": "http://p:1"}),
        ({"https_proxy": "http://low:1", "HTTPS_PROXY": "http://up:1"}, {"https": "http://low:1"}),
        ({"HTTP_PROXY": "p:3128"}, {"http": "http://p:3128"}),
        ({"ALL_PROXY": "http://a"}, {"http": "http://a", "https": "http://a"}),
        ({"ALL_PROXY": "http://a", "https_proxy": "http://s"}, {"http": "http://a", "https": "http://s"}),
        ({"HTTPS_PROXY": "  "}, {}),
        ({"HTTPS_PROXY": "http://p:1", "NO_PROXY": "a, *"}, {}),
    ],
)
def test_which_proxy_serves_which_scheme(env: dict[str, str], urls: dict[str, str]) -> None:
    assert read(**env)[0] == urls


def test_no_proxy_in_all_its_notations() -> None:
    names = ".example.com,*.example.org, Intern 10.0.0.7:8080 [fd00::1]:80 fd00::2,,"
    direct = read(HTTPS_PROXY="p", no_proxy=names)[1]
    assert direct == (*LOCAL, "example.com", "example.org", "intern", "10.0.0.7", "fd00::1", "fd00::2")


@pytest.mark.parametrize("value", ["socks5://p:1080", "https://p", "http://", "http://p:x"])
def test_a_proxy_that_cannot_be_used_is_named(value: str) -> None:
    with pytest.raises(ConfigError, match=r"HTTPS_PROXY '.*' is no proxy that can be used"):
        read(HTTPS_PROXY=value)


def test_a_password_is_never_shown() -> None:
    config, _ = inspect(None, {"HTTPS_PROXY": "http://user:sesame-9876@p:1"})
    assert config is not None
    assert "sesame" not in repr(config)
    _, problems = inspect(None, {"HTTPS_PROXY": "socks5://user:sesame@p:1"})
    assert problems
    assert "sesame" not in str(problems)
