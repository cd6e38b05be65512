"""Everything that is loaded once, and what can be done with it: hear, find neighbours, ask, label.

The pages and the command line both call this and nothing below it. An engine is shared by all browser sessions; whoever
calls `hear`, `stream`, `ask` or the like from several threads holds `Engine.turns` meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from afcore import prompts
from afcore.audio.windows import pad_audios
from afcore.clap import Clap
from afcore.encoders import AudioEncoder
from afcore.engine import memory
from afcore.engine.calibration import Calibration
from afcore.engine.comparing import Comparing
from afcore.engine.hearing import Hearing
from afcore.engine.precision import Precision
from afcore.engine.results import Answer, Heard, StoredClip
from afcore.engine.scoring import Labelling, audio_key
from afcore.engine.turn_queue import Turnstile
from afcore.errors import BadRequest, MissingPart
from afcore.model import AudioFlamingo
from afcore.model.generation import GenerationSettings, stream
from afcore.model.prompt_cache import PromptCache
from afcore.prompts import Prompt
from afcore.retrieval.nearest import Retriever, Shot, embed_bank

if TYPE_CHECKING:
    from afcore.retrieval.bank import Bank, Example

__all__ = ["Engine"]

PROMPTS_KEPT = 8  # conversations whose text and audio caches stay, some 20 MB each for mini


class Engine(Hearing, Labelling, Comparing):
    """One model with its encoder, its CLAP and its example bank.

    ``kind``: which templates and marks its prompts have, a key of ``prompts.MARKS``. ``pad_audios_to``: how many audios
    a sample has with padding, given the number there is; None leaves them unpadded (mini masks what is padded).
    ``max_shots``: where the model was trained with fewer than its table has room for. ``retrieval_notice``: a sentence
    for people where retrieval is not by the CLAP that belongs to the model.
    """

    retrieval_notice = ""
    closed = False
    _max_shots: int | None = None

    def __init__(
        self,
        name: str,
        kind: str,
        model: AudioFlamingo,
        tokenizer: PreTrainedTokenizerBase,
        encoder: AudioEncoder,
        clap: Clap,
        bank: Bank | None = None,
        calibration: Calibration = Calibration(),
        precision: Precision | None = None,
        pad_audios_to: Callable[[int], int] | None = None,
        max_shots: int | None = None,
        retrieval_notice: str = "",
    ):
        self.name, self.kind = name, kind
        self.model, self.tokenizer, self.encoder, self.clap = model, tokenizer, encoder, clap
        self.bank, self.calibration = bank, calibration
        self.features_name = getattr(encoder, "name", name)  # under which a bank keeps the encoder's features
        self.device, self.dtype = model.device, model.dtype
        self.dtype_reason = precision.reason if precision else f"{str(model.dtype).removeprefix('torch.')}, as loaded."
        self.turns = Turnstile()
        self.retrieval_notice = retrieval_notice
        self._pad_audios_to, self._max_shots = pad_audios_to, max_shots
        self._retrievers: dict[int, Retriever] = {}
        self._heard: OrderedDict[str, Heard] = OrderedDict()
        self._prompt_caches: OrderedDict[tuple, PromptCache] = OrderedDict()
        self._content_free: tuple[tuple, dict[str, float]] | None = None

    @property
    def max_shots(self) -> int:
        """Most shots that fit beside the query: as many as the model was trained with, or as its position table holds."""
        config = self.model.config
        room = config.max_positions // (config.max_windows_per_audio * config.tokens_per_window) - 1
        return room if self._max_shots is None else min(room, self._max_shots)

    @property
    def dialogues(self) -> bool:
        """Whether a question is asked with the turns before it; the foundation model answers each by itself."""
        return self.kind != "foundation"

    def forget(self) -> None:
        """Drop everything that is kept to answer faster: clips heard, prompts read."""
        self._heard.clear()
        self._prompt_caches.clear()
        self._content_free = None

    def close(self) -> None:
        """Put the model away, after whoever has the turn: its memory is free even if somebody still holds the engine.

        Whatever is asked of it later is refused in a sentence.
        """
        with self.turns.wait():
            self.forget()
            self._retrievers.clear()
            self.closed = True
            self.model = self.tokenizer = self.encoder = self.clap = None
        memory.release()

    @contextmanager
    def _working(self) -> Iterator[None]:
        if self.closed:
            raise BadRequest("Another model was chosen meanwhile: ask once more.")
        with memory.enough(self.forget):
            yield

    # Retrieval

    def retriever(self, bank: Bank | None = None, progress: Callable[[float], None] | None = None) -> Retriever:
        """Over ``bank``, by default the engine's own; sounds without embeddings are embedded first, which ``progress``
        hears about, 0 to 1.

        Raises MissingPart where there is no bank.
        """
        bank = bank or self.bank
        if bank is None:
            raise MissingPart("There is no example bank here: restore the folder assets/bank, or name one with --bank.")
        if id(bank) not in self._retrievers:
            with self._working():
                embed_bank(self, bank, progress)
            self._retrievers[id(bank)] = Retriever(bank, self.clap.name)  # which holds the bank, so its id stays taken
        return self._retrievers[id(bank)]

    def neighbours(
        self, heard: Heard, k: int = 4, exclude: Collection[int] = (), bank: Bank | None = None, **how: Any
    ) -> list[Shot]:
        """The ``k`` nearest examples, nearest first (`prompt_order` turns them), without the query itself, its copies,
        and the ids in ``exclude``; ``how`` goes to `Retriever.nearest`."""
        own = getattr(heard.clip, "sha256", "")
        return self.retriever(bank).nearest(heard.vector, k, exclude_sha=own, exclude_ids=exclude, **how)

    def search(self, text: str, k: int = 10, bank: Bank | None = None) -> list[Shot]:
        """The ``k`` examples nearest to a description such as "glass breaking", best first."""
        if not text.strip():
            raise BadRequest("Say what to search for.")
        return self.retriever(bank).search(self.clap.text([text.strip()])[0], k)

    def as_shot(self, heard: Heard, example: Example, pinned: bool = True, bank: Bank | None = None) -> Shot:
        """An example that the person chose, with its similarity to the clip."""
        return self.retriever(bank).shot(example.id, heard.vector, pinned)

    # Asking

    def build_prompt(
        self,
        heard: Heard,
        question: str,
        shots: Sequence[Shot] = (),
        history: Sequence[tuple[str, str]] = (),
        labels: Sequence[str] | None = None,
        chat: bool = False,
    ) -> Prompt:
        """The exact text for ``question`` about the clip, and which sound each of its marks stands for.

        ``shots`` stand in the order given. With ``labels``, or a prompt that asks for a class, they answer with their
        label, else with their caption. A question for yes or no lists these as its options. ``history``, earlier
        (question, answer) pairs, makes it a dialogue; so does ``chat``. A chat model is always asked in a dialogue, the
        foundation model never (`dialogues`): it was not trained on any. Raises BadRequest for too many shots or no question.
        """
        if not question.strip():
            raise BadRequest("Ask a question.")
        if len(shots) > self.max_shots:
            raise BadRequest(f"This model takes at most {self.max_shots} examples beside the sound itself.")
        dialogue = self.kind == "chat" or (self.dialogues and (chat or bool(history)))
        yes_no = not labels and prompts.asks_yes_or_no(
            question
        )  # as the binary questions of training, see `instruction`
        asked = question.strip() if dialogue else prompts.instruction(question, yes_no)
        by_label = bool(labels) or prompts.asks_for_class(asked)
        shown = prompts.CAPTION if not by_label else prompts.CLASSIFY if dialogue else asked
        texts = [(shown, answer_of_shot(shot, by_label)) for shot in shots]
        if dialogue:
            return prompts.chat(history, question, shots=texts, kind=self.kind, references=shots)
        options = labels if self.calibration.options else None
        return prompts.with_shots(asked, prompts.task_of(asked), texts, options, kind=self.kind, references=shots)

    def inputs(self, heard: Heard, prompt: Prompt) -> dict[str, Tensor]:
        """What the model's forward pass takes: ``input_ids`` (1, T), ``audio_embeds`` (1, A·W, E), ``audio_mask`` (1, A·W)."""
        features = [heard.features if a == prompts.QUERY else self.features_of(a) for a in prompt.audios]
        count = self._pad_audios_to(len(features)) if self._pad_audios_to else None
        embeds, mask = pad_audios(features, self.encoder.silence.cpu(), self.model.config.max_windows_per_audio, count)
        ids = self.tokenizer(prompt.text, return_tensors="pt").input_ids
        return {
            "input_ids": ids.to(self.device),
            "audio_embeds": embeds[None].to(self.device),
            "audio_mask": mask[None].to(self.device),
        }

    def features_of(self, shot: Shot) -> Tensor:
        """Window features (n, E) float32 of a shot, from its bank."""
        features = shot.bank.features(shot.example.id, self.features_name)
        return torch.as_tensor(np.asarray(features), dtype=torch.float32)

    def stream(
        self,
        heard: Heard,
        prompt: Prompt,
        settings: GenerationSettings = GenerationSettings(),
        stop: threading.Event | None = None,
        timings: dict[str, float] | None = None,
    ) -> Iterator[str]:
        """Yields the answer piece by piece; ``stop`` ends it within one token and keeps what was said.

        A prompt that begins like an earlier one about the same sounds, the next turn of a chat for instance, is read
        from there on. ``timings`` gets ``first_token`` and ``generate``, in seconds from the call.
        """
        begun = time.perf_counter()
        timings = {} if timings is None else timings
        with self._working():
            cache = self._prompt_cache(heard, prompt)
            for piece in stream(self.model, self.tokenizer, self.inputs(heard, prompt), settings, stop, cache):
                timings.setdefault("first_token", time.perf_counter() - begun)
                yield piece
        timings["generate"] = time.perf_counter() - begun
        timings.setdefault("first_token", timings["generate"])  # an empty answer: its end was the first token

    def ask(
        self,
        heard: Heard,
        question: str,
        shots: Sequence[Shot] = (),
        history: Sequence[tuple[str, str]] = (),
        settings: GenerationSettings = GenerationSettings(),
        labels: Sequence[str] | None = None,
        stop: threading.Event | None = None,
    ) -> Answer:
        """A whole answer; with ``labels`` also how probable each is as the answer."""
        prompt = self.build_prompt(heard, question, shots, history, labels)
        timings = dict(heard.timings)
        text = "".join(self.stream(heard, prompt, settings, stop, timings)).strip()
        bare = self.build_prompt(heard, question, (), history, labels) if labels and shots else prompt
        probabilities = self.probabilities(heard, prompt, labels, bare) if labels else None
        return Answer(text, prompt, tuple(shots), heard, timings, self.name, probabilities)

    def caption(
        self, heard: Heard, shots: Sequence[Shot] = (), settings: GenerationSettings = GenerationSettings()
    ) -> Answer:
        """One sentence about the clip."""
        return self.ask(heard, prompts.CAPTION, shots, settings=settings)

    def _prompt_cache(self, heard: Heard, prompt: Prompt) -> PromptCache:
        if isinstance(heard.clip, StoredClip):  # scored in passing: must not push out anybody's conversation
            return PromptCache()
        key = audio_key(prompt, heard.key)
        cache = self._prompt_caches.pop(key, None) or PromptCache()
        self._prompt_caches[key] = cache
        if len(self._prompt_caches) > PROMPTS_KEPT:
            self._prompt_caches.popitem(last=False)
        return cache


def answer_of_shot(shot: Shot, by_label: bool) -> str:
    """What a shot answers in the prompt: its label, or its caption where it has one."""
    return prompts.answer_of(shot.example.label) if by_label or not shot.example.caption else shot.example.caption
