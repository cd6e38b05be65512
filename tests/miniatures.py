"""Each benchmark's official layout in small: real names of files, columns and splits, a handful of short tones."""

import csv
import json
from pathlib import Path

import pyarrow
from media import encode
from pyarrow import parquet
from tiny import tone


def sound(file: Path, hz: float = 440.0) -> None:
    """A tone of half a second; another pitch is another sound."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(encode(tone(hz, 0.5, 16_000), 16_000))


def table(file: Path, *rows) -> None:
    """A CSV; the first row has the names of the columns."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with file.open("w", newline="") as out:
        csv.writer(out).writerows(rows)


def document(file: Path, content) -> None:
    """A JSON file."""
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content))


def clotho_v2(root: Path) -> None:
    for n, split in enumerate(("development", "validation", "evaluation")):
        names = ("file_name", *(f"caption_{i}" for i in range(1, 6)))
        told = [f"A dog barks {word}, in {split}." for word in ("once", "twice", "loudly", "softly", "far away")]
        table(root / f"clotho_captions_{split}.csv", names, (f"Dog {n}.wav", *told), (f"Rain {n}.wav", *told))
        sound(root / split / f"Dog {n}.wav", 200 + n)
        sound(root / split / f"Rain {n}.wav", 600 + n)


def clotho_aqa(root: Path) -> None:
    head = ("file_name", "QuestionText", "answer", "confidence")
    for n, split in enumerate(("train", "val", "test")):
        asked = {
            "Is there a dog?": ("yes", "yes", "yes"),
            "Is it raining?": ("yes", "no", "yes"),
            "What barks?": ("dog", "animal", "dog"),
            "How many barks are there?": ("two", "two", "3"),
        }
        rows = [(f"dog {n}.wav", q, a, "maybe") for q, answers in asked.items() for a in answers]
        table(root / f"clotho_aqa_{split}.csv", head, *rows)
        sound(root / "audio_files" / f"dog {n}.wav", 300 + 50 * n)


def audiocaps(root: Path) -> None:
    head = ("audiocap_id", "youtube_id", "start_time", "caption")
    for n, split in enumerate(("train", "val", "test")):
        table(
            root / f"{split}.csv",
            head,
            (1, f"a{n}", 30, "A dog barks"),
            (2, f"a{n}", 30, "Barking"),
            (3, f"b{n}", 0, "Rain"),
        )
        sound(root / "audio" / split / f"a{n}.wav", 300 + n)
        sound(root / "audio" / split / f"b{n}_0.wav", 700 + n)


def musiccaps(root: Path) -> None:
    head = ("ytid", "start_s", "end_s", "audioset_positive_labels", "aspect_list", "caption", "author_id")
    rows = [(f"v{n}", 30, 40, "/m/04rlf", "['calm']", f"A calm piano, take {n}.", 4, False, n < 2) for n in range(4)]
    table(root / "musiccaps-public.csv", (*head, "is_balanced_subset", "is_audioset_eval"), *rows)
    for n in range(4):
        sound(root / "audio" / (f"v{n}.wav" if n else "v0-[30-40].wav"), 300 + 40 * n)


def _parquet(file: Path, columns: dict) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    parquet.write_table(pyarrow.table(columns), file)


def lp_musiccaps_mc(root: Path) -> None:
    for split in ("train", "test"):
        columns = {"ytid": [f"{split}1"], "caption_ground_truth": ["A piano."], "caption_writing": ["A calm piano."]}
        _parquet(root / "data" / f"{split}-00000-of-00001.parquet", columns)
        sound(root / "audio" / f"{split}1.wav", 300 if split == "train" else 500)


def lp_musiccaps_mtt(root: Path) -> None:
    for split in ("train", "valid", "test"):
        columns = {"path": [f"f/{split}.mp3"], "texts": [["A guitar.", "Somebody plays a guitar."]]}
        _parquet(root / "data" / f"{split}-00000-of-00001.parquet", columns)
        sound(root / "audio" / "f" / f"{split}.mp3", 300 + 60 * len(split))


