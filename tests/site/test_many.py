"""Ten thousand rows in a browser, and a site in a bucket."""

from __future__ import annotations

import random
from datetime import UTC, date, datetime

import pyarrow as pa
import pytest
from selenium.webdriver.common.by import By
from selenium.webdriver.support.ui import Select
from typer.testing import CliRunner

from dfd_batch.cli import app
from dfd_batch.reports.write import write_rows
from dfd_batch.schema import REPORT
from dfd_batch.settings import Storage
from dfd_batch.site.build import Pictures, Wanted, build
from tests.site.conftest import scan
from tests.site.pages import assert_quiet, column, follow, opened, pictures, told

pytestmark = pytest.mark.slow
N = 10_000


def rows():
    rng = random.Random(5)
    for i in range(N):
        p = round(rng.random(), 6)
        fault = i % 50 == 0
        verdict = "manipulated" if p > 0.9 else "suspicious" if p > 0.8 else "authentic"
        empty = dict.fromkeys(REPORT.names)
        yield empty | {
            "media_id": f"{i:032x}",
            "uri": f"s3://archive/day-{i % 7}/item-{i}.mp4",
            "outcome": "timeout" if fault else "scored",
            "error_message": "it took too long" if fault else None,
            "verdict": None if fault else verdict,
            "probability": None if fault else p,
            "media": "video" if i % 3 else "image",
            "detector_id": "d",
            "run_id": "r",
            "scanned_at": datetime(2026, 5, 4, tzinfo=UTC),
            "faces": [],
        }


def test_ten_thousand_rows_stay_usable(tmp_path, browser):
    told_of = list(rows())
    table = pa.Table.from_pylist(told_of, schema=REPORT)
    write_rows(table, str(tmp_path), date(2026, 5, 4), "r", Storage())
    from dfd_batch.settings import Settings

    site = tmp_path / "site"
    wanted = Wanted(str(tmp_path), str(site), pictures=Pictures.NONE, limit=0)
    done = build(wanted, Settings())
    assert done.n_rows == N
    opened(browser, site / "index.html")
    best = sorted((r for r in told_of if r["probability"]), key=lambda r: -r["probability"])
    assert told(browser) == "10,000 objects"
    assert column(browser, 1) == [f"{round(r['probability'], 4):.3f}" for r in best[:100]]
    nodes = browser.execute_script("return document.getElementsByTagName('*').length")
    assert nodes < 2500  # whatever the number of rows
    browser.find_element(By.CSS_SELECTOR, "th[data-sort=object] button").click()
    shown = column(browser, 2)
    assert shown[:3] == ["day-0/item-0.mp4", "day-0/item-7.mp4", "day-0/item-14.mp4"]
    (on,) = (b for b in browser.find_elements(By.CSS_SELECTOR, ".pager button") if "Next" in b.text)
    on.click()
    assert column(browser, 2)[0] == "day-0/item-700.mp4"
    browser.find_element(By.NAME, "q").send_keys("day-3/")
    n = sum("day-3/" in r["uri"] for r in told_of)
    assert told(browser) == f"{n:,} of 10,000 objects"
    Select(browser.find_element(By.NAME, "verdict")).select_by_value("timeout")
    n = sum("day-3/" in r["uri"] and r["outcome"] == "timeout" for r in told_of)
    assert told(browser) == f"{n:,} of 10,000 objects" and len(column(browser, 0)) == n
    assert_quiet(browser)


def test_a_site_in_a_bucket_opens_as_a_site(scanned, bucket, browser, tmp_path):
    """Media, reports and pages in S3; the browser reads the pages from the store."""
    import boto3

    client = boto3.client("s3")
    name = bucket.removeprefix("s3://")
    for path in (scanned.archive / "clips" / "phone.mov", scanned.archive / "images/hopper.png"):
        client.upload_file(str(path), name, f"in/{path.name}")
    scan(f"{bucket}/in", f"{bucket}/out", scanned.settings)
    client.upload_file(str(scanned.archive / "images/astronaut.jpg"), name, "in/hopper.png")
    checkpoint = scanned.settings.checkpoint
    words = ["report", f"{bucket}/out", "--out", f"{bucket}/page", "--least", "authentic"]
    done = CliRunner().invoke(app, [*words, "--checkpoint", checkpoint])
    assert done.exit_code == 0, done.output
    assert "not shown" in done.output and "changed" in done.output
    keys = [o["Key"] for o in client.list_objects_v2(Bucket=name, Prefix="page/")["Contents"]]
    assert len(keys) == 3
    for key in keys:
        assert client.head_object(Bucket=name, Key=key)["ContentType"] == "text/html"
        client.put_object_acl(Bucket=name, Key=key, ACL="public-read")  # the browser has no keys
    browser.get("about:blank")
    browser.get(f"{client.meta.endpoint_url}/{name}/page/index.html")
    assert sorted(column(browser, 2)) == ["hopper.png", "phone.mov"]
    listed = browser.find_element(By.ID, "list")
    follow(browser, listed.find_element(By.PARTIAL_LINK_TEXT, "phone"))
    assert len(browser.find_elements(By.CSS_SELECTOR, ".strip img")) == 12
    assert_quiet(browser)
    client.download_file(name, browser.current_url.split(f"{name}/")[1], str(tmp_path / "p.html"))
    assert len(pictures(tmp_path / "p.html")) > 12


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--run", "x", "--where", "true"], "--run or --where"),
        (["--pictures", "sepia"], "clear, blurred, none"),
        (["--least", "fake"], "manipulated, suspicious"),
        (["--run", "x"], "No run"),
        (["--where", "probability >"], "SQL"),
    ],
)
def test_bad_usage_is_one_sentence_and_exit_code_2(tmp_path, words, said):
    done = CliRunner().invoke(app, ["report", str(tmp_path), "--out", str(tmp_path / "s"), *words])
    assert done.exit_code == 2 and said in done.output
    assert not (tmp_path / "s").exists()
