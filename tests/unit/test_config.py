"""Configuration: environment only, file only, both, and what is said about mistakes."""

from __future__ import annotations

from pathlib import Path

import pytest

from pennyweight.config import Config, Resolver, Secret, find, inspect, load, resolve
from pennyweight.config.toml import line_of
from pennyweight.errors import ConfigError
from pennyweight.request import Wire

CHAT, RESPONSES, MESSAGES, OLLAMA = Wire.OPENAI_CHAT, Wire.OPENAI_RESPONSES, Wire.ANTHROPIC_MESSAGES, Wire.OLLAMA
KEY = "sk-test-0123456789abcdef"


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "pennyweight.toml"
    path.write_text(text)
    return path


def from_env(**env: str) -> Config:
    return load(None, env)


def problems(tmp_path: Path, text: str, **env: str) -> list[str]:
    return [str(problem) for problem in inspect(written(tmp_path, text), env)[1]]


# --- the environment ---------------------------------------------------------------------------------------


def test_nothing_at_all_gives_loopback_and_the_natural_providers() -> None:
    config = from_env(HOME="/home/x")
    assert (config.server.host, config.server.port, config.optimize) == ("127.0.0.1", 8787, "safe")
    assert set(config.providers) == {"openai", "anthropic", "ollama"}
    assert not any(provider.configured for provider in config.providers.values())


@pytest.mark.parametrize(
    ("variable", "name"),
    [
        ("OPENAI_API_KEY", "openai"),
        ("ANTHROPIC_API_KEY", "anthropic"),
        ("OPENROUTER_API_KEY", "openrouter"),
        ("MOONSHOT_API_KEY", "moonshot"),
        ("DEEPSEEK_API_KEY", "deepseek"),
        ("DASHSCOPE_API_KEY", "dashscope"),
        ("MINIMAX_API_KEY", "minimax"),
        ("GROQ_API_KEY", "groq"),
        ("MISTRAL_API_KEY", "mistral"),
        ("XAI_API_KEY", "xai"),
        ("TOGETHER_API_KEY", "together"),
        ("FIREWORKS_API_KEY", "fireworks"),
        ("GEMINI_API_KEY", "gemini"),
    ],
)
def test_a_key_in_the_environment_makes_a_provider(variable: str, name: str) -> None:
    provider = from_env(**{variable: KEY}).providers[name]
    assert provider.configured
    assert [key.reveal() for key in provider.keys] == [KEY]
    assert all(url.startswith("https://") for url in provider.urls.values())


def test_keys_are_split_at_commas_and_doubles_dropped() -> None:
    keys = from_env(OPENAI_API_KEY="a1, b2,a1,").providers["openai"].keys
    assert [key.reveal() for key in keys] == ["a1", "b2"]


def test_a_key_that_no_header_can_carry_is_refused_unquoted() -> None:
    with pytest.raises(ConfigError) as caught:
        from_env(OPENAI_API_KEY="sk-secret\nvalue")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("base", ["http://127.0.0.1:9000", "http://127.0.0.1:9000/", "http://127.0.0.1:9000/v1"])
@pytest.mark.parametrize(
    ("name", "wire", "path"), [("openai", CHAT, "chat/completions"), ("anthropic", MESSAGES, "messages")]
)
def test_a_base_url_moves_a_provider_with_or_without_v1(base: str, name: str, wire: Wire, path: str) -> None:
    provider = from_env(**{f"{name.upper()}_BASE_URL": base}).providers[name]
    assert provider.url(wire, f"/v1/{path}", "beta=true") == f"http://127.0.0.1:9000/v1/{path}?beta=true"
    assert provider.configured
    assert provider.moved


def test_a_base_url_moves_every_protocol_of_a_provider() -> None:
    provider = from_env(DEEPSEEK_BASE_URL="http://localhost:1").providers["deepseek"]
    assert provider.urls == {CHAT: "http://localhost:1/v1", MESSAGES: "http://localhost:1/anthropic/v1"}


