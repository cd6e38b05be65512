"""Files of the Hugging Face hub, fetched in a process of their own: it can be stopped at any moment, and what it has
fetched by then of a file that goes into a folder is taken up again the next time.

``python -m afcore.published.hub sizes REPOSITORY NAME...``, ``list REPOSITORY -`` and ``fetch REPOSITORY NAME
[FOLDER]`` are what that process runs; it prints one JSON object, and ends when its standard input is closed, so that it
never outlives the one who asked.
"""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from afcore.checkpoints import Broken
from afcore.errors import Cancelled, MissingPart
from afcore.hashing import sha256_of
from afcore.published import pins

TICK = 0.3  # seconds between looks at how far a download is
STOPPED = "Stopped; what has been downloaded is kept for the next time."


def sizes(repository: str, names: Sequence[str], stop: threading.Event | None = None) -> dict[str, int]:
    """Bytes of those of ``names`` that ``repository`` has. Raises MissingPart where the hub cannot be asked,
    Cancelled."""
    found: dict[str, int] = _run(["sizes", repository, *names], None, stop)["sizes"]
    return found


@dataclass(frozen=True)
class Listing:
    """What the hub says of a repository."""

    sizes: dict[str, int]
    """Bytes of each file."""
    licence: str
    """As its owner names it."""


def listing(repository: str, stop: threading.Event | None = None) -> Listing:
    """All files of ``repository`` and its licence. Raises MissingPart where the hub cannot be asked, Cancelled."""
    answer = _run(["list", repository, "-"], None, stop)
    return Listing(answer["sizes"], answer["licence"])


def fetch(
    repository: str,
    name: str,
    folder: Path | None = None,
    progress: Callable[[int], None] | None = None,
    stop: threading.Event | None = None,
) -> Path:
    """The file ``name`` of ``repository`` in ``folder``, or in the hub's cache without one; downloaded unless it is
    there.

    ``progress`` hears how many bytes of it have come. ``stop`` ends it: raises Cancelled. Raises MissingPart for
    whatever the connection, the hub or the disk refuse. What has come by then is kept for the next call. A file that
    came before is asked for at its revision then, and must be the same (`pins`): raises Broken.
    """
    watched = folder / ".cache" if folder else cache_of(repository) / "blobs"

    def look() -> None:
        parts = sorted(watched.rglob("*.incomplete"), key=lambda part: part.stat().st_mtime)
        if parts and progress is not None:
            progress(parts[-1].stat().st_size)

    pinned = pins.revision(repository, name)
    where = [str(folder), *([pinned] if pinned else [])] if folder else []
    answer = _run(["fetch", repository, name, *where], look, stop)
    file = Path(answer["path"])
    try:
        pins.check(repository, name, file, answer["revision"])
    except Broken:
        if folder:
            file.unlink()  # or the next call would take it for complete
        raise
    return file


def cache_of(repository: str) -> Path:
    """Where the hub's cache keeps a repository."""
    from huggingface_hub import constants

    return Path(constants.HF_HUB_CACHE) / ("models--" + repository.replace("/", "--"))


