"""Sentences that people wrote about sounds, read as recipes: which classes a sentence names and how they stand.

A recipe says what to mix for a sentence to be true of the mixture. `sentence_words.txt`, written by hand, says which
words name which of AudioSet's classes. A sentence is kept only if every word of it was understood, so what is left out
is far more than what is read wrongly.

    python -m afcore.training.mini.sentences --text FOLDER --out FILE.jsonl

The folder holds AudioCaps' `audiocaps_train.csv` and `audiocaps_val.csv` (MIT, https://audiocaps.github.io); its test
sentences are for tests and are never opened.
"""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import re
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

from afcore.errors import AfcoreError
from afcore.knowledge.table import ancestors, by_name
from afcore.knowledge.words import stem

FILES = ("audiocaps_train.csv", "audiocaps_val.csv")
LEXICON = Path(__file__).with_name("sentence_words.txt")
MOST = 4  # classes of one sentence: more cannot be told apart in a mixture of some seconds

THEN, WHILE, AND, BACK = ">", "=", "&", "_"  # marks between clauses
MARKS = tuple(  # in this order; those that meet become one
    (mark, re.compile(rf"(?<!\S)(?:{pattern})(?!\S)"))
    for mark, pattern in (
        (THEN, r"(?:which |that )?(?:is |are |was )?(?:then )?(?:shortly |quickly |immediately )?followed by"),
        (THEN, r"then|finally|before|after which|afterwards?|later"),
        (WHILE, r"while|whilst|as|when|(?:is |are )?accompanied by|along with|alongside|together with|amid|with"),
        (AND, r"and|,|&|plus"),
        (BACK, r"in (?:the )?(?:far )?(?:background|distance)"),
    )
)
BEHIND = re.compile(r"(?:, | far | faintly )? ?\bin (?:the )?(?:far )?(?:background|distance)\b,?")
FRAGMENT = re.compile(r"[a-z]{3,}")
UNSURE = re.compile(r"\\[a-z]|[a-z ]\?")  # of a pattern: no letter, or one that may be missing
SMALL = frozenset("the and for ing its his her their with".split())
PLAIN = re.compile(r"(?!.*\b(?:a|an|the) (?:a|an|the|to|of|in|on|by|and|is|are|with|as|then|while)\b)[a-z' ,&]+")


@dataclass(frozen=True)
class Recipe:
    """A sentence and what it says.

    `relation`: "one" (a single class), "together", "then" (each after the one before) or "background" (the last class
    is fainter than the others).
    """

    sentence: str
    """Lower case, without a full stop, without words that a mixture cannot keep ("twice", "in the distance")."""
    classes: tuple[str, ...]
    """AudioSet's display names, in the order said, each once."""
    relation: str


class Rewriting:
    """Patterns and what takes their place, in order. Only those are tried of which a text has a word's beginning: most
    have nothing to do with a sentence."""

    def __init__(self, rules: Sequence[tuple[str, str]]):
        self.rules = [(re.compile(rf"\b(?:{pattern})\b"), new) for pattern, new in rules]
        self.starts = [tuple(set(FRAGMENT.findall(UNSURE.sub(" ", pattern))) - SMALL) for pattern, _ in rules]
        for (pattern, _), starts in zip(rules, self.starts, strict=True):
            if not starts:
                raise ValueError(f"{pattern} has only small words")
        self.known: dict[str, int] = {}

    def __call__(self, text: str) -> str:
        worth = 0  # a bit for each rule
        for word in text.split():
            if word not in self.known:
                self.known[word] = sum(1 << i for i, starts in enumerate(self.starts) if word.startswith(starts))
            worth |= self.known[word]
        for i, (pattern, new) in enumerate(self.rules):
            if worth >> i & 1:
                text = pattern.sub(new, text)
        return text


@dataclass(frozen=True)
class Lexicon:
    """What stands in `sentence_words.txt`; its head explains the sections."""

    clean: Rewriting
    phrases: Rewriting
    harmless: frozenset[str]
    rules: dict[tuple[str, ...], tuple[str, ...]]
    """Stems → the classes that they name."""