def test_an_odd_path_is_taken_as_the_sdks_take_it() -> None:
    odd = "https://example.com/v1beta/openai"
    assert from_env(OPENAI_BASE_URL=odd).providers["openai"].urls[CHAT] == odd
    anthropic = from_env(ANTHROPIC_BASE_URL="https://example.com/anthropic").providers["anthropic"]
    assert anthropic.urls[MESSAGES] == "https://example.com/anthropic/v1"


@pytest.mark.parametrize(
    ("host", "address"),
    [
        ("127.0.0.1:11500", "http://127.0.0.1:11500/api/chat"),
        ("0.0.0.0", "http://127.0.0.1:11434/api/chat"),
        ("http://gpu.local:8080", "http://gpu.local:8080/api/chat"),
        ("https://ollama.example.com", "https://ollama.example.com:443/api/chat"),
        ("[::1]:5", "http://[::1]:5/api/chat"),
    ],
)
def test_ollama_host_as_ollama_reads_it(host: str, address: str) -> None:
    assert from_env(OLLAMA_HOST=host).providers["ollama"].url(OLLAMA, "/api/chat") == address


@pytest.mark.parametrize(
    "value",
    [
        "ftp://x",
        "example.com",
        "http://user:pw@x",
        "http://x?y=1",
        "http://x:99999",
        "http://user:pw@x:99999",
        "ftp://u:pw@x",
        "http://x/a b",
    ],
)
def test_an_address_that_cannot_work_is_refused(value: str) -> None:
    with pytest.raises(ConfigError, match="OPENAI_BASE_URL") as caught:
        from_env(OPENAI_BASE_URL=value)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize(
    "header",
    [
        r'x-team = "a\r\nb: c"',
        r'x-team = "a\u0000"',
        'x-team = "команда"',
        r'"x\r\ny" = "a"',
        '"" = "a"',
        '"x team" = "a"',
        'host = "a"',
        'content-length = "5"',
        'Transfer-Encoding = "chunked"',
    ],
)
def test_a_header_that_cannot_be_sent_is_refused(tmp_path: Path, header: str) -> None:
    text = f'[providers.lab]\nbase_url = "http://127.0.0.1:1"\nheaders = {{ {header} }}\n'
    assert any("providers.lab.headers" in problem for problem in problems(tmp_path, text)), header


def test_headers_that_can_be_sent_are_taken(tmp_path: Path) -> None:
    text = (
        '[providers.lab]\nbase_url = "http://127.0.0.1:1"\nheaders = { X-Team = "búsqueda; a=\\"b\\"", api_key = "" }\n'
    )
    config = load(written(tmp_path, text), {})
    assert config.providers["lab"].headers == (("x-team", 'búsqueda; a="b"'), ("api_key", ""))


def test_data_directory_precedence(tmp_path: Path) -> None:
    path = written(tmp_path, 'data_dir = "/file"')
    assert load(path, {"PENNYWEIGHT_DATA": "/env"}, {"data_dir": "/flag"}).data_dir == Path("/flag")
    assert load(path, {"PENNYWEIGHT_DATA": "/env"}).data_dir == Path("/env")
    assert load(path, {}).data_dir == Path("/file")
    assert load(None, {"XDG_DATA_HOME": "/xdg"}).data_dir == Path("/xdg/pennyweight")


def test_find_prefers_the_named_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    env = {"XDG_CONFIG_HOME": str(tmp_path / "none")}
    assert find(env) is None
    written(tmp_path, "")
    assert find(env) == Path("pennyweight.toml")
    assert find({**env, "PENNYWEIGHT_CONFIG": "/etc/pw.toml"}) == Path("/etc/pw.toml")


# --- the file ----------------------------------------------------------------------------------------------


