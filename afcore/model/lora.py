"""Low-rank updates of the decoder's attention (Hu et al., 2021): what supervised fine-tuning changes in mini's language
model.

`peft` makes and trains them (`add_adapters_`); for use they are added into the weights they belong to (`load_`), so
that decoding costs what the bare language model costs, and peft is not imported.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from afcore.model.flamingo import AudioFlamingo

PROJECTIONS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
PREFIX = "lora."


def _projections(model: AudioFlamingo) -> Iterator[tuple[str, nn.Module, str]]:
    """(key in the file, parent module, attribute) of every attention projection of the decoder."""
    from afcore.model.flamingo import decoder_layers

    for number, layer in enumerate(decoder_layers(model.language_model)):
        for module in layer.get_submodule("decoder_layer").modules():
            for name in PROJECTIONS:
                if hasattr(module, name):
                    yield f"{PREFIX}{number}.{name}", module, name


def add_adapters_(model: AudioFlamingo, rank: int, first_layer: int) -> None:
    """Puts peft's LoRA beside the attention projections from decoder layer `first_layer` on.

    Earlier layers stay as they are: before the first cross-attention nothing is heard, and their gradient would cost
    half as much again.
    """
    from peft import LoraConfig, inject_adapter_in_model

    layers = list(range(first_layer, model.config.text_config.num_hidden_layers))
    config = LoraConfig(
        r=rank,
        lora_alpha=rank,
        lora_dropout=0.0,
        target_modules=list(PROJECTIONS),
        layers_to_transform=layers,
        layers_pattern="layers",
    )
    inject_adapter_in_model(config, model.language_model)


def updates(model: AudioFlamingo) -> dict[str, Tensor]:
    """A (rank, in) and B (out, rank) of every adapter, the scale folded into B: W + B·A is the new weight."""
    out = {}
    for key, parent, name in _projections(model):
        layer = getattr(parent, name)
        if hasattr(layer, "lora_A"):
            out[key + ".A"] = layer.lora_A["default"].weight.detach()
            out[key + ".B"] = layer.lora_B["default"].weight.detach() * layer.scaling["default"]
    return out


@torch.no_grad()
def load_(model: AudioFlamingo, stored: dict[str, Tensor]) -> None:
    """Puts stored `updates` into the adapters where the model has any, else adds them into the projections' weights.

    Raises KeyError for an update that has no place.
    """
    places = {key: getattr(parent, name) for key, parent, name in _projections(model)}
    for key in (key[:-2] for key in stored if key.endswith(".A")):
        place, a, b = places[key], stored[key + ".A"], stored[key + ".B"]
        if hasattr(place, "lora_A"):
            place.lora_A["default"].weight.copy_(a)
            place.lora_B["default"].weight.copy_(b.float() / place.scaling["default"])
        else:
            place.weight.copy_(place.weight.float() + b.float() @ a.float())
