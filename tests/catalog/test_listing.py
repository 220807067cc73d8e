from __future__ import annotations

import gzip
import json
import os
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from dfd_batch import storage as store
from dfd_batch.catalog.listing import listing
from dfd_batch.catalog.objects import MediaObject
from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Select, Storage

FAST = Storage(max_retries=1, read_timeout_s=5)


def listed(source: str | Path, out: str | None = None, **select: object) -> list[MediaObject]:
    return list(listing(str(source), Select(**select), FAST, out))  # type: ignore[arg-type]


def names(source: Path, out: str | None = None, **select: object) -> list[str]:
    found = listed(source, out, **select)
    return [str(store.local_path(item.uri).relative_to(source)) for item in found]


def keys(found: list[MediaObject]) -> list[str]:
    return [store.split_s3(item.uri)[1] for item in found]


def fill(folder: Path, *files: str) -> Path:
    for name in files:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    return folder


def put(bucket: str, *objects: str, body: bytes = b"x") -> None:
    client = boto3.client("s3")
    for key in objects:
        client.put_object(Bucket=bucket.removeprefix("s3://"), Key=key, Body=body)


# local folders


def test_a_folder_lists_every_file_in_order_whatever_its_extension(tmp_path: Path) -> None:
    fill(tmp_path, "b.mp4", "a/c.txt", "a/noext", "z.jpg", "a.mov")
    assert names(tmp_path) == ["a.mov", "b.mp4", "z.jpg", "a/c.txt", "a/noext"]


def test_names_of_tools_and_empty_folders_are_left_out(tmp_path: Path) -> None:
    fill(tmp_path, "a.mp4", ".DS_Store", "._a.mp4", ".git/x.mp4", "_SUCCESS", "_temporary/0/x")
    (tmp_path / "empty").mkdir()
    assert names(tmp_path) == ["a.mp4"]


def test_strange_file_names_survive(tmp_path: Path) -> None:
    for raw in (b"new\nline.mp4", b"quo\"te'.mp4", b"\xff\xfe.mp4", "ünï%20 .mp4".encode()):
        (tmp_path / os.fsdecode(raw)).write_bytes(raw)
    for found in listed(tmp_path):
        found.uri.encode()
        path = store.local_path(found.uri)
        assert path.read_bytes() == os.fsencode(path.name)
    assert len(listed(tmp_path)) == 4


def test_links_end_in_no_loop_and_list_no_file_twice(tmp_path: Path) -> None:
    root = fill(tmp_path / "root", "b/x.mp4")
    outside = fill(tmp_path / "outside", "y.mp4")
    (root / "a").symlink_to(root / "b")
    (root / "b" / "up").symlink_to(root)
    (root / "out").symlink_to(outside)
    (outside / "back").symlink_to(root)
    (root / "file.mp4").symlink_to(outside / "y.mp4")
    (root / "self").symlink_to(root / "self")
    assert names(root) == ["file.mp4", "self", "b/x.mp4", "out/y.mp4"]


def test_a_broken_link_is_an_object_without_size_and_a_pipe_is_none(tmp_path: Path) -> None:
    (tmp_path / "gone.mp4").symlink_to(tmp_path / "nothing")
    os.mkfifo(tmp_path / "pipe.mp4")
    (found,) = listed(tmp_path)
    assert found.uri.endswith("gone.mp4")
    assert found.size_bytes is None


def test_the_output_folder_is_never_scanned(tmp_path: Path) -> None:
    fill(tmp_path, "a.mp4", "out/reports/r.parquet", "out/picture.png", "reports/b.mp4")
    assert names(tmp_path, out=str(tmp_path / "out")) == ["a.mp4", "reports/b.mp4"]


def test_a_source_in_its_own_output_folder_loses_only_what_scans_write(tmp_path: Path) -> None:
    fill(tmp_path, "a.mp4", "reports/r.parquet", "runs/1/run.json", "b/c.mp4")
    assert names(tmp_path, out=str(tmp_path)) == ["a.mp4", "b/c.mp4"]
    assert names(tmp_path / "b", out=str(tmp_path)) == ["c.mp4"]


def test_selection_applies_and_excluded_folders_are_not_entered(tmp_path: Path) -> None:
    fill(tmp_path, "a.mp4", "b.txt", "raw/c.mp4", "cut/d.MP4")
    assert names(tmp_path, include=("*.mp4",), exclude=("raw/**",)) == ["a.mp4", "cut/d.MP4"]


def test_a_single_file_is_one_object_even_if_its_name_is_hidden(tmp_path: Path) -> None:
    path = fill(tmp_path, ".hidden.mp4") / ".hidden.mp4"
    (found,) = listed(path)
    assert found.uri == str(path)


