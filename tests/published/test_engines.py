"""A tiny model in the published layout, through conversion, as an engine: prompts, padding, limits, retrieval,
memory."""

import json

import numpy as np
import pytest
import torch
from golden_cases import HERE, fill_module
from tiny import tiny_bank, tone_clip

from afcore import paths, prompts
from afcore.clap.mini import MiniClap
from afcore.engine.loading import MODELS, load_engine
from afcore.engine.precision import choose_precision
from afcore.errors import BadRequest, MissingPart
from afcore.model.generation import GenerationSettings
from afcore.published import engines, folders
from afcore.published.convert import convert_clapcap, convert_flamingo, published_config, published_tokenizer
from afcore.retrieval.bank import Bank

SHORT = GenerationSettings(max_new_tokens=3)
VOCABULARY = 160


@pytest.fixture(scope="module")
def converted(sources, tmp_path_factory):
    """The same as `afcore get` leaves it."""
    folder = tmp_path_factory.mktemp("converted") / "chat"
    tokenizer = published_tokenizer(sources / "opt")
    config = published_config(json.loads((sources / "opt" / "config.json").read_text()), tokenizer)
    convert_flamingo(sources / "chat.pt", folder, config, tokenizer, torch.float32)
    convert_clapcap(sources / "clapcap_weights_2023.pth", folder)
    return folder


def load(folder, kind, bank=None):
    precision = choose_precision("cpu", torch.float32)
    return engines.load_published_engine(folder, kind, precision, None, bank, folder / "no-laion.pt")


@pytest.fixture(scope="module")
def chat(converted, tmp_path_factory):
    return load(converted, "chat", tiny_bank(tmp_path_factory.mktemp("bank")))


def test_sequences_begin_as_in_training(chat):
    """OPT's tokenizer puts one start token before the prompt's own; the added tokens follow OPT's in training's
    order."""
    heard = chat.hear(tone_clip(430))
    ids = chat.language.tokenizer(chat.build_prompt(heard, "What?").text).input_ids
    assert ids[:2] == [2, 2] and ids[2] != 2 and ids[-1] == VOCABULARY - 1
    assert chat.language.tokenizer.convert_tokens_to_ids(["<audio>", "<|endofchunk|>", "<SEP>"]) == [157, 158, 159]
    config = chat.language.model.config
    assert (config.audio_token_id, config.endofchunk_token_id) == (157, 158)


def test_chat_is_asked_in_its_own_words(chat):
    heard = chat.hear(tone_clip(430))
    assert chat.build_prompt(heard, prompts.CAPTION) == prompts.chat([], prompts.CAPTION, kind="chat")
    assert chat.build_prompt(heard, "And?", history=[("What?", "A horn.")]).text == (
        "</s>the task is dialog.<audio>user: What? \nassistant: <SEP>A horn.<|endofchunk|></s>"
        "\nuser: And? \nassistant: <SEP>"
    )
    found = chat.classify(heard, ["horn", "hum"])
    assert sum(found.values()) == pytest.approx(1)
    assert "OPTIONS" not in chat.build_prompt(heard, prompts.CLASSIFY, labels=["horn", "hum"]).text


def test_foundation_is_asked_without_a_dialogue(converted):
    engine = load(converted, "foundation")
    assert engine.max_shots == 7 and not engine.dialogues
    heard = engine.hear(tone_clip(430))
    for question, options in (("How Far is it?", ""), ("Is it Far?", "\nOPTIONS:\nyes.\nno.")):
        text = engine.build_prompt(heard, question, history=[("What?", "A horn.")], chat=True).text
        assert text == (
            f"</s>the task is audio question answering.<audio>please answer this question: {question.lower()}{options}"
            "\nanswer:<SEP>"
        )
    shots = published_shots(engine, heard, 3)
    for count, padded in ((0, 1), (1, 4), (3, 4)):
        inputs = engine.inputs(heard, engine.build_prompt(heard, "What?", shots[:count]))
        assert inputs["audio_mask"].shape == (1, 16 * padded)
    inputs = engine.inputs(heard, engine.build_prompt(heard, "What?", [shots[0]] * 4))
    assert inputs["audio_mask"].shape == (1, 128)


def published_shots(engine, heard, count):
    """Shots from a bank in memory, with the clip's own features."""
    from afcore.retrieval.bank import Example
    from afcore.retrieval.nearest import Shot

    class Kept:
        def features(self, example_id, name):
            return heard.features.numpy()

    return [Shot(Example(i, "horn", "a horn.", f"{i}" * 64, 1.0), 0.5, False, Kept()) for i in range(count)]


