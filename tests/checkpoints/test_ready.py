"""Weights kept as they are used: the same tensors, mapped from the file, and never those of another make."""

import json
import shutil
import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from afcore import paths
from afcore.checkpoints import mini, ready


class Tied(nn.Module):
    """A table that is its own head, a buffer that is in no state dict, and a number without a shape."""

    def __init__(self, width: int = 4):
        super().__init__()
        self.table = nn.Embedding(6, width)
        self.head = nn.Linear(width, 6, bias=False)
        self.head.weight = self.table.weight
        self.gate = nn.Parameter(torch.tensor(0.5))
        self.register_buffer("angles", torch.arange(3.0), persistent=False)


@pytest.fixture
def kept(tmp_path):
    model = Tied().bfloat16()
    file = tmp_path / "new" / "tied.safetensors"
    ready.keep(model, file, "of this")
    return model, file


def test_the_same_tensors_come_back_each_once(kept):
    model, file = kept
    found = ready.filled(Tied, file, "of this")
    for name, tensor in model.state_dict().items():
        assert found.state_dict()[name].dtype == torch.bfloat16
        assert torch.equal(found.state_dict()[name], tensor)
    assert found.head.weight is found.table.weight
    assert torch.equal(found.angles, model.angles)
    assert [one.name for one in file.parent.iterdir()] == [file.name], "no partial file stays"


@pytest.mark.skipif(sys.platform != "linux", reason="the maps of a process are looked at")
def test_tensors_are_mapped_and_not_copied(kept):
    _, file = kept
    found = ready.filled(Tied, file, "of this")
    lines = Path("/proc/self/maps").read_text().splitlines()
    maps = [line.split() for line in lines if line.endswith(str(file))]
    spans = [tuple(int(end, 16) for end in line[0].split("-")) for line in maps]
    assert any(start <= found.table.weight.data_ptr() < end for start, end in spans)


def test_of_another_make_of_another_shape_or_cut_off_it_is_as_none(kept):
    _, file = kept
    assert ready.filled(Tied, file, "of that") is None
    assert ready.filled(lambda: Tied(5), file, "of this") is None
    assert ready.filled(Tied, file.with_name("none"), "of this") is None
    file.write_bytes(file.read_bytes()[:-8])
    assert ready.filled(Tied, file, "of this") is None
    file.write_bytes(b"")
    assert ready.filled(Tied, file, "of this") is None


def test_a_write_that_fails_leaves_what_was_there(kept, monkeypatch):
    _, file = kept

    def full(*args):
        raise OSError("No space left on device")

    monkeypatch.setattr(ready.os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        ready.keep(Tied(), file, "of that")
    assert ready.filled(Tied, file, "of this") is not None
    assert [one.name for one in file.parent.iterdir()] == [file.name]


def test_mini_is_mapped_as_it_was_built_until_what_it_is_made_from_changes(tmp_path, monkeypatch):
    """Equal tensors, hence equal logits; the file is made anew after a change, and training never sees it."""
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "mini-lm").symlink_to(mini.language_model_folder())
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    folder = tmp_path / "mini"
    shutil.copytree(paths.MINI, folder)
    built, _ = mini.ready_mini(folder, dtype=torch.bfloat16)
    builds = []

    def build(*args, **kwargs):
        builds.append(args)
        return built, None

    monkeypatch.setattr(mini, "build_mini", build)
    mapped, tokenizer = mini.ready_mini(folder, dtype=torch.bfloat16)
    assert not builds
    theirs = dict(built.named_parameters()) | dict(built.named_buffers())
    ours = dict(mapped.named_parameters()) | dict(mapped.named_buffers())
    assert {name: (t.dtype, t.shape) for name, t in ours.items()} == {
        name: (t.dtype, t.shape) for name, t in theirs.items()
    }
    assert all(torch.equal(ours[name], tensor) for name, tensor in theirs.items())
    configs = [json.loads(model.config.to_json_string(use_diff=False)) for model in (built, mapped)]
    for config in configs:
        del config["text_config"]["_name_or_path"]
    assert configs[0] == configs[1]
    ids = tokenizer("<audio>What is this?", return_tensors="pt").input_ids
    with torch.inference_mode():
        says = [model.eval()(input_ids=ids).logits for model in (built, mapped)]
    assert torch.equal(*says)

    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"calibration": {}}))
    mini.ready_mini(folder, dtype=torch.bfloat16)
    assert len(builds) == 1, "another config"
    mini.ready_mini(folder, dtype=torch.bfloat16)
    assert len(builds) == 1
    with (folder / "flamingo.safetensors").open("r+b") as opened:
        opened.seek(-1, 2)
        last = opened.read(1)
        opened.seek(-1, 2)
        opened.write(bytes([last[0] ^ 1]))
    mini.ready_mini(folder, dtype=torch.bfloat16)
    assert len(builds) == 2, "other weights"
