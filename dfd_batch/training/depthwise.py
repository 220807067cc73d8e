"""Depthwise convolutions with stride whose backward pass is fast on CPUs.

oneDNN's backward pass of a strided depthwise convolution in bfloat16 takes 2.5 to 30 times as long
as that of the same convolution without stride, and was half the time of a training step of
MobileNetV2. Spreading the gradient over the grid without stride gives the same gradients, faster.
"""

from __future__ import annotations

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class _Strided(torch.autograd.Function):
    @staticmethod
    @torch.amp.custom_fwd(  # type: ignore[untyped-decorator]
        device_type="cpu", cast_inputs=torch.bfloat16
    )
    def forward(ctx: Any, x: Tensor, weight: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(x, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(x, weight, None, stride, padding, 1, x.shape[1])

    @staticmethod
    @torch.amp.custom_bwd(device_type="cpu")  # type: ignore[untyped-decorator]
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        x, weight = ctx.saved_tensors
        padding, stride = ctx.padding, ctx.stride
        height, width = (n + 2 * padding - weight.shape[-1] + 1 for n in x.shape[2:])
        shape = (*grad.shape[:2], height, width)
        spread = torch.empty(shape, dtype=grad.dtype, memory_format=torch.channels_last).zero_()
        spread[:, :, ::stride, ::stride] = grad
        step, border = [1, 1], [padding, padding]
        grad_x, grad_weight, _ = torch.ops.aten.convolution_backward(
            spread, x, weight, None, step, border, step, False, [0, 0], x.shape[1],
            [ctx.needs_input_grad[0], ctx.needs_input_grad[1], False],
        )  # fmt: skip
        return grad_x, grad_weight, None, None


class StridedDepthwise(nn.Conv2d):
    """A square strided depthwise convolution without bias; the same weights and results."""

    def forward(self, input: Tensor) -> Tensor:
        """Return the convolution of input (N, C, H, W)."""
        if not (torch.is_grad_enabled() and input.device.type == "cpu"):
            return super().forward(input)
        result: Tensor = _Strided.apply(input, self.weight, self.stride[0], self.padding[0])
        return result


def speed_up(model: nn.Module) -> int:
    """Make a model's strided depthwise convolutions fast to train on CPUs; return how many."""
    n = 0
    for module in model.modules():
        if (
            type(module) is nn.Conv2d
            and module.groups == module.in_channels == module.out_channels > 1
            and module.stride[0] == module.stride[1] > 1
            and module.bias is None
            and module.padding in {(1, 1), (2, 2)}
            and module.dilation == (1, 1)
        ):
            module.__class__ = StridedDepthwise
            n += 1
    return n