def read_lexicon(text: str) -> Lexicon:
    """The lexicon from its text. Raises AfcoreError with the line that is not understood."""
    rewritings: dict[str, list[tuple[str, str]]] = {"clean": [], "phrases": []}
    harmless: set[str] = set()
    groups: dict[str, frozenset[str]] = {}
    rules: dict[tuple[str, ...], tuple[str, ...]] = {}
    section = ""
    for number, line in enumerate(text.splitlines(), 1):
        line = line.partition("#")[0].strip()
        try:
            if line.startswith("["):
                section = line.strip("[]")
            elif line and section in rewritings:
                pattern, _, new = line.partition("=>")
                Rewriting([(pattern.strip(), "")])  # here, so that a mistake names its line
                rewritings[section].append((pattern.strip(), f" {new.strip()} "))
            elif line and section == "harmless":
                harmless.update(stem(word) for word in line.split())
            elif line and section == "groups":
                name, _, words = line.partition("=")
                groups[name.strip()] = frozenset().union(*(_slot(word, groups) for word in words.split()))
            elif line:
                _add_rules(line, groups, rules)
        except (KeyError, ValueError, re.error) as e:
            raise AfcoreError(f"{LEXICON.name}, line {number}, is not understood: {line} ({e})") from e
    clean, phrases = (Rewriting(pairs) for pairs in rewritings.values())
    return Lexicon(clean, phrases, frozenset(harmless), rules)


def _slot(words: str, groups: dict[str, frozenset[str]]) -> frozenset[str]:
    """The stems of "dog|@cat"."""
    return frozenset().union(*(groups[w] if w.startswith("@") else {stem(w)} for w in words.split("|")))


def _add_rules(line: str, groups: dict[str, frozenset[str]], rules: dict[tuple[str, ...], tuple[str, ...]]) -> None:
    """Adds "dog|puppy bark|woof loud? -> Bark", once with and once without each slot that ends in "?". What was said
    first of the same words stands."""
    pattern, arrow, names = line.partition("->")
    classes = tuple(name.strip() for name in names.split("+"))
    if not arrow or not pattern.strip():
        raise ValueError("no arrow")
    for name in classes:
        by_name()[name]
    choices = [(_slot(word.rstrip("?"), groups), word.endswith("?")) for word in pattern.split()]
    for kept in itertools.product(*((True, False) if optional else (True,) for _, optional in choices)):
        slots = [slot for (slot, _), keep in zip(choices, kept, strict=True) if keep]
        for said in itertools.product(*slots):
            if said:
                rules.setdefault(said, classes)


@cache
def lexicon() -> Lexicon:
    """The lexicon that lies beside this file."""
    return read_lexicon(LEXICON.read_text(encoding="utf-8"))


def tidy(sentence: str, words: Lexicon | None = None) -> str:
    """Lower case, no full stop, no words that a mixture cannot keep, "a" and "an" as the next word wants them."""
    text = " ".join(sentence.lower().replace("\u2019", "'").replace("-", " ").replace(";", ",").split()).strip(" .,")
    text = (words or lexicon()).clean(text)
    text = re.sub(r"\s+,", ",", " ".join(text.split()))
    text = re.sub(r"(,\s*)+", ", ", text).strip(" ,")
    text = re.sub(r"^(?:and|then|while|as|with) ", "", text)
    text = re.sub(r"\ba (?=[aeiou])(?!uni|use|uti|one)", "an ", text)
    return re.sub(r"\ban (?![aeiou]|hour)", "a ", text)


def read(sentence: str, words: Lexicon | None = None) -> Recipe | None:
    """The recipe of a sentence, or None where some of it was not understood or it names an event twice."""
    words = words or lexicon()
    text = tidy(sentence, words)
    if not PLAIN.fullmatch(text):
        return None
    behind = BEHIND.search(text)
    if behind:
        recipe = _read(text, words)
        if recipe is not None and recipe.relation == "background":
            return recipe
        text = tidy(BEHIND.sub(_comma, text), words)  # where it does not stand at the end, or nothing stands before it
    return _read(text, words)


def _comma(phrase: re.Match[str]) -> str:
    """What is left of a phrase that is cut: its comma, so that the clauses before and after it stay apart."""
    return ", " if "," in phrase.group() else " "


