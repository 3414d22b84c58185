"""Line edits of TOML and YAML: what they change, what they keep, what they refuse."""

from __future__ import annotations

import tomllib

import pytest

from pennyweight.cli.connect.lines import merge_toml, merge_yaml_item, merge_yaml_keys


def toml(text: str) -> str:
    return merge_toml(text, {"model_provider": "pw"}, "model_providers.pw", {"base_url": "http://h/v1"})


@pytest.mark.parametrize(
    "text",
    [
        "",
        'model = "x"',
        'notify = [\n  "a",\n]\n[tui]\nx = 1\n',
        "[model_providers.pw] # here\nbase_url = 'old' # was\nextra = 1\n\n[other]\nbase_url = 'kept'\n",
        "# only a comment\r\n\r\n[a.b]\r\nc = 1\r\n",
        '[model_providers]\nother = { base_url = "x" }\n',
        '"model_provider" = "quoted"\n',
        '[a]\ntext = """\nmodel_provider = "inside a string"\n"""\n',
    ],
)
def test_toml_says_what_was_meant_and_is_stable(text: str) -> None:
    before, after = tomllib.loads(text), tomllib.loads(toml(text))
    assert after["model_provider"] == "pw"
    assert after["model_providers"]["pw"]["base_url"] == "http://h/v1"
    for key in before.keys() - {"model_provider", "model_providers"}:
        assert after[key] == before[key]
    assert toml(toml(text)) == toml(text)


def test_toml_keeps_comments_and_line_ends() -> None:
    after = toml("model_provider = 'old' # why\r\n[t] # note\r\nk = 1\r\n")
    assert after.startswith('model_provider = "pw" # why\r\n[t] # note\r\nk = 1\r\n')
    assert after.count("\n") == after.count("\r\n")


@pytest.mark.parametrize(
    "text",
    [
        "model_providers = { x = { base_url = 'y' } }\n",  # a table cannot be added to an inline one
        "model_providers.pw.base_url = 'old'\n",
        'text = """\nmodel_provider = "inside"\n"""\n',
        "not toml",
    ],
)
def test_toml_that_it_cannot_edit_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        toml(text)


def test_yaml_keys_are_replaced_where_they_stand() -> None:
    text = "# a\nfoo: 1\nbase: old  # c\nnested:\n  base: inner\n\n"
    after = merge_yaml_keys(text, {"base": "new", "more": "x"}, {"foo": "2", "bar": "3"})
    assert after == "# a\nfoo: 1\nbase: new  # c\nnested:\n  base: inner\nmore: x\nbar: 3\n\n"


@pytest.mark.parametrize("text", ["{a: 1}", "- a\n", "a: 1\n---\nb: 2\n---\n", "%YAML 1.2\n"])
def test_yaml_in_another_layout_is_refused(text: str) -> None:
    with pytest.raises(ValueError):
        merge_yaml_keys(text, {"base": "new"}, {})


@pytest.mark.parametrize("indent", ["", "  "])
def test_a_yaml_item_is_replaced_in_place_or_appended(indent: str) -> None:
    item = {"model_id": "b", "url": "new"}
    text = f"{indent}- model_id: a\n{indent}  url: old\n"
    appended = merge_yaml_item(text, "model_id", item)
    assert appended == text + f"{indent}- model_id: b\n{indent}  url: new\n"
    assert merge_yaml_item(appended, "model_id", item) == appended
    changed = merge_yaml_item(appended, "model_id", {"model_id": "a", "url": "x", "extra": "1"})
    assert changed == f"{indent}- model_id: a\n{indent}  url: x\n{indent}  extra: 1\n" + appended[len(text) :]


def test_a_yaml_mapping_takes_no_item() -> None:
    with pytest.raises(ValueError, match="mapping"):
        merge_yaml_item("a: 1\n", "model_id", {"model_id": "b"})
