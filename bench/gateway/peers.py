"""The gateways that we are held against: how each is installed outside the repository, and how it is started.

Every one listens on loopback only, has its telemetry off and one upstream, and is else on its defaults; TensorZero runs
without a database (its observability off), because it has none to write to here.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import NamedTuple

from ..process import free_port, gateway, started, wait_until_up
from ..result import progress
from .bodies import MODEL
from .tools import CACHE

__all__ = ["PEERS", "Running", "caching_litellm", "install", "start"]

TENSORZERO, LITELLM, PORTKEY, HONO = "2026.6.0", "1.106.2", "1.15.2", "1.3.3"

NGINX = """daemon off; worker_processes 1; pid {folder}/pid; error_log {folder}/error.log;
events {{ worker_connections 1024; }}
http {{
  access_log off; client_body_temp_path {folder}/body; proxy_temp_path {folder}/proxy; fastcgi_temp_path {folder}/f;
  uwsgi_temp_path {folder}/u; scgi_temp_path {folder}/s; client_body_buffer_size 1m; keepalive_requests 1000000;
  upstream provider {{ server 127.0.0.1:{upstream}; keepalive 64; keepalive_requests 1000000; }}
  server {{ listen 127.0.0.1:{port};
    location / {{ proxy_pass http://provider; proxy_http_version 1.1; proxy_set_header Connection "";
                  proxy_buffering off; }} }}
}}
"""

TENSORZERO_TOML = """[gateway]
disable_pseudonymous_usage_analytics = true
observability.enabled = false
[models."{model}"]
routing = ["upstream"]
[models."{model}".providers.upstream]
type = "openai"
model_name = "{model}"
api_base = "http://127.0.0.1:{upstream}/v1/"
api_key_location = "env::OPENAI_API_KEY"
"""

TENSORZERO_HOST = """import sys, time, tensorzero
gateway = tensorzero._start_http_gateway(
    config_file=sys.argv[1], clickhouse_url=None, postgres_url=None, valkey_url=None, async_setup=False)
open(sys.argv[2], "w").write(gateway.base_url)
while True:
    time.sleep(3600)
"""

LITELLM_YAML = """model_list:
  - model_name: {model}
    litellm_params: {{model: openai/{model}, api_base: "http://127.0.0.1:{upstream}/v1", api_key: sk-bench}}
