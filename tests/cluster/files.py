"""The ready files and what several tests read of them."""

from __future__ import annotations

import re
import shlex
import tomllib
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[2]
CLUSTER = ROOT / "cluster"


def documents(name: str) -> dict[str, Any]:
    """The documents of a YAML file by their kind."""
    return {doc["kind"]: doc for doc in yaml.safe_load_all((CLUSTER / name).read_text())}


def ray_job(name: str) -> dict[str, Any]:
    """The spec of the RayJob in a file, by whatever it is made."""
    docs = documents(name)
    spec = docs["RayJob"]["spec"] if "RayJob" in docs else docs["RayCronJob"]["spec"]["jobTemplate"]
    return dict(spec)


def pod_templates(spec: dict[str, Any]) -> dict[str, Any]:
    """The pod templates of a RayJob's cluster by the name of their group."""
    cluster = spec["rayClusterSpec"]
    workers = {group["groupName"]: group["template"] for group in cluster["workerGroupSpecs"]}
    return {"head": cluster["headGroupSpec"]["template"], **workers}


def targets() -> set[str]:
    """The images that the Dockerfile makes."""
    told = re.findall(r"^FROM \S+ AS (\w+)$", (CLUSTER / "Dockerfile").read_text(), re.M)
    return set(told) - {"base"}


def pinned(package: str) -> str:
    (version,) = re.findall(
        rf"^{package}==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE
    )
    return version


def tick_of(command: str | list[str]) -> list[str]:
    """The arguments of `dfd tick` in a command line."""
    words = shlex.split(command) if isinstance(command, str) else command
    return words[words.index("tick") :]


def tick_file(name: str) -> str:
    """What the ConfigMap in a file holds for the tick, with real names for the placeholders."""
    text = documents(name)["ConfigMap"]["data"]["tick.toml"]
    tomllib.loads(text)
    return str(text).replace("ARCHIVE", "archive").replace("VERDICTS", "verdicts")
