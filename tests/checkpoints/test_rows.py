"""Weights stored in 8-bit rows."""

import pytest
import torch

from afcore.checkpoints import mini
from afcore.checkpoints.rows import packed, quantise, unpacked
from afcore.encoders.mini import EMBEDDING


@pytest.mark.parametrize("shape", [(70, 90), (40, 12, 3, 3)])
def test_a_row_comes_back_within_half_a_step_of_its_largest_number(shape):
    torch.manual_seed(0)
    weight = torch.randn(shape) * torch.logspace(-3, 2, shape[0]).view(-1, *[1] * (len(shape) - 1))
    back = unpacked(packed({"w": weight}))["w"]
    assert back.shape == weight.shape and back.dtype == torch.float32
    largest = weight.flatten(1).abs().amax(1, keepdim=True)
    assert ((back - weight).flatten(1).abs() <= largest / 127 * 0.51 + 1e-4 * largest).all()


def test_a_row_of_zeros_stays_one():
    weight = torch.zeros(80, 80)
    weight[1] = 1.0
    assert torch.equal(unpacked(packed({"w": weight}))["w"][0], torch.zeros(80))
    assert quantise(weight)[1].isfinite().all()


def test_small_tensors_integers_and_what_is_named_keep_their_precision():
    state = {
        "norm.running_var": torch.rand(5000, 2),
        "bias": torch.rand(9000),
        "count": torch.tensor(7),
        "w": torch.rand(100, 100),
    }
    stored = packed(state, full=("running",))
    assert stored["norm.running_var"].dtype == torch.float32 and stored["bias"].dtype == torch.float16
    assert stored["w"].dtype == torch.int8 and stored["w.scale"].shape == (100, 1)
    back = unpacked(stored)
    assert set(back) == set(state) and back["count"] == 7
    assert torch.equal(back["norm.running_var"], state["norm.running_var"])
    assert (
        sum(t.numel() * t.element_size() for t in packed({"w": torch.rand(500, 500)}).values()) < 0.26 * 500 * 500 * 4
    )


def test_files_of_half_precision_are_read_too():
    assert torch.equal(unpacked({"w": torch.ones(100, 100).half()})["w"], torch.ones(100, 100))


def test_the_language_side_reads_as_many_numbers_as_the_encoder_gives():
    assert mini.EMBEDDING == EMBEDDING
