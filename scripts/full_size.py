"""The published model rehearsed at its full size, with made-up weights: made, converted, loaded, asked, measured.

    python scripts/full_size.py --work DIR            2.2 B parameters: 23 GB of disk, gone again at the end
    python scripts/full_size.py --work DIR --layers 1 --sparse      the same in small, in a minute

Every step runs in a process of its own, whose memory is looked at 50 times a second. Anonymous memory
(RssAnon) is what a process cannot give back; the rest of RSS is pages of mapped files, which the system
takes away when it needs them. DIR/full-size.json keeps what is printed."""

from __future__ import annotations

import argparse
import itertools
import json
import math
import multiprocessing
import os
import re
import resource
import runpy
import shutil
import statistics
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

REPOSITORY = Path(__file__).resolve().parent.parent
GOLDEN = REPOSITORY / "tests" / "golden"
KEYS = GOLDEN / "audio-flamingo-2.2b.keys.json"
KINDS = "foundation", "chat"
EXCHANGED = "mini", "audio-flamingo-chat", "mini", "audio-flamingo-foundation", "mini"
DOWNLOADS = "chat.pt", "clapcap_weights_2023.pth", "opt"
MOST_CONVERTING = 3e9  # bytes of anonymous memory
LAYER = re.compile(r"lang_encoder\.(?:model\.decoder\.layers|old_decoder_blocks|gated_cross_attn_layers)\.(\d+)\.")
SPARSE_ABOVE = 1 << 16  # values: larger tensors stay zero with --sparse
QUESTION = "What is happening here?"
SECONDS = 33.25  # of the sound that is asked about: 16 windows
TONES = {"hum": 120, "horn": 440, "whistle": 900}  # Hz; the three shots
SHOT_SECONDS = 10.0


def make(work: Path, layers: int, sparse: bool) -> dict:
    """The `DOWNLOADS`, with weights by the rule of the golden numbers."""
    import torch

    from afcore.checkpoints.files import require_space
    from afcore.checkpoints.synthetic import write_opt, write_published

    rule = runpy.run_path(str(GOLDEN / "fill.py"))

    def wanted(key: str) -> bool:
        layer = LAYER.match(key)
        return layer is None or int(layer[1]) < layers

    def values(key: str, shape: tuple[int, ...]) -> np.ndarray | None:
        return None if sparse and math.prod(shape) > SPARSE_ABOVE else rule["fill"](key, shape)

    size = sum(4 * math.prod(entry["shape"]) for key, entry in json.loads(KEYS.read_text()).items() if wanted(key))
    require_space(work, int(1.3 * size) + 1_000_000_000)
    write_opt(work / "opt", layers)
    write_published(KEYS, work / "chat.pt", values, wanted)
    encoder = rule["state_dict"](GOLDEN / "clapcap.keys.json")
    torch.save(
        {"model": {key: torch.from_numpy(value) for key, value in encoder.items()}}, work / "clapcap_weights_2023.pth"
    )
    return {"file_bytes": (work / "chat.pt").stat().st_size}


def convert(work: Path) -> dict:
    """As `python -m afcore get` does with files at hand, to where the app looks for the model."""
    from afcore import paths
    from afcore.errors import MissingPart
    from afcore.published import folders
    from afcore.published.download import get

    paths.DATA = work
    folder = folders.folder_of("chat")
    try:
        get("audio-flamingo-chat", agreed=True, given=[work / name for name in DOWNLOADS])
    except MissingPart:  # LAION-CLAP, which is not rehearsed here
        if not folders.is_ready("chat"):
            raise
    folders.folder_of("foundation").symlink_to(folder.name)
    return {"file_bytes": sum(file.stat().st_size for file in folder.iterdir())}


