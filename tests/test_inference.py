"""Compiled networks give what eager float32 gives, item by item."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from dfd_batch import checkpoint as checkpoints
from dfd_batch.checkpoint import Architecture
from dfd_batch.demo.photographs import astronaut, hopper
from dfd_batch.faces.crop import cut, face_square
from dfd_batch.features.cnn import Embedder, FrameEncoder, load_part, manipulated_logit, normalise
from dfd_batch.inference import CpuNetwork


@pytest.mark.parametrize("name", ["resnet18", "efficientnet_b0"])
def test_any_backbone_gives_its_eager_answers(name: str) -> None:
    torch.manual_seed(0)
    encoder = FrameEncoder(Architecture(encoder=name)).eval()
    x = torch.rand(3, 3, 64, 64) * 2 - 1
    with torch.inference_mode():
        wanted = encoder(x)
    for ours, eager in zip(CpuNetwork(encoder, x[:1])(x), wanted, strict=True):
        assert torch.allclose(ours, eager, rtol=1e-3, atol=1e-4 * float(eager.abs().max()))


def test_the_shipped_detectors_probabilities_are_those_of_eager_float32() -> None:
    checkpoint = checkpoints.load("default")
    given = checkpoint.card.preprocessing
    crops = np.stack(
        [
            cut(p.picture, face_square(p.landmarks.astype(np.float32), margin), given.crop_size)
            for p in (astronaut(), hopper())
            for margin in (1.8, 2.15, 2.6)
        ]
    )
    encoder = FrameEncoder(checkpoint.card.architecture)
    load_part(encoder, checkpoint, "encoder")
    with torch.inference_mode():
        _, eager = encoder.eval()(normalise(torch.tensor(crops), given))
    wanted = manipulated_logit(eager, checkpoint.card.architecture).sigmoid().numpy()
    _, logits = Embedder(checkpoint, "cpu")(crops)
    assert np.abs(1 / (1 + np.exp(-logits)) - wanted).max() < 1e-3


def test_an_items_answer_does_not_depend_on_its_batch() -> None:
    encoder = FrameEncoder(Architecture(encoder="resnet18")).eval()
    network = CpuNetwork(encoder, torch.zeros(1, 3, 64, 64))
    x = torch.rand(5, 3, 64, 64)
    together = network(x)
    for i in range(5):
        for one, all_of_them in zip(network(x[i : i + 1]), together, strict=True):
            assert torch.equal(one[0], all_of_them[i])


class Strange(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.special.bessel_j0(x).sum((1, 2, 3))


def test_a_layer_that_cannot_be_compiled_runs_all_the_same(
    caplog: pytest.LogCaptureFixture,
) -> None:
    x = torch.rand(2, 3, 8, 8)
    (found,) = CpuNetwork(Strange(), x[:1])(x)
    assert torch.allclose(found, Strange()(x))
    assert "Strange runs uncompiled" in caplog.text


def test_nothing_is_reported_to_the_makers_of_openvino() -> None:
    seen = (
        "import sys, dfd_batch.inference, openvino\n"
        "from openvino.tools import ovc\n"
        "assert not any(name.startswith('openvino_telemetry.') for name in sys.modules)\n"
        "from openvino.tools.ovc import telemetry_utils\n"
        "assert telemetry_utils.tm.__name__ == 'openvino.tools.ovc.telemetry_stub'\n"
    )
    subprocess.run([sys.executable, "-c", seen], check=True)


def test_signals_are_handled_after_networks_have_come_and_gone() -> None:
    """Where OpenVINO has left a stack for handlers that is no more, Ctrl-C is a crash."""
    seen = (
        "import faulthandler, signal, torch\n"
        "from dfd_batch.inference import CpuNetwork\n"
        "faulthandler.enable()\n"
        "new = lambda: CpuNetwork(torch.nn.Conv2d(3, 4, 3).eval(), torch.zeros(1, 3, 9, 9))\n"
        "first, second = new(), new()\n"
        "first = None\n"
        "second = None\n"
        "told = []\n"
        "signal.signal(signal.SIGTERM, lambda *_: told.append('stopped'))\n"
        "for _ in range(9):\n"
        "    big = [bytes(20_000) for _ in range(999)]\n"
        "    signal.raise_signal(signal.SIGTERM)\n"
        "assert told == ['stopped'] * 9\n"
    )
    subprocess.run([sys.executable, "-c", seen], check=True)
