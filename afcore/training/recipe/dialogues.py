"""Dialogue data, made as in the paper (section 4.3, appendix B): several questions and answers about a sound, from what
is known of it, by a language model or by templates; cleaned by rules, then by the CLAP similarity of each answer with
the sound.

    python -m afcore.training.recipe.dialogues CONFIG --work DIR

reads the config's “dialogues”: `facts`, JSON lines {"audio", "label", "caption", "tags", "events": [{"name", "from",
"to"}]} of which all but the audio may be missing, and writes the manifest `out`. `maker`: "templates", or "language
model" with the `address` of a server that speaks OpenAI's protocol (…/v1), the model's `name` and `key_variable`, the
environment variable with its key."""

from __future__ import annotations

import argparse
import json
import os
import re
import sys
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from afcore import prompts
from afcore.errors import AfcoreError, BadRequest, MissingPart
from afcore.training.recipe import config as configs
from afcore.training.recipe import manifests
from afcore.training.recipe.manifests import Sound
from afcore.training.recipe.windows import Windows

SIMILARITY = 0.3  # the paper's threshold for LAION-CLAP
MOST_TURNS = 4
TRIES, TIMEOUT = 3, 120  # of one request; s
LONGEST = 60  # words of an answer

FACTS = {
    "type": "object",
    "required": ["audio"],
    "additionalProperties": False,
    "properties": {
        "audio": {"type": "string", "minLength": 1},
        "start": {"type": "number", "minimum": 0},
        "label": {"type": "string"},
        "caption": {"type": "string"},
        "tags": {"type": "array", "items": {"type": "string"}},
        "events": {
            "type": "array",
            "items": {
                "type": "object",
                "required": ["name"],
                "additionalProperties": False,
                "properties": {"name": {"type": "string"}, "from": {"type": "number"}, "to": {"type": "number"}},
            },
        },
    },
}

REFUSED = (
    "does not specify",
    "doesn't specify",
    "not specified",
    "does not mention",
    "not mentioned",
    "cannot be determined",
    "can't be determined",
    "hard to tell",
    "impossible to tell",
    "hard to determine",
    "difficult to determine",
    "without additional context",
    "without more context",
    "without further",
    "not provided",
    "information provided",
    "given information",
    "the description",
    "the caption",
    "the label",
    "the tags",
    "the metadata",
    "as an ai",
    "language model",
    "i'm sorry",
    "i am sorry",
    "i cannot",
    "i can't",
)
"""What an answer must not say: it speaks of the text instead of the sound, or not of the sound at all."""
TIME_STAMP = re.compile(r"\d\s?s\b|\d+(\.\d+)?\s?-?\s?seconds?\b|\d:\d\d")
MARK = re.compile(r"<audio>|<SEP>|<\|[a-z_]+\|>|</?s>")

ASK = """\
You write a dialogue between a person who has just played a sound and an assistant that hears it. You are given what \
is known of the sound; neither of the two has read it, they speak only of what is heard. The person asks varied \
questions that build on the answers so far, and refers to what was named before with words like "it", "he" or "they". \
The assistant answers helpfully and truthfully in one or two sentences, never mentions times in seconds, and claims \
nothing that does not follow from what is known. Write {turns} question and answer pairs, each on a line of its own \
as a JSON object with the keys "user" and "assistant". Write nothing else.

Known of the sound: {known}"""


@dataclass(frozen=True)
class Pair:
    """One turn. `grounded`: whether the sound bears the answer out, so that its similarity with the sound says
    something."""

    question: str
    answer: str
    grounded: bool = True


class LanguageModel:
    """A model behind an OpenAI-compatible address (POST …/chat/completions)."""

    def __init__(self, address: str, name: str, key_variable: str | None = None):
        self.address, self.name = address.rstrip("/"), name
        self.key = os.environ.get(key_variable) if key_variable else None
        if key_variable and not self.key:
            raise MissingPart(f"The environment variable {key_variable} with the key of {address} is not set.")

    def __call__(self, facts: dict, turns: int, rng: np.random.Generator) -> list[Pair]:
        """Raises MissingPart where the server does not answer as it should."""
        import requests

        seed, said = int(rng.integers(2**31)), ASK.format(turns=turns, known=known(facts))
        headers = {"Authorization": f"Bearer {self.key}"} if self.key else {}
        problem = ""
        for _ in range(TRIES):
            try:
                answer = requests.post(
                    f"{self.address}/chat/completions",
                    json={"model": self.name, "seed": seed, "messages": [{"role": "user", "content": said}]},
                    headers=headers,
                    timeout=TIMEOUT,
                )
                if answer.status_code == 200:
                    return pairs_in(answer.json()["choices"][0]["message"]["content"])
                problem = f"it answered with status {answer.status_code}"
                if answer.status_code < 500 and answer.status_code != 429:
                    break
            except requests.RequestException as error:
                problem = type(error).__name__
            except (ValueError, KeyError, IndexError, TypeError):
                problem = "its answer is not of OpenAI's form"
        raise MissingPart(f"The language model at {self.address} could not be asked: {problem}.")


