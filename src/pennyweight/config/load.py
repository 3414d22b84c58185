"""Reading a configuration: a TOML file, the environment and the command line into one `Config`, or what to fix.

The only reader of environment variables, and they come in as a mapping.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, get_args
from urllib.parse import urlsplit

import msgspec

from ..call import Optimize
from ..errors import BadRequest, ConfigError
from ..folders import expanded
from ..references import ReferenceSettings
from ..stores.sealed import KEY_VARIABLE
from . import agents, budgets, cache, cascade, lanes, local, tier_checks, toml
from . import providers as known_providers
from .proxies import proxies
from .settings import (
    SHADOW_FIRST,
    AdaptiveSettings,
    AdviceSettings,
    AgentRule,
    Budgeting,
    BudgetRule,
    CacheSettings,
    Capture,
    CascadeTable,
    Config,
    EmbeddingSettings,
    Experiments,
    FusingSettings,
    LaneSettings,
    LedgerSettings,
    OptimizerRule,
    Otel,
    PipelineSettings,
    Provider,
    ProviderTable,
    Proxies,
    ResourceSettings,
    RouteRule,
    Secret,
    SelectionRule,
    Server,
    TargetTable,
    TierTable,
    ToolRule,
    VectorSettings,
    VirtualTable,
)
from .tiers import with_routing
from .toml import Problem

__all__ = ["find", "inspect", "load"]

_SECTIONS: Mapping[str, type[msgspec.Struct]] = {
    "server": Server,
    "pipeline": PipelineSettings,
    "ledger": LedgerSettings,
    "capture": Capture,
    "experiments": Experiments,
    "otel": Otel,
    "advice": AdviceSettings,
    "budgeting": Budgeting,
    "adaptive": AdaptiveSettings,
    "embeddings": EmbeddingSettings,
    "fusing": FusingSettings,
    "lanes": LaneSettings,
    "references": ReferenceSettings,
    "resources": ResourceSettings,
    "selection": SelectionRule,
    "vectors": VectorSettings,
    "cache": CacheSettings,
    "cascade": CascadeTable,
}
_LISTS: Mapping[str, type[msgspec.Struct]] = {
    "routes": RouteRule,
    "optimizers": OptimizerRule,
    "budgets": BudgetRule,
    "tools": ToolRule,
    "tiers": TierTable,
    "targets": TargetTable,
    "virtual": VirtualTable,
}
_TOP = [
    "adaptive",
    "advice",
    "agents",
    "budgeting",
    "budgets",
    "cache",
    "cascade",
    "capture",
    "data_dir",
    "embeddings",
    "experiments",
    "fusing",
    "lanes",
    "ledger",
    "optimize",
    "optimizers",
    "otel",
    "pipeline",
    "prices",
    "providers",
    "references",
    "resources",
    "routes",
    "selection",
    "server",
    "targets",
    "tiers",
    "tools",
    "vectors",
    "virtual",
]


def load(path: Path | None, env: Mapping[str, str], overrides: Mapping[str, Any] | None = None) -> Config:
    """The configuration of that file, or of no file at all when `path` is None.

    overrides: what the command line said: host, port, data_dir, optimize, holdout; None values are skipped.
    Raises ConfigError that names every problem with its line and remedy.
    """
    config, problems = inspect(path, env, overrides)
    errors = [problem for problem in problems if problem.severity == "error"]
    if config is None or errors:
        raise ConfigError("\n".join(str(problem) for problem in errors))
    return config


def find(env: Mapping[str, str]) -> Path | None:
    """The file to read when none was named: $PENNYWEIGHT_CONFIG, ./pennyweight.toml, the one in XDG_CONFIG_HOME."""
    if named := env.get("PENNYWEIGHT_CONFIG"):
        return expanded(named)
    places = [Path("pennyweight.toml")]
    with suppress(ConfigError):  # a user without a home has no file there
        places.append(expanded(env.get("XDG_CONFIG_HOME") or "~/.config") / "pennyweight" / "pennyweight.toml")
    return next((path for path in places if path.is_file()), None)


def inspect(
    path: Path | None, env: Mapping[str, str], overrides: Mapping[str, Any] | None = None
) -> tuple[Config | None, list[Problem]]:
    """The configuration and everything that is wrong or doubtful about it. Never raises."""
    reading = _Reading(path)
    tree = reading.parse()
    if tree is None:
        return None, reading.problems
    config = reading.config(tree, env, overrides or {})
    return config, reading.problems


class _Reading:
    """One file as it is read: its text, and the problems found so far."""

    def __init__(self, path: Path | None) -> None:
        self.path = path
        self.text = ""
        self.tree: Mapping[str, Any] = {}
        self.agents: agents.Read | None = None
        self.problems: list[Problem] = []

    def parse(self) -> dict[str, Any] | None:
        if self.path is None:
            return {}
        try:
            self.text = self.path.read_text(encoding="utf-8")
        except OSError as error:
            message = f"{self.path} cannot be read: {error.strerror or error}."
            self.problems.append(Problem(message, "Check the path and its permissions."))
            return None
        except UnicodeDecodeError as error:
            self.problems.append(Problem(f"{self.path} is not UTF-8: {error.reason}.", "Save it as UTF-8."))
            return None
        try:
            self.tree = tree = tomllib.loads(self.text)
            return tree
        except tomllib.TOMLDecodeError as error:
            message, line = _toml_error(str(error), self.text)
            self.problems.append(self._at(line, f"This is not valid TOML: {message}.", "See https://toml.io."))
            return None

    def report(self, path: toml.Path, message: str, remedy: str, severity: str = "error") -> None:
        self.problems.append(self._at(toml.line_of(self.text, path), message, remedy, severity))

    def _report_both(self, wrong: tier_checks.Wrong) -> None:
        """A problem of two settings that contradict each other is told with the lines of both."""
        if wrong.path[0] == "agents" and self.agents is not None:
            self.problems.append(self.agents.problem(wrong))
            return
        line = toml.line_of(self.text, wrong.path)
        problem = self._at(line, wrong.message, wrong.remedy, wrong.severity)
        other = toml.line_of(self.text, wrong.other) if wrong.other is not None else None
        if other is not None and problem.line:
            found = self._at(other, "", "")
            quoted = f"line {other}: {found.line}\n    line {line}: {problem.line}"
            problem = msgspec.structs.replace(problem, line=quoted)
        self.problems.append(problem)

    def _agents(self, name: Any) -> tuple[AgentRule, ...] | None:
        """The rules of the file that `agents` names, beside the configuration."""
        if name == "":
            return ()
        if not isinstance(name, str):
            self.report(
                ("agents",), f"agents must be the name of a file, not {name!r}.", 'Write agents = "agents.toml".'
            )
            return None
        try:
            path = expanded(name)
        except ConfigError as error:
            self.report(("agents",), f"agents: {error}", "A name without a folder is beside this file.")
            return None
        if self.path is not None:
            path = self.path.parent / path
        self.agents = agents.read(path)
        self.problems += self.agents.problems
        return None if any(p.severity == "error" for p in self.agents.problems) else self.agents.rules

    def _at(self, line: int | None, message: str, remedy: str, severity: str = "error") -> Problem:
        if self.path is None or line is None:
            return Problem(message, remedy, severity, where=str(self.path or ""))
        lines = self.text.splitlines()
        quoted = lines[line - 1].strip() if line <= len(lines) else ""
        return Problem(message, remedy, severity, where=f"{self.path}:{line}", line=_masked(quoted))

    def config(self, tree: dict[str, Any], env: Mapping[str, str], overrides: Mapping[str, Any]) -> Config | None:
        for key in tree:
            if key not in _TOP:
                self.report((key,), f"{key} is no setting.", toml.similar(key, _TOP))
        listed = tree.get("optimizers")
        for rule in listed if isinstance(listed, list) else ():
            if isinstance(rule, dict) and rule.get("use") in SHADOW_FIRST:
                rule.setdefault("mode", "shadow")
        values: dict[str, Any] = {}
        for name, kind in _SECTIONS.items():
            values[name] = self._table(kind, tree.get(name, {}), (name,))
        for name, kind in _LISTS.items():
            if name in tree:
                values[name] = self._list(kind, tree[name], name)
        values["agents"] = self._agents(tree.get("agents", ""))
        values["prices"] = self._prices(tree.get("prices", []))
        values["providers"] = self._providers(tree.get("providers", {}), env)
        values["proxies"] = self._proxies(env)
        values["optimize"] = self._optimize(tree, env, overrides)
        values["data_dir"] = self._data_dir(tree, env, overrides)
        server = values["server"]
        if server is not None:
            listen = {k: overrides[k] for k in ("host", "port") if overrides.get(k) is not None}
            values["server"] = msgspec.structs.replace(server, **listen)
        if values["experiments"] is not None and overrides.get("holdout") is not None:
            values["experiments"] = msgspec.structs.replace(values["experiments"], holdout=overrides["holdout"])
        values["otel"] = self._otel(values["otel"], env)
        values["cache"] = cache.with_addresses(values["cache"], env)
        if key := env.get(KEY_VARIABLE, "").strip():
            values["cache_key"] = Secret(key)
        if secret := env.get("PENNYWEIGHT_WEBHOOK_SECRET", "").strip():
            values["webhook_secret"] = Secret(secret)
        usable = {name: value for name, value in values.items() if value is not None}
        complete = len(usable) == len(values)
        providers = usable.setdefault("providers", {})
        usable.setdefault("data_dir", Path())
        config = Config(source=self.path, agents_path=self.agents.path if self.agents else None, **usable)
        self._check(config, known=[*providers, *tree.get("providers", ())])
        if "optimizers" not in tree:
            config = msgspec.structs.replace(config, optimizers=with_routing(config))
        return config if complete else None

    def _data_dir(self, tree: Mapping[str, Any], env: Mapping[str, str], overrides: Mapping[str, Any]) -> Path | None:
        """--data, $PENNYWEIGHT_DATA, the file's data_dir, $XDG_DATA_HOME/pennyweight, ~/.local/share/pennyweight."""
        chosen = overrides.get("data_dir") or env.get("PENNYWEIGHT_DATA") or tree.get("data_dir")
        try:
            if chosen:
                return expanded(str(chosen))
            return expanded(env.get("XDG_DATA_HOME") or "~/.local/share") / "pennyweight"
        except ConfigError as error:
            remedy = "Name a data folder: --data, PENNYWEIGHT_DATA, or data_dir in the file."
            self.report(("data_dir",), str(error), remedy)
            return None

    def _table(self, kind: type[msgspec.Struct], value: Any, path: toml.Path) -> Any:
        made, problems = toml.table(kind, value, path)
        for place, message, remedy in problems:
            self.report(place, message, remedy)
        return made

    def _list(self, kind: type[msgspec.Struct], value: Any, name: str) -> tuple[Any, ...] | None:
        if not isinstance(value, list):
            self.report((name,), f"{name} must be a list of tables.", f"Write [[{name}]], in double brackets.")
            return None
        made = [self._table(kind, item, (name, index)) for index, item in enumerate(value)]
        return None if any(item is None for item in made) else tuple(made)

    def _prices(self, value: Any) -> tuple[dict[str, Any], ...] | None:
        if not isinstance(value, list) or not all(isinstance(item, dict) for item in value):
            self.report(("prices",), "prices must be a list of tables.", "Write [[prices]], in double brackets.")
            return None
        return tuple(value)

    def _providers(self, value: Any, env: Mapping[str, str]) -> dict[str, Provider] | None:
        if not isinstance(value, dict):
            self.report(("providers",), "providers must be a table.", "Write [providers.NAME].")
            return None
        tables = {name: self._table(ProviderTable, item, ("providers", name)) for name, item in value.items()}
        good = {name: table for name, table in tables.items() if table is not None}
        names = dict.fromkeys([*known_providers.ALWAYS, *known_providers.KNOWN, *good])
        built: dict[str, Provider] = {}
        for name in names:
            try:
                provider = known_providers.build_one(name, good.get(name), env)
            except ConfigError as error:
                self.report(("providers", name, error.message.partition(" ")[0].rpartition(".")[2]), error.message, "")
                continue
            if provider is not None:
                built[name] = provider
        failed = len(good) != len(tables) or any(name not in built for name in [*good, *known_providers.ALWAYS])
        return None if failed else built

    def _proxies(self, env: Mapping[str, str]) -> Proxies | None:
        try:
            return proxies(env)
        except ConfigError as error:
            self.problems.append(Problem(error.message, ""))
            return None

    def _otel(self, otel: Otel | None, env: Mapping[str, str]) -> Otel | None:
        """With the address of the collector: the file's, OpenTelemetry's own variable, or the usual port here."""
        if otel is None or not otel.enabled:
            return otel
        endpoint = otel.endpoint or env.get("OTEL_EXPORTER_OTLP_ENDPOINT", "").strip() or "http://127.0.0.1:4318"
        if not endpoint.startswith(("http://", "https://")):
            message = f"otel.endpoint {endpoint!r} is no http(s) address."
            self.report(("otel", "endpoint"), message, "Use OTLP over HTTP, such as http://127.0.0.1:4318.")
            return None
        return msgspec.structs.replace(otel, endpoint=endpoint.rstrip("/"))

    def _optimize(self, tree: Mapping[str, Any], env: Mapping[str, str], overrides: Mapping[str, Any]) -> Any:
        value = overrides.get("optimize") or tree.get("optimize") or env.get("PENNYWEIGHT_OPTIMIZE") or "safe"
        if value in get_args(Optimize):
            return value
        self.report(("optimize",), f"optimize {value!r} is not known.", 'Use "off", "safe" or "max".')
        return None

    def _check(self, config: Config, known: list[str]) -> None:
        """What types cannot say: ranges, names that must exist, addresses that are doubtful."""
        self._check_ranges(config)
        for name, message, remedy in cascade.wrong(config.cascade):
            self.report(("cascade", name), message, remedy)
        names = sorted({*known, *known_providers.ALWAYS})
        for wrong in tier_checks.problems(config, names, listed="optimizers" in self.tree):
            self._report_both(wrong)
        for index, rule in enumerate(config.routes):
            if not rule.provider and rule.to is None:
                message = f"routes[{index}] says where {rule.model!r} comes from, but not where it goes."
                self.report(("routes", index), message, 'Name a provider, or a virtual model: to = "auto".')
            for name in (rule.provider, *(fallback.partition("/")[0] for fallback in rule.fallbacks)):
                if name and name not in names:
                    where = ("routes", index, "provider" if name == rule.provider else "fallbacks")
                    self.report(
                        where, f"routes[{index}] names provider {name!r}, which is not there.", _add(name, names)
                    )
            if rule.ttl_s is not None and rule.ttl_s <= 0:
                message = f"routes[{index}].ttl_s {rule.ttl_s!r} must be above 0."
                self.report(("routes", index, "ttl_s"), message, "volatile = true keeps no answers of a route.")
        for name, provider in config.providers.items():
            for url in dict.fromkeys(provider.urls.values()):
                parts = urlsplit(url)
                if known_providers.is_loopback(parts.hostname or "") and parts.port == config.server.port:
                    message = (
                        f"providers.{name} is at {url}, where the gateway itself listens: a call would go in circles."
                    )
                    remedy = "Unset the *_BASE_URL that points clients at the gateway where the gateway itself runs."
                    self.report(("providers", name, "base_url"), message, remedy)
                if known_providers.plain_http(url):
                    message = f"providers.{name} is reached over plain http at {url}: keys and prompts go unencrypted."
                    self.report(("providers", name, "base_url"), message, "Use https, or a tunnel.", "warning")

    def _check_ranges(self, config: Config) -> None:
        server = config.server
        positive = [
            ("server", f) for f in server.__struct_fields__ if f.endswith(("_s", "_bytes", "depth", "connections"))
        ]
        positive += [("adaptive", f) for f in ("every_s", "rounds", "trial_calls", "back_off_s", "most_back_off_s")]
        positive += [("advice", f) for f in ("min_calls", "slow_s", "newest")]
        positive += [("vectors", "size_bytes"), ("vectors", "flat")]
        positive += [("pipeline", "propose_s"), ("ledger", "batch_s"), ("ledger", "queue")]
        positive += [("fusing", "buffer_bytes"), ("fusing", "lease_s"), ("fusing", "store_s")]
        positive += [("references", f) for f in ("ttl_s", "max_bytes", "store_s", "loops", "result_tokens")]
        for section, field in positive:
            value = getattr(getattr(config, section), field)
            if value <= 0:
                self.report(
                    (section, field), f"{section}.{field} {value!r} must be above 0.", "Leave it out for the default."
                )
        if not 0 <= server.port <= 65535:
            self.report(
                ("server", "port"), f"server.port {server.port} is no port.", "Use 1 to 65535; 0 takes any free one."
            )
        for field in ("hit_share", "heartbeat_share"):
            if not 0 <= (share := getattr(config.advice, field)) <= 1:
                self.report(("advice", field), f"advice.{field} {share} is no share.", "Use 0 to 1; 0.2 is a fifth.")
        if config.adaptive.most_step <= 1:
            message = f"adaptive.most_step {config.adaptive.most_step} must be above 1."
            self.report(("adaptive", "most_step"), message, "2 doubles or halves a value at a time.")
        if not 0 <= config.pipeline.risk <= 1:
            self.report(("pipeline", "risk"), f"pipeline.risk {config.pipeline.risk} is no probability.", "Use 0 to 1.")
        self._check_experiments(config.experiments)
        self._check_selection(config)
        self._check_fusing(config)
        any_lane = "background" in [*(rule.lane for rule in config.routes), *(table.lane for table in config.virtual)]
        for path, message, remedy in lanes.problems(config.lanes, config.providers, any_lane=any_lane):
            self.report(("lanes", *path), message, remedy, "error" if path else "warning")
        for path, message, remedy, severity in cache.problems(config.cache, encrypted=config.cache_key is not None):
            self.report(("cache", *path), message, remedy, severity)
        for place, message, remedy, severity in budgets.problems(config):
            self.report(place, message, remedy, severity)
        self._check_tools(config.tools)
        for place, message, remedy, severity in local.problems(config):
            self.report(place, message, remedy, severity)
        seen: set[str] = set()
        for index, rule in enumerate(config.optimizers):
            if not 0 <= rule.share <= 1:
                message = f"optimizers[{index}].share {rule.share} is no share of sessions."
                self.report(("optimizers", index, "share"), message, "Use 0 to 1; 0.5 is half.")
            if rule.use in seen:
                message = f"optimizers[{index}].use {rule.use!r} is listed twice."
                self.report(("optimizers", index, "use"), message, "Keep one of them.")
            seen.add(rule.use)

    def _check_tools(self, rules: Sequence[ToolRule]) -> None:
        names = [rule.name for rule in rules]
        for index, rule in enumerate(rules):
            for field in ("ttl_s", "max_bytes"):
                if (value := getattr(rule, field)) <= 0:
                    message = f"tools[{index}].{field} {value!r} must be above 0."
                    self.report(("tools", index, field), message, "Leave it out for the default.")
            if rule.name in names[:index] or "*" in names[:index]:
                message = f"tools[{index}].name {rule.name!r} is never reached: an earlier rule matches first."
                self.report(("tools", index, "name"), message, "Put it first, or leave it out.")

    def _check_fusing(self, config: Config) -> None:
        fusing = config.fusing
        if fusing.across == "redis" and not config.cache.redis.url:
            message = 'fusing.across is "redis", but there is no address of a Redis.'
            self.report(("fusing", "across"), message, "Set cache.redis.url, or PENNYWEIGHT_REDIS_URL.")
        if fusing.templates and not any(rule.use == "templates" for rule in config.optimizers):
            message = "fusing.templates has nothing to go by: the optimizer `templates` is not listed."
            remedy = 'Add [[optimizers]] with use = "templates"; mode = "shadow" lets it learn and serve nothing.'
            self.report(("fusing", "templates"), message, remedy, "warning")

    def _check_selection(self, config: Config) -> None:
        rule = config.selection
        try:
            _ = rule.utility
        except BadRequest as error:
            self.report(
                ("selection",), f"selection: {error.message}", "Leave them out for what success alone is worth."
            )
        address = {"redis": config.cache.redis.url, "postgres": config.cache.postgres.url}.get(rule.store, "here")
        if not address:
            message = f"selection.store is {rule.store!r}, but there is no address of one."
            remedy = f"Set cache.{rule.store}.url, or PENNYWEIGHT_{rule.store.upper()}_URL."
            self.report(("selection", "store"), message, remedy)

    def _check_experiments(self, experiments: Experiments) -> None:
        def wrong(field: str, what: str, remedy: str) -> None:
            value = getattr(experiments, field)
            self.report(("experiments", field), f"experiments.{field} {value!r} {what}.", remedy)

        if not 0 <= experiments.holdout <= 0.5:
            wrong("holdout", "is not between 0 and 0.5", "Use 0 for none, or a small share of sessions such as 0.05.")
        if not 0 < experiments.alpha < 0.5:
            wrong("alpha", "is no probability of a false alarm", "Use 0.05, or less.")
        if experiments.every_s <= 0:
            wrong("every_s", "must be above 0", "Leave it out for the default.")
        if not 0 <= experiments.tool_sample <= 1:
            wrong("tool_sample", "is no share of sessions", "Use 0 to 1; 0 reads none.")


def _add(name: str, names: list[str]) -> str:
    near = toml.similar(name, names)
    if near.startswith("Did"):
        return near
    known = known_providers.KNOWN.get(name)
    return f"Set {known.key}." if known else f"Add [providers.{name}] with a base_url."


def _toml_error(message: str, text: str) -> tuple[str, int]:
    """tomllib's message without its place, and the line: "… (at line 3, column 5)" or "(at end of document)"."""
    what, _, place = message.rpartition(" (at ")
    if place.startswith("line "):
        return what, int(place[5:].partition(",")[0])
    return what or message, max(len(text.splitlines()), 1)


def _masked(line: str) -> str:
    """The line without the value of a key, or what stands before the @ of an address."""
    name, equals, _ = line.partition("=")
    if equals and "key" in name.lower() and "env" not in name.lower():
        return f'{name}{equals} "…"'
    return re.sub(r"(//)[^/@]*@", r"\1…@", line)
