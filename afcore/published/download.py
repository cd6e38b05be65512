"""Getting the published models ready: fetching what is missing, checking it, converting it.

The page and ``python -m afcore get`` both show `afcore.published.items.files_of`, then call `get`.
"""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil

from afcore.checkpoints import Broken, CheckpointError
from afcore.checkpoints.files import PARTS, joined_bytes, require_space
from afcore.clap import laion
from afcore.engine.loading import PEER
from afcore.errors import BadRequest, Cancelled, MissingPart
from afcore.published import hub, peer_files
from afcore.published.convert import (
    CLAPCAP,
    convert_clapcap,
    convert_flamingo,
    disk_errors,
    published_config,
    published_tokenizer,
)
from afcore.published.folders import KINDS, downloads, home, laion_file, laion_folder, name_of
from afcore.published.items import CONVERTED, LAION, ModelFiles, files_of, is_ready, sort_given

Progress = Callable[[str, float], None]


def get(
    name: str,
    agreed: bool = False,
    given: Sequence[str | Path] = (),
    progress: Progress | None = None,
    stop: threading.Event | None = None,
) -> str:
    """Fetch what is missing of ``name``, convert it, and leave it where `afcore.published.engines` looks; returns a
    sentence.

    given: files and folders that are here already, told apart by what is in them: the weights (one `.pt`, or its five
    parts, any of them named), ClapCap's `.pth`, LAION-CLAP's `.pt`, the tokenizer's folder, or a folder of these.
    They are only read. ``agreed``: to the licences that `files_of` shows. ``stop`` ends it: raises Cancelled.

    Raises BadRequest without agreement or for files of another kind, MissingPart for what the connection or the disk
    refuse, CheckpointError for a broken or wrong file. Nothing half-made stays; downloads go on where they stopped.
    """
    progress = _stoppable(progress, stop)
    if name.startswith(PEER):
        return peer_files.get(name, agreed, progress, stop)
    wanted = files_of(name)
    here = sort_given(given)
    _check_weights(name, here.get("weights"))
    if not agreed and any(item.agree for item in wanted):
        raise BadRequest("These files are for non-commercial use only: agree to their licences first (--agree).")
    with disk_errors(home()):
        home().mkdir(parents=True, exist_ok=True)
    _clear_unfinished()
    needed = [item for item in wanted if item.key not in here and not _is_done(item, name)]
    later = [item for item in needed if item.key.startswith(LAION)]
    if name != "laion-clap" and not is_ready(name):
        first = [item for item in needed if item not in later]
        _convert(name, here | _fetch(first, sum(item.size for item in later), progress, stop), progress)
    try:
        if "laion" in here:
            _keep_laion(here["laion"], progress)
        for file in _fetch(later, 0, progress, stop).values():
            if file.suffix == ".pt":
                with _unless_broken(file):
                    laion.read_checkpoint(file)
    except (MissingPart, CheckpointError) as error:
        if name == "laion-clap":
            raise
        raise MissingPart(f"The model is ready, but examples will be found by mini CLAP: {error}") from error
    progress("Ready", 1.0)
    if name == "laion-clap":
        return f"LAION-CLAP is ready in {laion_folder()}."
    rest = f" What it was made of, in {downloads()}, is not needed any more." if downloads().exists() else ""
    return f"The model is ready in {home() / name}.{rest}"


def _check_weights(name: str, file: Path | None) -> None:
    """Raises BadRequest for weights at hand that would not be used, or belong to the other model by their name."""
    if file is None or name == "laion-clap":
        return
    if is_ready(name):
        raise BadRequest(f"{name} is here already: remove {home() / name} to make it from other files.")
    other = [kind for kind in KINDS if file.name.startswith(kind) and name_of(kind) != name]
    if other:
        raise BadRequest(
            f"{file.name} belongs to {name_of(other[0])}: get that one, or rename the file if it is another."
        )


def _is_done(item: ModelFiles, name: str) -> bool:
    """Whether nothing of ``item`` is needed any more."""
    if item.key == "laion":
        return laion_file().is_file()
    if item.cached:
        return not any(repository == item.repository for repository, _ in laion.missing_hub_files())
    return is_ready(name)


def _folder(item: ModelFiles) -> Path | None:
    if item.cached:
        return None
    return laion_folder() if item.key == "laion" else downloads() / item.repository.replace("/", "--")


def ask_hub(item: ModelFiles, stop: threading.Event | None = None) -> tuple[ModelFiles, dict[str, int]]:
    """The item with its files as the hub has them (weights may be there as five parts), and their sizes in bytes.

    Raises MissingPart where the hub cannot be asked or has other files.
    """
    name = item.names[0]
    parts: tuple[str, ...] = ()
    if item.key == "weights":
        parts = tuple(name.replace(".pt", f"_part{n}.pt") for n in range(1, PARTS + 1))
    sizes = hub.sizes(item.repository, [*item.names, *parts], stop)
    if parts and name not in sizes:
        item = replace(item, names=parts)
    absent = [name for name in item.names if name not in sizes]
    if absent:
        raise MissingPart(f"{item.repository} on the hub has no file {absent[0]}.")
    sizes = {name: sizes[name] for name in item.names}
    return replace(item, size=sum(sizes.values())), sizes


