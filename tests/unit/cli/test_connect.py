"""`pennyweight connect`: what it prints, what it writes, and that it takes back what it wrote."""

from __future__ import annotations

import json
import os
import shutil
import stat
import tomllib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from pennyweight.cli.connect import command, json5
from pennyweight.cli.connect.clients import CLIENTS
from pennyweight.errors import ConfigError

Run = Callable[..., Result]

FILES = {
    "openclaw": ".openclaw/openclaw.json",
    "claude-code": ".claude/settings.json",
    "codex": ".codex/config.toml",
    "opencode": ".config/opencode/opencode.json",
    "aider": ".aider.conf.yml",
    "llm": ".config/io.datasette.llm/extra-openai-models.yaml",
}
PRESENT = {
    "openclaw": """// my assistant
{
    models: {
        mode: 'replace', // on purpose
        providers: { mine: { baseUrl: 'http://10.0.0.2/v1', models: [] } },
    },
    agents: { defaults: { model: "mine/small", workspace: '~/w' } },
}
""",
    "claude-code": '{\n\t"permissions": {"allow": ["Bash"]},\n\t"env": {"FOO": "1"}\n}\n',
    "codex": """# mine
model = "gpt-5.5"
model_provider = "azure" # the old one

[model_providers.azure]
base_url = "https://example.org/v1"

[tui]
theme = "dark"
""",
    "opencode": '{\n  // theme\n  "theme": "system",\n  "model": "x/y"\n}\n',
    "aider": "## aider\nmodel: openai/mine   # stays\ndark-mode: true\nopenai-api-base: http://old/v1 # was here\n",
    "llm": "- model_id: other\n  model_name: other\n  api_base: http://10.0.0.2/v1\n",
}
INVALID = {
    "openclaw": "{models: ",
    "claude-code": "[1]",
    "codex": "model = ",
    "opencode": '{"a": 1,, }',
    "aider": "{model: x}",
    "llm": "[{model_id: x}]",
}


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    names = ("CLAUDE_CONFIG_DIR", "CODEX_HOME", "OPENCLAW_CONFIG_PATH", "OPENCLAW_STATE_DIR", "OPENCODE_CONFIG")
    for name in (*names, "XDG_CONFIG_HOME", "LLM_USER_PATH"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("LLM_USER_PATH", str(tmp_path / ".config/io.datasette.llm"))
    return tmp_path


@pytest.fixture
def run(home: Path) -> Run:
    def run(*args: str, fails: bool = False) -> Result:
        result = CliRunner().invoke(command, args)
        if fails:
            assert isinstance(result.exception, ConfigError | SystemExit), result.output
        elif result.exception:
            raise result.exception
        return result

    return run


def place(home: Path, client: str, text: str) -> Path:
    path = home / FILES[client]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return path


def read(client: str, path: Path) -> Any:
    if client == "codex":
        return tomllib.loads(path.read_text())
    if path.suffix in (".yml", ".yaml"):
        yaml = pytest.importorskip("yaml")
        return yaml.safe_load(path.read_text())
    return json5.load(path.read_text()).value


@pytest.mark.parametrize("client", CLIENTS)
def test_it_prints_the_address_and_writes_nothing(client: str, run: Run, home: Path) -> None:
    before = sorted(home.rglob("*"))
    output = run(client, "--url", "http://127.0.0.1:9999/").output
    assert "http://127.0.0.1:9999" in output
    assert sorted(home.rglob("*")) == before


@pytest.mark.parametrize("client", CLIENTS)
def test_json_is_one_object_with_the_same_facts(client: str, run: Run) -> None:
    facts = json.loads(run(client, "--json", "--key", "pw-1").output)
    assert facts["client"] == client
    assert "127.0.0.1:8787" in facts["settings"] + json.dumps(facts["env"])
    assert facts["notes"]


def test_what_each_client_needs_is_there(run: Run, home: Path) -> None:
    for client in FILES:
        run(client, "--write", "--key", "pw-1")
    claude = read("claude-code", home / FILES["claude-code"])
    assert claude["env"] == {
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8787",
        "ENABLE_TOOL_SEARCH": "true",
        "ANTHROPIC_AUTH_TOKEN": "pw-1",
    }
    openclaw = read("openclaw", home / FILES["openclaw"])
    chat, messages = openclaw["models"]["providers"].values()
    assert openclaw["models"]["mode"] == "merge"
    assert (chat["baseUrl"], chat["api"], chat["apiKey"]) == (
        "http://127.0.0.1:8787/v1",
        "openai-completions",
        "pw-1",
    )
    assert (messages["baseUrl"], messages["api"]) == ("http://127.0.0.1:8787", "anthropic-messages")
    assert chat["models"][0]["compat"] == {"supportsPromptCacheKey": True}
    assert messages["models"][0]["cost"] == {"input": 3.0, "output": 15.0, "cacheRead": 0.3, "cacheWrite": 3.75}
    codex = read("codex", home / FILES["codex"])
    assert codex["model_provider"] == "pennyweight"
    assert codex["model_providers"]["pennyweight"]["base_url"] == "http://127.0.0.1:8787/v1"
    assert codex["model_providers"]["pennyweight"]["wire_api"] == "responses"
    assert "pw-1" not in (home / FILES["codex"]).read_text()  # Codex takes keys from the environment only
    opencode = read("opencode", home / FILES["opencode"])
    assert opencode["provider"]["pennyweight-anthropic"]["options"]["baseURL"] == "http://127.0.0.1:8787/v1"
    assert read("aider", home / FILES["aider"])["openai-api-base"] == "http://127.0.0.1:8787/v1"
    llm = read("llm", home / FILES["llm"])
    assert llm[0]["api_base"] == "http://127.0.0.1:8787/v1"
    assert llm[0]["supports_tools"] is True


@pytest.mark.parametrize("client", FILES)
def test_write_keeps_every_line_that_it_need_not_change(client: str, run: Run, home: Path) -> None:
    path = place(home, client, PRESENT[client])
    path.chmod(0o640)
    run(client, "--write")
    after = path.read_text()
    moved = {line.strip().rstrip(",").split(" #")[0] for line in after.splitlines()}
    changed = {"codex": ['model_provider = "azure"'], "aider": ["openai-api-base: http://old/v1"]}.get(client, [])
    for line in PRESENT[client].splitlines():
        key = line.strip().rstrip(",").split(" #")[0]
        if key not in changed and "providers: {" not in line and '"env"' not in line:
            assert key in moved, line
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    for comment in ("// my assistant", "// on purpose", "# the old one", "# stays", "# was here", "// theme"):
        assert (comment in after) == (comment in PRESENT[client])


def test_write_keeps_the_users_own_choices(run: Run, home: Path) -> None:
    for client in FILES:
        run(client, "--write", "--path", str(place(home, client, PRESENT[client])))
    openclaw = read("openclaw", home / FILES["openclaw"])
    assert openclaw["models"]["mode"] == "replace"
    assert openclaw["agents"]["defaults"] == {"model": "mine/small", "workspace": "~/w"}
    assert openclaw["models"]["providers"]["mine"]["baseUrl"] == "http://10.0.0.2/v1"
    assert read("opencode", home / FILES["opencode"])["model"] == "x/y"
    assert read("aider", home / FILES["aider"])["model"] == "openai/mine"
    assert read("claude-code", home / FILES["claude-code"])["env"]["FOO"] == "1"
    codex = read("codex", home / FILES["codex"])
    assert codex["model_provider"] == "pennyweight"
    assert codex["tui"] == {"theme": "dark"}
    assert read("llm", home / FILES["llm"])[0]["model_id"] == "other"


@pytest.mark.parametrize("client", FILES)
@pytest.mark.parametrize("present", [True, False])
def test_a_second_write_changes_nothing_and_a_new_address_only_the_address(
    client: str, present: bool, run: Run, home: Path
) -> None:
    path = home / FILES[client]
    if present:
        place(home, client, PRESENT[client])
    run(client, "--write")
    once = path.read_text()
    files = sorted(path.parent.iterdir())
    assert "nothing was changed" in run(client, "--write").output
    assert path.read_text() == once
    assert sorted(path.parent.iterdir()) == files
    run(client, "--write", "--url", "http://127.0.0.1:9999")
    assert path.read_text() == once.replace("127.0.0.1:8787", "127.0.0.1:9999")


@pytest.mark.parametrize("client", FILES)
def test_a_placeholder_never_goes_over_a_key(client: str, run: Run, home: Path) -> None:
    run(client, "--write", "--key", "pw-secret")
    once = (home / FILES[client]).read_text()
    run(client, "--write")
    assert (home / FILES[client]).read_text() == once


@pytest.mark.parametrize("client", FILES)
def test_undo_restores_the_bytes(client: str, run: Run, home: Path) -> None:
    path = place(home, client, PRESENT[client])
    run(client, "--write")
    run(client, "--write", "--url", "http://127.0.0.1:9999")
    run(client, "--undo")
    assert "8787" in path.read_text()
    output = run(client, "--undo").output
    assert path.read_text() == PRESENT[client]
    assert "is kept in" in output
    assert isinstance(run(client, "--undo", fails=True).exception, ConfigError)


@pytest.mark.parametrize("client", FILES)
def test_undo_removes_a_file_that_was_not_there(client: str, run: Run, home: Path) -> None:
    run(client, "--write")
    assert stat.S_IMODE((home / FILES[client]).stat().st_mode) == 0o600
    assert "did not exist" in run(client, "--undo").output
    assert not (home / FILES[client]).exists()


@pytest.mark.parametrize("client", FILES)
def test_a_file_that_cannot_be_edited_is_left_alone(client: str, run: Run, home: Path) -> None:
    path = place(home, client, INVALID[client])
    error = run(client, "--write", fails=True).exception
    assert isinstance(error, ConfigError)
    assert "by hand" in str(error)
    assert "8787" in str(error)
    assert path.read_text() == INVALID[client]
    assert list(path.parent.glob("*pennyweight*")) == []


def test_a_symbolic_link_stays_one(run: Run, home: Path) -> None:
    target = place(home, "codex", PRESENT["codex"])
    real = home / "dotfiles.toml"
    target.rename(real)
    target.symlink_to(real)
    run("codex", "--write")
    assert target.is_symlink()
    assert "pennyweight" in real.read_text()
    run("codex", "--undo")
    assert real.read_text() == PRESENT["codex"]


def test_keys_do_not_show_in_the_diff(run: Run, home: Path) -> None:
    place(home, "claude-code", '{"env": {"ANTHROPIC_AUTH_TOKEN": "sk-old-secret"}}')
    output = run("claude-code", "--write", "--key", "pw-new-secret", "--json").output
    diff = json.loads(output)["diff"]
    assert "ANTHROPIC_BASE_URL" in diff
    assert "sk-old-secret" not in diff
    assert "pw-new-secret" not in diff


@pytest.mark.parametrize(
    ("name", "client", "below"),
    [
        ("CLAUDE_CONFIG_DIR", "claude-code", "settings.json"),
        ("CODEX_HOME", "codex", "config.toml"),
        ("OPENCLAW_STATE_DIR", "openclaw", "openclaw.json"),
        ("XDG_CONFIG_HOME", "opencode", "opencode/opencode.json"),
        ("LLM_USER_PATH", "llm", "extra-openai-models.yaml"),
    ],
)
def test_a_clients_own_folder_variable_is_respected(
    name: str, client: str, below: str, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, str(home / "elsewhere"))
    run(client, "--write")
    assert (home / "elsewhere" / below).exists()


@pytest.mark.parametrize("url", ["127.0.0.1:8787", "ftp://x", "http://u:p@h", "http://h/?a=1", 'http://h/"'])
def test_an_address_that_is_none_is_refused(url: str, run: Run) -> None:
    assert isinstance(run("codex", "--url", url, fails=True).exception, ConfigError)


def test_an_address_with_v1_is_the_same_gateway(run: Run) -> None:
    assert run("codex", "--url", "http://127.0.0.1:8787/v1/").output == run("codex").output


def test_a_key_that_could_break_out_of_a_file_is_refused_without_showing_it(run: Run) -> None:
    error = run("aider", "--key", "x\nevil: true", fails=True).exception
    assert isinstance(error, ConfigError)
    assert "evil" not in str(error)


@pytest.fixture
def open_umask() -> Iterator[None]:
    """What is made may be read and written by everybody, unless the code says otherwise."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.mark.usefixtures("open_umask")
@pytest.mark.parametrize("client", FILES)
def test_no_copy_of_a_key_may_be_read_by_others_in_any_moment(
    client: str, run: Run, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "copystat", lambda *_args, **_options: None)  # so it stands while it is being copied
    run(client, "--write", "--key", "sk-secret-1")
    path = home / FILES[client]
    assert path.parent == home or stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    run(client, "--write", "--key", "sk-secret-2", "--url", "http://127.0.0.1:9999")
    run(client, "--undo")
    made = [file for file in path.parent.iterdir() if file.is_file()]
    assert len(made) >= 3, "the file, a backup of none, and what the undoing kept"
    assert {file.name: stat.S_IMODE(file.stat().st_mode) for file in made} == {file.name: 0o600 for file in made}


def test_an_sdk_has_no_file_to_write(run: Run) -> None:
    assert isinstance(run("openai-sdk", "--write", fails=True).exception, ConfigError)


def test_a_read_only_folder_is_a_clear_error(run: Run, home: Path) -> None:
    if os.geteuid() == 0:
        place(home, "codex", "")
        (home / ".claude").write_text("a file where a folder is expected")
    else:
        (home / ".claude").mkdir(mode=0o500)
    error = run("claude-code", "--write", fails=True).exception
    assert isinstance(error, ConfigError)
    assert ".claude" in str(error)
