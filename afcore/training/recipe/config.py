"""The config file: JSON, checked against a schema, paths and defaults filled in.

A path is taken from the folder of the config file; `${ASSETS}`, `${DATA}` and `${WORK}` in it stand for
`afcore.paths.ASSETS`, `afcore.paths.DATA` and the folder given with `--work`."""

from __future__ import annotations

import hashlib
import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from string import Template

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from afcore import paths
from afcore.errors import BadRequest
from afcore.prompts import MARKS

AUGMENTATIONS = (
    "as_is",
    "options",
    "some_options",
    "yes_no",
    "count_labels",
    "alphabetic",
    "sentence",
    "length",
    "paragraph",
)
"""What can be made of a row's prompt and answer; see `afcore.training.recipe.texts`."""


@dataclass(frozen=True)
class Data:
    """One dataset. `prompt`, `task`: stand in for those of the manifest. `labels`: what "options" lists, by default the
    manifest's distinct answers. `augmentations`: which, with what probability. `prefix`: how often the task is named."""

    name: str
    manifest: Path
    root: Path
    prompt: str | None = None
    task: str | None = None
    labels: tuple[str, ...] = ()
    augmentations: dict[str, float] = field(default_factory=lambda: {"as_is": 1.0})
    prefix: float = 1.0


@dataclass(frozen=True)
class Model:
    """`language_model`: a folder (or name on the hub) for `AutoModelForCausalLM`, or "mini"; or `converted`: a folder
    that the published weights were converted to. `settings`: of `AudioFlamingoConfig`. `weights`: a folder to start from.
    `encoder`: mini's folder or a ClapCap file; `clap`: mini's folder or a LAION-CLAP file, by default where `encoder` is."""

    marks: str
    encoder: Path
    language_model: str | None = None
    converted: Path | None = None
    settings: dict = field(default_factory=dict)
    weights: Path | None = None
    clap: Path | None = None
    input_gradient: bool = True
    """Whether the new tokens' embeddings learn from the input side too, which must then pass every layer below the first
    cross-attention: half as much work again for mini."""
    open_gates: bool = False
    """Gates open and outputs zero at the start, which so small a model as mini needs
    (`afcore.training.mini.language_side.open_gates_`)."""


@dataclass(frozen=True)
class Lora:
    """Low-rank updates of the decoder layers' linear maps `targets`."""

    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "out_proj", "o_proj")


@dataclass(frozen=True)
class Stage:
    """One stage. `batch`: samples per optimiser step over all processes; `micro_batch`: of one forward pass. `mix`:
    weight per dataset, the samples of one epoch being weight × its size; "NAME:knn" and "NAME:random" are its interleaved
    forms, with a number of shots drawn from `shots`. `epoch_share`: all weights are multiplied by it, so that epochs are
    short ("virtual")."""

    name: str
    train: str
    lr: float
    batch: int
    mix: dict[str, float]
    epochs: float | None = None
    steps: int | None = None
    epoch_share: float = 1.0
    micro_batch: int = 1
    schedule: str = "constant"
    warmup: int = 0
    weight_decay: float = 0.1
    clip: float = 1.0
    precision: str = "fp32"
    gradient_checkpointing: bool = False
    pad_audios_to: int | None = None
    shots: tuple[int, ...] = (3,)
    max_tokens: int = 512
    lora: Lora = Lora()
    log_every: int = 10
    checkpoint_every: int = 500
    held_out_every: int = 0


@dataclass(frozen=True)
class HeldOut:
    """`items` rows of the dataset `data`, each with its answer among `options` answers."""

    data: str
    items: int = 60
    options: int = 10


@dataclass(frozen=True)
class Config:
    file: Path
    work: Path
    model: Model
    data: dict[str, Data]
    stages: tuple[Stage, ...]
    held_out: HeldOut | None
    dialogues: dict | None
    cache: Path
    seed: int = 0
    device: str | None = None
    """Device type, by default CUDA where there is one."""


_SHARE = {"type": "number", "minimum": 0, "maximum": 1}
_POSITIVE = {"type": "number", "exclusiveMinimum": 0}
_COUNT = {"type": "integer", "minimum": 1}
_TEXT = {"type": "string", "minLength": 1}
_TEXTS = {"type": "array", "items": _TEXT}


def _object(properties: dict, required: tuple = ()) -> dict:
    return {"type": "object", "properties": properties, "required": list(required), "additionalProperties": False}