def test_a_whole_file(tmp_path: Path) -> None:
    config = load(
        written(
            tmp_path,
            """
optimize = "max"
[server]
port = 9999
[providers.mine]
base_url = "http://127.0.0.1:8000/v1"
api_key_env = "MINE"
headers = { X-Team = "a" }
timeouts = { connect_s = 2 }
[[routes]]
model = "fast-*"
provider = "mine"
rename = "small"
fallbacks = ["openai/gpt-x", "anthropic"]
[[optimizers]]
use = "exact_cache"
mode = "shadow"
share = 0.5
settings = { ttl_s = 60 }
[[prices]]
model = "small"
""",
        ),
        {"MINE": KEY},
        {"port": 1234, "host": None},
    )
    mine = config.providers["mine"]
    assert config.server.port == 1234
    assert mine.urls == {CHAT: "http://127.0.0.1:8000/v1"}
    assert mine.headers == (("x-team", "a"),)
    assert mine.timeouts.connect_s == 2
    assert config.optimizers[0].settings == {"ttl_s": 60}
    found = resolve(config, "fast-one", MESSAGES)
    assert (found.target.provider, found.target.model, found.target.wire) == ("mine", "small", CHAT)
    assert [(t.provider, t.model) for t in found.fallbacks] == [("openai", "gpt-x"), ("anthropic", "small")]


def test_every_mistake_is_told_with_line_and_remedy(tmp_path: Path) -> None:
    told = problems(
        tmp_path,
        """optimise = "max"
[server]
prot = 80
port = "x"
[[routes]]
model = "a"
provider = "opnai"
[[routes]]
model = "b"
[[optimizers]]
use = "exact_cache"
share = 3
[providers.deepsek]
""",
    )
    text = "\n".join(told)
    assert "pennyweight.toml:1: optimise is no setting. Did you mean 'optimize'?\n    optimise" in text
    assert "pennyweight.toml:3: server.prot is no setting. Did you mean 'port'?" in text
    assert "pennyweight.toml:4: server.port 'x'" in text
    assert "pennyweight.toml:8: routes[1]" in text
    assert "pennyweight.toml:13: providers.deepsek" in text


def test_names_and_ranges_are_checked(tmp_path: Path) -> None:
    told = "\n".join(
        problems(
            tmp_path,
            """[[routes]]
model = "a"
provider = "opnai"
[[optimizers]]
use = "exact_cache"
share = 3
[[optimizers]]
use = "exact_cache"
[server]
max_body_bytes = 0
port = 70000
""",
        )
    )
    assert ":3: routes[0] names provider 'opnai', which is not there. Did you mean 'openai'?" in told
    assert ":6: optimizers[0].share 3" in told
    assert ":8: optimizers[1].use 'exact_cache' is listed twice" in told
    assert ":10: server.max_body_bytes 0" in told
    assert ":11: server.port 70000" in told


@pytest.mark.parametrize("text", ["a = ", "[server\nport=1", "x = 1\nx = 2", "\x00"])
def test_broken_toml_names_a_line(tmp_path: Path, text: str) -> None:
    config, found = inspect(written(tmp_path, text), {})
    assert config is None
    assert "not valid TOML" in str(found[0])
    assert "pennyweight.toml:" in found[0].where


def test_a_missing_file_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.toml cannot be read"):
        load(tmp_path / "none.toml", {})


def test_secrets_never_print(tmp_path: Path) -> None:
    config = load(written(tmp_path, f'[providers.openai]\napi_key = "{KEY}"'), {})
    assert KEY not in repr(config)
    assert config.providers["openai"].keys[0].masked == "sk-…cdef"
    assert Secret("short").masked == "…"
    told = problems(tmp_path, f'[providers.openai]\napi_keys = "{KEY}"\n[providers.x]\napi_key = "{KEY}"')
    assert told
    assert KEY not in "\n".join(told)


