"""Ollama, llama-swap and a llama-server that routes, over real HTTP, as their documentation draws them.

All load a model with the first call for it and answer every call with the same word. `size_bytes` is what a loaded
model takes. `running` counts the calls that are answered now; `release` lets those go that were asked to wait.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

from pennyweight.testing.http import Exchange, LoopbackServer

__all__ = ["OllamaServer", "RouterServer", "SwapServer"]


class _Models:
    def __init__(self, sizes: dict[str, int]) -> None:
        self.sizes = sizes
        self.loaded: list[str] = []
        self.asked: list[str] = []  # paths, in the order they came
        self.unloaded: list[str] = []
        self.bodies: list[dict[str, Any]] = []  # of calls
        self.running = 0
        self.most_bytes = 0  # that were loaded at once
        self.hold = False
        self.load_s = 0.0
        self.unload_s = 0.0  # from the answer until the memory is free
        self.stubborn = False  # it says yes and keeps the model
        self.work_s: Callable[[], float] = lambda: 0.0  # that an answer takes
        self.cut_off: list[str] = []  # models that went while they answered
        self._go = asyncio.Event()

    def release(self) -> None:
        self.hold = False
        self._go.set()

    def drop(self, model: str) -> None:
        if self.stubborn:
            return
        if self.unload_s and model in self.loaded:
            asyncio.get_running_loop().call_later(self.unload_s, self._drop, model)
        else:
            self._drop(model)

    def _drop(self, model: str) -> None:
        if model in self.loaded:
            self.loaded.remove(model)
            self.unloaded.append(model)

    async def work(self, model: str) -> None:
        """Load it, and answer when it is time."""
        if model not in self.loaded:
            await asyncio.sleep(self.load_s)
            if model not in self.loaded:  # another call may have loaded it meanwhile
                self.loaded.append(model)
        self.most_bytes = max(self.most_bytes, sum(self.sizes[name] for name in self.loaded))
        self.running += 1
        try:
            if self.hold:
                await self._go.wait()
            await asyncio.sleep(self.work_s())
            if model not in self.loaded:
                self.cut_off.append(model)
        finally:
            self.running -= 1


async def _json(exchange: Exchange, value: Any, status: int = 200) -> None:
    await exchange.send(status, json.dumps(value).encode(), headers={"content-type": "application/json"})


class OllamaServer(_Models):
    """docs.ollama.com/api: tags, ps, chat, generate with `keep_alive: 0`."""

    def server(self) -> LoopbackServer:
        return LoopbackServer(self._answer)

    async def _answer(self, exchange: Exchange) -> None:
        self.asked.append(exchange.path)
        body = json.loads(exchange.body) if exchange.body else {}
        match exchange.path:
            case "/api/tags":
                listed = [{"name": n, "model": n, "size": s // 2, "details": {}} for n, s in self.sizes.items()]
                await _json(exchange, {"models": listed})
            case "/api/ps":
                await _json(exchange, {"models": [self._row(name) for name in self.loaded]})
            case "/api/generate" if body.get("keep_alive") == 0 and "prompt" not in body:
                self.drop(body["model"])
                await _json(exchange, {"model": body["model"], "response": "", "done": True, "done_reason": "unload"})
            case "/api/chat" if body.get("model") in self.sizes:
                self.bodies.append(body)
                fresh = body["model"] not in self.loaded
                await self.work(body["model"])
                await _json(exchange, _chat(body["model"], fresh))
            case "/api/chat":
                await _json(exchange, {"error": f"model '{body.get('model')}' not found"}, 404)
            case _:
                await exchange.send(404, b"404 page not found")

    def _row(self, name: str) -> dict[str, Any]:
        size = self.sizes[name]
        return {
            "name": name,
            "model": name,
            "size": size,
            "digest": "a2af6cc3eb7fa8be",
            "details": {"format": "gguf", "family": "qwen3", "quantization_level": "Q4_K_M"},
            "expires_at": "2026-11-21T23:59:00.93355Z",
            "size_vram": size * 3 // 4,
            "context_length": 4096,
        }


def _chat(model: str, fresh: bool) -> dict[str, Any]:
    return {
        "model": model,
        "created_at": "2026-11-21T23:59:00Z",
        "message": {"role": "assistant", "content": "word"},
        "done": True,
        "done_reason": "stop",
        "total_duration": 3_000_000_000,
        "load_duration": 2_500_000_000 if fresh else 20_000_000,
        "prompt_eval_count": 10,
        "prompt_eval_duration": 100_000_000,
        "eval_count": 40,
        "eval_duration": 500_000_000,
    }


class SwapServer(_Models):
    """llama-swap: /running, /api/models/unload/{model}; `old` knows only /unload, which stops all.

    proxies: where each model's own server is, if anywhere.
    """

    def __init__(self, sizes: dict[str, int], *, old: bool = False, proxies: dict[str, str] | None = None) -> None:
        super().__init__(sizes)
        self.old = old
        self.proxies = proxies or {}
        self.commands: dict[str, str] = {}

    def server(self) -> LoopbackServer:
        return LoopbackServer(self._answer)

    async def _answer(self, exchange: Exchange) -> None:
        self.asked.append(exchange.path)
        body = json.loads(exchange.body) if exchange.body else {}
        one = exchange.path.removeprefix("/api/models/unload/")
        if exchange.path == "/running":
            await _json(exchange, {"running": [self._row(name) for name in self.loaded]})
        elif exchange.path == "/v1/models":
            await _json(exchange, {"object": "list", "data": [{"id": n, "object": "model"} for n in self.sizes]})
        elif one != exchange.path and not self.old and exchange.method == "POST":
            self.drop(one)
            await exchange.send(200, b"OK")
        elif exchange.path == "/unload":
            for name in list(self.loaded):
                self.drop(name)
            await exchange.send(200, b"OK")
        elif exchange.path == "/v1/chat/completions":
            self.bodies.append(body)
            await self.work(body["model"])
            choice = {"index": 0, "message": {"role": "assistant", "content": "word"}, "finish_reason": "stop"}
            usage = {"prompt_tokens": 10, "completion_tokens": 1, "total_tokens": 11}
            answer = {"id": "1", "object": "chat.completion", "model": body["model"], "choices": [choice]}
            await _json(exchange, {**answer, "usage": usage, "timings": {"predicted_per_second": 80.0}})
        else:
            await exchange.send(404, b"404 page not found")

    def _row(self, name: str) -> dict[str, Any]:
        command = self.commands.get(name, f"llama-server --port 9999 -m /models/{name}.gguf")
        proxy = self.proxies.get(name, "http://models.example:9999")
        return {
            "model": name,
            "state": "ready",
            "cmd": command,
            "proxy": proxy,
            "ttl": 0,
            "name": "",
            "description": "",
        }


class RouterServer(_Models):
    """llama-server without a model of its own (`--models-dir`): /models with a status for each, /models/unload."""

    def server(self) -> LoopbackServer:
        return LoopbackServer(self._answer)

    async def _answer(self, exchange: Exchange) -> None:
        self.asked.append(exchange.path)
        body = json.loads(exchange.body) if exchange.body else {}
        match exchange.path:
            case "/health":
                await _json(exchange, {"status": "ok"})
            case "/models":
                await _json(exchange, {"object": "list", "data": [self._row(name) for name in self.sizes]})
            case "/models/unload":
                self.drop(body["model"])
                await _json(exchange, {"success": True})
            case "/v1/chat/completions":
                await self.work(body["model"])
                choice = {"index": 0, "message": {"role": "assistant", "content": "word"}, "finish_reason": "stop"}
                await _json(
                    exchange, {"id": "1", "object": "chat.completion", "model": body["model"], "choices": [choice]}
                )
            case _:
                await _json(exchange, {"error": {"code": 404, "message": "File Not Found"}}, 404)

    def _row(self, name: str) -> dict[str, Any]:
        loaded = name in self.loaded
        row = {"id": name, "object": "model", "status": {"value": "loaded" if loaded else "unloaded", "args": []}}
        return {**row, "meta": {"size": self.sizes[name], "n_ctx": 4096}} if loaded else row
