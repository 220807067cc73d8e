"""Ray as it is found: joined or started, and how its CPUs and GPUs are shared among the stages."""

from __future__ import annotations

import logging
import os
import socket
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import ray
from ray.data import DataContext

from dfd_batch.outcomes import UsageError
from dfd_batch.settings import Settings

KNOCK_TIMEOUT_S = 10.0
EXECUTOR_ENDS_WITHIN_S = 60.0
IO_CPUS = 1
"""Ray's listing, reading and splitting tasks take a whole CPU each. A run whose actors hold every
CPU that Ray counts therefore stands still for ever; one stays free of them."""
CPUS_PER_IO = 64
"""On clusters, one in so many: a single splitting task feeds about sixty objects a second."""
CROP_SHARE = 0.6
"""Share of the CPUs that decode and crop when the networks run on CPUs as well: both stages then
take about as long per object (MobileNetV2 on 3 clips of 24 frames)."""


@dataclass(frozen=True)
class PoolSizes:
    """Actors of the two heavy stages and what each takes of what Ray counts."""

    crop: int
    embed: int
    cpus_per_actor: float
    gpus_per_embed: float


def pool_sizes(settings: Settings, resources: dict[str, float]) -> PoolSizes:
    """Return pool sizes for a cluster's resources, unless the settings fix them.

    With GPUs: one Embed actor each, every CPU crops. Without: crop and embed share the CPUs.
    """
    cpus = int(resources.get("CPU", 1))
    cpus = max(0, cpus - max(IO_CPUS, cpus // CPUS_PER_IO))
    gpus = 0 if settings.pools.device == "cpu" else int(resources.get("GPU", 0))
    if settings.pools.device == "cuda" and not gpus:
        raise UsageError("pools.device = 'cuda', but Ray reports no GPU; use 'auto' or 'cpu'.")
    crop = max(1, cpus - gpus if gpus else round(cpus * CROP_SHARE))
    embed = gpus or max(1, cpus - crop)
    crop = settings.pools.crop_actors or crop
    embed = settings.pools.embed_actors or embed
    # more actors than CPUs (small machines, or the user's wish) share what there is
    share = min(1.0, round(cpus / (crop + embed), 3))
    return PoolSizes(crop, embed, share, 1.0 if gpus else 0.0)


def start_ray(address: str | None) -> bool:
    """Join a cluster or start a local Ray; returns whether it is ours to shut down."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
    logging.getLogger("ray").setLevel(logging.ERROR)
    logging.getLogger("ray.data").setLevel(logging.ERROR)
    started = not ray.is_initialized()
    target = address or os.environ.get("RAY_ADDRESS")
    if started and target:
        _knock(target)
        try:
            with _quiet_core():
                ray.init(address=target, log_to_driver=False, logging_level=logging.ERROR)
        except (ConnectionError, ValueError) as error:
            raise UsageError(
                f"No Ray cluster lets us in at {target!r}: {error}; check the address and, where "
                "it asks for a token, RAY_AUTH_MODE=token and RAY_AUTH_TOKEN."
            ) from None
    elif started:
        # "local", or a stale address file of another Ray would be joined; loopback only
        try:
            with _quiet_core():
                ray.init(
                    address="local",
                    num_cpus=(os.cpu_count() or 1) + IO_CPUS,
                    include_dashboard=False,
                    log_to_driver=False,
                    logging_level=logging.ERROR,
                    _node_ip_address="127.0.0.1",
                )
        except Exception as error:  # Ray raises no narrower type where its node is too slow
            told = (str(error).splitlines() or [type(error).__name__])[0].rstrip(".")
            raise UsageError(
                f"Ray does not start on this machine: {told}. Free memory and CPUs and run the "
                "same command again, or give --address a running cluster."
            ) from error
    context = DataContext.get_current()
    context.enable_progress_bars = False
    context.max_errored_blocks = 0  # what reaches Ray is a bug and is loud
    # its Parquet listing starts 32 actors to read the footer of the manifest, which is one file
    context.use_datasource_v2 = False
    with suppress(AttributeError):
        context.print_on_execution_start = False
    return started


def leave_ray() -> None:
    """Shut Ray down once no thread of Ray Data uses it any more.

    The thread that schedules a chain outlives the last batch; on a busy machine Ray Data waits two
    seconds for it and goes on. Ray's native core may abort the process when it is called while it
    goes down.
    """
    for thread in threading.enumerate():
        if thread.name.startswith("StreamingExecutor"):
            thread.join(EXECUTOR_ENDS_WITHIN_S)
    ray.shutdown()


def _knock(address: str) -> None:
    """Raise UsageError where nothing listens at `host:port`: Ray itself would try for minutes."""
    host, colon, port = address.removeprefix("ray://").rpartition(":")
    if not colon or not port.isdecimal():
        return  # "auto" and the like
    try:
        socket.create_connection((host.strip("[]"), int(port)), KNOCK_TIMEOUT_S).close()
    except OSError as error:
        raise UsageError(
            f"Nothing answers at {address!r} ({error}); give --address or RAY_ADDRESS the "
            "HOST:PORT of a running Ray head, or leave both out for a Ray on this machine."
        ) from None


@contextmanager
def _quiet_core() -> Iterator[None]:
    """Keep Ray's native core off the user's terminal.

    It warns of every actor whose arguments lie in the object store (ours are held by this process
    as long as the actors live) and, when told to be silent, says so on stderr. Failures to start
    reach the caller as exceptions.
    """
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")
    sys.stderr.flush()
    kept = os.dup(2)
    try:
        with Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