def test_file_uris_and_relative_paths_give_the_same_identity(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fill(tmp_path, "a b.mp4")
    monkeypatch.chdir(tmp_path)
    assert listed(".") == listed(tmp_path) == listed(f"file://{tmp_path.parent}/{tmp_path.name}")


@pytest.mark.parametrize("source", ["nothing", "ftp://host/x", "nothing.jsonl", "manifest.json"])
def test_a_source_that_does_not_exist_is_a_usage_error(source: str, tmp_path: Path) -> None:
    path = source if "://" in source else str(tmp_path / source)
    with pytest.raises(UsageError, match=source):
        listed(path)


def test_an_empty_source_and_globs_that_match_nothing_are_errors_but_ages_are_not(
    tmp_path: Path,
) -> None:
    with pytest.raises(UsageError, match="no objects"):
        listed(tmp_path)
    fill(tmp_path, "a.mp4")
    with pytest.raises(UsageError, match=r"None of the 1 .*\*\.mov"):
        listed(tmp_path, include=("*.mov",))
    assert listed(tmp_path, older_than_days=3) == []


# S3 prefixes


def test_keys_with_strange_characters_are_listed_literally(bucket: str) -> None:
    strange = ["v/a b+c.mp4", "v/per%20cent", "v/q?x=1#f", "v/ünï.jpg"]
    put(bucket, *strange, "v/.keep", "v/sub/_SUCCESS", "video/other.mp4")
    put(bucket, "v/", "v/folder/", "v/empty.mp4", body=b"")
    found = listed(f"{bucket}/v")
    assert sorted(keys(found)) == sorted([*strange, "v/empty.mp4"])
    assert found[0].etag
    assert not found[0].etag.startswith('"')
    assert listed(f"{bucket}/v/") == found


@pytest.mark.slow
def test_all_pages_of_a_prefix_are_listed(bucket: str) -> None:
    many = [f"v/{number:04}" for number in range(1100)]
    put(bucket, *many)
    assert keys(listed(f"{bucket}/v")) == many


def test_a_single_key_and_everything_below_it(bucket: str) -> None:
    put(bucket, "a/clip.mp4", "a/clip.mp4/part", "a/clip.mp42")
    assert keys(listed(f"{bucket}/a/clip.mp4")) == ["a/clip.mp4", "a/clip.mp4/part"]


def test_globs_see_the_path_below_the_prefix(bucket: str) -> None:
    put(bucket, "a/x/1.mp4", "a/y/2.mp4", "a/3.txt")
    assert keys(listed(f"{bucket}/a", include=("x/*",))) == ["a/x/1.mp4"]
    assert keys(listed(bucket, include=("a/*/*",), exclude=("1.*",))) == ["a/y/2.mp4"]


def test_output_on_s3_is_left_out(bucket: str) -> None:
    put(bucket, "a.mp4", "out/reports/r.parquet", "out/x.png", "outer.mp4")
    assert keys(listed(bucket, out=f"{bucket}/out/")) == ["a.mp4", "outer.mp4"]
    assert keys(listed(f"{bucket}/out", out=f"{bucket}/out")) == ["out/x.png"]


def test_absent_buckets_prefixes_and_halves_of_names_are_explained(bucket: str) -> None:
    put(bucket, "videos/a.mp4")
    with pytest.raises(UsageError, match="no-such-bucket-x: the bucket does not exist"):
        listed("s3://no-such-bucket-x")
    with pytest.raises(UsageError, match=f"{bucket}/nothing"):
        listed(f"{bucket}/nothing")
    with pytest.raises(UsageError, match=f"nearest object is {bucket}/videos/a.mp4"):
        listed(f"{bucket}/vid")


# manifests


def test_a_jsonl_manifest_keeps_its_order_drops_repeats_and_looks_up_local_files(
    tmp_path: Path,
) -> None:
    fill(tmp_path, "b.mp4", "a.mp4")
    lines = ['{"uri": "b.mp4"}', "", f'"{tmp_path}/a.mp4"', '{"uri": "./b.mp4"}', '"gone.mp4"']
    (tmp_path / "list.jsonl").write_text("\ufeff" + "\n".join(lines))
    found = listed(tmp_path / "list.jsonl")
    assert [Path(item.uri).name for item in found] == ["b.mp4", "a.mp4", "gone.mp4"]
    assert [item.size_bytes for item in found] == [5, 5, None]
    assert found[:2] == listed(tmp_path / "b.mp4") + listed(tmp_path / "a.mp4")


def test_a_csv_manifest_holds_names_with_commas_and_line_ends(tmp_path: Path) -> None:
    fill(tmp_path, "a,b\nc.mp4")
    text = b'uri,note\r\n"a,b\nc.mp4",x\r\n'
    (tmp_path / "list.csv.gz").write_bytes(gzip.compress(text))
    (found,) = listed(tmp_path / "list.csv.gz")
    assert found.size_bytes == len("a,b\nc.mp4")


def test_an_s3_manifest_trusts_what_it_tells_and_asks_for_the_rest(bucket: str) -> None:
    put(bucket, "in/a.mp4", "in/b.mp4")
    told = {
        "uri": [f"{bucket}/in/a.mp4", "b.mp4", f"{bucket}/in/gone.mp4"],
        "etag": ["feed", None, None],
        "size_bytes": [7, None, None],
        "last_modified": [datetime(2024, 1, 1, tzinfo=UTC), None, None],
    }
    files, path = store.filesystem(f"{bucket}/in/list.parquet", FAST)
    pq.write_table(pa.table(told), path, filesystem=files)
    trusted, asked, gone = listed(f"{bucket}/in/list.parquet")
    assert (trusted.etag, trusted.size_bytes) == ("feed", 7)
    assert asked == listed(f"{bucket}/in/b.mp4")[0]
    assert (gone.etag, gone.size_bytes) == (None, None)


@pytest.mark.parametrize(
    ("name", "text", "told"),
    [
        ("l.jsonl", '"a"\n{oops', "line 2 is not JSON"),
        ("l.jsonl", '{"url": "a"}', "record 1: `uri` is empty"),
        ("l.jsonl", '"gs://b/k"', "record 1: 'gs://b/k' cannot be read"),
        ("l.csv", "path\na", "no column `uri`, only: path"),
        ("l.parquet", "not parquet", "l.parquet"),
    ],
)
def test_a_bad_manifest_says_where(tmp_path: Path, name: str, text: str, told: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(UsageError, match=told):
        listed(tmp_path / name)


# S3 Inventory

CSV_ROWS = (
    '"media","v/a+b%2Bc.mp4","v2","true","false","12","2024-01-02T03:04:05.000Z","e1"\n'
    '"media","v/a+b%2Bc.mp4","v1","false","false","9","2024-01-01T00:00:00.000Z","e0"\n'
    '"media","v/deleted.mp4","v3","true","true","","2024-01-01T00:00:00.000Z",""\n'
    '"media","v/","v4","true","false","0","2024-01-01T00:00:00.000Z","e4"\n'
    '"media","out/reports/x.parquet","v5","true","false","5","2024-01-01T00:00:00.000Z","e5"\n'
)
CSV_SCHEMA = "Bucket, Key, VersionId, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag"
PARQUET_SCHEMA = (
    "message s3.inventory { required binary bucket (UTF8); required binary key (UTF8); "
    "optional int64 size; optional binary e_tag (UTF8); }"
)
FILES = [{"key": "x/data/1.parquet"}]


def test_a_csv_inventory_lists_current_objects_with_decoded_keys(bucket: str) -> None:
    put(bucket, "inv/data/1.csv.gz", body=gzip.compress(CSV_ROWS.encode()))
    manifest = {
        "fileFormat": "CSV",
        "fileSchema": CSV_SCHEMA,
        "files": [{"key": "inv/data/1.csv.gz"}],
    }
    put(bucket, "inv/2024/manifest.json", body=json.dumps(manifest).encode())
    (found,) = listed(f"{bucket}/inv/2024/manifest.json", out="s3://media/out")
    assert (found.uri, found.etag, found.version_id) == ("s3://media/v/a b+c.mp4", "e1", "v2")
    assert found.size_bytes == 12
    assert found.last_modified == datetime(2024, 1, 2, 3, 4, 5, tzinfo=UTC)


def test_a_parquet_inventory_copied_to_a_folder_is_read_from_beside_it(tmp_path: Path) -> None:
    told = {
        "bucket": ["media", "media"],
        "key": ["a%20b.mp4", "old.mp4"],
        "size": [3, 4],
        "is_latest": [True, False],
        "e_tag": ["e", "f"],
    }
    pq.write_table(pa.table(told), tmp_path / "1.parquet")
    manifest = {"fileFormat": "Parquet", "fileSchema": PARQUET_SCHEMA, "files": FILES}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    (found,) = listed(tmp_path / "manifest.json")
    assert (found.uri, found.size_bytes, found.last_modified) == ("s3://media/a%20b.mp4", 3, None)


@pytest.mark.parametrize(
    "schema", [CSV_SCHEMA.replace(", ETag", ""), PARQUET_SCHEMA.replace("e_tag", "size")]
)
def test_an_inventory_that_cannot_tell_what_changed_is_refused(schema: str, tmp_path: Path) -> None:
    manifest = {"fileFormat": "Parquet", "fileSchema": schema, "files": FILES}
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(UsageError, match="add the fields ETag and Size"):
        listed(tmp_path / "manifest.json")


def test_json_that_is_no_inventory_says_so(tmp_path: Path) -> None:
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(UsageError, match="not an S3 Inventory"):
        listed(tmp_path / "manifest.json")
