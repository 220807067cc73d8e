from __future__ import annotations

import torch
from torch import Tensor, nn

from dfd_batch.training.optimise import sharpness_gradient


def test_sam_takes_the_gradient_at_the_worst_point_near_by() -> None:
    # f(w) = w^4 / 4 has the gradient w^3: at w = 2 a step of 0.5 along it leads to 2.5.
    model = nn.Linear(1, 1, bias=False)
    model.weight.data.fill_(2.0)

    def backward() -> Tensor:
        loss = model.weight.pow(4).sum() / 4
        torch.autograd.backward(loss)
        return loss

    backward()
    sharpness_gradient(model, backward, rho=0.5)
    assert model.weight.item() == 2.0
    assert model.weight.grad is not None
    assert abs(model.weight.grad.item() - 2.5**3) < 1e-4


def test_sam_leaves_the_statistics_of_norms_to_the_first_pass() -> None:
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(4, 3), nn.BatchNorm1d(3))
    x = torch.randn(8, 4)

    def backward() -> Tensor:
        loss = model(x).square()[:, 0].sum()
        torch.autograd.backward(loss)
        return loss

    backward()
    norm = model[1]
    before = norm.running_mean.clone()
    sharpness_gradient(model, backward, rho=0.5)
    assert torch.equal(norm.running_mean, before)
    assert norm.momentum == 0.1
