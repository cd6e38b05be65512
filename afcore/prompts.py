"""Every prompt template, in one place.

Source: Audio Flamingo (arXiv 2402.01831) sections 3.3 and 4, and the published inference and demo code
(NVIDIA/audio-flamingo, branch ``legacy_audio_flamingo_1``: ``foundation/data/data.py``, ``chat/``). White space
matters: the models were trained on exactly it. Prompts and shot answers are lower case in the foundation templates;
questions of a dialogue keep their capitals.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from afcore.errors import BadRequest


@dataclass(frozen=True)
class Marks:
    """The special strings of one kind of model: start and end of text, the end of a question, the end of an answer, a
    sound."""

    bos: str
    eos: str
    sep: str = "<SEP>"
    eoc: str = "<|endofchunk|>"
    audio: str = "<audio>"


MARKS = {
    # OPT's own start token; its tokenizer puts one more in front by itself, so a sequence starts with two, as in
    # training.
    "foundation": Marks(bos="</s>", eos="</s>"),
    "chat": Marks(bos="</s>", eos="</s>"),
    # SmolLM2 was trained without a start token; its turns end with <|im_end|>.
    "mini": Marks(bos="", eos="<|im_end|>"),
    # Another audio model: its own processor writes what it reads, from the turns that these marks tell apart.
    "peer": Marks(bos="", eos=""),
}
"""Marks by kind of model."""

QUERY = "query"
"""The place of the sound that is asked about among ``Prompt.audios``; the others are shots."""

DEMO, BENCHMARK = "demo", "benchmark"
"""The two published ways to ask the foundation model about a single clip: the demo gave it 1 audio and put a space
before ``<audio>``, the benchmark code padded to 8 audios and put none."""

CAPTION = "describe the sound in a sentence."
CAPTION_LONG = "describe the sound at length."
CLASSIFY = "classify this sound."
SPECIFIC_TO_GENERAL = "describe this sound in the order from specific to general."  # FSD50K
FEW_LABELS = "use a few labels to describe this sound."
INSTRUMENT = "what is the instrument of this music?"
SOURCE = "what is the source of this music?"
QUALITIES = "what are the qualities of the music?"
EMOTION = "what is the emotion of this speech?"

CAPTIONING = "audio captioning"
QUESTION_ANSWERING = "audio question answering"
EVENTS = "event classification"
SCENES = "scene classification"
DIALOG = "dialog"

TASKS = {
    CAPTION: CAPTIONING,
    CAPTION_LONG: CAPTIONING,
    CLASSIFY: EVENTS,
    SPECIFIC_TO_GENERAL: EVENTS,
    FEW_LABELS: EVENTS,
    INSTRUMENT: "instrument classification",
    SOURCE: "source classification",
    QUALITIES: "quality classification",
    EMOTION: "emotion classification",
}
"""The task that the prefix names, for each prompt with a meaning of its own; any other question is question
answering."""


@dataclass(frozen=True)
class Prompt:
    """A text and the sounds that its ``<audio>`` marks stand for."""

    text: str
    kind: str
    audios: tuple[Any, ...] = (QUERY,)
    """One reference for each mark, in order: the shots as the caller names them, then ``QUERY``."""
    padding: str = ""
    """To how many audios the sample is padded: a name that the model's ``TextModel.paddings`` has; '' for its first."""

    def __post_init__(self):
        marks = self.text.count(MARKS[self.kind].audio)
        if marks != len(self.audios):
            raise ValueError(f"the prompt has {marks} audio marks for {len(self.audios)} audios")


def task_of(question: str) -> str:
    """The task that belongs to a prompt: that of ``TASKS``, else audio question answering."""
    return TASKS.get(_clean(question).lower(), QUESTION_ANSWERING)


def asks_for_class(question: str) -> bool:
    """Whether the answer to ``question`` is a class, so that shots answer with their label."""
    return task_of(question).endswith("classification")


def instruction(question: str, yes_no: bool = False) -> str:
    """A person's question as the foundation model was asked it: ``please answer this question: ...``.

    The prompts of ``TASKS`` are taken as they are. ``yes_no`` adds the options yes and no, as the binary part of
    ClothoAQA did.
    """
    question = _clean(question)
    if question.lower() in TASKS or question.lower().startswith("please answer this question:"):
        return question
    return f"please answer this question: {question}" + ("\nOPTIONS:\nyes.\nno." if yes_no else "")


