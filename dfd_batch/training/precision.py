"""In which numbers a network computes while it learns: bfloat16 where that is faster."""

from __future__ import annotations

from functools import cache
from typing import Literal

import torch

Precision = Literal["auto", "bf16", "fp32"]


def settled(precision: Precision, device_type: str) -> Literal["bf16", "fp32"]:
    """Return what `auto` means on a device: bf16 where it computes in it.

    A processor without bfloat16 emulates it, at a tenth of the speed of float32.
    """
    if precision != "auto":
        return precision
    return "bf16" if device_type != "cpu" or _cpu_has_bf16() else "fp32"


def autocast(device_type: str, precision: Precision = "auto") -> torch.autocast:
    """Return the context in which networks compute in that precision."""
    enabled = settled(precision, device_type) == "bf16"
    return torch.autocast(device_type, torch.bfloat16, enabled=enabled)


@cache
def _cpu_has_bf16() -> bool:
    found = torch.cpu.get_capabilities()
    return any(bool(found.get(name)) for name in ("avx512_bf16", "amx_bf16", "bf16"))
