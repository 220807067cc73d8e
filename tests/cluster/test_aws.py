"""`ray up` on AWS by Ray's and botocore's own checks, and the rights by what the code calls."""

from __future__ import annotations

import ast
import json
import re
from pathlib import Path
from typing import Any

import boto3
import pytest
import yaml
from botocore.validate import ParamValidator
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.cluster.files import CLUSTER, ROOT, targets

IAM = CLUSTER / "iam"
READ, WRITE = "s3:GetObject", "s3:PutObject"
NEEDS = {
    "list_objects_v2": {"s3:ListBucket"},
    "list_object_versions": {"s3:ListBucketVersions"},
    "get_object": {READ, "s3:GetObjectVersion"},
    # whether an object is locked is told only to those who may know
    "head_object": {READ, "s3:GetObjectVersion", "s3:GetObjectRetention", "s3:GetObjectLegalHold"},
    "put_object": {WRITE},
    "delete_object": {"s3:DeleteObject", "s3:DeleteObjectVersion"},
    "get_object_tagging": {"s3:GetObjectTagging", "s3:GetObjectVersionTagging"},
    "put_object_tagging": {"s3:PutObjectTagging", "s3:PutObjectVersionTagging"},
    "copy_object": {READ, "s3:GetObjectVersion", WRITE},
    "copy": {READ, "s3:GetObjectVersion", WRITE, "s3:AbortMultipartUpload"},  # in parts
}
"""Rights by the methods of boto3's client, from the Service Authorization Reference of S3."""


def policy(name: str) -> dict[str, Any]:
    return dict(json.loads((IAM / name).read_text()))


def actions(*names: str) -> set[str]:
    return {
        action for name in names for part in policy(name)["Statement"] for action in part["Action"]
    }


def called(folder: Path) -> set[str]:
    """The methods of boto3's S3 client that the package calls."""
    s3 = boto3.client("s3", region_name="us-east-1")
    known = set(s3.meta.method_to_api_mapping)
    found = set()
    for path in folder.rglob("*.py"):
        if "benchmark" in path.parts:  # it has a store of its own
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
                continue
            name = node.func.attr
            if name == "get_paginator" and isinstance(node.args[0], ast.Constant):
                found.add(str(node.args[0].value))
            is_client = "client" in ast.unparse(node.func.value)
            if name in known or (name == "copy" and is_client):
                found.add(name)
    return found


def test_the_rights_are_those_that_the_code_needs_and_no_more() -> None:
    used = called(ROOT / "dfd_batch")
    assert used == NEEDS.keys()
    assert actions("scan.json", "act.json") == set().union(*NEEDS.values())


def test_a_scan_cannot_change_the_archive() -> None:
    for part in policy("scan.json")["Statement"]:
        if any("ARCHIVE" in resource for resource in part["Resource"]):
            assert {re.sub("s3:(Get|List)", "", action) for action in part["Action"]} <= {
                "Bucket", "Object", "ObjectVersion",
            }  # fmt: skip


@pytest.mark.parametrize("path", sorted(IAM.glob("*.json")), ids=lambda path: path.name)
def test_a_policy_is_one(path: Path) -> None:
    told = json.loads(path.read_text())
    assert told.keys() == {"Version", "Statement"} and told["Version"] == "2012-10-17"
    names = [part["Sid"] for part in told["Statement"]]
    assert len(set(names)) == len(names)
    for part in told["Statement"]:
        assert part.keys() - {"Condition"} == {"Sid", "Effect", "Action", "Resource"}
        assert re.fullmatch("[A-Za-z0-9]+", part["Sid"]) and part["Effect"] == "Allow"
        for action in part["Action"]:
            assert re.fullmatch("(s3|ec2|ssm|iam):[A-Z][A-Za-z]+", action), "no wildcards"
        if part["Resource"] == "*":
            assert all(action.startswith("ec2:Describe") for action in part["Action"])
            continue
        for arn in part["Resource"]:
            assert re.fullmatch(r"arn:aws:(s3|ec2|ssm|iam):[^:]*:[^:]*:.+", arn)


@pytest.fixture
def config() -> dict[str, Any]:
    text = (CLUSTER / "aws.yaml").read_text().replace("REGISTRY", "registry.example")
    return dict(yaml.safe_load(text))


def test_ray_takes_the_file(config: dict[str, Any]) -> None:
    prepared = prepare_config(config)
    validate_config(prepared)
    types = prepared["available_node_types"]
    assert set(types) == {"head", "cpu_decode", "gpu"} and prepared["head_node_type"] == "head"
    assert types["head"]["resources"] == {"CPU": 0}
    assert sum(kind.get("max_workers", 0) for kind in types.values()) <= config["max_workers"]
    with pytest.raises(Exception, match="max_wokers"):
        validate_config(prepared | {"max_wokers": 3})


def test_every_node_could_be_started(config: dict[str, Any]) -> None:
    ec2 = boto3.client("ec2", region_name="us-east-1")
    shape = ec2.meta.service_model.operation_model("RunInstances").input_shape
    for name, kind in config["available_node_types"].items():
        asked = kind["node_config"] | {"MinCount": 1, "MaxCount": 1}
        report = ParamValidator().validate(asked, shape)
        assert not report.has_errors(), (name, report.generate_report())
        assert asked["MetadataOptions"]["HttpTokens"] == "required"
        assert all(disk["Ebs"]["Encrypted"] for disk in asked["BlockDeviceMappings"])
    types = config["available_node_types"]
    roles = {name: kind["node_config"]["IamInstanceProfile"] for name, kind in types.items()}
    worker = {"Name": "dfd-worker"}
    assert roles == {"head": {"Name": "dfd-head"}, "cpu_decode": worker, "gpu": worker}
    (handed,) = [s for s in policy("head.json")["Statement"] if s["Action"] == ["iam:PassRole"]]
    assert handed["Resource"] == ["arn:aws:iam::ACCOUNT:role/dfd-worker"]
    images = [config["docker"]["image"], types["gpu"]["docker"]["worker_image"]]
    assert {image.rpartition(":")[2] for image in images} == targets()


def test_the_head_may_end_only_its_own_clusters_nodes(config: dict[str, Any]) -> None:
    (ended,) = [
        part
        for part in policy("head.json")["Statement"]
        if "ec2:TerminateInstances" in part["Action"]
    ]
    assert ended["Condition"] == {
        "StringEquals": {"aws:ResourceTag/ray-cluster-name": config["cluster_name"]}
    }
