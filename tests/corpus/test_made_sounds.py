"""Sounds made with exact truth: instruments, voices and scenes, and the clip sets that describe them."""

import json
import shutil
import struct

import numpy as np
import pytest
import torch

from afcore.audio.windows import MINI
from afcore.corpus import describe, instruments, rendered, scenes, voices
from afcore.corpus.clips import ClipInfo, ClipSet, write_clips
from afcore.corpus.held_out import is_held_out
from afcore.errors import MissingPart
from afcore.training.mini import probe

RATE = scenes.RATE


def tone(hertz, seconds, level=1.0):
    return (level * np.sin(2 * np.pi * hertz * np.arange(int(seconds * RATE)) / RATE)).astype(np.float32)


def source(label, samples, **more):
    info = ClipInfo(
        label, label, more.pop("category", "something else"), [label], more.pop("maybe", []), "p", f"g/{label}", "train"
    )
    return scenes.Source(info, f"a {label}", samples)


def strength(samples, hertz):
    """RMS-like strength of one frequency."""
    return abs(np.exp(-2j * np.pi * hertz * np.arange(len(samples)) / RATE) @ samples) / max(len(samples), 1)


LOW, HIGH = source("hum", tone(300, 7)), source("whistle", tone(2000, 7, 0.1))


def test_the_louder_sound_of_a_scene_is_the_louder_one():
    for seed in range(12):
        y, facts, _ = scenes.overlay([LOW, HIGH], np.random.default_rng(seed))
        apart = 20 * np.log10(strength(y, 300) / strength(y, 2000))
        assert facts["louder"] == ("hum" if apart > 0 else "whistle")
        assert abs(abs(apart) - facts["apart"]) < 0.5, "however loud the recordings were"
        assert np.abs(y).max() == pytest.approx(1) and len(y) <= 7 * RATE