litellm_settings: {{telemetry: false{settings}}}
"""

# Without drop_params it refuses a temperature for the bench's model.
_LITELLM_CACHE = ", cache: true, cache_params: {type: local, ttl: 3600}, drop_params: true"

# Portkey's server listens on all interfaces and has no option for it.
LOOPBACK_JS = """const net = require("node:net"); const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (port, ...rest) {
  if (typeof port === "object" && port) return listen.call(this, { ...port, host: "127.0.0.1" }, ...rest);
  return listen.call(this, port, "127.0.0.1", ...rest.filter((one) => typeof one === "function"));
};
"""


class Running(NamedTuple):
    port: int
    pid: int | None  # None: its CPU is not asked for
    path: str = "/v1/chat/completions"
    model: str = MODEL
    headers: Mapping[str, str] = {}


@contextmanager
def start(name: str, upstream: int, folder: Path) -> Iterator[Running]:
    """Raises RuntimeError when it is not installed or does not come up."""
    folder.mkdir(parents=True, exist_ok=True)
    with PEERS[name](upstream, folder) as running:
        yield running


@contextmanager
def _direct(upstream: int, folder: Path) -> Iterator[Running]:
    yield Running(upstream, None)


@contextmanager
def _nginx(upstream: int, folder: Path) -> Iterator[Running]:
    binary = shutil.which("nginx", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
    if binary is None:
        raise RuntimeError("nginx is not installed: apt-get install nginx-light")
    port = free_port()
    config = folder / "nginx.conf"
    config.write_text(NGINX.format(folder=folder, port=port, upstream=upstream))
    with started([binary, "-c", str(config), "-e", str(folder / "error.log")]) as process:
        wait_until_up(port, "/", process=process)
        yield Running(port, process.pid)


@contextmanager
def _pennyweight(upstream: int, folder: Path) -> Iterator[Running]:
    with gateway({"OPENAI": f"http://127.0.0.1:{upstream}/v1"}, data=folder / "data") as ours:
        yield Running(ours.port, ours.pid)


@contextmanager
def _tensorzero(upstream: int, folder: Path) -> Iterator[Running]:
    python = _installed("tensorzero", "tensorzero/bin/python")
    config, host, told = folder / "tensorzero.toml", folder / "host.py", folder / "url"
    config.write_text(TENSORZERO_TOML.format(model=MODEL, upstream=upstream))
    host.write_text(TENSORZERO_HOST)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "OPENAI_API_KEY": "sk-bench", "RUST_LOG": "error"}
    with started([python, str(host), str(config), str(told)], environment=environment, folder=folder) as process:
        port = _told_port(told, process)
        wait_until_up(port, "/status", process=process)
        yield Running(port, process.pid, "/openai/v1/chat/completions", f"tensorzero::model_name::{MODEL}")


@contextmanager
def _litellm(upstream: int, folder: Path, settings: str = "") -> Iterator[Running]:
    command = _installed("litellm", "litellm/bin/litellm")
    port, config = free_port(), folder / "litellm.yaml"
    config.write_text(LITELLM_YAML.format(model=MODEL, upstream=upstream, settings=settings))
    environment = {
        "PATH": f"{Path(command).parent}:{os.environ['PATH']}",
        "HOME": str(folder),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_TELEMETRY": "False",
        "LITELLM_LOG": "ERROR",
        "LITELLM_MASTER_KEY": "sk-bench-0000000000000000",  # it refuses to start without; the load sends it
    }
    arguments = ["--config", str(config), "--host", "127.0.0.1", "--port", str(port), "--telemetry", "False"]
    with started([command, *arguments], environment=environment, folder=folder) as process:
        wait_until_up(port, "/health/liveliness", process=process, within_s=120)
        yield Running(port, process.pid)


@contextmanager
def caching_litellm(upstream: int, folder: Path) -> Iterator[Running]:
    """LiteLLM with its response cache in memory."""
    folder.mkdir(parents=True, exist_ok=True)
    with _litellm(upstream, folder, _LITELLM_CACHE) as running:
        yield running


@contextmanager
def _portkey(upstream: int, folder: Path) -> Iterator[Running]:
    script = _installed("portkey", "portkey/node_modules/@portkey-ai/gateway/build/start-server.js")
    port, preload = free_port(), folder / "loopback.cjs"
    preload.write_text(LOOPBACK_JS)
    environment = {"PATH": os.environ["PATH"], "HOME": str(folder), "TRUSTED_CUSTOM_HOSTS": "127.0.0.1,localhost"}
    command = [_node(), "--require", str(preload), script, f"--port={port}", "--headless"]
    headers = {"x-portkey-provider": "openai", "x-portkey-custom-host": f"http://127.0.0.1:{upstream}/v1"}
    with started(command, environment=environment, folder=folder) as process:
        wait_until_up(port, "/", process=process)
        yield Running(port, process.pid, headers=headers)


PEERS: Mapping[str, Callable[[int, Path], AbstractContextManager[Running]]] = {
    "direct": _direct,
    "nginx": _nginx,
    "pennyweight": _pennyweight,
    "tensorzero": _tensorzero,
    "portkey": _portkey,
    "litellm": _litellm,
}


def install(folder: Path = CACHE) -> list[str]:
    """Install the peers that come from package registries; gives those that failed. nginx comes from the system."""
    folder.mkdir(parents=True, exist_ok=True)
    package = folder / "portkey" / "package.json"
    package.parent.mkdir(exist_ok=True)
    # A newer server library makes every streamed answer of this version a 500.
    package.write_text(
        f'{{"private": true, "dependencies": {{"@portkey-ai/gateway": "{PORTKEY}"}},'
        f' "overrides": {{"@hono/node-server": "{HONO}"}}}}\n'
    )
    steps: dict[str, list[list[str]]] = {
        "tensorzero": _venv(folder / "tensorzero", f"tensorzero=={TENSORZERO}"),
        "litellm": _venv(folder / "litellm", f"litellm[proxy]=={LITELLM}"),
        "portkey": [["npm", "install", "--prefix", str(package.parent), "--no-audit", "--no-fund", "--ignore-scripts"]],
    }
    failed = []
    for name, commands in steps.items():
        progress(f"installing {name} in {folder / name}")
        try:
            for command in commands:
                subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        except (OSError, subprocess.CalledProcessError) as error:
            progress(f"{name}: {error}")
            failed.append(name)
    return failed


def _venv(folder: Path, requirement: str) -> list[list[str]]:
    return [
        [sys.executable, "-m", "venv", str(folder)],
        [str(folder / "bin" / "pip"), "install", "--quiet", "--disable-pip-version-check", requirement],
    ]


def _installed(name: str, path: str) -> str:
    found = CACHE / path
    if not found.exists():
        raise RuntimeError(f"{name} is not installed: python -m bench.gateway --install")
    return str(found)


def _node() -> str:
    found = shutil.which("node")
    if found is None:
        raise RuntimeError("node is not installed: apt-get install nodejs npm")
    return found


def _told_port(told: Path, process: subprocess.Popen[bytes]) -> int:
    for _ in range(3000):
        if told.exists() and (url := told.read_text()):
            return int(url.rstrip("/").split("/openai")[0].rpartition(":")[2])
        if process.poll() is not None:
            break
        time.sleep(0.01)
    raise RuntimeError("its HTTP gateway did not start")
