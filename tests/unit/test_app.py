"""How a configuration is wired: only the wrappers it needs, plugins that break said plainly, every lifetime ended."""

from __future__ import annotations

import asyncio
import subprocess
import sys
import types
from pathlib import Path
from typing import Any

import pytest

from pennyweight.app import OPTIMIZERS, App, build
from pennyweight.app.backends import fuse_rule
from pennyweight.app.upstreams import is_theirs
from pennyweight.backends.cascade import Cascade
from pennyweight.call import Call, Outcome
from pennyweight.config import Config, Resolver, load
from pennyweight.errors import ConfigError, NotFound, StoreError
from pennyweight.optimizers import exact_cache
from pennyweight.request import Charge, Usage, Wire
from pennyweight.testing.backend import make_call

ROUTES = '[[routes]]\nmodel = "m"\nprovider = "openai"\nfallbacks = ["anthropic"]\n'
UNLIMITED = '[providers.ollama]\nbase_url = "https://ollama.example"\n'


def config(tmp_path: Path, text: str = "", **env: str) -> Config:
    file = tmp_path / "pennyweight.toml"
    file.write_text(text)
    return load(file, {"PENNYWEIGHT_DATA": str(tmp_path / "data"), **env}, {"holdout": 0.0})


def built(settings: Config, look: Any) -> Any:
    async def main() -> Any:
        async with build(settings) as app:
            return look(app)

    return asyncio.run(main())


def chain(app: App) -> list[str]:
    """The classes of the backends around the providers, outermost first."""
    found, backend = [], app.backend
    while backend is not None:
        found.append(type(backend).__name__)
        backend = getattr(backend, "_inner", None)  # type: ignore[assignment]
    return found


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (UNLIMITED, ["Retry", "Crossing", "Budgeted", "AskUsage", "Dispatch"]),
        ("", ["Retry", "Crossing", "Budgeted", "AskUsage", "Dispatch"]),
        (UNLIMITED + ROUTES, ["Fallback", "Retry", "Crossing", "Budgeted", "AskUsage", "Dispatch"]),
        (
            ROUTES + '[providers.lab]\nbase_url = "https://lab.example/v1"\nmax_concurrency = 3\n',
            ["Fallback", "Retry", "Crossing", "Budgeted", "AskUsage", "Dispatch"],
        ),
    ],
)
def test_wrappers_stand_only_where_the_configuration_needs_them(tmp_path: Path, text: str, expected: list[str]) -> None:
    assert built(config(tmp_path, text), chain) == expected


def test_only_the_providers_that_need_it_are_limited_or_wrapped_for_ollama(tmp_path: Path) -> None:
    def kinds(app: App) -> dict[str, list[str]]:
        backend: Any = app.backend
        while type(backend).__name__ != "Dispatch":
            backend = backend._inner
        found: dict[str, list[str]] = {}
        for name, inner in backend._backends.items():
            found[name] = []
            while inner is not None:
                found[name].append(type(inner).__name__)
                inner = getattr(inner, "_inner", None)
        return found

    plain = {"openai": ["Upstream"], "anthropic": ["Upstream"]}
    assert built(config(tmp_path), kinds) == plain | {"ollama": ["Limits", "Ollama", "Upstream"]}
    assert built(config(tmp_path, UNLIMITED), kinds) == plain | {"ollama": ["Ollama", "Upstream"]}


def test_proxies_timeouts_and_keys_reach_the_transport(tmp_path: Path) -> None:
    def transport(app: App) -> Any:
        backend: Any = app.backend
        while type(backend).__name__ != "Dispatch":
            backend = backend._inner
        return backend._backends["openai"]._transport

    text = "[providers.openai.timeouts]\nconnect_s = 1.0\nfirst_byte_s = 2.0\nbetween_chunks_s = 3.0\n"
    made = built(config(tmp_path, text, HTTPS_PROXY="http://u:p@proxy:1", NO_PROXY="intern"), transport)
    assert (made._connect_timeout_s, made._read_timeout_s, made._chunk_timeout_s) == (1.0, 2.0, 3.0)
    assert made._proxies == {"https": "http://u:p@proxy:1"}
    assert made._no_proxy == ("localhost", "127.0.0.1", "::1", "intern")


