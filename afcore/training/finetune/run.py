"""One fine-tuning from the data to a model's folder, each step from where the last run stopped.

Beside the folder that is to come lies a hidden one, ``.NAME.training``, with the answers before, the recipe's run and
its checkpoints; it goes when the model is ready.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from afcore import paths, prompts
from afcore.checkpoints import pretrained
from afcore.engine import model_folder, own_models
from afcore.engine.calibration import Calibration
from afcore.engine.loading import LoadEngine, load_engine
from afcore.engine.model_folder import Facts
from afcore.errors import BadRequest, Cancelled
from afcore.hashing import sha256_of
from afcore.safe_files import write_json
from afcore.training.finetune import compare, data
from afcore.training.finetune.data import Item, Look

if TYPE_CHECKING:
    from afcore.engine.engine import Engine

Progress = Callable[[str, float], None]
Told = Callable[[dict[str, Any]], None]
"""Hears what happens as plain data: the look, each step of training, the report."""

TRAINED = {
    "lora": "low-rank updates of the language model, and what hears",
    "cross-attention": "what hears: audio transformer and cross-attention; the language model stays as it is",
    "full": "the whole model but the audio encoder",
}
"""What may be trained."""
_STAGE = {"lora": "lora", "cross-attention": "audio", "full": "all"}
RATES = {"lora": 2e-4, "cross-attention": 1e-4, "full": 2e-5}
"""Learning rates. The paper's are 1e-4 for what hears and 2e-5 for everything."""
MOST_TOKENS = 512
STAGE = "tune"
FEWEST_STEPS = 100
LARGE = 1e9  # parameters from which layers are computed twice instead of remembered
_ADAMW = 16  # bytes of a trained number: itself, its gradient, two moments, in float32


@dataclass(frozen=True)
class Settings:
    """How a model is fine-tuned."""

    train: str = "lora"
    """A key of `TRAINED`."""
    epochs: float | None = None
    """How often each question is seen; None: `passes` chooses."""
    rate: float | None = None
    """Learning rate; None: that of `RATES`."""
    batch: int = 8
    rank: int = 16
    seed: int = 0

    def __post_init__(self) -> None:
        if self.train not in TRAINED:
            raise BadRequest(f"There is no way of training called “{self.train}”: choose {', '.join(TRAINED)}.")
        if (
            not 0 < (self.epochs or 1) <= 1000
            or self.batch < 1
            or self.rank < 1
            or (self.rate is not None and self.rate <= 0)
        ):
            raise BadRequest("Epochs, batch, rank and learning rate must be above 0.")


def passes(questions: int, settings: Settings) -> float:
    """How often each of so many questions is seen: as often as asked for, else 4 times, and of few questions up to 20
    times, so that there are some `FEWEST_STEPS` steps."""
    if settings.epochs is not None:
        return settings.epochs
    return float(min(20, max(4, round(FEWEST_STEPS * settings.batch / max(1, questions)))))


@dataclass(frozen=True)
class Base:
    """The model to begin with."""

    name: str
    weights: Path
    """A folder for `from_pretrained`, in which the tokenizer is too."""
    parts: Path
    """Where the files of its other parts lie."""
    facts: Facts

    @property
    def encoder(self) -> Path:
        """As the recipe names it."""
        return self.parts if self.facts.layout == "mini" else self.parts / model_folder.PARTS["published"][0]


