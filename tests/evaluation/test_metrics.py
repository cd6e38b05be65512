"""Scores with known answers."""

import shutil

import numpy as np
import pytest
from sklearn.metrics import f1_score

from afcore.evaluation import metrics
from afcore.evaluation.metrics import PLAIN, PTB, Alike, caption_scores, cider

SAID = [
    "a dog barking and rain falling",
    "rain falling can be heard",
    "music",
    "a crowd cheering with a crowd cheering and wind",
    "a a a dog",
]
TOLD = [
    ["a dog barking", "a dog barking can be heard"],
    ["rain falling", "rain falling can be heard"],
    ["music playing"],
    ["a crowd cheering in the wind", "people cheering"],
    ["a dog runs a a"],
]


def test_cider_is_that_of_the_published_code():
    golden = [3.13931365, 6.58273324, 1.74338435, 1.04971211, 2.6924371]  # pycocoevalcap 1.2, CiderScorer
    assert np.allclose(cider(SAID, TOLD), golden, atol=1e-7)
    with pytest.raises(ValueError, match="reference"):
        cider(["a"], [[]])


def test_captions_equal_to_a_reference_score_the_most():
    told = [["A dog barks, loudly."], ["Rain falls on a tin roof."], ["Two people speak in a hall."]]
    found = {s.name: s for s in caption_scores([t[0] for t in told], told, ["a", "b", "c"], PLAIN)}
    assert found["BLEU-4"].value == pytest.approx(1, abs=1e-6) and found["ROUGE-L"].value == pytest.approx(1)
    assert found["CIDEr"].value == pytest.approx(10) and found["CIDEr"].low <= found["CIDEr"].high
    assert {s.tokenizer for s in found.values()} == {PLAIN}


def test_rouge_and_bleu_known_by_hand():
    # 5 of 6 words are the longest common subsequence: recall 5/6, precision 1, F with beta 1.2.
    [_, bleu, rouge] = caption_scores(["the cat on the mat"], [["the cat sat on the mat"]], ["a"], PLAIN)
    assert rouge.value == pytest.approx((1 + 1.44) * (5 / 6) / (5 / 6 + 1.44), abs=1e-9)
    # 5/5 words, 3/4 pairs, 1/3 triples, 0 of 2 fours: nothing, but for the library's smoothing.
    assert bleu.value < 1e-3


@pytest.mark.skipif(shutil.which("java") is None, reason="the PTB tokenizer runs on Java")
def test_the_ptb_tokenizer_takes_punctuation_away():
    assert metrics.tokenized(["A dog's bark, loud!", "", "rain -- falls"], PTB) == [
        "a dog 's bark loud",
        "",
        "rain falls",
    ]
    assert caption_scores(["A dog barks."], [["a dog barks"]], ["a"])[0].tokenizer == PTB


@pytest.mark.parametrize(
    ("said", "answers", "right"),
    [
        ("Yes.", ["yes"], True),
        (" dog bark ", ["dog_bark"], True),
        ("hip-hop", ["hip hop"], True),
        ("two", ["2", "two"], True),
        ("a dog", ["dog"], False),
        ("", ["dog"], False),
    ],
)
def test_answers_are_compared_as_text(said, answers, right):
    assert metrics.is_right(said, answers) is right


def test_mean_f1_is_that_of_scikit_learn_over_labels_that_occur():
    true, said = np.array(list("aabbc")), np.array(list("abbbx"))
    found = metrics.mean_f1(said, true)
    assert found(np.arange(5)) == pytest.approx(f1_score(true, said, labels=["a", "b", "c"], average="macro"))
    assert found(np.array([0, 0])) == 1


def test_f1_over_labels():
    # Of three labels said two are true; of four true ones two are said: precision 2/3, recall 1/2.
    found = metrics.f1_score([["a", "b"], ["c"]], [["a", "d"], ["c", "e"]], ["x", "y"], metrics.equal, "F1")
    assert found.value == pytest.approx(2 * (2 / 3) * 0.5 / (2 / 3 + 0.5))
    assert metrics.f1_score([[]], [["a"]], ["x"], metrics.equal, "F1").value == 0


def test_labels_alike_are_the_same_above_eight_tenths():
    vectors = {"bark": [1, 0], "dog bark": [0.9, np.sqrt(1 - 0.81)], "rain": [0.8, 0.6]}
    alike = Alike(lambda texts: np.array([vectors[text] for text in texts]))
    assert alike("Bark", "dog_bark") and not alike("bark", "rain"), "0.8 itself is not above it"


def test_paired_differences_are_narrower_than_those_of_two_samples():
    rng = np.random.default_rng(0)
    hard = rng.random(200)
    first, second = (hard < 0.5).astype(float), (hard < 0.55).astype(float)
    mean, low, high = metrics.paired(first, second, [str(n) for n in range(200)])
    assert 0 <= low <= mean <= high and high - low < 0.1
