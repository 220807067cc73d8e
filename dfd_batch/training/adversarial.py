"""Training against white-box attacks; `training.white_box` measures what they do."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from dfd_batch.checkpoint import Preprocessing


def adversarial_batch(
    encoder: nn.Module,
    x: Tensor,
    labels: Tensor,
    eps: float,
    loss: Callable[[Tensor, Tensor], Tensor],
    preprocessing: Preprocessing,
    share: float = 1.0,
) -> Tensor:
    """Return a training batch whose first pairs were attacked: FGSM from a random start.

    Wong, Rice and Kolter, Fast is better than free, ICLR 2020: a step of 1.25 eps from a uniformly
    drawn point inside the bound. The encoder answers in evaluation mode, so that the attack leaves
    no trace in its running statistics; gradients of its parameters are not touched.

    Args:
        encoder: Gives (features, logits (N, n)).
        x: (N, 3, S, S) normalised crops, twins side by side.
        labels: (N,) 0 and 1.
        eps: Largest change of a pixel, of 255.
        loss: From logits and labels of some pairs to a scalar.
        preprocessing: Gives the unit of `x`.
        share: Of the pairs.
    """
    n = 2 * round(share * len(x) / 2)
    if not n:
        return x
    mean, std = (
        torch.tensor(values, device=x.device).view(1, 3, 1, 1)
        for values in (preprocessing.mean, preprocessing.std)
    )
    bound, darkest, brightest = eps / 255 / std, -mean / std, (1 - mean) / std
    clean = x[:n].detach()

    def inside(delta: Tensor) -> Tensor:
        near = torch.maximum(torch.minimum(delta, bound), -bound)
        return torch.maximum(torch.minimum(clean + near, brightest), darkest)

    start = inside((2 * torch.rand_like(clean) - 1) * bound).requires_grad_()
    with evaluating(encoder):
        (gradient,) = torch.autograd.grad(loss(encoder(start)[1], labels[:n]), start)
    attacked = inside(start.detach() + 1.25 * bound * gradient.sign() - clean)
    return torch.cat([attacked, x[n:]])


@contextmanager
def evaluating(encoder: nn.Module) -> Iterator[None]:
    """Put a network into evaluation mode for a while."""
    was_training = encoder.training
    encoder.eval()
    try:
        yield
    finally:
        encoder.train(was_training)