def known(facts: dict) -> str:
    """What a language model is told of a sound."""
    parts = [
        f"it is labelled “{facts['label']}”" if facts.get("label") else "",
        f"a person described it as “{facts['caption']}”" if facts.get("caption") else "",
        f"its tags are {', '.join(facts['tags'])}" if facts.get("tags") else "",
    ]

    def timed(e):
        return f"{e['name']} [{e['from']:g}s-{e['to']:g}s]" if "from" in e and "to" in e else e["name"]

    events = [timed(event) for event in facts.get("events", ())]
    parts.append(f"its sound events are {'; '.join(events)}" if events else "")
    return "; ".join(part for part in parts if part) + "."


def pairs_in(text: str) -> list[Pair]:
    """The question and answer pairs among the lines of a model's reply; lines of another form are left out."""
    found = []
    for line in re.findall(r"\{[^{}]*\}", text):
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row.get("user"), str) and isinstance(row.get("assistant"), str):
            found.append(Pair(row["user"].strip(), row["assistant"].strip()))
    return found


class Templates:
    """Dialogues without a language model. `every`: the facts of all sounds, for what is not heard in one of them."""

    OPEN = (
        "What do you hear?",
        "What can be heard in this recording?",
        "Can you describe the sound?",
        "What is going on here?",
    )
    MAKER = ("What makes the sound?", "What is it most likely?", "What would you call it?")
    MORE = ("Do you hear anything else?", "What else can be heard in it?", "Is there more to it?")
    PRESENT = ("Can you hear {}?", "Do you hear {} in it?", "Does it contain {}?")
    UNANSWERABLE = (
        ("When was it recorded?", "when it was recorded"),
        ("Who recorded it?", "who recorded it"),
        ("Which city is it from?", "where it was recorded"),
        ("What colour is the thing that makes it?", "that from a sound"),
    )

    def __init__(self, every: list[dict]):
        self.labels = sorted({facts["label"] for facts in every if facts.get("label")})

    def __call__(self, facts: dict, turns: int, rng: np.random.Generator) -> list[Pair]:
        def pick(options):
            return options[int(rng.integers(len(options)))]

        told = [facts.get("label"), *(event["name"] for event in facts.get("events", ())), *facts.get("tags", ())]
        names = list(dict.fromkeys(name.lower() for name in told if name))
        if not names and not facts.get("caption"):
            return []
        first = facts.get("caption") or f"{names[0]} can be heard"
        pairs = [Pair(pick(self.OPEN), sentence(first))]
        more: list[Pair] = []
        if names:
            more.append(Pair(pick(self.MAKER), sentence(names[0])))
            more.append(Pair(pick(self.PRESENT).format(names[0]), sentence(f"yes, I hear {names[0]}")))
        said = stems(first, *names[:1])
        new = next((name for name in names[1:] if not stems(name) & said), None)
        if new:
            more.append(Pair(pick(self.MORE), sentence(f"{new} as well")))
        absent = [label for label in self.labels if not stems(label) & stems(first, *names)]
        if absent:
            other = pick(absent)
            more.append(Pair(pick(self.PRESENT).format(other), sentence(f"no, I do not hear {other}"), grounded=False))
        question, what = pick(self.UNANSWERABLE)
        more.append(Pair(question, f"I cannot tell {what}.", grounded=False))
        return pairs + [more[i] for i in rng.permutation(len(more))][: turns - 1]


def stems(*texts: str) -> set[str]:
    """The first four letters of each word: enough to see that applause is applauding."""
    return {word[:4] for text in texts for word in re.findall(r"\w+", text.lower())}


def sentence(text: str) -> str:
    """With a capital and a full stop."""
    text = text.strip()
    return text[:1].upper() + text[1:] + ("" if text.endswith((".", "!", "?")) else ".")


def clean(pairs: list[Pair], refused: tuple[str, ...] = REFUSED) -> list[Pair]:
    """Those pairs whose answer speaks of the sound: no phrase of `refused`, no time stamps, no marks, at most 60 words,
    nothing said twice (appendix B.3)."""
    kept: list[Pair] = []
    for pair in pairs:
        answer = pair.answer.lower()
        wrong = (
            not pair.question
            or not answer
            or TIME_STAMP.search(answer)
            or MARK.search(pair.question + pair.answer)
            or len(answer.split()) > LONGEST
            or (pair.grounded and any(phrase in answer for phrase in refused))
            or any(pair.question == k.question or (pair.answer == k.answer and len(answer.split()) > 3) for k in kept)
        )
        if not wrong:
            kept.append(pair)
    return kept


