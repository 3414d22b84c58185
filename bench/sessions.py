"""Sessions made up by a seed: clients with and without cache markers, gaps from seconds to hours, results of any size.

The texts are common words, so that a token is about a word. A session is a list of recorded calls as
`pennyweight.replay` reads them, with absolute times and scripted answers.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import msgspec

from pennyweight.capture.format import Recorded
from pennyweight.request import Wire
from pennyweight.testing.shapes import ToolCall, Turn, body_of

__all__ = ["CLIENTS", "GAPS", "Plan", "calls_of", "plans"]

START = 1_800_000_000.0  # unix seconds
LONGEST_TOKENS = 150_000  # a session ends before its prompt is longer

_TEXT = """
time year people way day man thing woman life child world school state family student group country problem hand
part place case week company system program question work government number night point home water room mother area
money story fact month lot right study book eye job word business issue side kind head house service friend father
power hour game line end member law car city community name president team minute idea body information back parent
face others level office door health person art war history party result change morning reason research girl guy
moment air teacher force education foot boy age policy music market sense nation plan college interest death
experience effect use class control field development role effort rate heart drug show leader light voice wife
police mind price report decision son view relationship town road arm difference value building action season
society tax director position player record paper space ground form event official matter center couple site project
activity star table need court oil situation cost industry figure street image phone data picture practice piece
land product doctor wall patient worker news test movie north love support technology step baby computer type
attention film tree source organization hair look window culture chance brother energy period course summer plant
opportunity term letter condition choice rule daughter south husband floor campaign material population call economy
hospital church risk fire future bank claim
"""
WORDS = _TEXT.split()


class Plan(msgspec.Struct, frozen=True):
    """What one session is like. Sizes in tokens, about."""

    name: str
    client: str
    gaps: str
    calls: int
    seed: int
    start: float  # unix seconds
    head: int  # system prompt
    tools: int  # how many
    result: tuple[int, int]  # a tool's result, least and most
    loop: int  # calls to tools in a user's turn, at most
    agent: str = ""


class Client(msgspec.Struct, frozen=True):
    """How a client writes its requests. `marks`: "", "moving" (tools, system, end), "1h" (the same), "automatic"."""

    wire: Wire
    marks: str = ""
    transient: bool = False  # ends with a message that the next request lacks
    changing: str = ""  # "tools": one comes in the middle; "date": the system prompt ends with the day; "clock": a time


CLIENTS: dict[str, Client] = {
    "messages_unmarked": Client(Wire.ANTHROPIC_MESSAGES),
    "messages_marked": Client(Wire.ANTHROPIC_MESSAGES, marks="moving"),
    "messages_1h": Client(Wire.ANTHROPIC_MESSAGES, marks="1h"),
    "messages_automatic": Client(Wire.ANTHROPIC_MESSAGES, marks="automatic"),
    "messages_unmarked_transient": Client(Wire.ANTHROPIC_MESSAGES, transient=True),
    "messages_marked_transient": Client(Wire.ANTHROPIC_MESSAGES, marks="moving", transient=True),
    "messages_unmarked_tools": Client(Wire.ANTHROPIC_MESSAGES, changing="tools"),
    "messages_marked_tools": Client(Wire.ANTHROPIC_MESSAGES, marks="moving", changing="tools"),
    "messages_unmarked_date": Client(Wire.ANTHROPIC_MESSAGES, changing="date"),
    "messages_unmarked_clock": Client(Wire.ANTHROPIC_MESSAGES, changing="clock"),
    "chat": Client(Wire.OPENAI_CHAT),
    "chat_transient": Client(Wire.OPENAI_CHAT, transient=True),
    "chat_tools": Client(Wire.OPENAI_CHAT, changing="tools"),
    "chat_clock": Client(Wire.OPENAI_CHAT, changing="clock"),
    "responses": Client(Wire.OPENAI_RESPONSES),
}

Gap = Callable[[random.Random, bool], float]
"""Seconds to the next call; told whether it belongs to the same user's turn."""


def _steady(seconds: float) -> Gap:
    return lambda _rng, _inside: seconds


def _jittered(seconds: float, sigma: float = 0.8) -> Gap:
    return lambda rng, _inside: seconds * rng.lognormvariate(0.0, sigma)


def _bursts(idle_s: float, sigma: float) -> Gap:
    """Tool loops of seconds; between a user's turns a pause of any length."""
    return lambda rng, inside: rng.uniform(2, 15) if inside else 20 + idle_s * rng.lognormvariate(0.0, sigma)


