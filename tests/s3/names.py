"""Keys that a bucket may hold and that a careless program would change, cut or act on."""

from __future__ import annotations

import io
from typing import Any

from PIL import Image
from skimage.data import astronaut

from dfd_batch.catalog.listing import listing
from dfd_batch.settings import Select, Storage
from tests.faults.runner import Scanner

KEYS = [
    "new\nline.jpg", "tab\tand\rreturn.jpg", "'quote\".jpg", "<script>alert(1)</script>.jpg",
    "../up.jpg", "a/../../../etc/passwd.jpg", "a//b.jpg", "./here.jpg", "%2e%2e%2fa.jpg",
    "b c+d%20e.jpg", "q?versionId=null&x#y.jpg", "\\..\\a.jpg", "$(touch x);`x`|.jpg",
    "{0}%s%d.jpg", "ünï \U0001f600 \u202egpj.jpg", " space ", "no-suffix",
]  # fmt: skip
LONGEST_BYTES = 1024


def keys(prefix: str) -> list[str]:
    """Return the keys below a prefix, with two as long as a store takes."""
    n = LONGEST_BYTES - len(prefix) - len(".jpg")
    longest = ["x" * n + ".jpg", ("ü" * (n // 2)).ljust(n - n // 2, "x") + ".jpg"]
    return [prefix + name for name in KEYS + longest]


def scan_of(s3: Any, bucket: str, wanted: list[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Put a picture at each key, list them, give each object to the Crop stage.

    Returns the outcome and the size by URI, as the rows tell them and as they should.
    """
    picture = io.BytesIO()
    Image.fromarray(astronaut()).crop((100, 0, 356, 256)).save(picture, "jpeg")
    expected = {}
    for number, key in enumerate(wanted):
        body = picture.getvalue() + bytes(number + 1)  # each its own length
        s3.put_object(Bucket=bucket, Key=key, Body=body)
        expected[f"s3://{bucket}/{key}"] = ("scored", len(body))
    scanner = Scanner()
    try:
        found = list(listing(f"s3://{bucket}/in", Select(), Storage()))
        rows = [scanner.scan_object(item) for item in found]
    finally:
        scanner.close()
    told = {row["uri"]: (row["outcome"] or "scored", row["bytes_read"]) for row in rows}
    return told, expected
