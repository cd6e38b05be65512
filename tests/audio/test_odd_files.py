"""Files that people's phones, recorders and editors made, one test for each kind: what is heard, and what is said."""

import os
import struct
import tarfile
import time
import tracemalloc
import zipfile
from io import BytesIO

import av
import numpy as np
import pytest
import soundfile
from media import chirps, encode, with_edits

from afcore.audio.channels import ChannelStats, choose
from afcore.audio.decoding import SoundStream
from afcore.audio.envelope import EnvelopeBuilder
from afcore.audio.joined import joined_files
from afcore.audio.recording import from_samples, normalise, open_recording
from afcore.audio.wav import heard_wav, player_wav
from afcore.errors import AudioError, BadRequest
from afcore.names import escaped, is_hidden, is_text, normal, shown_name

RATE = 16_000


def codes(sound) -> set[str]:
    return {notice.code for notice in sound.notices}


def tracks(*sounds: np.ndarray, container: str = "matroska", codec: str = "pcm_s16le") -> bytes:
    """A file with a sound track for each."""
    file = BytesIO()
    with av.open(file, "w", format=container) as out:
        streams = [out.add_stream(codec, rate=RATE, layout="mono") for _ in sounds]
        for stream, samples in zip(streams, sounds, strict=True):
            frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16).reshape(1, -1), "s16", "mono")
            frame.sample_rate, frame.pts = RATE, 0
            out.mux(stream.encode(frame))
            out.mux(stream.encode(None))
    return file.getvalue()


KINDS = {  # format → codec; how FFmpeg writes them
    "wav": "pcm_s16le",
    "aiff": "pcm_s16be",
    "au": "pcm_s16be",
    "flac": "flac",
    "mp3": "libmp3lame",
    "mp4": "aac",
    "webm": "libopus",
}


def whole(container: str, codec: str, **options: str) -> bytes:
    """Four seconds of sound at 48 kHz."""
    file = BytesIO()
    with av.open(file, "w", format=container, options=options) as out:
        stream = out.add_stream(codec, rate=48_000, layout="mono")
        assert isinstance(stream, av.AudioStream)
        frame = av.AudioFrame.from_ndarray(
            (chirps(4, 48_000) * 32767).astype(np.int16).reshape(1, -1), format="s16", layout="mono"
        )
        frame.sample_rate, frame.pts = 48_000, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("container", KINDS)
def test_a_file_that_was_cut_off_is_heard_and_told(container):
    data = whole(
        container, KINDS[container], **({"movflags": "frag_keyframe+empty_moov"} if container == "mp4" else {})
    )
    assert "cut_off" not in codes(open_recording(data, "whole"))
    cut = open_recording(data[: len(data) // 2], "half")
    [said] = [notice.sentence for notice in cut.notices if notice.code == "cut_off"]
    assert 1.0 < cut.duration < 3.0 and "of its 4" in said


def xing(data: bytearray, frames: int, size: int) -> None:
    at = data.index(b"Info") + 8
    data[at : at + 8] = struct.pack(">II", frames, size)


def vbri(data: bytearray, frames: int, size: int) -> None:
    data[4:200] = bytes(196)  # the other table, and which samples the encoder put before the sound
    data[36:62] = b"VBRI" + struct.pack(">HHHIIHHHH", 1, 0, 75, size, frames, 0, 1, 2, 0)


@pytest.mark.parametrize("table", [xing, vbri])
@pytest.mark.parametrize("share", [0, 0.02, 0.5, 2, 1000])
def test_an_mp3_file_whose_table_counts_wrongly_is_heard_whole(table, share):
    data = whole("mp3", "libmp3lame", id3v2_version="0")
    frames = int.from_bytes(data[data.index(b"Info") + 8 :][:4], "big")
    right, wrong = bytearray(data), bytearray(data)
    table(right, frames, len(data))
    table(wrong, round(share * frames), len(data))
    one, other = open_recording(bytes(right)), open_recording(bytes(wrong))
    assert 0 <= other.length - one.length < 1152 and not codes(other)  # with what fills up the last frame
    np.testing.assert_allclose(other.clip().samples[: one.length], one.clip().samples, atol=1e-6)


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF])
def test_a_wav_file_that_was_written_as_a_stream_is_whole(size):
    data = bytearray(whole("wav", "pcm_s16le"))
    at = data.index(b"data") + 4
    data[at : at + 4] = size.to_bytes(4, "little")
    assert "cut_off" not in codes(open_recording(bytes(data), "stream.wav"))


# --- time --------------------------------------------------------------------------------------------------------


