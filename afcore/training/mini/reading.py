"""An auxiliary loss: what the tags of a sound are called is read off the words that the front end gives on
(`afcore.model.front_end`), word by word.

Not in the paper. A name that is said token by token can be copied: look for the strongest tag's first token, then for
the token after the one just said. Attention learns that by itself only after very many samples, since it has to look
and to write rightly before either is of use. So it is told where to look: at positions before a token of a name, some
heads of the first cross-attention blocks shall look at that token among the tags' (supervised attention: Liu et al.,
COLING 2016; a copy mechanism without a distribution of its own). The samples are short, one sound and one question
that names what is heard, and in most of them the class of the sound is changed for any other.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from afcore import prompts
from afcore.checkpoints.mini import called, tag_token_ids
from afcore.corpus.held_out import says_left_out
from afcore.errors import BadRequest
from afcore.model import AudioFlamingo, AudioFlamingoConfig
from afcore.model.flamingo import block_of, decoder_layers
from afcore.model.front_end import strongest
from afcore.training.mini.rewards import HasTalk, spoken
from afcore.training.recipe.batches import collate
from afcore.training.recipe.network import AnswerLoss
from afcore.training.recipe.sources import AuxiliaryLoss, DataSource
from afcore.training.recipe.texts import TrainingSample

KINDS = ("classify", "what", "what", "source", "title", "alt", "tags", "caption")
UNCHANGED = 0.5  # of the sounds whose class is not changed, the share that is left out
BLOCKS, HEADS = 3, 2  # the first blocks, and of each the first heads, are told where to look
LOOKING = 0.3  # weight of where they look beside what is said
LONGEST = 96  # tokens of a sample


class Reading(AuxiliaryLoss):
    """``samples`` of each draw."""

    def __init__(self, config: AudioFlamingoConfig, samples: int = 16):
        super().__init__()
        if not config.tag_words:
            raise BadRequest("The reading loss needs a model whose front end gives on the words of its tags.")
        self.samples, self.config, self.found = samples, config, list[float]()

    def trains(self, name: str) -> bool:
        """What hears."""
        return AudioFlamingo.is_audio_parameter(name)

    def prepare(
        self, model: AudioFlamingo, tokenizer: PreTrainedTokenizerBase, source: DataSource | HasTalk, seed: int = 0
    ) -> None:
        """Raises BadRequest where the dataset is not of clips that are spoken about."""
        self.source, self.tokenizer = spoken(source, "Names are read"), tokenizer
        self.talk = self.source.maker
        numbers: dict[str, int] = {}
        self.like = torch.tensor(  # tokens that differ by a space or a capital letter alone are one word
            [numbers.setdefault(str(tokenizer.decode([i])).strip().lower(), i) for i in range(len(tokenizer))]
        )
        count = self.config.tag_words
        self.words = torch.full((self.config.tag_count, count), -1)
        for row, ids in zip(self.words, tag_token_ids(tokenizer, called()), strict=True):
            row[: len(ids)] = self.like[torch.tensor(ids[:count])]

    def draw(self, rng: np.random.Generator) -> TrainingSample:
        """One question about one sound; ``rng`` alone decides which."""
        talk = self.talk
        talk.rng = rng
        while True:
            about = talk.about()
            if not about.truth.events or (not about.sound.changes and rng.random() < UNCHANGED):
                continue
            kind = KINDS[int(rng.integers(len(KINDS)))]
            if kind == "classify":
                asked, answer, options = talk.classified(about)
                prompt = prompts.single(asked, prompts.task_of(asked), options)
            elif kind == "caption":
                prompt = prompts.single(prompts.CAPTION, prompts.task_of(prompts.CAPTION))
                answer = talk.captioned(about.truth)
            else:
                asked, answer = talk.turn(kind, about)
                prompt = prompts.chat([], asked)
            sample = talk.finish(prompt, answer, [about.sound])
            if not says_left_out(sample.text):
                return sample

    def forward(self, model: AudioFlamingo, rng: np.random.Generator) -> Tensor:
        """Mean cross-entropy of the answers' tokens, and `LOOKING` of that of where the heads look."""
        samples = [self.draw(rng) for _ in range(self.samples)]
        features = [self.source.features(sample, rng) for sample in samples]
        slots, silence = self.config.max_windows_per_audio, np.zeros(features[0][0].shape[1], np.float32)
        batch = collate(samples, features, self.tokenizer, slots, silence, max_tokens=LONGEST)
        batch = {name: value.to(model.device) for name, value in batch.items()}
        looks: list[tuple[Tensor, Tensor, Tensor | None]] = []
        hooks = [
            hook for layer in self.config.cross_attention_layers[:BLOCKS] for hook in self._watch(model, layer, looks)
        ]
        try:
            sums, counts = AnswerLoss(model, None)(batch)
        finally:
            for hook in hooks:
                hook.remove()
        said = sums.sum() / counts.sum().clamp_min(1)
        return said + LOOKING * self._looking(batch, looks)

    def _watch(self, model: AudioFlamingo, layer: int, looks: list) -> list[Any]:
        """Puts queries, keys and mask of a block's attention into `looks` as it is used."""
        block = block_of(decoder_layers(model.language_model)[layer])
        assert block is not None, "the config says so"
        attention = block.attn

        def heard(module, args):
            looks.append((None, args[1].keys_values[layer][0], args[1].mask))

        def asked(module, args, out):
            looks[-1] = (out.unflatten(-1, (attention.heads, -1)).transpose(1, 2), *looks[-1][1:])

        return [attention.register_forward_pre_hook(heard), attention.to_q.register_forward_hook(asked)]

    def _looking(self, batch: dict[str, Tensor], looks: list) -> Tensor:
        """Mean over the positions before a token that a tag's name has: minus the logarithm of how much of a head's
        look is on such tokens."""
        following = self.like.to(batch["labels"].device)[batch["labels"][:, 1:].clamp_min(0)]
        following = following.masked_fill(batch["labels"][:, 1:] == -100, -2)
        there = self.tokens(batch)[:, None] == following[..., None]  # (B, T - 1, N)
        counted = there.any(-1)
        losses = []
        for queries, keys, mask in looks:
            q, k = queries[:, :HEADS, :-1].float(), keys[:, :HEADS].float()
            scores = q @ k.transpose(-1, -2) * q.shape[-1] ** -0.5
            if mask is not None:
                scores = scores.masked_fill(~mask[:, :, :-1], -torch.inf)
            share = scores.log_softmax(-1).masked_fill(~there[:, None], -torch.inf).logsumexp(-1)  # (B, heads, T - 1)
            losses.append(-share.transpose(1, 2)[counted].mean())
        looked = torch.stack(losses)
        self.found.append(float((-looked.detach()).exp().mean()))
        return looked.mean()

    def tokens(self, batch: dict[str, Tensor]) -> Tensor:
        """(B, N) the token that each audio token stands for; −1 for those that stand for none, or are absent."""
        config, mask = self.config, batch["audio_mask"]
        kept = mask.any(0)
        logits = batch["audio_embeds"][:, kept, -config.tag_count :]
        _, index = strongest(logits.sigmoid(), config.tag_tokens)
        words = self.words.to(index.device)[index].flatten(-2)
        other = words.new_full((*words.shape[:-1], 2 + config.tag_tokens), -1)
        return torch.cat([other, words], -1).masked_fill(~mask[:, kept, None], -1).flatten(1)

    def look(self, model: AudioFlamingo) -> dict[str, float]:
        """Nothing: what is not trained on is asked by `python -m afcore evaluate questions`."""
        return {}

    def seen(self) -> dict[str, float]:
        """`looked`: the geometric mean of the heads' share on the right tokens."""
        found = {"looked": float(np.mean(self.found))} if self.found else {}
        self.found.clear()
        return found
