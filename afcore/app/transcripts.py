"""A chat as a file that somebody can keep: Markdown to read, JSON to work with."""

import json
from collections.abc import Sequence
from typing import Any

from afcore.app.session import BrowserSession
from afcore.audio.notices import in_one_cell


def facts(session: BrowserSession, model: str) -> dict[str, str | float]:
    """What a transcript says about the chat of ``session``, which the model named ``model`` answers."""
    settings = session.settings
    return {
        **({"Sound": "none"} if session.soundless else _of_sound(session)),
        "Model": model,
        "Temperature": settings.temperature,
        "Top-k": settings.top_k,
        "Top-p": settings.top_p,
        "Beams": settings.num_beams,
        "Longest answer in tokens": settings.max_new_tokens,
        "Answers to choose from": session.candidates,
    }


def _of_sound(session: BrowserSession) -> dict[str, str | float]:
    recording, clip = session.sound()
    told = in_one_cell(clip.notices)
    return {
        "Sound": recording.name,
        "Length in seconds": round(recording.duration, 2),
        "Heard from second": round(session.start, 2),
        **({"Notices": told} if told else {}),
    }


def to_markdown(about: dict[str, Any], turns: Sequence[dict[str, Any]]) -> str:
    """The chat as Markdown.

    ``about``: facts in the order to show, name to value. ``turns``: dicts with ``question`` and ``answer``, and where
    they apply ``candidates`` (list of dicts with ``answer`` and ``similarity``, the best first), ``shots`` (list of
    dicts with ``label``), ``stopped`` and ``error``.
    """
    lines = ["# A chat about a sound", ""]
    lines += [f"- {name}: {value}" for name, value in about.items()]
    for number, turn in enumerate(turns, 1):
        lines += ["", f"## {number}. {_one_line(turn['question'])}", ""]
        lines += [turn["answer"] or "(no answer)"]
        if turn.get("error"):
            lines += ["", f"*{turn['error']}*"]
        if turn.get("stopped"):
            lines += ["", "*Stopped before the end.*"]
        if len(turn.get("candidates", ())) > 1:
            best, *others = turn["candidates"]
            lines += ["", f"Chosen by its CLAP similarity to the sound, {best['similarity']:.2f}; the others:", ""]
            lines += [f"- {other['similarity']:.2f} {_one_line(other['answer'])}" for other in others]
        if turn.get("shots"):
            lines += ["", "Examples in the prompt: " + ", ".join(shot["label"] for shot in turn["shots"])]
    return "\n".join(lines) + "\n"


def to_json(about: dict[str, Any], turns: Sequence[dict[str, Any]]) -> str:
    """The chat as JSON: an object with ``about`` and ``turns``, as they were given."""
    return json.dumps({"about": about, "turns": list(turns)}, ensure_ascii=False, indent=2) + "\n"


def _one_line(text: str) -> str:
    return " ".join(text.split())