def _fetch(needed: list[ModelFiles], more: int, progress: Progress, stop: threading.Event | None) -> dict[str, Path]:
    """{key: file or folder} of what is needed, after asking for sizes and looking at the disk, which must have room for
    ``more`` bytes besides."""
    if not needed:
        return {}
    progress("Asking the hub for sizes", 0.0)
    asked = [ask_hub(item, stop) for item in needed]
    total = sum(item.size for item, _ in asked)
    converted = 0 if needed[0].key.startswith(LAION) else CONVERTED
    # Parts may be slices of one file, which are put together; that cannot be told before they are here.
    joined = sum(item.size for item, _ in asked if item.key == "weights" and len(item.names) > 1)
    require_space(home(), max(total - sum(map(_already, needed)), 0) + joined + converted + more)
    found: dict[str, Path] = {}
    before = 0
    for item, sizes in asked:
        for file, size in sizes.items():

            def seen(count: int, before: int = before, file: str = file, size: int = size) -> None:
                amount = f" ({count / 1e9:.1f} of {size / 1e9:.1f} GB)" if size > 5e7 else ""
                progress(f"Downloading {file}{amount}", 0.8 * (before + min(count, size)) / max(total, 1))

            seen(0)
            path = hub.fetch(item.repository, file, _folder(item), seen, stop)
            before += size
            found.setdefault(item.key, path.parent if item.key == "tokenizer" else path)
    return found


def _already(item: ModelFiles) -> int:
    """Bytes of the item that an earlier, interrupted call has left on the disk."""
    folder = _folder(item)
    if folder is None or not folder.is_dir():
        return 0
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def _convert(name: str, files: dict[str, Path], progress: Progress) -> None:
    """The model's folder, whole or not at all."""
    target = home() / name
    staging = target.with_name(f".{name}.{os.getpid()}.partial")
    if target.exists():
        raise CheckpointError(f"{target} is there, but incomplete: remove it first.")
    require_space(home(), joined_bytes(files["weights"]) + CONVERTED)
    try:
        with disk_errors(target):
            staging.mkdir()
            progress("Converting the audio encoder", 0.8)
            with _unless_broken(files["clapcap"]):
                convert_clapcap(files["clapcap"], staging)
            tokenizer = published_tokenizer(files["tokenizer"])
            config = published_config(_opt(files["tokenizer"]), tokenizer)
            with _unless_broken(files["weights"]):
                convert_flamingo(
                    files["weights"],
                    staging / "model",
                    config,
                    tokenizer,
                    progress=lambda stage, share: progress(stage, 0.8 + 0.2 * share),
                )
            (staging / CLAPCAP).rename(staging / "model" / CLAPCAP)
            (staging / "model").rename(target)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def _opt(folder: Path) -> dict[str, Any]:
    """OPT's own configuration."""
    try:
        config = json.loads((folder / "config.json").read_text())
    except ValueError:
        config = None
    if not isinstance(config, dict) or config.get("model_type") != "opt":
        raise CheckpointError(f"The config.json in {folder} is not OPT's, or it is broken.")
    return config


def _keep_laion(file: Path, progress: Progress) -> None:
    progress("Copying LAION-CLAP", 0.99)
    laion.read_checkpoint(file)
    target = laion_folder() / file.name
    if target.exists() and target.samefile(file):
        return
    partial = target.with_name(f"{target.name}.{os.getpid()}.partial")
    try:
        with disk_errors(target):
            target.parent.mkdir(parents=True, exist_ok=True)
            require_space(target.parent, file.stat().st_size)
            shutil.copyfile(file, partial)
            partial.replace(target)
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def _unless_broken(file: Path) -> Iterator[None]:
    """A downloaded file that turns out to be broken is removed, or the next call would take it for complete."""
    try:
        yield
    except Broken:
        if home() in file.parents:
            for part in file.parent.glob(f"{file.stem.split('_part')[0]}*"):
                part.unlink(missing_ok=True)
        raise


def _clear_unfinished() -> None:
    """Removes what processes left that ended in the middle of a conversion."""
    for folder in home().glob(".audio-flamingo-*.partial"):
        number = folder.name.split(".")[-2]
        if number.isdigit() and not psutil.pid_exists(int(number)):
            shutil.rmtree(folder, ignore_errors=True)


def _stoppable(progress: Progress | None, stop: threading.Event | None) -> Progress:
    def report(stage: str, share: float) -> None:
        if stop is not None and stop.is_set():
            raise Cancelled(hub.STOPPED)
        if progress is not None:
            progress(stage, share)

    return report
