"""What each client needs to use a gateway: the file, the settings, the environment, and what would break without them.

Checked by running the clients: OpenClaw 2026.9.6, Claude Code 2.1.329, Codex CLI 0.169.0, opencode 1.18.33,
aider 0.86.2, llm 0.36, openai 3.52, anthropic 2.11. `docs/clients.md` says the same in prose.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import msgspec

from ...errors import ConfigError
from ...folders import expanded
from . import json5, lines

__all__ = ["CLIENTS", "Gateway", "Setup", "gateway"]

_PLACEHOLDER = "pennyweight"  # a gateway without virtual keys takes any key, but most clients insist on having one
_KEY_NOTE = (
    f'The key "{_PLACEHOLDER}" is a placeholder, which a gateway ignores if it has no virtual keys and holds the '
    "provider's own. Otherwise give --key (see `pennyweight keys add`)."
)


class Gateway(msgspec.Struct, frozen=True):
    """Where the gateway is and what to ask it for. `root` has no trailing slash and no /v1."""

    root: str
    key: str | None
    models: tuple[str, ...]

    @property
    def v1(self) -> str:
        return f"{self.root}/v1"

    @property
    def key_or_placeholder(self) -> str:
        return self.key or _PLACEHOLDER

    def key_as(self, name: str) -> dict[str, str]:
        """The key under that name, if one was given: a placeholder never goes over a key that is already there."""
        return {name: self.key} if self.key else {}

    @property
    def key_notes(self) -> tuple[str, ...]:
        return () if self.key else (_KEY_NOTE,)

    def by_protocol(self) -> list[tuple[str, bool, list[str]]]:
        """(provider id, whether it speaks Anthropic Messages, its models), for those that have models."""
        claude = [model for model in self.models if model.startswith("claude")]
        rest = [model for model in self.models if not model.startswith("claude")]
        groups = [("pennyweight", False, rest), ("pennyweight-anthropic", True, claude)]
        return [group for group in groups if group[2]]

    def first_model(self) -> str:
        """The first model asked for, as `provider/model`."""
        owner = {model: provider for provider, _, models in self.by_protocol() for model in models}
        return f"{owner[self.models[0]]}/{self.models[0]}"


class Setup(msgspec.Struct, frozen=True):
    """What one client needs. `merge` turns the text of its file into one with the settings; ValueError if it cannot."""

    path: Path | None
    snippet: str
    language: str
    merge: Callable[[str], str] | None = None
    env: dict[str, str] = {}
    notes: tuple[str, ...] = ()


def gateway(url: str, key: str | None, models: tuple[str, ...]) -> Gateway:
    """Raises ConfigError when `url` is no HTTP server's root, or a name cannot stand in a file or a shell's line."""
    parts = urlsplit(url)
    try:
        valid = parts.scheme in ("http", "https") and parts.hostname and parts.port != 0
    except ValueError:
        valid = False
    if not valid or parts.username or parts.query or parts.fragment or re.search(r"[\s\"'`$\\]", url):
        raise ConfigError(f"--url {url!r} is not a gateway's address; give it like http://127.0.0.1:8787.")
    for name in (*models, *([key] if key is not None else [])):
        if not re.fullmatch(r"[\w.:/@+=~-]+", name):
            what = "--key holds" if name == key else f"--model {name!r} holds"
            raise ConfigError(f"{what} a character that is none of letters, digits and . : / @ + = ~ - _")
    return Gateway(url.rstrip("/").removesuffix("/v1").rstrip("/"), key, models)


# --- agents -----------------------------------------------------------------------------------------------


def openclaw(to: Gateway, env: Mapping[str, str], home: Path) -> Setup:
    state = _path(env, "OPENCLAW_STATE_DIR", home / ".openclaw")
    settings: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    models = {name: _openclaw_model(name, anthropic) for _, anthropic, names in to.by_protocol() for name in names}
    for provider, anthropic, names in to.by_protocol():
        url, api = (to.root, "anthropic-messages") if anthropic else (to.v1, "openai-completions")
        settings[provider] = {"baseUrl": url, "api": api} | to.key_as("apiKey")
        if not anthropic:
            settings[provider]["models"] = [{"id": n, "compat": {"supportsPromptCacheKey": True}} for n in names]
        entries = [models[name] for name in names]
        defaults[provider] = {"baseUrl": url, "api": api, "apiKey": _PLACEHOLDER, "models": entries}
    clawrouter = {"models": {"providers": {"clawrouter": {"baseUrl": to.root, "apiKey": to.key_or_placeholder}}}}
    return _json_setup(
        _path(env, "OPENCLAW_CONFIG_PATH", state / "openclaw.json"),
        {"models": {"providers": settings}},
        defaults={
            "models": {"mode": "merge", "providers": defaults},
            "agents": {"defaults": {"model": {"primary": to.first_model()}}},
        },
        notes=(
            "compat.supportsPromptCacheKey: without it OpenClaw sends custom providers no prompt_cache_key, and the "
            "provider's cache cannot tell sessions apart.",
            f"A primary model that you have chosen is kept. To change it: openclaw models set {to.first_model()}. If "
            "agents.defaults.models lists the models allowed, add it there.",
            *(f"No price is known for {name}." for name, entry in models.items() if "cost" not in entry),
            "Heartbeats send the whole history with other tools and so break the provider's cache. If wakes need not "
            "know the conversation, set agents.defaults.heartbeat to "
            '{"isolatedSession": true, "lightContext": true}.',
            "Or use OpenClaw's bundled ClawRouter provider, which finds the gateway's models and prices by itself, "
            "shows its budget in /status and sends session and agent ids. In place of the providers above: "
            + json.dumps(clawrouter | {"plugins": {"entries": {"clawrouter": {"enabled": True}}}}),
            *to.key_notes,
        ),
    )


def claude_code(to: Gateway, env: Mapping[str, str], home: Path) -> Setup:
    variables = {"ANTHROPIC_BASE_URL": to.root, "ENABLE_TOOL_SEARCH": "true"}
    if to.key:
        variables["ANTHROPIC_AUTH_TOKEN"] = to.key
        login = "ANTHROPIC_AUTH_TOKEN takes the place of a Claude login or API key in Claude Code."
    else:
        login = (
            "Claude Code goes on sending its own login or API key; the gateway passes it on if it has none of its own."
        )
    return _json_setup(
        _path(env, "CLAUDE_CONFIG_DIR", home / ".claude") / "settings.json",
        {"env": variables},
        env=variables,
        notes=(
            "ANTHROPIC_BASE_URL is the root, without /v1: Claude Code adds the path.",
            "ENABLE_TOOL_SEARCH: behind a base URL other than Anthropic's, Claude Code otherwise turns its tool search "
            "off and sends every tool's schema with every request.",
            login,
        ),
    )


def codex(to: Gateway, env: Mapping[str, str], home: Path) -> Setup:
    keys = {"model_provider": "pennyweight"}
    members = {"name": "Pennyweight", "base_url": to.v1, "env_key": "PENNYWEIGHT_API_KEY", "wire_api": "responses"}
    table = "model_providers.pennyweight"
    return Setup(
        path=_path(env, "CODEX_HOME", home / ".codex") / "config.toml",
        snippet=lines.merge_toml("", keys, table, members),
        language="toml",
        merge=lambda text: lines.merge_toml(text, keys, table, members),
        env={"PENNYWEIGHT_API_KEY": to.key_or_placeholder},
        notes=(
            "Codex reads the key from the environment variable that env_key names and stops without it: put the export "
            "in your shell's profile.",
            "A provider of its own speaks HTTP at once; with openai_base_url alone Codex tries a WebSocket first.",
            'Sessions begun with another provider stay with it; for one run: codex -c model_provider="pennyweight".',
            *to.key_notes,
        ),
    )


def opencode(to: Gateway, env: Mapping[str, str], home: Path) -> Setup:
    folder = _path(env, "XDG_CONFIG_HOME", home / ".config") / "opencode"
    present = next((p for name in ("opencode.json", "opencode.jsonc") if (p := folder / name).exists()), None)
    settings: dict[str, Any] = {}
    defaults: dict[str, Any] = {}
    for provider, anthropic, names in to.by_protocol():
        npm = "@ai-sdk/anthropic" if anthropic else "@ai-sdk/openai-compatible"
        settings[provider] = {"npm": npm, "options": {"baseURL": to.v1} | to.key_as("apiKey")}
        defaults[provider] = {
            "name": "Pennyweight (Anthropic)" if anthropic else "Pennyweight",
            "options": {"apiKey": _PLACEHOLDER},
            "models": {name: {"name": name} for name in names},
        }
    return _json_setup(
        _path(env, "OPENCODE_CONFIG", present or folder / "opencode.json"),
        {"provider": settings},
        defaults={
            "$schema": "https://opencode.ai/config.json",
            "model": to.first_model(),
            "provider": defaults,
        },
        notes=(
            "The npm adapter chooses the protocol: openai-compatible is Chat Completions, anthropic is Messages. "
            "Both take the address with /v1.",
            "A default model that you have chosen is kept; pick one of the gateway's with /models.",
            *to.key_notes,
        ),
    )


def aider(to: Gateway, env: Mapping[str, str], home: Path) -> Setup:
    model = to.models[0]
    protocol = "anthropic" if model.startswith("claude") else "openai"
    values = to.key_as(f"{protocol}-api-key")
    defaults = {"model": f"{protocol}/{model}"}  # no placeholder key: it would go over the one in the environment
    if protocol == "openai":
        values = {"openai-api-base": to.v1} | values
        environment = {"OPENAI_API_BASE": to.v1, "OPENAI_API_KEY": to.key_or_placeholder}
    else:  # aider has a setting for OpenAI's address only; this one it reads from the environment
        environment = {"ANTHROPIC_API_BASE": to.root, "ANTHROPIC_API_KEY": to.key_or_placeholder}
    return Setup(
        path=home / ".aider.conf.yml",
        snippet=lines.merge_yaml_keys("", values, defaults),
        language="yaml",
        merge=lambda text: lines.merge_yaml_keys(text, values, defaults),
        env=environment,
        notes=(
            f"Models are named with their protocol: aider --model {protocol}/{model}. One that you have set is kept.",
            "For Claude models the address can only be given by the variable ANTHROPIC_API_BASE (without /v1).",
            "An .aider.conf.yml in the project or the working folder goes over the one in your home.",
            *to.key_notes,
        ),
    )


def llm(to: Gateway, env: Mapping[str, str], home: Path) -> Setup:
    folder = _path(env, "LLM_USER_PATH", Path(click.get_app_dir("io.datasette.llm")))
    items = [
        {"model_id": f"pennyweight/{model}", "model_name": model, "api_base": to.v1, "supports_tools": "true"}
        | ({"api_key_name": "pennyweight"} if to.key else {})
        for model in to.models
    ]

    def merge(text: str) -> str:
        for item in items:
            text = lines.merge_yaml_item(text, "model_id", item)
        return text

    notes: tuple[str, ...] = (f'Use it with: llm -m {items[0]["model_id"]} "…"',)
    if to.key:
        notes += (f"llm keeps keys in a file of its own: llm keys set pennyweight --value {to.key}",)
    return Setup(path=folder / "extra-openai-models.yaml", snippet=merge(""), language="yaml", merge=merge, notes=notes)


# --- SDKs -------------------------------------------------------------------------------------------------


def openai_sdk(to: Gateway, env: Mapping[str, str], home: Path) -> Setup:
    return Setup(
        path=None,
        snippet=f'client = OpenAI(base_url="{to.v1}", api_key="{to.key_or_placeholder}")\n',
        language="python",
        env={"OPENAI_BASE_URL": to.v1, "OPENAI_API_KEY": to.key_or_placeholder},
        notes=(_LOOP_NOTE.format("OPENAI_BASE_URL"), _WRAP_NOTE.format("OpenAI"), *to.key_notes),
    )


def anthropic_sdk(to: Gateway, env: Mapping[str, str], home: Path) -> Setup:
    return Setup(
        path=None,
        snippet=f'client = Anthropic(base_url="{to.root}", api_key="{to.key_or_placeholder}")\n',
        language="python",
        env={"ANTHROPIC_BASE_URL": to.root, "ANTHROPIC_API_KEY": to.key_or_placeholder},
        notes=(
            "The address is the root, without /v1: the SDK adds the path.",
            _LOOP_NOTE.format("ANTHROPIC_BASE_URL"),
            _WRAP_NOTE.format("Anthropic"),
            *to.key_notes,
        ),
    )


_LOOP_NOTE = "Do not export {} in the shell that runs `pennyweight serve`: there it names the upstream."
_WRAP_NOTE = "Without a gateway process: client = pennyweight.wrap({}()), see docs/library.md."


CLIENTS: dict[str, Callable[[Gateway, Mapping[str, str], Path], Setup]] = {
    "openclaw": openclaw,
    "claude-code": claude_code,
    "codex": codex,
    "opencode": opencode,
    "aider": aider,
    "llm": llm,
    "openai-sdk": openai_sdk,
    "anthropic-sdk": anthropic_sdk,
}


# --- parts ------------------------------------------------------------------------------------------------


def _json_setup(
    path: Path,
    settings: dict[str, Any],
    *,
    defaults: dict[str, Any] | None = None,
    env: dict[str, str] | None = None,
    notes: tuple[str, ...],
) -> Setup:
    """A Setup of a JSON file. `defaults` are set only where the file says nothing."""

    def merge(text: str) -> str:
        old = json5.load(text).value if text.strip() else {}
        return json5.merge(text, json5.merged(_absent(old, defaults or {}), settings))

    return Setup(path=path, snippet=merge(""), language="json", merge=merge, env=env or {}, notes=notes)


def _absent(old: Any, defaults: dict[str, Any]) -> dict[str, Any]:
    """The part of `defaults` that `old` has nothing for."""
    if not isinstance(old, dict):
        return {}
    part: dict[str, Any] = {}
    for key, value in defaults.items():
        if key not in old:
            part[key] = value
        elif isinstance(value, dict) and (inner := _absent(old[key], value)):
            part[key] = inner
        elif isinstance(value, list) and isinstance(value[0], dict) and isinstance(old[key], list):
            part[key] = _absent_items(old[key], value)
    return part


def _absent_items(old: list[Any], defaults: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Items of `defaults` as far as the item of the same id in `old` has nothing for them."""
    present = {item["id"]: item for item in old if isinstance(item, dict) and "id" in item}
    return [{"id": item["id"]} | _absent(present.get(item["id"], {}), item) for item in defaults]


