"""`python -m afcore.training STEP --work DIR`: makes mini from Debian's packages, one command per step, or `all`.

corpus → sets → tags → labels → encoder → rendered → features → sentences → first_windows → align → pretrain → sft →
chat → practice → match → refine → spoken → speak → reward → bank → calibrate → judges → certainty. DIR needs about 40
GB and keeps what each step made, so that a step can be run again alone. The teacher's weights (`--teacher`,
EfficientAT's mn04_as) are needed by `tags`, `labels` and `encoder` only; `--sets` is a folder of further sounds
(`afcore.corpus.sets`), `--text` one of people's sentences about sounds.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import torch

CONFIG = Path(__file__).parent / "configs" / "mini-packages.json"  # of the language side


def corpus(options: argparse.Namespace) -> None:
    from afcore.corpus import extract as step
    from afcore.corpus import packages

    packages.fetch(options.work / "debs")
    step.extract(options.work, 2)
    step.index(options.work)


def labels(options: argparse.Namespace) -> None:
    from afcore.corpus import labels as step

    step.write(options.work / "corpus", options.teacher)


def sets(options: argparse.Namespace) -> None:
    """Sounds beside those of packages, where there are any."""
    from afcore.corpus import sets as step

    if options.sets:
        step.decode_sets(options.sets, options.work / "sounds")


def tags(options: argparse.Namespace) -> None:
    from afcore.corpus import tags as step

    for folder in sounds_of(options.work):
        step.tag(folder, options.teacher)


def sounds_of(work: Path) -> list[Path]:
    """The folders of decoded sounds: packages, and the sets where the step `sets` has made them."""
    return [folder for folder in (work / "corpus", work / "sounds") if (folder / "audio.i16").exists()]


def encoder(options: argparse.Namespace) -> None:
    """Fits the audio encoder, in counted steps; stopped, the same command goes on where it was."""
    from afcore.training.mini import distillation, export, sounds

    run, folders = options.work / "encoder-run", sounds_of(options.work)
    run.mkdir(exist_ok=True)
    if not (run / "plan.json").exists():
        sounds.save_items(folders, run / "items.npz")
        sounds.save_held(folders, options.teacher, run / "held.npz")
        (run / "plan.json").write_text(json.dumps(distillation.PLAN))
    distillation.Run(run, options.teacher, options.out if options.go_on else None).go()
    export.export(run / "last.pt", folders, options.out)
    _audioset(options)


def _audioset(options: argparse.Namespace) -> None:
    from afcore.corpus.teacher import read_labels

    (options.out / "audioset.json").write_text(
        json.dumps(read_labels(options.teacher / "audioset_labels.csv"), indent=0)
    )


def rendered(options: argparse.Namespace) -> None:
    from afcore.corpus import render as step

    step.render(options.work / "rendered")


def features(options: argparse.Namespace) -> None:
    """`clips`: the corpus, on which everything is evaluated; `taught`: also what was made, for training."""
    from afcore.corpus import describe

    clips, made = options.work / "clips", options.work / "made"
    describe.describe(options.work / "corpus", options.out, clips)
    describe.describe_made(options.work / "corpus", options.out, made, options.work / "rendered")
    describe.join([clips, made], options.work / "taught")


def sentences(options: argparse.Namespace) -> None:
    """People's sentences about sounds, by the classes that they name, where `--text` has them."""
    from afcore.training.mini import sentences as step

    step.write(step.recipes(options.text) if options.text else [], options.work / "sentences.jsonl")


def first_windows(options: argparse.Namespace) -> None:
    """The first windows of packages and sets, on which mini CLAP is fitted."""
    from afcore.corpus.first_windows import describe_first_windows

    sets = options.work / "sounds"
    known = sets if (sets / "audio.i16").exists() else None
    describe_first_windows(options.work / "corpus", known, options.out, options.work / "heard")


def align(options: argparse.Namespace) -> None:
    from afcore.corpus.clips import ClipSet
    from afcore.training.mini import align as step

    written = options.work / "sentences.jsonl"
    people = step.read_sentences(written) if written.exists() else None
    step.align(ClipSet(options.work / "heard"), options.out, people)


def language_side(options: argparse.Namespace, stage: str) -> Path:
    """Runs one stage of the language side (`configs/mini-packages.json`) to its end, or goes on with it where it was
    stopped; returns its folder. What the stage before it came to must be there."""
    from afcore.training.mini.parts import PARTS
    from afcore.training.recipe import config, parallel, stages

    loaded = config.load(CONFIG, options.work / "language", options.out)
    if options.steps:
        changed = [replace(s, steps=options.steps) if s.name == stage else s for s in loaded.stages]
        loaded = replace(loaded, stages=tuple(changed))
    return stages.run(loaded, parallel.join(loaded.device), stage, parts=PARTS)


def pretrain(options: argparse.Namespace) -> None:
    """What hears learns, on single sounds; the language model is frozen."""
    language_side(options, "pretrain")


def sft(options: argparse.Namespace) -> None:
    """Half of the samples with shots, low-rank updates beside the language model's attention."""
    language_side(options, "sft")


