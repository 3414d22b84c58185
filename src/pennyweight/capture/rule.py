"""Which sessions are recorded: a small file in the data folder that the command line writes and the gateway reads.

Off by default. The gateway looks whether the file has changed, so nothing needs a restart.
"""

from __future__ import annotations

import os
from fnmatch import fnmatchcase
from pathlib import Path

import msgspec

from ..call import Identity
from ..errors import ConfigError

__all__ = ["FILE", "Rule", "read_rule", "write_rule"]

FILE = "capture.json"


class Rule(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """`sessions` and `agents` are names or patterns with `*`; a call that fits one of them is recorded.

    out: folder of the captures; "" is `captures` in the data folder. since: unix seconds.
    """

    sessions: tuple[str, ...] = ()
    agents: tuple[str, ...] = ()
    redact: bool = False
    out: str = ""
    since: float = 0.0

    @property
    def on(self) -> bool:
        return bool(self.sessions or self.agents)

    def covers(self, identity: Identity) -> bool:
        return any(fnmatchcase(identity.session, pattern) for pattern in self.sessions) or any(
            fnmatchcase(identity.agent, pattern) for pattern in self.agents
        )

    def folder(self, data_dir: Path) -> Path:
        return Path(self.out) if self.out else data_dir / "captures"


def read_rule(data_dir: Path) -> Rule | None:
    """The rule that was set; None when none was. Raises ConfigError for a file that is no rule."""
    path = data_dir / FILE
    try:
        return msgspec.json.decode(path.read_bytes(), type=Rule)
    except FileNotFoundError:
        return None
    except (OSError, msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ConfigError(f"{error}. Run: pennyweight capture off", where=str(path)) from None


def write_rule(data_dir: Path, rule: Rule | None) -> None:
    """Sets the rule; None takes it away. A reader sees the old one or the new one, never half of it."""
    path = data_dir / FILE
    if rule is None:
        path.unlink(missing_ok=True)
        return
    data_dir.mkdir(parents=True, exist_ok=True, mode=0o700)
    temporary = path.with_suffix(".tmp")
    descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(msgspec.json.encode(rule))
    temporary.replace(path)
