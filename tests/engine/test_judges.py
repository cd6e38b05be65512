"""The judges beside the language side, on made sounds: each says what it should, or nothing."""

import itertools

import numpy as np
import pytest
import torch

from afcore import prompts
from afcore.engine.judges import (
    EXAMPLES,
    NAMES,
    NEIGHBOURS,
    TEXT,
    WITHOUT_EXAMPLES,
    ByClassMeans,
    ByName,
    ByNeighbours,
    ByText,
    JudgesFile,
    Whitening,
    class_means,
    nearest_of_each,
)
from afcore.engine.results import Heard
from afcore.engine.scoring import LabelQuestion
from afcore.knowledge.names import ClassVectors, NameJudge, class_texts
from afcore.knowledge.table import COUNT, table
from afcore.retrieval import ExampleBank
from afcore.retrieval.example import Example
from afcore.retrieval.nearest import Shot

LABELS = ("dog", "rain", "bell")
WIDTH = 8


def words(texts):
    """An embedding by pairs of letters: equal texts are equal, others are not."""
    out = np.zeros((len(texts), 64), np.float32)
    for row, text in zip(out, texts, strict=True):
        for first, second in itertools.pairwise(text):
            row[(ord(first) * 31 + ord(second)) % 64] += 1
    return out / np.linalg.norm(out, axis=1, keepdims=True)


class Tagger:
    """An encoder whose features are an embedding and the tags' probabilities."""

    name = "tagger"

    @staticmethod
    def tags(features):
        return features[:, WIDTH:].mean(0)

    @staticmethod
    def embedding_of(features):
        return features[:, :WIDTH]


class TextSide:
    """A CLAP that reads letters and counts how often it is asked."""

    name = "letters"

    def __init__(self):
        self.asked = []

    def text(self, texts):
        self.asked += texts
        return words(texts)


class Kept(ExampleBank):
    """Embedded examples; two of each label by default."""

    def __init__(self, embeddings, labels):
        self.embeddings, self.labels = np.asarray(embeddings, np.float32), labels

    def examples(self):
        return [Example(n, label, "", f"sound {n}", 1.0) for n, label in enumerate(self.labels)]

    def clap_matrix(self, model):
        unit = self.embeddings / np.linalg.norm(self.embeddings, axis=1, keepdims=True)
        return list(range(len(unit))), unit

    def features(self, example_id, model):
        return np.concatenate([self.embeddings[example_id], np.zeros(COUNT, np.float32)])[None]


def tags_with(name, probability=0.9):
    tags = np.full(COUNT, 0.01, np.float32)
    tags[next(sound.index for sound in table() if sound.name == name)] = probability
    return tags


def question(tags=None, embedding=None, vector=None, shots=(), labels=LABELS, asked=prompts.CLASSIFY, **more):
    embedding = np.zeros(WIDTH) if embedding is None else embedding
    row = np.concatenate([embedding, tags_with("Music") if tags is None else tags]).astype(np.float32)
    heard = Heard.of_features("sound", torch.from_numpy(row)[None], vector)
    prompt = prompts.with_shots(prompts.CLASSIFY, prompts.task_of(prompts.CLASSIFY), (), None, kind="mini")
    return LabelQuestion(heard, tuple(labels), asked, (prompt,), prompt, tuple(shots), **more)


@pytest.fixture(scope="module")
def names():
    reference = np.random.default_rng(0).uniform(0, 0.1, (50, COUNT)).astype(np.float32)
    return NameJudge(words, reference, vectors=ClassVectors.of(words))


@pytest.fixture(scope="module")
def examples():
    """Three places in the space of embeddings, and a bank with two examples near each."""
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(3, WIDTH)) * 3
    near = np.repeat(centres, 2, axis=0) + rng.normal(size=(6, WIDTH)) * 0.2
    return centres, Kept(near, [label for label in LABELS for _ in range(2)])


@pytest.fixture(scope="module")
def whitening():
    return Whitening.of(np.random.default_rng(1).normal(size=(400, WIDTH)))


def shots_of(bank):
    return [Shot(example, 0.5, bank=bank) for example in bank.examples()]


def test_whitening_takes_away_what_all_share():
    sounds = 5 + np.random.default_rng(1).normal(size=(2000, 3)) * (10.0, 1.0, 0.1)
    plain = (Whitening.of(sounds, shrinkage=0.0)(sounds) ** 2).mean(0)
    assert plain == pytest.approx(np.full(3, 1 / 3), abs=0.03)
    assert np.linalg.norm(Whitening.of(sounds)(sounds), axis=1) == pytest.approx(np.ones(2000), abs=1e-5)


