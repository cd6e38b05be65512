"""Judges of labels: each says what it should on made data, and together they follow their weights."""

import itertools

import numpy as np
import pytest

from afcore.engine import judges
from afcore.engine.judges import Known, Opinion, Panel, Weights, Whitening, by_class_means, by_neighbours, pool
from afcore.knowledge.names import ClassVectors, NameJudge, class_texts
from afcore.knowledge.table import COUNT, table

LABELS = ("dog", "rain", "bell")
EVERYTHING = {"names": 1.0, "text": 1.0, "examples": 1.0, "neighbours": 1.0, "language": 1.0}


def words(texts):
    """An embedding by letters: equal texts are equal, others are not."""
    out = np.zeros((len(texts), 64), np.float32)
    for row, text in zip(out, texts, strict=True):
        for pair in itertools.pairwise(text):
            row[hash_of(pair)] += 1
    return out / np.linalg.norm(out, axis=1, keepdims=True)


def hash_of(pair):
    return (ord(pair[0]) * 31 + ord(pair[1])) % 64


@pytest.fixture(scope="module")
def panel():
    rng = np.random.default_rng(0)
    reference = rng.uniform(0, 0.1, (50, COUNT)).astype(np.float32)
    names = NameJudge(words, reference, vectors=ClassVectors.of(words))
    whitening = Whitening.of(rng.normal(size=(400, 8)).astype(np.float32))
    return Panel(names, whitening, Weights(EVERYTHING, EVERYTHING, {}), words)


def tags_with(name, probability=0.9):
    tags = np.full(COUNT, 0.01, np.float32)
    tags[next(sound.index for sound in table() if sound.name == name)] = probability
    return tags


def test_pool_is_the_weighted_product():
    one, two = Opinion("names", (0.8, 0.2), 1.0), Opinion("text", (0.4, 0.6), 2.0)
    found = pool(("a", "b"), [one, two]).probabilities
    a, b = 0.8 * 0.4**2, 0.2 * 0.6**2
    assert found == pytest.approx((a / (a + b), b / (a + b)))


def test_a_judge_without_weight_changes_nothing_and_is_not_counted():
    sure, wrong = Opinion("names", (0.7, 0.3), 1.0), Opinion("text", (0.0, 1.0), 0.0)
    judgement = pool(("a", "b"), [sure, wrong])
    assert judgement.probabilities == pytest.approx((0.7, 0.3))
    assert judgement.asked == judgement.agreeing == ("names",) and judgement.to_json()["agree"] is True


def test_nobody_believed_is_an_error():
    with pytest.raises(ValueError, match="no judge has a weight"):
        pool(("a", "b"), [Opinion("text", (0.5, 0.5), 0.0)])


def test_disagreement_is_said():
    judgement = pool(("a", "b"), [Opinion("names", (0.9, 0.1), 1.0), Opinion("text", (0.4, 0.6), 1.0)])
    assert judgement.best == "a" and judgement.agreeing == ("names",)
    assert judgement.to_json()["agree"] is False and judgement.to_json()["judges"]["text"]["best"] == "b"


def test_a_label_that_a_judge_excludes_keeps_a_finite_score():
    found = pool(("a", "b"), [Opinion("names", (1.0, 0.0), 1.0), Opinion("text", (0.1, 0.9), 1.0)]).probabilities
    assert np.isfinite(found).all() and found[0] > 0.99


def test_whitening_takes_away_what_all_share():
    rng = np.random.default_rng(1)
    spread = np.array([10.0, 1.0, 0.1])
    sounds = 5 + rng.normal(size=(2000, 3)) * spread
    plain = (Whitening.of(sounds, shrinkage=0.0)(sounds) ** 2).mean(0)
    assert plain == pytest.approx(np.full(3, 1 / 3), abs=0.03)
    assert np.linalg.norm(Whitening.of(sounds)(sounds), axis=1) == pytest.approx(np.ones(2000), abs=1e-5)


def test_class_means_and_neighbours():
    examples = np.array([[1, 0], [0, 1], [0.6, 0.8]], np.float32)
    query = np.array([1, 0], np.float32)
    means = by_class_means(query, examples, (0, 1, 1), 3)
    assert means[0] == pytest.approx(1) and means[1] == pytest.approx(0.3 / np.hypot(0.3, 0.9)) and means[2] == 0
    assert by_neighbours(query, examples, (0, 1, 1), 3, unknown=-0.5) == pytest.approx([1, 0.6, -0.5])


@pytest.mark.parametrize("name, label", [("Dog", "dog"), ("Rain", "rain"), ("Bell", "bell")])
def test_the_panel_names_by_tags_without_examples(panel, name, label):
    said = panel.opinions(LABELS, tags_with(name), np.zeros(8), np.zeros(64, np.float32))
    names = next(o for o in said if o.judge == judges.NAMES)
    assert LABELS[int(np.argmax(names.probabilities))] == label
    assert {o.judge for o in said} == {judges.NAMES, judges.TEXT}


def test_the_panel_asks_the_examples_where_there_are_some(panel):
    rng = np.random.default_rng(2)
    centres = rng.normal(size=(3, 8)) * 3
    embeddings = np.repeat(centres, 4, axis=0) + rng.normal(size=(12, 8)) * 0.2
    vectors = embeddings / np.linalg.norm(embeddings, axis=1, keepdims=True)
    known = Known(embeddings, vectors, tuple(np.repeat(range(3), 4)))
    quiet = Panel(panel.names, panel.whitening, panel.weights)  # without texts, whose vectors have another width
    for label in range(3):
        said = quiet.opinions(LABELS, tags_with("Music"), centres[label], centres[label] / 3, known, (0.2, 0.3, 0.5))
        by_judge = {o.judge: int(np.argmax(o.probabilities)) for o in said}
        assert by_judge[judges.EXAMPLES] == by_judge[judges.NEIGHBOURS] == label
        assert by_judge[judges.LANGUAGE] == 2


def test_labels_are_embedded_once(panel):
    asked = []
    counting = Panel(panel.names, panel.whitening, panel.weights, lambda texts: asked.extend(texts) or words(texts))
    for _ in range(2):
        counting.opinions(LABELS, tags_with("Dog"), np.zeros(8), np.zeros(64, np.float32))
    assert asked == [f"the sound of {label}" for label in LABELS]


def test_weights_are_read_strictly():
    settings = {"alone": {"names": 1}, "with_examples": {"examples": 0.5}, "temperature": {}}
    weights = Weights.from_dict(settings)
    assert weights.of("names", False) == 1 and weights.of("names", True) == 0 and weights.of("examples", True) == 0.5
    with pytest.raises(ValueError, match="unknown judges"):
        Weights.from_dict(settings | {"alone": {"oracle": 1}})
    with pytest.raises(ValueError, match="holds alone"):
        Weights.from_dict({"alone": {}})


def test_class_texts_are_those_of_the_table():
    assert len(class_texts().shown) == COUNT
