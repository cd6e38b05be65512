"""Mini as it ships, on sounds of its own bank: every link of the chain at work. How well mini does on sounds it has not
met is measured by `afcore.evaluation`, not here."""

import json
import subprocess
import sys

import pytest
import torch

from afcore import paths, prompts
from afcore.engine.loading import load_engine
from afcore.model.generation import GenerationSettings
from afcore.retrieval.nearest import prompt_order

MISSING = [
    str(f.relative_to(paths.ASSETS))
    for f in (paths.MINI / "flamingo.safetensors", paths.BANK / "bank.sqlite")
    if not f.exists()
]
pytestmark = pytest.mark.skipif(bool(MISSING), reason=f"not shipped yet: {', '.join(MISSING)}")

LABELS = [
    "rain",
    "footsteps",
    "explosion",
    "gunshot",
    "cow mooing",
    "bird chirping",
    "wind",
    "speech",
    "drum beat",
    "horse neighing",
]
EACH = 3


@pytest.fixture(scope="module")
def engine():
    return load_engine("mini")


@pytest.fixture(scope="module")
def sounds(engine):
    """(label, heard), some of each label, of different sources where there are."""
    found = []
    for label in LABELS:
        examples = [e for e in engine.bank.examples() if e.label == label]
        by_source = {e.group_key: e for e in reversed(examples)}
        chosen = [*by_source.values(), *(e for e in examples if e not in by_source.values())][:EACH]
        assert chosen, f"the bank has no {label}"
        found += [(label, engine.hear_file(engine.bank.audio_path(e.id))) for e in chosen]
    return found


def share(hits) -> float:
    hits = list(hits)
    return sum(hits) / len(hits)


def test_the_bank_needs_no_embedding_at_start(engine):
    for example in engine.bank.examples():
        assert engine.bank.features(example.id, engine.features_name).shape[1] == engine.encoder.width
    assert len(engine.retriever()) == len(engine.bank.examples())


def test_labels_are_named_far_above_chance(engine, sounds):
    assert share(max(p := engine.classify(heard, LABELS), key=p.get) == label for label, heard in sounds) >= 0.3


def test_shots_of_the_right_label_help(engine, sounds):
    """With two examples of each of two labels, the right one gains probability over two of the wrong one."""
    gains = []
    for label, heard in sounds[::EACH]:
        other = LABELS[(LABELS.index(label) + 1) % len(LABELS)]
        right, wrong = (engine.neighbours(heard, 2, labels={name}) for name in (label, other))
        pair = [label, other]
        gains.append(
            engine.classify(heard, pair, prompt_order(right))[label]
            > engine.classify(heard, pair, prompt_order(wrong))[label]
        )
    assert share(gains) >= 0.7


def test_neighbours_sound_alike(engine, sounds):
    assert share(label in [s.example.label for s in engine.neighbours(heard, 4)] for label, heard in sounds) >= 0.5


def test_search_by_words(engine):
    assert share(label in [s.example.label for s in engine.search(label, 5)] for label in LABELS) >= 0.6


def test_captions_follow_the_sound(engine, sounds):
    captions = [engine.caption(heard).text for _, heard in sounds[::EACH]]
    assert all(captions) and len(set(captions)) >= len(captions) // 2


def test_a_dialogue_with_examples(engine, sounds):
    heard = sounds[0][1]
    shots, history = prompt_order(engine.neighbours(heard, 4)), []
    for question in ("What do you hear?", "Is it loud?"):
        prompt = engine.build_prompt(heard, question, shots, history, chat=True)
        text = "".join(engine.stream(heard, prompt, GenerationSettings(max_new_tokens=24))).strip()
        assert text and not any(mark in text for mark in ("<SEP>", "<|endofchunk|>", "<|im_end|>", "<audio>"))
        history.append((question, text))


def test_number_formats_agree(engine, sounds):
    """The format chosen for this machine names the same label as float32, but for close calls."""
    full = load_engine("mini", dtype=torch.float32)
    for _, heard in sounds[::EACH]:
        ours, theirs = engine.classify(heard, LABELS), full.classify(full.hear(heard.clip), LABELS)
        best = max(theirs, key=theirs.get)
        assert ours[max(ours, key=ours.get)] - ours[best] < 0.1
        assert max(abs(ours[name] - theirs[name]) for name in LABELS) < 0.15


def test_the_command_line(engine):
    file = str(engine.bank.audio_path(engine.bank.examples()[0].id))
    run = subprocess.run(
        [
            sys.executable,
            "-m",
            "afcore",
            "ask",
            file,
            file + ".missing",
            "What is this?",
            "--shots",
            "2",
            "--json",
            "--max-tokens",
            "8",
        ],
        capture_output=True,
        text=True,
        cwd=paths.__file__.rsplit("/", 2)[0],
    )
    assert run.returncode == 1 and run.stderr.count("\n") == 1
    data, refused = map(json.loads, run.stdout.splitlines())
    assert "cannot be opened" in refused["error"]
    assert data["answer"] and len(data["shots"]) == 2 and data["model"] == "mini"
    assert data["prompt"].endswith(f"{prompts.instruction('what is this?')}\nanswer:<SEP>")


def test_a_start_imports_nothing_that_only_training_pages_or_files_of_others_need():
    """What it takes a fresh process to be ready is mostly imports: these are slow, and not needed to answer."""
    code = "import sys; from afcore.engine.loading import load_engine; load_engine(); print(*sys.modules, sep='\\n')"
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.partition(".")[0] for name in run.stdout.split()}
    assert {"torch", "transformers", "afcore"} <= loaded
    slow = {"librosa", "numba", "sklearn", "pandas", "pyarrow", "matplotlib", "plotly", "streamlit", "peft", "gguf"}
    assert not loaded & {*slow, "datasets", "laion_clap", "webdataset", "h5py"}
