"""The judge by name, with a sentence model of words: texts are near as far as they share words."""

import hashlib
import re

import numpy as np
import pytest

from afcore.knowledge.names import (
    FLOOR,
    ClassVectors,
    NameJudge,
    NameSettings,
    class_names,
    class_texts,
    distribution,
    name_weights,
    nearest_of_each_class,
    raw_scores,
    same_words,
    softmax,
    with_implied,
)
from afcore.knowledge.table import COUNT, by_name, table

WIDTH = 96
CALLS: list[int] = []


def word_vector(word: str) -> np.ndarray:
    seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
    return np.random.default_rng(seed).normal(size=WIDTH)


def embed(texts: list[str]) -> np.ndarray:
    """A sum of random vectors, one a word, of length 1."""
    CALLS.append(len(texts))
    out = np.stack([sum(word_vector(word) for word in re.findall(r"[a-z]+", text.lower())) for text in texts])
    return (out / np.linalg.norm(out, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture(scope="module")
def vectors() -> ClassVectors:
    return ClassVectors.of(embed)


@pytest.fixture(scope="module")
def reference() -> np.ndarray:
    return np.random.default_rng(1).beta(0.3, 8, size=(200, COUNT)).astype(np.float32)


def index(name: str) -> int:
    return by_name()[name].index


def best(weights: np.ndarray) -> list[str]:
    return [table()[i].name for i in weights.argmax(-1)]


def test_display_names_alone_are_a_softmax_of_cosines(vectors):
    names = ["dog", "church bell", "rain"]
    weights = name_weights(names, vectors, embed, NameSettings(table=0))
    shown = embed([f"the sound of {sound.name.lower()}" for sound in table()])
    powers = np.exp(embed([f"the sound of {name}" for name in names]) @ shown.T / 0.03)
    np.testing.assert_allclose(weights, powers / powers.sum(1, keepdims=True), rtol=1e-3)


def test_weights_are_shares(vectors):
    weights = name_weights(["dog", "a very odd thing", "Dog"], vectors, embed)
    assert weights.shape == (3, COUNT) and (weights >= 0).all()
    np.testing.assert_allclose(weights.sum(1), 1, rtol=1e-5)
    np.testing.assert_allclose(weights[0], weights[2], rtol=1e-4)


def test_half_of_the_weights_is_by_the_table(vectors):
    both, shown, own = (name_weights(["dove"], vectors, embed, NameSettings(table=share)) for share in (0.5, 0, 1))
    np.testing.assert_allclose(both, (shown + own) / 2, rtol=1e-4, atol=1e-7)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("dogs barking", "Bark"),
        ("a dog barks", "Bark"),
        ("dove", "Pigeon, dove"),
        ("someone knocks on a door", "Knock"),
        ("A person sneezing", "Sneeze"),
        ("heavy rainfall on a roof or window", "Rain on surface"),
        ("a rooster crowing", "Crowing, cock-a-doodle-doo"),
        ("helicopter", "Helicopter"),
    ],
)
def test_a_class_is_found_by_any_of_its_names(vectors, name, expected):
    assert best(name_weights([name], vectors, embed, NameSettings(table=1))) == [expected]


def test_clauses_count_as_far_as_asked(vectors):
    name, clause = "something else altogether", table()[index("Doorbell")].phrases[2]
    assert clause == "someone rings at the door"
    with_clauses, without = (
        name_weights([clause, name], vectors, embed, NameSettings(table=1, clauses=share, same=0, within=0))
        for share in (0.5, 0)
    )
    assert with_clauses[0, index("Doorbell")] > without[0, index("Doorbell")]


def test_same_words_add_to_the_cosine():
    settings = NameSettings(same=0.2, within=0.05)
    added = same_words(["barking dogs", "loud dog barking in a yard", "zebra", "?"], settings)
    assert added.shape == (4, COUNT)
    assert added[0, index("Bark")] == np.float32(0.2) and added[0, index("Dog")] == np.float32(0.05)
    assert added[1, index("Bark")] == added[1, index("Dog")] == np.float32(0.05)
    assert not added[2:].any()


