"""Files of others are data: whatever they hold, none of it is executed."""

from __future__ import annotations

import ast
import hashlib
import io
import json
import pickle
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ray.data._internal.object_extensions.arrow import ArrowPythonObjectType

from dfd_batch import checkpoint
from dfd_batch.catalog.ledger import read_ledger
from dfd_batch.catalog.listing import listing
from dfd_batch.evaluation import labels
from dfd_batch.outcomes import UsageError
from dfd_batch.reports.read import latest
from dfd_batch.schema import REPORT
from dfd_batch.settings import Select, Storage
from dfd_batch.storage.tables import require_plain
from dfd_batch.training import pools
from tests.e2e.detector import write_detector

ROOT = Path(__file__).parents[2]
STORAGE = Storage()


class Touch:
    """A pickle that leaves a file behind when it is opened."""

    def __init__(self, trace: Path) -> None:
        self._trace = trace

    def __reduce__(self) -> tuple[Callable[[str], object], tuple[str]]:
        return io.FileIO, (str(self._trace), "w")  # type: ignore[return-value]


@pytest.fixture
def trace(tmp_path: Path) -> Iterator[Path]:
    trace = tmp_path / "executed"
    yield trace
    assert not trace.exists()


def pickled(trace: Path) -> pa.Array:
    """A column that Ray's extension type unpickles when its values are asked for."""
    bomb = pa.array([pickle.dumps(Touch(trace))], pa.large_binary())
    return pa.ExtensionArray.from_storage(ArrowPythonObjectType(), bomb)


def test_the_column_would_run_code_if_it_were_looked_at(tmp_path: Path) -> None:
    trace = tmp_path / "executed"
    pq.write_table(pa.table({"uri": pickled(trace)}), tmp_path / "l.parquet")
    table = pq.read_table(tmp_path / "l.parquet")
    assert not trace.exists()
    table.to_pylist()
    assert trace.exists()


READERS: dict[str, Callable[[Path], object]] = {
    "list": lambda path: list(listing(str(path), Select(), STORAGE)),
    "labels": lambda path: labels.read(str(path), STORAGE),
    "inventory": lambda path: list(
        listing(str(path.with_name("manifest.json")), Select(), STORAGE)
    ),
    "pool": lambda path: pools.read(path.parent),
    "ledger": lambda path: read_ledger(str(path.parent), STORAGE),
    "reports": lambda path: latest(str(path.parent), STORAGE).to_pylist(),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("nested", [False, True])
def test_a_table_that_would_run_code_is_refused(
    reader: str, nested: bool, tmp_path: Path, trace: Path
) -> None:
    bomb = pickled(trace)
    if nested:
        bomb = pa.ListArray.from_arrays([0, 1], bomb)
    names = {"uri", "label", "key", "bucket", "media_id", "outcome", "detector_id", "faces"}
    path = tmp_path / "index.parquet"
    pq.write_table(pa.table(dict.fromkeys(sorted(names), bomb)), path)
    told = {"fileFormat": "Parquet", "fileSchema": "e_tag", "files": [{"key": "index.parquet"}]}
    path.with_name("manifest.json").write_text(json.dumps(told))
    with pytest.raises((UsageError, pa.ArrowException, TypeError)) as caught:
        READERS[reader](path)
    if reader not in {"ledger", "reports"}:
        assert isinstance(caught.value, UsageError) and "extension type" in str(caught.value)


def test_a_report_with_a_strange_column_more_is_read_without_it(
    tmp_path: Path, trace: Path
) -> None:
    row = dict.fromkeys(REPORT.names) | {"media_id": "m", "uri": "u", "outcome": "empty"}
    row |= {"detector_id": "d", "run_id": "r"}
    table = pa.Table.from_pylist([row], schema=REPORT).append_column("more", pickled(trace))
    pq.write_table(table, tmp_path / "r.parquet")
    assert [r["uri"] for r in latest(str(tmp_path), STORAGE).to_pylist()] == ["u"]


def test_every_plain_type_passes() -> None:
    require_plain(REPORT, "x")
    require_plain(pa.schema([("a", pa.dictionary(pa.int32(), pa.string()))]), "x")


def test_a_checkpoint_that_is_a_pickle_is_refused(tmp_path: Path, trace: Path) -> None:
    """Even one whose card names its checksum."""
    folder = Path(write_detector(tmp_path / "d"))
    blob = pickle.dumps(Touch(trace))
    (folder / "model.safetensors").write_bytes(blob)
    card = json.loads((folder / "card.json").read_text())
    card["weights_sha256"] = hashlib.sha256(blob).hexdigest()
    (folder / "card.json").write_text(json.dumps(card))
    with pytest.raises(UsageError, match="not a safetensors file"):
        checkpoint.load(str(folder))


@pytest.mark.parametrize(
    ("name", "limit"), [("card.json", "MAX_CARD_BYTES"), ("model.safetensors", "MAX_WEIGHTS_BYTES")]
)
def test_an_oversized_checkpoint_is_refused_before_it_is_read(
    name: str, limit: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = Path(write_detector(tmp_path / "d"))
    with (folder / name).open("r+b") as file:
        file.truncate(getattr(checkpoint, limit) + 1)  # a hole: no disk is filled

    def read(path: Path) -> bytes:
        assert path.name != name, "it was read"
        return whole(path)

    whole = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", read)
    with pytest.raises(UsageError, match=re.escape(name)):
        checkpoint.load(str(folder))


UNPICKLING = {"pickle", "cloudpickle", "dill", "joblib", "marshal", "shelve", "jsonpickle", "yaml"}


@pytest.mark.parametrize(
    "path",
    [*sorted((ROOT / "dfd_batch").rglob("*.py")), *sorted((ROOT / "jobs").glob("*.py"))],
    ids=lambda path: str(path.relative_to(ROOT)),
)
def test_no_module_can_run_what_it_reads(path: Path) -> None:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names] + [getattr(node, "module", None) or ""]
            assert not UNPICKLING & {part for name in names for part in name.split(".")}
        if not isinstance(node, ast.Call):
            continue
        called = ast.unparse(node.func)
        given = {word.arg: ast.unparse(word.value) for word in node.keywords}
        assert called not in {"eval", "exec", "os.system", "os.popen"}, ast.unparse(node)
        assert given.get("shell", "False") == "False", ast.unparse(node)
        assert given.get("allow_pickle", "False") == "False", ast.unparse(node)
        if called == "torch.load":
            assert given.get("weights_only") == "True", ast.unparse(node)