GAPS: dict[str, Gap] = {
    "seconds": lambda rng, _inside: rng.uniform(2, 12),
    "steady_60s": _steady(60),
    "steady_299s": _steady(299),
    "steady_301s": _steady(301),
    "steady_20min": _steady(1_200),
    "steady_59min": _steady(3_540),
    "steady_61min": _steady(3_660),
    "steady_3h": _steady(10_800),
    "jittered_100s": _jittered(100),
    "jittered_5min": _jittered(300),
    "jittered_1h": _jittered(3_600),
    "bursts_2min": _bursts(120, 0.8),
    "bursts_10min": _bursts(600, 1.0),
    "bursts_2h": _bursts(7_200, 1.0),
}


def plans(count: int, seed: int, *, calls: tuple[int, int] = (5, 60)) -> list[Plan]:
    """That many different plans; every client and every kind of gap comes up as often as any other."""
    rng = random.Random(f"plans {seed} {calls}")
    clients, gaps = _dealt(CLIENTS, rng), _dealt(GAPS, rng)
    found = []
    for number in range(count):
        client = next(clients)
        low = int(100 * 100 ** rng.random() / 2)  # 50 to 5,000
        found.append(
            Plan(
                name=f"{client}-{number}",
                client=client,
                gaps=next(gaps),
                calls=int(calls[0] * (calls[1] / calls[0]) ** rng.random()) if calls[1] > calls[0] else calls[0],
                seed=rng.getrandbits(32),
                start=START + rng.uniform(0, 3 * 3_600),
                head=int(100 * 150 ** rng.random()),  # 100 to 15,000
                tools=rng.choice((0, 2, 12, 30)),
                result=(low, low * 2),
                loop=rng.choice((1, 3, 10)),
                agent=f"agent-{client}" if rng.random() < 0.5 else "",
            )
        )
    return found


def _dealt(names: dict[str, Any], rng: random.Random) -> Iterator[str]:
    while True:
        deck = list(names)
        rng.shuffle(deck)
        yield from deck


def calls_of(plan: Plan) -> list[Recorded]:
    """The session's calls in order."""
    rng = random.Random(plan.seed)
    client = CLIENTS[plan.client]
    say = _speaker(rng)
    system, tools = say(plan.head), [_tool(number, say) for number in range(plan.tools)]
    gap = GAPS[plan.gaps]
    history: list[_Item] = [_Item("user", say(rng.randint(20, 400)))]
    tokens, at, left = plan.head + 150 * plan.tools, plan.start, rng.randint(1, plan.loop) if tools else 0
    found: list[Recorded] = []
    for number in range(plan.calls):
        offered = [*tools, _tool(99, _speaker(random.Random(plan.seed)))]
        offered = offered if client.changing == "tools" and number >= plan.calls // 2 else tools
        body = _body(client, history, _system(client, system, at), offered, say)
        asks = left > 0
        text = say(rng.randint(20, 150))
        tool = ToolCall(f"toolu_{plan.seed:x}_{number}", "tool_0", '{"path":"notes.txt"}') if asks else None
        answer = body_of(client.wire, Turn(text, (tool,) if tool else ()), model=body["model"], number=number)
        headers = {"x-pennyweight-agent": plan.agent} if plan.agent else {}
        found.append(Recorded(session=plan.name, wire=client.wire, body=body, at=at, headers=headers, answer=answer))
        history.append(_Item("assistant", text, tool.id if tool else ""))
        size = rng.randint(*plan.result)
        if asks and tool:
            history.append(_Item("result", say(size), tool.id))
            left -= 1
        else:
            size = rng.randint(20, 400)
            history.append(_Item("user", say(size)))
            left = rng.randint(1, plan.loop) if tools else 0
        tokens += size + 150
        if tokens > LONGEST_TOKENS:
            break
        at += gap(rng, asks)
    return found


class _Item(msgspec.Struct, frozen=True):
    kind: str  # user, assistant, result
    text: str
    tool: str = ""


def _speaker(rng: random.Random) -> Callable[[int], str]:
    return lambda tokens: " ".join(rng.choices(WORDS, k=max(tokens, 1)))


def _tool(number: int, say: Callable[[int], str]) -> dict[str, Any]:
    properties = {name: {"type": "string", "description": say(12)} for name in ("path", "query")}
    return {
        "name": f"tool_{number}",
        "description": say(80),
        "schema": {"type": "object", "properties": properties, "required": ["path"]},
    }


