"""Results that can be shown to somebody else: what was heard and answered, by which model and how, as it was then.

A share is a snapshot of a clip, a chat or a proof. It is kept in the data folder under an id that nobody can guess, is
never changed, and goes after a month or when it is deleted. Of the sound only the part is kept that the model heard.
"""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afcore import prompts
from afcore.app import transcripts
from afcore.app.failure_answers import weights_of
from afcore.app.secret_ids import is_id, new_id
from afcore.audio.wav import heard_wav
from afcore.errors import BadRequest
from afcore.safe_files import read_description
from afcore.teach.media import keep_sound, sound_file, write_whole
from afcore.teach.schema import storage

if TYPE_CHECKING:
    from afcore.app.certainty import Doubt
    from afcore.app.session import BrowserSession
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard, LabelScores
    from afcore.retrieval.nearest import Shot
    from afcore.teach.proof import Proof

CLIP, CHAT, PROOF = "clip", "chat", "proof"
FORMAT, VERSION = "audio-flamingo-share", 1
MONTH = 30 * 24 * 3600.0
MOST = 1000
"""Shares on one server."""


@dataclass(frozen=True)
class SharedAnswer:
    """A question and its answer."""

    question: str
    answer: str
    prompt: str = ""
    """The exact text that the model read; '' where it is not known any more."""
    labels: tuple[tuple[str, float], ...] = ()
    """(label, probability), likeliest first, where there was a choice."""
    examples: tuple[tuple[str, float], ...] = ()
    """(label, similarity) of the examples in the prompt, in its order."""
    note: str = ""
    """How sure it is, who judged."""


@dataclass(frozen=True)
class SharedScore:
    """How one method did in a proof."""

    title: str
    right: int
    accuracy: float
    low: float
    high: float
    """The 95 % interval."""


@dataclass(frozen=True)
class Share:
    """A snapshot of a result."""

    kind: str
    """`CLIP`, `CHAT` or `PROOF`."""
    title: str
    """The recording's or the project's name; for show, never a path."""
    model: str
    weights: str
    facts: tuple[tuple[str, str], ...] = ()
    """Settings and what else there is to say, in the order to show."""
    start: float = 0.0
    """Where the heard part begins in the recording, in seconds."""
    windows: tuple[tuple[float, float], ...] = ()
    """Start and end in seconds of the recording."""
    tags: tuple[tuple[str, float], ...] = ()
    answers: tuple[SharedAnswer, ...] = ()
    scores: tuple[SharedScore, ...] = ()
    says: str = ""
    """Of a proof: which clips these were, and what is suggested."""
    sound: str = ""
    """SHA-256 of the WAV file of what was heard; '' for a proof."""
    made: float = field(default_factory=time.time)
    """Seconds since 1970."""


def of_clip(
    session: BrowserSession,
    engine: Engine,
    heard: Heard,
    said: str,
    doubt: Doubt | None = None,
    scores: LabelScores | None = None,
) -> tuple[Share, bytes]:
    """What Listen shows of the present sound, and the WAV file of what was heard. ``scores``: of "which of these?"."""
    answers = [SharedAnswer("Describe the sound.", said, engine.build_prompt(heard, prompts.CAPTION).text)]
    if doubt is not None:
        answers[0] = SharedAnswer(**{**asdict(answers[0]), "note": doubt.sentence()})
    if scores is not None:
        ordered = tuple(sorted(scores.probabilities.items(), key=lambda pair: -pair[1]))
        prompt = engine.build_prompt(heard, prompts.CLASSIFY, labels=list(scores.probabilities)).text
        answers.append(SharedAnswer("Which of these is it?", scores.best, prompt, ordered, note=scores.judged_by))
    return _of_sound(session, engine, heard, CLIP, answers)


def of_chat(session: BrowserSession, engine: Engine, heard: Heard) -> tuple[Share, bytes]:
    """The chat about the present sound. Raises BadRequest where there is none."""
    if not session.turns:
        raise BadRequest("There is no chat about this sound yet.")
    answers: list[SharedAnswer] = []
    history: list[tuple[str, str]] = []
    for turn in session.turns:
        prompt = ""
        if turn.start == session.start:
            prompt = engine.build_prompt(heard, turn.question, turn.shots, history=history, chat=True).text
            if turn.answer:
                history.append((turn.question, turn.answer))
        unfinished = "Stopped before its end." if turn.stopped else "Still on its way." if turn.open else ""
        note = turn.error or unfinished
        answers.append(SharedAnswer(turn.question, turn.answer, prompt, examples=_examples(turn.shots), note=note))
    return _of_sound(session, engine, heard, CHAT, answers)


def of_proof(name: str, proof: Proof, engine: Engine) -> Share:
    """What a proof of the project ``name`` has shown."""
    scores = [
        SharedScore(score.method.title, score.right, score.accuracy, *map(float, score.interval))
        for score in proof.scores
    ]
    suggested = "" if proof.suggested is None else f" Suggested: {proof.suggested.title}."
    facts = {
        "Labels": ", ".join(proof.labels),
        "Clips": f"{proof.done} of {proof.total}, of {proof.sources} sources",
    }
    says = f"{proof.note}{suggested} {proof.reason}".strip()
    return Share(PROOF, name, engine.name, weights_of(engine), tuple(facts.items()), scores=tuple(scores), says=says)


