"""Decoding against the samples that went in, clips against the whole, and every refusal and notice."""

import io
import re
import struct
from dataclasses import replace

import av
import numpy as np
import pytest
import soundfile
from media import AUDIO, LOSSLESS, chirps, encode

from afcore.audio import recording
from afcore.audio.envelope import MAX_SLICES, EnvelopeBuilder, envelope_of
from afcore.audio.recording import MAX_SECONDS, Clip, Recording, from_samples, normalise, open_recording
from afcore.errors import AfcoreError, AudioError, BadRequest


def _file(samples, rate, kind="WAV", subtype="PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def _made(name: str, seconds: float = 50) -> tuple[np.ndarray, int, bytes]:
    container, codec, rate = AUDIO[name]
    samples = chirps(seconds, rate)
    return samples, rate, encode(samples, rate, container, codec)


def _said(sound) -> list[str]:
    """The sentences of a recording's or a clip's notices."""
    return [notice.sentence for notice in sound.notices]


def _refused(data, name="sound.wav") -> str:
    with pytest.raises(AudioError) as error:
        open_recording(data, name)
    sentence = str(error.value)
    assert sentence.endswith(".") and "\n" not in sentence and len(sentence) < 160 and name in sentence
    return sentence


def _lag(found: np.ndarray, truth: np.ndarray, reach: int = 3000) -> int:
    """By how many samples ``found`` (inner part) comes late against ``truth``, by cross-correlation."""
    inner = found[reach : reach + 40_000]
    size = 2 ** int(np.ceil(np.log2(len(inner) + 2 * reach)))
    part = truth[: len(inner) + 2 * reach]
    product = np.fft.irfft(np.fft.rfft(part, size) * np.conj(np.fft.rfft(inner, size)), size)
    return reach - int(product[: 2 * reach].argmax())


# --- formats -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", AUDIO)
def test_every_format_gives_its_samples_at_their_times(name):
    samples, rate, data = _made(name)
    recording = open_recording(data, f"sound.{name}")
    assert recording.rate == rate and not recording.notices
    assert recording.length == len(samples) if name in LOSSLESS else abs(recording.length - len(samples)) < 1100
    whole = recording.clip(0, 60).samples
    if name in LOSSLESS:
        np.testing.assert_allclose(whole, samples, atol=1 / 32768)
    else:
        assert _lag(whole, samples) == 0
        assert np.corrcoef(whole[: len(samples)], samples[: len(whole)])[0, 1] > 0.9
    for start in (0.0, 0.5, 1.234, 16.75, 40.001):
        clip = recording.clip(start, 5)
        first = round(start * rate)
        assert clip.start == first / rate and len(clip.samples) == 5 * rate
        expected = whole[first : first + 5 * rate]
        if name == "m4a":  # AAC fills weak bands with noise of the decoder's own, different on every way there
            assert _lag(clip.samples, expected) == 0
            assert np.corrcoef(clip.samples, expected)[0, 1] > 0.99
        else:
            np.testing.assert_allclose(clip.samples, expected, atol=1e-4)
    again = recording.clip(16.75, 5).samples
    np.testing.assert_array_equal(again, recording.clip(16.75, 5).samples)


@pytest.mark.parametrize("name", AUDIO)
def test_a_late_clip_is_not_decoded_from_the_start(name, monkeypatch):
    _, _, data = _made(name)
    recording = open_recording(data)
    calls, decode = [], Recording._decode_from
    monkeypatch.setattr(
        Recording, "_decode_from", lambda self, packet, *rest: calls.append(packet) or decode(self, packet, *rest)
    )
    recording.clip(40, 5)
    assert len(calls) == 1 and calls[0] > 0


@pytest.mark.parametrize("container, codec, rate", [("mp4", "aac", 44_100), ("webm", "libopus", 48_000)])
def test_the_sound_of_a_video(container, codec, rate):
    samples = chirps(6, rate)
    recording = open_recording(encode(samples, rate, container, codec, video=True))
    assert abs(recording.duration - 6) < 0.03
    assert _lag(recording.clip().samples, samples) == 0


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ALAW", "ULAW"])
def test_sample_formats_have_the_same_scale(subtype):
    samples = chirps(1, 16_000)
    found = open_recording(_file(samples, 16_000, subtype=subtype)).clip().samples
    coarse = {"PCM_U8": 1 / 100, "ALAW": 0.04, "ULAW": 0.04}
    np.testing.assert_allclose(found, samples, atol=coarse.get(subtype, 1 / 32000))


@pytest.mark.parametrize("kind", ["AIFF", "CAF", "W64", "AU", "FLAC"])
def test_other_containers(kind):
    samples = chirps(1, 16_000)
    np.testing.assert_allclose(open_recording(_file(samples, 16_000, kind)).clip().samples, samples, atol=1e-4)


def test_paths_files_and_bytes_are_the_same_sound(tmp_path):
    data = _file(chirps(1, 8000), 8000)
    path = tmp_path / "dog.wav"
    path.write_bytes(data)
    with path.open("rb") as file:
        recordings = [open_recording(source) for source in (path, str(path), file)] + [open_recording(data, "dog.wav")]
    assert {recording.sha256 for recording in recordings} == {recordings[0].sha256}
    assert {recording.name for recording in recordings} == {"dog.wav"}


# --- the first channel -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("channels, kind", [(2, "WAV"), (6, "FLAC"), (8, "WAV"), (8, "FLAC"), (16, "WAV")])
def test_only_the_first_channel_is_heard(channels, kind):
    samples = np.stack([chirps(1, 16_000, seed) for seed in range(channels)], axis=1)
    for rule in ("one", "auto"):
        if rule == "auto":  # channels that have something in common
            samples = samples + 0.5 * samples[:, :1]
        recording = open_recording(_file(samples / 2, 16_000, kind), channels=rule)
        np.testing.assert_allclose(recording.clip().samples, samples[:, 0] / 2, atol=1e-4)
        assert recording.channels == channels
        assert any(f"{channels} channels" in said for said in _said(recording)) == (channels > 2)


def test_eight_planar_channels():
    samples = np.stack([chirps(2, 48_000, seed) for seed in range(8)])
    data = encode(samples, 48_000, "mp4", "aac", b="512k")
    found = open_recording(data, channels="one").clip().samples[: samples.shape[1]]
    likeness = [abs(np.corrcoef(found, channel)[0, 1]) for channel in samples]
    assert likeness[0] > 0.9 > 0.1 > max(likeness[1:])


def test_opposite_channels_do_not_cancel():
    samples = chirps(1, 16_000)
    recording = open_recording(_file(np.stack([samples, -samples], axis=1), 16_000))
    np.testing.assert_allclose(recording.clip().samples, samples, atol=1e-4)


# --- clips -------------------------------------------------------------------------------------------------------


def test_a_clip_is_at_most_what_the_model_hears():
    recording = from_samples(chirps(50, 8000), 8000, "long.wav")
    clip = recording.clip(10)
    assert MAX_SECONDS == 33.25 and clip.duration == 33.25 and clip.start == 10
    assert "Only 10 s to 43.25 s of 50 s is heard." in _said(clip)
    assert recording.clip(45).duration == 5
    assert not from_samples(chirps(33.25, 8000), 8000).clip().notices


def test_a_clip_names_its_content():
    recording = from_samples(chirps(50, 8000), 8000)
    keys = [recording.clip(*part).key for part in ((0, 5), (0, 6), (1, 5))] + [
        from_samples(chirps(50, 8000, 1), 8000).clip(0, 5).key
    ]
    assert len(set(keys)) == 4 and all(re.fullmatch("[0-9a-f]{64}", key) for key in keys)
    assert recording.clip(0, 5).key == keys[0] == recording.clip(0, 5).resampled(32_000).key


@pytest.mark.parametrize("start, seconds", [(-1, 5), (1, 5), (2, 5), (0, 0)])
def test_a_clip_of_nothing_is_refused(start, seconds):
    with pytest.raises(BadRequest, match="no clip"):
        from_samples(chirps(1, 8000), 8000).clip(start, seconds)


def test_resampling_keeps_a_tone_and_the_time():
    tone = np.sin(2 * np.pi * 440 * np.arange(48_000) / 48_000).astype(np.float32)
    clip = Clip(tone, 48_000, 0.0, "tone", "key")
    lower = clip.resampled(32_000)
    assert (lower.rate, len(lower.samples), lower.duration, lower.samples.dtype) == (32_000, 32_000, 1.0, np.float32)
    expected = np.sin(2 * np.pi * 440 * np.arange(32_000) / 32_000)
    np.testing.assert_allclose(lower.samples[500:-500], expected[500:-500], atol=1e-3)
    assert clip.resampled(48_000) is clip


@pytest.mark.parametrize(("rate", "to"), [(44_100, 32_000), (8000, 32_000), (48_000, 16_000), (11_025, 48_000)])
def test_resampling_is_that_of_the_published_code(rate, to):
    import librosa

    samples = np.random.default_rng(0).normal(size=rate + 7).astype(np.float32)
    expected = librosa.resample(samples, orig_sr=rate, target_sr=to)
    np.testing.assert_array_equal(Clip(samples, rate, 0.0, "noise", "key").resampled(to).samples, expected)


def test_a_clip_where_frames_do_not_meet_is_decoded_from_the_start():
    recording = open_recording(_made("opus")[2])
    shifted = [replace(c, position=c.position + 7 * (i % 2)) for i, c in enumerate(recording._checkpoints)]
    object.__setattr__(recording, "_checkpoints", tuple(shifted))
    expected = open_recording(recording.data).clip(20, 2).samples
    np.testing.assert_array_equal(recording.clip(20, 2).samples, expected)


# --- normalising -------------------------------------------------------------------------------------------------


def test_normalise_is_the_published_rule():
    samples = chirps(0.5, 44_100) * 0.3
    scaled = samples / np.max(np.abs(samples))
    published = (np.clip(scaled, -1, 1) * 32767.0).astype(np.int16) / 32767.0
    np.testing.assert_array_equal(normalise(samples), published.astype(np.float32))


@pytest.mark.filterwarnings("error")
def test_normalise_rounds_towards_zero_and_keeps_silence():
    np.testing.assert_array_equal(normalise([0.5, -0.25, 0.0]), np.float32([1, -16383 / 32767, 0]))
    for silence in (np.zeros(5), np.zeros(0)):
        found = normalise(silence)
        assert found.dtype == np.float32 and len(found) == len(silence) and not found.any()
    assert np.abs(normalise([1e-40, 0])).max() == 1
    assert np.abs(normalise([3e38, -1e38])).max() == 1


# --- unusual, and heard ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "samples, rate, notice",
    [
        (chirps(0.01, 44_100), 44_100, "very short (10 ms)"),
        (np.float32([0.5]), 44_100, "very short"),
        (chirps(1, 4000), 4000, "4 kHz leaves out everything above 2 kHz"),
        (chirps(1, 192_000), 192_000, "192 kHz is lowered"),
        (np.zeros(44_100), 44_100, "The sound is silent."),
        (np.stack([np.zeros(8000), chirps(1, 8000)], 1), 8000, "first channel is silent, so the mix"),
    ],
    ids=["10 ms", "one sample", "4 kHz", "192 kHz", "silence", "silent left"],
)
def test_the_unusual_is_heard_with_a_notice(samples, rate, notice):
    recording = from_samples(samples, rate)
    clip = recording.clip()
    assert len(clip.samples) == len(samples) and clip.notices == recording.notices
    assert [n for n in _said(clip) if notice in n] and all(n.endswith(".") for n in _said(clip))
    resampled = clip.resampled(32_000).samples
    assert len(resampled) and np.isfinite(resampled).all()