def test_plain_http_beyond_this_machine_is_a_warning() -> None:
    config, found = inspect(None, {"OPENAI_BASE_URL": "http://10.0.0.5:8000/v1"})
    assert config is not None
    assert [problem.severity for problem in found] == ["warning"]
    assert inspect(None, {"OPENAI_BASE_URL": "http://127.0.0.1:8000"})[1] == []


def test_line_of_finds_settings_however_they_are_written() -> None:
    text = '''top = 1
[a.b]
c = """
c = 2
"""
d.e = 3
[[r]]
x = 1
[[r]]
x = 2
'''
    assert line_of(text, ("top",)) == 1
    assert line_of(text, ("a", "b", "c")) == 3
    assert line_of(text, ("a", "b", "d", "e")) == 6
    assert line_of(text, ("r", 1, "x")) == 10
    assert line_of(text, ("r", 1, "missing")) == 9
    assert line_of(text, ("nowhere",)) is None


# --- who answers a model -----------------------------------------------------------------------------------

BOTH = {"OPENAI_API_KEY": KEY, "ANTHROPIC_API_KEY": KEY}
MOVED = {"OPENAI_BASE_URL": "http://127.0.0.1:9"}


@pytest.mark.parametrize(
    ("env", "model", "wire", "expected"),
    [
        # A model nobody knows goes where its protocol's clients would have sent it.
        ({}, "fake-model", CHAT, ("openai", "fake-model", CHAT)),
        ({}, "fake-model", RESPONSES, ("openai", "fake-model", RESPONSES)),
        ({}, "fake-model", MESSAGES, ("anthropic", "fake-model", MESSAGES)),
        ({}, "fake-model", OLLAMA, ("ollama", "fake-model", OLLAMA)),
        ({}, "", CHAT, ("openai", "", CHAT)),
        (BOTH, "fake-model", CHAT, ("openai", "fake-model", CHAT)),
        # Families cross protocols.
        (BOTH, "claude-sonnet-4-6", CHAT, ("anthropic", "claude-sonnet-4-6", MESSAGES)),
        (BOTH, "claude-sonnet-4-6", RESPONSES, ("anthropic", "claude-sonnet-4-6", MESSAGES)),
        (BOTH, "gpt-5.4", MESSAGES, ("openai", "gpt-5.4", CHAT)),
        (BOTH, "o3", MESSAGES, ("openai", "o3", CHAT)),
        (BOTH, "olmo", MESSAGES, ("anthropic", "olmo", MESSAGES)),
        (BOTH, "gpt-oss:20b", OLLAMA, ("ollama", "gpt-oss:20b", OLLAMA)),
        (BOTH, "text-embedding-3-small", CHAT, ("openai", "text-embedding-3-small", CHAT)),
        ({"DEEPSEEK_API_KEY": KEY}, "deepseek-chat", MESSAGES, ("deepseek", "deepseek-chat", MESSAGES)),
        ({"DEEPSEEK_API_KEY": KEY}, "deepseek-chat", RESPONSES, ("deepseek", "deepseek-chat", CHAT)),
        ({"MOONSHOT_API_KEY": KEY}, "kimi-k2.5", CHAT, ("moonshot", "kimi-k2.5", CHAT)),
        ({"DASHSCOPE_API_KEY": KEY}, "qwen3-max", CHAT, ("dashscope", "qwen3-max", CHAT)),
        ({"MINIMAX_API_KEY": KEY}, "MiniMax-M2.5", MESSAGES, ("minimax", "MiniMax-M2.5", MESSAGES)),
        # The family's provider is not configured, the natural one is: untouched.
        (MOVED, "claude-sonnet-4-6", CHAT, ("openai", "claude-sonnet-4-6", CHAT)),
        (MOVED, "deepseek-chat", CHAT, ("openai", "deepseek-chat", CHAT)),
        ({"ANTHROPIC_API_KEY": KEY}, "gpt-5", MESSAGES, ("anthropic", "gpt-5", MESSAGES)),
        ({"ANTHROPIC_API_KEY": KEY}, "claude-x", CHAT, ("anthropic", "claude-x", MESSAGES)),
        # A provider named in front of the model.
        (BOTH, "anthropic/claude-x", CHAT, ("anthropic", "claude-x", MESSAGES)),
        (BOTH, "ollama/llama3", CHAT, ("ollama", "llama3", CHAT)),
        ({}, "ollama/llama3:8b", MESSAGES, ("ollama", "llama3:8b", CHAT)),
        (BOTH, "openai/gpt-5", CHAT, ("openai", "gpt-5", CHAT)),
        (MOVED, "openai/fake-model", CHAT, ("openai", "fake-model", CHAT)),
        (MOVED, "openai/gpt-oss-20b", CHAT, ("openai", "openai/gpt-oss-20b", CHAT)),
        (MOVED, "anthropic/claude-x", CHAT, ("openai", "anthropic/claude-x", CHAT)),
        ({"OPENROUTER_API_KEY": KEY}, "anthropic/claude-x", CHAT, ("openrouter", "anthropic/claude-x", CHAT)),
        ({"OPENROUTER_API_KEY": KEY}, "openrouter/z-ai/glm-5", CHAT, ("openrouter", "z-ai/glm-5", CHAT)),
        ({"OPENROUTER_API_KEY": KEY}, "z-ai/glm-5", MESSAGES, ("openrouter", "z-ai/glm-5", MESSAGES)),
        ({**BOTH, "OPENROUTER_API_KEY": KEY}, "anthropic/claude-x", MESSAGES, ("anthropic", "claude-x", MESSAGES)),
        ({"GROQ_API_KEY": KEY}, "groq/openai/gpt-oss-120b", CHAT, ("groq", "openai/gpt-oss-120b", CHAT)),
        (BOTH, "unknown/model", CHAT, ("openai", "unknown/model", CHAT)),
        (BOTH, "openai/", CHAT, ("openai", "openai/", CHAT)),
    ],
)
def test_resolve(env: dict[str, str], model: str, wire: Wire, expected: tuple[str, str, Wire]) -> None:
    target = resolve(load(None, env), model, wire).target
    assert (target.provider, target.model, target.wire) == expected


