from __future__ import annotations

import json
import re

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dfd_batch.evaluation import labels
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Storage
from dfd_batch.training import sources, splits
from tests.training.sources.trees import TREES


def read(source, **more):
    return labels.read(str(source), Storage(), **more)


def test_paths_are_below_the_list_or_a_folder_above_it(tmp_path):
    data, folder = tmp_path / "data", tmp_path / "data" / "sets"
    folder.mkdir(parents=True)
    (folder / "beside.jpg").touch()
    (data / "above.jpg").touch()
    for name, where in (("beside.jpg", folder), ("above.jpg", data), ("nowhere.jpg", folder)):
        (folder / "l.csv").write_text(f"file,label,group\nlost.jpg,1,h\n{name},1,g\n")
        lost, sample = read(folder / "l.csv").samples
        assert lost.uri == str(where / "lost.jpg")
        assert (sample.uri, sample.label, sample.group) == (str(where / name), 1, "g")


@pytest.mark.parametrize("suffix", ["csv", "jsonl", "parquet"])
def test_lists_of_all_kinds_say_the_same(tmp_path, suffix):
    records = [
        {"uri": "/a.mp4", "label": "fake", "method": "m", "split": "dev", "segments": "[[1, 2.5]]"},
        {"uri": "s3://b/c.mp4", "label": "real", "method": "", "split": "test", "segments": ""},
    ]
    path = tmp_path / f"l.{suffix}"
    if suffix == "parquet":
        pq.write_table(pa.Table.from_pylist(records), path)
    elif suffix == "jsonl":
        path.write_text("".join(f"{r}\n".replace("'", '"') for r in records))
    else:
        quoted = [",".join(f'"{v}"' for v in r.values()) for r in records]
        path.write_text("\n".join([",".join(records[0]), *quoted]))
    fake, real = read(path).samples
    assert (fake.uri, fake.label, fake.method, fake.segments) == ("/a.mp4", 1, "m", ((1, 2.5),))
    assert (real.uri, real.label, real.group, real.segments) == ("s3://b/c.mp4", 0, real.uri, ())
    assert [s.uri for s in read(path, split="dev").samples] == ["/a.mp4"]
    assert fake.attributes == {}
    assert read(path, by=("method",)).samples[0].attributes == {"method": "m"}


def test_nought_and_false_are_values_and_what_lacks_is_none(tmp_path):
    records = [
        {"uri": "/a.mp4", "label": 1, "group": 0, "method": 0, "quality": 0, "clean": False},
        {"uri": "/b.mp4", "label": 0, "group": 0, "clean": None, "late": "x"},
    ]
    path = tmp_path / "l.jsonl"
    path.write_text("\n".join(map(json.dumps, records)))
    fake, real = read(path, by=("quality", "clean", "late")).samples
    assert (fake.group, fake.method, real.group) == ("0", "0", "0")
    assert fake.attributes == {"quality": "0", "clean": "False", "late": ""}
    assert real.attributes == {"quality": "", "clean": "", "late": "x"}


def test_a_line_of_jsonl_ends_nowhere_but_at_its_end(tmp_path):
    names = ["/a\u2028b.mp4", "/a\u0085b.mp4", "/a b.mp4"]
    told = [json.dumps({"uri": name, "label": 0}, ensure_ascii=False) for name in names]
    (tmp_path / "l.jsonl").write_bytes("\r\n".join([*told, ""]).encode())
    assert [s.uri for s in read(tmp_path / "l.jsonl").samples] == names


@pytest.mark.parametrize(
    ("name", "text", "by", "said"),
    [
        ("l.jsonl", '{"uri": "/a", "label": 0}\n{"label": 1}\n', (), "record 2: it names no file"),
        ("l.jsonl", '{"uri": "/a", "label": 0}\n{"uri": "/b"}\n', (), "record 2: label '' is none"),
        ("l.csv", "uri,label\n/a,0,more\n", ("tone",), "no column 'tone'; it has uri, label."),
    ],
)
def test_a_record_that_lacks_something_is_told_by_its_number(tmp_path, name, text, by, said):
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=re.escape(said)):
        read(tmp_path / name, by=by)


def test_a_folder_is_read_by_its_layout(tmp_path):
    for name in ("real/a.jpg", "fake/b.jpg"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    test = read(tmp_path)
    assert test.name == tmp_path.name
    with pytest.raises(UsageError, match=r"no column 'camera'; it has none\.$"):
        read(tmp_path, by=["camera"])
    assert {s.uri: s.label for s in test.samples} == {
        str(tmp_path / "real/a.jpg"): 0,
        str(tmp_path / "fake/b.jpg"): 1,
    }


def test_a_test_set_has_its_name_wherever_one_stands(tmp_path, monkeypatch):
    for name in ("mine/real/a.jpg", "mine/fake/b.jpg"):
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).touch()
    monkeypatch.chdir(tmp_path / "mine" / "real")
    assert read("..").name == read("../.").name == read(f"file://{tmp_path}/mine/").name == "mine"


def test_splits_of_a_folder_are_those_of_its_preparation(tmp_path):
    for name in (f"{kind}/{i}.jpg" for kind in ("real", "fake") for i in range(40)):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    prepared, _ = splits.assign(sources.read(str(tmp_path)).samples)
    for split in ("train", "val"):
        ours = {s.uri for s in read(tmp_path, split=split).samples}
        assert ours == {s.uri for s in prepared if s.split == split}
        assert 0 < len(ours) < 80
    everything = read(tmp_path)
    assert len(everything.samples) == 80
    assert everything.splits == {k: len(read(tmp_path, split=k).samples) for k in ("train", "val")}
    assert "--split val judges" in everything.flattered
    assert read(tmp_path, split="val").flattered is None
    with pytest.raises(UsageError, match=r"split 'test'; its splits: train, val\."):
        read(tmp_path, split="test")


def test_splits_that_may_flatter_are_named_with_their_counts(tmp_path):
    def note(*names):
        lines = [f"/{i}.mp4,{i % 2},{name}" for i, name in enumerate(names)]
        (tmp_path / "l.csv").write_text("\n".join(["file,label,split", *lines]))
        return read(tmp_path / "l.csv").flattered

    assert note("", "") is note("test", "test", "") is note("dev") is None
    told = note("test", "train", "odd", "val", "train", "")
    assert told.startswith("l holds media of the splits train (2), val (1), test (1), odd (1), its")
    assert "trained on flatter it; --split test judges" in told
    assert note("train").endswith("media that a detector was trained on flatter it.")
    assert "splits val (1), test (1)" in note("test", "val")


def test_face_crops_are_not_taken_for_media(tmp_path):
    TREES["wilddeepfake"](tmp_path)
    with pytest.raises(UsageError, match=r"`dfd prepare` them .* --faces\.$"):
        read(tmp_path)
