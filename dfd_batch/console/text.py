"""Human words to numbers and back: sizes, ages, times, and names that are safe to print."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from dfd_batch.outcomes import UsageError

_BYTES: dict[str, int] = {"": 1, "b": 1} | {
    unit: base**power
    for power, letter in enumerate("kmgt", start=1)
    for unit, base in ((letter, 1000), (letter + "b", 1000), (letter + "ib", 1024))
}
_DAYS = {"": 1.0, "d": 1.0, "h": 1 / 24, "w": 7.0, "m": 1 / 1440}
_NUMBER_UNIT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")

VERDICT_STYLE = {
    "manipulated": "bold red",
    "suspicious": "yellow",
    "inconclusive": "cyan",
    "authentic": "green",
}


def parse_size(value: str, flag: str) -> int:
    """Return bytes of a size such as `500`, `10MB` or `1.5GiB`.

    Raises:
        UsageError: It is not a size.
    """
    number, unit = _split(value)
    if number is None or unit not in _BYTES:
        raise UsageError(
            f"{flag} {value!r} is not a size: give bytes, or a number with kB, MB, GB or GiB."
        )
    return round(number * _BYTES[unit])


def parse_age_days(value: str, flag: str) -> float:
    """Return days of an age such as `7`, `7d`, `12h` or `2w`.

    Raises:
        UsageError: It is not an age.
    """
    number, unit = _split(value)
    if number is None or unit not in _DAYS:
        raise UsageError(
            f"{flag} {value!r} is not an age: give days or a number with m (minutes), h, d or w."
        )
    return number * _DAYS[unit]


def _split(value: str) -> tuple[float | None, str]:
    match = _NUMBER_UNIT.fullmatch(value)
    return (float(match[1]), match[2].lower()) if match else (None, "")


def size(n_bytes: float) -> str:
    """Return a size of three digits, e.g. `1.2 MB`."""
    for unit in ("B", "kB", "MB", "GB", "TB"):
        if abs(n_bytes) < 1000 or unit == "TB":
            break
        n_bytes /= 1000
    return f"{n_bytes:.0f} {unit}" if unit == "B" or n_bytes >= 100 else f"{n_bytes:.1f} {unit}"


def duration(seconds: float) -> str:
    """Return a time span, e.g. `4.2 s`, `3 min 20 s` or `2 h 05 min`."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest_s = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest_s:02d} s"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def counts(numbers: Mapping[str, int]) -> str:
    """Return counts as words, the largest first, e.g. `9 scored, 3 unreadable`."""
    ordered = sorted(numbers.items(), key=lambda item: (-item[1], item[0]))
    return ", ".join(f"{n:,} {name}" for name, n in ordered) or "none"


def printable(name: str) -> str:
    """Return a name whose control characters are escaped: file names must not steer a terminal."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def below(uri: str, prefix: str) -> str:
    """Return what follows the prefix's folder in a URI; the whole URI where it lies elsewhere."""
    folder = prefix.rstrip("/") + "/"
    return printable(uri.removeprefix(folder) if uri.startswith(folder) else uri)


def to_json(document: Any) -> str:
    """Return a JSON document; times in ISO 8601."""
    return json.dumps(
        document, indent=1, ensure_ascii=False, default=lambda value: value.isoformat()
    )
