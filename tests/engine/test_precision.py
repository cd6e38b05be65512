"""Device and number format."""

import pytest
import torch

from afcore.engine import precision
from afcore.errors import MissingPart


@pytest.mark.parametrize(
    ("flags", "dtype"),
    [
        ({"avx512_bf16": True}, torch.bfloat16),
        ({"amx_bf16": True}, torch.bfloat16),
        ({"bf16": True}, torch.bfloat16),
        ({"avx512_f": True, "avx512_bf16": False}, torch.float32),
        ({}, torch.float32),
    ],
)
def test_bfloat16_only_where_the_cpu_has_it(monkeypatch, flags, dtype):
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    chosen = precision.choose_precision("cpu")
    assert chosen.dtype == dtype and chosen.device.type == "cpu"
    assert chosen.reason.startswith(str(dtype).removeprefix("torch.")) and chosen.reason.endswith(".")


def test_what_is_asked_for_is_taken():
    assert precision.choose_precision("cpu", torch.float32).dtype == torch.float32


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert precision.choose_precision().device.type == "cpu"
    with pytest.raises(MissingPart, match="no CUDA GPU"):
        precision.choose_precision("cuda")