def test_what_a_class_is_called():
    assert class_names(by_name()["Pigeon, dove"]) == ("pigeon, dove", "pigeon", "dove")
    assert class_names(by_name()["Bee, wasp, etc."]) == ("bee, wasp,", "bee", "wasp")
    assert class_names(by_name()["Whimper (dog)"]) == ("whimper dog", "whimpering dog")
    assert all(class_names(sound) for sound in table())


def test_the_nearest_text_of_each_class_counts():
    classes = [i for i in range(COUNT) for _ in range(2)]
    cosines = np.zeros((1, 2 * COUNT), np.float32)
    cosines[0, [1, 4, 5]] = 0.5, 0.2, 0.7
    nearest = nearest_of_each_class(cosines, classes)
    assert nearest.shape == (1, COUNT) and nearest[0, :4].tolist() == pytest.approx([0.5, 0, 0.7, 0])
    with pytest.raises(ValueError, match="classes"):
        nearest_of_each_class(cosines[:, 2:], classes[2:])
    with pytest.raises(ValueError, match="cosines"):
        nearest_of_each_class(cosines[:, 2:], classes)


def test_texts_belong_to_their_classes():
    texts = class_texts()
    assert len(texts.shown) == COUNT
    assert len(texts.names) == len(texts.names_class) and len(texts.clauses) == len(texts.clauses_class)
    assert texts.names[texts.names_class.index(index("Bark"))] == "the sound of bark"
    assert texts.clauses[texts.clauses_class.index(index("Bark"))] == "a dog barks"
    assert list(texts.names_class) == sorted(texts.names_class)


def test_scores_of_the_reference_have_mean_0_and_spread_1(vectors, reference):
    judge = NameJudge(embed, reference, vectors=vectors)
    scores = judge.scores(["dog", "rain", "piano"], reference)
    assert scores.shape == (200, 3)
    np.testing.assert_allclose(scores.mean(0), 0, atol=1e-4)
    np.testing.assert_allclose(scores.std(0), 1, atol=1e-4)


def test_scores_are_standardised_logarithms_of_the_weighted_tags(vectors, reference):
    judge = NameJudge(embed, reference, vectors=vectors)
    weights = judge.weights(["dog", "rain"])
    tags = reference[3]
    usual = np.log(reference @ weights.T)
    expected = (np.log(tags @ weights.T) - usual.mean(0)) / usual.std(0)
    np.testing.assert_allclose(judge.scores(["dog", "rain"], tags), expected, rtol=1e-3, atol=1e-4)


def test_the_sound_decides_and_the_order_of_names_does_not(vectors, reference):
    judge = NameJudge(embed, reference, vectors=vectors)
    names = ["church bells ringing", "a dog barks", "helicopter", "typing"]
    tags = np.full((len(names), COUNT), 0.01, np.float32)
    for row, name in zip(tags, ("Church bell", "Bark", "Helicopter", "Typing"), strict=True):
        row[index(name)] = 0.9
    scores = judge.scores(names, tags)
    assert scores.argmax(1).tolist() == [0, 1, 2, 3]
    np.testing.assert_allclose(judge.scores(names[::-1], tags), scores[:, ::-1], rtol=1e-5)


def test_a_rare_class_is_not_beaten_by_a_common_one(vectors):
    rng = np.random.default_rng(2)
    reference = np.full((100, COUNT), 1e-3, np.float32)
    reference[:, index("Speech")] = rng.uniform(0.3, 0.9, 100)
    reference[:, index("Owl")] = rng.uniform(0.001, 0.01, 100)
    tags = reference[0].copy()
    tags[[index("Speech"), index("Owl")]] = 0.5, 0.2  # as much speech as ever, far more owl than usual
    judge = NameJudge(embed, reference, NameSettings(table=1), vectors)
    assert raw_scores(judge.weights(["speech", "owl"]), tags).argmax() == 0
    assert judge.scores(["speech", "owl"], tags).argmax() == 1


def test_names_are_embedded_once(vectors, reference):
    judge = NameJudge(embed, reference, vectors=vectors)
    judge.weights(["dog", "cat"])
    CALLS.clear()
    again = judge.weights(["cat", "dog", "cat"])
    assert CALLS == [] and again.shape == (3, COUNT)
    judge.weights(["cat", "owl"])
    assert CALLS == [1, 1]  # with and without "the sound of"