def ask(work: Path, kind: str, device: str | None, tokens: int) -> dict:
    """Loads the model as the app does, and asks it one question with one audio and with four."""
    import torch

    from afcore import paths
    from afcore.audio.recording import from_samples
    from afcore.engine.language import flamingo
    from afcore.engine.loading import load_engine
    from afcore.model.generation import GenerationSettings

    paths.DATA, paths.BANK = work, work / f"bank-{kind}"
    write_bank(paths.BANK)
    stages = Stages()
    engine = load_engine(f"audio-flamingo-{kind}", device, stages, torch.bfloat16)
    language = flamingo(engine.language)
    passes: list[float] = []

    def note(*_: object) -> None:
        if engine.device.type == "cuda":
            torch.cuda.synchronize()
        passes.append(time.perf_counter())

    language.model.register_forward_hook(note)
    loaded = memory(os.getpid())
    heard = engine.hear(from_samples(sound(200, SECONDS), RATE, "a sound").clip())
    shots = [engine.as_shot(heard, example) for example in engine.retriever().examples]
    answers = {}
    for examples in ([], shots):
        prompt = engine.build_prompt(heard, QUESTION, examples)
        passes.clear()
        begun = time.perf_counter()
        for _ in engine.stream(heard, prompt, GenerationSettings(max_new_tokens=tokens)):
            pass
        answers[len(examples) + 1] = {
            "audios": len(examples) + 1,
            "windows": engine.inputs(heard, prompt)["audio_embeds"].shape[1],
            "prompt_tokens": len(language.tokenizer(prompt.text).input_ids),
            "first_token_s": passes[0] - begun,
            "token_s": statistics.median(b - a for a, b in itertools.pairwise(passes)),
            "new_tokens": len(passes),
        }
    gpu = engine.device.type == "cuda"
    return {
        "device": torch.cuda.get_device_name() if gpu else processor(),
        "threads": torch.get_num_threads(),
        "torch": torch.__version__,
        "precision": engine.dtype_reason,
        "retrieval": engine.clap.name,
        "parameters": sum(p.numel() for p in language.model.parameters()),
        "stages_s": stages.seconds(),
        "loaded": loaded,
        "windows_heard": len(heard.features),
        "hear_s": heard.timings["encode"],
        "answers": list(answers.values()),
        "gpu_peak_bytes": torch.cuda.max_memory_allocated() if gpu else 0,
    }


def exchange(work: Path) -> dict:
    """Mini and the published models in turn, as the sidebar exchanges them: the memory with each, after an answer."""
    import torch

    from afcore import paths, prompts
    from afcore.app.model_host import ModelHost
    from afcore.checkpoints.mini import language_model_folder
    from afcore.model.generation import GenerationSettings

    (work / "mini-lm").symlink_to(language_model_folder())
    paths.DATA, paths.BANK = work, work / "bank-exchange"
    write_bank(paths.BANK)
    host, held = ModelHost(EXCHANGED[0]), []
    for name in EXCHANGED:
        begun = time.perf_counter()
        host.choose(name)
        host.loading.wait()
        if host.loading.error:
            raise RuntimeError(host.loading.error)
        engine, seconds = host.loading.result, time.perf_counter() - begun
        heard = engine.silence()
        list(engine.stream(heard, engine.build_prompt(heard, prompts.CAPTION), GenerationSettings(max_new_tokens=2)))
        gpu = torch.cuda.memory_allocated() if engine.device.type == "cuda" else 0
        held.append({"model": name, "load_s": seconds, **memory(os.getpid()), "gpu_bytes": gpu})
        del engine
    return {"held": held}


RATE = 44_100  # Hz


def sound(hz: float, seconds: float) -> np.ndarray:
    """(T,) float32 at `RATE`: a tone that wavers, under noise."""
    import numpy as np

    t = np.arange(round(seconds * RATE)) / RATE
    noise = np.random.default_rng(int(hz)).normal(size=len(t))
    return (0.4 * np.sin(2 * np.pi * hz * t) * np.cos(np.pi * t) + 0.05 * noise).astype(np.float32)


def write_bank(folder: Path) -> None:
    """An example bank of three sounds, not listened to yet."""
    from afcore.audio.recording import from_samples
    from afcore.retrieval.bank import Bank

    bank = Bank(folder, create=True)
    for label, hz in TONES.items():
        recording = from_samples(sound(hz, SHOT_SECONDS), RATE, label)
        bank.add(recording.data, label, f"A {label} sounds.", recording.duration, group_key=label)
    bank.close()


class Stages:
    """A progress call that notes how long each stage took."""

    def __init__(self) -> None:
        self.begun: dict[str, float] = {}

    def __call__(self, stage: str, share: float) -> None:
        self.begun.setdefault(stage, time.perf_counter())

    def seconds(self) -> dict[str, float]:
        """By stage, from its first call to the next stage's."""
        names, times = list(self.begun), list(self.begun.values())
        return {name: end - start for name, (start, end) in zip(names, itertools.pairwise(times), strict=False)}


def memory(process: int) -> Counter:
    """Bytes in memory of a process, as Linux counts them: all, and the anonymous part."""
    lines = dict(line.split(":", 1) for line in Path(f"/proc/{process}/status").read_text().splitlines())
    return Counter(
        {
            ours: int(lines[name].split()[0]) * 1024
            for ours, name in (("rss_bytes", "VmRSS"), ("anonymous_bytes", "RssAnon"))
            if name in lines
        }
    )


def measured(step: Callable[..., dict], *arguments: object) -> dict:
    """What `step` returns, with its seconds and its peak memory, from a fresh process. Exits where that fails."""
    context = multiprocessing.get_context("spawn")
    receiver, sender = context.Pipe(duplex=False)
    process = context.Process(target=_run, args=(sender, step, *arguments))
    process.start()
    assert process.pid is not None, "it has started"
    sender.close()
    peak: Counter = Counter()
    while not receiver.poll(0.02):
        with suppress(FileNotFoundError, ProcessLookupError):
            peak |= memory(process.pid)  # the greater of the two, each
    try:
        result = receiver.recv()
    except EOFError:
        sys.exit(f"The step “{step.__name__}” failed; DIR is left as it is.")
    process.join()
    return result | {"peak": dict(peak)}