def _read(text: str, words: Lexicon) -> Recipe | None:
    clauses, marks, faint = _clauses(text, words)
    found = _classes(clauses, marks, words)
    if found is None or not found:
        return None
    flat = [name for own in found for name in own]
    if len(set(flat)) < len(flat) or len(flat) > MOST:
        return None
    if any(a in ancestors(b) for a, b in itertools.permutations(flat, 2)):
        return None  # "a man speaks as someone talks": which of both is meant is not heard
    if faint:
        alone = len(found) > 1 and len(found[-1]) == 1 and (len(flat) == 2 or marks[-1] == WHILE)
        if not alone or faint != {len(clauses) - 1} or THEN in marks:
            return None
        return Recipe(text, tuple(flat), "background")
    if len(flat) == 1:
        return Recipe(text, tuple(flat), "one")
    if THEN not in marks:
        return Recipe(text, tuple(flat), "together")
    return None if WHILE in marks else Recipe(text, tuple(flat), "then")


def _clauses(text: str, words: Lexicon) -> tuple[list[list[str]], list[str], set[int]]:
    """The stems of each clause that say something, the marks between them, and which clauses are in the background."""
    text = words.phrases(text.replace(",", " , "))
    for mark, pattern in MARKS:
        text = pattern.sub(f" {mark} ", text)
    clauses: list[list[str]] = [[]]
    marks: list[str] = []
    faint: set[int] = set()
    leading = False
    for token in text.split():
        if token == BACK:
            if clauses[-1]:
                faint.add(len(clauses) - 1)
            else:
                leading = True
        elif token in (THEN, WHILE, AND):
            if not clauses[-1]:  # ", and then": the strongest of marks that meet
                if marks:
                    marks[-1] = THEN if THEN in (marks[-1], token) else WHILE if WHILE in (marks[-1], token) else AND
                continue
            clauses.append([])
            marks.append(token)
        elif (short := stem(token.removesuffix("'s"))) not in words.harmless:
            clauses[-1].append(short)
            if leading:
                faint.add(len(clauses) - 1)
                leading = False
    return clauses, marks, faint


def _classes(clauses: Sequence[Sequence[str]], marks: Sequence[str], words: Lexicon) -> list[tuple[str, ...]] | None:
    """The classes of each clause, or None. A clause without a subject takes the one before ("a dog barks and growls"),
    one without a verb takes the next one's ("a man and a woman talk")."""
    found: list[tuple[str, ...]] = []
    before: tuple[str, ...] = ()
    for place, said in enumerate(clauses):
        clause = tuple(said)
        after = tuple(clauses[place + 1]) if marks[place : place + 1] == [AND] else ()
        if not clause:
            return None
        subjects = [before[:count] for count in range(1, min(2, len(before)) + 1)]
        tries = [(*subject, *clause) for subject in subjects]
        if len(clause) <= 2 and after in words.rules:
            tries += [(*clause, *after[left:]) for left in range(1, len(after))]
        understood = next((one for one in (*tries, clause) if one in words.rules), None)
        if understood is None:
            return None
        found.append(words.rules[understood])
        before = understood
    return found


def sentences(folder: Path) -> Iterable[str]:
    """The sentences of AudioCaps' training and validation files. Raises AfcoreError where one is missing or is no such
    table."""
    for name in FILES:
        try:
            with (folder / name).open(encoding="utf-8", newline="") as file:
                for row in csv.DictReader(file):
                    yield row["caption"]
        except (OSError, KeyError, csv.Error, UnicodeDecodeError) as e:
            raise AfcoreError(f"{folder / name} cannot be read as AudioCaps' sentences: {e}") from e


def recipes(folder: Path) -> list[Recipe]:
    """The recipes of all sentences that were understood, each sentence once, in the order of the files.

    `folder`: where AudioCaps' tables lie. Takes some seconds. Raises AfcoreError where one cannot be read.
    """
    found: dict[str, Recipe] = {}
    for sentence in sentences(folder):
        recipe = read(sentence)
        if recipe is not None:
            found.setdefault(recipe.sentence, recipe)
    return list(found.values())


def write(found: Sequence[Recipe], file: Path) -> int:
    """One recipe a line, as JSON; returns how many."""
    file.write_text("".join(json.dumps(asdict(recipe)) + "\n" for recipe in found), encoding="utf-8")
    return len(found)


def main(argv: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    parser.add_argument("--text", type=Path, required=True, help="folder with AudioCaps' tables")
    parser.add_argument("--out", type=Path, required=True, help="one recipe a line, as JSON")
    args = parser.parse_args(argv)
    print(f"{write(recipes(args.text), args.out)} recipes in {args.out}")


if __name__ == "__main__":
    main()
