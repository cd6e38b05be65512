"""What the published models are made of: files on the hub with their sizes and licences, or the same files at hand."""

from __future__ import annotations

import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from afcore.checkpoints import CheckpointError
from afcore.checkpoints.files import PART, read_torch
from afcore.clap import laion
from afcore.errors import BadRequest, MissingPart
from afcore.published import folders, hub


@dataclass(frozen=True)
class ModelFiles:
    """Files of one repository on the hub that belong together."""

    key: str
    what: str
    repository: str
    names: tuple[str, ...]
    size: int
    """Bytes, as far as known before the hub is asked."""
    licence: str
    """As known before the hub is asked; then with what the hub names it."""
    agree: bool = False
    """Whether the person has to agree to the licence first."""
    cached: bool = False
    """Kept in the hub's own cache, where packages look for it."""

    @property
    def shown_size(self) -> str:
        """`size` for people."""
        return f"{self.size / 1e9:.1f} GB" if self.size > 5e7 else f"{self.size / 1e6:.0f} MB"


CONVERTED = 5_000_000_000  # bytes: the model in bfloat16 and its audio encoder
NVIDIA = "non-commercial use only (NVIDIA)"
MODEL_FILES = (
    ModelFiles(
        "tokenizer",
        "OPT-IML-MAX-1.3B, configuration and tokenizer",
        "facebook/opt-iml-max-1.3b",
        ("config.json", "tokenizer_config.json", "vocab.json", "merges.txt"),
        1_300_000,
        "non-commercial use only (Meta)",
        True,
    ),
    ModelFiles(
        "clapcap",
        "ClapCap, the audio encoder",
        "microsoft/msclap",
        ("clapcap_weights_2023.pth",),
        2_100_000_000,
        "MIT or MS-PL: its page on the hub says which",
    ),
)
LAION = "laion"
LAION_FILES = (
    ModelFiles(LAION, "LAION-CLAP, for retrieval", "lukewys/laion_clap", (folders.LAION_FILE,), 1_900_000_000, "CC0"),
    *(
        ModelFiles(
            f"{LAION}/{repository}",
            f"{repository}, which LAION-CLAP's package opens",
            repository,
            names,
            500_000_000 if "model.safetensors" in names else 1_500_000,
            "MIT" if repository == "roberta-base" else "Apache-2.0",
            cached=True,
        )
        for repository, names in laion.HUB_FILES.items()
    ),
)
NAMES = (*folders.NAMES, "laion-clap")
"""What `files_of` and `get` know."""


def files_of(name: str) -> list[ModelFiles]:
    """All that ``name``, one of `NAMES`, is made of; sizes are approximate. Raises BadRequest for another name."""
    if name not in NAMES:
        raise BadRequest(f"There is nothing called “{name}” to get: choose {' or '.join(NAMES)}.")
    if name == "laion-clap":
        return list(LAION_FILES)
    kind = name.removeprefix("audio-flamingo-")
    weights = ModelFiles(
        "weights",
        f"Audio Flamingo ({kind}), float32",
        "nvidia/audio-flamingo",
        (f"{kind}.pt",),
        17_700_000_000,
        NVIDIA,
        True,
    )
    return [weights, *MODEL_FILES, *LAION_FILES]


def as_the_hub_says(wanted: Sequence[ModelFiles], stop: threading.Event | None = None) -> list[ModelFiles]:
    """The same with the hub's own sizes, and with the licence that each repository names beside what is known of it.

    Raises MissingPart where the hub cannot be asked or has not all of the files, Cancelled.
    """
    listed = {repository: hub.listing(repository, stop) for repository in dict.fromkeys(w.repository for w in wanted)}
    return [_as_listed(item, listed[item.repository]) for item in wanted]


def _as_listed(item: ModelFiles, listed: hub.Listing) -> ModelFiles:
    if missing := [name for name in item.names if name not in listed.sizes]:
        raise MissingPart(f"{item.repository} on the hub has no {', '.join(missing)} any more.")
    size = sum(listed.sizes[name] for name in item.names)
    return replace(item, size=size, licence=f"{item.licence}; the hub names it “{listed.licence}”")


def is_ready(name: str) -> bool:
    """Whether all of ``name`` is here: for a model the converted one (it can do without LAION-CLAP, less well)."""
    if name == "laion-clap":
        return folders.laion_file().is_file() and not laion.missing_hub_files()
    return folders.is_ready(name.removeprefix("audio-flamingo-"))


def sort_given(given: Sequence[str | Path]) -> dict[str, Path]:
    """{key of some `ModelFiles`: file or folder} by content.

    Raises BadRequest, or CheckpointError for a broken file.
    """
    here: dict[str, Path] = {}
    for path in map(Path, given):
        if not path.exists():
            raise BadRequest(f"There is no file or folder {path}.")
        inside = [path]
        if path.is_dir() and _key_of(path) is None:
            inside = [p for p in sorted(path.iterdir()) if p.is_dir() or p.suffix in (".pt", ".pth")]
        found = {key: p for p in reversed(inside) if (key := _key_of(p)) is not None}
        if not found:
            raise BadRequest(f"{path.name} is none of the files that are needed: see `python -m afcore get --help`.")
        here |= found
    return here


def _key_of(path: Path) -> str | None:
    if path.is_dir():
        return "tokenizer" if (path / "vocab.json").is_file() and (path / "config.json").is_file() else None
    if PART.match(path.name):
        return "weights"
    try:
        content = read_torch(path)
    except CheckpointError:
        # LAION-CLAP's holds a few numbers of numpy beside the weights, which only its own reader lets through.
        try:
            laion.read_checkpoint(path)
        except CheckpointError:
            pass
        else:
            return "laion"
        raise
    if "model_state_dict" in content:
        return "weights"
    inner = content.get("model")
    if isinstance(inner, Mapping) and any(str(key).startswith("clap.") for key in inner):
        return "clapcap"
    weights = content.get("state_dict", content)
    plain = {re.sub(r"^module\.", "", str(key)) for key in weights} if isinstance(weights, Mapping) else set()
    return "laion" if any(key.startswith("audio_branch.") for key in plain) else None