def test_a_silent_part_of_a_sound_is_said():
    samples = np.concatenate([chirps(40, 4000), np.zeros(160_000, np.float32)])
    clip = from_samples(samples, 4000).clip(42)
    assert any("part that is heard is silent" in notice for notice in _said(clip)) and clip.silent


def test_two_hours_are_never_held_as_samples():
    rate, seconds = 8000, 7200
    minute = chirps(60, rate)
    data = _file(np.tile(minute, seconds // 60), rate)
    longest, add = [], EnvelopeBuilder.add
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(EnvelopeBuilder, "add", lambda self, block: longest.append(len(block)) or add(self, block))
        recording = open_recording(data)
    assert recording.duration == seconds and recording.envelope.nbytes < 100_000
    assert max(longest) < rate * 60 and len(recording._checkpoints) < 100_000
    clip = recording.clip(7000.5)
    np.testing.assert_allclose(clip.samples[: 9 * rate], minute[round(40.5 * rate) : round(49.5 * rate)], atol=1e-4)
    assert "Only 1:56:40 to 1:57:13 of 2:00:00 is heard." in _said(clip)


# --- the envelope ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("length", [1, 40, 8191, 8192, 8193, 65_536, 100_001, 1_000_000])
def test_an_envelope_holds_every_sample(length):
    samples = np.random.default_rng(length).normal(size=length).astype(np.float32)
    builder = EnvelopeBuilder()
    for block in np.array_split(samples, max(1, length // 1152)):
        builder.add(block)
    envelope = builder.finish()
    step = 1
    while length // step > MAX_SLICES:
        step *= 2
    slices = [samples[i : i + step] for i in range(0, length, step)]
    np.testing.assert_array_equal(envelope, [[part.min(), part.max()] for part in slices])


def test_an_envelope_of_samples_at_hand():
    samples = np.random.default_rng(0).normal(size=10_007).astype(np.float32)
    envelope = envelope_of(samples, 100)
    assert (
        envelope.shape == (100, 2) and envelope[:, 0].min() == samples.min() and envelope[:, 1].max() == samples.max()
    )
    assert envelope_of(samples[:3], 100).shape == (3, 2)


# --- refusals ----------------------------------------------------------------------------------------------------


def _noise(seed: int, length: int = 50_000) -> bytes:
    return np.random.default_rng(seed).bytes(length)


@pytest.mark.parametrize(
    "data, reason",
    [
        (b"", "is empty"),
        (b"RIFF", "not a sound file"),
        (b"%PDF-1.7\n1 0 obj\n" + _noise(0), "not a sound file"),
        (b"hello world, this is text\n" * 500, "not a sound file"),
        (b"<html><body>no sound</body></html>", "not a sound file"),
        (bytes(50_000), "not a sound file"),
        (b"\xff" * 50_000, "not a sound file"),
        (_file(np.zeros(0), 44_100), "no sound"),
        (encode(np.zeros(0), 44_100, "flac", "flac"), "no sound"),
        (_file(chirps(1, 44_100), 44_100)[:44], "no sound"),
        (_made("m4a", 2)[2][:-3000], "not a sound file"),
        (encode(np.zeros(0), 44_100, "mp4", video=True), "video without sound"),
        (encode(np.zeros(0), 48_000, "webm", video=True), "video without sound"),
    ],
    ids="empty magic pdf text html zeros ones no-samples no-samples-flac header cut-mp4 mute-mp4 mute-webm".split(),
)
def test_what_is_no_sound_is_refused(data, reason):
    assert reason in _refused(data)


@pytest.mark.parametrize("seed", range(5))
def test_noise_is_no_sound(seed):
    _refused(_noise(seed), "noise.mp3")


@pytest.mark.parametrize(
    "value, subtype", [(np.nan, "FLOAT"), (np.inf, "FLOAT"), (-np.inf, "DOUBLE"), (1e300, "DOUBLE")]
)
def test_samples_that_are_not_numbers_are_refused(value, subtype):
    samples = chirps(2, 8000).astype(np.float64)
    samples[12_000] = value
    assert "not numbers (NaN, infinite or beyond 1e38) at 1." in _refused(_file(samples, 8000, subtype=subtype))
    with pytest.raises(AudioError):
        from_samples(samples, 8000)


@pytest.mark.parametrize("rate", [1, 19, 800_000, 2**31])
def test_rates_that_no_sound_has_are_refused(rate):
    data = bytearray(_file(chirps(1, 8000), 8000))
    data[24:28] = struct.pack("<L", rate)
    _refused(bytes(data))


def test_a_playlist_opens_nothing_else(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where FFmpeg would look for a name in a list that has no place of its own
    (tmp_path / "secret.wav").write_bytes(_file(chirps(1, 8000), 8000))
    for text in ("ffconcat version 1.0\nfile 'secret.wav'\n", "#EXTM3U\n#EXTINF:1,\nsecret.wav\n#EXT-X-ENDLIST\n"):
        (tmp_path / "list").write_text(text)
        for source in (text.encode(), tmp_path / "list"):
            _refused(source, "list")


def test_large_files_are_refused_unread(tmp_path):
    path = tmp_path / "large.wav"
    with path.open("wb") as file:
        file.truncate(recording.MAX_BYTES + 1)  # a hole: takes no room
    assert "larger than 200 MB" in _refused(path, "large.wav")
    with path.open("rb") as file:
        assert "larger than 200 MB" in _refused(file, "large.wav")


def test_too_long_is_refused(monkeypatch):
    monkeypatch.setattr(recording, "MAX_HOURS", 1 / 3600)
    assert "lasts longer" in _refused(_file(chirps(2, 8000), 8000))


def test_a_path_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(AudioError, match="cannot be opened: No such file"):
        open_recording(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="cannot be opened: Is a directory"):
        open_recording(tmp_path)


# --- damage ------------------------------------------------------------------------------------------------------


def _damaged(data: bytes, rng: np.random.Generator) -> bytes:
    broken = bytearray(data)
    kind = rng.integers(4)
    if kind == 0:  # cut short
        return bytes(broken[: rng.integers(len(broken))])
    if kind == 1:  # bits flipped anywhere
        for place in rng.integers(0, len(broken), rng.integers(1, 20)):
            broken[place] ^= 1 << rng.integers(8)
    elif kind == 2:  # headers overwritten
        for place in rng.integers(0, min(400, len(broken)), rng.integers(1, 5)):
            broken[place] = rng.integers(256)
    else:  # a stretch replaced by another, perhaps longer one
        place = rng.integers(len(broken))
        broken[place : place + rng.integers(3000)] = rng.bytes(rng.integers(5000))
    return bytes(broken)


@pytest.mark.parametrize("name", [*AUDIO, "video", "stream"])
def test_damaged_files_are_heard_or_refused(name):
    if name in AUDIO:
        data = _made(name, 3)[2]
    else:
        data = encode(
            chirps(3, 44_100), 44_100, {"video": "mp4", "stream": "mpegts"}[name], "aac", video=name == "video"
        )
    rng = np.random.default_rng(20)
    heard = 0
    for _ in range(40):
        try:
            recording = open_recording(_damaged(data, rng))
            clips = [recording.clip(), recording.clip(recording.duration / 2)]
        except AfcoreError as error:
            assert str(error).endswith(".") and "\n" not in str(error)
            continue
        assert all(clip.duration > 0 and np.isfinite(clip.samples).all() for clip in clips)
        heard += 1
    assert heard, "some damage can be heard through"


def test_damage_in_the_middle_leaves_the_rest_and_is_said():
    samples, rate, data = _made("mp3", 20)
    broken = bytearray(data)
    middle = len(broken) // 2
    broken[middle : middle + 3000] = _noise(1, 3000)
    recording = open_recording(bytes(broken))
    assert _said(recording) == ["The file is damaged in places, where it is silent."]
    assert 19 < recording.duration < 20.5
    assert _lag(recording.clip(2, 4).samples, samples[2 * rate :]) == 0


def test_a_file_that_holds_less_than_its_header_promises_is_heard_and_that_is_said():
    data = _made("flac", 20)[2]
    recording = open_recording(data[: len(data) // 2])
    assert 8 < recording.duration < 12
    assert "of its 20 s only" in " ".join(_said(recording))


def test_decoding_uses_one_thread():
    with recording.open_sound(_made("flac", 1)[2], "x") as sound:
        context = sound._stream.codec_context
        assert context.thread_count == 1 and context.thread_type == av.codec.context.ThreadType.NONE


def test_the_same_samples_are_the_same_file_at_any_time():
    """A float WAV by libsndfile holds the second it was written in."""
    data = from_samples(np.linspace(-1, 1, 800, dtype=np.float32), 8000).data
    assert b"PEAK" not in data and data == from_samples(np.linspace(-1, 1, 800, dtype=np.float32), 8000).data
