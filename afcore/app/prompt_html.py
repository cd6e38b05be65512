"""A prompt as HTML: sounds as pills, marks in grey, shots set apart."""

import html
import re

from afcore import prompts
from afcore.prompts import Prompt
from afcore.retrieval.nearest import Shot


def prompt_html(prompt: Prompt) -> str:
    """The whole text of ``prompt``, nothing left out, each ``<audio>`` as a pill that names its sound."""
    marks = prompts.MARKS[prompt.kind]
    special = [mark for mark in (marks.sep, marks.eoc, marks.eos, marks.bos) if mark]
    pieces = prompt.text.split(marks.audio)
    shown = [f"<span>{_marked(pieces[0], special)}</span>"] if pieces[0] else []
    number = 0
    for audio, text in zip(prompt.audios, pieces[1:], strict=True):
        if audio == prompts.QUERY:
            pill, kind = "your sound", "query"
        else:
            number += 1
            label = f" · {audio.example.label}" if isinstance(audio, Shot) else ""
            pill, kind = f"example {number}{label}", "shot"
        shown.append(
            f'<div class="slot {kind}"><span class="pill">♪ {html.escape(pill)}</span>{_marked(text, special)}</div>'
        )
    return f'<div class="prompt">{"".join(shown)}</div>'


def _marked(text: str, special: list[str]) -> str:
    parts = re.split("(" + "|".join(map(re.escape, special)) + ")", text)
    return "".join(
        f'<span class="mark">{html.escape(part)}</span>' if part in special else html.escape(part).replace("\n", "<br>")
        for part in parts
    )
