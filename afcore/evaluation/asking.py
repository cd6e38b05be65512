"""Many questions about many sounds, answered as the app would answer them, several at a time."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from afcore.engine.engine import Engine
from afcore.engine.language import FlamingoText
from afcore.engine.results import Heard
from afcore.evaluation.held_sounds import HeldSound, HeldSounds
from afcore.hashing import sha256_of
from afcore.model.generation import GenerationSettings
from afcore.prompts import QUERY, Prompt
from afcore.retrieval.nearest import Shot, prompt_order

TOGETHER = 16  # prompts read and answered at once
SETTINGS = GenerationSettings()  # as the pages' own
Progress = Callable[[str], None]


@dataclass(frozen=True)
class Asked:
    """A question as the app would ask it."""

    sound: HeldSound
    text: str
    history: tuple[tuple[str, str], ...] = ()
    shots: int = 0
    chat: bool = True
    """As a turn of a dialogue (Chat), or by itself (Listen, Retrieve, the command line)."""


class Asker:
    """Asks an engine. `kept`: a file that keeps every answer of these weights, so that a run that was stopped goes on
    from there. Sounds are heard once."""

    def __init__(
        self, engine: Engine, sounds: HeldSounds, kept: Path | None = None, progress: Progress = lambda _: None
    ):
        self.engine, self.sounds, self.kept, self.progress = engine, sounds, kept, progress
        self._heard: dict[str, Heard] = {}
        self._shots: dict[tuple[str, int], list[Shot]] = {}
        self._said: dict[str, str] = {}
        if kept and kept.exists():
            rows = map(json.loads, filter(None, kept.read_text(encoding="utf-8").split("\n")))
            self._said = {row["key"]: row["said"] for row in rows}

    def heard(self, sound: HeldSound) -> Heard:
        """A sound as the engine hears it."""
        if sound.id not in self._heard:
            self._heard[sound.id] = self.engine.hear(self.sounds.clip(sound))
        return self._heard[sound.id]

    def prompt(self, asked: Asked) -> Prompt:
        """The exact prompt, with the nearest examples of the engine's bank where there shall be some."""
        heard, key = self.heard(asked.sound), (asked.sound.id, asked.shots)
        if asked.shots and key not in self._shots:
            self._shots[key] = prompt_order(self.engine.neighbours(heard, asked.shots))
        shots = self._shots[key] if asked.shots else ()
        return self.engine.build_prompt(heard, asked.text, shots, asked.history, chat=asked.chat)

    def answers(self, asked: Sequence[Asked]) -> list[str]:
        """What the engine says to each."""
        prompts = [(self.heard(one.sound), self.prompt(one)) for one in asked]
        keys = [_key(heard, prompt) for heard, prompt in prompts]
        new = {key: one for key, one in zip(keys, prompts, strict=True) if key not in self._said}
        order = sorted(new, key=lambda key: (len(new[key][1].audios), len(new[key][1].text)))
        for start in range(0, len(order), TOGETHER):
            some = order[start : start + TOGETHER]
            self._keep(zip(some, self._answer([new[key] for key in some]), strict=True))
            self.progress(f"{start + len(some)} of {len(order)} questions are answered")
        return [self._said[key] for key in keys]

    def _answer(self, prompts: Sequence[tuple[Heard, Prompt]]) -> list[str]:
        language = self.engine.language
        if isinstance(language, FlamingoText):
            asked = [(prompt, self.engine.sounds(heard, prompt)) for heard, prompt in prompts]
            return [said.strip() for said in language.answers(asked, SETTINGS)]
        return ["".join(self.engine.stream(heard, prompt, SETTINGS)).strip() for heard, prompt in prompts]

    def _keep(self, answers: Iterable[tuple[str, str]]) -> None:
        lines = []
        for key, said in answers:
            self._said[key] = said
            lines.append(json.dumps({"key": key, "said": said}, ensure_ascii=False) + "\n")
        if self.kept:
            self.kept.parent.mkdir(parents=True, exist_ok=True)
            with self.kept.open("a", encoding="utf-8") as file:
                file.writelines(lines)


def _key(heard: Heard, prompt: Prompt) -> str:
    """Names a prompt by its text and the content of its sounds."""
    sounds = [heard.key if audio == QUERY else audio.example.sha256 for audio in prompt.audios]
    return sha256_of(json.dumps([sounds, prompt.text]))[:24]
