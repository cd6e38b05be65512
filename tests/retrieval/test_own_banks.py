"""Banks of one's own: what goes in from a folder, a zip and a CSV, what is left out and why, stopped and taken up,
checked and handed on."""

import io
import os
import sqlite3
import tarfile
import threading
import zipfile
from contextlib import ExitStack, closing

import numpy as np
import pytest
import soundfile
from teaching import zipped_raw
from tiny import RATE, TONES, tiny_engine, tone

from afcore import paths
from afcore.cli.main import main
from afcore.errors import BadRequest, Cancelled
from afcore.retrieval import own_banks
from afcore.retrieval.nearest import Retriever, embed_bank
from afcore.retrieval.several import SeveralBanks


def wav(samples) -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, RATE, format="WAV")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path):
    """Two takes of each tone under its label, and three files that cannot go in."""
    root = tmp_path / "sounds"
    for label, hz in TONES.items():
        (root / f"a_{label}").mkdir(parents=True)
        for k in (1, 2):
            (root / f"a_{label}" / f"take-{k}.wav").write_bytes(wav(tone(hz * (1 + 0.02 * k), 0.5)))
    (root / "a_hum" / "still.wav").write_bytes(wav(np.zeros(4000)))
    (root / "a_hum" / "broken.wav").write_bytes(b"no sound")
    (root / "a_buzz" / "copy.wav").write_bytes((root / "a_hum" / "take-1.wav").read_bytes())
    (root / "beside.wav").write_bytes(wav(tone(99, 0.5)))
    return root


def made(source, folder, **more):
    with ExitStack() as stack:
        return own_banks.build(own_banks.listed(source, stack), folder, **more)


def zipped(root, extra=()) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for path in sorted(root.rglob("*.wav")):
            file.write(path, f"top/{path.relative_to(root)}")
        for name, content in extra:
            file.writestr(name, content)
    return out.getvalue()


def test_a_folder_and_its_zip_give_the_same_bank(folder, tmp_path):
    bank = made(folder, tmp_path / "one")
    assert bank.labels() == sorted(f"a {label}" for label in TONES) and len(bank.examples()) == 12
    why = bank.left_out
    assert set(why) == {"a_hum/still.wav", "a_hum/broken.wav", "a_hum/take-1.wav", "beside.wav"}
    assert why["beside.wav"] == "“beside.wav” stands in no folder, so it has no label."
    assert "nothing to hear" in why["a_hum/still.wav"] and "also under “a buzz”" in why["a_hum/take-1.wav"]
    (folder / "questions.csv").write_text("file,question,answer\n")
    assert "is a table" in made(folder, tmp_path / "three").left_out["questions.csv"]
    (folder / "questions.csv").unlink()
    other = made(zipped(folder), tmp_path / "two")
    assert [(e.label, e.sha256) for e in other.examples() if e.label != "top"] == [
        (e.label, e.sha256) for e in bank.examples()
    ]
    assert {e.group_key for e in bank.examples()} >= {f"a_{label}/take" for label in TONES}
    again = own_banks.open_own(str(tmp_path / "one"))
    assert again.left_out == why and again.audio_path(1).is_file()


def test_what_cannot_be_read_as_a_file_is_a_row_and_nothing_waits_for_it(tmp_path):
    (tmp_path / "sounds" / "hum").mkdir(parents=True)
    (tmp_path / "sounds" / "hum" / "1.wav").write_bytes(wav(tone(200, 0.5)))
    os.mkfifo(tmp_path / "sounds" / "hum" / "pipe.wav")
    (tmp_path / "sounds" / "hum" / "round.wav").symlink_to("round.wav")
    (tmp_path / "sounds" / "gone.wav").symlink_to("nowhere.wav")
    bank = made(tmp_path / "sounds", tmp_path / "one")
    assert len(bank.examples()) == 1 and set(bank.left_out) == {"hum/pipe.wav", "hum/round.wav", "gone.wav"}


def test_members_of_a_zip_whose_names_read_the_same_are_all_taken(tmp_path):
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as file:
        for number, name in enumerate(("T\u00fcr/1.wav", "Tu\u0308r/1.wav")):
            file.writestr(name, wav(tone(200 + 100 * number, 0.5)))
    bank = made(out.getvalue(), tmp_path / "one")
    assert [(e.path, e.label) for e in bank.examples()] == [("Tür/1.wav", "Tür"), ("Tür/1.wav (2)", "Tür")]