def _run(sender: Connection, step: Callable[..., dict], *arguments: object) -> None:
    sys.path.insert(0, str(REPOSITORY))
    begun = time.perf_counter()
    result = step(*arguments)
    usage = resource.getrusage(resource.RUSAGE_SELF)
    sender.send(result | {"seconds": time.perf_counter() - begun, "processor_seconds": usage.ru_utime + usage.ru_stime})


def processor() -> str:
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        return next((line.split(":")[1].strip() for line in file if line.startswith("model name")), "unknown processor")


def table(found: dict) -> str:
    """The figures for people."""

    def gb(count: float) -> str:
        return f"{count / 1e9:.2f} GB"

    def peaks(step: dict) -> str:
        return (
            f"peak {gb(step['peak']['anonymous_bytes'])} anonymous, {gb(step['peak']['rss_bytes'])} with mapped files"
        )

    made, converted, first = found["make"], found["convert"], found[KINDS[0]]
    lines = [
        f"{first['parameters'] / 1e9:.3f} B parameters, {found['layers']} decoder layers; {first['device']}, "
        f"{first['threads']} threads, PyTorch {first['torch']}, {first['precision']}",
        f"load average before: {found['load_average']:.1f} on {os.cpu_count()} cores",
        f"make      chat.pt {gb(made['file_bytes'])} in {made['seconds']:.0f} s, {peaks(made)}",
        f"convert   to {gb(converted['file_bytes'])} in {converted['seconds']:.0f} s, {peaks(converted)}",
    ]
    for kind in KINDS:
        step = found[kind]
        stages = ", ".join(f"{stage} {seconds:.1f} s" for stage, seconds in step["stages_s"].items())
        gpu = f", {gb(step['gpu_peak_bytes'])} of the GPU" if step["gpu_peak_bytes"] else ""
        lines += [
            f"{kind}: {peaks(step)}{gpu}",
            f"  load: {stages}; then {gb(step['loaded']['anonymous_bytes'])} anonymous",
            f"  hear {SECONDS} s ({step['windows_heard']} windows) {step['hear_s']:.1f} s",
        ]
        lines += [
            f"  {answer['audios']} audio(s), {answer['windows']} windows with padding, {answer['prompt_tokens']} "
            f"tokens: first token {answer['first_token_s']:.2f} s, then {answer['token_s']:.3f} s a token"
            for answer in step["answers"]
        ]
    lines += [
        f"exchanged for {step['model']} in {step['load_s']:.1f} s: {gb(step['anonymous_bytes'])} anonymous, "
        f"{gb(step['rss_bytes'])} with mapped files"
        + (f", {gb(step['gpu_bytes'])} of the GPU" if step["gpu_bytes"] else "")
        for step in found["exchange"]["held"]
    ]
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--work", type=Path, required=True, metavar="DIR", help="an empty or new folder with room")
    parser.add_argument("--layers", type=int, default=24, choices=range(1, 25), metavar="N", help="decoder layers (24)")
    parser.add_argument(
        "--sparse", action="store_true", help="zeros for all large tensors, which take no disk in chat.pt"
    )
    parser.add_argument("--device", help="cpu or cuda; default: a GPU if there is one")
    parser.add_argument("--tokens", type=int, default=32, metavar="N", help="new tokens per answer, at least 2 (32)")
    parser.add_argument("--keep", action="store_true", help="leave the files in DIR")
    options = parser.parse_args()
    work = options.work.resolve()
    work.mkdir(parents=True, exist_ok=True)
    if any(work.iterdir()):
        parser.error(f"{work} is not empty.")
    os.environ["HF_HUB_OFFLINE"] = "1"
    found = {"layers": options.layers, "sparse": options.sparse, "load_average": os.getloadavg()[0]}
    found["make"] = measured(make, work, options.layers, options.sparse)
    found["convert"] = measured(convert, work)
    for kind in KINDS:
        found[kind] = measured(ask, work, kind, options.device, options.tokens)
    found["exchange"] = measured(exchange, work)
    if not options.keep:
        shutil.rmtree(work)
        work.mkdir()
    (work / "full-size.json").write_text(json.dumps(found, indent=1) + "\n")
    print(table(found))
    if found["convert"]["peak"]["anonymous_bytes"] >= MOST_CONVERTING:
        sys.exit(f"Conversion took more than {MOST_CONVERTING / 1e9:.0f} GB of anonymous memory.")


if __name__ == "__main__":
    main()