def test_the_first_rule_that_matches_wins(tmp_path: Path) -> None:
    text = (
        '[[routes]]\nmodel="gpt-*"\nprovider="anthropic"\nrename="claude-x"\n[[routes]]\nmodel="*"\nprovider="ollama"'
    )
    resolver = Resolver(load(written(tmp_path, text), BOTH))
    assert resolver("gpt-5", MESSAGES).model == "claude-x"
    assert resolver("gpt-5", MESSAGES) is resolver("gpt-5", MESSAGES)
    assert resolver("anything.at/all", OLLAMA).provider == "ollama"
    assert resolver("xgpt-5", CHAT).provider == "ollama"


def test_the_memo_of_a_resolver_is_bounded() -> None:
    resolver = Resolver(from_env())
    for number in range(5000):
        resolver(f"model-{number}", CHAT)
    assert len(resolver._memo) <= 4096


def test_the_example_file_says_the_defaults() -> None:
    example = Path(__file__).parents[2] / "pennyweight.example.toml"
    config, found = inspect(example, {})
    assert found == []
    assert config is not None
    plain = load(None, {})
    for section in (
        "server",
        "optimize",
        "pipeline",
        "ledger",
        "capture",
        "experiments",
        "otel",
        "optimizers",
        "data_dir",
    ):
        assert getattr(config, section) == getattr(plain, section), section


