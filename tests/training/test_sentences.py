"""People's sentences as recipes: what is named, in which order, how it stands, and what is left out."""

import json

import pytest

from afcore.errors import AfcoreError
from afcore.knowledge.table import by_name
from afcore.training.mini import sentences
from afcore.training.mini.sentences import Recipe, lexicon, read, read_lexicon, recipes, tidy

MAN, WOMAN, BARK = "Male speech, man speaking", "Female speech, woman speaking", "Bark"


@pytest.mark.parametrize(
    ("sentence", "classes", "relation"),
    [
        ("A dog barks.", (BARK,), "one"),
        ("Dogs barking and growling", (BARK, "Growling"), "together"),
        ("A man and a woman are talking", (MAN, WOMAN), "together"),
        ("A woman talks nearby as water pours", (WOMAN, "Pour"), "together"),
        ("A man speaking followed by a toilet flushing", (MAN, "Toilet flush"), "then"),
        ("An engine idles, and then a horn honks", ("Idling", "Vehicle horn, car horn, honking"), "then"),
        ("A cat meows before a door is closed", ("Meow", "Door"), "then"),
        ("A man speaks while a dog barks in the background", (MAN, BARK), "background"),
        ("Birds are chirping in the distance while a man speaks", ("Chirp, tweet", MAN), "together"),
        ("A man is speaking as wind blows into a microphone", (MAN, "Wind noise (microphone)"), "together"),
        ("Rain falls, thunder rumbles and a baby cries", ("Rain", "Thunder", "Baby cry, infant cry"), "together"),
        ("A crowd of people cheer and applaud", ("Cheering", "Applause"), "together"),
        ("A person pants and bees buzz", ("Pant", "Bee, wasp, etc."), "together"),
    ],
)
def test_a_sentence_is_read_as_its_classes_in_order(sentence, classes, relation):
    recipe = read(sentence)
    assert recipe is not None
    assert (recipe.classes, recipe.relation) == (classes, relation)


@pytest.mark.parametrize(
    "sentence",
    [
        "A man speaks and then a man speaks again",  # twice the same
        "A man speaks, a dog barks and another man speaks",
        "A man speaks while someone talks",  # one is a kind of the other
        "A red car passes by",  # nobody hears a colour
        "A dog barks as John laughs",
        "A man speaking talking",
        "A man speaks over an intercom",
        "Kermit the frog sings",
        "Some noise",
        "A to engine idling",
        "Déjà vu",
        "",
    ],
)
def test_what_is_not_wholly_understood_is_left_out(sentence):
    assert read(sentence) is None


def test_then_and_while_in_one_sentence_are_left_out():
    assert read("A man speaks while a dog barks, then a bell rings") is None


def test_a_sentence_is_cleaned_of_what_a_mixture_cannot_keep():
    assert tidy("A small engine runs, and a dog barks twice in the foreground.") == "an engine runs, and a dog barks"
    assert tidy("The sound of a high-pitched alarm") == "an alarm"
    assert read("Birds are chirping in the distance") == Recipe("birds are chirping", ("Chirp, tweet",), "one")


def test_the_lexicon_names_classes_of_the_table():
    assert len({name for classes in lexicon().rules.values() for name in classes} & by_name().keys()) > 250


@pytest.mark.parametrize("line", ["dog bark -> Barking mad", "dog bark", "@unknown bark -> Bark", "-> Bark"])
def test_a_mistake_in_the_lexicon_names_its_line(line):
    with pytest.raises(AfcoreError, match="line 2"):
        read_lexicon(f"[sounds]\n{line}\n")


def test_a_mistake_in_a_pattern_names_its_line():
    with pytest.raises(AfcoreError, match="line 2"):
        read_lexicon("[clean]\n(twice =>\n")


@pytest.fixture
def folder(tmp_path):
    head = "audiocap_id,youtube_id,start_time,caption\n"
    (tmp_path / "audiocaps_train.csv").write_text(head + '1,a,0,A dog barks\n2,b,0,"A dog barks."\n3,c,0,A red car\n')
    (tmp_path / "audiocaps_val.csv").write_text(head + "4,d,0,Rain falls then thunder rumbles\n")
    return tmp_path


def test_each_sentence_of_both_files_is_kept_once(folder):
    found = recipes(folder)
    assert found == [
        Recipe("a dog barks", (BARK,), "one"),
        Recipe("rain falls then thunder rumbles", ("Rain", "Thunder"), "then"),
    ]


def test_the_command_writes_a_recipe_a_line(folder, capsys):
    sentences.main(["--text", str(folder), "--out", str(folder / "recipes.jsonl")])
    lines = (folder / "recipes.jsonl").read_text().splitlines()
    assert json.loads(lines[0]) == {"sentence": "a dog barks", "classes": [BARK], "relation": "one"}
    assert len(lines) == 2
    assert "2 recipes" in capsys.readouterr().out


def test_a_missing_file_is_said(tmp_path):
    with pytest.raises(AfcoreError, match=r"audiocaps_train\.csv"):
        recipes(tmp_path)
