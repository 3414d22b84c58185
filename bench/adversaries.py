"""Optimizers that mean well and lose money: each breaks the provider's cache in a way that is seen in the field.

All promise a large saving at no risk, as one that only counts removed tokens would. Nothing but the gate stands between
them and the bill.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from pennyweight.call import Call, Outcome, Proposal, Rewrite
from pennyweight.request import DELETE, Edit, Wire

__all__ = ["ADVERSARIES", "Adversary"]

PROMISED = 10**10  # PicoUSD: a cent a call
KEPT_RESULTS = 2  # the newest tool results are left alone
KEPT_MESSAGES = 4
SHORT = 80  # characters

Tamper = Callable[[Mapping[str, Any], Wire, int], list[Edit]]
"""(body, wire, number of messages) to the changes; the number stands for the turn."""


class Adversary:
    """An Optimizer that always changes what `tamper` changes, whatever it costs."""

    def __init__(self, name: str, tamper: Tamper) -> None:
        self.name = name
        self._tamper = tamper

    async def propose(self, call: Call) -> Proposal | None:
        body, wire = call.request.body, call.request.wire
        edits = self._tamper(body, wire, len(_items(body)))
        if not edits:
            return None
        return Proposal(Rewrite(tuple(edits)), saving=PROMISED, why=self.name, level="safe", tokens=1_000)

    async def settle(self, outcome: Outcome) -> None: ...

    def wants_response(self, call: Call) -> bool:
        return False


def _items(body: Mapping[str, Any]) -> Sequence[Mapping[str, Any]]:
    found = body.get("messages", body.get("input"))
    return found if isinstance(found, list) else []


def _place(body: Mapping[str, Any]) -> str:
    return "messages" if "messages" in body else "input"


def _results(body: Mapping[str, Any]) -> Iterator[tuple[tuple[str | int, ...], Any]]:
    """Where each tool result's text stands, and the text."""
    for index, item in enumerate(_items(body)):
        if item.get("role") == "tool":
            yield (_place(body), index, "content"), item.get("content")
        elif item.get("type") == "function_call_output":
            yield (_place(body), index, "output"), item.get("output")
        elif isinstance(item.get("content"), list):
            for part, block in enumerate(item["content"]):
                if isinstance(block, Mapping) and block.get("type") == "tool_result":
                    yield (_place(body), index, "content", part, "content"), block.get("content")


def _drop_results(body: Mapping[str, Any], _wire: Wire, _turn: int) -> list[Edit]:
    """Old tool results are dropped, each turn one more."""
    return [Edit(path, "[dropped]") for path, text in list(_results(body))[:-KEPT_RESULTS] if text != "[dropped]"]


def _compact(body: Mapping[str, Any], _wire: Wire, turn: int) -> list[Edit]:
    """Every ten messages all results but the newest go at once: the right thing at the wrong time."""
    bound = turn // 10 * 10
    return [
        Edit(path, "[compacted]") for path, text in _results(body) if path[1] < bound - KEPT_RESULTS and len(text) > 80
    ]


def _sort_tools(body: Mapping[str, Any], _wire: Wire, turn: int) -> list[Edit]:
    """The tools sorted by relevance to the turn, which is never the same twice."""
    tools = list(body.get("tools") or ())
    if len(tools) < 2:
        return []
    turned = turn % len(tools)
    return [Edit(("tools",), tools[turned:] + tools[:turned])]


def _shorten(body: Mapping[str, Any], _wire: Wire, _turn: int) -> list[Edit]:
    """Old texts are cut; what is old moves on with every turn."""
    edits = []
    for index, item in enumerate(_items(body)[:-KEPT_MESSAGES]):
        content = item.get("content")
        if item.get("role") != "tool" and isinstance(content, str) and len(content) > SHORT:
            edits.append(Edit((_place(body), index, "content"), content[:SHORT] + "…"))
        elif isinstance(content, list):
            edits += [
                Edit((_place(body), index, "content", part, "text"), block["text"][:SHORT] + "…")
                for part, block in enumerate(content)
                if isinstance(block, Mapping) and len(block.get("text") or "") > SHORT
            ]
    return edits


def _toggle_tool(body: Mapping[str, Any], _wire: Wire, turn: int) -> list[Edit]:
    """The last tool is left out on every other turn."""
    tools = body.get("tools") or ()
    return [Edit(("tools", len(tools) - 1), DELETE)] if len(tools) > 1 and turn // 2 % 2 else []


def _mark_last(body: Mapping[str, Any], wire: Wire, _turn: int) -> list[Edit]:
    """A breakpoint on the very end, whatever stands there, where the provider still takes one."""
    messages = _items(body)
    if wire is not Wire.ANTHROPIC_MESSAGES or not messages or _marks(body) >= 4:
        return []
    at, content = len(messages) - 1, messages[-1].get("content")
    if isinstance(content, str):
        return [Edit(("messages", at, "content"), [{"type": "text", "text": content, "cache_control": _MARK}])]
    if not content or "cache_control" in content[-1]:
        return []
    return [Edit(("messages", at, "content", len(content) - 1, "cache_control"), _MARK)]


def _stamp(body: Mapping[str, Any], _wire: Wire, turn: int) -> list[Edit]:
    """A note on the state of things at the head of the prompt."""
    note = f"[{turn} messages so far]"
    for key in ("system", "instructions"):
        given = body.get(key)
        if isinstance(given, str):
            return [Edit((key,), f"{note}\n{given}")]
        if isinstance(given, list) and given:
            return [Edit((key, 0, "text"), f"{note}\n{given[0].get('text', '')}")]
    first = _items(body)[0] if _items(body) else {}
    if isinstance(first.get("content"), str):
        return [Edit((_place(body), 0, "content"), f"{note}\n{first['content']}")]
    return []


def _unmark(body: Mapping[str, Any], wire: Wire, _turn: int) -> list[Edit]:
    """The caller's own breakpoints are taken away."""
    edits = []
    for key in ("tools", "system"):
        for index, block in enumerate(body.get(key) or ()):
            if isinstance(block, Mapping) and "cache_control" in block:
                edits.append(Edit((key, index, "cache_control"), DELETE))
    for index, message in enumerate(_items(body)):
        for part, block in enumerate(message.get("content") or ()):
            if isinstance(block, Mapping) and "cache_control" in block:
                edits.append(Edit(("messages", index, "content", part, "cache_control"), DELETE))
    return edits if wire is Wire.ANTHROPIC_MESSAGES else []


def _marks(body: Mapping[str, Any]) -> int:
    blocks = [*(body.get("tools") or ()), *(body["system"] if isinstance(body.get("system"), list) else ())]
    for message in _items(body):
        if isinstance(message.get("content"), list):
            blocks += message["content"]
    return sum("cache_control" in block for block in blocks) + ("cache_control" in body)


_MARK = {"type": "ephemeral"}

ADVERSARIES: Mapping[str, Tamper] = {
    "drop_results": _drop_results,
    "sort_tools": _sort_tools,
    "shorten": _shorten,
    "toggle_tool": _toggle_tool,
    "mark_last": _mark_last,
    "compact": _compact,
    "stamp": _stamp,
    "unmark": _unmark,
}