def _system(client: Client, system: str, at: float) -> str:
    match client.changing:
        case "date":
            return f"{system}\nToday is day {int(at // 86_400)}."
        case "clock":
            return f"{system}\nThe time is {int(at // 60)} minutes."
        case _:
            return system


def _body(
    client: Client, history: Sequence[_Item], system: str, tools: Sequence[dict[str, Any]], say: Callable[[int], str]
) -> dict[str, Any]:
    last = [_Item("user", f"Context that is gone next time: {say(60)}")] if client.transient else []
    match client.wire:
        case Wire.ANTHROPIC_MESSAGES:
            return _messages(client, history, last, system, tools)
        case Wire.OPENAI_RESPONSES:
            given = [_response_item(item) for item in (*history, *last)]
            offered = [
                {"type": "function", "name": t["name"], "description": t["description"], "parameters": t["schema"]}
                for t in tools
            ]
            flat = [part for parts in given for part in parts]
            return {"model": "gpt-5.5", "instructions": system, "input": flat, "tools": offered, "stream": True}
        case _:
            messages = [{"role": "system", "content": system}, *map(_chat_message, (*history, *last))]
            body: dict[str, Any] = {"model": "gpt-5.5", "messages": messages, "stream": True}
            if tools:
                body["tools"] = [
                    {
                        "type": "function",
                        "function": {
                            "name": t["name"],
                            "description": t["description"],
                            "parameters": t["schema"],
                        },
                    }
                    for t in tools
                ]
            return body


def _messages(
    client: Client, history: Sequence[_Item], last: Sequence[_Item], system: str, tools: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    body: dict[str, Any] = {"model": "claude-sonnet-4-6", "max_tokens": 8_192, "stream": True}
    offered = [{"name": t["name"], "description": t["description"], "input_schema": t["schema"]} for t in tools]
    messages = [_message(item) for item in history]
    body["system"] = system
    if client.marks in ("moving", "1h"):
        mark = {"type": "ephemeral"} if client.marks == "moving" else {"type": "ephemeral", "ttl": "1h"}
        if offered:
            offered[-1] = {**offered[-1], "cache_control": mark}
        body["system"] = [{"type": "text", "text": system, "cache_control": mark}]
        end = messages[-1]
        content = end["content"]
        blocks = [{"type": "text", "text": content}] if isinstance(content, str) else list(content)
        blocks[-1] = {**blocks[-1], "cache_control": mark}
        messages[-1] = {**end, "content": blocks}
    elif client.marks == "automatic":
        body["cache_control"] = {"type": "ephemeral"}
    if offered:
        body["tools"] = offered
    body["messages"] = messages + [_message(item) for item in last]
    return body


def _message(item: _Item) -> dict[str, Any]:
    match item.kind:
        case "user":
            return {"role": "user", "content": item.text}
        case "result":
            block = {"type": "tool_result", "tool_use_id": item.tool, "content": item.text}
            return {"role": "user", "content": [block]}
        case _:
            blocks: list[dict[str, Any]] = [{"type": "text", "text": item.text}]
            if item.tool:
                blocks.append({"type": "tool_use", "id": item.tool, "name": "tool_0", "input": {"path": "notes.txt"}})
            return {"role": "assistant", "content": blocks}


def _chat_message(item: _Item) -> dict[str, Any]:
    match item.kind:
        case "user":
            return {"role": "user", "content": item.text}
        case "result":
            return {"role": "tool", "tool_call_id": item.tool, "content": item.text}
        case _:
            message: dict[str, Any] = {"role": "assistant", "content": item.text}
            if item.tool:
                function = {"name": "tool_0", "arguments": '{"path":"notes.txt"}'}
                message["tool_calls"] = [{"id": item.tool, "type": "function", "function": function}]
            return message


def _response_item(item: _Item) -> list[dict[str, Any]]:
    match item.kind:
        case "user":
            return [{"role": "user", "content": [{"type": "input_text", "text": item.text}]}]
        case "result":
            return [{"type": "function_call_output", "call_id": item.tool, "output": item.text}]
        case _:
            said = {"role": "assistant", "content": [{"type": "output_text", "text": item.text}]}
            if not item.tool:
                return [said]
            call = {"type": "function_call", "call_id": item.tool, "name": "tool_0", "arguments": '{"path":"x"}'}
            return [said, call]
