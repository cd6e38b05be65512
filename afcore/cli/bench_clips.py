"""``python -m afcore bench --clips N``: how many clips a second Teach takes in, embeds and labels on this machine.

A project is made in a folder of its own and filled as a user would: N cuts of the bank's sounds, no two alike, and a
few examples of five labels. Each stage then goes through the same calls as the page's and is timed once, as a whole:
reading and saving, embedding, and labelling every clip afresh without examples, with examples in the prompt, and by the
nearest example.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from afcore.errors import BadRequest, MissingPart

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.retrieval.bank import Bank

LABELS, EACH = 5, 3
"""Labels of the project, and examples of each."""
SHOTS = 4
SECONDS = (2.0, 10.0)  # of a cut; a shorter sound stays whole
STAGES = {
    "save": "reading and saving",
    "embed": "embedding",
    "lm-zero": "labelling without examples",
    "lm-shots": f"labelling with {SHOTS} examples",
    "clap-nn": "labelling by the nearest example",
}


def varied_cuts(
    bank: Bank,
    count: int,
    seed: int = 0,
    seconds: tuple[float, float] = SECONDS,
    ids: Sequence[int] | None = None,
) -> Iterator[tuple[str, bytes]]:
    """(name, WAV file) of ``count`` cuts of the bank's sounds in turn (of ``ids`` alone, in that order, where given),
    each of another place, loudness and faint noise, so that nothing that is remembered of one helps with another.
    ``seconds``: least and most of a cut."""
    import numpy as np

    from afcore.audio.recording import from_samples, open_recording

    rng, examples = np.random.default_rng(seed), bank.examples()
    if ids is not None:
        by_id = {example.id: example for example in examples}
        examples = [by_id[i] for i in ids]
    if not examples:
        raise BadRequest("The example bank has no sounds to cut clips from.")
    for n in range(count):
        example = examples[n % len(examples)]
        recording = open_recording(bank.audio_path(example.id), example.label)
        length = min(rng.uniform(*seconds), recording.duration)
        clip = recording.clip(rng.uniform(0, recording.duration - length), length)
        samples = rng.uniform(0.3, 1.0) * clip.samples + rng.normal(scale=1e-3, size=len(clip.samples))
        name = f"cut {n}.wav"
        yield name, from_samples(np.clip(samples, -1, 1).astype(np.float32), clip.rate, name).data


def measure_clips(engine: Engine, count: int) -> dict[str, Any]:
    """Seconds and clips per second of each of `STAGES`. Raises MissingPart where there is no bank, NoSpace."""
    from afcore.retrieval.bank import Bank
    from afcore.teach.ingest import add_files, add_from_bank
    from afcore.teach.loop import Loop
    from afcore.teach.schema import Settings
    from afcore.teach.store import Store

    bank, who = engine.retriever().bank, "bench"
    took: dict[str, float] = {}
    if not isinstance(bank, Bank):
        raise MissingPart("The example bank of this model keeps no sounds to cut clips from.")
    labels = [label for label, _ in Counter(example.label for example in bank.examples()).most_common(LABELS)]
    given = [[example.id for example in bank.examples() if example.label == label][:EACH] for label in labels]
    with tempfile.TemporaryDirectory() as folder:
        store = Store(folder)
        try:
            project = store.create("Bench", labels, who, Settings(k=SHOTS))
            add_from_bank(project, bank, [example for some in given for example in some], who, own_labels=True)
            loop = Loop(project, engine)
            loop.embed()  # the examples, uncounted
            for name, data in varied_cuts(bank, count):  # to the disk: a thousand take half a gigabyte
                Path(folder, name).write_bytes(data)
            clips = [(file.name, file) for file in sorted(Path(folder).glob("*.wav"))]

            def timed(stage: str, work: Callable[[], int]) -> None:
                print(f"{STAGES[stage]} …", file=sys.stderr, flush=True)
                begun = time.perf_counter()
                done = work()
                took[stage] = time.perf_counter() - begun
                if done != count:
                    raise BadRequest(f"Only {done} of {count} clips went through “{STAGES[stage]}”.")

            timed("save", lambda: len(add_files(project, clips, who).clips))
            timed("embed", loop.embed)
            for method in ("lm-zero", "lm-shots", "clap-nn"):
                project.set_settings(replace(project.settings, method=method), who)
                timed(method, lambda: loop.refresh(None))
            seconds = sum(clip.seconds for clip in project.items("open"))
            examples = project.counts().example
        finally:
            store.close()
    return {
        "clips": count,
        "sound_s": seconds,
        "labels": len(labels),
        "examples": examples,
        "shots": SHOTS,
        "seconds": took,
        "clips_per_s": {stage: count / s for stage, s in took.items()},
    }


def clips_table(measured: dict) -> str:
    """The figures for people."""
    head = (
        f"{measured['clips']} clips of {measured['sound_s'] / measured['clips']:.1f} s on average, "
        f"{measured['labels']} labels, {measured['examples']} examples; "
        f"{measured['model']} on {measured['machine']} ({measured['device']}), "
        f"{measured['threads']} threads\n"
    )
    width = max(map(len, STAGES.values()))
    rows = (
        f"{STAGES[stage]:<{width}}  {rate:>7.1f} clips/s  {measured['seconds'][stage]:>7.1f} s"
        for stage, rate in measured["clips_per_s"].items()
    )
    return "\n".join([head, *rows])
