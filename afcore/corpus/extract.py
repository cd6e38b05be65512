"""Step `corpus`: real sounds out of Debian packages, decoded once to 32 kHz mono.

    python -m afcore.corpus.extract fetch   --work DIR     packages into DIR/debs (apt-get download)
    python -m afcore.corpus.extract extract --work DIR     decode, one part per package (can be stopped and run again)
    python -m afcore.corpus.extract index   --work DIR     one flat file and its index

What lies in DIR/corpus afterwards: `audio.i16` (int16 at 32 kHz, one piece after the other), `index.jsonl` (a line per
piece, see `Piece`), `texts/PACKAGE/…` (copyright files and descriptions), `errors.jsonl` (files that could not be read,
and why).
"""

from __future__ import annotations

import argparse
import io
import json
import multiprocessing
import os
import re
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path

import av
import numpy as np

from afcore.corpus import packages
from afcore.corpus.fingerprint import fingerprint, near_duplicates
from afcore.hashing import sha256_of

RATE = 32_000  # Hz of everything decoded here
LONGEST = 60.0  # s of a file that are kept; of longer ones PIECES pieces of PIECE seconds, spread evenly
PIECES, PIECE = 4, 15.0
QUIET = 10 ** (
    -50 / 20
)  # a 20 ms frame is active when its RMS is above -50 dB of full scale and -40 dB of the peak frame
SAY = partial(print, flush=True)


@dataclass
class Piece:
    """One line of the index: a decoded file, or one of four pieces of a long one."""

    id: str  # package:path, with #k for the k-th piece of a long file
    package: str
    version: str
    path: str  # in the package; inside an archive "of.zip!inner"
    start: float  # s, of the piece within the file
    seconds: float
    file_seconds: float
    offset: int  # samples, in audio.i16
    length: int  # samples
    peak: int  # largest |sample|
    active: float  # s that are not quiet
    sha256: str  # of the decoded int16 samples
    group: str  # package/folder/stem without trailing digits or letters: hit1 … hit9 are one source
    fingerprint: str  # hex, see fingerprint.py
    source_rate: int  # Hz, of the file
    cluster: int = -1  # near-duplicates (across packages) share a number


def group_key(package: str, path: str) -> str:
    """One key for takes of the same source: 'hit1.wav' … 'hit9.wav', 'rain_a.ogg', 'step-03b.wav'."""
    if ".cat!" in path:  # 'NN "Title (2)". Original …': the title is the source
        return f"{package}/" + re.sub(r"\W*\d+\W*$", "", path.split('"')[1]) if '"' in path else f"{package}/{path}"
    folder, _, name = path.rpartition("/")
    stem = name.rsplit(".", 1)[0].lower()
    while True:
        shorter = re.sub(r"([ _\-.(]*\d+[a-z]?\)?|[ _\-.]+[a-z])$", "", stem)
        if not shorter or shorter == stem:
            break
        stem = shorter
    return f"{package}/{folder}/{stem}"


def spans(seconds: float | None) -> list[tuple[float, float]]:
    """(start, length) in seconds of what is kept of a file; unknown length: its first minute."""
    if not seconds or seconds <= LONGEST:
        return [(0.0, LONGEST)]
    step = (seconds - PIECE) / (PIECES - 1)
    return [(k * step, PIECE) for k in range(PIECES)]


def decode(data: bytes) -> tuple[list[tuple[float, np.ndarray]], float, int]:
    """First channel at 32 kHz: [(start in s, (T,) int16)], seconds of the whole file, source rate in Hz.

    Raises av.error.FFmpegError, or ValueError where there is no audio stream or no sample.
    """
    with av.open(io.BytesIO(data), "r") as container:
        if not container.streams.audio:
            raise ValueError("no audio stream")
        stream = container.streams.audio[0]
        rate = stream.codec_context.sample_rate
        if stream.duration and stream.time_base:
            known = float(stream.duration * stream.time_base)
        else:
            known = (container.duration or 0) / 1e6
        out = []
        for start, length in spans(known):
            if start:
                container.seek(int(start * 1e6))
            out.append((start, _read(container, stream, start, length)))
    kept = [(start, x) for start, x in out if len(x)]
    if not kept:
        raise ValueError("no samples")
    return kept, known or len(kept[0][1]) / RATE, rate


def _read(container: av.container.InputContainer, stream: av.AudioStream, start: float, length: float) -> np.ndarray:
    resampler: av.AudioResampler | None = None
    parts: list[np.ndarray] = []
    have, want = 0, int(length * RATE)
    for frame in container.decode(stream):
        if frame.time is not None and frame.time + frame.samples / frame.sample_rate < start:
            continue
        if resampler is None:
            # keeps the channels (planar), so that the first one can be taken instead of a downmix
            resampler = av.AudioResampler(format="s16p", rate=RATE)
        for part in resampler.resample(frame):
            parts.append(part.to_ndarray()[0])
            have += parts[-1].size
        if have >= want:
            break
    else:
        if resampler is not None:
            parts += [part.to_ndarray()[0] for part in resampler.resample(None)]
    return np.concatenate(parts)[:want].astype(np.int16) if parts else np.zeros(0, np.int16)


