"""The model of a config, what of it a stage trains, and the loss: built the same in every process, before anything is
sharded.

Stages hand their weights on as one `safetensors` file with everything that a stage so far has trained (`weights_of`).
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

from afcore.checkpoints import mini, token_ids
from afcore.errors import BadRequest, MissingPart
from afcore.model import AudioFlamingo, AudioFlamingoConfig, lora
from afcore.training.recipe.config import Config, Lora, Stage
from afcore.training.recipe.config import Model as Spec
from afcore.training.recipe.sources import NO_PARTS, AuxiliaryLoss, Parts

WEIGHTS = "weights.safetensors"
ROWS = "new_token_rows."  # keys of the new tokens' embeddings in a weights file
TYPES = "front_end.type_embedding"
AUXILIARY = "auxiliary."  # keys of an auxiliary loss's own parameters there


class NewRows(nn.Module):
    """The embeddings of `<audio>`, `<|endofchunk|>` and `<SEP>` as parameters of their own, since the other rows stay
    frozen in the first stage. `output` only where the head is not tied to the embeddings."""

    def __init__(self, model: AudioFlamingo, input_gradient: bool = True):
        super().__init__()
        config, self.input_gradient = model.config, input_gradient
        self.ids = [config.audio_token_id, config.endofchunk_token_id, config.sep_token_id]
        table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        self.input = nn.Parameter(table.detach()[self.ids].float().clone())
        self.output = None if head is table else nn.Parameter(head.detach()[self.ids].float().clone())

    def embed(self, ids: Tensor, known: Tensor) -> Tensor:
        """`known` (B, T, H), the table's embeddings of ids (B, T), with the new tokens' rows put in."""
        for row, token in zip(self.input if self.input_gradient else self.input.detach(), self.ids, strict=True):
            known = torch.where((ids == token)[..., None], row.to(known.dtype), known)
        return known

    def logits(self, hidden: Tensor, known: Tensor) -> Tensor:
        """`known` (N, V), the head's logits of hidden (N, H), with those of the new tokens put in; float32."""
        rows = self.input if self.output is None else self.output
        index = torch.tensor(self.ids, device=known.device)
        return known.float().index_copy(1, index, F.linear(hidden, rows.to(hidden.dtype)).float())

    @torch.no_grad()
    def write_back(self, model: AudioFlamingo) -> None:
        table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
        table[self.ids] = self.input.to(table.dtype)
        if self.output is not None:
            head[self.ids] = self.output.to(head.dtype)


class AnswerLoss(nn.Module):
    """What is trained: the model, the new tokens' rows where the table of embeddings is frozen, and what an auxiliary
    loss has of its own."""

    def __init__(self, model: AudioFlamingo, rows: NewRows | None, auxiliary: AuxiliaryLoss | None = None):
        super().__init__()
        self.model, self.rows, self.auxiliary = model, rows, auxiliary

    def forward(self, batch: dict[str, Tensor]) -> tuple[Tensor, Tensor]:
        """Summed cross-entropy of each sample's answer tokens (B,) float32, and how many those are (B,)."""
        ids, labels = batch["input_ids"], batch["labels"][:, 1:]
        embeds = self.model.get_input_embeddings()(ids)
        if self.rows is not None:
            embeds = self.rows.embed(ids, embeds)
        hidden = self.model.hidden_states(
            ids,
            batch["attention_mask"],
            batch["audio_embeds"],
            batch["audio_mask"],
            inputs_embeds=embeds,
            use_cache=False,
        ).last_hidden_state
        assert hidden is not None, "a decoder's own output"
        counted = labels != -100
        hidden = hidden[:, :-1][counted]
        logits = self.model.get_output_embeddings()(hidden)
        logits = logits.float() if self.rows is None else self.rows.logits(hidden, logits)
        token = F.cross_entropy(logits, labels[counted], reduction="none")
        return torch.zeros(counted.shape, device=token.device).masked_scatter(counted, token).sum(1), counted.sum(1)


@dataclass
class Built:
    """`inherited`: names, in a weights file's form, of what earlier stages or `model.weights` gave."""

    net: AnswerLoss
    tokenizer: PreTrainedTokenizerBase
    inherited: set[str]

    @property
    def model(self) -> AudioFlamingo:
        return self.net.model


