"""The import rule of the layout: one direction, heavy libraries only where they belong."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parent.parent / "dfd_batch"
ORDER = [
    {"outcomes", "schema"},
    {"settings"},
    {"checkpoint", "storage", "inference"},
    {"catalog", "decode", "faces", "features", "judge", "reports"},
    {"runs", "since", "metrics", "meters", "failures", "watch"},
    {"stages", "resources", "batches"},
    {"training"},
    {"pipeline", "verify", "evaluation"},
    {"demo", "site", "schedule", "benchmark", "console", "cli"},
]
LEVEL = {name: i for i, names in enumerate(ORDER) for name in names}
STAGES = ORDER[3]
MAY = {("catalog", "reports")}  # the ledger is the report table
RAY = {"pipeline", "stages", "resources", "training", "meters", "watch", "benchmark"}
TORCH = {"inference", "faces", "features", "judge", "training", "stages", "benchmark"}
# console/info reports versions of both, behind the CLI
VERSIONS = {"console"}


def modules():
    return sorted(PACKAGE.rglob("*.py"))


def place(path: Path) -> str:
    return path.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imported(path: Path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name.split(".")
        elif isinstance(node, ast.ImportFrom) and node.module:
            parts = node.module.split(".")
            if parts == ["dfd_batch"]:
                yield from (["dfd_batch", alias.name] for alias in node.names)
            else:
                yield parts


@pytest.mark.parametrize("path", modules(), ids=lambda p: str(p.relative_to(PACKAGE)))
def test_imports_go_one_way(path):
    here = place(path)
    for parts in imported(path):
        if parts[0] == "dfd_batch" and len(parts) > 1 and parts[1] in LEVEL:
            there = parts[1]
            if here in STAGES and there in STAGES:
                assert here == there or (here, there) in MAY, f"{here} imports {there}"
            elif here in LEVEL:
                assert LEVEL[there] <= LEVEL[here], f"{here} imports {there}"
        if parts[0] == "ray":
            assert here in RAY | VERSIONS, f"{here} imports ray"
        if parts[0] in {"torch", "timm", "torchvision"}:
            assert here in TORCH | VERSIONS, f"{here} imports {parts[0]}"


def test_every_module_has_a_place_in_the_order():
    assert {place(p) for p in modules()} - set(LEVEL) <= {"__init__"}


def test_a_scans_driver_loads_no_network_library():
    seen = (
        "import sys, dfd_batch.pipeline\n"
        "print([n for n in ('torch', 'timm', 'openvino', 'cv2', 'scipy') if n in sys.modules])"
    )
    told = subprocess.run([sys.executable, "-c", seen], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