def late(at: float, gap: float = 0.0) -> bytes:
    """Two seconds of sound in Matroska that starts at ``at`` s beside a picture from 0 s, with a gap in its middle."""
    file, samples = BytesIO(), chirps(2, RATE)
    with av.open(file, "w", format="matroska") as out:
        picture = out.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 32
        sound = out.add_stream("pcm_s16le", rate=RATE, layout="mono")
        image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
        image.pts = 0
        out.mux(picture.encode(image))
        out.mux(picture.encode(None))
        for number, block in enumerate(np.split((samples * 32767).astype(np.int16), 20)):
            frame = av.AudioFrame.from_ndarray(block.reshape(1, -1), "s16", "mono")
            frame.sample_rate = RATE
            frame.pts = round((at + number / 10 + (gap if number >= 10 else 0)) * RATE)
            out.mux(sound.encode(frame))
    return file.getvalue()


def test_sound_that_starts_late_stands_at_its_time():
    recording = open_recording(late(3.0))
    samples = recording.clip().samples
    assert abs(recording.duration - 5) < 0.01 and "late_start" in codes(recording)
    assert not samples[: 3 * RATE - 20].any()
    np.testing.assert_allclose(samples[3 * RATE :], chirps(2, RATE), atol=1e-4)
    np.testing.assert_array_equal(recording.clip(4.5, 0.3).samples, samples[round(4.5 * RATE) : round(4.8 * RATE)])


def test_missing_packets_are_silence_of_their_length():
    recording = open_recording(late(0.0, gap=1.5))
    samples = recording.clip().samples
    assert abs(recording.duration - 3.5) < 0.01 and codes(recording) == {"gaps"}
    assert not samples[RATE : round(2.5 * RATE)].any()
    np.testing.assert_allclose(samples[round(2.5 * RATE) :], chirps(2, RATE)[RATE:], atol=1e-4)


def test_a_clock_of_33_bits_may_start_again_on_the_way():
    def stream(start: float) -> bytes:
        file = BytesIO()
        with av.open(file, "w", format="mpegts", options={"output_ts_offset": str(start)}) as out:
            sound = out.add_stream("mp2", rate=32_000, layout="mono")
            frame = av.AudioFrame.from_ndarray(chirps(2, 32_000).reshape(1, -1), "flt", "mono")
            frame.sample_rate, frame.pts = 32_000, 0
            for packet in [*sound.encode(frame), *sound.encode(None)]:
                out.mux(packet)
        return file.getvalue()

    seconds = 2**33 / 90_000 - 1.4  # after which it starts again; FFmpeg puts 1.4 s before the sound
    plain, other = open_recording(stream(0)), open_recording(stream(seconds - 1))
    assert other.length == plain.length and not codes(other)
    np.testing.assert_allclose(other.clip().samples, plain.clip().samples, atol=1e-6)


def test_pauses_that_a_recorder_left_out_are_silence_and_no_damage():
    def packets(data: bytes):
        sizes, at = [12, 13, 15, 17, 19, 20, 26, 31, 5] + [0] * 7, 6
        while at < len(data):
            size = 1 + sizes[data[at] >> 3 & 15]
            yield data[at : at + size]
            at += size

    whole = encode(chirps(2, 8000), 8000, "amr", "libopencore_amrnb")
    parts = list(packets(whole))
    pause = [bytes([8 << 3 | 4]) + bytes(5)] + [bytes([15 << 3 | 4])] * 24
    recording = open_recording(whole[:6] + b"".join(parts[:50] + pause + parts[50:] + pause))
    assert recording.duration == pytest.approx(len(parts) * 0.02 + 2 * 0.5, abs=0.001)
    assert codes(recording) == {"pauses"}
    middle = recording.clip(1.05, 0.4).samples
    assert not middle.any() and recording.clip(0.2, 0.6).samples.any()


def test_all_of_a_file_whose_rate_changes_is_heard():
    def adts(rate: int, hz: float) -> bytes:
        time = np.arange(2 * rate) / rate
        return encode(0.5 * np.sin(2 * np.pi * hz * time), rate, "adts", "aac")

    recording = open_recording(adts(32_000, 440) + adts(16_000, 880))
    assert recording.rate == 32_000 and recording.duration == pytest.approx(4.1, abs=0.2)
    assert "rate_changes" in codes(recording)
    for start, hz in ((0.5, 440), (2.7, 880)):
        samples = recording.clip(start, 1).samples
        assert np.abs(np.fft.rfft(samples)).argmax() == pytest.approx(hz, abs=2)