def test_a_csv_names_captions_and_sources(folder, tmp_path):
    rows = ["file,label,caption,source", "a_hum/take-1.wav,Hum,A low hum.,yard", "a_horn/take-2.wav,horn,,"]
    rows += ["absent.wav,horn,,", ",horn,,"]
    table = folder / "table.csv"
    table.write_text("\n".join(rows))
    bank = made(table, tmp_path / "one")
    first, second = bank.examples()
    assert (first.label, first.caption, first.group_key) == ("Hum", "A low hum.", "yard")
    assert (second.caption, second.group_key) == ("horn", "a_horn/take")
    assert "not there" in bank.left_out["absent.wav"] and "lacks" in bank.left_out["line 5"]
    same = made(zipped(folder, [("top/table.csv", "\n".join(rows))]), tmp_path / "two")
    assert [(e.label, e.caption, e.group_key, e.sha256) for e in same.examples()] == [
        (e.label, e.caption, e.group_key, e.sha256) for e in bank.examples()
    ]
    (folder / "wrong.csv").write_text("name\n")
    for source, sentence in (
        (folder / "wrong.csv", "no column “file”"),
        (tmp_path / "nothing", "no folder"),
        (b"no zip", "not a zip"),
    ):
        with pytest.raises(BadRequest, match=sentence):
            made(source, tmp_path / "three")


def test_archives_and_monsters_in_a_zip_are_rows_with_a_reason(folder, tmp_path, monkeypatch):
    within = io.BytesIO()
    with tarfile.open(fileobj=within, mode="w") as file:
        file.add(folder / "a_hum" / "take-1.wav")
    packed = zipped(folder, [("top/a_hum/more.tar", within.getvalue()), ("top/a_hum/large.wav", bytes(200_001))])
    monkeypatch.setattr(own_banks, "MAX_BYTES", 200_000)
    monkeypatch.setattr(zipfile.ZipFile, "open", refusing(zipfile.ZipFile.open, "large.wav"))
    left_out = made(packed, tmp_path / "one").left_out
    assert "packed files (tar): unpack it first" in left_out["top/a_hum/more.tar"]
    assert "unpacks to more than" in left_out["top/a_hum/large.wav"]


def refusing(read, name):
    """``read``, but for the member ``name``, which must not be unpacked."""

    def opened(self, info, *more, **how):
        assert not getattr(info, "filename", info).endswith(name)
        return read(self, info, *more, **how)

    return opened


def test_a_bank_keeps_which_channel_is_heard_and_what_was_told_of_a_file(tmp_path):
    (tmp_path / "sounds" / "hum").mkdir(parents=True)
    left, right = tone(300, 0.5), tone(900, 0.5)
    (tmp_path / "sounds" / "hum" / "1.wav").write_bytes(wav(np.stack([left, right], 1)))
    made(tmp_path / "sounds", tmp_path / "one", channels="mix").close()
    bank = own_banks.open_own(str(tmp_path / "one"))
    assert bank.channels() == "mix" and "“mix” is heard" in own_banks.summary(bank)
    assert [notice.code for notice in bank.examples()[0].notices][:1] == ["mix"]
    with pytest.raises(BadRequest, match="was made with the channels “mix”"):
        made(tmp_path / "sounds", tmp_path / "one")
    assert made(tmp_path / "sounds", tmp_path / "one", channels="mix").labels() == ["hum"]


def test_of_several_banks_each_sound_is_heard_by_its_own_banks_rule(tmp_path):
    engine = tiny_engine(tmp_path)
    (tmp_path / "sides" / "hum").mkdir(parents=True)
    first = tone(300, 0.5)  # which the second has too, so that by the usual rule the first alone is heard
    (tmp_path / "sides" / "hum" / "1.wav").write_bytes(wav(np.stack([first, (first + tone(1500, 0.5)) / 2], 1)))
    mixed = made(tmp_path / "sides", tmp_path / "mixed", channels="mix")
    embed_bank(engine, SeveralBanks({0: engine.bank, 7: mixed}))
    [example] = mixed.examples()
    by_rule = [engine.hear_file(mixed.audio_path(example.id), channels=rule) for rule in ("mix", "auto")]
    near = [abs(mixed.features(example.id, engine.features_name) - heard.features.numpy()).max() for heard in by_rule]
    assert near[0] < 0.01 * near[1]