def plugin(monkeypatch: pytest.MonkeyPatch, **names: Any) -> None:
    """A module `broken_plugin` with these names, offered as the optimizer "broken"."""
    module = types.ModuleType("broken_plugin")
    for name, value in names.items():
        setattr(module, name, value)
    monkeypatch.setitem(sys.modules, "broken_plugin", module)
    monkeypatch.setitem(OPTIMIZERS, "broken", "broken_plugin:build")  # type: ignore[arg-type]


def fails(tmp_path: Path, match: str, settings: str = "") -> None:
    text = f'[[optimizers]]\nuse = "broken"\n{settings}'
    with pytest.raises(ConfigError, match=match):
        built(config(tmp_path, text), chain)


def raises(*_: Any) -> None:
    raise RuntimeError("oops")


def test_a_broken_plugin_is_a_configuration_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails(tmp_path, r"'broken' is not known\. Known: .*exact_cache")
    plugin(monkeypatch)
    fails(tmp_path, r"is no optimizer: broken_plugin has no 'Settings'")
    plugin(monkeypatch, Settings=exact_cache.Settings)
    fails(tmp_path, r"has no 'build'")
    plugin(monkeypatch, Settings=exact_cache.Settings, build=raises)
    fails(tmp_path, r"cannot be built: RuntimeError: oops")
    plugin(monkeypatch, Settings=exact_cache.Settings, build=lambda settings, parts: "a string")
    fails(tmp_path, r"gives a str, which is no optimizer")
    plugin(monkeypatch, Settings=exact_cache.Settings, build=exact_cache.build)
    fails(tmp_path, r"settings of 'broken' are not valid: .*ttl_s", "settings = { ttl_s = 'long' }\n")


