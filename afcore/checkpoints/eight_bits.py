"""Linear layers whose weights are 8-bit integers with a scale per row, for use alone: at half the memory of bfloat16,
and a token is decoded faster where reading the weights is what takes the time.

Rounded weights can be neither trained nor saved: who has to, reads the model anew.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, NoReturn

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from afcore.checkpoints.rows import quantise

if TYPE_CHECKING:
    from afcore.model import AudioFlamingo

FEW = 7  # rows of activations up to which the product with integers is the faster one, in bfloat16
PIECE = 4096  # rows of a weight that are widened at once: of an output head, all would not fit a cache
SOME = 16  # layers after which memory is handed back
ONCE = {"to_kv"}  # layers that run once a sound and not once a token, so that nothing is gained


class EightBitLinear(nn.Module):
    """`torch.nn.Linear` with ``weight`` (out, in) int8 and ``scale`` (out,) in the activations' format.

    In bfloat16, up to `FEW` rows of activations are multiplied with the integers themselves. For more the weights are
    widened first, which costs little beside the product. In float32 they always are: the other product is slow there.
    """

    weight: Tensor
    scale: Tensor
    bias: Tensor | None

    def __init__(self, weight: Tensor, bias: Tensor | None = None):
        """``weight`` (out, in), ``bias`` (out,), both floating-point."""
        super().__init__()
        pieces = [quantise(piece, weight.dtype) for piece in weight.detach().split(PIECE)]
        self.out_features, self.in_features = weight.shape
        self.register_buffer("weight", torch.cat([rows for rows, _ in pieces]))
        self.register_buffer("scale", torch.cat([scale.flatten() for _, scale in pieces]))
        self.register_buffer("bias", None if bias is None else bias.detach())

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) → (…, out)."""
        rows = x.reshape(-1, self.in_features)
        if x.dtype == torch.bfloat16 and len(rows) <= FEW:
            out = torch._weight_int8pack_mm(rows, self.weight, self.scale)
        else:
            pieces = [F.linear(rows, piece.to(x.dtype)) for piece in self.weight.split(PIECE)]
            out = (pieces[0] if len(pieces) == 1 else torch.cat(pieces, -1)) * self.scale
        if self.bias is not None:
            out = out + self.bias
        return out.view(*x.shape[:-1], self.out_features)

    def extra_repr(self) -> str:
        return f"in_features={self.in_features}, out_features={self.out_features}, bias={self.bias is not None}"

    def _save_to_state_dict(self, *args: Any, **kwargs: Any) -> NoReturn:
        raise TypeError("Weights in 8 bits are for use alone: save the model that they were rounded from.")


class EightBitEmbedding(nn.Module):
    """`torch.nn.Embedding` that shares the rows of an output head."""

    def __init__(self, head: EightBitLinear):
        super().__init__()
        self.head = head

    def forward(self, ids: Tensor) -> Tensor:
        """ids (…) int → (…, width)."""
        return self.head.weight[ids] * self.head.scale[ids, None]


@torch.no_grad()
def round_(model: AudioFlamingo, trim: Callable[[], None] = lambda: None) -> AudioFlamingo:
    """Puts an `EightBitLinear` in the place of every linear layer that the decoder of ``model`` runs for each token.
    Where the output head is the table of the input embeddings, both are rounded as one. Returns ``model``.

    What was to be added into the weights (`afcore.model.lora`) must be in them. ``trim`` is called now and then, to
    hand back what the unrounded weights took.
    """
    language_model = model.language_model
    tied = language_model.get_output_embeddings().weight is language_model.get_input_embeddings().weight
    if tied:  # so that the unrounded table goes with the head
        language_model.set_input_embeddings(nn.Identity())
    rounded = 0
    # Nothing may hold a layer that has been rounded, or all of them would be in memory twice.
    for parent in [module for module in language_model.modules() if type(module) is not nn.Linear]:
        for name in [name for name, layer in parent.named_children() if type(layer) is nn.Linear and name not in ONCE]:
            layer = parent.get_submodule(name)
            assert isinstance(layer, nn.Linear)
            setattr(parent, name, EightBitLinear(layer.weight, layer.bias))
            del layer
            if rounded % SOME == 0:
                trim()
            rounded += 1
    if tied:
        language_model.set_input_embeddings(EightBitEmbedding(language_model.get_output_embeddings()))
    return model


def is_rounded(model: nn.Module) -> bool:
    """Whether any of its layers went through `round_`."""
    return any(isinstance(module, EightBitLinear) for module in model.modules())