def asks_yes_or_no(question: str) -> bool:
    """Whether a person's question is answered by yes or no: "Is there a dog?", not "Is it a dog or a cat?", nor a
    request such as "Can you describe it?"."""
    return bool(_YES_NO.search(_clean(question).lower()))


def with_options(question: str, labels: Sequence[str]) -> str:
    """A classification prompt that lists its labels, in the order given."""
    return f"{_clean(question)}\nOPTIONS:" + "".join(f"\n - {answer_of(label)}." for label in labels)


def single(
    question: str, task: str, options: Sequence[str] | None = None, kind: str = "mini", space: bool = False
) -> Prompt:
    """One sound, one question: ``{bos}the task is {task}.<audio>{question}\\nanswer:<SEP>``.

    ``space`` puts one before ``<audio>``, as the published demo did and the benchmark code did not.
    """
    marks = MARKS[kind]
    text = (
        f"{marks.bos}{prefix(task)}{' ' if space else ''}{marks.audio}{_asked(question, options)}\nanswer:{marks.sep}"
    )
    return Prompt(text, kind)


def with_shots(
    question: str,
    task: str,
    shots: Sequence[tuple[str, str]],
    options: Sequence[str] | None = None,
    kind: str = "mini",
    similar: bool = True,
    references: Sequence[object] | None = None,
    space: bool = False,
) -> Prompt:
    """Shots, each a (prompt, answer), before the query; nearest last is the caller's order. Without shots: ``single``,
    which takes ``space``.

    ``similar``: False says "random examples", for shots that are not nearest neighbours. ``references``: what
    ``Prompt.audios`` holds for the shots, by default their numbers from 0. Only the query lists ``options``.
    """
    if not shots:
        return single(question, task, options, kind, space)
    text = opening(task, kind, similar) + _shots(shots, kind)
    text += f"{MARKS[kind].audio}{_asked(question, options)}\nanswer:{MARKS[kind].sep}"
    return Prompt(text, kind, _references(shots, references))


def chat(
    turns: Sequence[tuple[str, str]],
    question: str,
    task: str = DIALOG,
    shots: Sequence[tuple[str, str]] = (),
    kind: str = "mini",
    similar: bool = True,
    references: Sequence[object] | None = None,
) -> Prompt:
    """A dialogue about one sound: ``turns`` are earlier (question, answer) pairs, ``question`` the new one.

    Each turn is ``user: {question} \\nassistant: <SEP>{answer}<|endofchunk|>{eos}\\n``, the last without its answer. So
    the text of a dialogue begins with the text of the dialogue one turn ago. Shots stand before the dialogue in the
    foundation model's form; the published chat model has not seen any.
    """
    marks = MARKS[kind]
    text = opening(task, kind, similar) + _shots(shots, kind) if shots else f"{marks.bos}{prefix(task)}"
    text += marks.audio
    for asked, answered in turns:
        text += f"user: {_clean(asked)} \nassistant: {marks.sep}{_clean(answered)}{marks.eoc}{marks.eos}\n"
    text += f"user: {_clean(question)} \nassistant: {marks.sep}"
    return Prompt(text, kind, _references(shots, references))


def without_sound(turns: Sequence[tuple[str, str]], question: str, kind: str = "mini") -> Prompt:
    """A question about no sound, after earlier (question, answer) pairs: the template that the model is usually asked
    by, without ``<audio>``. The published models were never trained on it; the foundation model takes no ``turns``."""
    marks = MARKS[kind]
    if kind == "foundation":
        text = single(instruction(question), QUESTION_ANSWERING, kind=kind).text
    else:
        text = chat(turns, question, kind=kind).text
    text = text.replace(marks.audio, "", 1)
    return Prompt(text.removeprefix(prefix(DIALOG)) if kind == "peer" else text, kind, ())


def with_texts(question: str, answers: Sequence[str]) -> str:
    """A prompt that names what similar sounds are said to be, without their sounds, as RECAP has it (Ghosh et al.,
    2023): nearest last."""
    told = " ".join(f"{_clean(answer).rstrip('.')}." for answer in answers)
    return f"similar sounds are described as: {told} {_clean(question)}"


def prefix(task: str) -> str:
    """``the task is {task}.``, in lower case."""
    return f"the task is {_clean(task).lower()}."