def _of_sound(
    session: BrowserSession, engine: Engine, heard: Heard, kind: str, answers: Sequence[SharedAnswer]
) -> tuple[Share, bytes]:
    recording, clip = session.sound()
    facts = tuple((name, str(value)) for name, value in transcripts.facts(session, engine.name).items())
    share = Share(
        kind,
        recording.name,
        engine.name,
        weights_of(engine),
        facts,
        clip.start,
        tuple((float(start), float(end)) for start, end in heard.times),
        tuple((name, float(p)) for name, p in heard.tags),
        tuple(answers),
    )
    return share, heard_wav(clip)


def _examples(shots: Sequence[Shot]) -> tuple[tuple[str, float], ...]:
    return tuple((shot.example.label, float(shot.similarity)) for shot in shots)


class Shares:
    """The shares in ``folder``; each is gone ``seconds`` after it was made."""

    def __init__(self, folder: Path, seconds: float = MONTH, now: Callable[[], float] = time.time) -> None:
        self.folder, self.seconds, self._now = folder, seconds, now
        self._lock = threading.Lock()

    def keep(self, share: Share, wav: bytes = b"") -> str:
        """Keep it with the WAV file of its sound; returns its id, 128 bits that nobody can guess. Raises NoSpace, and
        BadRequest where there are too many."""
        self.sweep()
        with self._lock:
            if len(list(self.folder.glob("*.json"))) >= MOST:
                raise BadRequest("This server keeps as many shared results as it may: delete some of yours first.")
            name = new_id()
            with storage("this result"):
                self.folder.mkdir(parents=True, exist_ok=True)
                content = {"format": FORMAT, "version": VERSION, **asdict(share), "made": self._now()}
                if wav:
                    content["sound"] = keep_sound(self.folder, wav)
                write_whole(self._file(name), json.dumps(content, ensure_ascii=False, allow_nan=False).encode())
        return name

    def find(self, name: str) -> Share | None:
        """The share of that id; None where there is none (any more)."""
        if not is_id(name):
            return None
        try:
            share = _read(self._file(name).read_bytes())
        except (OSError, BadRequest):
            return None
        return share if self._now() - share.made <= self.seconds else None

    def wav(self, share: Share) -> bytes:
        """The WAV file of what was heard; b"" for a proof. Raises BadRequest where it is gone."""
        if not share.sound:
            return b""
        try:
            return sound_file(self.folder, share.sound).read_bytes()
        except OSError as error:
            raise BadRequest("The sound of this result is gone.") from error

    def delete(self, name: str) -> None:
        """Remove it, and its sound where no other share has it; what is gone already is no matter."""
        if is_id(name):
            self._file(name).unlink(missing_ok=True)
        self.sweep()

    def sweep(self) -> None:
        """Remove what is too old, and sounds that no share has."""
        with self._lock:
            wanted = set()
            for file in self.folder.glob("*.json"):
                try:
                    share = _read(file.read_bytes())
                except (OSError, BadRequest):
                    continue
                if self._now() - share.made > self.seconds:
                    file.unlink(missing_ok=True)
                else:
                    wanted.add(share.sound)
            for sound in (self.folder / "audio").glob("*/*"):
                if sound.name not in wanted:
                    sound.unlink(missing_ok=True)

    def _file(self, name: str) -> Path:
        return self.folder / f"{name}.json"


def _pairs(second: str) -> dict[str, Any]:
    pair = {"type": "array", "prefixItems": [{"type": "string"}, {"type": second}], "minItems": 2, "maxItems": 2}
    return {"type": "array", "items": pair}


_TEXT, _NUMBER = {"type": "string"}, {"type": "number"}
_ANSWER = {"question": _TEXT, "answer": _TEXT, "prompt": _TEXT, "note": _TEXT}
_ANSWER |= {"labels": _pairs("number"), "examples": _pairs("number")}
_SCORE = {"title": _TEXT, "right": {"type": "integer"}, "accuracy": _NUMBER, "low": _NUMBER, "high": _NUMBER}


def _object(properties: Mapping[str, Any]) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": list(properties), "additionalProperties": False}


_SCHEMA = _object(
    {
        "format": {"const": FORMAT},
        "version": {"const": VERSION},
        "kind": {"enum": [CLIP, CHAT, PROOF]},
        **dict.fromkeys(("title", "model", "weights", "says"), _TEXT),
        "facts": _pairs("string"),
        "start": _NUMBER,
        "windows": {"type": "array", "items": {"type": "array", "items": _NUMBER, "minItems": 2, "maxItems": 2}},
        "tags": _pairs("number"),
        "answers": {"type": "array", "items": _object(_ANSWER)},
        "scores": {"type": "array", "items": _object(_SCORE)},
        "sound": {"type": "string", "pattern": "^([0-9a-f]{64})?$"},
        "made": _NUMBER,
    }
)


def _read(text: bytes) -> Share:
    content = read_description(text, "shared result", FORMAT, VERSION, _SCHEMA)
    pairs: dict[str, Any] = {name: tuple(map(tuple, content[name])) for name in ("facts", "windows", "tags")}
    answers = tuple(
        SharedAnswer(
            **{**one, "labels": tuple(map(tuple, one["labels"])), "examples": tuple(map(tuple, one["examples"]))}
        )
        for one in content["answers"]
    )
    scores = tuple(SharedScore(**one) for one in content["scores"])
    plain = {name: content[name] for name in ("kind", "title", "model", "weights", "start", "says", "sound", "made")}
    return Share(**plain, **pairs, answers=answers, scores=scores)