def chat(options: argparse.Namespace) -> None:
    """The same with more dialogues."""
    language_side(options, "chat")


def practice(options: argparse.Namespace) -> None:
    """Chat once more and longer, with fewer shots."""
    language_side(options, "practice")


def match(options: argparse.Namespace) -> None:
    """The first cross-attention block learns which of the words in a text are heard."""
    language_side(options, "match")


def refine(options: argparse.Namespace) -> None:
    """The whole language side once more, with matching beside."""
    language_side(options, "refine")


def spoken(options: argparse.Namespace) -> None:
    """The clips that are spoken about."""
    from afcore.corpus import spoken as step

    folders = sounds_of(options.work)
    for folder in folders:
        step.hear_all(folder, options.out)
    step.describe(folders, options.out, options.work / "spoken")


def speak(options: argparse.Namespace) -> None:
    """Whole sentences, for all 527 classes. It goes on from `refine`, or where that was not run from the weights in
    `--out`."""
    _from_what_ships(options, "refine")
    language_side(options, "speak")


def reward(options: argparse.Namespace) -> None:
    """Its own answers, judged: what ships. It goes on from `speak`, or where that was not run from the weights in
    `--out`."""
    _from_what_ships(options, "speak")
    out = language_side(options, "reward") / "mini"
    for name in ("flamingo.safetensors", "config.json"):
        shutil.copy(out / name, options.out / name)


def _from_what_ships(options: argparse.Namespace, stage: str) -> None:
    """Puts the weights in `--out` in the place of what a stage came to, where it was not run."""
    from safetensors.torch import save_file

    from afcore.training.recipe import network

    folder = options.work / "language" / stage
    if not (folder / network.WEIGHTS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        save_file(network.from_mini(options.out), folder / network.WEIGHTS)


def bank(options: argparse.Namespace) -> None:
    """The shipped bank's embeddings, by the encoder and CLAP that ship with it."""
    from afcore import paths
    from afcore.engine.loading import load_engine
    from afcore.retrieval.bank import Bank

    shipped = Bank(paths.BANK)
    shipped.clear_embeddings()
    load_engine("mini")  # embeds what lacks it
    shipped.compact()


def judges(options: argparse.Namespace) -> None:
    """What the judges beside the language side know, and how far each is believed."""
    from afcore.engine import mini
    from afcore.training.mini import judging

    engine = mini.load(None, None, lambda stage, share: None, alone=True)
    print(json.dumps(judging.write(engine, sounds_of(options.work), options.out), indent=1))


def calibrate(options: argparse.Namespace) -> None:
    from afcore.training.mini import calibrate as step

    print(json.dumps(step.calibrate(options.out, options.work / "clips")))


def certainty(options: argparse.Namespace) -> None:
    """From which probability on an answer is called sure, likely, or not sure: `certainty.json`."""
    from afcore.engine import mini
    from afcore.training.mini import certainty as step
    from afcore.training.mini.judging import parts_of

    whole = mini.load(None, None, lambda stage, share: None)
    judges, weights = mini.load_judges(options.out, *parts_of(whole))
    print(json.dumps(step.write(whole.with_judges(judges, weights), sounds_of(options.work), options.out), indent=1))


STEPS = {
    f.__name__: f
    for f in (
        corpus,
        sets,
        tags,
        labels,
        encoder,
        rendered,
        features,
        sentences,
        first_windows,
        align,
        pretrain,
        sft,
        chat,
        practice,
        match,
        refine,
        spoken,
        speak,
        reward,
        bank,
        calibrate,
        judges,
        certainty,
    )
}


def main() -> None:
    from afcore import paths
    from afcore.published import sums

    parser = argparse.ArgumentParser(
        prog="python -m afcore.training", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("step", choices=[*STEPS, "all"])
    parser.add_argument(
        "--work", type=Path, required=True, help="folder for packages, decoded sounds, features, checkpoints"
    )
    parser.add_argument("--teacher", type=Path, help="folder with mn04_as_mAP_432.pt and audioset_labels.csv")
    parser.add_argument(
        "--out", type=Path, default=paths.MINI, help="where what ships is written (default assets/mini)"
    )
    parser.add_argument(
        "--steps",
        type=int,
        help="optimiser steps of a stage of the language side, pretrain to reward, instead of the config's",
    )
    parser.add_argument(
        "--go-on", action="store_true", help="encoder: a run that has no state yet begins with the encoder in --out"
    )
    parser.add_argument("--sets", type=Path, help="folder of sets of sounds beside those of packages")
    parser.add_argument("--text", type=Path, help="folder with people's sentences about sounds (audiocaps_train.csv)")
    options = parser.parse_args()
    if options.step in ("tags", "labels", "encoder", "all") and not options.teacher:
        parser.error("this step needs --teacher")
    torch.set_num_threads(int(os.environ.get("OMP_NUM_THREADS", 2)))
    for name, step in STEPS.items():
        if options.step in (name, "all"):
            print(f"== {name}", flush=True)
            step(options)
    if (options.out / sums.NAME).is_file():
        sums.record(options.out)


if __name__ == "__main__":
    main()