def build(config: Config, stage: Stage, before: Path | None, parts: Parts = NO_PARTS) -> Built:
    """The model ready for `stage`: weights in place, what is not trained frozen, adapters in. `before`: the weights
    file of the stage before. The same seed gives the same model. Raises MissingPart, BadRequest."""
    torch.manual_seed(config.seed)
    model, tokenizer, inherited = base_model(config.model)
    updates: dict[str, Tensor] = {}
    if before is not None:
        inherited = load_weights(model, before)
        updates = stored(before, lora.PREFIX)
    elif config.model.weights is None:
        begin_new_tokens(model, tokenizer, config.model.new_tokens_like)
        if config.model.open_gates:
            open_gates_(model)
    if model.front_end is not None and config.model.converted is None:  # a saved model brings its table along
        names = json.loads((config.model.encoder / "audioset.json").read_text())
        mini.set_names(model, tokenizer, names)
    auxiliary = _auxiliary(model, stage, before, parts)
    rows = NewRows(model, config.model.input_gradient) if stage.train in ("audio", "lora") else None
    _put_adapters(model, stage, updates)
    for name, parameter in model.named_parameters():  # after peft, which freezes all but its own, cross-attention too
        parameter.requires_grad_(_trains(stage, name, auxiliary))
    for parameter in model.parameters():
        half = stage.precision == "bf16" and not parameter.requires_grad
        parameter.data = parameter.data.to(torch.bfloat16 if half else torch.float32)
    if stage.gradient_checkpointing:
        checkpoint_layers(model)
    return Built(AnswerLoss(model, rows, auxiliary), tokenizer, inherited)


def _trains(stage: Stage, name: str, auxiliary: AuxiliaryLoss | None) -> bool:
    """Whether `stage` changes the model's parameter `name`."""
    if stage.train == "auxiliary":
        assert auxiliary is not None, "the config says so"
        return auxiliary.trains(name)
    return (
        stage.train == "all" or AudioFlamingo.is_audio_parameter(name) or (stage.train == "lora" and ".lora_" in name)
    )


def _auxiliary(model: AudioFlamingo, stage: Stage, before: Path | None, parts: Parts) -> AuxiliaryLoss | None:
    """The stage's auxiliary loss, not prepared yet, with what the stage before came to."""
    if stage.auxiliary is None:
        return None
    if stage.auxiliary.loss not in parts.auxiliary:
        raise BadRequest(f"The stage {stage.name} has the auxiliary loss {stage.auxiliary.loss}, which is not known.")
    module = parts.auxiliary[stage.auxiliary.loss](model.config, stage.auxiliary.settings)
    known = stored(before, AUXILIARY) if before is not None else {}
    if known:
        module.load_state_dict({key.removeprefix(AUXILIARY): value for key, value in known.items()})
    return module


def _put_adapters(model: AudioFlamingo, stage: Stage, updates: dict[str, Tensor]) -> None:
    """Low-rank updates for the stage to train, and those that the stage before kept (`updates`), trained on or not."""
    if updates and stage.train != "all" and (stage.train != "lora" or stage.lora.keep):
        ranks = {value.shape[0] for key, value in updates.items() if key.endswith(".A")}
        if stage.train == "lora" and ranks != {stage.lora.rank}:
            raise BadRequest(f"The stage {stage.name} goes on from low-rank updates of another rank than its own.")
        layers = [int(key.split(".")[1]) for key in updates]
        targets = tuple(sorted({key.split(".")[2] for key in updates}))
        rank = max(ranks)
        kept = Lora(rank=rank, alpha=float(rank), targets=targets, from_layer=min(layers))
        add_lora(model, stage.lora if stage.train == "lora" else kept)
        lora.load_(model, updates)
    elif updates:
        raise BadRequest(
            f"The stage {stage.name} goes on from low-rank updates that are kept: it must keep its own too."
        )
    elif stage.train == "lora":
        add_lora(model, stage.lora)


@torch.no_grad()
def begin_new_tokens(model: AudioFlamingo, tokenizer: PreTrainedTokenizerBase, like: tuple[str, ...]) -> None:
    """Lets the embeddings of `<audio>`, `<|endofchunk|>` and `<SEP>` begin as those of the first tokens of the texts
    `like`; without any they stay."""
    config = model.config
    for token, text in zip(
        (config.audio_token_id, config.endofchunk_token_id, config.sep_token_id), like, strict=False
    ):
        known = tokenizer(text, add_special_tokens=False).input_ids[0]
        for table in {model.get_input_embeddings().weight, model.get_output_embeddings().weight}:
            table[token] = table[known]


@torch.no_grad()
def open_gates_(model: AudioFlamingo) -> None:
    """Opens all gates and zeroes what writes into a residual stream: the language model starts undisturbed, as with the
    paper's closed gates, but the gradient reaches the attention from the first step, and the audio transformer starts
    as a layer norm.

    Both matter for so small a model as mini. With closed gates the attention learned nothing in 600 steps. With open
    attention alone, what the answers have in common was learned through the audio transformer, whose last layer came to
    give every clip the same output (standard deviation between clips 0.001 of 0.93 after 500 steps): now the
    feed-forward blocks can learn it.
    """
    ends = ("attn.to_out.weight", "gated_cross_attn_layer.ff.3.weight", "slf_attn.fc.weight", "pos_ffn.w_2.weight")
    for name, parameter in model.named_parameters():
        if name.endswith("_gate"):
            parameter.fill_(1.0)
        elif name.endswith((*ends, "pos_ffn.w_2.bias")):
            parameter.zero_()


