"""The config file: JSON, checked against a schema, paths and defaults filled in.

A path is taken from the folder of the config file; `${ASSETS}`, `${DATA}`, `${MINI}` and `${WORK}` in it stand for
`afcore.paths.ASSETS`, `afcore.paths.DATA`, mini's own folder and the folder given with `--work`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from string import Template

from jsonschema import Draft202012Validator
from jsonschema.exceptions import best_match

from afcore import paths
from afcore.errors import BadRequest
from afcore.hashing import sha256_of
from afcore.model.lora import PROJECTIONS
from afcore.prompts import MARKS

FORMS = {"manifest": ("", "knn", "random"), "clips": ("", "shots", "dialogues"), "spoken": ("", "shots", "dialogues")}
"""What a stage's mix may name after a dataset's colon, by where the dataset comes from."""

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
class Disturbance:
    """What training does to features, each time anew: `dropout`, the share of the embedding's values that are set to 0;
    `without_tags`, the share of sounds whose tags are hidden, for encoders that give tags."""

    dropout: float = 0.0
    without_tags: float = 0.0


@dataclass(frozen=True)
class Data:
    """One dataset: a `manifest`, or `clips`, a folder with described clips and their features (`afcore.corpus.clips`),
    or `spoken`, such a folder with what is true of each clip (`afcore.corpus.spoken`), of which is told in sentences;
    `sentences`: a file with people's own.

    `prompt`, `task`: stand in for those of the manifest. `labels`: what "options" lists, by default the manifest's
    distinct answers. `augmentations`: which, with what probability. `prefix`: how often the task is named.
    `most_windows`: of a sound that has more, so many in a row are heard, by default all; `disturb`: see
    `Disturbance`."""

    name: str
    manifest: Path | None
    root: Path | None
    prompt: str | None = None
    task: str | None = None
    labels: tuple[str, ...] = ()
    augmentations: dict[str, float] = field(default_factory=lambda: {"as_is": 1.0})
    prefix: float = 1.0
    clips: Path | None = None
    spoken: Path | None = None
    sentences: Path | None = None
    most_windows: int | None = None
    disturb: Disturbance = Disturbance()

    @property
    def kind(self) -> str:
        """A key of `FORMS`."""
        return "manifest" if self.manifest else "clips" if self.clips else "spoken"


@dataclass(frozen=True)
class Model:
    """`language_model`: a folder (or name on the hub) for `AutoModelForCausalLM`, or "mini"; or `converted`: a folder
    that the published weights were converted to. `settings`: of `AudioFlamingoConfig`. `weights`: a folder to start
    from. `encoder`: mini's folder or a ClapCap file; `clap`: mini's folder or a LAION-CLAP file, by default where
    `encoder` is."""

    marks: str
    encoder: Path
    language_model: str | None = None
    converted: Path | None = None
    settings: dict = field(default_factory=dict)
    weights: Path | None = None
    clap: Path | None = None
    input_gradient: bool = True
    """Whether the new tokens' embeddings learn from the input side too, which must then pass every layer below the
    first cross-attention: half as much work again for mini."""
    open_gates: bool = False
    """Gates open and outputs zero at the start, which so small a model as mini needs
    (`afcore.training.recipe.network.open_gates_`)."""
    new_tokens_like: tuple[str, ...] = ()
    """Texts of one token each, with whose embeddings `<audio>`, `<|endofchunk|>` and `<SEP>` begin; by default with the
    mean of all tokens, where the tokenizer lacks them."""


@dataclass(frozen=True)
class Lora:
    """Low-rank updates of the linear maps `targets` of the decoder layers from number `from_layer` on. `keep`: the
    stage hands the updates on as they are, and the next one trains them further or leaves them as they are; by default
    they are added into the weights at its end."""

    rank: int = 16
    alpha: float = 16.0
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "out_proj", "o_proj")
    from_layer: int = 0
    keep: bool = False


@dataclass(frozen=True)
class Auxiliary:
    """A loss beside that of the answers, of the kind `loss`, over the sounds of the dataset `data`, multiplied by
    `weight`. `settings`: what its kind takes besides."""

    loss: str
    data: str
    weight: float = 1.0
    settings: dict = field(default_factory=dict)


@dataclass(frozen=True)
class Stage:
    """One stage. `batch`: samples per optimiser step over all processes; `micro_batch`: of one forward pass. `mix`:
    weight per dataset, the samples of one epoch being weight × its size; "NAME:knn" and "NAME:random" are its
    interleaved forms, with a number of shots drawn from `shots`; of clips, "NAME:shots" and "NAME:dialogues".
    `epoch_share`: all weights are multiplied by it, so that epochs are short ("virtual"). `audio_share`: of the
    learning rate, for what comes before the cross-attention. `sort_by_length`: the samples of a step are divided into
    micro-batches by their length, which saves padding. `train`: "auxiliary" is what the auxiliary loss alone trains,
    and its `mix` is empty."""

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
    betas: tuple[float, float] = (0.9, 0.999)
    audio_share: float = 1.0
    sort_by_length: bool = False
    auxiliary: Auxiliary | None = None
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
    """`items` rows of the dataset `data`, each with its answer among `options` answers; of clips, such as are set aside
    for validation."""

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
_BELOW_ONE = {"type": "number", "minimum": 0, "exclusiveMaximum": 1}
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
                "new_tokens_like": {"type": "array", "items": _TEXT, "minItems": 3, "maxItems": 3},
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
                    "clips": _TEXT,
                    "spoken": _TEXT,
                    "sentences": _TEXT,
                    "most_windows": _COUNT,
                    "disturb": _object({"dropout": _BELOW_ONE, "without_tags": _SHARE}),
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
                }
            )
            | {"oneOf": [{"required": ["manifest"]}, {"required": ["clips"]}, {"required": ["spoken"]}]},
        },
        "held_out": _object({"data": _TEXT, "items": _COUNT, "options": {"type": "integer", "minimum": 2}}, ("data",)),
        "stages": {
            "type": "array",
            "minItems": 1,
            "items": _object(
                {
                    "name": {"type": "string", "pattern": "^[A-Za-z0-9_-]+$"},
                    "train": {"enum": ["audio", "all", "lora", "auxiliary"]},
                    "lr": _POSITIVE,
                    "batch": _COUNT,
                    "mix": {"type": "object", "additionalProperties": _POSITIVE},
                    "epochs": _POSITIVE,
                    "steps": _COUNT,
                    "epoch_share": _POSITIVE,
                    "micro_batch": _COUNT,
                    "schedule": {"enum": ["constant", "cosine"]},
                    "warmup": {"type": "integer", "minimum": 0},
                    "weight_decay": {"type": "number", "minimum": 0},
                    "clip": _POSITIVE,
                    "betas": {"type": "array", "items": _BELOW_ONE, "minItems": 2, "maxItems": 2},
                    "audio_share": _POSITIVE,
                    "sort_by_length": {"type": "boolean"},
                    "auxiliary": _object(
                        {"loss": _TEXT, "data": _TEXT, "weight": _POSITIVE, "settings": {"type": "object"}},
                        ("loss", "data"),
                    ),
                    "precision": {"enum": ["fp32", "bf16"]},
                    "gradient_checkpointing": {"type": "boolean"},
                    "pad_audios_to": _COUNT,
                    "shots": {"type": "array", "items": _COUNT, "minItems": 1},
                    "max_tokens": {"type": "integer", "minimum": 16},
                    "lora": _object(
                        {
                            "rank": _COUNT,
                            "alpha": _POSITIVE,
                            "dropout": _SHARE,
                            "targets": _TEXTS,
                            "from_layer": {"type": "integer", "minimum": 0},
                            "keep": {"type": "boolean"},
                        }
                    ),
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


def load(file: str | Path, work: str | Path = "work", mini: Path = paths.MINI) -> Config:
    """Reads and checks a config file; `work` is where the run keeps its files, `mini` where mini's own are. Raises
    BadRequest, one sentence."""
    file, work = Path(file).resolve(), Path(work).resolve()
    try:
        content = json.loads(file.read_text())
    except OSError as error:
        raise BadRequest(f"The config {file} cannot be opened: {error.strerror}.") from error
    except ValueError as error:
        raise BadRequest(f"The config {file.name} is not JSON: {error}.") from error
    check(content, SCHEMA, f"The config {file.name}")
    places = {"ASSETS": str(paths.ASSETS), "DATA": str(paths.DATA), "MINI": str(mini.resolve()), "WORK": str(work)}

    def path(text: str) -> Path:
        try:
            return (file.parent / Template(text).substitute(places)).resolve()
        except (KeyError, ValueError) as error:
            raise BadRequest(
                f"The path “{text}” in {file.name} has a name in it that is not ${{ASSETS}}, ${{DATA}}, ${{MINI}} or "
                "${WORK}."
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
    if "new_tokens_like" in model:
        model["new_tokens_like"] = tuple(model["new_tokens_like"])
    data = {}
    for name, entry in content["data"].items():
        of_manifest = {"prompt", "task", "labels", "prefix", "augmentations", "root"} & entry.keys()
        if "manifest" not in entry and of_manifest:
            raise BadRequest(f"In {file.name} {name} is of clips, which take no {', '.join(sorted(of_manifest))}.")
        manifest = path(entry["manifest"]) if "manifest" in entry else None
        root = path(entry["root"]) if "root" in entry else manifest and manifest.parent
        data[name] = Data(
            **{
                **entry,
                "name": name,
                "manifest": manifest,
                **{name: path(entry[name]) if name in entry else None for name in ("clips", "spoken", "sentences")},
                "labels": tuple(entry.get("labels", ())),
                "disturb": Disturbance(**entry.get("disturb", {})),
                "root": root,
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
    mixed = {key.partition(":")[0] for stage in stages for key in stage.mix}
    beside = {stage.auxiliary.data for stage in stages if stage.auxiliary}
    named = mixed | beside | ({held_out.data} if held_out else set())
    for name in sorted(named - data.keys()):
        raise BadRequest(f"The config {file.name} uses the dataset {name}, which its “data” does not describe.")
    for stage in stages:
        for key in stage.mix:
            name, _, form = key.partition(":")
            if form not in FORMS[data[name].kind]:
                forms = " and ".join(f"“:{form}”" for form in FORMS[data[name].kind] if form)
                raise BadRequest(
                    f"The stage {stage.name} of {file.name} mixes {key}, but a dataset's forms are called {forms}."
                )
    if any(stage.held_out_every and stage.mix for stage in stages) and not held_out:
        raise BadRequest(f"A stage of {file.name} has a held_out_every, but the config does not say what is held out.")
    if held_out and held_out.data in mixed and data[held_out.data].kind == "manifest":  # of clips, others are held out
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
        lora = entry["lora"]
        entry["lora"] = Lora(**{**lora, **({"targets": tuple(lora["targets"])} if "targets" in lora else {})})
    if "auxiliary" in entry:
        entry["auxiliary"] = Auxiliary(**entry["auxiliary"])
    for name in ("shots", "betas"):
        if name in entry:
            entry[name] = tuple(entry[name])
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
    if stage.train == "auxiliary" and (stage.mix or stage.auxiliary is None or stage.steps is None):
        raise BadRequest(f"{where} trains by an auxiliary loss: it must name one, and steps, and mix nothing.")
    if stage.train != "auxiliary" and not stage.mix:
        raise BadRequest(f"{where} mixes no dataset.")
    if stage.lora.keep and not set(stage.lora.targets) <= set(PROJECTIONS):
        raise BadRequest(f"{where} keeps its low-rank updates, which only {', '.join(PROJECTIONS)} can have.")
    for key in stage.mix:
        if ":" in key and stage.pad_audios_to and max(stage.shots) + 1 > stage.pad_audios_to:
            raise BadRequest(
                f"{where} has {max(stage.shots)} shots and a query, more than the {stage.pad_audios_to} audios "
                "that it pads to."
            )
    return stage


def check(content: object, schema: dict, what: str) -> None:
    """Raises BadRequest with the place and the fault where `content` does not fit `schema`."""
    error = best_match(Draft202012Validator(schema).iter_errors(content))
    if error is not None:
        place = ".".join(map(str, error.absolute_path))
        rule = f"{error.validator} {json.dumps(error.validator_value)[:150]} is not met"
        message = error.message if len(error.message) < 200 else rule
        raise BadRequest(f"{what} is not right{f' at {place}' if place else ''}: {message}.")


def fingerprint(stage: Stage, sizes: dict[str, int], seed: int, *more: object) -> str:
    """Changes with everything that decides which samples come when, or what a step does; not with how often it logs,
    nor with how a batch is divided. `more`: whatever else JSON can hold."""
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
    return sha256_of(json.dumps([settings, sizes, seed, *more], sort_keys=True))[:16]
