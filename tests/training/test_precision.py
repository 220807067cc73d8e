"""bfloat16 where it is faster, float32 where it would be emulated."""

from __future__ import annotations

import pytest
import torch

from dfd_batch.training import precision


@pytest.mark.parametrize(
    ("found", "expected"),
    [({"avx2": True, "avx512_bf16": False}, "fp32"), ({"avx512_bf16": True}, "bf16"), ({}, "fp32")],
)
def test_auto_asks_the_processor(
    monkeypatch: pytest.MonkeyPatch, found: dict[str, bool], expected: str
) -> None:
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: found)
    precision._cpu_has_bf16.cache_clear()
    try:
        assert precision.settled("auto", "cpu") == expected
        assert precision.settled("auto", "cuda") == "bf16"
        with precision.autocast("cpu"):
            product = torch.ones(2, 2) @ torch.ones(2, 2)
        assert (product.dtype == torch.bfloat16) == (expected == "bf16")
    finally:
        precision._cpu_has_bf16.cache_clear()


@pytest.mark.parametrize("wanted", ["bf16", "fp32"])
def test_what_is_asked_for_is_what_is_used(wanted: precision.Precision) -> None:
    assert precision.settled(wanted, "cpu") == wanted