def test_the_commented_examples_work_too(tmp_path: Path) -> None:
    example = Path(__file__).parents[2] / "pennyweight.example.toml"
    lines = []
    for line in example.read_text().splitlines():
        bare = line.removeprefix("# ")
        is_setting = bare.startswith("[") or (" = " in bare and bare.split(" = ")[0].replace("_", "").isalnum())
        lines.append(bare if is_setting else line)
    (tmp_path / "agents.toml").write_text('[[agents]]\nname = "writer"\ntier = "cheap"\n')
    config = load(
        written(tmp_path, "\n".join(lines)), dict.fromkeys(("MY_OPENAI_KEY", "LAB_KEY", "OPENROUTER_API_KEY"), KEY)
    )
    assert config.providers["lab"].timeouts.connect_s == 10.0
    assert [rule.model for rule in config.routes] == ["claude-*", "fast", "gpt-4o"]
    assert config.prices[0]["model"] == "our-model*"
    assert config.providers["ollama"].num_ctx == 32768
    assert not config.providers["openai"].moved


def test_a_provider_at_the_gateways_own_address_is_refused() -> None:
    with pytest.raises(ConfigError, match="in circles"):
        load(None, {"OPENAI_BASE_URL": "http://127.0.0.1:8787/v1"})
    assert load(None, {"OPENAI_BASE_URL": "http://127.0.0.1:8788/v1"})


# --- sharing in flight -------------------------------------------------------------------------------------


def test_sharing_across_replicas_needs_an_address(tmp_path: Path) -> None:
    across = '[fusing]\nacross = "redis"\n'
    assert any("PENNYWEIGHT_REDIS_URL" in problem for problem in problems(tmp_path, across))
    config, found = inspect(written(tmp_path, across), {"PENNYWEIGHT_REDIS_URL": "redis://127.0.0.1:6379/0"})
    assert config is not None
    assert not [problem for problem in found if problem.severity == "error"]


@pytest.mark.parametrize(
    "text",
    [
        "[fusing]\nbuffer_bytes = 0\n",
        "[fusing]\nlease_s = -1.0\n",
        "[fusing]\nstore_s = 0.0\n",
        '[fusing]\nacross = "memcached"\n',
        '[fusing]\nidentical = "some"\n',
        '[[routes]]\nmodel = "m"\nprovider = "openai"\nfuse = "perhaps"\n',
    ],
)
def test_what_cannot_be_of_sharing_is_refused(tmp_path: Path, text: str) -> None:
    assert [p for p in inspect(written(tmp_path, text), {})[1] if p.severity == "error"]


def test_following_templates_without_anybody_who_learns_them_is_told(tmp_path: Path) -> None:
    (told,) = problems(tmp_path, "[fusing]\ntemplates = true\n")
    assert 'use = "templates"' in told
    assert not problems(tmp_path, '[fusing]\ntemplates = true\n[[optimizers]]\nuse = "templates"\n')


def test_a_route_says_what_of_its_calls_is_shared(tmp_path: Path) -> None:
    text = '[[routes]]\nmodel = "batch-*"\nprovider = "openai"\nfuse = "all"\n'
    resolver = Resolver(load(written(tmp_path, text), {}))
    assert resolver.full("batch-1", CHAT).fuse == "all"
    assert resolver.full("gpt-5", CHAT).fuse is None


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ('[[virtual]]\nname = "x"\naim = "cheep"\n', "virtual[0].aim 'cheep' is not known. Did you mean 'cheap'?"),
        (
            '[[optimizers]]\nuse = "heartbeat"\nmode = "?"\n',
            "optimizers[0].mode '?' is not known. Known: off, on, shadow.",
        ),
        (
            '[providers.lab]\nbase_url = "http://127.0.0.1:1"\nwires = ["chat"]\n',
            "providers.lab.wires[0] 'chat' is not known. Known: ",
        ),
    ],
)
def test_a_word_that_is_none_of_the_choices_names_them(tmp_path: Path, text: str, told: str) -> None:
    assert any(told in problem for problem in problems(tmp_path, text)), problems(tmp_path, text)
