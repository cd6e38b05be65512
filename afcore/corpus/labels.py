"""Step `labels`: what each file of the corpus is a sound of, from its name.

    python -m afcore.corpus.labels --work DIR [--show LABEL|PACKAGE] [--summary]

Rules (`label_rules.txt`: file names → labels) and names (`label_names.txt`: labels → category, words, AudioSet classes)
are texts beside this module. Where `corpus/teacher.npy` exists, a label that the teacher contradicts is dropped: a
wrong label hurts more than a missing one. Writes `corpus/labels.jsonl`: id, label, caption, category, confidence.
"""

from __future__ import annotations

import argparse
import json
import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from afcore.hashing import number_of

SHORTEST = 0.1  # s of sound that is not quiet; shorter files get no label
# The teacher contradicts a label when no class that may be heard in it reaches DOUBT and another reaches CERTAIN.
DOUBT, CERTAIN = 0.01, 0.5
AGREED = 0.08  # what a fitting class must reach where the name alone leaves doubt
TEMPLATES = ("{}", "{}", "{} can be heard")  # longer ones taught the model to say "a recording of a recording"
_HERE = Path(__file__).parent


@dataclass(frozen=True)
class Name:
    """A label as people say it."""

    label: str
    category: str  # animals, people, nature, vehicles, alarms, household, tools, weapons, impacts, music, percussion
    phrase: str  # "a dog barking"
    audioset: tuple[str, ...]  # parts of the names of AudioSet classes that may be heard in it

    @property
    def coarse(self) -> str:
        """ "speech", "music" or the category."""
        return "speech" if self.label == "speech" else "music" if self.category == "percussion" else self.category


def _lines(file: str) -> list[str]:
    lines = (
        line.split("# ")[0].strip() if line.startswith("#") else line.strip()
        for line in (_HERE / file).read_text(encoding="utf-8").splitlines()
    )
    return [line for line in lines if line]


def read_names() -> dict[str, Name]:
    """label → `Name`, from label_names.txt."""
    rows = ([part.strip() for part in line.split("|")] for line in _lines("label_names.txt"))
    return {r[0]: Name(r[0], r[1], r[2], tuple(p.strip() for p in r[3].split(";"))) for r in rows}


@dataclass(frozen=True)
class Rule:
    pattern: re.Pattern
    label: str | None  # None: known to be nothing nameable; "@": the matched words themselves
    phrase: str | None
    unsure: bool = False  # "?" before the label: it counts only where the teacher agrees


def read_rules() -> dict[str, list[Rule]]:
    """package → its rules in order, from label_rules.txt; those of "*" are appended where a section does not say
    `stop`."""
    sections: dict[str, list[Rule]] = {}
    stopped, current = set(), ""
    for line in _lines("label_rules.txt"):
        if line.startswith("[") and line.endswith("]") and "=>" not in line:
            current = line[1:-1]
            sections.setdefault(current, [])
        elif line == "stop":
            stopped.add(current)
        else:
            pattern, _, right = line.partition("=>")
            label, _, phrase = (part.strip() for part in right.partition("|"))
            sections[current].append(
                Rule(
                    re.compile(pattern.strip()),
                    None if label == "-" else label.removeprefix("?"),
                    phrase or None,
                    label.startswith("?"),
                )
            )
    general = sections.pop("*", [])
    return {name: rules + ([] if name in stopped else general) for name, rules in sections.items()} | {"*": general}


def words(path: str) -> str:
    """The last three folders and the stem as words: 'a/b/FootStep_Grass2.wav' → 'a/b/foot step grass'."""
    if ".cat!" in path:  # OpenTTD's sounds: 'NN "Title". Original …'
        title = path.split('"')
        return f'"{title[1].lower()}"' if len(title) > 1 else ""
    parts = path.replace("!", "/").split("/")[-4:]
    parts[-1] = parts[-1].rsplit(".", 1)[0]
    out = []
    for part in parts:
        part = re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", " ", part)
        out.append(re.sub(r"\s+", " ", re.sub(r"[-_.~+()\s\d]+", " ", part)).strip().lower())
    return "/".join(out)


class PathLabeller:
    """File → label by the rules."""

    def __init__(self):
        self.names, self.rules = read_names(), read_rules()

    def label(self, package: str, path: str) -> tuple[str, str, bool] | None:
        """(label, noun phrase for captions, whether the name leaves doubt), or None where it does not say what is
        heard."""
        key = words(path)
        for rule in self.rules.get(package, self.rules["*"]):
            if found := rule.pattern.search(key):
                if rule.label is None:
                    return None
                label = found.group(1) if rule.label == "@" else rule.label
                return label, rule.phrase or self.names[label].phrase, rule.unsure
        return None