def test_a_bank_from_before_there_were_rules_keeps_what_it_has(folder, tmp_path):
    made(folder, tmp_path / "one").close()
    with closing(sqlite3.connect(tmp_path / "one" / "bank.sqlite")) as database, database:
        database.execute("DROP TABLE reading")
        database.execute("DROP TABLE told")
    (tmp_path / "more" / "bell").mkdir(parents=True)
    (tmp_path / "more" / "bell" / "1.wav").write_bytes(wav(tone(1234, 0.5)))
    bank = made(tmp_path / "more", tmp_path / "one")
    assert len(bank.examples()) == 13 and "bell" in bank.labels()


def test_names_in_a_code_page_are_labels_as_they_read():
    packed = zipped_raw({"犬/1.wav".encode("cp932"): wav(tone(300, 0.5))})
    for page, label in (("cp932", "犬"), ("cp1252", "Œ¢")):
        with ExitStack() as stack:
            assert [sound.label for sound in own_banks.listed(packed, stack, code_page=page).sounds] == [label]


def test_stopped_it_goes_on(folder, tmp_path):
    stop, read = threading.Event(), []

    def stop_soon(stage, share):
        read.append(share)
        if len(read) == 4:
            stop.set()

    with pytest.raises(Cancelled):
        made(folder, tmp_path / "one", progress=stop_soon, stop=stop)
    assert made(folder, tmp_path / "one").labels() == made(folder, tmp_path / "two").labels()


def test_sounds_of_one_source_are_no_shots_for_each_other(folder, tmp_path):
    engine, bank = tiny_engine(tmp_path, bank=False), made(folder, tmp_path / "one")
    embed_bank(engine, bank)
    retriever = Retriever(bank, engine.clap_name)
    for example in bank.examples():
        for how in ({"exclude_sha": example.sha256}, {}):  # known by its hash, or by its likeness alone
            shots = retriever.nearest(retriever.vector(example.id), 12, **how)
            assert example.group_key not in {shot.example.group_key for shot in shots}
            assert len(shots) >= 8  # of the ten others, which may be near copies of each other


def test_what_is_wrong_is_said(folder, tmp_path):
    bank = made(folder, tmp_path / "one")
    first, second = bank.examples()[:2]
    bank.audio_path(first.id).unlink()
    bank.audio_path(second.id).write_bytes(b"other")
    said = " ".join(own_banks.check(bank, [("tiny-clap", "tiny")]))
    for part in ("is missing", "was changed", "of one source", "12 of 12 sounds are not heard yet by tiny-clap"):
        assert part in said


def test_commands(folder, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")

    def load(name, device=None, progress=None):
        return tiny_engine(tmp_path)

    assert main(["bank", "list"], load) == 0 and "no bank of your own" in capsys.readouterr().out
    assert main(["bank", "build", str(folder), "--out", "mine"], load) == 1  # four are left out
    said = capsys.readouterr()
    assert "mine: 12 sounds of 7 sources" in said.out and "nothing to hear" in said.err
    assert main(["bank", "list"], load) == 0 and capsys.readouterr().out.startswith("mine: 12 sounds")
    bank = own_banks.open_own("mine")
    assert len(bank.clap_matrix("tiny-clap")[0]) == 12
    assert main(["search", "horn", "--bank", "mine", "-k", "1"], load) == 0 and "a horn" in capsys.readouterr().out
    assert main(["bank", "export", "mine", "--out", str(tmp_path / "mine.zip")], load) == 0
    again = made(tmp_path / "mine.zip", tmp_path / "again")
    assert [(e.label, e.caption, e.group_key, e.sha256) for e in again.examples()] == [
        (e.label, e.caption, e.group_key, e.sha256) for e in bank.examples()
    ]
    assert main(["bank", "check", "mine"]) == 1 and "of one source" in capsys.readouterr().out
    assert main(["bank", "check", "other"]) == 2 and "no bank “other”: there are mine" in capsys.readouterr().err
    own_banks.remove("mine")
    assert own_banks.names() == []
