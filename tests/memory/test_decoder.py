"""One decoding process over a thousand objects, good and bad: what it holds does not grow."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from dfd_batch.outcomes import MediaFault, Outcome
from dfd_batch.settings import Limits, Sampling
from tests.faults.runner import Scanner
from tests.faults.zoo_images import encoded
from tests.faults.zoo_videos import film

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]

N_OBJECTS, N_WARM = 1000, 250
FACES_EVERY = 5
"""Looking for faces takes most of an object's time and none of the decoder's."""
MIB = 2**20
MOST_MIB = 1500
LEAK_MIB = 60
SMALL: dict[str, Callable[[Path], object]] = {
    "a.mp4": film(n=4, size=(160, 120), audio=True),
    "a.mkv": film("mpeg4", n=4, size=(160, 120)),
    "a.ts": film("mpeg2video", n=4, size=(160, 120)),
    "a.webm": film("libvpx", n=4, size=(160, 120), options={"deadline": "realtime"}),
    "a.avi": film("mjpeg", n=4, size=(160, 120), pix_fmt="yuvj420p"),
    "a.png": lambda path: path.write_bytes(encoded(kind="PNG")),
    "a.jpg": lambda path: path.write_bytes(encoded()),
    "a.tiff": lambda path: path.write_bytes(encoded(kind="TIFF", compression="jpeg")),
}


def used_mib(process: psutil.Process) -> float:
    """Memory that is this process's own: what it shares with its parent is none."""
    return float(process.memory_full_info().uss) / MIB


def outcome_of(scanner: Scanner, path: Path, *, whole: bool) -> str:
    """Decode an object, and look for faces in it as well where asked."""
    if whole:
        return scanner.scan(path)["outcome"] or Outcome.SCORED.value
    try:
        list(scanner.crop._cell.decode(str(path), Sampling()))
    except MediaFault as fault:
        return fault.outcome.value
    return "decoded"


def test_a_decoder_does_not_grow_over_a_thousand_objects(tmp_path: Path) -> None:
    rng = random.Random(0)
    whole = {}
    for name, make in SMALL.items():
        make(tmp_path / name)
        whole[name] = (tmp_path / name).read_bytes()
    scanner = Scanner(Limits(decoder_recycle_after=10 * N_OBJECTS))
    cell = scanner.crop._cell
    actor = psutil.Process()
    outcomes: dict[str, int] = {}
    told: list[tuple[int, float, float]] = []
    try:
        for i in range(N_OBJECTS):
            path = tmp_path / rng.choice(list(SMALL))
            data = bytearray(whole[path.name])
            if i % 4 == 3:  # what is broken is freed as well
                data[rng.randrange(len(data)) :] = rng.randbytes(200)
            path.write_bytes(data)
            outcome = outcome_of(scanner, path, whole=i % FACES_EVERY == 0)
            outcomes[outcome] = outcomes.get(outcome, 0) + 1
            if i == 0:
                pid = cell.worker_pid
            if i + 1 in {N_WARM, N_OBJECTS // 2, N_OBJECTS}:
                told.append((i + 1, used_mib(psutil.Process(pid)), used_mib(actor)))
        assert cell.worker_pid == pid  # the same one to the end
        peak = Path(f"/proc/{pid}/status").read_text().partition("VmHWM:")[2].split()[0]
    finally:
        scanner.close()
    for n, decoder, own in told:
        print(
            f"\nafter {n} objects: decoder {decoder:.0f} MiB, its Crop actor {own:.0f} MiB", end=""
        )
    print(f"\ndecoder's peak, shared pages included: {int(peak) / 1024:.0f} MiB; {outcomes}")
    assert outcomes["decoded"] >= N_OBJECTS // 2 and outcomes["scored"] and len(outcomes) > 2
    assert int(peak) / 1024 <= MOST_MIB
    (_, decoder_warm, actor_warm), *_, (_, decoder_last, actor_last) = told
    assert decoder_last - decoder_warm < LEAK_MIB
    assert actor_last - actor_warm < LEAK_MIB