def _openclaw_model(model: str, anthropic: bool) -> dict[str, Any]:
    """The catalogue entry. Prices are dollars per million tokens; absent when the tables do not know the model."""
    from genai_prices import Usage, calc_price  # half a second to import, and only this client needs it

    entry = {"id": model, "name": model, "reasoning": anthropic, "input": ["text", "image"]}
    window = 200_000  # below the bands in which long prompts cost more
    try:
        known = calc_price(Usage(input_tokens=1), model_ref=model).model
    except LookupError:
        return entry | {"contextWindow": window, "maxTokens": 8_192}

    def dollars(**tokens: int) -> float:
        """Of a thousand tokens, so that no band of long prompts applies, scaled to a million."""
        return round(float(calc_price(Usage(**tokens), model_ref=model).total_price) * 1000, 6)

    cost = {
        "input": dollars(input_tokens=1000),
        "output": dollars(output_tokens=1000),
        "cacheRead": dollars(input_tokens=1000, cache_read_tokens=1000),
        "cacheWrite": dollars(input_tokens=1000, cache_write_tokens=1000),
    }
    return entry | {"contextWindow": min(known.context_window or window, window), "maxTokens": 8_192, "cost": cost}


def _path(env: Mapping[str, str], name: str, default: Path) -> Path:
    return expanded(env[name]) if env.get(name) else default
