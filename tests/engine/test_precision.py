"""Device and number format."""

import pytest
import torch

from afcore.engine import precision
from afcore.errors import BadRequest, MissingPart


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


@pytest.mark.parametrize("flags", [{"bf16": True}, {}])
def test_weights_in_8_bits_where_asked_on_a_cpu_and_where_the_model_can(monkeypatch, flags):
    assert not precision.choose_precision("cpu", eight_bits=True).eight_bits
    monkeypatch.setenv(precision.VARIABLE, precision.EIGHT_BITS)
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: flags)
    chosen = precision.choose_precision("cpu", eight_bits=True)
    assert chosen.eight_bits and "8 bits" in chosen.reason and chosen.name.endswith(", weights in 8 bits")
    plain = precision.choose_precision("cpu")
    assert plain.dtype == chosen.dtype and not plain.eight_bits and "8 bits" not in plain.reason + plain.name
    found(monkeypatch, "mps")
    assert not precision.choose_precision(eight_bits=True).eight_bits


@pytest.mark.parametrize("half", [0, 32])
def test_weights_in_4_bits_where_asked_and_where_the_cpu_is_quick_with_them(monkeypatch, half):
    monkeypatch.setattr(precision, "half_block", lambda: half)
    assert not precision.choose_precision("cpu", four_bits=True).four_bits
    monkeypatch.setenv(precision.VARIABLE, precision.FOUR_BITS)
    chosen, plain = precision.choose_precision("cpu", four_bits=True), precision.choose_precision("cpu")
    assert chosen.four_bits == chosen.name.endswith(", weights in 4 bits") == bool(half)
    assert plain.dtype == chosen.dtype and not plain.four_bits and not chosen.eight_bits
    assert not precision.choose_precision("cpu", torch.float32, four_bits=True).four_bits


def test_what_is_asked_for_is_taken(monkeypatch):
    assert precision.choose_precision("cpu", torch.float32).dtype == torch.float32
    assert not precision.choose_precision("cpu", torch.float32, eight_bits=True).eight_bits
    monkeypatch.setenv(precision.VARIABLE, "float32")
    chosen = precision.choose_precision("cpu", eight_bits=True)
    assert chosen.dtype == torch.float32 and not chosen.eight_bits
    assert precision.choose_precision("cpu", torch.bfloat16).dtype == torch.bfloat16
    monkeypatch.setenv(precision.VARIABLE, "3bit")
    with pytest.raises(BadRequest, match="set it to float32, bfloat16, 8bit or 4bit"):
        precision.choose_precision("cpu")


def found(monkeypatch, name):
    """Only the check is made up: what PyTorch says it can compute on."""
    device = None if name is None else torch.device(name)
    monkeypatch.setattr(torch.accelerator, "current_accelerator", lambda check_available: device)


def test_a_gpu_that_is_not_there_is_refused(monkeypatch):
    found(monkeypatch, None)
    assert precision.choose_precision().device.type == "cpu"
    with pytest.raises(MissingPart, match="no CUDA GPU"):
        precision.choose_precision("cuda")
    with pytest.raises(MissingPart, match="no device “mps”"):
        precision.choose_precision("mps")


def test_apples_gpu_is_taken_where_there_is_one(monkeypatch):
    found(monkeypatch, "mps")
    chosen = precision.choose_precision()
    assert (chosen.device.type, chosen.dtype) == ("mps", torch.float32) and "float32" in chosen.reason
    assert precision.choose_precision("mps").device.type == "mps"
    assert precision.choose_precision("cpu").device.type == "cpu"
    with pytest.raises(MissingPart, match="no CUDA GPU"):
        precision.choose_precision("cuda")


def test_a_gpu_that_pytorch_cannot_use_gets_a_notice(monkeypatch, tmp_path):
    found(monkeypatch, None)
    monkeypatch.setattr(precision, "DRIVER", tmp_path)
    assert precision.choose_precision().notice == ""
    (tmp_path / "0000:01:00.0").mkdir()
    (tmp_path / "0000:01:00.0" / "information").write_text("Model: \t\t NVIDIA GeForce GTX 1080\nIRQ: 12\n")
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(torch.version, "cuda", None)
    notice = precision.choose_precision().notice
    assert "NVIDIA GeForce GTX 1080" in notice and "`make run`" in notice
    assert precision.choose_precision("cpu").notice == "", "who asks for the CPU gets it without a word"
    monkeypatch.setattr(torch.version, "cuda", "13.0")
    with pytest.raises(MissingPart, match=r"driver for CUDA 13\.0"):
        precision.choose_precision("cuda")
