"""ClothoAQA (zenodo.org/records/6473207): six questions for each sound, each answered by three people."""

from __future__ import annotations

from pathlib import Path

from afcore.evaluation.benchmarks.item import ANSWER, TEST, TRAIN, VALIDATION, Benchmark, Item
from afcore.evaluation.benchmarks.layout import Layout
from afcore.evaluation.benchmarks.published_prompts import PROMPTS

SPLITS = {TRAIN: "train", VALIDATION: "val", TEST: "test"}
UNANIMOUS, BINARY, NON_BINARY, NUMERICAL = "unanimous", "binary", "non-binary", "numerical"
NUMBERS = set("zero one two three four five six seven eight nine ten eleven twelve twenty".split())


def kinds(answers: list[str]) -> tuple[str, ...]:
    """Which subsets a question is in, by the answers of its annotators.

    binary: all of them said yes or no; unanimous: binary, and the same; non-binary: not binary; numerical: all of them
    said a number.
    """
    if set(answers) <= {"yes", "no"}:
        return (BINARY, UNANIMOUS) if len(set(answers)) == 1 else (BINARY,)
    numbers = all(answer.isdigit() or answer in NUMBERS for answer in answers)
    return (NON_BINARY, NUMERICAL) if numbers else (NON_BINARY,)


def read(data: Path) -> list[Item]:
    """As `Benchmark.read`."""
    columns = ["file_name", "questiontext", "answer"]
    layout = Layout(data, "ClothoAQA", "clotho_aqa_test.csv (file_name, QuestionText, answer, confidence), audio_files")
    layout.file("clotho_aqa_test.csv")
    folder, items = layout.folder("audio_files"), []
    for split, name in SPLITS.items():
        file = data / f"clotho_aqa_{name}.csv"
        asked: dict[tuple[str, str], list[str]] = {}
        for row in layout.rows(file, columns) if file.is_file() else []:
            key = row["file_name"], row["questiontext"].strip()
            asked.setdefault(key, []).append(row["answer"].strip().lower())
        for (sound, question), answers in asked.items():
            found = kinds(answers)
            # The most frequent answer first: it is what an example says.
            ranked = tuple(sorted(dict.fromkeys(answers), key=lambda a: -answers.count(a)))
            items.append(
                Item(
                    f"{name}/{sound}/{question}",
                    folder / sound,
                    ranked,
                    split,
                    PROMPTS["clotho-aqa"].text.format(question=question),
                    found,
                    source=sound,
                    yes_no=BINARY in found,
                )
            )
    return items


BENCHMARKS = (Benchmark("clotho-aqa", "ClothoAQA", ANSWER, PROMPTS["clotho-aqa"], read),)
