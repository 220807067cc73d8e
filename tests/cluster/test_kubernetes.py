"""The manifests: valid by the schemas of what reads them, and about the tick that there is."""

from __future__ import annotations

import copy
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import kubernetes_validate
import pytest
from croniter import croniter
from jsonschema import Draft202012Validator, ValidationError, validate
from typer.testing import CliRunner

from dfd_batch.cli import app
from dfd_batch.schedule.rules import load
from tests.cluster.files import (
    documents,
    pinned,
    pod_templates,
    ray_job,
    targets,
    tick_file,
    tick_of,
)
from tests.cluster.kuberay import RAY_CRON_JOB, RAY_JOB

KUBERNETES = "1.33"
FILES = ("rayjob.yaml", "raycronjob.yaml", "cronjob.yaml")
RAY_FILES = FILES[:2]
SCHEMAS = {"RayJob": RAY_JOB, "RayCronJob": RAY_CRON_JOB}


def pods(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    if name in RAY_FILES:
        yield from ((group, t["spec"]) for group, t in pod_templates(ray_job(name)).items())
    else:
        job = documents(name)["CronJob"]["spec"]["jobTemplate"]["spec"]
        yield "submit", job["template"]["spec"]


def check(document: dict[str, Any]) -> None:
    kubernetes_validate.validate(document, KUBERNETES, strict=True)


@pytest.mark.parametrize("name", FILES)
def test_every_document_is_what_its_reader_takes(name: str) -> None:
    for kind, document in documents(name).items():
        if kind in SCHEMAS:
            Draft202012Validator.check_schema(SCHEMAS[kind])
            validate(document, SCHEMAS[kind])
        else:
            check(document)
    for group, spec in pods(name):
        check({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": group}, "spec": spec})


def test_what_is_no_field_is_noticed() -> None:
    """The checks above can fail: a misspelt field, a wrong type, at every depth."""
    job = documents("rayjob.yaml")["RayJob"]
    for path, value in (
        (("shutDownAfterJobFinishes",), True),
        (("ttlSecondsAfterFinished",), "300"),
        (("rayClusterSpec", "authOptions", "mode"), "password"),
        (("rayClusterSpec", "headGroupSpec", "rayStartParams", "num-cpus"), 0),
        (("rayClusterSpec", "workerGroupSpecs", 0, "minReplicas"), -1),
    ):
        spoilt = copy.deepcopy(job)
        node: Any = spoilt["spec"]
        for key in path[:-1]:
            node = node[key]
        node[path[-1]] = value
        with pytest.raises(ValidationError):
            validate(spoilt, RAY_JOB)
    cron = documents("cronjob.yaml")["CronJob"]
    cron["spec"]["concurrentPolicy"] = "Forbid"
    with pytest.raises(kubernetes_validate.ValidationError):
        check(cron)


@pytest.mark.parametrize("name", FILES)
def test_nothing_runs_as_root_or_may_become_it(name: str) -> None:
    for _, spec in pods(name):
        assert spec["securityContext"]["runAsNonRoot"] is True
        assert spec["securityContext"]["runAsUser"] > 0
        assert spec["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in spec["containers"]:
            assert container["securityContext"]["allowPrivilegeEscalation"] is False
            assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
            mounted = {mount["name"] for mount in container["volumeMounts"]}
            assert mounted <= {volume["name"] for volume in spec["volumes"]}
            image, _, tag = container["image"].rpartition(":")
            assert image == "REGISTRY/dfd-batch" and tag in targets()


@pytest.mark.parametrize("name", FILES)
def test_the_tick_that_is_asked_for_is_one(name: str, tmp_path: Path) -> None:
    file = tmp_path / "tick.toml"
    file.write_text(tick_file(name))
    assert load(file).rules.source == "s3://archive/2026"
    if name in RAY_FILES:
        words = tick_of(ray_job(name)["entrypoint"])
        mounts = {
            mount["mountPath"]: mount["name"]
            for _, spec in pods(name)
            for mount in spec["containers"][0]["volumeMounts"]
        }
        assert words[1].rpartition("/")[0] in mounts
    else:
        ((_, spec),) = pods(name)
        container = spec["containers"][0]
        words = tick_of(container["args"])
        (mount,) = container["volumeMounts"]
        assert f"--working-dir={mount['mountPath'].rpartition('/')[0]}" in container["args"]
        assert mount["subPath"] == words[1]
    # the flags are known: with a file that is not there the command gets as far as that
    done = CliRunner().invoke(app, ["tick", str(tmp_path / "none.toml"), *words[2:]])
    assert done.exit_code == 2 and "none.toml cannot be read" in done.stderr


@pytest.mark.parametrize("name", FILES[1:])
def test_schedules_can_be_read(name: str) -> None:
    docs = documents(name)
    spec = (docs.get("RayCronJob") or docs["CronJob"])["spec"]
    assert croniter.is_valid(spec["schedule"])
    assert spec["timeZone"] in zoneinfo.available_timezones()


@pytest.mark.parametrize("name", RAY_FILES)
def test_a_ray_job_has_nodes_for_decoding_and_for_the_networks(name: str) -> None:
    spec = ray_job(name)
    cluster = spec["rayClusterSpec"]
    assert cluster["rayVersion"] == pinned("ray")
    assert cluster["headGroupSpec"]["rayStartParams"]["num-cpus"] == "0"
    images = {
        group: template["spec"]["containers"][0]["image"].rpartition(":")[2]
        for group, template in pod_templates(spec).items()
    }
    assert images == {"head": "cpu", "cpu-decode": "cpu", "gpu": "cuda"}
    gpu = pod_templates(spec)["gpu"]["spec"]["containers"][0]["resources"]
    assert gpu["limits"]["nvidia.com/gpu"] == gpu["requests"]["nvidia.com/gpu"] == "1"
    assert spec["shutdownAfterJobFinishes"] and spec["ttlSecondsAfterFinished"] > 0


def test_once_and_every_hour_are_the_same_job() -> None:
    once, hourly = ray_job("rayjob.yaml"), ray_job("raycronjob.yaml")
    assert (once.pop("backoffLimit"), hourly.pop("backoffLimit")) == (1, 0)
    assert once == hourly
    assert tick_file("rayjob.yaml") == tick_file("raycronjob.yaml") == tick_file("cronjob.yaml")
