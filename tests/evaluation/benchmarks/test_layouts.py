"""Official layouts: what is read of each, and the sentence for a folder that is another."""

import pytest
from miniatures import MINIATURES, sound, table

from afcore.errors import BadRequest
from afcore.evaluation.benchmarks import clotho_aqa, folder, music_avqa
from afcore.evaluation.benchmarks.item import TEST, TRAIN
from afcore.evaluation.benchmarks.published_prompts import PROMPTS
from afcore.evaluation.benchmarks.table import FILES, benchmark

READ = {  # benchmark: items in all, tested, answers of the first that is tested, options
    "clotho-v2": (6, 2, "A dog barks once, in evaluation.", 0),
    "clotho-aqa": (12, 4, "yes", 0),
    "audiocaps": (6, 2, "A dog barks", 0),
    "musiccaps": (4, 2, "A calm piano, take 0.", 0),
    "lp-musiccaps-mc": (2, 1, "A calm piano.", 0),
    "lp-musiccaps-mtt": (3, 1, "A guitar.", 0),
    "nsynth-instrument": (6, 2, "flute", 11),
    "nsynth-source": (6, 2, "acoustic", 3),
    "nsynth-quality": (3, 1, "bright", 0),
    "fsd50k": (4, 2, "electric guitar", 0),
    "medley-solos-db": (3, 1, "violin", 8),
    "music-avqa": (3, 1, "two", 0),
    "cochlscene": (6, 2, "bus", 13),
    "nonspeech7k": (2, 1, "cough", 7),
    "crema-d": (3, 3, "angry", 6),
    "ravdess": (3, 3, "happy", 8),
    "urbansound8k": (2, 2, "dog bark", 10),
    "gtzan": (4, 4, "blues", 10),
    "esc-50": (2, 2, "dog", 2),
    "bg-gun-sound": (2, 1, "ak", 1),
    "audioset": (2, 1, "Speech", 0),
    "af-dialogue-audiosetsl": (2, 1, "A dog barks.", 0),
    "af-dialogue-musiccaps": (2, 1, "A dog barks.", 0),
    "folder": (4, 4, "dog bark", 2),
}


def test_each_benchmark_has_a_miniature_a_prompt_and_what_is_read():
    assert set(FILES) == set(MINIATURES) == set(READ) == set(PROMPTS)


@pytest.mark.parametrize("name", FILES)
def test_the_official_layout_is_read(tmp_path, name):
    MINIATURES[name](tmp_path)
    found = benchmark(name)
    items = found.read(tmp_path)
    tested = [item for item in items if item.split == TEST]
    assert (len(items), len(tested), tested[0].answers[0], len(found.options(items))) == READ[name]
    assert all(item.file.is_file() for item in items), "sounds are found under their official names"
    assert len({item.id for item in items}) == len(items)


@pytest.mark.parametrize("name", FILES)
def test_another_folder_gets_a_sentence_that_says_what_was_expected(tmp_path, name):
    (tmp_path / "holiday.txt").write_text("nothing to hear")
    with pytest.raises(BadRequest, match=r"is not laid out as .*; expected is .*\.$"):
        benchmark(name).read(tmp_path)
    with pytest.raises(BadRequest, match="There is no folder"):
        benchmark(name).read(tmp_path / "missing")


def test_annotators_decide_which_kind_a_question_of_clotho_aqa_is(tmp_path):
    MINIATURES["clotho-aqa"](tmp_path)
    kinds = {item.id.split("/")[-1]: item for item in benchmark("clotho-aqa").read(tmp_path) if item.split == TEST}
    assert kinds["Is there a dog?"].subsets == ("binary", "unanimous") and kinds["Is there a dog?"].yes_no
    assert kinds["Is it raining?"].subsets == ("binary",)
    assert kinds["What barks?"].subsets == ("non-binary",) and kinds["What barks?"].answers == ("dog", "animal")
    assert kinds["How many barks are there?"].subsets == ("non-binary", "numerical")
    assert clotho_aqa.kinds(["two", "dog", "2"]) == ("non-binary",)


def test_music_avqa_fills_its_templates():
    assert music_avqa.filled("Is the <Object1> louder than the <Object2>?", ["bass", "flute"]) == (
        "Is the bass louder than the flute?"
    )


def test_a_damaged_table_is_named(tmp_path):
    MINIATURES["esc-50"](tmp_path)
    table(tmp_path / "meta" / "esc50.csv", ("filename", "class"), ("a.wav", "dog"))
    with pytest.raises(BadRequest, match=r"esc50\.csv has no column “fold”"):
        benchmark("esc-50").read(tmp_path)
    MINIATURES["lp-musiccaps-mc"](tmp_path / "lp")
    next((tmp_path / "lp" / "data").glob("test*")).write_bytes(b"PAR1 not")
    with pytest.raises(BadRequest, match="cannot be read"):
        benchmark("lp-musiccaps-mc").read(tmp_path / "lp")


def test_a_csv_of_your_own_has_splits_folds_prompts_and_several_answers(tmp_path):
    head = ("file", "answer", "prompt", "split", "fold")
    rows = [("a.wav", "two", "How many?", "test", "1"), ("a.wav", "2", "How many?", "test", "1")]
    table(tmp_path / "all.csv", head, *rows, ("b.wav", "one", "How many?", "train", "2"))
    first, second = folder.read(tmp_path)
    assert first.answers == ("two", "2") and (first.fold, first.split, second.split) == ("1", TEST, TRAIN)
    assert folder.as_asked([first, second]).kind == "answer"
    table(tmp_path / "all.csv", head, ("a.wav", "a dog that barks at the door", "Say it.", "", ""))
    assert folder.as_asked(folder.read(tmp_path)).kind == "caption"
    table(tmp_path / "all.csv", head, ("../a.wav", "dog", "", "", ""))
    with pytest.raises(BadRequest, match="lies elsewhere"):
        folder.read(tmp_path)
    table(tmp_path / "all.csv", head, ("a.wav", "dog", "", "tests", ""))
    with pytest.raises(BadRequest, match="the split “tests”"):
        folder.read(tmp_path)
    table(tmp_path / "all.csv", head, ("a.wav", "dog", "", "", ""), ("a.wav", "dog", "What?", "", ""))
    with pytest.raises(BadRequest, match="all of them one, or none"):
        folder.as_asked(folder.read(tmp_path))


def test_a_bank_of_your_own_is_another_folder(tmp_path):
    sound(tmp_path / "bank" / "glass" / "x.wav")
    assert [(item.answers, item.split) for item in folder.bank_items(tmp_path / "bank")] == [(("glass",), TRAIN)]
