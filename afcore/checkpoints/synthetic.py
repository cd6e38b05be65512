"""Files in the published layout with made-up weights: for tests, and to rehearse the full size where the
real weights are not to be had. Written without ever holding the tensors in memory."""
from __future__ import annotations

import json
import mmap
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.serialization import set_default_mmap_options, skip_data


def write_published(
    keys_file: str | Path, path: str | Path, values: Callable[[str, tuple[int, ...]], np.ndarray | None] | None = None,
    wanted: Callable[[str], bool] = lambda key: True,
) -> None:
    """A `torch.save` file with `model_state_dict` as `keys_file` lists it: {key: {"shape", "same_as"?}}.

    values: (key, shape) -> float32 values, or None for zeros; second copies repeat the original's.
        Without it all is zero and the file is sparse: full size in `ls`, almost nothing on disk.
    wanted: which keys to write, all by default.
    """
    entries = {key: entry for key, entry in json.loads(Path(keys_file).read_text()).items() if wanted(key)}
    with FakeTensorMode():
        state = {key: torch.empty(entry["shape"]) for key, entry in entries.items()}
    with skip_data(materialize_fake_tensors=True):
        torch.save({"model_state_dict": state}, path)
    if values is None:
        return
    with set_default_mmap_options(mmap.MAP_SHARED):  # what is written to the tensors is written to the file
        state = torch.load(path, map_location="cpu", weights_only=True, mmap=True)["model_state_dict"]
    for key, entry in entries.items():
        if "same_as" not in entry and (value := values(key, tuple(entry["shape"]))) is not None:
            state[key].copy_(torch.from_numpy(value))
    for key, entry in entries.items():
        if "same_as" in entry:
            state[key].copy_(state[entry["same_as"]])