def test_vectors_are_made_when_needed(reference):
    CALLS.clear()
    judge = NameJudge(embed, reference)
    assert CALLS == []
    judge.weights(["dog"])
    texts = class_texts()
    assert [COUNT, len(texts.names), len(texts.clauses), 1, 1] == CALLS


def test_it_says_by_which_classes_it_judged(vectors, reference):
    judge = NameJudge(embed, reference, NameSettings(table=1), vectors)
    nearest = judge.nearest("dogs barking", 2)
    assert nearest[0][0].name == "Bark" and len(nearest) == 2 and 1 >= nearest[0][1] >= nearest[1][1] > 0


def test_vectors_come_back_from_a_file_and_only_for_the_same_texts(vectors, tmp_path):
    file = tmp_path / "vectors.npz"
    vectors.save(file)
    kept = ClassVectors.load(file)
    for name in ("shown", "names", "clauses"):
        assert getattr(kept, name).dtype == np.float32
        np.testing.assert_allclose(getattr(kept, name), getattr(vectors, name), atol=1e-3)
    ClassVectors(vectors.shown, vectors.names, vectors.clauses, "other").save(file)
    with pytest.raises(ValueError, match="other class names"):
        ClassVectors.load(file)
    with pytest.raises(FileNotFoundError):
        ClassVectors.load(tmp_path / "none.npz")


def test_what_a_class_implies_is_at_least_as_likely():
    tags = np.full((2, COUNT), 0.1, np.float32)
    tags[1, index("Bark")], tags[1, index("Dog")], tags[1, index("Hiss")] = 0.8, 0.3, 0.9
    before = tags.copy()
    lifted = with_implied(tags)
    np.testing.assert_array_equal(tags, before)
    np.testing.assert_array_equal(lifted[0], tags[0])
    assert lifted[1, index("Dog")] == lifted[1, index("Animal")] == np.float32(0.8)
    assert lifted[1, index("Cat")] == np.float32(0.1)  # a hiss need not be a cat's
    assert (lifted >= tags).all()


def test_no_tag_at_all_stays_finite(vectors, reference):
    judge = NameJudge(embed, reference, vectors=vectors)
    assert np.isfinite(judge.scores(["dog", "rain"], np.zeros(COUNT))).all()
    assert raw_scores(judge.weights(["dog"]), np.zeros(COUNT)) == pytest.approx(np.log(FLOOR))


def test_a_distribution_over_the_names():
    scores = np.array([[2.0, 0.0, 0.0], [0.0, 0.0, 900.0]])
    shares = distribution(scores)
    np.testing.assert_allclose(shares.sum(1), 1)
    assert shares[0, 0] == pytest.approx(np.e**2 / (np.e**2 + 2)) and shares[1, 2] == 1
    assert distribution(scores, 0.1)[0, 0] > shares[0, 0]
    np.testing.assert_allclose(softmax(np.zeros(4), 0.03), 0.25)


def test_what_cannot_be_judged_is_refused(vectors, reference):
    judge = NameJudge(embed, reference, vectors=vectors)
    for names in ([], ["dog", " "]):
        with pytest.raises(ValueError, match="names"):
            judge.scores(names, reference[0])
    for tags in (np.zeros(COUNT - 1), np.float32(0.5)):
        with pytest.raises(ValueError, match="527"):
            judge.scores(["dog"], tags)
    for wrong in (np.nan, 1.5, -0.1):
        tags = reference[0].copy()
        tags[0] = wrong
        with pytest.raises(ValueError, match="finite"):
            judge.scores(["dog"], tags)
    for few in (reference[:1], reference[0]):
        with pytest.raises(ValueError, match="two clips"):
            NameJudge(embed, few)
    for settings in ({"temperature": 0}, {"table": 1.1}, {"clauses": -1}):
        with pytest.raises(ValueError, match="temperature"):
            NameSettings(**settings)
    with pytest.raises(ValueError, match="sentence model"):
        ClassVectors.of(lambda texts: np.zeros((1, WIDTH)))
