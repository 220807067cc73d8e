"""Networks on a CPU: compiled by OpenVINO, in float32, on one thread.

Layers are fused and laid out for the processor at hand, whoever made it: a MobileNetV2 takes a
sixth of the time that PyTorch takes for it, and gives the same numbers to five digits. bfloat16 is
left alone: processors without it emulate it at a tenth of the speed, and verdicts should not
depend on the machine.
"""

from __future__ import annotations

import logging
import sys
import warnings
from functools import cache
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

# OpenVINO reports each import and conversion to its makers; without this module it cannot.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]

log = logging.getLogger("dfd_batch")
Floats = NDArray[np.float32]
OPTIONS: dict[str, Any] = {
    "INFERENCE_NUM_THREADS": 1,
    "NUM_STREAMS": 1,
    "INFERENCE_PRECISION_HINT": "f32",
    "ENABLE_CPU_PINNING": False,  # or all processes of a machine would share its first core
}


class CpuNetwork:
    """A compiled network.

    With fixed sizes it takes one item at a time, so that an item's answer depends on nothing else.

    Args:
        module: In evaluation mode; gives a tensor or a tuple of them, a row per item.
        example: A batch of one item, (1, …).
        free: Axes of the batch that may have any size. With axis 0 among them, a batch is one
            pass: for small networks, whose calls cost more than their work.
    """

    def __init__(self, module: nn.Module, example: Tensor, free: tuple[int, ...] = ()) -> None:
        self._module = module
        self._shape = [-1 if axis in free else n for axis, n in enumerate(example.shape)]
        self._request = _compile(module, example, self._shape)

    @torch.inference_mode()
    def __call__(self, batch: Tensor) -> tuple[Tensor, ...]:
        """Return the network's outputs for items (N, …), N >= 1, of the example's shape."""
        if self._request is None:
            found = self._module(batch)
            return found if isinstance(found, tuple) else (found,)
        items = batch.numpy()
        wrong = [n for n, wanted in zip(items.shape[1:], self._shape[1:], strict=True)
                 if wanted not in (n, -1)]  # fmt: skip
        if wrong:
            raise ValueError(f"items are {items.shape[1:]}, the network wants {self._shape[1:]}")
        if self._shape[0] == -1:
            return tuple(map(torch.from_numpy, self._infer(items)))
        rows = [self._infer(item) for item in items[:, None]]
        return tuple(torch.from_numpy(np.concatenate(column)) for column in zip(*rows, strict=True))

    def _infer(self, item: NDArray[Any]) -> list[Floats]:
        found = self._request.infer([np.ascontiguousarray(item)], share_inputs=True)
        return [np.array(value) for value in found.values()]  # the buffers are used again


def _compile(module: nn.Module, example: Tensor, shape: list[int]) -> Any:
    """Return a request that infers, or None where OpenVINO does not know one of the layers."""
    from openvino import PartialShape
    from openvino.frontend import FrontEndManager
    from openvino.frontend.pytorch.ts_decoder import TorchScriptPythonDecoder

    try:
        with warnings.catch_warnings(), torch.inference_mode():
            warnings.simplefilter("ignore")  # of tracing: sizes are fixed here
            frontend = FrontEndManager().load_by_framework("pytorch")
            # traced here: the decoder would trace twice and run the network three times
            traced = torch.jit.trace(module, example, check_trace=False)  # type: ignore[no-untyped-call]
            decoder = TorchScriptPythonDecoder(traced, example_input=example)
            model = frontend.convert(frontend.load(decoder))
        model.reshape(PartialShape(shape))
        return _core().compile_model(model, "CPU", OPTIONS).create_infer_request()
    except Exception as error:  # noqa: BLE001, RUF100 - any backbone may be named
        log.warning(
            "%s runs uncompiled, several times slower: OpenVINO cannot convert it (%s).",
            type(module).__name__,
            str(error).splitlines()[0] if str(error) else type(error).__name__,
        )
        return None


@cache
def _core() -> Any:
    """Return this process's only OpenVINO, which is never given up.

    Each one's processor plugin puts a stack for signal handlers of its own in place and frees it
    when it goes: where several come and go, the next signal (Ctrl-C, SIGTERM) kills the process.
    """
    import openvino

    return openvino.Core()
