"""Fine-tuning in the app: the command in a process of its own, one at a time on a server, followed line by line."""

from __future__ import annotations

import io
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import zipfile
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from afcore import paths
from afcore.engine import model_folder, own_models
from afcore.engine.model_folder import Facts
from afcore.errors import AfcoreError, BadRequest
from afcore.hashing import sha256_of
from afcore.jobs import Job
from afcore.retrieval import own_banks
from afcore.training.finetune import data
from afcore.training.finetune.run import training_folder, unfinished

LARGEST_DOWNLOAD = 2**30  # bytes: what is larger is copied as a folder
_REQUEST = "request.json"


@dataclass
class Seen:
    """What a running command has told so far."""

    sentences: list[str] = field(default_factory=list)
    """About the data and the memory."""
    left_out: dict[str, str] = field(default_factory=dict)
    loss: list[tuple[int, float]] = field(default_factory=list)
    """(step, loss)."""
    steps: int = 0
    seconds_left: float | None = None
    report: dict[str, Any] | None = None


class FineTunes:
    """The fine-tunings of this server. May be used from several threads."""

    def __init__(self, command: Sequence[str] = (sys.executable, "-m", "afcore")):
        self._command = list(command)
        self._lock = threading.Lock()
        self.job: Job | None = None
        """The last one; its key is the model's name, or "" where the data were only looked at."""
        self.seen = Seen()

    def look(self, source: str, base: str) -> Job:
        """Say what is in the data, without training."""
        return self._start("", ["finetune", source, "--from", base, "--look", "--json"])

    def begin(self, name: str, source: str, base: str, train: str, epochs: float | None) -> Job:
        """Fine-tune to the model ``name``. Raises BadRequest for a name that is taken, or while another runs."""
        name = check_name(name)
        arguments = ["finetune", source, "--from", base, "--out", name, "--train", train]
        arguments += ["--epochs", f"{epochs:g}"] if epochs else []
        folder = training_folder(own_models.home() / name)
        folder.mkdir(parents=True, exist_ok=True)
        (folder / _REQUEST).write_text(json.dumps(arguments), encoding="utf-8")
        return self._start(name, [*arguments, "--json"])

    def resume(self, name: str) -> Job:
        """Go on with one that was stopped. Raises BadRequest where it was not begun here."""
        file = training_folder(own_models.home() / check_name(name)) / _REQUEST
        if not file.is_file():
            raise BadRequest(f"How {name} was begun is not known here: give the same command again.")
        return self._start(name, [*json.loads(file.read_text(encoding="utf-8")), "--json"])

    def discard(self, name: str) -> None:
        """Delete what a stopped one has come to."""
        if self.running and self.job is not None and self.job.key == name:
            raise BadRequest("Stop it first.")
        shutil.rmtree(training_folder(own_models.home() / check_name(name, free=False)), ignore_errors=True)

    def delete_data(self) -> None:
        """Delete the sounds and questions that were kept for training; what was stopped and needs them can't go on.
        Raises BadRequest while one is under way."""
        if self.running:
            raise BadRequest("A fine-tuning may need them just now: stop it first, or wait for it.")
        shutil.rmtree(_data(), ignore_errors=True)

    @property
    def running(self) -> bool:
        """Whether one is under way."""
        return self.job is not None and not self.job.done

    def _start(self, name: str, arguments: list[str]) -> Job:
        with self._lock:
            if self.running:
                raise BadRequest("Another fine-tuning is under way on this server: wait for it, or stop it.")
            self.seen = seen = Seen()
            self.job = Job(lambda job: self._follow(job, arguments, seen), None, name).start()
            return self.job

    def _follow(self, job: Job, arguments: list[str], seen: Seen) -> dict[str, Any] | None:
        gentle = ["nice", "-n", "10"] if shutil.which("nice") else []
        errors: list[str] = []
        with subprocess.Popen(
            [*gentle, *self._command, *arguments],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            errors="replace",
            env=os.environ | {"PYTHONUNBUFFERED": "1"},
        ) as process:
            assert process.stdout is not None and process.stderr is not None, "both are pipes"
            reading = threading.Thread(target=errors.extend, args=(process.stderr,), daemon=True)
            reading.start()
            threading.Thread(target=_end, args=(process, job), daemon=True).start()
            job.report("Getting ready", 0.0)
            for line in process.stdout:
                _take(line, seen, job)
            code = process.wait()
            reading.join()
        if code and not job.stopping.is_set():
            last = [line.strip() for line in errors if line.strip()]
            raise AfcoreError(last[-1] if last else "The training ended without a word.")
        return seen.report


def _end(process: subprocess.Popen, job: Job) -> None:
    """Asks the command to end when the job is stopped: it keeps a checkpoint."""
    while process.poll() is None:
        if job.stopping.wait(0.5):
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(120)
            except subprocess.TimeoutExpired:
                process.kill()
            return


def _take(line: str, seen: Seen, job: Job) -> None:
    try:
        told = json.loads(line)
    except ValueError:
        return
    if "look" in told:
        seen.sentences, seen.left_out = list(told["sentences"]), dict(told["look"]["left_out"])
    elif "memory" in told:
        seen.sentences.append(told["memory"])
    elif "stage" in told:
        job.report(told["stage"], told["share"])
    elif "step" in told:
        seen.steps, seen.seconds_left = told["of"], told["seconds_left"]
        if told["loss"] is not None:
            seen.loss.append((told["step"], told["loss"]))
    elif "report" in told:
        seen.report = told["report"]


def check_name(name: str, free: bool = True) -> str:
    """The name without white space around it. Raises BadRequest for one that no model can have, or, unless ``free`` is
    False, that one has."""
    name = name.strip()
    if not own_banks.NAME.fullmatch(name) or name == "mini" or name.startswith("audio-flamingo"):
        raise BadRequest("A model's name has letters, digits, spaces, points and dashes, and is no other model's.")
    if free and name in own_models.names():
        raise BadRequest(f"There is a model “{name}” already: choose another name, or delete it.")
    return name


def stopped() -> list[str]:
    """Names of fine-tunings that were begun and are not done."""
    return unfinished()


def models() -> list[tuple[str, Facts]]:
    """The models of this server's own, with what is known of each; a damaged one is left out."""
    found = []
    for name in own_models.names():
        try:
            found.append((name, model_folder.facts_in(own_models.home() / name)))
        except AfcoreError:
            continue
    return found


def size(name: str) -> int:
    """Bytes of a model of one's own."""
    return sum(file.stat().st_size for file in (own_models.home() / name).iterdir() if file.is_file())


def as_zip(name: str) -> bytes:
    """The model's folder as a zip, not packed further: weights do not shrink."""
    out = io.BytesIO()
    folder = own_models.home() / check_name(name, free=False)
    with zipfile.ZipFile(out, "w") as file:
        for part in sorted(folder.iterdir()):
            if part.is_file():
                file.write(part, f"{name}/{part.name}")
    return out.getvalue()


def delete(name: str, in_use: Collection[str]) -> None:
    """Delete a model. Raises BadRequest for one that is in use."""
    if name in in_use:
        raise BadRequest("This model answers just now: choose another one first.")
    shutil.rmtree(own_models.home() / check_name(name, free=False))


def has_data() -> bool:
    """Whether there are sounds and questions that were kept for training."""
    return _data().is_dir()


def _data() -> Path:
    return paths.DATA / "finetune"


def unpacked(zipped: bytes) -> str:
    """The data of a zip, kept in the data folder; returns the path that the command takes."""
    return str(data.unpack(zipped, _data() / sha256_of(zipped)[:16]))
