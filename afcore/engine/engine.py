"""Everything that is loaded once, and what can be done with it: hear, find neighbours, ask, label.

The pages and the command line both call this and nothing below it. An engine is shared by all browser sessions; whoever
calls `hear`, `stream`, `ask` or the like from several threads holds `Engine.turns` meanwhile.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch
from torch import Tensor

from afcore import prompts
from afcore.audio.channels import AUTO
from afcore.audio.recording import Clip, open_recording
from afcore.engine import comparing, memory, model_folder, scoring
from afcore.engine.calibration import Calibration
from afcore.engine.hearing import Ear, silent_clip
from afcore.engine.results import Answer, Heard, LabelScores
from afcore.engine.scoring import EQUAL, Judge, JudgeWeights, LabelQuestion, LanguageJudge, conversation
from afcore.engine.turn_queue import TurnQueue
from afcore.errors import BadRequest, MissingPart
from afcore.model.generation import GenerationSettings
from afcore.prompts import Prompt
from afcore.retrieval.nearest import Retriever, Shot, embed_bank

if TYPE_CHECKING:
    from afcore.clap import Clap
    from afcore.encoders import AudioEncoder
    from afcore.engine.language import TextModel
    from afcore.engine.model_folder import Source
    from afcore.engine.precision import Precision
    from afcore.retrieval import ExampleBank
    from afcore.retrieval.example import Example

__all__ = ["Engine"]

REFERENCES = 12  # sounds over which a label's own probability is averaged
GREEDY = GenerationSettings()


@dataclass(frozen=True)
class _Parts:
    """What takes memory, and goes when the engine is closed."""

    language: TextModel
    ear: Ear
    language_judge: LanguageJudge
    judges: tuple[Judge, ...]


class Engine:
    """A model for text with its encoder, its CLAP and its example bank.

    ``judges``: who says how probable labels are besides the language side; ``weights``: how far each is believed.
    ``retrieval_notice``: a sentence for people where retrieval is not by the CLAP that belongs to the model.
    ``source``: where the files of its other parts lie, for `save`. ``finder``: the CLAP that finds neighbours, and
    sounds by text, where that is not ``clap``, the model's own, by which it judges labels and ranks candidates.
    """

    def __init__(
        self,
        name: str,
        language: TextModel,
        encoder: AudioEncoder,
        clap: Clap,
        bank: ExampleBank | None = None,
        calibration: Calibration = Calibration(),
        precision: Precision | None = None,
        retrieval_notice: str = "",
        judges: Sequence[Judge] = (),
        weights: JudgeWeights = EQUAL,
        source: Source | None = None,
        finder: Clap | None = None,
    ):
        self.name, self.kind = name, language.kind
        self.weights, self.source = weights, source
        self.bank, self.calibration = bank, calibration
        self.features_name, self.own_clap_name = encoder.name, clap.name
        self.clap_name = clap.name if finder is None else finder.name
        self.max_shots = language.max_shots
        self.device, self.dtype = language.device, language.dtype
        self.paddings, self.padding = language.paddings, next(iter(language.paddings), "")
        self.precision, self.retrieval_notice = precision, retrieval_notice
        self.turns = TurnQueue()
        self._retrievers: dict[int, Retriever] = {}
        self._own_vectors: dict[int, dict[int, np.ndarray]] = {}  # of banks in `_retrievers`, whose ids stay taken
        judge = LanguageJudge(language, calibration, self.sounds, self.references)
        self._parts: _Parts | None = _Parts(language, Ear(encoder, clap, finder), judge, (judge, *judges))

    def with_calibration(self, calibration: Calibration) -> Engine:
        """Another engine of the same parts that reads label scores otherwise. Closing either leaves the other as it
        is."""
        return self._with(calibration=calibration)

    def with_judges(self, judges: Sequence[Judge], weights: JudgeWeights) -> Engine:
        """Another engine of the same parts with other judges beside the language side."""
        return self._with(judges=judges, weights=weights)

    def _with(self, **changed: Any) -> Engine:
        """Another engine of the same parts, but for the ``changed`` arguments of the constructor."""
        parts = self._open
        same: dict[str, Any] = {
            "name": self.name,
            "language": parts.language,
            "encoder": parts.ear.encoder,
            "clap": parts.ear.clap,
            "bank": self.bank,
            "calibration": self.calibration,
            "precision": self.precision,
            "retrieval_notice": self.retrieval_notice,
            "judges": parts.judges[1:],
            "weights": self.weights,
            "source": self.source,
            "finder": parts.ear.finder,
        }
        other = Engine(**(same | changed))
        other.use_padding(self.padding)
        return other

    def save(self, folder: str | Path) -> Path:
        """Write the model to ``folder``, new or empty, so that `load_engine` gives an engine of equal probabilities;
        returns its full path. The bank is not part of it, nor is LAION-CLAP.

        Raises BadRequest where the folder holds something, or an engine was put together from parts without files.
        """
        with self._working() as parts:
            return model_folder.save(folder, parts.language, self.source, self.calibration, self.name)

    # Its parts

    @property
    def _open(self) -> _Parts:
        if self._parts is None:
            raise BadRequest("Another model was chosen meanwhile: ask once more.")
        return self._parts

    @property
    def closed(self) -> bool:
        """Whether it was put away; whatever is asked of it then raises BadRequest."""
        return self._parts is None

    @property
    def language(self) -> TextModel:
        """What generates text, and scores it."""
        return self._open.language

    @property
    def ear(self) -> Ear:
        """What listens."""
        return self._open.ear

    @property
    def encoder(self) -> AudioEncoder:
        """Gives the window features that the model reads."""
        return self._open.ear.encoder

    @property
    def clap(self) -> Clap:
        """The model's own CLAP: judges and candidates are compared by its vectors, and neighbours where there is no
        `finder`."""
        return self._open.ear.clap

    @property
    def finder(self) -> Clap:
        """Gives the vectors that retrieval compares, named `clap_name`."""
        ear = self._open.ear
        return ear.clap if ear.finder is None else ear.finder

    @property
    def language_judge(self) -> LanguageJudge:
        """The language side as a judge of labels."""
        return self._open.language_judge

    @property
    def number_format(self) -> str:
        """In what it computes, in words: "bfloat16", or "bfloat16, weights in 8 bits"."""
        return str(self.dtype).removeprefix("torch.") if self.precision is None else self.precision.name

    @property
    def dtype_reason(self) -> str:
        """Why it computes in `dtype`, in a sentence."""
        if self.precision is None:
            return f"{str(self.dtype).removeprefix('torch.')}, as loaded."
        return self.precision.reason

    @property
    def device_notice(self) -> str:
        """Where a GPU is there but not used: why, and what to install; else ''."""
        return "" if self.precision is None else self.precision.notice

    @property
    def dialogues(self) -> bool:
        """Whether a question is asked with the turns before it; the foundation model answers each by itself."""
        return self.kind != "foundation"

    def found_by(self, finder: Clap | None, bank: ExampleBank | None) -> Engine:
        """Another engine of the same parts whose neighbours are found by ``finder`` (None: the model's own CLAP) in
        ``bank``. Closing either leaves the other as it is."""
        notice = "" if finder is not None else self.retrieval_notice
        return self._with(bank=bank, finder=finder, retrieval_notice=notice)

    def use_padding(self, way: str) -> None:
        """Pad samples from now on as ``way`` says, one of `paddings`: `prompts.DEMO` or `prompts.BENCHMARK`.

        Raises BadRequest for another, also where the model pads nothing.
        """
        if way == self.padding:
            return
        if way not in self.paddings:
            ways = f"choose {' or '.join(self.paddings)}" if self.paddings else "only the published models pad"
            raise BadRequest(f"The model {self.name} has no padding “{way}”: {ways}.")
        self.padding = way

    def forget(self) -> None:
        """Drop everything that is kept to answer faster: clips heard, prompts read."""
        if self._parts is not None:
            self._parts.ear.forget()
            self._parts.language.forget()
            self._parts.language_judge.forget()

    def close(self) -> None:
        """Put the model away, after whoever has the turn: its memory is free even if somebody still holds the engine.

        Whatever is asked of it later is refused in a sentence.
        """
        with self.turns.wait():
            self.forget()
            self._retrievers.clear()
            self._own_vectors.clear()
            self._parts = None
        memory.release()

    @contextmanager
    def _working(self) -> Iterator[_Parts]:
        parts = self._open
        with memory.enough(self.forget):
            yield parts

    # Hearing

    def hear(self, clip: Clip, remember: bool = True) -> Heard:
        """Window features, CLAP embedding and tags of ``clip``; heard once per content and then remembered.

        ``remember``: False for one of very many, which would push out what others come back to. Raises OutOfMemory
        where the GPU has too little.
        """
        with self._working() as parts:
            return parts.ear.hear(clip, remember)

    def hear_many(self, clips: Sequence[Clip], remember: bool = True) -> list[Heard]:
        """As `hear` for each of ``clips``, which the encoder hears together where it can."""
        with self._working() as parts:
            return parts.ear.hear_many(clips, remember)

    def hear_files(self, files: Sequence[tuple[Path, str | int]]) -> list[Heard]:
        """As `hear_file` for each of several, (file, channels), together; for whoever keeps what comes out."""
        return self.hear_many([open_recording(file, None, channels).clip() for file, channels in files], False)

    def hear_file(
        self,
        source: str | Path | bytes | BinaryIO,
        name: str | None = None,
        start: float = 0.0,
        channels: str | int = AUTO,
        track: int | None = None,
    ) -> Heard:
        """As `hear`, for a sound file (path, bytes or open file) from ``start`` in seconds; ``channels`` and ``track``
        as in `open_recording`. Raises AudioError, BadRequest."""
        begun = time.perf_counter()
        clip = open_recording(source, name, channels, track).clip(start)
        decoded = time.perf_counter() - begun
        heard = self.hear(clip)
        return replace(heard, timings={"decode_audio": decoded, **heard.timings})

    def silence(self) -> Heard:
        """One window of nothing, as heard."""
        return self.hear(silent_clip(self.encoder.plan))

    def recall(self, bank: ExampleBank, example: Example) -> Heard:
        """An embedded example of ``bank`` as heard when it was embedded. Raises BadRequest where it was not."""
        near = self.retriever(bank).vector(example.id)
        own = near if self.clap_name == self.own_clap_name else self._own_vector(bank, example)
        return Heard.of_features(example.sha256, self._features(bank, example), own, example.sha256, near)

    def _own_vector(self, bank: ExampleBank, example: Example) -> np.ndarray:
        if id(bank) not in self._own_vectors:
            ids, matrix = bank.clap_matrix(self.own_clap_name)
            self._own_vectors[id(bank)] = dict(zip(ids, matrix, strict=True))
        return self._own_vectors[id(bank)][example.id]

    # Retrieval

    def retriever(self, bank: ExampleBank | None = None, progress: Callable[[float], None] | None = None) -> Retriever:
        """Over ``bank``, by default the engine's own; sounds without embeddings are embedded first, which ``progress``
        hears about, 0 to 1.

        Raises MissingPart where there is no bank.
        """
        bank = bank or self.bank
        if bank is None:
            raise MissingPart("There is no example bank here: restore the folder assets/bank, or name one with --bank.")
        if id(bank) not in self._retrievers:
            with self._working():
                if bank.takes_embeddings():
                    embed_bank(self, bank, progress)
            self._retrievers[id(bank)] = Retriever(bank, self.clap_name)  # which holds the bank, so its id stays taken
        return self._retrievers[id(bank)]

    def neighbours(
        self, heard: Heard, k: int = 4, exclude: Collection[int] = (), bank: ExampleBank | None = None, **how: Any
    ) -> list[Shot]:
        """The ``k`` nearest examples, nearest first (`prompt_order` turns them), without the query itself, its copies,
        and the ids in ``exclude``; ``how`` goes to `Retriever.nearest`."""
        return self.retriever(bank).nearest(heard.query, k, exclude_sha=heard.sha256, exclude_ids=exclude, **how)

    def search(self, text: str, k: int = 10, bank: ExampleBank | None = None) -> list[Shot]:
        """The ``k`` examples nearest to a description such as "glass breaking", best first."""
        if not text.strip():
            raise BadRequest("Say what to search for.")
        return self.retriever(bank).search(self.finder.text([text.strip()])[0], k)

    def as_shot(self, heard: Heard, example: Example, pinned: bool = True, bank: ExampleBank | None = None) -> Shot:
        """An example that the person chose, with its similarity to the clip."""
        return self.retriever(bank).shot(example.id, heard.query, pinned)

    # Asking

    @property
    def text_notice(self) -> str:
        """What to know of answers to questions about no sound, in a sentence; '' where there is nothing."""
        if self.kind in ("chat", "foundation"):
            return "The published models were never trained on text without a sound: this answer may be anything."
        if self.kind == "mini":
            return "Without a sound mini's small language model speaks alone. It was not trained on that: it guesses."
        return ""

    def build_prompt(
        self,
        heard: Heard | None,
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
        foundation model never (`dialogues`): it was not trained on any. Without ``heard`` the question is about no
        sound (`text_notice`), and has neither shots nor labels. Raises BadRequest for too many shots or no question.
        """
        if not question.strip():
            raise BadRequest("Ask a question.")
        if heard is None:
            if shots or labels:
                raise BadRequest("Without a sound there are neither examples nor labels.")
            return prompts.without_sound(history, question.strip(), self.kind)
        if len(shots) > self.max_shots:
            raise BadRequest(f"This model takes at most {self.max_shots} examples beside the sound itself.")
        dialogue = self.kind == "chat" or (self.dialogues and (chat or bool(history)))
        # As the binary questions of training, see `instruction`.
        yes_no = not labels and prompts.asks_yes_or_no(question)
        asked = question.strip() if dialogue else prompts.instruction(question, yes_no)
        by_label = bool(labels) or prompts.asks_for_class(asked)
        shown = prompts.CAPTION if not by_label else prompts.CLASSIFY if dialogue else asked
        texts = [(shown, answer_of_shot(shot, by_label)) for shot in shots]
        if dialogue:
            prompt = prompts.chat(history, question, shots=texts, kind=self.kind, references=shots)
        else:
            options = labels if self.calibration.options else None
            task, space = prompts.task_of(asked), self.padding == prompts.DEMO
            prompt = prompts.with_shots(asked, task, texts, options, kind=self.kind, references=shots, space=space)
        return replace(prompt, padding=self.padding)

    def sounds(self, heard: Heard | None, prompt: Prompt) -> list[Tensor]:
        """Window features (n, E) float32 of each sound of ``prompt``, in its order."""
        return [
            heard.features if audio == prompts.QUERY and heard is not None else self.features_of(audio)
            for audio in prompt.audios
        ]

    def features_of(self, shot: Shot) -> Tensor:
        """Window features (n, E) float32 of a shot, from its bank."""
        if shot.bank is None:
            raise BadRequest(f"The example “{shot.example.label}” belongs to no bank, so it cannot be heard.")
        return self._features(shot.bank, shot.example)

    def _features(self, bank: ExampleBank, example: Example) -> Tensor:
        features = bank.features(example.id, self.features_name)
        if features is None:
            raise BadRequest(f"The example “{example.label}” has not been heard by this model yet.")
        return torch.as_tensor(np.asarray(features), dtype=torch.float32)

    def inputs(self, heard: Heard, prompt: Prompt) -> dict[str, Tensor]:
        """What the model's forward pass takes: ``input_ids`` (1, T), ``audio_embeds`` (1, A·W, E), ``audio_mask`` (1,
        A·W)."""
        return self.language.inputs(prompt, self.sounds(heard, prompt))

    def stream(
        self,
        heard: Heard | None,
        prompt: Prompt,
        settings: GenerationSettings = GREEDY,
        stop: threading.Event | None = None,
        timings: dict[str, float] | None = None,
    ) -> Iterator[str]:
        """Yields the answer piece by piece; ``stop`` ends it within one token and keeps what was said.

        A prompt that begins like an earlier one about the same sounds, the next turn of a chat for instance, is read
        from there on. ``heard``: None for a prompt without a sound. ``timings`` gets ``first_token`` and ``generate``,
        in seconds from the call.
        """
        begun = time.perf_counter()
        timings = {} if timings is None else timings
        with self._working() as parts:
            sounds, key = self.sounds(heard, prompt), conversation(heard, prompt)
            for piece in parts.language.stream(prompt, sounds, settings, stop, key):
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
        settings: GenerationSettings = GREEDY,
        labels: Sequence[str] | None = None,
        stop: threading.Event | None = None,
    ) -> Answer:
        """A whole answer; with ``labels`` also how probable each is as the answer."""
        prompt = self.build_prompt(heard, question, shots, history, labels)
        timings = dict(heard.timings)
        text = "".join(self.stream(heard, prompt, settings, stop, timings)).strip()
        scores = self.score(heard, labels, shots, question, history) if labels else None
        return Answer(text, prompt, tuple(shots), heard, timings, self.name, scores)

    def caption(self, heard: Heard, shots: Sequence[Shot] = (), settings: GenerationSettings = GREEDY) -> Answer:
        """One sentence about the clip."""
        return self.ask(heard, prompts.CAPTION, shots, settings=settings)

    # Several answers

    def candidates(
        self, heard: Heard, prompt: Prompt, n: int, settings: GenerationSettings, stop: threading.Event | None = None
    ) -> list[tuple[str, float]]:
        """n sampled answers without repeats, each with the CLAP similarity of its text to the clip, best first, as the
        published demo shows them. Raises BadRequest for settings that cannot give n answers."""
        if settings.temperature > 0 and 1 < settings.num_beams < n:
            raise BadRequest("Candidates are drawn with one beam, or with as many beams as candidates.")
        with self._working() as parts:
            sounds, key = self.sounds(heard, prompt), conversation(heard, prompt)
            texts = parts.language.candidates(prompt, sounds, n, settings, stop, key)
            return comparing.best_first(texts, parts.ear.clap, heard.vector)

    def best_of(
        self,
        heard: Heard,
        question: str,
        n: int,
        shots: Sequence[Shot] = (),
        settings: GenerationSettings = GREEDY,
    ) -> Answer:
        """The one of n `candidates` that fits the clip best; all of them are in its ``candidates``."""
        prompt = self.build_prompt(heard, question, shots)
        begun = time.perf_counter()
        found = self.candidates(heard, prompt, n, settings)
        timings = {**heard.timings, "generate": time.perf_counter() - begun}
        text = found[0][0] if found else ""
        return Answer(text, prompt, tuple(shots), heard, timings, self.name, candidates=tuple(found))

    def three_answers(
        self,
        heard: Heard,
        question: str,
        shots: Sequence[Shot],
        labels: Sequence[str] | None = None,
        seed: int = 0,
        settings: GenerationSettings = GREEDY,
        on_answer: Callable[[Answer], None] | None = None,
        stop: threading.Event | None = None,
    ) -> list[Answer]:
        """The same question without shots, with these shots, and with the same shots whose labels and captions have
        changed places, so that what the shots contribute can be seen. ``on_answer`` gets each as it is ready."""

        def ask(chosen: Sequence[Shot]) -> Answer:
            return self.ask(heard, question, chosen, (), settings, labels, stop)

        return comparing.three_answers(ask, shots, seed, on_answer, stop)

    # Labels

    def classify(self, heard: Heard, labels: Sequence[str], shots: Sequence[Shot] = ()) -> dict[str, float]:
        """Probability of each label, summing to 1: how likely it is as the answer to "classify this sound."."""
        return self.score(heard, labels, shots).probabilities

    def score(
        self,
        heard: Heard,
        labels: Sequence[str],
        shots: Sequence[Shot] = (),
        question: str = prompts.CLASSIFY,
        history: Sequence[tuple[str, str]] = (),
        passes: Sequence[Sequence[Shot]] | None = None,
        bank: ExampleBank | None = None,
        exclude: Collection[int] = (),
    ) -> LabelScores:
        """How probable each label is as the answer to ``question``, with each judge's opinion.

        ``passes``: ``shots`` dealt to as many prompts, for more than fit into one. ``bank``: further examples for
        judges that learn from all of them, but for the ids in ``exclude``. Raises BadRequest for labels that cannot be
        told apart.
        """
        prompts.check_labels(labels)
        asked = LabelQuestion(
            heard,
            tuple(labels),
            question,
            tuple(
                self.build_prompt(heard, question, some, history, labels)
                for some in (passes if passes is not None else [shots])
            ),
            self.build_prompt(heard, question, (), history, labels),
            tuple(shots),
            bank,
            frozenset(exclude),
        )
        with self._working() as parts:
            return scoring.score(parts.judges, asked, self.weights)

    def probabilities(
        self, heard: Heard, prompt: Prompt, labels: Sequence[str], bare: Prompt | None = None
    ) -> dict[str, float]:
        """By the language side alone: probability of each label as the answer to ``prompt``
        (`LanguageJudge.probabilities`)."""
        with self._working() as parts:
            return parts.language_judge.probabilities(heard, prompt, labels, bare)

    def score_labels(self, heard: Heard, prompt: Prompt, labels: Sequence[str]) -> tuple[Tensor, Tensor]:
        """By the language side alone: sum of the log-probabilities of each label's tokens as the answer, and the number
        of tokens, both (k,) on the CPU."""
        with self._working() as parts:
            return parts.language_judge.score_labels(heard, prompt, labels)

    def content_free_scores(self, prompt: Prompt, labels: Sequence[str]) -> Tensor:
        """As `score_labels`, for any sound at all: `LanguageJudge.content_free_scores`."""
        with self._working() as parts:
            return parts.language_judge.content_free_scores(prompt, labels)

    def references(self) -> list[Heard]:
        """Sounds that stand for any sound: up to `REFERENCES` examples of the bank, of as many labels; silence without
        a bank.

        Silence alone says little: mini answers it with "nothing", so every label looks equally unlikely there.
        """
        first: dict[str, Example] = {}
        if self.bank is not None:
            for example in self.bank.examples():
                first.setdefault(example.label, example)
        if self.bank is None or not first:
            return [self.silence()]
        labels = sorted(first)[:: max(1, len(first) // REFERENCES)][:REFERENCES]
        return [self.recall(self.bank, first[label]) for label in labels]


def answer_of_shot(shot: Shot, by_label: bool) -> str:
    """What a shot answers in the prompt: its label, or its caption where it has one."""
    return prompts.answer_of(shot.example.label) if by_label or not shot.example.caption else shot.example.caption