class FineTuning:
    """From ``items`` to a model in ``out``; ``base``: the name of a model, or a folder."""

    def __init__(
        self,
        items: Sequence[Item],
        left_out: dict[str, str],
        base: str,
        out: str | Path,
        settings: Settings = Settings(),
        load: LoadEngine = load_engine,
        device: str | None = None,
    ):
        self.items, self.left_out, self.base, self.settings = list(items), left_out, base, settings
        self.load, self.device = load, device
        self.out = model_folder.free_folder(out)
        if self.out.name.startswith("."):
            raise BadRequest("A model's name must not begin with a point.")
        self.work = training_folder(self.out)

    def run(self, progress: Progress, told: Told, stop: threading.Event) -> dict[str, Any]:
        """Everything; returns the report, which also lies in the folder.

        Raises BadRequest, MissingPart, AudioError; Cancelled once ``stop`` is set: the same call goes on from there.
        """
        begun = time.time()
        self._plan()
        base = self._base(progress)
        found = self.look(base, progress)
        told({"look": found.to_json(), "sentences": found.sentences()})
        told({"memory": memory_sentence(base, self.settings, self.device)})
        questions = compare.questions_of(found.held_out)
        before = self._before(questions, progress, stop)
        model = self._train(base, found, progress, told, stop)
        report = self._after(base, model, found, questions, before, progress, stop)
        report["minutes"] = round((time.time() - begun) / 60, 1)
        model_folder.put_notes(model, report)
        self.out.parent.mkdir(parents=True, exist_ok=True)
        model_folder.put_in_place(model, self.out)
        shutil.rmtree(self.work)
        told({"report": report, "folder": str(self.out)})
        return report

    def look(self, base: Base, progress: Progress) -> Look:
        """What is in the data, for this model."""
        tokenizer = pretrained.load_tokenizer(base.weights)
        count = len
        return data.look(
            self.items,
            self.left_out,
            base.facts.kind,
            lambda text: count(tokenizer(text).input_ids),
            MOST_TOKENS,
            progress,
        )

    # Its steps

    def _plan(self) -> None:
        """Begins the work folder, or finds in it what was begun. Raises BadRequest where that was something else."""
        rows = [[i.name or str(i.file), i.turns, i.source, i.dialogue, i.start] for i in self.items]
        plan = {"base": self.base, "settings": asdict(self.settings), "data": sha256_of(json.dumps(rows))}
        file = self.work / "plan.json"
        if file.exists():
            if json.loads(file.read_text()) != plan:
                raise BadRequest(
                    f"Another fine-tuning to {self.out} was begun and stopped, with other data or settings: give "
                    f"these again, or delete {self.work}."
                )
            return
        self.work.mkdir(parents=True, exist_ok=True)
        write_json(file, plan)

    def _base(self, progress: Progress) -> Base:
        """The model to begin with as files, loaded once for what is known of it."""
        file, whole = self.work / "base.json", self.work / "base"
        if not file.exists():
            engine = self.load(self.base, self.device, lambda stage, share: progress(stage, share))
            try:
                if engine.source is None:
                    raise BadRequest(f"The model {engine.name} has no files to begin with.")
                source = engine.source
                facts = Facts(source.layout, engine.kind, engine.max_shots, engine.calibration, engine.name)
            finally:
                engine.close()
            weights = source.folder
            if weights == paths.MINI:
                weights = whole
                _whole_mini(whole)
            write_json(file, {"weights": str(weights), "parts": str(source.folder), "facts": asdict(facts)})
        kept = json.loads(file.read_text())
        calibration = Calibration.from_dict(kept["facts"].pop("calibration"))
        facts = Facts(**kept["facts"], calibration=calibration)
        return Base(self.base, Path(kept["weights"]), Path(kept["parts"]), facts)

    def _before(
        self, questions: Sequence[compare.Question], progress: Progress, stop: threading.Event
    ) -> dict[str, Any]:
        file = self.work / "before.json"
        if not file.exists():
            engine = self.load(self.base, self.device, progress)
            try:
                write_json(file, self._asked(engine, questions, progress, stop, "before"))
            finally:
                engine.close()
        found: dict[str, Any] = json.loads(file.read_text())
        return found

    def _asked(
        self,
        engine: Engine,
        questions: Sequence[compare.Question],
        progress: Progress,
        stop: threading.Event,
        when: str,
    ) -> dict[str, Any]:
        said = compare.answers(engine, questions, progress, stop, f"Asking the held-out questions {when}")
        return {"said": said, "elsewhere": compare.elsewhere(engine, progress, stop, f"Asking elsewhere {when}")}

    def _train(self, base: Base, found: Look, progress: Progress, told: Told, stop: threading.Event) -> Path:
        """Runs the recipe; returns the folder that it has written."""
        from afcore.training.recipe import config, parallel, sources, stages

        file = self._config(base, found)
        loaded = config.load(file, self.work / "run")
        begun: list[tuple[float, int]] = []

        def watch(step: int, steps: int, values: dict[str, float]) -> bool:
            if not begun:
                begun.append((time.time(), step - 1))
            since, first = begun[0]
            left = (time.time() - since) / max(1, step - first) * (steps - step)
            told({"step": step, "of": steps, "loss": values.get("loss"), "seconds_left": round(left)})
            progress(f"Training, about {_minutes(left)} left", step / steps)
            return stop.is_set()

        progress("Listening to the sounds (once)", 0.0)
        if stop.is_set():
            raise Cancelled()
        with contextlib.redirect_stdout(sys.stderr):  # the recipe's own lines
            folder = stages.run(loaded, parallel.join(loaded.device), parts=sources.all_parts(), watch=watch)
        return folder / "model"

    def _config(self, base: Base, found: Look) -> Path:
        """The recipe's config and manifests, in the work folder."""
        facts, settings = base.facts, self.settings
        rows = [row for item in found.training for row in _manifest_rows(item, facts.kind)]
        asked = [row for row in rows if "turns" not in row]
        talked = [row for row in rows if "turns" in row]
        files = {"questions": asked, "dialogues": talked}
        entries, mix = {}, {}
        for name, content in files.items():
            if content:
                lines = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in content)
                (self.work / f"{name}.jsonl").write_text(lines, encoding="utf-8")
                entries[name] = {"manifest": f"{name}.jsonl", "root": "/"}
                # What mini can be asked in both ways is met once in each pass, now in this and now in that.
                mix[name] = 0.5 if facts.kind == "mini" and asked and not _has_dialogues(found) else 1.0
        large = parameters_of(base.weights, "full")[0] > LARGE
        samples = sum(len(files[name]) * weight for name, weight in mix.items())
        batch = max(1, min(settings.batch, int(samples)))
        epochs = passes(int(samples), settings)
        micro = next(n for n in (4, 2, 1) if batch % n == 0) if not large else 1
        stage = {
            "name": STAGE,
            "train": _STAGE[settings.train],
            "lr": settings.rate or RATES[settings.train],
            "batch": batch,
            "micro_batch": micro,
            "mix": mix,
            "epochs": epochs,
            "schedule": "cosine",
            "warmup": max(1, round(0.05 * epochs * samples / batch)),
            "precision": "bf16" if _has_bfloat16(self.device) else "fp32",
            "sort_by_length": True,
            "gradient_checkpointing": large,
            "max_tokens": MOST_TOKENS,
            "log_every": 1,
            "checkpoint_every": 50,
            "lora": {"rank": settings.rank, "alpha": float(settings.rank), **_lora_layers(base)},
            **({"pad_audios_to": PADDED[facts.kind]} if facts.kind in PADDED else {}),
        }
        config = {
            "seed": settings.seed,
            "cache": str(self.work / "cache"),
            "model": {
                "marks": facts.kind,
                "converted": str(base.weights),
                "encoder": str(base.encoder),
                "input_gradient": facts.kind != "mini",
            },
            "data": entries,
            "stages": [stage],
            **({"device": self.device.split(":")[0]} if self.device else {}),
        }
        file = self.work / "config.json"
        write_json(file, config)
        return file

    def _after(
        self,
        base: Base,
        model: Path,
        found: Look,
        questions: Sequence[compare.Question],
        before: dict[str, Any],
        progress: Progress,
        stop: threading.Event,
    ) -> dict[str, Any]:
        """Makes the recipe's folder a whole model, asks it, and compares."""
        model_folder.complete(model, base.parts, replace(base.facts, based_on=self.base))
        engine = self.load(str(model), self.device, progress)
        try:
            after = self._asked(engine, questions, progress, stop, "after")
        finally:
            engine.close()
        log = [json.loads(line) for line in (model.parent / "log.jsonl").read_text().splitlines()]
        return {
            "base": self.base,
            "settings": asdict(self.settings),
            "data": found.sentences(),
            "loss": [[row["step"], round(row["loss"], 4)] for row in log],
            **compare.report(questions, before["said"], after["said"]),
            "elsewhere": compare.elsewhere_report(before["elsewhere"], after["elsewhere"]),
        }