def opening(task: str, kind: str = "mini", similar: bool = True) -> str:
    """What stands before the shots; unlike the rest it keeps its capitals."""
    return (
        f"{MARKS[kind].bos}Here are {'similar' if similar else 'random'} examples. The task is {_clean(task).lower()}. "
    )


def completed(prompt: Prompt, answer: str) -> str:
    """The whole training sample: the prompt, its answer, ``<|endofchunk|>`` and the end of text.

    The loss is on what this adds to ``prompt.text``: the tokens after the last ``<SEP>`` (for interleaved samples,
    and for dialogues, also those after the earlier ones, up to and including their ``<|endofchunk|>``).
    """
    marks = MARKS[prompt.kind]
    return f"{prompt.text}{_clean(answer)}{marks.eoc}{marks.eos}"


def answer_of(label: str) -> str:
    """A label as an answer: lower case, words apart, without the full stop that ends an option."""
    return re.sub(r"[\s_]+", " ", _clean(label)).lower().rstrip(".")


def check_labels(labels: Sequence[str]) -> None:
    """Raises BadRequest for no labels, an empty one, or two that would be the same answer."""
    if not labels:
        raise BadRequest("Give at least one label.")
    seen: dict[str, str] = {}
    for label in labels:
        answer = answer_of(label)
        if not answer:
            raise BadRequest("A label is empty.")
        if answer in seen:
            raise BadRequest(f"The labels “{seen[answer]}” and “{label}” are the same.")
        seen[answer] = label


def _shots(shots: Sequence[tuple[str, str]], kind: str) -> str:
    marks = MARKS[kind]
    return "".join(
        f"{marks.audio}{_clean(question).lower()}\nanswer:{marks.sep}{_clean(answer).lower()}{marks.eoc}"
        for question, answer in shots
    )


def _asked(question: str, options: Sequence[str] | None) -> str:
    # Lower case stops at the options, whose heading is "OPTIONS:" in training.
    text, *rest = _clean(question).split("\nOPTIONS:", 1)
    text = "\nOPTIONS:".join([text.lower(), *(r.lower() for r in rest)])
    return with_options(text, options) if options else text


def _references(shots: Sequence, references: Sequence[object] | None) -> tuple[object, ...]:
    references = range(len(shots)) if references is None else references
    if len(references) != len(shots):
        raise ValueError(f"{len(references)} references for {len(shots)} shots")
    return (*references, QUERY)


_YES_NO = re.compile(
    r"^(?:is|are|was|were|do|does|did|has|have|had|can|could)\b(?! you (?!hear\b|notice\b))(?!.*\bor\b)[^?]*\?$",
    re.DOTALL,
)
_SPECIAL = re.compile(
    r"<\|[^<>|\s]{1,40}\|>"
    r"|<(?:audio|sep|/?s|pad|unk|mask|repo_?name|file_?sep|filename|gh_stars|empty_output|(?:issue|jupyter)_[a-z_]{1,20})>"
)
"""Every string that a tokenizer here takes for more than text, in lower case."""
_TURN = re.compile(r"\s*[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]\s*(?=(?:user|assistant|answer) ?:)", re.IGNORECASE)
"""A line's end before what begins a turn, or an answer, in a prompt."""


def _marks_in(text: str) -> str | None:
    """A mark that is in ``text``, or would be once it is in lower case, composed, or without characters that are not
    seen."""
    if "<" not in unicodedata.normalize("NFKC", text):
        return None
    for form in (text, unicodedata.normalize("NFC", text), unicodedata.normalize("NFKC", text)):
        bare = "".join(c for c in form if unicodedata.category(c) not in ("Cf", "Cc", "Cn", "Cs"))
        for variant in {form.lower(), form.casefold(), bare.lower(), bare.casefold()}:
            for written in (variant, re.sub(r"[\s_]+", "_", variant), re.sub(r"[\s_]+", "", variant)):
                if found := _SPECIAL.search(written):
                    return found.group()
    return None


def _clean(text: str) -> str:
    """Text without white space around it, and on one line where it would otherwise look like a turn.

    A mark inside would move every sound of the prompt, so it is refused, however it is written.
    """
    found = _marks_in(text)
    if found:
        raise BadRequest(f"The text must not contain {found}, which has a meaning of its own in prompts.")
    return _TURN.sub(" ", text.strip())