def base_model(spec: Spec) -> tuple[AudioFlamingo, PreTrainedTokenizerBase, set[str]]:
    """(model, tokenizer, names of parameters that were trained before) as the config names them, float32."""
    if spec.converted:
        from afcore.published.converted import load_flamingo

        model = load_flamingo(spec.converted, dtype=torch.float32)
        tokenizer = AutoTokenizer.from_pretrained(spec.converted, local_files_only=True)
        return model, tokenizer, set() if spec.weights is None else load_weights(model, spec.weights / WEIGHTS)
    assert spec.language_model is not None, "the config names either"
    folder = mini.language_model_folder() if spec.language_model == "mini" else spec.language_model
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder)
        language_model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)
    except (OSError, ValueError) as error:
        why = str(error).splitlines()[0].rstrip(".")
        raise MissingPart(f"The language model {folder} cannot be loaded: {why}.") from error
    old = _table(language_model).detach().mean(0)
    fresh = [token for token in mini.NEW_TOKENS if token not in tokenizer.get_vocab()]
    tokenizer.add_special_tokens({"extra_special_tokens": list(mini.NEW_TOKENS)}, replace_extra_special_tokens=False)
    if _table(language_model).shape[0] != len(tokenizer):
        language_model.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    if fresh:  # the mean of all tokens, near which an untrained token is least in the way
        with torch.no_grad():
            for table in {_table(language_model), language_model.get_output_embeddings().weight}:
                table[tokenizer.convert_tokens_to_ids(fresh)] = old if table.shape[1] == len(old) else table.mean(0)
    model = AudioFlamingo(_settings(spec, language_model, tokenizer), language_model)
    if spec.weights is None:
        return model, tokenizer, set()
    if (spec.weights / WEIGHTS).exists():
        return model, tokenizer, load_weights(model, spec.weights / WEIGHTS)
    mini.load_trained(model, spec.weights)
    with safe_open(spec.weights / "flamingo.safetensors", "pt") as file:
        names = list(file.keys())
        low_rank = [key.removeprefix(lora.PREFIX).split(".")[:2] for key in names if key.startswith(lora.PREFIX)]
    adapted = [rf"\.layers\.{layer}\.decoder_layer\..*\b{name}\.weight" for layer, name in low_rank]
    trained = {
        name
        for name, _ in model.named_parameters()
        if AudioFlamingo.is_audio_parameter(name) or any(re.search(pattern, name) for pattern in adapted)
    }
    return model, tokenizer, trained | {ROWS + "input"}


def _table(language_model: PreTrainedModel) -> nn.Parameter:
    """Its tokens' embeddings, (tokens, H)."""
    return language_model.get_input_embeddings().get_parameter("weight")


