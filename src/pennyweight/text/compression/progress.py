"""Lines that say how far a program is: what package managers, downloads and bars print. By their own words."""

from __future__ import annotations

import re

__all__ = ["PROGRESS", "TROUBLE"]

_PYTHON = (
    "(?:Collecting|Downloading|Using cached|Requirement already satisfied|Obtaining|Preparing metadata|Building wheel"
    "|Installing build dependencies|Getting requirements to build|Created wheel|Stored in directory|Prepared"
    r"|Attempting uninstall|Found existing installation|Uninstalling|Resolved|Audited)\b",
    r" [+~-] [\w.@/-]{1,100}(?:==|@)\S{1,100}\Z",
)
_SYSTEM = (
    r"(?:Get|Hit|Ign):\d+ \S",
    "Selecting previously unselected package|Preparing to unpack|Unpacking |Setting up |Processing triggers for",
    r"\(Reading database|Reading (?:package lists|state information)|Building dependency tree",
    r"\(\d+/\d+\) (?:Installing|Upgrading|Purging)|fetch https?://",
)
_BUILDS = (
    r"npm (?:http|timing|sill|verb)\b|\[\d/\d\] |Progress: resolved",
    r"(?:Compiling|Checking|Fresh|Downloaded|Updating|Adding|Locking) \S{1,100} v?\d",
    r"go: (?:downloading|extracting|finding) ",
    r"(?:\[INFO\] )?Download(?:ing|ed)? (?:from )?\S{0,40}https?://|Download(?:ing|ed) from ",
)
_IMAGES = (
    "[0-9a-f]{12}: (?:Pulling fs layer|Waiting|Downloading|Download complete|Verifying Checksum|Extracting"
    "|Pull complete|Already exists|Pushed|Preparing|Layer already exists)",
    r"#\d+ (?:sha256:|extracting|transferring|\d+\.\d+ |CACHED|DONE)",
    "(?:remote: )?(?:Counting|Compressing|Enumerating|Receiving|Resolving|Writing|Unpacking|Updating)"
    " (?:objects|deltas|files):",
)
_SHARE = r"\d{1,3}(?:\.\d{1,3})?\s?%"
_BARS = (
    rf"\[?[=#>.█▏▎▍▌▋▊▉░▒▓━╸╺ -]{{8,200}}+\]?\s{{0,8}}(?:{_SHARE}|\d{{1,9}}/\d{{1,9}})",
    r"[█▏▎▍▌▋▊▉░▒▓━╸╺]{4}|[⠁-⣿] \S",
    rf"{_SHARE}[ |\[(:]|\d{{1,9}}K[ .]{{10}}",
    rf"[^%\n]{{0,120}}[ :\[(]{_SHARE}\s?(?:\||\[|█|\(\d|of |complete|done|\d)",
)

PROGRESS = re.compile(rf"\s{{0,16}}(?:{'|'.join((*_PYTHON, *_SYSTEM, *_BUILDS, *_IMAGES, *_BARS))})")
"""To be matched at the beginning of a line."""

TROUBLE = re.compile(
    r"(?<![a-z])(?:err(?:or)?s?|fatal|fail(?:ed|ure)?|warn(?:ing)?|denied|conflict|cannot|can't|unable|not found"
    r"|invalid|missing|deprecated|vulnerabilit(?:y|ies)|abort(?:ed)?|killed|traceback|refused|timed out|unmet|broken"
    r"|retry(?:ing)?)(?![a-z])",
    re.IGNORECASE,
)
"""Words of lines that are no mere progress. To be searched."""