def test_chat_pads_to_four_audios_with_the_embedding_of_silence(chat):
    heard = chat.hear(tone_clip(430))
    inputs = chat.inputs(heard, chat.build_prompt(heard, "What?"))
    assert inputs["audio_embeds"].shape == (1, 64, 1024) and inputs["audio_mask"].sum() == 1
    assert torch.equal(inputs["audio_embeds"][0, 1:], chat.encoder.silence.expand(63, 1024))
    assert chat.max_shots == 3
    with pytest.raises(BadRequest, match="at most 3"):
        chat.build_prompt(heard, "What?", published_shots(chat, heard, 4))


def test_without_laion_clap_mini_clap_finds_the_examples_and_says_so(chat):
    assert "mini CLAP, not by LAION-CLAP" in chat.retrieval_notice and "afcore get laion-clap" in chat.retrieval_notice
    heard = chat.hear(tone_clip(430))
    assert heard.vector.shape == (1024,) and np.linalg.norm(heard.vector) == pytest.approx(1, abs=1e-5)
    shots = chat.neighbours(heard, 2)
    assert len(shots) == 2
    assert "".join(chat.stream(heard, chat.build_prompt(heard, "What?", shots), SHORT)) is not None
    assert chat.clap.name == MiniClap.load(paths.MINI).name  # so that a bank's vectors of mini hold here too


def test_features_of_other_weights_are_never_taken(chat, converted, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for file in converted.iterdir():
        if file.name != "clapcap.safetensors":
            (other / file.name).symlink_to(file)
    arrays = fill_module().state_dict(HERE / "clapcap.keys.json", 1)
    torch.save({"model": {key: torch.from_numpy(value) for key, value in arrays.items()}}, tmp_path / "c.pth")
    convert_clapcap(tmp_path / "c.pth", other)
    assert load(other, "foundation").features_name != chat.features_name == load(converted, "foundation").features_name


def test_the_shipped_bank_is_only_read(tmp_path, monkeypatch):
    shipped = tiny_bank(tmp_path / "shipped")
    monkeypatch.setattr(paths, "BANK", tmp_path / "shipped")
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    own = engines.own_bank()
    own.set_embedding(own.examples()[0].id, "clapcap", "clap", np.ones(3))
    assert engines.own_bank().clap_matrix("clapcap")[0] == [own.examples()[0].id]
    assert shipped.clap_matrix("clapcap")[0] == []
    assert own.audio_path(2) == shipped.audio_path(2)


def test_by_name(converted, tmp_path, monkeypatch):
    """As the pages and the command line load it; what is not there is said in a sentence."""
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr(paths, "BANK", tmp_path / "bank")
    tiny_bank(tmp_path / "bank", {"hum": 120, "horn": 440})
    with pytest.raises(MissingPart, match="no converted model"):
        load_engine("audio-flamingo-chat")
    folders.folder_of("chat").parent.mkdir(parents=True)
    folders.folder_of("chat").symlink_to(converted)
    stages = []
    engine = load_engine(
        "audio-flamingo-chat", "cpu", lambda stage, share: stages.append((stage, share)), torch.float32
    )
    assert engine.name == "audio-flamingo-chat" and len(engine.retriever()) == 2
    assert [share for _, share in stages] == sorted(share for _, share in stages)
    assert sum("example bank (once)" in stage for stage, _ in stages) == 2
    assert set(MODELS) == {"mini", "audio-flamingo-chat", "audio-flamingo-foundation"}
    with pytest.raises(BadRequest, match="chat or foundation"):
        load(converted, "other")
    assert Bank(tmp_path / "bank").clap_matrix(engine.clap.name)[0] == []


def test_laion_clap_where_it_runs(monkeypatch):
    class Works:
        def __init__(self, file, device):
            self.file, self.device = file, device

    monkeypatch.setattr(engines, "LaionClap", Works)
    clap, notice = engines.retrieval_clap("best.pt", "cpu")
    assert isinstance(clap, Works) and (clap.file, clap.device, notice) == ("best.pt", "cpu", "")


def test_float32_only_where_there_is_room(monkeypatch):
    monkeypatch.setattr("afcore.engine.precision.cpu_has_bfloat16", lambda: False)
    memory = engines.psutil.virtual_memory()
    for room, dtype in ((8e9, torch.bfloat16), (16e9, torch.float32)):
        monkeypatch.setattr(engines.psutil, "virtual_memory", lambda room=room: memory._replace(available=room))
        assert engines.choose_precision("cpu").dtype == dtype
    monkeypatch.setattr(engines.psutil, "virtual_memory", lambda: memory._replace(available=8e9))
    assert "more memory than there is" in engines.choose_precision("cpu").reason
    assert engines.choose_precision("cpu", torch.float32).dtype == torch.float32