def _settings(spec: Spec, language_model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> AudioFlamingoConfig:
    text = language_model.config.to_dict()
    audio, eoc, sep = token_ids(tokenizer, mini.NEW_TOKENS)
    if spec.language_model == "mini":
        tags = len(json.loads((spec.encoder / "audioset.json").read_text()))
        stored = spec.weights if spec.weights and (spec.weights / "config.json").exists() else None
        return AudioFlamingoConfig(text_config=text, **mini.config_settings(spec.settings, stored, tokenizer, tags))
    try:
        return AudioFlamingoConfig(
            text_config=text, audio_token_id=audio, endofchunk_token_id=eoc, sep_token_id=sep, **spec.settings
        )
    except (TypeError, ValueError) as error:
        raise BadRequest(f"The model's settings do not fit: {error}") from error


def add_lora(model: AudioFlamingo, settings: Lora) -> None:
    """peft's low-rank updates at the language model's own layers. Raises BadRequest where no layer is called so."""
    from peft import LoraConfig, inject_adapter_in_model

    layers = range(settings.from_layer, model.config.text_config.num_hidden_layers)
    numbers = rf"({'|'.join(map(str, layers))})" if settings.from_layer else r"\d+"
    wanted = rf".*\.{numbers}\.decoder_layer\.(.*\.)?({'|'.join(map(re.escape, settings.targets))})"
    if not any(re.fullmatch(wanted, name) for name, _ in model.language_model.named_modules()):
        raise BadRequest(f"The language model has no layers called {', '.join(settings.targets)} for LoRA.")
    adapters = LoraConfig(
        r=settings.rank,
        lora_alpha=settings.alpha,  # type: ignore[arg-type]  # any number: peft divides it by the rank
        lora_dropout=settings.dropout,
        target_modules=wanted,
    )
    inject_adapter_in_model(adapters, model.language_model)


def merge_lora(model: AudioFlamingo) -> set[str]:
    """Adds the updates into the weights they belong to and takes the adapters out; returns those weights' names."""
    from peft.tuners.tuners_utils import BaseTunerLayer

    adapted = [(name, module) for name, module in model.named_modules() if isinstance(module, BaseTunerLayer)]
    for name, module in adapted:
        module.merge()
        parent, _, attribute = name.rpartition(".")
        setattr(model.get_submodule(parent), attribute, module.get_base_layer())
    return {plain_name(f"{name}.weight") for name, _ in adapted}


def checkpoint_layers(model: AudioFlamingo) -> None:
    """Each decoder layer, with its cross-attention, is computed a second time in the backward pass instead of being
    remembered."""
    from torch.distributed.algorithms._checkpoint.checkpoint_wrapper import checkpoint_wrapper

    from afcore.model.flamingo import decoder_layers

    layers = decoder_layers(model.language_model)
    for i, layer in enumerate(layers):
        layers[i] = checkpoint_wrapper(layer)


def plain_name(name: str) -> str:
    """A parameter's name without what gradient checkpointing puts in."""
    return name.replace("_checkpoint_wrapped_module.", "")


def load_weights(model: AudioFlamingo, file: Path) -> set[str]:
    """Fills the model from a weights file and returns the names in it. Raises MissingPart for a file that is absent or
    does not fit."""
    from safetensors.torch import load_file

    if not file.is_file():
        raise MissingPart(f"There are no weights in {file}.")
    state = load_file(file)
    names = set(state)
    for key in [key for key in state if key.startswith((lora.PREFIX, AUXILIARY))]:  # for `build` to place
        state.pop(key)
    rows = {key: state.pop(key) for key in list(state) if key.startswith(ROWS)}
    known = {plain_name(name): p for name, p in model.named_parameters()}
    wrong = [key for key, value in state.items() if key not in known or known[key].shape != value.shape]
    if wrong:
        raise MissingPart(f"The weights {file} do not fit this model ({wrong[0]}).")
    with torch.no_grad():
        for key, value in state.items():
            known[key].copy_(value)
        ids = [model.config.audio_token_id, model.config.endofchunk_token_id, model.config.sep_token_id]
        if ROWS + "input" in rows:
            model.get_input_embeddings().weight[ids] = rows[ROWS + "input"]
        if ROWS + "output" in rows:
            model.get_output_embeddings().weight[ids] = rows[ROWS + "output"]
    return names


def from_mini(folder: Path) -> dict[str, Tensor]:
    """The content of a weights file that a stage can begin with, from mini's files as they ship: its low-rank updates
    stay apart, so that they are trained on. Raises MissingPart where there are none."""
    state = mini.read_trained(folder)
    state[ROWS + "input"] = state.pop(mini.NEW_ROWS)
    state[TYPES] = more_tags(state[TYPES], 2 + mini.DEFAULTS["tag_tokens"])
    return {key: value.contiguous() for key, value in state.items()}


def more_tags(types: Tensor, tokens: int) -> Tensor:
    """The front end's vectors (T, D) of which token of a window is which, for `tokens` a window: weaker tags than
    those that were read before begin as the weakest of them. (tokens, D)."""
    return torch.cat([types, types[-1:].expand(max(0, tokens - len(types)), -1)])


def stored(file: Path, prefix: str) -> dict[str, Tensor]:
    """Those values of a weights file whose keys begin with `prefix`."""
    with safe_open(file, "pt") as content:
        names = list(content.keys())
        return {key: content.get_tensor(key) for key in names if key.startswith(prefix)}


def weights_of(net: AnswerLoss, names: set[str]) -> dict[str, Tensor]:
    """The weights file's content: the parameters `names`, the new tokens' rows unless the whole table is among them,
    the low-rank updates that are still apart, and what an auxiliary loss has of its own."""
    model = net.model
    parameters = {plain_name(name): p for name, p in model.named_parameters()}
    plain = {key.replace(".base_layer.", "."): value for key, value in parameters.items()}
    state = {key: value.detach().float().cpu().contiguous() for key, value in plain.items() if key in names}
    ids = [model.config.audio_token_id, model.config.endofchunk_token_id, model.config.sep_token_id]
    table, head = model.get_input_embeddings().weight, model.get_output_embeddings().weight
    for key, weight in {"input": table, "output": head}.items():
        if (key == "input" or head is not table) and not any(weight is p for n, p in parameters.items() if n in names):
            state[ROWS + key] = weight.detach()[ids].float().cpu().contiguous()
    state |= {key: value.float().cpu().contiguous() for key, value in lora.updates(model).items()}
    if net.auxiliary is not None:
        own = net.auxiliary.state_dict()
        state |= {AUXILIARY + key: value.detach().float().cpu().contiguous() for key, value in own.items()}
    return state