@pytest.mark.parametrize("codec, rate", [("libopus", 48_000), ("vorbis", 44_100)])
def test_chained_streams_are_heard_as_if_each_were_alone(codec, rate):
    first, second = (encode(0.3 * chirps(2, rate, seed), rate, "ogg", codec) for seed in (1, 2))
    one, two, both = (open_recording(data) for data in (first, second, first + second))
    samples, alone = both.clip().samples, two.clip().samples
    assert both.length == one.length + two.length and not codes(both)
    np.testing.assert_allclose(samples[: one.length], one.clip().samples, atol=1e-6)
    np.testing.assert_allclose(samples[one.length :], alone, atol=1e-6)
    np.testing.assert_allclose(both.clip(3.2, 0.5).samples, samples[round(3.2 * rate) :][: rate // 2], atol=1e-3)


@pytest.mark.parametrize("codec, rate", [("vorbis", 32_000), ("libopus", 48_000), ("flac", 16_000)])
def test_a_chain_may_change_its_codec_and_rate(codec, rate):
    first, third = (encode(0.3 * chirps(1, 44_100, seed), 44_100, "ogg", "vorbis") for seed in (1, 3))
    second = encode(0.3 * chirps(1, rate, 2), rate, "ogg", codec)
    one, two, three, chain = (open_recording(data) for data in (first, second, third, first + second + third))
    assert chain.rate == 44_100 and codes(chain) == {"rate_changes"}
    expected = np.concatenate([one.clip().samples, two.clip().resampled(44_100).samples, three.clip().samples])
    samples = chain.clip().samples
    assert abs(len(samples) - len(expected)) <= 2
    np.testing.assert_allclose(samples[-three.length :], three.clip().samples, atol=1e-6)
    middle = slice(one.length, one.length + two.length * 44_100 // rate)
    assert np.abs(samples[middle] - expected[middle]).max() < 0.02  # swresample there, soxr here


def test_what_begins_like_a_link_within_a_chain_is_none():
    sound = encode(0.3 * chirps(1, 16_000), 16_000, "ogg", "flac")
    inside = bytearray(sound)
    at = len(sound) // 2
    inside[at : at + 28] = sound[:28]  # within a page
    assert joined_files(bytes(inside)) == [(0, len(sound))]
    assert joined_files(sound + sound) == [(0, len(sound)), (len(sound), 2 * len(sound))]


JOINED = {  # how each of two files is written: container, codec, Hz, options
    "opus": 2 * (("webm", "libopus", 48_000, {}),),
    "streams": 2 * (("webm", "libopus", 48_000, {"live": "1"}),),
    "aac": 2 * (("matroska", "aac", 44_100, {}),),
    "flac": 2 * (("matroska", "flac", 44_100, {}),),
    "otherwise coded": (("webm", "vorbis", 44_100, {}), ("webm", "libopus", 48_000, {"live": "1"})),
}


def in_matroska(samples: np.ndarray, container: str, codec: str, rate: int, options: dict[str, str]) -> bytes:
    if not options:
        return encode(samples, rate, container, codec)
    file = BytesIO()
    with av.open(file, "w", format=container, options=options) as out:
        stream = out.add_stream(codec, rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray((samples * 32767).astype(np.int16).reshape(1, -1), "s16", "mono")
        frame.sample_rate, frame.pts = rate, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("kinds", JOINED.values(), ids=JOINED)
def test_joined_matroska_files_are_heard_as_if_each_were_alone(kinds):
    first, second = (in_matroska(0.3 * chirps(4, kind[2], seed), *kind) for seed, kind in enumerate(kinds))
    one, two, three = (open_recording(data) for data in (first, second, first + second + first))
    rate = one.rate
    theirs = two.clip().resampled(rate).samples
    expected = np.concatenate([one.clip().samples, theirs, one.clip().samples])
    samples = three.clip().samples
    assert abs(len(samples) - len(expected)) <= 2 and codes(three) <= {"rate_changes"}
    np.testing.assert_allclose(samples[: one.length], one.clip().samples, atol=1e-6)
    end = len(samples) - one.length
    np.testing.assert_allclose(samples[end:], one.clip().samples, atol=1e-6)
    middle = np.abs(samples[one.length : end] - theirs[: end - one.length])
    assert middle.max() < (1e-6 if two.rate == rate else 0.01)  # soxr here, swresample there
    at = round(7.5 * rate)
    # FFmpeg's AAC has noise of its own, which begins anew wherever decoding does.
    atol = 0.01 if kinds[0][1] == "aac" else 1e-6
    np.testing.assert_allclose(three.clip(7.5, 1).samples, samples[at : at + rate], atol=atol)


def test_a_joined_file_may_be_cut_off_or_have_no_sound():
    sound = in_matroska(chirps(2, RATE), "matroska", "flac", RATE, {})
    still = BytesIO()
    with av.open(still, "w", format="matroska") as out:
        picture = out.add_stream("mpeg4", rate=10)
        picture.width = picture.height = 32
        for number in range(10):
            image = av.VideoFrame.from_ndarray(np.zeros((32, 32, 3), np.uint8), "rgb24")
            image.pts = number
            out.mux(picture.encode(image))
        out.mux(picture.encode(None))
    cut = open_recording(sound + sound[: len(sound) * 3 // 4])
    [said] = [notice.sentence for notice in cut.notices if notice.code == "cut_off"]
    assert 3.3 < cut.duration < 3.7 and "of its 4 s" in said
    mixed = open_recording(sound + still.getvalue() + sound)
    assert mixed.duration == pytest.approx(5, abs=0.01) and codes(mixed) == {"gaps"}
    np.testing.assert_allclose(mixed.clip().samples[-2 * RATE :], chirps(2, RATE), atol=1e-4)


def test_a_matroska_file_within_one_is_no_joint():
    first, second = (in_matroska(chirps(1, RATE, seed), "matroska", "pcm_s16le", RATE, {}) for seed in (1, 2))
    within, header = bytearray(first), second[:200]
    assert joined_files(first + second) == [(0, len(first)), (len(first), len(first + second))]
    within[1000 : 1000 + len(header)] = header  # among its samples
    assert joined_files(bytes(within)) == [(0, len(first))]
    assert len(joined_files(1_000_000 * first[:4])) == 1
    with pytest.raises(AudioError, match="joined of more than 1000 files"):
        open_recording(1001 * encode(chirps(0.01, RATE), RATE, "matroska", "pcm_s16le"))


def in_mp3(samples: np.ndarray, rate: int, **options: str) -> bytes:
    file = BytesIO()
    with av.open(file, "w", format="mp3", options=options) as out:
        stream = out.add_stream("libmp3lame", rate=rate, layout="mono")
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), "fltp", "mono")
        frame.sample_rate, frame.pts = rate, 0
        out.mux(stream.encode(frame))
        out.mux(stream.encode(None))
    return file.getvalue()


@pytest.mark.parametrize("rate, other", [(44_100, 44_100), (22_050, 22_050), (8_000, 8_000), (44_100, 22_050)])
@pytest.mark.parametrize("tag", ["0", "4"])
def test_joined_mp3_files_have_no_padding_between_them(rate, other, tag):
    first = in_mp3(0.3 * chirps(1, rate, 1), rate, id3v2_version=tag)
    second = in_mp3(0.3 * chirps(0.8, other, 2), other, id3v2_version=tag)
    if tag != "0":  # a picture in the tag, in which another tag seems to begin; and a tag at the end
        assert second[:3] == b"ID3" and second[6:9] == bytes(3)
        picture = b"APIC" + (200).to_bytes(4, "big") + bytes(2) + b"ID3\4" + bytes(196)
        second = second[:8] + bytes(divmod(second[9] + len(picture), 128)) + second[10:10] + picture + second[10:]
        first += (b"TAG" + bytes(125)) * (rate == 44_100)  # one of 8 kHz is so small that FFmpeg believes no table then
    one, two, three = (open_recording(data) for data in (first, second, first + second + first))
    theirs = two.clip().resampled(rate).samples
    expected = np.concatenate([one.clip().samples, theirs, one.clip().samples])
    samples = three.clip().samples
    assert one.length == rate and two.length == 0.8 * other
    assert abs(len(samples) - len(expected)) <= 2 and codes(three) == codes(one) | (
        {"rate_changes"} if other != rate else set()
    )
    end = len(samples) - one.length
    np.testing.assert_allclose(samples[: one.length], one.clip().samples, atol=1e-6)
    np.testing.assert_allclose(samples[end:], one.clip().samples, atol=1e-6)
    assert np.abs(samples[one.length : end] - theirs[: end - one.length]).max() < (1e-6 if other == rate else 0.01)
    for start in (0.9, 1.7):  # over the joints
        at = round(start * rate)
        np.testing.assert_allclose(three.clip(start, 0.5).samples, samples[at : at + round(0.5 * rate)], atol=1e-6)


def test_what_looks_like_the_table_of_an_mp3_file_is_no_joint():
    sound = in_mp3(0.3 * chirps(2, 44_100), 44_100, write_xing="0")
    tabled = in_mp3(chirps(1, 44_100), 44_100, id3v2_version="0")
    table = tabled[: tabled.index(tabled[:2], 100)]  # its first frame
    for inside in (b"Info", b"\xff\xfb\x90\xc4" + bytes(17) + b"Xing", bytes(36) + b"VBRI"):
        at = len(sound) // 2
        assert joined_files(sound[:at] + inside + sound[at:]) == [(0, len(sound) + len(inside))]
    assert len(joined_files(sound + table)) == 1  # a table after which nothing comes
    begun = time.process_time()
    letters = sound + 3_000_000 * b"Xing" + 3_000_000 * b"ID3"
    assert len(joined_files(letters + tabled)) <= 2 and time.process_time() - begun < 5
    assert joined_files(sound + tabled)[1] == (len(sound), len(sound) + len(tabled))


# --- tracks and channels -----------------------------------------------------------------------------------------


def test_several_tracks_are_named_and_one_can_be_chosen():
    first, second = chirps(1, RATE, 1), chirps(1, RATE, 2)
    data = tracks(first, second)
    recording = open_recording(data)
    [notice] = recording.notices
    assert notice.code == "tracks" and "2 sound tracks" in notice.sentence and "track 1 is heard" in notice.sentence
    np.testing.assert_allclose(recording.clip().samples, first, atol=1e-4)
    other = open_recording(data, track=2)
    np.testing.assert_allclose(other.clip().samples, second, atol=1e-4)
    assert other.clip().key != recording.clip().key and other.sha256 == recording.sha256
    with pytest.raises(BadRequest, match="no sound track 3"):
        open_recording(data, track=3)


def test_the_first_track_that_can_be_decoded_is_heard():
    sound = chirps(1, RATE, 1)
    data = tracks(sound, sound, container="mov", codec="alac")
    broken = data.replace(b"alac", b"apac", 2)  # the sample entry of the first, and its box inside
    recording = open_recording(broken)
    assert recording.track == 2 and "cannot be decoded here" in str(recording.notices[0])
    np.testing.assert_allclose(recording.clip().samples, sound, atol=1e-4)
    with pytest.raises(AudioError, match="Track 1 of"):
        open_recording(broken, track=1)


@pytest.mark.parametrize(
    "left, mixed, words",
    [
        (lambda sound: sound, False, ""),
        (lambda sound: -sound, False, ""),
        (lambda sound: np.zeros_like(sound), True, "is silent"),
        (lambda sound: 0.1 * np.random.default_rng(7).normal(size=len(sound)), True, "nothing in common"),
    ],
    ids=["same", "opposite", "silent", "hiss"],
)
def test_the_first_channel_is_heard_unless_it_is_silent_or_unlike(left, mixed, words):
    sound = chirps(2, RATE)
    pair = np.stack([left(sound), sound], axis=1).astype(np.float32)
    recording = from_samples(pair, RATE)
    expected = pair.mean(axis=1) if mixed else pair[:, 0]
    np.testing.assert_allclose(recording.clip().samples, expected, atol=1e-6)
    assert ("mix" in codes(recording)) == mixed and words in " ".join(map(str, recording.notices))


def test_a_channel_can_be_chosen():
    pair = np.stack([chirps(1, RATE, 1), chirps(1, RATE, 2)], axis=1)
    data = from_samples(pair, RATE).data
    expected = {"one": pair[:, 0], 2: pair[:, 1], "mix": pair.mean(axis=1)}
    clips = {rule: open_recording(data, channels=rule).clip() for rule in expected}
    for rule, samples in expected.items():
        np.testing.assert_allclose(clips[rule].samples, samples, atol=1e-6)
    assert len({clip.key for clip in clips.values()}) == 3
    with pytest.raises(BadRequest, match="no channel 3"):
        open_recording(data, channels=3)


def test_a_part_in_which_the_first_channel_is_silent_is_heard_in_the_mix():
    left = np.concatenate([chirps(40, 4000), np.zeros(40_000, np.float32)])
    recording = from_samples(np.stack([left, 0.5 * left + chirps(50, 4000, 2)], axis=1) / 2, 4000)
    clip = recording.clip(42)
    assert clip.samples.any() and not clip.silent and "mix" in codes(clip)
    assert "mix" not in codes(recording.clip(0, 30))


def test_statistics_are_those_of_all_blocks_together():
    samples = np.random.default_rng(0).normal(3, 1, (3, 150_000)).astype(np.float32)
    stats = ChannelStats(3)
    for block in np.array_split(samples, 140, axis=1):
        stats.add(block)
    np.testing.assert_allclose(stats.covariance(), np.cov(samples, ddof=0), atol=1e-3)
    assert not choose("auto", np.zeros((2, 2))).mix


@pytest.mark.parametrize(
    "form, codec",
    [
        *(("WAV", f"NMS_ADPCM_{bits}") for bits in (16, 24, 32)),  # FFmpeg hears AMR in it, that is noise
        ("WAV", "G721_32"),
        *(("AU", codec) for codec in ("G721_32", "G723_24", "G723_40")),
        *((form, "PCM_16") for form in ("AVR", "HTK", "MAT4", "MAT5", "PAF", "SDS")),
        ("PAF", "PCM_24"),
        ("MAT5", "FLOAT"),
        ("WVE", "ALAW"),
        ("XI", "DPCM_16"),
    ],
)
def test_what_ffmpeg_does_not_read_and_libsndfile_does_is_heard(form, codec):
    file, sound = BytesIO(), 0.3 * chirps(1, RATE)
    soundfile.write(file, sound, RATE, format=form, subtype=codec)
    file.seek(0)
    expected, rate = soundfile.read(file, dtype="float32")
    recording = open_recording(file.getvalue())
    samples = recording.clip().samples
    assert recording.rate == rate and codes(recording) <= {"low_rate"}
    np.testing.assert_allclose(samples, expected, atol=4e-5)  # to the last of 16 bits
    assert np.corrcoef(samples[:RATE], sound)[0, 1] > 0.98
    at = rate // 4
    np.testing.assert_allclose(recording.clip(0.25, 0.1).samples, samples[at : at + round(0.1 * rate)], atol=1e-6)


@pytest.mark.parametrize(
    "container, codec, rate",
    [("latm", "aac", RATE), ("adx", "adpcm_adx", RATE), ("wtv", "mp2", 32_000)],
)
def test_what_only_ffmpeg_reads_is_known_by_content_too(container, codec, rate):
    sound = 0.3 * chirps(1, rate)
    recording = open_recording(encode(sound, rate, container, codec, strict="experimental"), "sound.txt")
    assert recording.rate == rate and not codes(recording) and 1 <= recording.duration < 1.15
    found = np.correlate(recording.clip().samples, sound[: rate // 2], "valid")
    assert found.max() > 0.9 * (sound[: rate // 2] ** 2).sum() and found.argmax() < 0.1 * rate


@pytest.mark.parametrize("form, codec", [("WAV", "PCM_16"), ("AIFF", "PCM_16"), ("OGG", "VORBIS"), ("FLAC", "PCM_16")])
def test_the_tag_of_an_mp3_file_before_another_is_passed_over(form, codec):
    file = BytesIO()
    soundfile.write(file, 0.3 * chirps(1, RATE), RATE, format=form, subtype=codec)
    plain, tagged = (
        open_recording(file.getvalue()),
        open_recording(b"ID3\4" + bytes(5) + b"\x14" + bytes(20) + file.getvalue()),
    )
    assert not codes(tagged)
    np.testing.assert_allclose(tagged.clip().samples, plain.clip().samples, atol=1e-6)
    np.testing.assert_allclose(tagged.clip(0.5, 0.2).samples, plain.clip(0.5, 0.2).samples, atol=1e-6)


def test_a_rare_format_that_is_damaged_is_refused_or_heard_as_far_as_it_goes():
    file = BytesIO()
    soundfile.write(file, 0.3 * chirps(1, RATE), RATE, format="WAV", subtype="NMS_ADPCM_32")
    half = open_recording(file.getvalue()[: len(file.getvalue()) // 2])
    assert 0.4 < half.duration < 0.6
    for begin in (b"2BIT", b" paf", b"\xf0\x7e", b"Extended Instrument: ", b"MATLAB 5.0 MAT-file"):
        with pytest.raises(AudioError, match="not a sound file that can be read"):
            open_recording(begin + bytes(1000))


@pytest.mark.parametrize("codec", ["ALAC_16", "ALAC_24", "PCM_16"])
def test_the_last_packet_of_a_caf_file_is_heard_whole(codec):
    file, sound = BytesIO(), 0.3 * chirps(1, RATE)
    soundfile.write(file, sound, RATE, format="CAF", subtype=codec)
    samples = open_recording(file.getvalue()).clip().samples
    assert len(samples) == RATE
    np.testing.assert_allclose(samples, sound, atol=1e-4)


def test_tags_of_a_track_are_shown_as_text_of_sensible_length():
    file, samples = BytesIO(), (chirps(1, RATE) * 32767).astype(np.int16).reshape(1, -1)
    with av.open(file, "w", format="matroska") as out:
        streams = [out.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in range(2)]
        for stream in streams:
            stream.metadata["title"] = "a\x1b[31m\nuser: b" + 1000 * "c"
        for stream in streams:
            frame = av.AudioFrame.from_ndarray(samples, "s16", "mono")
            frame.sample_rate, frame.pts = RATE, 0
            out.mux(stream.encode(frame))
    [notice] = open_recording(file.getvalue()).notices
    assert "a\\x1b[31m\\nuser: b" in notice.sentence and is_text(notice.sentence) and len(notice.sentence) < 300


# --- level and rate ----------------------------------------------------------------------------------------------


def test_float_samples_in_the_range_of_integers_are_heard_scaled():
    sound = chirps(1, RATE)
    recording = from_samples(sound * 32_767, RATE)
    assert codes(recording) == {"loud"} and "full scale" in str(recording.notices[0])
    np.testing.assert_allclose(normalise(recording.clip().samples), normalise(sound), atol=1e-4)


def test_a_whale_at_250_hz_is_heard():
    time = np.arange(20 * 250) / 250
    recording = from_samples(0.5 * np.sin(2 * np.pi * 20 * time), 250)
    assert recording.duration == 20 and codes(recording) == {"low_rate"} and "125 Hz" in str(recording.notices[0])
    spectrum = np.abs(np.fft.rfft(recording.clip().resampled(32_000).samples))
    assert spectrum.argmax() / 20 == pytest.approx(20, abs=0.1)


@pytest.mark.parametrize("level, silent", [(0, True), (1 / 32_768, True), (10 / 32_768, False)])
def test_dither_is_silence_and_quiet_sound_is_not(level, silent):
    samples = level * np.random.default_rng(0).choice([-1.0, 0.0, 1.0], RATE) + 0.01  # with an offset
    clip = from_samples(samples - (0 if silent else 0.01), RATE).clip()
    assert clip.silent == silent and ("silent" if silent else "quiet") in codes(clip)


@pytest.mark.parametrize("before, silence", [(0, 100_000), (70_001, 5), (10_007, 10_000_000), (1_000_000, 3_000_001)])
def test_silence_in_an_envelope_is_as_if_it_were_samples(before, silence):
    sound = np.random.default_rng(0).normal(size=before).astype(np.float32)
    quick, slow = EnvelopeBuilder(), EnvelopeBuilder()
    for builder in (quick, slow):
        builder.add(sound)
    quick.add_silence(silence)
    slow.add(np.zeros(silence, np.float32))
    for builder in (quick, slow):
        builder.add(sound)
    np.testing.assert_array_equal(quick.finish(), slow.finish())


@pytest.mark.parametrize(
    "edits, heard",
    [
        ([(3000, RATE, 1)], [(1, 4)]),
        ([(1000, 0, 1), (1500, round(2.5 * RATE), 1)], [(0, 1), (2.5, 4)]),
        ([(2000, 2 * RATE, 1), (2000, 0, 1)], [(2, 4), (0, 2)]),
        ([(1000, 0, 1)] * 3, [(0, 1)] * 3),
        ([(2**32 - 1, 0, 1)], [(0, 4)]),
        ([(86_400_000, -1, 1), (4000, 0, 1)], [(0, 4)]),
    ],
    ids=["later", "cut", "turned", "thrice", "endless", "a day's pause before all"],
)
def test_an_edit_list_says_what_is_heard(edits, heard):
    sound = chirps(4, RATE)
    recording = open_recording(with_edits(encode(sound, RATE, "mov", "pcm_f32le"), edits))
    samples, at = recording.clip().samples, 0
    assert not codes(recording)
    for start, end in heard:  # FFmpeg takes whole packets, so each may be up to one longer at either end
        part = sound[round(start * RATE) : round(end * RATE)][2048:-2048]
        near = range(max(0, at), at + 3 * 2048)
        place = next(place for place in near if np.array_equal(samples[place : place + len(part)], part))
        at = place + len(part)
    assert at <= len(samples) <= at + 3 * 1024


@pytest.mark.parametrize("edits", [[(1000, 0, 1), (1000, -1, 1), (2000, RATE, 1)], [(2000, 0, 2)], [(4000, -RATE, 1)]])
def test_an_edit_list_that_is_not_followed_is_told(edits):
    recording = open_recording(with_edits(encode(chirps(4, RATE), RATE, "mov", "pcm_s16le"), edits))
    assert codes(recording) == {"edits"}


@pytest.mark.parametrize("edits", [[(0, 0, 1)], [(1000, 99 * RATE, 1)], [(1000, -1, 1)]])
def test_an_edit_list_that_leaves_nothing_is_refused_as_such(edits):
    with pytest.raises(AudioError, match="its edit list leaves nothing of it"):
        open_recording(with_edits(encode(chirps(4, RATE), RATE, "mov", "pcm_s16le"), edits))


# --- edits, archives, size -----------------------------------------------------------------------------------------


def packed(kind: str, name: str, sound: bytes) -> bytes:
    """A sound in an archive, as it is."""
    file = BytesIO()
    if kind == "zip":
        with zipfile.ZipFile(file, "w") as out:
            out.writestr(name, sound)
    elif kind in ("7z", "rar"):  # nothing writes them here
        return {"7z": b"7z\xbc\xaf\x27\x1c\0\4", "rar": b"Rar!\x1a\x07\1\0"}[kind] + bytes(24) + sound
    else:
        modes = {"tar": "w", "gzip": "w:gz", "bzip2": "w:bz2", "xz": "w:xz"}
        with tarfile.open(fileobj=file, mode=modes[kind]) as out:
            entry = tarfile.TarInfo(name)
            entry.size = len(sound)
            out.addfile(entry, BytesIO(sound))
    return file.getvalue()


@pytest.mark.parametrize("kind", ["tar", "gzip", "bzip2", "xz", "zip", "7z", "rar"])
def test_packed_files_are_refused_as_such(kind):
    """MP3 would be found in the middle of an archive, too, and several of them heard as one."""
    data = packed(kind, "a.mp3", whole("mp3", "libmp3lame"))
    with pytest.raises(AudioError, match=f"“a” is no sound but packed files \\({kind}\\): unpack it first"):
        open_recording(data, "a")


def test_a_day_of_sound_is_refused_in_a_sentence_before_it_is_read(tmp_path, monkeypatch):
    """Files of holes, which take no room: 691 MB, and 2 MB that last as long."""
    monkeypatch.setattr(SoundStream, "blocks", None)
    for rate, sentence in ((8000, "is larger than 200 MB"), (20, "lasts longer than 12 hours")):
        file, size = tmp_path / "day.wav", 86_400 * rate
        with file.open("wb") as out:
            out.write(struct.pack("<4sI4s4sIHH", b"RIFF", 36 + size, b"WAVE", b"fmt ", 16, 1, 1))
            out.write(struct.pack("<IIHH4sI", rate, rate, 1, 8, b"data", size))
            out.truncate(44 + size)
        tracemalloc.start()
        with pytest.raises(AudioError, match=sentence):
            open_recording(file)
        _, peak = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        file.unlink()
        assert rate == 20 or peak < 2**20


# --- files -------------------------------------------------------------------------------------------------------


def test_what_is_no_file_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.wav")
    for path in (tmp_path / "pipe.wav", "/dev/zero"):
        with pytest.raises(AudioError, match="is not a file"):
            open_recording(path)


# --- names -------------------------------------------------------------------------------------------------------


def test_names_from_outside_are_text():
    assert normal("Tu\u0308rklingel") == "Türklingel"
    assert escaped("caf\udce9.wav") == "caf\\xe9.wav" and escaped("a\x1b[31m.wav") == "a\\x1b[31m.wav"
    assert shown_name("C:\\rec\\a.wav") == "a.wav" and shown_name("") == "sound"
    assert is_text("زنگ\u200cدر") and is_text("👩\u200d🚒 fire") and is_text("no\u00a0break")
    assert not is_text("two\nlines") and not is_text("\u202egnp.exe") and not is_text("\x00")


@pytest.mark.parametrize(
    "path, hidden",
    [
        ("dog/1.wav", False),
        ("dog/._1.wav", True),
        (".Trashes/x.wav", True),
        ("@eaDir/1.wav", True),
        ("dog/.ipynb_checkpoints/1-checkpoint.wav", True),
        ("__MACOSX/dog/1.wav", True),
        ("dog/Thumbs.db", True),
        ("./dog/1.wav", False),
    ],
)
def test_hidden_and_system_files_are_known(path, hidden):
    assert is_hidden(path) == hidden


def test_the_player_plays_what_the_model_hears():
    for sound, rate in ((0.02 * chirps(1, RATE), RATE), (30_000 * chirps(1, RATE), RATE), (chirps(1, 250), 250)):
        clip = from_samples(sound, rate).clip()
        played, at = soundfile.read(BytesIO(heard_wav(clip)), dtype="float32")
        assert 3000 <= at <= 96_000 and np.abs(played).max() == pytest.approx(1, abs=1e-3)
        np.testing.assert_allclose(played, normalise(clip.resampled(at).samples), atol=1e-4)


def test_a_player_shows_a_length_for_the_shortest_sound_too():
    clip = from_samples(np.full(800, 0.5, np.float32), 8_000).clip()
    played, rate = soundfile.read(BytesIO(player_wav(clip)), dtype="float32")
    assert len(played) == rate == 8_000 and np.allclose(played[:800], 1.0, atol=1e-3) and not played[800:].any()
    longer = from_samples(np.full(9_000, 0.5, np.float32), 8_000).clip()
    assert player_wav(longer) == heard_wav(longer)