SCHEMA = _object(
    {
        "comment": {"type": ["string", "array"]},
        "seed": {"type": "integer", "minimum": 0},
        "device": {"enum": ["cpu", "cuda"]},
        "cache": _TEXT,
        "model": _object(
            {
                "marks": {"enum": sorted(MARKS)},
                "language_model": _TEXT,
                "converted": _TEXT,
                "settings": {"type": "object"},
                "weights": _TEXT,
                "encoder": _TEXT,
                "clap": _TEXT,
                "open_gates": {"type": "boolean"},
                "input_gradient": {"type": "boolean"},
            },
            ("marks", "encoder"),
        ),
        "data": {
            "type": "object",
            "minProperties": 1,
            "propertyNames": {"pattern": "^[^:]+$"},
            "additionalProperties": _object(
                {
                    "manifest": _TEXT,
                    "root": _TEXT,
                    "prompt": _TEXT,
                    "task": _TEXT,
                    "labels": _TEXTS,
                    "prefix": _SHARE,
                    "augmentations": {
                        "type": "object",
                        "propertyNames": {"enum": list(AUGMENTATIONS)},
                        "minProperties": 1,
                        "additionalProperties": _SHARE,
                    },
                },
                ("manifest",),
            ),
        },
        "held_out": _object({"data": _TEXT, "items": _COUNT, "options": {"type": "integer", "minimum": 2}}, ("data",)),
        "stages": {
            "type": "array",
            "minItems": 1,
            "items": _object(
                {
                    "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
                    "train": {"enum": ["audio", "all", "lora"]},
                    "lr": _POSITIVE,
                    "batch": _COUNT,
                    "mix": {"type": "object", "minProperties": 1, "additionalProperties": _POSITIVE},
                    "epochs": _POSITIVE,
                    "steps": _COUNT,
                    "epoch_share": _POSITIVE,
                    "micro_batch": _COUNT,
                    "schedule": {"enum": ["constant", "cosine"]},
                    "warmup": {"type": "integer", "minimum": 0},
                    "weight_decay": {"type": "number", "minimum": 0},
                    "clip": _POSITIVE,
                    "precision": {"enum": ["fp32", "bf16"]},
                    "gradient_checkpointing": {"type": "boolean"},
                    "pad_audios_to": _COUNT,
                    "shots": {"type": "array", "items": _COUNT, "minItems": 1},
                    "max_tokens": {"type": "integer", "minimum": 16},
                    "lora": _object({"rank": _COUNT, "alpha": _POSITIVE, "dropout": _SHARE, "targets": _TEXTS}),
                    "log_every": _COUNT,
                    "checkpoint_every": _COUNT,
                    "held_out_every": {"type": "integer", "minimum": 0},
                },
                ("name", "train", "lr", "batch", "mix"),
            ),
        },
        "dialogues": _object(
            {
                "facts": _TEXT,
                "out": _TEXT,
                "root": _TEXT,
                "maker": {"enum": ["templates", "language model"]},
                "address": _TEXT,
                "name": _TEXT,
                "key_variable": _TEXT,
                "most_turns": {"type": "integer", "minimum": 1, "maximum": 8},
                "similarity": {"type": "number"},
                "refused": _TEXTS,
            },
            ("facts", "out"),
        ),
    },
    ("model", "data", "stages"),
)


