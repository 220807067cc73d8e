import numpy as np
import pytest
import torch

from dfd_batch.features.memory import in_halves


def device_that_holds(n_rows, calls):
    def forward(batch):
        calls.append(len(batch))
        if len(batch) > n_rows:
            raise torch.OutOfMemoryError("CUDA out of memory.")
        return torch.from_numpy(batch * 2), torch.from_numpy(batch.sum(1))

    return forward


@pytest.mark.parametrize("n_rows", [1, 3, 5, 16])
def test_rows_come_back_whole_and_in_order_whatever_fits(n_rows):
    batch, calls = np.arange(22).reshape(11, 2), []
    doubled, sums = in_halves(device_that_holds(n_rows, calls), batch)
    np.testing.assert_array_equal(doubled, batch * 2)
    np.testing.assert_array_equal(sums, batch.sum(1))
    assert sum(n for n in calls if n <= n_rows) == 11


def test_a_processor_without_memory_is_split_as_well_and_other_errors_are_not():
    def forward(batch):
        if len(batch) > 2:
            torch.empty(2**60)  # PyTorch's own words for it
        return (torch.from_numpy(batch),)

    (found,) = in_halves(forward, np.arange(7))
    np.testing.assert_array_equal(found, np.arange(7))

    def wrong(batch):
        calls.append(len(batch))
        raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

    calls = []
    with pytest.raises(RuntimeError, match="mat1"):
        in_halves(wrong, np.arange(7))
    assert calls == [7]


def test_one_row_that_does_not_fit_is_told():
    with pytest.raises(torch.OutOfMemoryError):
        in_halves(device_that_holds(0, []), np.zeros((4, 2)))
