"""What a scan costs for a price list: a table computed from the figures that were measured."""

from __future__ import annotations

import tomllib
from pathlib import Path

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from dfd_batch.benchmark.lines import Line
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import explain

OBJECT_MB = 25.0
"""Of a one-minute 1080p video at 3 Mbit/s."""


class Prices(BaseModel):
    """Prices in one currency; the defaults are round figures of public clouds, not quotes."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    currency: str = "USD"
    cpu_core_hour: float = Field(default=0.04, ge=0)
    gpu_hour: float = Field(default=1.0, ge=0)
    get_requests_per_1000: float = Field(default=0.0004, ge=0)
    object_mb: float = Field(default=OBJECT_MB, gt=0)
    """Size of a typical object, for the price of a terabyte."""
    gets_per_object: float = Field(default=8.0, ge=0)


def read_prices(path: Path | None) -> Prices:
    """Return the prices of a TOML file, or the defaults.

    Raises:
        UsageError: It cannot be read or names something else.
    """
    if path is None:
        return Prices()
    try:
        return Prices(**tomllib.loads(path.read_text(encoding="utf-8")))
    except (OSError, tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise UsageError(f"--prices {path}: {error}.") from None
    except ValidationError as error:
        raise UsageError(f"--prices {path}: {explain(error)}") from None


def sizes(lines: list[Line], prices: Prices) -> list[dict[str, object]]:
    """Return a row per kind of machine: objects per hour, and the price of objects and bytes.

    Args:
        lines: What was measured; kinds whose figures are missing are left out.
        prices: Of the machines.
    """
    figures = {line.key: line.value for line in lines}
    requests = prices.gets_per_object * prices.get_requests_per_1000
    rows = []
    cpu_s = figures.get("cpu_seconds_per_object")
    if cpu_s:
        rows.append(_row("1 CPU core", 3600 / cpu_s, prices.cpu_core_hour, requests, prices))
    rate, cores = figures.get("gpu_frames_per_second"), figures.get("crop_cores_per_gpu")
    frames = figures.get("frames_per_object")
    if rate and cores and frames:
        hour = prices.gpu_hour + cores * prices.cpu_core_hour
        name = f"1 GPU and {cores:.0f} CPU cores"
        rows.append(_row(name, 3600 * rate / frames, hour, requests, prices))
    return rows


def _row(
    name: str, objects_per_hour: float, price: float, requests: float, prices: Prices
) -> dict[str, object]:
    per_1000 = 1000 * price / objects_per_hour + requests
    per_tb = per_1000 * 1e6 / prices.object_mb / 1000
    return {
        "machine": name,
        "objects_per_hour": round(objects_per_hour),
        "price_per_hour": round(price, 4),
        "price_per_1000_objects": round(per_1000, 4),
        "price_per_tb": round(per_tb, 3),
        "currency": prices.currency,
    }