def nsynth(root: Path) -> None:
    for n, split in enumerate(("train", "valid", "test")):
        notes = {
            f"{family}_{source}_00{n}-060-075": {
                "instrument_str": f"{family}_{source}_00{n}",
                "instrument_family_str": family,
                "instrument_source_str": source,
                "qualities_str": qualities,
            }
            for family, source, qualities in (
                ("flute", "acoustic", ["bright", "fast_decay"]),
                ("bass", "synthetic", []),
            )
        }
        document(root / f"nsynth-{split}" / "examples.json", notes)
        for i, note in enumerate(notes):
            sound(root / f"nsynth-{split}" / "audio" / f"{note}.wav", 300 + 10 * n + 200 * i)


def fsd50k(root: Path) -> None:
    truth = root / "FSD50K.ground_truth"
    labels = "Electric_guitar,Guitar,Musical_instrument"
    table(truth / "dev.csv", ("fname", "labels", "mids", "split"), (1, labels, "", "train"), (2, "Bark,Dog", "", "val"))
    table(truth / "eval.csv", ("fname", "labels", "mids"), (3, labels, ""), (4, "Bark,Dog,Animal", ""))
    for name, fname in (("dev", 1), ("dev", 2), ("eval", 3), ("eval", 4)):
        sound(root / f"FSD50K.{name}_audio" / f"{fname}.wav", 250 + 90 * fname)


def medley_solos_db(root: Path) -> None:
    rows = [("training", "piano", 4, 1, "u1"), ("validation", "piano", 4, 2, "u2"), ("test", "violin", 7, 3, "u3")]
    head = ("subset", "instrument", "instrument_id", "song_id", "uuid4")
    table(root / "Medley-solos-DB_metadata.csv", head, *rows)
    for n, (subset, _, number, _, uuid) in enumerate(rows):
        sound(root / "audio" / f"Medley-solos-DB_{subset}-{number}_{uuid}.wav", 300 + 70 * n)


def music_avqa(root: Path) -> None:
    for n, split in enumerate(("train", "val", "test")):
        entry = {
            "video_id": f"0000{n}",
            "question_id": n,
            "type": '["Audio", "Counting"]',
            "question_content": "How many <Object> are heard?",
            "templ_values": '["violins"]',
            "anser": "two",
        }
        seen = {**entry, "question_id": 10 + n, "type": '["Audio-Visual", "Location"]'}
        document(root / "json" / f"avqa-{split}.json", [entry, seen])
        sound(root / "audio" / f"0000{n}.wav", 300 + 70 * n)


def cochlscene(root: Path) -> None:
    for n, split in enumerate(("Train", "Val", "Test")):
        sound(root / split / "Bus" / f"Bus_user{n}_14862_001.wav", 300 + n)
        sound(root / split / "SubwayStation" / f"SubwayStation_user{n}_14863_001.wav", 700 + n)


def nonspeech7k(root: Path) -> None:
    head = (
        "Filename",
        "File ID",
        "Duration in ms",
        "Class ID",
        "Classname",
        "Augment id",
        "Augmentation type",
        "source",
    )
    old = (
        "Filename",
        "File_ID",
        "Durationin ms",
        "Class_id",
        "Classname",
        "Augment Id",
        "Augmentation  type",
        "source",
    )
    table(root / "metadata of train set .csv", old, ("1_6_0.wav", 1, 900, 6, "yawm", 0, "Orignal", "freesound"))
    table(root / "metadata of test set.csv", head, ("2_1_0.wav", 2, 900, 1, "cough", 0, "Original", "freesound"))
    sound(root / "train" / "1_6_0.wav", 300)
    sound(root / "test" / "2_1_0.wav", 700)


def crema_d(root: Path) -> None:
    for n, name in enumerate(("1001_DFA_ANG_XX", "1001_DFA_SAD_XX", "1002_DFA_ANG_XX")):
        sound(root / "AudioWAV" / f"{name}.wav", 300 + 70 * n)


def ravdess(root: Path) -> None:
    for n, (actor, emotion) in enumerate((("01", "03"), ("01", "07"), ("02", "08"))):
        sound(root / f"Actor_{actor}" / f"03-01-{emotion}-01-02-01-{actor}.wav", 300 + 70 * n)