def test_the_first_sound_of_a_scene_comes_first():
    for seed in range(8):
        y, facts, _ = scenes.sequence([LOW, HIGH], np.random.default_rng(seed))
        early = y[: RATE // 2]
        assert facts["first"] == ("hum" if strength(early, 300) > strength(early, 2000) else "whistle") != facts["then"]


def test_a_repeated_sound_is_heard_as_often_as_said():
    for seed in range(8):
        y, facts, _ = scenes.repeated(source("beep", tone(800, 0.3)), np.random.default_rng(seed))
        loud = scenes.levels(y) > 0.1
        assert facts["count"] == int(loud[0]) + int((~loud[:-1] & loud[1:]).sum())
    assert scenes.is_short(np.pad(tone(800, 0.3), (RATE, RATE))) and not scenes.is_short(tone(800, 2))


def test_captions_say_only_what_the_encoder_carries(monkeypatch):
    def captions():
        return {scenes.sequence([LOW, HIGH], np.random.default_rng(seed))[2] for seed in range(30)}

    monkeypatch.setattr(scenes, "CARRIED", frozenset())
    assert captions() == {"a hum and a whistle", "a whistle and a hum"}
    monkeypatch.setattr(scenes, "CARRIED", frozenset(["first"]))
    assert "a hum, then a whistle" in captions() and "a hum and a whistle" not in captions()


def test_a_scene_knows_what_is_in_it():
    talk = source("speech", tone(500, 3), category="speech", maybe=["narration", "hum"])
    _, info = scenes.scene(iter([talk, LOW] * 99).__next__, np.random.default_rng(5))
    assert set(info.events) == {"speech", "hum"} and info.maybe == ["narration"]
    assert info.label is None and info.category is None and info.extra["groups"], "neither speech nor something else"
    three = scenes.described([LOW, HIGH, source("bell", tone(900, 1))], {}, "")
    assert three.events == ["hum", "whistle", "bell"] and three.category == "something else"


def events_of(data):
    """(seconds, status, first data byte) of a one-track MIDI file."""
    division, at, now, out = struct.unpack(">H", data[12:14])[0], 22, 0, []
    assert data[:4] == b"MThd" and struct.unpack(">I", data[18:22])[0] == len(data) - 22
    while at < len(data):
        step = 0
        while data[at] & 0x80:
            step, at = step << 7 | data[at] & 0x7F, at + 1
        now, at = now + (step << 7 | data[at]), at + 1
        status = data[at]
        out.append((now / division / 2, status, data[at + 1]))
        at += 2 if status >> 4 == 0xC else 3
    return out


def test_scores_follow_each_other_in_the_midi_file():
    piano, drum = instruments.instruments()[0], next(i for i in instruments.instruments() if i.name == "cowbell")
    first = instruments.MusicScore(piano, 3, [(0.5, 0.25, 60, 90)], 2.0, {})
    second = instruments.MusicScore(drum, 0, [(0.0, 0.1, 56, 90)], 1.0, {})
    told = events_of(instruments.midi([first, second]))
    assert [(round(t, 1), key) for t, status, key in told if status == 0x90] == [(0.5, 60)]
    assert [(round(t, 1), key) for t, status, key in told if status == 0x80] == [(0.8, 60)]
    assert [(round(t, 1), key) for t, status, key in told if status == 0x99] == [(3.5, 56)]
    assert (0.0, 0xC0, 3) in told and told[-1][1:] == (0xFF, 0x2F)
    assert round(told[-1][0], 2) == 2.0 + 1.0 + 2 * instruments.GAP


def test_what_is_said_of_an_instrument_is_what_is_played():
    rng, tempos = np.random.default_rng(0), set()
    for instrument in instruments.instruments() * 12:
        score = instruments.compose(instrument, rng)
        assert score.notes and 1 <= score.seconds <= 7 and all(0 <= n[2] < 128 and 0 < n[3] < 128 for n in score.notes)
        assert score.facts["family"] in (None, *instruments.FAMILIES)
        if tempo := score.facts.get("tempo"):
            starts = sorted({n[0] for n in score.notes})
            beat = np.median(np.diff(starts)) * (2 if instrument.name == "drum beat" else 1)
            assert (
                60 / beat == pytest.approx(62.5, abs=13) if tempo == "slow" else 60 / beat == pytest.approx(180, abs=31)
            )
            tempos.add(tempo)
        if instrument.name == "drum beat":
            assert (score.facts["source"] == "electronic") == (score.program in (24, 25)) and score.channel == 9
    assert tempos == {"slow", "fast"}


def test_no_font_or_speaker_stands_in_two_splits():
    splits = {}
    for package, split in [(p, s) for p, (_, s, _) in instruments.FONTS.items()] + [
        (v.package, v.split) for v in voices.VOICES
    ]:
        assert splits.setdefault(package, split) == split
    for split in ("train", "validation", "test"):
        clips = {
            sex: sum(v.clips for v in voices.VOICES if (v.split, v.sex) == (split, sex)) for sex in ("man", "woman")
        }
        assert clips["man"] == pytest.approx(clips["woman"], rel=0.15), "neither answer is the likelier one"
    for voice in voices.VOICES:
        assert all(
            text.isprintable() and text.encode(voice.encoding if "festvox" in voice.package else "utf-8")
            for language in voice.languages
            for text in voices.sentences(language)
        )


def test_nothing_rendered_is_held_out():
    for instrument in instruments.instruments():
        row = rendered.Rendered(
            "x", instrument.name, instrument.phrase, "music", "p", "g", "train", {"family": "brass"}
        )
        info = describe.rendered_info(vars(row))
        assert not is_held_out(info) and info.extra["family"] == "brass" and info.extra["fine"] == "music"


def test_a_missing_program_or_font_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(MissingPart, match="needs the program fluidsynth: apt-get install fluidsynth"):
        instruments.check()
    monkeypatch.setattr(instruments, "program", lambda *_: "")
    monkeypatch.setattr(instruments, "FOLDER", tmp_path)
    with pytest.raises(MissingPart, match=r"FluidR3_GM.sf2: apt-get install fluid-soundfont-gm"):
        instruments.check()


class Ears:
    """Stands for the encoder: a window's feature is its loudest sample."""

    labels = tuple(f"class {i}" for i in range(527))
    plan = MINI

    def embed(self, samples):
        return torch.tensor([[float(np.abs(samples).max())] * 3])


def test_made_sounds_become_a_clip_set_of_their_own(tmp_path, monkeypatch):
    """Rendered sounds and scenes of training and validation pieces, none held out, without touching what is there."""
    corpus, folder = tmp_path / "corpus", tmp_path / "rendered"
    corpus.mkdir()
    of = [
        ("dog barking", "a"),
        ("rain", "a"),
        ("gunshot", "a"),
        ("car horn", "minetest-data"),
        ("thunder", "minetest-data"),
        (None, "a"),
    ]
    audio = np.concatenate([tone(300 * (k + 1), 1) for k in range(len(of))])
    (audio * 30000).astype(np.int16).tofile(corpus / "audio.i16")
    rows = [
        {
            "id": f"{p}:{k}",
            "package": p,
            "group": f"{p}/{k}",
            "cluster": -1,
            "active": 1.0,
            "offset": k * RATE,
            "length": RATE,
        }
        for k, (_, p) in enumerate(of)
    ]
    (corpus / "index.jsonl").write_text("".join(json.dumps(r) + "\n" for r in rows))
    (corpus / "labels.jsonl").write_text(
        "".join(
            json.dumps(
                {"id": r["id"], "label": label, "caption": label, "phrase": f"the {label}", "category": "nature"}
            )
            + "\n"
            for r, (label, _) in zip(rows, of, strict=True)
            if label
        )
    )
    np.save(corpus / "teacher.npy", np.full((len(of), 911), -9, np.float16))
    made = [
        rendered.Rendered(f"f:{k}", "piano", "a piano", "music", "f", "f/piano/0", split, {"instrument": "piano"})
        for k, split in enumerate(("train", "test"))
    ]
    rendered.write(folder, [(row, tone(440, 1)) for row in made] + [(made[0], tone(440, 0.01))])
    monkeypatch.setattr(describe.MiniEncoder, "load", lambda _: Ears())
    describe.describe_made(corpus, tmp_path, tmp_path / "made", folder, {"train": 30, "validation": 10})
    clips = ClipSet(tmp_path / "made")
    assert len(clips) == 2 + 30 + 10 and [clips[i].split for i in (0, 1)] == ["train", "test"]
    assert clips[0].label == "piano" and clips[0].extra["instrument"] == "piano" and clips[0].source == -1

    def inside(split):
        return {e for i in range(2, len(clips)) if clips[i].split == split for e in clips[i].events}

    assert inside("train") == {"dog barking", "rain"} and inside("validation") == {"car horn", "thunder"}
    assert all(0.5 < f <= 1.0 for i in range(len(clips)) for f in clips.of(i)[0])
    write_clips(tmp_path / "before", [ClipInfo("x", "x", None, ["x"], [], "p", "g", "train", 7)], [np.ones((2, 3))])
    describe.join([tmp_path / "before", tmp_path / "made"], tmp_path / "joined")
    joined = ClipSet(tmp_path / "joined")
    assert len(joined) == 43 and joined[0].source == 7 and joined.of(0).shape == (2, 3) and joined[1] == clips[0]
    assert np.array_equal(joined.of(42), clips.of(41))


def test_the_probe_reads_what_is_there_and_nothing_else():
    rng = np.random.default_rng(0)

    def answers(n):
        return [str(a) for a in rng.choice(["man", "woman"], n)]

    train, judge = answers(300), answers(200)

    def noise(of):
        return rng.standard_normal((len(of), 6))

    def told(of):
        return noise(of) + 3 * np.array([[a == "man"] for a in of])

    heard, deaf = (
        probe.read("q", "f", (told(train), train), (told(judge), judge)),
        probe.read("q", "f", (noise(train), train), (noise(judge), judge)),
    )
    assert all(r.accuracy > 0.9 and r.interval[0] > 0.85 and r.asked == 200 for r in heard)
    assert all(r.interval[0] < 0.5 < r.interval[1] + 0.05 for r in deaf)
    assert probe.table(heard).count("\n") == 2
    f, a, b = rng.standard_normal((3, 5))
    assert np.array_equal(probe.pair_inputs(f, a, b), -probe.pair_inputs(f, b, a))


@pytest.mark.skipif(
    not (shutil.which("fluidsynth") and (instruments.FOLDER / "TimGM6mb.sf2").exists()),
    reason="fluidsynth or timgm6mb-soundfont is not installed",
)
def test_a_font_plays_the_score():
    piano = instruments.instruments()[0]
    clips = instruments.play(
        [instruments.MusicScore(piano, 0, [(0.0, 1.0, key, 100)], 1.5, {}) for key in (57, 81)],
        instruments.FOLDER / "TimGM6mb.sf2",
    )
    low, high = (max((220, 880), key=lambda hertz: strength(clip[:RATE], hertz)) for clip in clips)
    assert (low, high) == (220, 880)


@pytest.mark.skipif(not shutil.which("espeak-ng"), reason="espeak-ng is not installed")
def test_a_voice_speaks(tmp_path):
    voice = next(v for v in voices.VOICES if v.package == "espeak-ng")
    (file,) = voices.say(voice, [("de", "Guten Tag.")], tmp_path, np.random.default_rng(0))
    assert 0.3 * RATE < len(rendered.trimmed(rendered.read_mono(file))) < 3 * RATE