def active_seconds(x: np.ndarray) -> float:
    """Seconds of (T,) int16 whose 20 ms frames are not quiet."""
    frames = x[: len(x) // 640 * 640].reshape(-1, 640).astype(np.float32) / 32768
    if not len(frames):
        return 0.0
    rms = np.sqrt((frames**2).mean(1))
    return float((rms > max(QUIET, 0.01 * rms.max())).sum() * 0.02)


def extract_package(deb: Path, folder: Path) -> str:
    """Decodes one package into `folder/parts/NAME.i16` and `.jsonl`; returns a line that says what was found."""
    name, version = packages.name_version(deb)
    parts = folder / "parts"
    done = parts / f"{name}.jsonl"
    if done.exists():
        return f"{name}: there already"
    rows, errors, offset = [], [], 0
    with open(parts / f"{name}.i16.tmp", "wb") as audio:
        for path, data in packages.members(deb):
            if packages.is_text(path):
                target = folder / "texts" / name / path
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(data)
                continue
            if not packages.kept(path):
                continue
            try:
                pieces, seconds, rate = decode(data)
            except (av.error.FFmpegError, ValueError, IndexError, AttributeError) as error:
                errors.append({"package": name, "path": path, "error": str(error)})
                continue
            for k, (start, x) in enumerate(pieces):
                rows.append(
                    Piece(
                        id=f"{name}:{path}" + (f"#{k}" if len(pieces) > 1 else ""),
                        package=name,
                        version=version,
                        path=path,
                        start=round(start, 3),
                        seconds=round(len(x) / RATE, 3),
                        file_seconds=round(seconds, 3),
                        offset=offset,
                        length=len(x),
                        peak=int(np.abs(x.astype(np.int32)).max()),
                        active=round(active_seconds(x), 2),
                        sha256=sha256_of(x.tobytes()),
                        group=group_key(name, path),
                        fingerprint=fingerprint(x),
                        source_rate=rate,
                    )
                )
                audio.write(x.tobytes())
                offset += len(x)
    os.replace(parts / f"{name}.i16.tmp", parts / f"{name}.i16")
    (parts / f"{name}.errors").write_text("".join(json.dumps(e) + "\n" for e in errors))
    temporary = parts / f"{name}.tmp"
    temporary.write_text("".join(json.dumps(asdict(row)) + "\n" for row in rows))
    os.replace(temporary, done)
    return f"{name}: {len(rows)} pieces, {offset / RATE / 3600:.2f} h, {len(errors)} unreadable"


def _job(arguments: tuple[Path, Path]) -> str:
    try:
        return extract_package(*arguments)
    except Exception as error:  # one bad package must not lose the others; it is named, and the next run tries it again
        return f"{arguments[0].name}: FAILED {type(error).__name__}: {error}"


def fetch(work: Path) -> None:
    """Downloads the packages into `work/debs`."""
    packages.fetch(work / "debs")


def extract(work: Path, processes: int, progress: Callable[[str], None] = SAY) -> None:
    """Decodes every package of `work/debs`, the smallest first, `processes` at a time; `progress` hears a line about
    each."""
    (work / "corpus" / "parts").mkdir(parents=True, exist_ok=True)
    debs = packages.files(work / "debs")
    with multiprocessing.get_context("spawn").Pool(processes, maxtasksperchild=4) as pool:
        for n, line in enumerate(pool.imap_unordered(_job, [(deb, work / "corpus") for deb in debs])):
            progress(f"{n + 1} of {len(debs)}, {line}")


def index(work: Path, progress: Callable[[str], None] = SAY) -> None:
    """Joins the parts into `audio.i16`, drops exact repeats, and numbers near-duplicates; `progress` hears what there
    is."""
    folder = work / "corpus"
    seen, rows, total = set(), [], 0
    with open(folder / "audio.tmp", "wb") as audio:
        for part in sorted((folder / "parts").glob("*.jsonl")):
            data = (
                np.memmap(part.with_suffix(".i16"), np.int16, "r")
                if part.with_suffix(".i16").stat().st_size
                else np.zeros(0, np.int16)
            )
            for line in part.read_text().splitlines():
                row = json.loads(line)
                if row["sha256"] in seen or not row["length"]:
                    continue
                seen.add(row["sha256"])
                data[row["offset"] : row["offset"] + row["length"]].tofile(audio)
                row["offset"], total = total, total + row["length"]
                rows.append(row)
    for row, cluster in zip(rows, near_duplicates([(r["fingerprint"], r["seconds"]) for r in rows]), strict=True):
        row["cluster"] = cluster
    os.replace(folder / "audio.tmp", folder / "audio.i16")
    (folder / "index.tmp").write_text("".join(json.dumps(row) + "\n" for row in rows))
    os.replace(folder / "index.tmp", folder / "index.jsonl")
    with open(folder / "errors.jsonl", "w") as errors:
        for part in sorted((folder / "parts").glob("*.errors")):
            errors.write(part.read_text())
    progress(
        f"{len(rows)} pieces, {total / RATE / 3600:.2f} h, {len({r['package'] for r in rows})} packages, "
        f"{len(rows) - len({r['cluster'] for r in rows})} near-duplicates"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m afcore.corpus.extract", description=__doc__.split("\n\n")[0])
    parser.add_argument("step", choices=["fetch", "extract", "index", "all"])
    parser.add_argument("--work", type=Path, required=True, help="folder for packages and decoded sounds (about 25 GB)")
    parser.add_argument("--processes", type=int, default=os.cpu_count())
    parser.add_argument("--free-parts", action="store_true", help="remove the parts after indexing")
    arguments = parser.parse_args()
    if arguments.step in ("fetch", "all"):
        fetch(arguments.work)
    if arguments.step in ("extract", "all"):
        extract(arguments.work, arguments.processes)
    if arguments.step in ("index", "all"):
        index(arguments.work)
        if arguments.free_parts:
            shutil.rmtree(arguments.work / "corpus" / "parts")


if __name__ == "__main__":
    main()