def urbansound8k(root: Path) -> None:
    rows = [("100-3-0-0.wav", 100, 0, 4, 1, 1, 3, "dog_bark"), ("200-8-0-0.wav", 200, 0, 4, 1, 2, 8, "siren")]
    head = ("slice_file_name", "fsID", "start", "end", "salience", "fold", "classID", "class")
    table(root / "metadata" / "UrbanSound8K.csv", head, *rows)
    for n, row in enumerate(rows):
        sound(root / "audio" / f"fold{row[5]}" / row[0], 300 + 90 * n)


def gtzan(root: Path) -> None:
    for n, genre in enumerate(("blues", "hiphop")):
        for take in range(2):
            sound(root / "genres" / genre / f"{genre}.0000{take}.wav", 300 + 90 * n + 20 * take)


def esc50(root: Path) -> None:
    rows = [
        ("1-100032-A-0.wav", 1, 0, "dog", "True", 100032, "A"),
        ("2-2-A-9.wav", 2, 9, "crying_baby", "True", 2, "A"),
    ]
    head = ("filename", "fold", "target", "category", "esc10", "src_file", "take")
    table(root / "meta" / "esc50.csv", head, *rows)
    for n, row in enumerate(rows):
        sound(root / "audio" / row[0], 300 + 90 * n)


def bg_gun_sound(root: Path) -> None:
    for n, split in enumerate(("train", "test")):
        name = f"ak_0m_center_000{n}.mp3"
        table(root / "data" / f"v3_exp3_{split}.csv", ("name", "cate", "dist", "dire"), (name, "ak", "0m", "center"))
        sound(root / "data" / "gun_sound_v2" / name, 300 + 90 * n)


def audioset(root: Path) -> None:
    table(
        root / "class_labels_indices.csv",
        ("index", "mid", "display_name"),
        (0, "/m/09x0r", "Speech"),
        (1, "/m/05zppz", "Male speech, man speaking"),
    )
    for n, split in enumerate(("balanced_train", "eval")):
        head = f"# Segments csv created Sun Mar  5 10:54:31 2017\n# num_ytids={n}\n# YTID, start_seconds, end_seconds\n"
        line = f'-yt{n}, 30.000, 40.000, "/m/09x0r,/m/05zppz"\n'
        root.mkdir(parents=True, exist_ok=True)
        (root / f"{split}_segments.csv").write_text(head + line)
        sound(root / "audio" / split / f"-yt{n}.wav", 300 + 90 * n)


def af_dialogue(root: Path) -> None:
    turns = [
        {"user": "What is heard?", "assistant": "A dog barks."},
        {"user": "How often does it?", "assistant": "It barks twice."},
    ]
    for n, split in enumerate(("train", "test")):
        document(
            root / f"{split}.json",
            {
                "split": split,
                "split_path": "clips",
                "total_num": 1,
                "data": {"0": {"name": f"{n}.wav", "dialogue": turns}},
            },
        )
        sound(root / "clips" / f"{n}.wav", 300 + 90 * n)


def folder(root: Path) -> None:
    for n, label in enumerate(("dog_bark", "rain")):
        for take in "ab":
            sound(root / label / f"{take}.wav", 300 + 90 * n + (20 if take == "b" else 0))


MINIATURES = {
    "clotho-v2": clotho_v2,
    "clotho-aqa": clotho_aqa,
    "audiocaps": audiocaps,
    "musiccaps": musiccaps,
    "lp-musiccaps-mc": lp_musiccaps_mc,
    "lp-musiccaps-mtt": lp_musiccaps_mtt,
    "nsynth-instrument": nsynth,
    "nsynth-source": nsynth,
    "nsynth-quality": nsynth,
    "fsd50k": fsd50k,
    "medley-solos-db": medley_solos_db,
    "music-avqa": music_avqa,
    "cochlscene": cochlscene,
    "nonspeech7k": nonspeech7k,
    "crema-d": crema_d,
    "ravdess": ravdess,
    "urbansound8k": urbansound8k,
    "gtzan": gtzan,
    "esc-50": esc50,
    "bg-gun-sound": bg_gun_sound,
    "audioset": audioset,
    "af-dialogue-audiosetsl": af_dialogue,
    "af-dialogue-musiccaps": af_dialogue,
    "folder": folder,
}
"""Benchmark -> what makes its layout in a folder."""