def test_a_plugin_that_cannot_be_imported(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(OPTIMIZERS, "broken", "no_such_module:build")  # type: ignore[arg-type]
    fails(tmp_path, r"cannot be loaded: No module named 'no_such_module'\. Install what it needs")
    (tmp_path / "bad_syntax.py").write_text("def (")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setitem(OPTIMIZERS, "broken", "bad_syntax:build")  # type: ignore[arg-type]
    fails(tmp_path, r"cannot be loaded: SyntaxError")


def test_what_fails_half_way_leaves_nothing_running(tmp_path: Path) -> None:
    async def main() -> None:
        before = len(asyncio.all_tasks())
        with pytest.raises(ConfigError):
            async with build(config(tmp_path, '[[optimizers]]\nuse = "nothing"\n')):
                pass
        async with build(config(tmp_path)):
            pass
        assert len(asyncio.all_tasks()) == before

    asyncio.run(main())


def test_a_programs_own_optimizers_are_asked_after_the_configured_ones(tmp_path: Path) -> None:
    class Watching:
        name = "watching"

        async def propose(self, call: Call) -> None:
            return None

        async def settle(self, outcome: Outcome) -> None: ...

        def wants_response(self, call: Call) -> bool:
            return False

    async def main() -> list[str]:
        async with build(config(tmp_path), extra=[Watching()]) as app:
            call, _ = await app.pipeline.consult(make_call())
            return [step.optimizer for step in call.trail]

    assert asyncio.run(main())[-1] == "watching"


def test_a_data_folder_that_cannot_be_made_is_a_store_error(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("a file")
    with pytest.raises(StoreError, match=r"data folder .* cannot be made"):
        built(config(tmp_path), chain)


def test_a_provider_that_the_path_named(tmp_path: Path) -> None:
    def look(app: App) -> None:
        target = app.resolve("openai/gpt-4o", Wire.ANTHROPIC_MESSAGES, "openai")
        assert (target.provider, target.model, target.wire) == ("openai", "gpt-4o", Wire.OPENAI_CHAT)
        with pytest.raises(NotFound, match=r"no provider 'nobody'\. Known: anthropic, ollama, openai"):
            app.resolve("m", Wire.OPENAI_CHAT, "nobody")

    built(config(tmp_path), look)


def test_a_cost_is_unknown_as_soon_as_one_charge_is(tmp_path: Path) -> None:
    known = Charge("openai", "gpt-4o", Usage(input_tokens=1_000_000), 1_760_000_000.0)
    unknown = Charge("openai", "no-such-model", Usage(input_tokens=1), 1_760_000_000.0)

    def look(app: App) -> None:
        assert app.cost([]) == 0
        assert app.cost([known, known]) == 2 * 2_500_000_000_000
        assert app.cost([known, unknown]) is None

    built(config(tmp_path), look)


def test_a_watcher_that_raises_costs_no_receipt(tmp_path: Path) -> None:
    async def main() -> None:
        seen = []
        async with build(config(tmp_path, OPENAI_API_KEY="k", OPENAI_BASE_URL="http://127.0.0.1:9/v1")) as app:
            app.watchers.append(raises)
            app.watchers.append(lambda receipt, outcome: seen.append((receipt.call_id, outcome.status)))
            with pytest.raises(Exception, match="No connection"):
                await app.pipeline.open(make_call(provider="openai"))
            await app.clerk.flush()
            assert app.clerk.counters.lost == 0
        assert seen == [("c1", 502)]

    asyncio.run(main())


@pytest.mark.parametrize(
    ("name", "moved", "secret", "shown"),
    [
        ("anthropic", False, "sk-ant-api03-x", True),
        ("anthropic", False, "sk-proj-x", False),
        ("openai", False, "Bearer sk-proj-x", True),
        ("openai", False, "Bearer sk-ant-api03-x", False),
        ("openai", True, "Bearer sk-ant-api03-x", True),
    ],
)
def test_a_callers_key_is_shown_to_no_other_provider(name: str, moved: bool, secret: str, shown: bool) -> None:
    env = {f"{name.upper()}_BASE_URL": "http://127.0.0.1:1/v1"} if moved else {}
    provider = load(None, env).providers[name]
    assert is_theirs(provider, secret) is shown


def test_a_routes_word_on_sharing_goes_before_the_general_one(tmp_path: Path) -> None:
    text = '[fusing]\nidentical = "off"\n[[routes]]\nmodel = "batch-*"\nprovider = "openai"\nfuse = "all"\n'

    def said(app: App) -> list[str]:
        fuse = fuse_rule(app.config, Resolver(app.config))
        bodies = (b'{"model":"batch-1","messages":[]}', b'{"model":"gpt-5","messages":[]}')
        return [fuse(make_call(body)) for body in bodies]

    assert built(config(tmp_path, text), said) == ["all", "off"]


def test_redis_is_not_loaded_unless_replicas_share(tmp_path: Path) -> None:
    script = "import sys, pennyweight.app; sys.exit('redis' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


def test_replicas_share_where_the_file_says_so(tmp_path: Path) -> None:
    text = '[fusing]\nacross = "redis"\n[cache.redis]\nurl = "redis://127.0.0.1:1/0"\n'

    def outermost(app: App) -> list[str]:
        found: list[str] = []
        backend: Any = app.pipeline._backend
        while backend is not None:
            found.append(type(backend).__name__)
            backend = getattr(backend, "_inner", None)
        return found

    names = built(config(tmp_path, text), outermost)
    assert names[names.index("Coalesce") + 1] == "Across"
    assert "Across" not in built(config(tmp_path), outermost)


def test_what_a_cascade_compares_is_a_pair_of_the_paired_test(tmp_path: Path) -> None:
    text = (
        '[[tiers]]\nname = "cheap"\ntargets = ["openai/gpt-5-nano"]\n'
        '[[tiers]]\nname = "strong"\ntargets = ["openai/gpt-5"]\n'
        '[[virtual]]\nname = "careful"\ncascade = true\n'
    )

    async def main() -> list[dict[str, Any]]:
        async with build(config(tmp_path, text, OPENAI_API_KEY="sk-x")) as app:
            backend: Any = app.backend
            while not isinstance(backend, Cascade):
                backend = backend._inner
            backend.tell(make_call(b'{"model":"careful","messages":[]}'), 1.0, 0.0)
            return await app.shadows.report()

    (found,) = asyncio.run(main())
    assert (found["optimizer"], found["pairs"], found["better"], list(found["routes"])) == (
        "routing",
        1,
        1,
        ["careful"],
    )