def load(file: str | Path, work: str | Path = "work") -> Config:
    """Reads and checks a config file; `work` is where the run keeps its files. Raises BadRequest, one sentence."""
    file, work = Path(file).resolve(), Path(work).resolve()
    try:
        content = json.loads(file.read_text())
    except OSError as error:
        raise BadRequest(f"The config {file} cannot be opened: {error.strerror}.") from error
    except ValueError as error:
        raise BadRequest(f"The config {file.name} is not JSON: {error}.") from error
    check(content, SCHEMA, f"The config {file.name}")
    places = {"ASSETS": str(paths.ASSETS), "DATA": str(paths.DATA), "WORK": str(work)}

    def path(text: str) -> Path:
        try:
            return (file.parent / Template(text).substitute(places)).resolve()
        except (KeyError, ValueError) as error:
            raise BadRequest(
                f"The path “{text}” in {file.name} has a name in it that is not ${{ASSETS}}, ${{DATA}} or ${{WORK}}."
            ) from error

    model = dict(content["model"])
    for name in ("converted", "weights", "encoder", "clap"):
        if name in model:
            model[name] = path(model[name])
    if ("language_model" in model) == ("converted" in model):
        raise BadRequest(f"The config {file.name} must name either model.language_model or model.converted.")
    if "language_model" in model and model["language_model"] != "mini":
        local = path(model["language_model"])
        if local.is_dir():
            model["language_model"] = str(local)
    data = {}
    for name, entry in content["data"].items():
        manifest = path(entry["manifest"])
        data[name] = Data(
            **{
                **entry,
                "name": name,
                "manifest": manifest,
                "labels": tuple(entry.get("labels", ())),
                "root": path(entry["root"]) if "root" in entry else manifest.parent,
            }
        )
        total = sum(data[name].augmentations.values())
        if abs(total - 1) > 1e-6:
            raise BadRequest(
                f"In {file.name} the augmentations of {name} have probabilities that sum to {total:g}, not 1."
            )
    stages = tuple(_stage(entry, file) for entry in content["stages"])
    if len({stage.name for stage in stages}) < len(stages):
        raise BadRequest(f"Two stages of {file.name} have one name.")
    dialogues = content.get("dialogues")
    if dialogues:
        dialogues = dialogues | {name: path(dialogues[name]) for name in ("facts", "out", "root") if name in dialogues}
    held_out = HeldOut(**content["held_out"]) if "held_out" in content else None
    named = {key.partition(":")[0] for stage in stages for key in stage.mix} | ({held_out.data} if held_out else set())
    for name in sorted(named - data.keys()):
        raise BadRequest(f"The config {file.name} uses the dataset {name}, which its “data” does not describe.")
    if any(stage.held_out_every for stage in stages) and not held_out:
        raise BadRequest(f"A stage of {file.name} has a held_out_every, but the config does not say what is held out.")
    if held_out and any(key.partition(":")[0] == held_out.data for stage in stages for key in stage.mix):
        raise BadRequest(f"The config {file.name} trains on {held_out.data}, which it holds out.")
    return Config(
        file,
        work,
        Model(**model),
        data,
        stages,
        held_out,
        dialogues,
        path(content.get("cache", "${WORK}/cache")),
        content.get("seed", 0),
        content.get("device"),
    )


def _stage(entry: dict, file: Path) -> Stage:
    entry = dict(entry)
    if "lora" in entry:
        entry["lora"] = Lora(
            **{**entry["lora"], **({"targets": tuple(entry["lora"]["targets"])} if "targets" in entry["lora"] else {})}
        )
    if "shots" in entry:
        entry["shots"] = tuple(entry["shots"])
    stage = Stage(**entry)
    where = f"The stage {stage.name} of {file.name}"
    if (stage.epochs is None) == (stage.steps is None):
        raise BadRequest(f"{where} must say either how many epochs or how many steps.")
    if stage.batch % stage.micro_batch:
        raise BadRequest(
            f"{where} has a batch of {stage.batch}, which micro-batches of {stage.micro_batch} do not make up."
        )
    for every in ("checkpoint_every", "held_out_every"):
        if getattr(stage, every) % stage.log_every:
            raise BadRequest(
                f"{where} has a {every} of {getattr(stage, every)}, which is no multiple of its log_every of "
                f"{stage.log_every}."
            )
    for key in stage.mix:
        if key.partition(":")[2] not in ("", "knn", "random"):
            raise BadRequest(f"{where} mixes {key}, but a dataset's interleaved forms are called “:knn” and “:random”.")
        if ":" in key and stage.pad_audios_to and max(stage.shots) + 1 > stage.pad_audios_to:
            raise BadRequest(
                f"{where} has {max(stage.shots)} shots and a query, more than the {stage.pad_audios_to} audios "
                "that it pads to."
            )
    return stage


def check(content, schema: dict, what: str) -> None:
    """Raises BadRequest with the place and the fault where `content` does not fit `schema`."""
    error = best_match(Draft202012Validator(schema).iter_errors(content))
    if error is not None:
        place = ".".join(map(str, error.absolute_path))
        rule = f"{error.validator} {json.dumps(error.validator_value)[:150]} is not met"
        message = error.message if len(error.message) < 200 else rule
        raise BadRequest(f"{what} is not right{f' at {place}' if place else ''}: {message}.")


def fingerprint(stage: Stage, sizes: dict[str, int], seed: int, *more) -> str:
    """Changes with everything that decides which samples come when, or what a step does; not with how often it logs, nor
    with how a batch is divided. `more`: whatever else JSON can hold."""
    settings = asdict(stage)
    for name in (
        "log_every",
        "checkpoint_every",
        "held_out_every",
        "micro_batch",
        "gradient_checkpointing",
        "epochs",
        "steps",
    ):
        settings.pop(name)
    return hashlib.sha256(json.dumps([settings, sizes, seed, *more], sort_keys=True).encode()).hexdigest()[:16]