PADDED = {"chat": 4, "foundation": 8}
"""Audios of a sample in training, by kind (section 1 of the paper's configurations); mini masks what is padded."""


def training_folder(out: Path) -> Path:
    """Where a fine-tuning to ``out`` keeps its files until it is done."""
    return out.with_name(f".{out.name}.training")


def unfinished() -> list[str]:
    """Names of fine-tunings to `own_models.home` that were begun and not finished."""
    found = own_models.home().glob(".*.training/plan.json")
    return sorted(file.parent.name.removeprefix(".").removesuffix(".training") for file in found)


def _has_dialogues(found: Look) -> bool:
    """Whether the data have conversations of their own."""
    return any(item.dialogue for item in found.training)


def _manifest_rows(item: Item, kind: str) -> list[dict[str, Any]]:
    """What the recipe trains on for ``item``: in the form in which a model of that kind will be asked. Mini is asked
    single questions in two forms, on Listen and in a chat."""
    place = {"audio": str(item.file.resolve()), "start": item.start}
    rows: list[dict[str, Any]] = []
    if item.dialogue and kind == "foundation":  # which was not trained on any
        return [_single_row(place, question, answer) for question, answer in item.turns]
    if not item.dialogue and kind != "chat":
        rows += [_single_row(place, question, answer) for question, answer in item.turns]
    if item.dialogue or kind != "foundation":
        rows.append({**place, "turns": [list(turn) for turn in item.turns], "task": prompts.DIALOG})
    return rows


