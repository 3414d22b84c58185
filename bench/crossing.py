"""Crosses every pair of protocols with the same requests and tells what was lost, field by field, from the trails."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from pennyweight.request import Wire

from .faithful_cases import PATHS, Case, same_answer
from .process import gateway
from .rawhttp import Caller, Upstream

__all__ = ["cross"]

_PROVIDER = """[providers.only_{wire}]
base_url = "{base}"
wires = ["{wire}"]
api_key = "sk-bench"
"""


async def cross(provider: Upstream, cases: Sequence[Case]) -> dict[str, Any]:
    """`{"anthropic_messages > openai_chat": {"requests", "answered", "lost": {field: times}, "failed": {how: times}}}`.

    Answered: status 200 and a body, or a stream with a clean end, in the caller's protocol.
    """
    base = f"http://127.0.0.1:{provider.port}"
    toml = "".join(_PROVIDER.format(wire=wire.value, base=f"{base}/v1") for wire in PATHS)
    told: dict[str, Any] = {}
    with gateway({}, toml=toml, optimize="off") as ours:
        caller = Caller(ours.port)
        for source in PATHS:
            for target in PATHS:
                if source is not target:
                    sent = [case for case in cases if case.wire is source and case.recorded]
                    told[f"{source.value} > {target.value}"] = await _pair(provider, caller, sent, target)
        caller.close()
    return told


async def _pair(provider: Upstream, caller: Caller, cases: Sequence[Case], target: Wire) -> dict[str, Any]:
    lost: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    answered = 0
    for case in cases:
        value = json.loads(case.body)
        value["model"] = f"only_{target.value}/{value['model']}"
        body = json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode()
        provider.next = same_answer(case, target)
        path = urlsplit(case.target).path
        came = await caller.send("POST", path, (*case.headers, ("authorization", "Bearer sk-bench")), body)
        provider.take()
        if came.status == 200 and came.clean and came.body:
            answered += 1
        else:
            failed[f"{came.status} {came.body[:120].decode(errors='replace')}"] += 1
        lost.update(await _lost(caller, dict(came.headers)))
    return {"requests": len(cases), "answered": answered, "lost": dict(lost), "failed": dict(failed)}


async def _lost(caller: Caller, headers: Mapping[str, str]) -> set[str]:
    call = headers.get("x-pennyweight-call")
    if call is None:
        return set()
    told = await caller.send("GET", f"/pennyweight/calls/{call}", (), b"")
    if told.status != 200:
        return set()
    return {step.get("why", "") for step in json.loads(told.body).get("trail", ()) if step.get("verdict") == "lost"}
