"""Everything that is loaded once, and what can be done with it: hear, find neighbours, ask, label.

The pages and the command line both call this and nothing below it. An engine is shared by all browser sessions; whoever
calls `hear`, `stream`, `ask` or the like from several threads holds `Engine.turns` meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from afcore import paths, prompts
from afcore.audio import Clip, from_samples, normalise, open_recording
from afcore.calibration import Calibration
from afcore.clap import Clap, embed_sound
from afcore.encoders import AudioEncoder
from afcore.errors import BadRequest, MissingPart
from afcore.model import AudioFlamingo
from afcore.model.generation import GenerationSettings, candidates, score_continuations, stream
from afcore.model.prompt_cache import PromptCache
from afcore.precision import Precision, choose_precision
from afcore.prompts import Prompt
from afcore.results import Answer, Heard
from afcore.retrieval import Retriever, Shot, embed_bank
from afcore.shuffling import shuffled
from afcore.turnstile import Turnstile
from afcore.windows import pad_audios

if TYPE_CHECKING:
    from afcore.bank import Bank, Example

HEARD_KEPT = 256  # clips whose features stay in memory, some 60 kB each
PROMPTS_KEPT = 8  # conversations whose text and audio caches stay, some 20 MB each for mini
TOP_TAGS = 10
SILENCE_RATE = 48_000  # Hz, at which no encoder listens: so that warming up with silence includes resampling


class Engine:
    """One model with its encoder, its CLAP and its example bank.

    ``kind``: which templates and marks its prompts have, a key of ``prompts.MARKS``. ``pad_audios_to``: how many audios
    a sample has with padding, given the number there is; None leaves them unpadded (mini masks what is padded).
    """

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
    ):
        self.name, self.kind = name, kind
        self.model, self.tokenizer, self.encoder, self.clap = model, tokenizer, encoder, clap
        self.bank, self.calibration = bank, calibration
        self.features_name = getattr(encoder, "name", name)  # under which a bank keeps the encoder's features
        self.device, self.dtype = model.device, model.dtype
        self.dtype_reason = precision.reason if precision else f"{str(model.dtype).removeprefix('torch.')}, as loaded."
        self.turns = Turnstile()
        self._pad_audios_to = pad_audios_to
        self._retrievers: dict[int, Retriever] = {}
        self._heard: OrderedDict[str, Heard] = OrderedDict()
        self._prompt_caches: OrderedDict[tuple, PromptCache] = OrderedDict()
        self._content_free: tuple[tuple, Tensor] | None = None

    @property
    def max_shots(self) -> int:
        """Most shots that fit beside the query, from the rows of the model's position table."""
        config = self.model.config
        return config.max_positions // (config.max_windows_per_audio * config.tokens_per_window) - 1

    # Hearing

    def hear(self, clip: Clip) -> Heard:
        """Window features, CLAP embedding and tags of ``clip``; heard once per content and then remembered."""
        if clip.key in self._heard:
            self._heard.move_to_end(clip.key)
            known = self._heard[clip.key]
            # The same stretch may come from a file of another name; nothing was computed for it this time.
            return replace(known, clip=clip, timings={"encode": 0.0})
        begun = time.perf_counter()
        plan = self.encoder.plan
        samples = normalise(clip.resampled(plan.rate).samples)[: plan.max_samples]
        features = self.encoder.embed(samples).float().cpu()
        heard = Heard(
            clip=clip,
            features=features,
            times=[(clip.start + start, clip.start + end) for start, end in plan.times(len(samples))],
            vector=embed_sound(self.clap, clip, features),
            tags=self._tags(features),
            timings={},
        )
        heard.timings["encode"] = time.perf_counter() - begun
        self._heard[clip.key] = heard
        if len(self._heard) > HEARD_KEPT:
            self._heard.popitem(last=False)
        return heard

    def silence(self) -> Heard:
        """One window of nothing, as heard."""
        samples = np.zeros(round(self.encoder.plan.seconds * SILENCE_RATE), np.float32)
        return self.hear(from_samples(samples, SILENCE_RATE, "silence").clip())

    def forget(self) -> None:
        """Drop everything that is kept to answer faster: clips heard, prompts read."""
        self._heard.clear()
        self._prompt_caches.clear()
        self._content_free = None

    def hear_file(self, source, name: str | None = None, start: float = 0.0) -> Heard:
        """As `hear`, for a sound file (path, bytes or open file) from ``start`` in seconds; raises AudioError, BadRequest."""
        begun = time.perf_counter()
        clip = open_recording(source, name).clip(start)
        decoded = time.perf_counter() - begun
        heard = self.hear(clip)
        return replace(heard, timings={"decode_audio": decoded, **heard.timings})

    def _tags(self, features: Tensor) -> list[tuple[str, float]]:
        if not hasattr(self.encoder, "tags"):
            return []
        probabilities = self.encoder.tags(features)
        best = probabilities.topk(min(TOP_TAGS, len(probabilities)))
        return [(self.encoder.labels[i], p) for p, i in zip(best.values.tolist(), best.indices.tolist())]

    # Retrieval

    def retriever(self, bank: Bank | None = None) -> Retriever:
        """Over ``bank``, by default the engine's own; sounds without embeddings are embedded first.

        Raises MissingPart where there is no bank.
        """
        bank = bank or self.bank
        if bank is None:
            raise MissingPart("There is no example bank here: restore the folder assets/bank, or name one with --bank.")
        if id(bank) not in self._retrievers:
            embed_bank(self, bank)
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
        label, else with their caption. ``history``, earlier (question, answer) pairs, makes it a dialogue; so does
        ``chat``. Raises BadRequest for too many shots or no question.
        """
        if not question.strip():
            raise BadRequest("Ask a question.")
        if len(shots) > self.max_shots:
            raise BadRequest(f"This model takes at most {self.max_shots} examples beside the sound itself.")
        dialogue = chat or bool(history)
        asked = question.strip() if dialogue else prompts.instruction(question)
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

    def caption(self, heard: Heard, shots: Sequence[Shot] = (), settings: GenerationSettings = GenerationSettings()) -> Answer:
        """One sentence about the clip."""
        return self.ask(heard, prompts.CAPTION, shots, settings=settings)

    def candidates(
        self, heard: Heard, prompt: Prompt, n: int, settings: GenerationSettings, stop: threading.Event | None = None
    ) -> list[tuple[str, float]]:
        """n sampled answers without repeats, each with the CLAP similarity of its text to the clip, best first, as the
        published demo shows them."""
        inputs, cache = self.inputs(heard, prompt), self._prompt_cache(heard, prompt)
        found = candidates(self.model, self.tokenizer, inputs, settings, n, stop, cache)
        texts = list(dict.fromkeys(text.strip() for text in found if text.strip()))
        if not texts:
            return []
        similarities = self.clap.text(texts) @ heard.vector
        return sorted(zip(texts, similarities.tolist()), key=lambda pair: -pair[1])

    # Labelling

    def classify(self, heard: Heard, labels: Sequence[str], shots: Sequence[Shot] = ()) -> dict[str, float]:
        """Probability of each label, summing to 1: how likely it is as the answer to "classify this sound."."""
        prompts.check_labels(labels)
        prompt = self.build_prompt(heard, prompts.CLASSIFY, shots, labels=labels)
        bare = self.build_prompt(heard, prompts.CLASSIFY, labels=labels) if shots else prompt
        return self.probabilities(heard, prompt, labels, bare)

    def probabilities(self, heard: Heard, prompt: Prompt, labels: Sequence[str], bare: Prompt | None = None) -> dict[str, float]:
        """Probability of each label as the answer to ``prompt``, by the model's `Calibration`. Raises BadRequest.

        ``bare``: the same prompt without shots. What a label scores there for a sound without content is its head start
        in this wording; taken with the shots in place it would also take away what the shots say.
        """
        prompts.check_labels(labels)
        scores, counts = self.score_labels(heard, prompt, labels)
        free = None
        if self.calibration.alpha:
            free = self.content_free_scores(bare or prompt, labels)
        found = self.calibration.probabilities(scores, counts, free)
        return dict(zip(labels, found.tolist()))

    def score_labels(self, heard: Heard, prompt: Prompt, labels: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Sum of the log-probabilities of each label's tokens as the answer, and the number of tokens, both (k,) on the CPU."""
        end = prompts.MARKS[self.kind].eoc if self.calibration.end else ""
        texts = [prompts.answer_of(label) + end for label in labels]
        tokens = [self.tokenizer(text, add_special_tokens=False).input_ids for text in texts]
        scores, counts = score_continuations(
            self.model, self.inputs(heard, prompt), tokens, self._prompt_cache(heard, prompt))
        return scores.cpu(), counts.cpu()

    def content_free_scores(self, prompt: Prompt, labels: Sequence[str]) -> Tensor:
        """As `score_labels`, with 7 s of silence in the place of the query. Kept, since a run over many clips without
        shots asks for the same each time."""
        key = (prompt.text, _audio_key(prompt, ""), tuple(labels))
        if self._content_free is None or self._content_free[0] != key:
            self._content_free = key, self.score_labels(self.silence(), prompt, labels)[0]
        return self._content_free[1]

    def three_answers(
        self,
        heard: Heard,
        question: str,
        shots: Sequence[Shot],
        labels: Sequence[str] | None = None,
        seed: int = 0,
        settings: GenerationSettings = GenerationSettings(),
        on_answer: Callable[[Answer], None] | None = None,
        stop: threading.Event | None = None,
    ) -> list[Answer]:
        """The same question without shots, with these shots, and with the same shots whose labels and captions have
        changed places, so that what the shots contribute can be seen. ``on_answer`` gets each as it is ready."""
        if not shots:
            raise BadRequest("Choose at least one example.")
        changed = shuffled(shots, seed)
        same = all(a.example.label == b.example.label for a, b in zip(shots, changed))
        variants = [
            ("Without examples", ()),
            ("With these examples", shots),
            ("All examples have one label, so shuffling changes none" if same else "The same examples, labels shuffled", changed),
        ]
        answers = []
        for title, chosen in variants:
            if stop is not None and stop.is_set():
                break
            answers.append(replace(self.ask(heard, question, chosen, (), settings, labels, stop), title=title))
            if on_answer is not None:
                on_answer(answers[-1])
        return answers

    def _prompt_cache(self, heard: Heard, prompt: Prompt) -> PromptCache:
        key = _audio_key(prompt, heard.key)
        cache = self._prompt_caches.pop(key, None) or PromptCache()
        self._prompt_caches[key] = cache
        if len(self._prompt_caches) > PROMPTS_KEPT:
            self._prompt_caches.popitem(last=False)
        return cache


