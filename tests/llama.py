"""A real llama-server for tests: llama.cpp from the wheel `xllamacpp`, with the tiny models of `data/models`.

Ask for a fixture (they are in `conftest.py`; each server starts when the first test asks and is killed at the end):

    def test_it(llama_server: Llama) -> None:
        ... llama_server.url, "/v1/chat/completions", {"model": llama_server.model, ...}

- `llama_server`: the 11 M target as "tiny-target", two slots of 4,096 tokens.
- `llama_draft_server`: the 0.9 M model with the same tokens as "tiny-draft": a cheaper, weaker second model.
- `llama_embedding_server`: the draft again with embeddings switched on, as "tiny-embedding": vectors of 128
  numbers. It completes text too.

What they speak: `/v1/chat/completions` (streams, `logprobs` with `top_logprobs`, `tools`, `response_format` with
`json_object` and `json_schema`, `grammar`), `/v1/messages`, `/v1/responses`, `/v1/embeddings`, `/v1/models`,
`/completion`, `/tokenize`, `/health`, `/slots`, `/props`, `/metrics`. `temperature: 0` gives the same answer every time
(with `cache_prompt: false`, to the bit).

To mind: the models know nothing, so ask for shape and never for sense, and give `max_tokens`. A schema lets the model
write white space or a string until its budget is gone, so give it enums. An invalid schema is not refused but ignored.
`finish_reason` is "length" more often than not. `tool_choice: required` still lets it talk first: speak as the
customers of the airline and the shop on which it was trained (`integration/test_llama.py` has one that works). Each
server has one thread, as others need the cores: about a thousand tokens a second for the target; set no deadlines.
`own(...)` starts another server for a test that kills or pauses it.

The server runs in a process of its own, which ends when ours does, however we end: it reads its standard input to the
end.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

__all__ = ["MODELS", "Llama", "own"]

MODELS = Path(__file__).parent / "data" / "models"
_START_S = 120.0  # a loaded machine takes its time
_CHILD = """
import sys
import xllamacpp
path, alias, port, slots, context, embedding, threads, key = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path = path
params.model_alias = {alias}
params.hostnames = ["127.0.0.1"]
params.port = int(port)
params.n_parallel = int(slots)
params.n_ctx = int(slots) * int(context)
params.kv_unified = False
params.embedding = embedding == "1"
if params.embedding:
    params.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
params.cpuparams.n_threads = params.cpuparams_batch.n_threads = int(threads)
params.endpoint_slots = params.endpoint_props = params.endpoint_metrics = True
params.cache_ram_mib = 64
params.fit_params = False
params.ui = False
if key:
    params.api_keys = [key]
server = xllamacpp.Server(params)
print(server.listening_address, file=sys.stderr, flush=True)
sys.stdin.read()
"""


class Llama:
    """One llama-server. `url` has no path; it stays the same when it is killed and started again."""

    def __init__(self, weights: Path, model: str, *, slots: int, context: int, embedding: bool, key: str) -> None:
        self.weights = weights
        self.model = model
        self.slots = slots
        self.key = key
        self._options = [str(slots), str(context), "1" if embedding else "0", "1", key]
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = int(free.getsockname()[1])
        self.url = f"http://127.0.0.1:{self.port}"
        self._process: subprocess.Popen[bytes] | None = None
        self._log = tempfile.NamedTemporaryFile(prefix="pw-llama-", suffix=".log")  # noqa: SIM115 - closed in close()

    @property
    def pid(self) -> int:
        if self._process is None:
            raise RuntimeError(f"{self.model} is not running.")
        return self._process.pid

    def start(self) -> None:
        """Returns when it has its model and answers."""
        if self._process is not None:
            raise RuntimeError(f"{self.model} is running.")
        self._process = subprocess.Popen(
            [sys.executable, "-c", _CHILD, str(self.weights), self.model, str(self.port), *self._options],
            stdin=subprocess.PIPE,
            stdout=self._log,
            stderr=self._log,
            env={"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "OMP_WAIT_POLICY": "passive"},
        )
        end = time.monotonic() + _START_S
        while not self.healthy():
            if self._process.poll() is not None or time.monotonic() > end:
                self.kill()
                said = Path(self._log.name).read_text(errors="replace")[-2000:]
                raise RuntimeError(f"llama-server does not start with {self.weights.name}: {said}")
            time.sleep(0.02)

    def healthy(self) -> bool:
        """Whether it answers, and its model is loaded."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=5)
        try:
            connection.request("GET", "/health")
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        process, self._process = self._process, None
        if process is not None:
            process.kill()
            process.communicate()

    def pause(self) -> None:
        """SIGSTOP: connections are taken and nothing answers."""
        os.kill(self.pid, signal.SIGSTOP)

    def resume(self) -> None:
        os.kill(self.pid, signal.SIGCONT)

    def close(self) -> None:
        self.kill()
        with contextlib.suppress(FileNotFoundError):
            self._log.close()


def own(
    weights: str = "tiny-draft-f16.gguf",
    *,
    model: str = "tiny-draft",
    slots: int = 2,
    context: int = 4096,
    embedding: bool = False,
    key: str = "",
) -> Iterator[Llama]:
    """A server of one's own, started; it is killed when the iterator ends (`yield from` it in a fixture).

    context: tokens a slot holds. key: that callers must bring as a bearer token; "": none.
    """
    server = Llama(MODELS / weights, model, slots=slots, context=context, embedding=embedding, key=key)
    try:
        server.start()
        yield server
    finally:
        server.close()
