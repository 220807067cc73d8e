"""Names in a bucket are any characters; each object is listed, read and told of by its own."""

from __future__ import annotations

import boto3

from tests.s3.names import keys, scan_of


def test_whatever_an_object_is_called_it_is_read_and_told_of_by_its_name(bucket: str) -> None:
    known = [key for key in keys("in/") if "\n" not in key]  # this server knows no line ends
    told, expected = scan_of(boto3.client("s3"), bucket.removeprefix("s3://"), known)
    assert told == expected