def caption(phrase: str, identity: str) -> str:
    """One sentence; the template depends on the file only."""
    return TEMPLATES[number_of(identity) % len(TEMPLATES)].format(phrase)


def agreement(name: Name, probabilities: np.ndarray, audioset: list[str]) -> tuple[float, float, str]:
    """(probability of the likeliest class that fits the label, of the likeliest that does not, that one's name)."""
    fits = np.array([any(part in shown for part in name.audioset) for shown in audioset])
    other = np.where(fits, 0, probabilities)
    return float(probabilities[fits].max(initial=0)), float(other.max()), audioset[int(other.argmax())]


def label_all(corpus: Path, audioset: list[str] | None = None) -> tuple[list[dict], list[dict]]:
    """(labelled rows, rows whose label the teacher contradicts). `audioset`: the 527 names; needed where teacher.npy
    exists."""
    labeller = PathLabeller()
    index = [json.loads(line) for line in (corpus / "index.jsonl").read_text().splitlines()]
    logits = np.load(corpus / "teacher.npy", mmap_mode="r")[:, -527:] if audioset else None
    rows, doubted = [], []
    for i, piece in enumerate(index):
        found = labeller.label(piece["package"], piece["path"])
        if found is None or piece["active"] < SHORTEST:
            continue
        label, phrase, unsure = found
        name = labeller.names[label]
        row = {
            "id": piece["id"],
            "label": label,
            "caption": caption(phrase, piece["id"]),
            "phrase": phrase,
            "category": name.coarse,
            "fine": name.category,
            "confidence": 0.7,
            "package": piece["package"],
            "group": piece["group"],
        }
        if logits is None or audioset is None:
            if unsure:
                continue
        else:
            fit, other, which = agreement(name, 1 / (1 + np.exp(-logits[i].astype(np.float32))), audioset)
            row["confidence"] = round(0.5 + 0.5 * min(1.0, fit / 0.5), 2)
            if fit < (AGREED if unsure else DOUBT) and (unsure or other > CERTAIN):
                doubted.append(row | {"heard": which, "probability": round(other, 2)})
                continue
        rows.append(row)
    return rows, doubted


def write(corpus: Path, teacher: Path | None = None) -> list[dict]:
    """Writes `corpus/labels.jsonl` and `corpus/doubted.jsonl`; returns the labelled rows.

    With the teacher's folder and the `tags` step's output, labels that the teacher contradicts are dropped."""
    from afcore.corpus.teacher import read_labels

    audioset = None
    if teacher is not None and (corpus / "teacher.npy").exists():
        audioset = read_labels(teacher / "audioset_labels.csv")
    if audioset:
        (corpus / "audioset.json").write_text(
            json.dumps(audioset)
        )  # names of what teacher.npy holds, for the bank's tags
    rows, doubted = label_all(corpus, audioset)
    for name, content in (("labels", rows), ("doubted", doubted)):
        (corpus / f"{name}.jsonl").write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content))
    return rows


def labelled_rows(corpus: Path) -> list[dict]:
    """What `write` wrote, in the index's order. Raises OSError where the step has not run."""
    return [json.loads(line) for line in (corpus / "labels.jsonl").read_text(encoding="utf-8").splitlines()]


def label_by_id(folder: Path) -> dict[str, str]:
    """Sound → label, of a folder of decoded sounds; empty where the step has not run there."""
    return {row["id"]: row["label"] for row in labelled_rows(folder)} if (folder / "labels.jsonl").exists() else {}


def summary(rows: list[dict]) -> str:
    """A line per label: clips, and the packages of each split that have it."""
    from afcore.corpus.splits import split_of

    clips = Counter(r["label"] for r in rows)
    where: dict[str, dict[str, Counter[str]]] = defaultdict(lambda: defaultdict(Counter))
    for row in rows:
        where[row["label"]][split_of(row["package"])][row["package"]] += 1
    both = sum(1 for w in where.values() if w["train"] and w["test"])
    lines = [
        f"{n:5d} {label:28s} train {len(where[label]['train']):3d} packages, "
        f"validation {len(where[label]['validation']):2d}, "
        f"test {len(where[label]['test']):2d} ({sum(where[label]['test'].values())} clips)"
        for label, n in clips.most_common()
    ]
    test = sum(sum(w["test"].values()) for w in where.values())
    return "\n".join(
        [
            *lines,
            f"{len(rows)} clips, {len(clips)} labels, {len({r['package'] for r in rows})} packages; "
            f"{both} labels on the training and the test side; {test} test clips",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m afcore.corpus.labels", description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument(
        "--teacher", type=Path, help="folder with audioset_labels.csv, to drop labels that the teacher contradicts"
    )
    arguments = parser.parse_args()
    print(summary(write(arguments.work / "corpus", arguments.teacher)))


if __name__ == "__main__":
    main()
