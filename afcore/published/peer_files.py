"""Files of other audio models (`afcore.published.peers`) on the hub: which are offered, whether they are here, what
they would take, and fetching them. Imports next to nothing, so that a page can list them."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Callable
from pathlib import Path

from afcore.engine.loading import PEER
from afcore.errors import BadRequest, MissingPart
from afcore.published import hub
from afcore.published.items import ModelFiles

OFFERED = (f"{PEER}Qwen/Qwen2-Audio-7B-Instruct", f"{PEER}nvidia/audio-flamingo-3-hf")
"""Of the kinds that tests run (`peers.TESTED`); any other name can be typed."""
_CONFIG, _INDEX, _WHOLE = "config.json", "model.safetensors.index.json", "model.safetensors"
_WANTED = re.compile(r"[\w.-]+\.(json|txt|model|jinja)|model[\w.-]*\.safetensors")
"""What a processor and a model are loaded from; no code, and weights in one form only."""


def repository_of(name: str) -> str:
    """``hf:OWNER/NAME`` -> ``OWNER/NAME``. Raises BadRequest for one that is no name of the hub."""
    bare = name.removeprefix(PEER)
    if not name.startswith(PEER) or not re.fullmatch(r"[\w-][\w.-]*/[\w-][\w.-]*", bare):
        raise BadRequest(f"“{bare}” is no model of the Hugging Face hub: write {PEER}OWNER/NAME.")
    return bare


def folder_of(name: str) -> Path | None:
    """Where the files of a peer lie that is wholly here: its folder in the hub's cache, or the one it names."""
    bare = Path(name.removeprefix(PEER))
    if bare.is_dir():
        return bare
    from huggingface_hub import constants, try_to_load_from_cache

    def found(file: str) -> Path | None:
        path = try_to_load_from_cache(repository_of(name), file, constants.HF_HUB_CACHE)
        return Path(path) if isinstance(path, str) else None

    config, index = found(_CONFIG), found(_INDEX)
    try:
        parts = {_WHOLE} if index is None else set(json.loads(index.read_bytes())["weight_map"].values())
    except (ValueError, KeyError, AttributeError):
        return None
    return config.parent if config is not None and all(map(found, parts)) else None


def files_of(name: str, stop: threading.Event | None = None) -> tuple[ModelFiles, dict[str, int]]:
    """What the hub has of it that is needed, with its licence, and the bytes of each file.

    Raises BadRequest for a name that is none, MissingPart where the hub cannot be asked or has no such weights,
    Cancelled.
    """
    repository = repository_of(name)
    listed = hub.listing(repository, stop)
    sizes = {file: size for file, size in listed.sizes.items() if _WANTED.fullmatch(file)}
    if _CONFIG not in sizes or not any(file.endswith(".safetensors") for file in sizes):
        raise MissingPart(f"{repository} has no weights that transformers loads (config.json, model.safetensors).")
    files = ModelFiles(
        "peer", repository, repository, tuple(sizes), sum(sizes.values()), listed.licence, agree=True, cached=True
    )
    return files, sizes


def get(name: str, agreed: bool, progress: Callable[[str, float], None], stop: threading.Event | None = None) -> str:
    """Fetch what is missing of it into the hub's cache; returns a sentence. ``agreed``: to the licence that `files_of`
    shows.

    Raises BadRequest without agreement, MissingPart for what the hub or the disk refuse, Cancelled; the next call goes
    on with the files that are still missing.
    """
    from afcore.checkpoints.files import require_space

    if not agreed:
        raise BadRequest(f"Read the licence of {name.removeprefix(PEER)} and agree to it first (--agree).")
    progress("Asking the hub for sizes", 0.0)
    item, sizes = files_of(name, stop)
    cache = hub.cache_of(item.repository)
    here = sum(file.stat().st_size for file in cache.rglob("blobs/*")) if cache.is_dir() else 0
    cache.parent.mkdir(parents=True, exist_ok=True)
    require_space(cache.parent, max(item.size - here, 0))
    before = 0
    # The weights last: what is here by then shows soon whether the rest can be used.
    for file, size in sorted(sizes.items(), key=lambda entry: entry[1]):

        def seen(count: int, before: int = before, file: str = file, size: int = size) -> None:
            amount = f" ({count / 1e9:.1f} of {size / 1e9:.1f} GB)" if size > 5e7 else ""
            progress(f"Downloading {file}{amount}", (before + min(count, size)) / max(item.size, 1))

        seen(0)
        hub.fetch(item.repository, file, None, seen, stop)
        before += size
    progress("Ready", 1.0)
    return f"{item.repository} is ready in {cache}."