def similar(
    pairs: list[Pair], vector: np.ndarray, embed: Callable[[list[str]], np.ndarray], least: float
) -> list[Pair]:
    """Those whose text has at least the cosine similarity `least` with the sound's CLAP `vector` (d,). The text is the
    answer, of an answer under four words the question with it. What no sound can bear out is kept as long as anything
    else is."""
    checked = [pair for pair in pairs if pair.grounded]
    if not checked:
        return []
    vectors = embed([p.answer if len(p.answer.split()) > 3 else f"{p.question} {p.answer}" for p in checked])
    near = [pair for pair, text in zip(checked, vectors, strict=True) if float(text @ vector) >= least]
    return [pair for pair in pairs if not pair.grounded or pair in near] if near else []


def make(config: configs.Config, progress: Callable[[int, int], None] | None = None) -> dict[str, int]:
    """Writes the manifest and returns counts. An interrupted run goes on: what a language model said is kept beside it
    as it comes.

    Raises BadRequest for facts that are not right, MissingPart where the language model does not answer.
    """
    settings = config.dialogues
    if not settings:
        raise BadRequest(f"The config {config.file.name} has no “dialogues”.")
    every = list(_facts(settings["facts"]))
    root = settings.get("root", settings["facts"].parent)
    sounds = [Sound(root / facts["audio"], float(facts.get("start", 0))) for facts in every]
    windows = Windows(config.cache, config.model)
    windows.fill(sounds)
    maker: Templates | LanguageModel
    if settings.get("maker", "templates") == "templates":
        maker, name = Templates(every), "templates"
    elif "address" in settings and "name" in settings:
        name = settings["name"]
        maker = LanguageModel(settings["address"], name, settings.get("key_variable"))
    else:
        raise BadRequest("A language model that makes dialogues needs its address and its name in the config.")
    least = settings.get("similarity", SIMILARITY)
    refused = tuple(phrase.lower() for phrase in settings.get("refused", REFUSED))
    out: Path = settings["out"]
    said = out.with_name(out.name + ".said")
    drafts = _drafts(said)
    counts = {"sounds": len(every), "pairs": 0, "after the rules": 0, "after CLAP": 0, "dialogues": 0}
    rows = []
    out.parent.mkdir(parents=True, exist_ok=True)
    with said.open("a") as keep:
        for i, (facts, sound) in enumerate(zip(every, sounds, strict=True)):
            rng = np.random.default_rng([config.seed, i])
            turns = int(rng.integers(1, settings.get("most_turns", MOST_TURNS) + 1))
            key = f"{zlib.crc32(json.dumps([facts, name, turns], sort_keys=True).encode()):08x}-{i}"
            if key not in drafts:
                drafts[key] = maker(facts, turns, rng)
                keep.write(json.dumps([key, [[p.question, p.answer, p.grounded] for p in drafts[key]]]) + "\n")
                keep.flush()
            by_rule = clean(drafts[key][:turns], refused)
            kept = similar(by_rule, windows.vector(sound), windows.clap.text, least)
            for count, pairs in (("pairs", drafts[key][:turns]), ("after the rules", by_rule), ("after CLAP", kept)):
                counts[count] += len(pairs)
            if kept:
                rows.append(
                    {
                        "audio": os.path.relpath(sound.file, out.parent),
                        "task": prompts.DIALOG,
                        **({"start": sound.start} if sound.start else {}),
                        "turns": [[pair.question, pair.answer] for pair in kept],
                    }
                )
            if progress:
                progress(i + 1, len(every))
    if not rows:
        raise BadRequest(
            f"None of {counts['pairs']} pairs came through the rules and the similarity of {least}: lower it."
        )
    manifests.write(out, rows)
    said.unlink()
    return counts | {"dialogues": len(rows)}


def _facts(file: Path) -> Iterator[dict]:
    try:
        lines = file.read_text().splitlines()
    except OSError as error:
        raise BadRequest(f"The facts {file} cannot be opened: {error.strerror}.") from error
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
        except ValueError as error:
            raise BadRequest(f"Line {number} of {file.name} is not JSON: {error}.") from error
        configs.check(row, FACTS, f"Line {number} of {file.name}")
        yield row


def _drafts(file: Path) -> dict[str, list[Pair]]:
    """What an interrupted run has from its maker already; a line cut off in writing is made anew."""
    found = {}
    for line in file.read_text().splitlines() if file.exists() else ():
        try:
            key, pairs = json.loads(line)
        except ValueError:
            continue
        found[key] = [Pair(*pair) for pair in pairs]
    return found


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m afcore.training.recipe.dialogues",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("config", type=Path)
    parser.add_argument("--work", type=Path, default=Path("work"), help="folder of the run (default: work)")
    options = parser.parse_args(arguments)

    def say(done, of):
        return print(f"{done} of {of} sounds", flush=True) if done % 100 == 0 or done == of else None

    try:
        counts = make(configs.load(options.config, options.work), say)
    except AfcoreError as error:
        sys.exit(str(error))
    print(", ".join(f"{count} {name}" for name, count in counts.items()))


if __name__ == "__main__":
    main()
