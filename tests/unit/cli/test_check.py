"""`pennyweight check`: every problem with its line, what the configuration comes to, and an exit code."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from click.testing import CliRunner, Result

from pennyweight.cli.check import command
from pennyweight.stores.virtual_keys import KeyStore

KEY = "sk-test-0123456789abcdef"


def run(tmp_path: Path, text: str, *arguments: str, **env: str) -> Result:
    path = tmp_path / "pennyweight.toml"
    path.write_text(text)
    names = ("OPENAI", "ANTHROPIC", "OPENROUTER", "MOONSHOT", "DEEPSEEK", "GROQ")
    clean = {f"{name}_{kind}": "" for name in names for kind in ("API_KEY", "BASE_URL")}
    return CliRunner().invoke(
        command, ["--config", str(path), "--data", str(tmp_path / "data"), *arguments], env={**clean, **env}
    )


def told(result: Result) -> dict[str, Any]:
    body = json.loads(result.stdout)
    assert isinstance(body, dict)
    return body


def test_a_sound_configuration(tmp_path: Path) -> None:
    result = run(tmp_path, '[[routes]]\nmodel = "fast"\nprovider = "openai"\n', OPENAI_API_KEY=KEY)
    assert result.exit_code == 0, result.output
    assert "All is well." in result.output
    assert "http://127.0.0.1:8787 (this machine only)" in result.output
    assert "sk-…cdef" in result.output
    assert KEY not in result.output


def test_mistakes_are_quoted_and_fail_the_check(tmp_path: Path) -> None:
    result = run(tmp_path, "[server]\nprot = 1\n")
    assert result.exit_code == 1
    assert "pennyweight.toml:2: server.prot is no setting. Did you mean 'port'?\n    prot = 1" in result.output
    body = told(run(tmp_path, "[server]\nprot = 1\n", "--json"))
    assert body["ok"] is False
    assert body["problems"][0]["where"].endswith("pennyweight.toml:2")


def test_an_open_address_needs_a_key(tmp_path: Path) -> None:
    text = '[server]\nhost = "0.0.0.0"\n'
    assert run(tmp_path, text).exit_code == 1
    assert "Refusing to listen on '0.0.0.0'" in run(tmp_path, text).output
    KeyStore(tmp_path / "data").add("team")
    assert run(tmp_path, text, OPENAI_API_KEY=KEY).exit_code == 0


def test_optimizers_and_prices_must_be_real(tmp_path: Path) -> None:
    text = '[[optimizers]]\nuse = "exact_cahce"\n[[prices]]\nmodel = "m"\ninput = 1\n'
    result = run(tmp_path, text)
    assert result.exit_code == 1
    assert "'exact_cahce' is not installed" in result.output
    assert "[[prices]] entry 1" in result.output


def test_a_price_for_nobody_is_a_warning(tmp_path: Path) -> None:
    text = '[[prices]]\nprovider = "opnai"\nmodel = "m"\ninput = 1\noutput = 2\n'
    result = run(tmp_path, text, OPENAI_API_KEY=KEY)
    assert result.exit_code == 0
    assert "entry 1 is for provider 'opnai', which is not there" in result.output


def test_no_provider_is_a_warning(tmp_path: Path) -> None:
    body = told(run(tmp_path, "", "--json"))
    assert body["ok"] is True
    assert body["problems"][0]["severity"] == "warning"
    assert {provider["name"] for provider in body["providers"]} >= {"openai", "anthropic", "ollama"}


def test_a_missing_embedding_model_is_told_where_it_is_wanted(tmp_path: Path) -> None:
    def said(text: str) -> str:
        return run(tmp_path, text, OPENAI_API_KEY=KEY).output

    assert "stays off" not in said("")
    wanted = said('[embeddings]\nkind = "minilm-fp32"\n')
    assert "The semantic cache stays off: There is no model in" in wanted
    assert "pennyweight models pull" in wanted
    assert "stays off" not in said('[embeddings]\nkind = "openai"\nmodel = "m"\ndimensions = 3\n')
    elsewhere = said('[embeddings]\nkind = "openai"\nprovider = "nobody"\nmodel = "m"\ndimensions = 3\n')
    assert "embeddings.provider 'nobody' is not there" in elsewhere
    assert 'kind "openai" needs `model` and `dimensions`' in said('[embeddings]\nkind = "openai"\n')
