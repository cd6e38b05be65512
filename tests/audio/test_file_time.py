"""Time is the file's: against what ffmpeg makes of the same file, in many containers and codecs."""

import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from media import chirps, encode, with_edits

from afcore.audio.recording import open_recording

RATE = 48_000
START, PART, GAP = 0.7, 2.5, 1.2  # s: silence before the sound, sound, silence in its middle, then sound again
TOLERANCE = round(0.010 * RATE)
PICTURES = [
    ("matroska", "pcm_s16le pcm_f32le flac alac aac libmp3lame mp2 libopus libvorbis ac3 eac3 wavpack wmav2"),
    ("mp4", "aac alac flac libopus ac3 libmp3lame mp2"),
    ("mov", "aac alac pcm_s16le pcm_s24le pcm_mulaw ac3"),
    ("webm", "libopus libvorbis"),
    ("mpegts", "aac libmp3lame mp2 ac3"),
    ("flv", "aac libmp3lame"),
    ("asf", "wmav2 libmp3lame pcm_s16le"),
    ("nut", "pcm_s16le flac libopus"),
]
"""Containers with a moving picture from 0 s on, so that their sound can start late, and pause."""
PLAIN = [
    ("ogg", "libopus flac libvorbis"),
    ("wav", "pcm_s16le pcm_mulaw adpcm_ms"),
    ("mp3", "libmp3lame"),
    ("adts", "aac"),
    ("avi", "pcm_s16le libmp3lame"),
    ("matroska", "tta"),
]
"""Those in which it cannot, or not in a way that all players understand."""
FILES = [
    (container, codec, late)
    for cases, late in ((PICTURES, True), (PLAIN, False))
    for container, codecs in cases
    for codec in codecs.split()
]
needs_ffmpeg = pytest.mark.skipif(shutil.which("ffmpeg") is None, reason="compares with the program ffmpeg")


def ffmpeg(*arguments: str) -> bytes:
    return subprocess.run(["ffmpeg", "-v", "error", "-y", *arguments], check=True, capture_output=True).stdout


