"""Dockerfile, cron, systemd and shell by the linters of their trade."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest
import yaml
from croniter import croniter

from dfd_batch.schedule.rules import Rules, load
from tests.cluster.files import CLUSTER, ROOT, tick_of

BIN = Path(sys.executable).parent
DOCKERFILE = CLUSTER / "Dockerfile"


def run(*words: str | Path, given: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        words, input=given, check=False, capture_output=True, text=True, timeout=120
    )


def shellcheck(script: str, shell: str = "bash") -> str:
    # SC1091: what a host holds at /etc is not here
    done = run(BIN / "shellcheck", f"--shell={shell}", "--exclude=SC1091", "-", given=script)
    return done.stdout + done.stderr


def test_the_dockerfile_has_nothing_to_object_to() -> None:
    done = run(BIN / "hadolint", DOCKERFILE)
    assert done.returncode == 0, done.stdout
    spoilt = DOCKERFILE.read_text().replace("USER 1000", "USER root")
    assert "DL3002" in run(BIN / "hadolint", "-", given=spoilt).stdout


def test_every_image_ends_without_root() -> None:
    stages = re.split(r"^FROM ", DOCKERFILE.read_text(), flags=re.M)[2:]
    assert len(stages) == 2
    for stage in stages:
        assert re.findall(r"^USER (\S+)$", stage, re.M) == ["1000"]
        assert stage.index("USER 1000") > stage.index("pip install")
    assert "useradd --create-home --uid 1000" in DOCKERFILE.read_text()


@pytest.mark.slow
def test_what_is_copied_into_an_image_is_all_that_the_package_is_built_of(tmp_path: Path) -> None:
    copied = [
        words.split()[:-1] for words in re.findall(r"^COPY (.+)$", DOCKERFILE.read_text(), re.M)
    ]
    names = [name for words in copied for name in words]
    ignored = (CLUSTER / "Dockerfile.dockerignore").read_text().split("\n")
    assert sorted(f"!{name}" for name in names) == sorted(n for n in ignored if n[:1] == "!")
    context = tmp_path / "context"
    context.mkdir()
    for name in names:
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, context / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(path, context / name)
    words = ["-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", tmp_path, context]
    built = run(sys.executable, *words)
    assert built.returncode == 0, built.stderr
    (wheel,) = tmp_path.glob("*.whl")
    there = set(zipfile.ZipFile(wheel).namelist())
    tracked = run("git", "-C", ROOT, "ls-files", "dfd_batch").stdout.split()
    assert set(tracked) <= there


def test_shell_scripts_and_commands() -> None:
    done = run(BIN / "shellcheck", ROOT / ".ci" / "run")
    assert done.returncode == 0, done.stdout
    config = yaml.safe_load((CLUSTER / "aws.yaml").read_text())
    commands = [*config["head_start_ray_commands"], *config["worker_start_ray_commands"]]
    # Ray sets the variable in the same shell
    assert not shellcheck("\n".join(["export RAY_HEAD_IP=10.0.0.1", *commands]))
    assert "SC2086" in shellcheck("rm $1")


def test_cron() -> None:
    lines = (CLUSTER / "dfd-tick.cron").read_text().splitlines()
    entries = [line for line in lines if line and line[0] not in "#" and "=" not in line.split()[0]]
    ((*when, user, command),) = [line.split(None, 6) for line in entries]
    assert croniter.is_valid(" ".join(when)) and user == "dfd"
    assert "%" not in command, "cron takes it for the end of the line"
    assert not shellcheck(command)
    assert tick_of(command)[1] == "/etc/dfd/tick.toml"


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd here")
def test_systemd(tmp_path: Path) -> None:
    for kind in ("service", "timer"):
        text = (CLUSTER / f"dfd-tick.{kind}").read_text()
        # what it starts, and for whom, is not on this machine
        text = text.replace("/opt/dfd/bin/dfd", str(BIN / "dfd")).replace("User=dfd", "User=root")
        (tmp_path / f"dfd-tick.{kind}").write_text(text)
    units = [tmp_path / "dfd-tick.service", tmp_path / "dfd-tick.timer"]
    done = run("systemd-analyze", "verify", "--man=no", *units)
    told = [line for line in done.stderr.splitlines() if "dfd-tick" in line]
    assert done.returncode == 0 and not told, done.stderr
    (every,) = re.findall(r"^OnCalendar=(.+)$", units[1].read_text(), re.M)
    assert run("systemd-analyze", "calendar", every).returncode == 0
    units[0].write_text(units[0].read_text().replace("Type=oneshot", "Type=oneshort"))
    assert "oneshort" in run("systemd-analyze", "verify", "--man=no", units[0]).stderr


def test_the_example_shows_every_key_with_its_default(tmp_path: Path) -> None:
    text = (CLUSTER / "tick.toml").read_text()
    file = tmp_path / "tick.toml"
    file.write_text(text)
    given = load(file).rules
    bare = Rules(source=given.source, out=given.out)
    for section in ("scan", "compact", "act", "report", "notify", "lease"):
        assert getattr(given, section) == getattr(bare, section), section
        part = text.partition(f"[{section}]")[2].partition("\n[")[0]
        shown = set(re.findall(r"^#? ?(\w+) = ", part, re.M))
        known = set(type(getattr(bare, section)).model_fields)
        assert shown <= known
        assert known - shown <= {"address", "where", "least", "limit", "timeout_s", "retries"}