def answer_of_shot(shot: Shot, by_label: bool) -> str:
    """What a shot answers in the prompt: its label, or its caption where it has one."""
    return prompts.answer_of(shot.example.label) if by_label or not shot.example.caption else shot.example.caption


def _audio_key(prompt: Prompt, query: str) -> tuple[str, ...]:
    return tuple(query if audio == prompts.QUERY else audio.example.sha256 for audio in prompt.audios)


def load_engine(
    name: str = "mini",
    device: str | torch.device | None = None,
    progress: Callable[[str, float], None] | None = None,
    dtype: torch.dtype | None = None,
) -> Engine:
    """The engine ``name``, ready to answer; ``progress`` hears each stage and the fraction done, 0 to 1.

    Raises BadRequest for a name that is not in ``MODELS``, MissingPart where weights or a package are absent.
    """
    if name not in MODELS:
        raise BadRequest(f"There is no model “{name}”: choose {' or '.join(MODELS)}.")
    progress = progress or (lambda stage, fraction: None)
    progress("Starting", 0.0)
    engine = MODELS[name](choose_precision(device, dtype), progress)
    if (paths.BANK / "bank.sqlite").exists():
        from afcore.bank import Bank

        progress("Opening the example bank", 0.9)
        engine.bank = Bank(paths.BANK)
        engine.retriever()
    progress("Warming up", 0.95)
    # The first pass through each part allocates and compiles; better now than in somebody's first answer.
    silence = engine.silence()
    engine.probabilities(silence, engine.build_prompt(silence, prompts.CLASSIFY), ["sound"])
    engine.forget()
    progress("Ready", 1.0)
    return engine


def _load_mini(precision: Precision, progress: Callable[[str, float], None]) -> Engine:
    from afcore.checkpoints.mini import load_mini

    parts = load_mini(paths.MINI, precision.device, precision.dtype, progress)
    model, tokenizer, encoder, clap, calibration = parts
    return Engine("mini", "mini", model, tokenizer, encoder, clap, None, Calibration.from_dict(calibration), precision)


MODELS: dict[str, Callable[[Precision, Callable[[str, float], None]], Engine]] = {"mini": _load_mini}
"""What can be loaded, by name."""