def lag(found: np.ndarray, truth: np.ndarray, at: int, length: int, reach: int = RATE // 4) -> int:
    """By how many samples ``found`` comes late against ``truth`` around sample ``at``."""
    part, wide = found[at : at + length], truth[max(0, at - reach) : at + length + reach]
    size = 2 ** int(np.ceil(np.log2(len(wide) + len(part))))
    product = np.fft.irfft(np.fft.rfft(wide, size) * np.conj(np.fft.rfft(part, size)), size)
    return min(at, reach) - int(product[: 2 * reach].argmax())


@pytest.fixture(scope="module")
def parts(tmp_path_factory) -> Path:
    """A WAV file of sound, silence where the gap shall be, and sound."""
    folder = tmp_path_factory.mktemp("sound")
    samples = np.concatenate([chirps(PART, RATE, 1), np.zeros(round(GAP * RATE), np.float32), chirps(PART, RATE, 2)])
    (folder / "parts.wav").write_bytes(encode(samples, RATE, "wav", "pcm_s16le"))
    return folder / "parts.wav"


def made(folder: Path, parts: Path, container: str, codec: str, late: bool) -> Path:
    """A file whose sound starts late and has a gap without packets."""
    file = folder / f"sound.{container}"
    sound = ["-i", str(parts), "-c:a", codec, "-strict", "-2", "-ac", "1"]
    if not late:
        ffmpeg(*sound, "-f", container, str(file))
        return file
    # Packets in the silence are dropped: the time stamps of the others stay as they are.
    inside = f"noise=drop=between(pts*tb\\,{PART + 0.1}\\,{PART + GAP - 0.1})"
    ffmpeg(*sound, "-f", "matroska", str(folder / "whole.mkv"))
    ffmpeg("-i", str(folder / "whole.mkv"), "-c", "copy", "-bsf:a", inside, str(folder / "gap.mkv"))
    picture = ["-f", "lavfi", "-i", "color=size=32x32:rate=10:duration=8"]
    video = {"webm": "libvpx", "flv": "flv1"}.get(container, "mpeg4")
    ffmpeg(
        "-itsoffset",
        str(START),
        "-i",
        str(folder / "gap.mkv"),
        *picture,
        "-map",
        "1:v",
        "-map",
        "0:a",
        "-c:a",
        "copy",
        "-c:v",
        video,
        "-strict",
        "-2",
        "-f",
        container,
        str(file),
    )
    return file


@pytest.mark.slow
@needs_ffmpeg
@pytest.mark.parametrize("container, codec, late", FILES, ids=[f"{c}-{k}" for c, k, _ in FILES])
def test_sound_stands_where_ffmpeg_puts_it(tmp_path, parts, container, codec, late):
    file = made(tmp_path, parts, container, codec, late)
    raw = ffmpeg(
        "-i",
        str(file),
        "-map",
        "0:a:0",
        "-af",
        "aresample=async=1:first_pts=0",
        "-ac",
        "1",
        "-ar",
        str(RATE),
        "-f",
        "f32le",
        "-",
        *(["-map", "0:v", "-f", "null", "/dev/null"] if late else []),
    )
    # With the pictures, or ffmpeg takes the first sound of some containers for 0:00.
    truth = np.frombuffer(raw, np.float32)
    recording = open_recording(file)
    assert recording.rate == RATE
    found = recording.clip(0, 20).samples
    start = START if late else 0.0
    for second in (start + 0.5, start + PART + GAP + 0.5):
        at = round(second * RATE)
        assert np.abs(found[at : at + RATE]).max() > 0.1 and np.abs(truth[at : at + RATE]).max() > 0.1
        assert abs(lag(found, truth, at, RATE)) <= TOLERANCE
    if late:
        assert not found[: round((START - 0.1) * RATE)].any()
        codes = {notice.code for notice in recording.notices}
        can_pause = container != "mov" or not codec.startswith("pcm")  # raw samples there are one piece
        assert {"late_start", *(["gaps"] if can_pause else [])} <= codes and not {"damaged", "cut_off"} & codes


PAUSES = {  # lengths in ms, begins in the sound in samples or -1 for a pause, speeds
    "pause": [(1000, 0, 1), (1000, -1, 1), (2000, RATE, 1)],
    "pauses": [(1000, 0, 1), (700, -1, 1), (1000, RATE, 1), (300, -1, 1), (1000, 2 * RATE, 1)],
    "pause at the end": [(2000, 0, 1), (1000, -1, 1)],
    "two pauses before all": [(500, -1, 1), (500, -1, 1), (3000, 0, 1)],
    "dwell": [(1000, 0, 1), (1000, RATE, 0), (2000, RATE, 1)],
    "another speed": [(2000, 0, 2)],
}


@pytest.mark.slow
@needs_ffmpeg
@pytest.mark.parametrize("codec", ["pcm_s16le", "aac"])
@pytest.mark.parametrize("edits", PAUSES.values(), ids=PAUSES)
def test_ffmpeg_makes_no_pauses_of_edit_lists_either(tmp_path, edits, codec):
    file = tmp_path / "edits.mov"
    file.write_bytes(with_edits(encode(chirps(4, RATE), RATE, "mov", codec), edits))
    raw = ffmpeg("-i", str(file), "-af", "aresample=async=1:first_pts=0", "-ac", "1", "-f", "f32le", "-")
    truth, recording = np.frombuffer(raw, np.float32), open_recording(file)
    found = recording.clip().samples
    assert {notice.code for notice in recording.notices} == {"edits"}
    assert abs(len(found) - len(truth)) <= TOLERANCE
    for at in range(RATE // 4, len(truth) - RATE // 2, RATE // 4):
        assert np.abs(truth[at : at + RATE // 4]).max() > 0.05  # sound where the pauses should be
        assert abs(lag(found, truth, at, RATE // 4)) <= TOLERANCE


def test_forty_kinds_of_file_are_compared():
    assert len(FILES) >= 40
