"""Step `encoder`: what ships of a run of `distil`: the averaged weights, norms folded in, 8-bit rows.

    python -m afcore.training.mini.export RUN/last.pt --sounds DIR [--sounds DIR …] --out assets/mini

The language side was trained on the embeddings of an earlier encoder, which were the teacher's standardised.
`known_embedding.json` holds their mean and spread over some training sounds; the new embedding is moved and
stretched, each value by itself, to the same mean and spread over the same sounds (`output_scale`, `output_shift`). A
language side that is trained on this encoder needs neither.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

import numpy as np
import torch

from afcore.checkpoints.rows import packed, unpacked
from afcore.encoders.mini import EMBEDDING, LogMel, MiniEncoderNet
from afcore.training.mini.distillation import folded, student
from afcore.training.mini.sounds import first_windows

KNOWN = Path(__file__).with_name("known_embedding.json")


def settled(net: MiniEncoderNet, sounds: list[np.ndarray]) -> tuple[torch.Tensor, torch.Tensor]:
    """Scale and shift (384,) that bring the embeddings of `sounds` to the mean and spread that the language side
    knows."""
    known, mel = json.loads(KNOWN.read_text()), LogMel()
    with torch.inference_mode():
        heard = torch.stack([net(mel(torch.from_numpy(x)[None]))[0, :EMBEDDING] for x in sounds])
    scale = torch.tensor(known["spread"]) / heard.std(0).clamp(min=1e-3)
    return scale, torch.tensor(known["mean"]) - heard.mean(0) * scale


def export(checkpoint: Path, folders: list[Path], out: Path) -> None:
    """Writes `out/encoder.safetensors` and `out/encoder.json`."""
    from safetensors.torch import save_file

    state = torch.load(checkpoint, weights_only=True)
    grow, hidden = state["plan"]["grow"], state["plan"]["hidden"]
    net = student(grow, hidden)
    net.load_state_dict(state["average"])
    stored = packed(folded(net, grow).state_dict())
    stored = {k: v.contiguous() for k, v in stored.items()}
    shipped = MiniEncoderNet(grow, hidden).eval()
    shipped.load_state_dict(unpacked(stored))
    known = json.loads(KNOWN.read_text())
    stored["output_scale"], stored["output_shift"] = settled(shipped, first_windows(folders, "train", known["sounds"]))
    out.mkdir(parents=True, exist_ok=True)
    save_file(stored, out / "encoder.safetensors")
    steps = {"stage": state["stage"], "step": state["step"], "plan": state["plan"]}
    (out / "encoder.json").write_text(json.dumps({"grow": grow, "trained": steps}))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("checkpoint", type=Path)
    parser.add_argument(
        "--sounds", type=Path, action="append", required=True, help="folder of decoded sounds; may be given again"
    )
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    export(arguments.checkpoint, arguments.sounds, arguments.out)


if __name__ == "__main__":
    main()