def _run(arguments: list[str], look: Callable[[], None] | None, stop: threading.Event | None) -> dict[str, Any]:
    # Plain HTTP: the hub's other way of transfer ("xet") begins anew after an interruption.
    environment = {**os.environ, "HF_HUB_DISABLE_XET": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
    with subprocess.Popen(
        [sys.executable, "-m", "afcore.published.hub", *arguments],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        env=environment,
        cwd=Path(__file__).resolve().parents[2],
    ) as process:
        try:
            while True:
                try:
                    process.wait(TICK)
                    break
                except subprocess.TimeoutExpired:
                    if stop is not None and stop.is_set():
                        raise Cancelled(STOPPED) from None
                    if look is not None:
                        with suppress(FileNotFoundError):  # it was moved to its place meanwhile
                            look()
        finally:
            process.kill()
        assert process.stdout is not None  # it is a pipe
        lines = process.stdout.read().splitlines()
    answer: dict[str, Any] = (
        json.loads(lines[-1]) if lines else {"error": "The download ended without a word: try again."}
    )
    if "error" in answer:
        raise MissingPart(answer["error"])
    return answer


def _main(action: str, repository: str, *rest: str) -> dict[str, Any]:
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.hf_api import RepoFile

    if action == "sizes":
        found = HfApi().get_paths_info(repository, list(rest))
        return {"sizes": {file.path: file.size for file in found if isinstance(file, RepoFile)}}
    if action == "list":
        info = HfApi().model_info(repository, files_metadata=True)
        card = info.card_data.to_dict() if info.card_data is not None else {}
        licence = card.get("license_name") or card.get("license") or "none that it names: read its page on the hub"
        return {"sizes": {file.rfilename: file.size or 0 for file in info.siblings or []}, "licence": str(licence)}
    name, *more = rest
    if not more:  # of the branch that packages ask for; the path in the cache names the commit
        path = Path(hf_hub_download(repository, name))
        return {"path": str(path), "revision": _commit_in(path)}
    path, revision = _fetch_into(repository, name, Path(more[0]), more[1] if len(more) > 1 else None)
    return {"path": str(path), "revision": revision}


def _commit_in(path: Path) -> str:
    """The folder after ``snapshots`` in the hub's cache."""
    parts = path.parts
    return parts[parts.index("snapshots") + 1] if "snapshots" in parts[:-1] else ""


def _fetch_into(repository: str, name: str, folder: Path, revision: str | None) -> tuple[Path, str]:
    """The file in ``folder`` and the commit that it is of; a download that was broken off goes on there, where
    huggingface_hub 2 begins anew."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.file_download import http_get
    from huggingface_hub.utils import build_hf_headers

    url, headers, target = hf_hub_url(repository, name, revision=revision), build_hf_headers(), folder / name
    known = get_hf_file_metadata(url, headers=headers)
    commit = str(known.commit_hash or revision or "")
    if target.is_file() and target.stat().st_size == known.size:
        return target, commit
    if urlsplit(known.location).netloc != urlsplit(url).netloc:
        headers.pop("authorization", None)  # for the hub alone, not for where it keeps large files
    content = sha256_of(str(known.etag))[:16]  # another version of the file begins anew
    partial = folder / ".cache" / f"{name}.{content}.incomplete"
    partial.parent.mkdir(parents=True, exist_ok=True)
    if partial.exists() and known.size is not None and partial.stat().st_size > known.size:
        partial.unlink()
    with partial.open("ab") as out:
        http_get(known.location, out, resume_size=out.tell(), headers=headers, expected_size=known.size)
    partial.replace(target)
    return target, commit


def _sentence(error: Exception, repository: str, name: str) -> str:
    from huggingface_hub import errors

    if isinstance(error, errors.GatedRepoError | errors.RepositoryNotFoundError):
        return (
            f"The hub does not give {repository} to everybody: open huggingface.co/{repository}, accept its terms, and "
            "log in here with `hf auth login`."
        )
    if isinstance(error, errors.EntryNotFoundError) and not isinstance(error, errors.LocalEntryNotFoundError):
        return f"{repository} on the hub has no file {name}."
    if getattr(error, "errno", None) == errno.ENOSPC or "No space left" in str(error):
        return f"The disk became full while {name} was downloaded; make room and start again, it goes on from there."
    if isinstance(error, PermissionError):
        return f"{name} could not be written: {error.filename} may not be changed."
    if "Consistency check" in str(error):
        return f"{name} came incomplete: start again, it goes on from there."
    return (
        f"{name} of {repository} could not be downloaded: check the connection to the Hugging Face hub and start "
        "again, or bring the file and name it with --from."
    )


def _with_parent() -> None:
    sys.stdin.read()
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_with_parent, daemon=True).start()
    try:
        answer = _main(*sys.argv[1:])
    except Exception as error:  # whatever it is, the one who asked gets a sentence
        answer = {"error": _sentence(error, sys.argv[2], sys.argv[3])}
    print(json.dumps(answer), flush=True)
    os._exit(0)  # without waiting for the thread that reads