def test_class_means_and_the_nearest_of_each():
    examples = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    query = np.array([1, 0], np.float32)
    means = class_means(query, examples, (0, 1, 1), 3)
    assert means == pytest.approx([1, 0.3 / np.hypot(0.3, 0.9), WITHOUT_EXAMPLES])
    assert nearest_of_each(query, examples, (0, 1, 1), 3) == pytest.approx([1, 0.6, WITHOUT_EXAMPLES])


@pytest.mark.parametrize("name, label", [("Dog", "dog"), ("Rain", "rain"), ("Bell", "bell")])
def test_names_are_judged_by_tags(names, name, label):
    said = ByName(names, Tagger()).opinion(question(tags_with(name)))
    assert said.judge == NAMES and said.best == label and sum(said.probabilities.values()) == pytest.approx(1)


def test_texts_are_judged_by_the_sound_and_embedded_once():
    clap = TextSide()
    judge = ByText(clap)
    for n, label in enumerate(LABELS):
        said = judge.opinion(question(vector=words([f"the sound of {label}"])[0]))
        assert said.judge == TEXT and said.best == LABELS[n]
    assert clap.asked == [f"the sound of {label}" for label in LABELS]


@pytest.mark.parametrize("asked", ["Is there a dog in the distance?", "How loud is it?"])
def test_names_and_texts_say_nothing_of_other_questions(names, asked):
    other = question(asked=asked, vector=words(["dog"])[0])
    assert ByName(names, Tagger()).opinion(other) is None and ByText(TextSide()).opinion(other) is None


@pytest.mark.parametrize("asked", ["What animal is this?", "which of these is it?", prompts.CLASSIFY])
def test_questions_about_classes(names, asked):
    assert ByName(names, Tagger()).opinion(question(tags_with("Dog"), asked=asked)).best == "dog"


def test_examples_are_judged_by_their_means_and_the_nearest(examples, whitening):
    centres, bank = examples
    means, nearest = ByClassMeans(whitening, "tagger", Tagger.embedding_of), ByNeighbours("letters")
    for n, label in enumerate(LABELS):
        asked = question(embedding=centres[n], vector=centres[n] / 3, shots=shots_of(bank))
        assert (means.opinion(asked).judge, means.opinion(asked).best) == (EXAMPLES, label)
        assert (nearest.opinion(asked).judge, nearest.opinion(asked).best) == (NEIGHBOURS, label)


def test_without_shots_no_example_is_looked_at(examples, whitening):
    bank = examples[1]
    asked = question(vector=np.zeros(WIDTH, np.float32), bank=bank)
    assert ByClassMeans(whitening, "tagger", Tagger.embedding_of).opinion(asked) is None
    assert ByNeighbours("letters").opinion(asked) is None


def test_a_bank_gives_all_its_examples_but_those_left_out(examples, whitening):
    centres, bank = examples
    judge = ByClassMeans(whitening, "tagger", Tagger.embedding_of)
    one = shots_of(bank)[:1]  # a dog
    asked = question(embedding=centres[1], vector=centres[1] / 3, shots=one)
    said = judge.opinion(asked).probabilities
    assert said["rain"] == said["bell"], "the shots alone say nothing of either"
    everything = question(embedding=centres[1], vector=centres[1] / 3, shots=one, bank=bank)
    assert judge.opinion(everything).best == "rain"
    left_out = question(embedding=centres[1], vector=centres[1] / 3, shots=one, bank=bank, exclude=frozenset({2, 3}))
    assert judge.opinion(left_out).probabilities["rain"] < judge.opinion(everything).probabilities["rain"]


def test_examples_of_other_labels_count_for_nothing(examples, whitening):
    bank = examples[1]
    asked = question(vector=np.zeros(WIDTH, np.float32), shots=shots_of(bank), labels=("cat", "train"))
    assert ByClassMeans(whitening, "tagger", Tagger.embedding_of).opinion(asked) is None


def test_what_judges_know_is_kept_in_a_file(tmp_path, names, whitening):
    file = tmp_path / "judges.safetensors"
    JudgesFile(names.reference, whitening, names.vectors).save(file)
    again = JudgesFile.load(file)
    assert again.reference == pytest.approx(names.reference, abs=1e-3)
    assert again.whitening.matrix == pytest.approx(whitening.matrix, rel=1e-2, abs=1e-3)
    assert again.vectors.names.shape == names.vectors.names.shape and again.vectors.digest == class_texts().digest
    other = ClassVectors(names.vectors.shown, names.vectors.names, names.vectors.clauses, "of another table")
    JudgesFile(names.reference, whitening, other).save(file)
    with pytest.raises(ValueError, match="other class names"):
        JudgesFile.load(file)
