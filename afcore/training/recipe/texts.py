"""From manifest rows to training texts, by the templates of `afcore.prompts`, and where in them the loss is.

Prefix and options are varied as the reference does (its `data.py`): the task is named with the dataset's probability,
and one of its augmentations is drawn:

as_is         prompt and answer as they are
options       all labels of the dataset are listed after the prompt, in the alphabet's order
some_options  the answer and 1 to 11 other labels, in any order (not in the paper: makes options of every number
familiar) yes_no        "please answer this question: …", with the options yes and no where the answer is one of them
count_labels  "describe the sound in 3 labels.", the answer's labels in any order
alphabetic    "describe this sound in the alphabetic order.", the answer's labels sorted
sentence, length, paragraph   "describe the sound in a sentence.", "… at length.", "… in a paragraph."; of the music
where the dataset's name holds "musiccaps", as in the published code

Of interleaved samples only the query lists options. All is lower case but the questions of a dialogue.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from afcore import prompts
from afcore.training.recipe.config import Data
from afcore.training.recipe.manifests import ManifestRow, Sound

PARAGRAPH = "describe the sound in a paragraph."
MOST_OPTIONS = 12


@dataclass(frozen=True)
class TrainingSample:
    """`pieces`: text, and whether the loss counts its tokens; `sounds`: one for each `<audio>`, in order, each as its
    dataset's source names it (a `Sound`, the number of a clip, or with it what is changed of its tags)."""

    pieces: tuple[tuple[str, bool], ...]
    sounds: tuple[Sound | int | tuple[int, tuple[tuple[int, int], ...]], ...]

    @property
    def text(self) -> str:
        return "".join(text for text, _ in self.pieces)

    @property
    def answers(self) -> list[str]:
        """The pieces that the loss counts."""
        return [text for text, counts in self.pieces if counts]


def sample(
    row: ManifestRow,
    data: Data,
    labels: list[str],
    rng: np.random.Generator,
    kind: str,
    shots: Sequence[ManifestRow] = (),
    similar: bool = True,
) -> TrainingSample:
    """The training sample of `row`. `labels`: of its dataset. `shots`: rows in prompt order, where it is interleaved;
    those that stand in the row itself come first. `similar`: whether they are nearest neighbours."""
    if row.turns:
        *earlier, (question, answer) = row.turns
        prompt = prompts.chat(earlier, question, row.task, kind=kind)
    else:
        similar = row.similar if row.shots else similar
        shots = [*row.shots, *shots]
        names = sorted(data.augmentations)
        name = names[rng.choice(len(names), p=[data.augmentations[n] for n in names])]
        about = "music" if "musiccaps" in data.name.lower() else "sound"
        asked = [augmented(name, shot, labels, rng, about) for shot in shots]
        pairs = [(question.split("\nOPTIONS:")[0], answer) for question, answer, _ in asked]
        question, answer, options = augmented(name, row, labels, rng, about)
        prompt = prompts.with_shots(question, row.task, pairs, options, kind, similar)
        answer = answer.lower()
    text = prompts.completed(prompt, answer)
    if rng.random() >= data.prefix:
        text = without_prefix(text, row.task)
    return TrainingSample(loss_pieces(text, kind), (*(shot.sound for shot in shots), row.sound))


def augmented(
    name: str, row: ManifestRow, labels: list[str], rng: np.random.Generator, about: str = "sound"
) -> tuple[str, str, list[str] | None]:
    """(prompt, answer, options) of `row` by the augmentation `name`; a row's own options stay. `about`: what captions
    are asked of, "sound" or "music"."""
    prompt, answer = row.prompt, row.answer
    if row.options:
        return prompt, answer, list(row.options)
    if name == "options":
        return prompt, answer, sorted({prompts.answer_of(label) for label in labels})
    if name == "some_options":
        others = sorted({prompts.answer_of(label) for label in labels} - {prompts.answer_of(answer)})
        count = min(len(others), int(rng.integers(1, MOST_OPTIONS)))
        chosen = [others[i] for i in rng.permutation(len(others))[:count]] + [prompts.answer_of(answer)]
        return prompt, answer, [chosen[i] for i in rng.permutation(len(chosen))]
    if name == "yes_no":
        question = re.sub(r"^question:\s*", "", prompt, flags=re.IGNORECASE)
        return prompts.instruction(question, yes_no=answer.strip().lower().rstrip(".") in ("yes", "no")), answer, None
    if name in ("count_labels", "alphabetic"):
        classes = [part.strip() for part in answer.rstrip(". ").split(",") if part.strip()]
        if name == "alphabetic":
            return "describe this sound in the alphabetic order.", ", ".join(sorted(classes, key=str.lower)), None
        classes = [classes[i] for i in rng.permutation(len(classes))]
        return f"describe the sound in {len(classes)} label{'s' * (len(classes) != 1)}.", ", ".join(classes), None
    if name == "sentence":
        return prompts.CAPTION.replace("sound", about), answer, None
    if name == "length":
        return prompts.CAPTION_LONG.replace("sound", about), answer, None
    if name == "paragraph":  # one paragraph, one sentence: full stops within become semicolons
        inner, stop = (answer.strip()[:-1], ".") if answer.strip().endswith(".") else (answer.strip(), "")
        return PARAGRAPH.replace("sound", about), inner.replace(".", ";") + stop, None
    return prompt, answer, None


def without_prefix(text: str, task: str) -> str:
    """The text of a prompt whose task is not named."""
    text = text.replace(prompts.prefix(task), "", 1)
    return re.sub(rf"( examples\. )The task is {re.escape(task.strip().lower())}\. ", r"\1", text, count=1)


def loss_pieces(text: str, kind: str) -> tuple[tuple[str, bool], ...]:
    """`text` cut where the loss begins and ends: it counts what follows a `<SEP>` up to and including `<|endofchunk|>`,
    and the end of text that follows that (reference section 5)."""
    marks = prompts.MARKS[kind]
    sep, eoc, eos = map(re.escape, (marks.sep, marks.eoc, marks.eos))
    pieces, end = [], 0
    for match in re.finditer(f"(?<={sep})(.*?{eoc}(?:{eos})?)", text, re.DOTALL):
        pieces += [(text[end : match.start()], False), (match.group(), True)]
        end = match.end()
    return tuple((piece, counts) for piece, counts in [*pieces, (text[end:], False)] if piece)


def labels_of(data: Data, rows: list[ManifestRow]) -> list[str]:
    """What "options" lists: the config's labels, else the distinct answers of the manifest."""
    return list(data.labels) or sorted({row.answer for row in rows if row.answer})
