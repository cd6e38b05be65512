"""What the frozen encoder hears, on disk: each sound is decoded, cut into windows and encoded once, then only read.

A file per sound, `<first two hex digits>/<key>.npy` (windows, E) float16, in a folder named after the encoder's
weights, so that others are never read by mistake; `silence.npy` (E,) is the embedding that fills padded places. Files
are written whole, so that several processes may fill and read one cache. Nearest neighbours by CLAP are kept beside
them."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from afcore.errors import AudioError, BadRequest, MissingPart
from afcore.hashing import sha256_of, sha256_of_files
from afcore.training.recipe.config import Model
from afcore.training.recipe.manifests import ManifestRow, Sound

NEIGHBOURS = 32  # kept of each row, nearest first


class Windows:
    """The cache of one encoder. `device`: where encoders run."""

    def __init__(self, folder: Path, model: Model, device: str | torch.device = "cpu"):
        self.model, self.device = model, device
        self.folder = folder / f"windows-{_digest(model.encoder, 'encoder.safetensors')}"

    # reading
    def file(self, sound: Sound) -> Path:
        """Where its windows are kept. The key holds the file's size and time, so that a changed file is heard anew."""
        try:
            stat = sound.file.stat()
        except OSError as error:
            raise AudioError(f"The sound {sound.file} cannot be opened: {error.strerror}.") from error
        key = sha256_of(f"{sound.file}\0{stat.st_size}\0{stat.st_mtime_ns}\0{sound.start:.3f}")
        return self.folder / key[:2] / f"{key}.npy"

    def get(self, sound: Sound) -> np.ndarray:
        """(windows, E) float32. Raises MissingPart where the sound has not been encoded."""
        try:
            return np.load(self.file(sound)).astype(np.float32)
        except FileNotFoundError:
            raise MissingPart(
                f"The sound {sound.file} has no windows yet: run the recipe with --prepare first."
            ) from None

    @cached_property
    def silence(self) -> np.ndarray:
        """(E,) float32."""
        return np.load(self.folder / "silence.npy").astype(np.float32)

    def missing(self, sounds: Iterable[Sound]) -> list[Sound]:
        """Those of `sounds` that are not in the cache, each once."""
        return [sound for sound in dict.fromkeys(sounds) if not self.file(sound).exists()]

    # filling
    @cached_property
    def encoder(self):
        """Loaded when there is something to encode."""
        if self.model.encoder.is_dir():
            from afcore.encoders.mini import MiniEncoder

            return MiniEncoder.load(self.model.encoder, self.device)
        from afcore.encoders.clapcap import ClapCap

        return ClapCap.load(self.model.encoder).to(self.device)

    @cached_property
    def clap(self):
        """The CLAP that finds neighbours and judges dialogues."""
        place = self.model.clap or self.model.encoder
        if place.is_dir():
            from afcore.clap.mini import MiniClap

            return MiniClap.load(place)
        from afcore.clap.laion import LaionClap

        return LaionClap(place, self.device)

    def fill(self, sounds: Iterable[Sound], progress: Callable[[int, int], None] | None = None) -> int:
        """Encodes what is missing; returns how many sounds that were.

        Raises AudioError naming the first sound that cannot be read, after all others have been encoded.
        """
        from afcore.audio.recording import open_recording
        from afcore.engine.hearing import listen

        missing, broken = self.missing(sounds), []
        if missing or not (self.folder / "silence.npy").exists():
            save(self.folder / "silence.npy", self.encoder.silence.float().cpu().numpy())
        for done, sound in enumerate(missing, 1):
            try:
                _, features = listen(self.encoder, open_recording(sound.file).clip(sound.start))
                save(self.file(sound), features.numpy().astype(np.float16))
            except (AudioError, BadRequest) as error:
                broken.append((sound, error))
            if progress:
                progress(done, len(missing))
        if broken:
            more = f" ({len(broken)} sounds cannot be read; take them out of the manifests)" if len(broken) > 1 else ""
            raise AudioError(f"{str(broken[0][1]).rstrip('.')}: {broken[0][0].file}{more}.")
        return len(missing)

    def vector(self, sound: Sound) -> np.ndarray:
        """(d,) float32 unit CLAP vector, from the windows where CLAP stands on them."""
        from afcore.audio.recording import open_recording

        features = torch.from_numpy(self.get(sound))
        if self.clap.reads_features():
            return np.asarray(self.clap.audio_from_features(features), np.float32)
        return np.asarray(self.clap.audio(open_recording(sound.file).clip(sound.start)), np.float32)

    def neighbours_file(self, rows: list[ManifestRow]) -> Path:
        """Where `neighbours` keeps its answer; it changes with the CLAP and with the sounds."""
        clap = _digest(self.model.clap or self.model.encoder, "encoder.safetensors", "clap.safetensors")
        digest = sha256_of(clap, *(self.file(row.sound).name for row in rows))
        return self.folder / f"neighbours-{digest[:16]}.npy"

    def neighbours(self, rows: list[ManifestRow], make: bool = False) -> np.ndarray:
        """For each row its nearest other rows by CLAP, nearest first, −1 where there are fewer: (rows, 32) int64. Its
        own file and repeats of one file are left out (reference section 8). Raises MissingPart where they were not
        made, unless `make`."""
        file = self.neighbours_file(rows)
        if file.exists():
            return np.load(file)
        if not make:
            raise MissingPart(
                "The nearest neighbours of a dataset are not known yet: run the recipe with --prepare first."
            )
        import faiss

        vectors = np.ascontiguousarray(np.stack([self.vector(row.sound) for row in rows]), np.float32)
        index = faiss.IndexFlatL2(vectors.shape[1])
        index.add(vectors)
        found = index.search(vectors, min(len(rows), 4 * NEIGHBOURS))[1]
        out = np.full((len(rows), NEIGHBOURS), -1)
        for i, near in enumerate(found):
            seen, kept = {rows[i].sound.file}, []
            for j in near:
                if rows[j].sound.file not in seen:
                    seen.add(rows[j].sound.file)
                    kept.append(j)
            out[i, : len(kept[:NEIGHBOURS])] = kept[:NEIGHBOURS]
        save(file, out)
        return out


def save(file: Path, array: np.ndarray) -> None:
    """`np.save`, whole or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f"{file.name}.{os.getpid()}.partial")
    with partial.open("wb") as out:
        np.save(out, array)
    os.replace(partial, file)


def _digest(place: Path, *names: str) -> str:
    """Names the weights in a file, or in the files `names` of a folder."""
    files = [place / name for name in names] if place.is_dir() else [place]
    if not all(file.is_file() for file in files):
        raise MissingPart(f"There are no weights of an encoder in {place}.")
    return sha256_of_files(files)[:12]