def _single_row(place: dict[str, Any], question: str, answer: str) -> dict[str, Any]:
    asked = prompts.instruction(question, prompts.asks_yes_or_no(question))
    return {**place, "prompt": asked, "answer": answer, "task": prompts.task_of(asked)}


def _whole_mini(folder: Path) -> None:
    """Mini as it ships as a folder for `from_pretrained`, in full precision, so that nothing is rounded twice."""
    from afcore.checkpoints import without_progress_bars
    from afcore.checkpoints.mini import build_mini

    shutil.rmtree(folder, ignore_errors=True)
    model, tokenizer = build_mini(paths.MINI, {}, paths.MINI)
    with without_progress_bars():
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def _lora_layers(base: Base) -> dict[str, Any]:
    """From the first layer that hears on: before it the language model reads the text alone."""
    config = json.loads((base.weights / "config.json").read_text())
    layers = config.get("cross_attn_layers")
    return {"from_layer": min(layers)} if layers else {}


def parameters_of(weights: Path, train: str) -> tuple[int, int]:
    """(all parameters, those that are trained) of a folder of weights, read from the files' heads."""
    from safetensors import safe_open

    from afcore.model import AudioFlamingo

    every = trained = 0
    for file in sorted(weights.glob("model*.safetensors")):
        with safe_open(file, "pt") as content:
            for name in content.keys():  # noqa: SIM118  no dict
                count = 1
                for size in content.get_slice(name).get_shape():
                    count *= size
                every += count
                if train == "full" or AudioFlamingo.is_audio_parameter(name):
                    trained += count
    return every, trained


def memory_needed(every: int, trained: int, half: bool) -> float:
    """Bytes for training, roughly: trained numbers with gradient and moments, the others as they are, and a quarter of
    all that and 1 GB for what is computed on the way."""
    return 1.25 * (trained * _ADAMW + (every - trained) * (2 if half else 4)) + 1e9


def memory_sentence(base: Base, settings: Settings, device: str | None = None) -> str:
    """How much memory training takes and how much there is. Raises BadRequest where that is too little."""
    import psutil

    every, trained = parameters_of(base.weights, settings.train)
    gpu = torch.cuda.is_available() and device != "cpu"
    needed = memory_needed(every, trained, _has_bfloat16(device))
    there = torch.cuda.mem_get_info()[1] if gpu else psutil.virtual_memory().available
    where = "the graphics card" if gpu else "this machine"
    said = (
        f"{every / 1e6:,.0f} million parameters, {trained / 1e6:,.0f} million of them trained"
        f"{' with low-rank updates beside' if settings.train == 'lora' else ''}: about {needed / 1e9:.1f} GB of "
        f"memory, and {where} has {there / 1e9:.1f} GB."
    )
    if needed > there:
        less = "" if settings.train == "lora" else " Training “lora” takes less." if settings.train == "full" else ""
        raise BadRequest(f"{said.rstrip('.')}, which is too little.{less}")
    return said


def _has_bfloat16(device: str | None) -> bool:
    from afcore.engine.precision import cpu_has_bfloat16

    if torch.cuda.is_available() and device != "cpu":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    return cpu_has_bfloat16()


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} minutes"
