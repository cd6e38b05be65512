"""A tiny model in the published layout, through conversion, as an engine: prompts, padding, limits, retrieval,
memory."""

import json
from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from golden_cases import CASES, HERE, TOLERANCE, fill_module, name_of
from golden_cases import load as golden_model
from tiny import tiny_bank, tone_clip

from afcore import paths, prompts
from afcore.clap.mini import MiniClap
from afcore.engine.language import FlamingoText
from afcore.engine.loading import MODELS, load_engine
from afcore.engine.precision import choose_precision
from afcore.errors import BadRequest, MissingPart
from afcore.evaluation.benchmarks.item import Item
from afcore.evaluation.benchmarks.running import prompt_of
from afcore.evaluation.benchmarks.setting import Setting
from afcore.evaluation.benchmarks.table import benchmark
from afcore.model.generation import GenerationSettings
from afcore.published import engines, folders
from afcore.published.convert import convert_clapcap, convert_flamingo, published_config, published_tokenizer
from afcore.published.converted import load_converted
from afcore.published.weights import weights_of
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
    assert chat.build_prompt(heard, prompts.CAPTION).text == prompts.chat([], prompts.CAPTION, kind="chat").text
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
            f"</s>the task is audio question answering. <audio>please answer this question: {question.lower()}{options}"
            "\nanswer:<SEP>"
        )


@pytest.mark.parametrize("kind", ["foundation", "chat"])
def test_samples_are_padded_as_was_published(converted, kind):
    """A single clip for foundation both ways, with any number of examples 8 audios; chat always 4."""
    engine = load(converted, kind)
    heard = engine.hear(tone_clip(430))
    shots = published_shots(engine, heard, engine.max_shots)
    assert engine.padding == prompts.DEMO
    logits = {}
    for way in engine.paddings:
        engine.use_padding(way)
        alone = 8 if way == prompts.BENCHMARK else 1
        for count in range(engine.max_shots + 1):
            prompt = engine.build_prompt(heard, "What?", shots[:count])
            inputs = engine.inputs(heard, prompt)
            padded = 4 if kind == "chat" else 8 if count else alone
            assert inputs["audio_mask"].shape == (1, 16 * padded) and prompt.padding == way
            windows = inputs["audio_mask"].view(padded, 16).sum(1).tolist()
            assert windows == [1] * (count + 1) + [0] * (padded - count - 1)
        spaced = kind == "foundation" and way == prompts.DEMO
        assert (". <audio>" in engine.build_prompt(heard, "What?").text) == spaced
        logits[way] = engine.classify(heard, ["horn", "hum"])["horn"]
    # Padded windows take part in the audio transformer, so the count changes the result.
    assert (logits[prompts.DEMO] == pytest.approx(logits[prompts.BENCHMARK], abs=1e-9)) == (kind == "chat")
    with pytest.raises(BadRequest, match="choose demo or benchmark"):
        engine.use_padding("none")
    assert engine.with_calibration(engine.calibration).padding == prompts.BENCHMARK


@pytest.mark.parametrize("kind", ["foundation", "chat"])
def test_text_alone_is_answered_by_the_language_model_and_the_page_can_say_so(converted, kind):
    engine = load(converted, kind)
    prompt = engine.build_prompt(None, "Who are you?")
    assert "<audio>" not in prompt.text and "never trained" in engine.text_notice
    inputs = engine.language.inputs(prompt, [])
    assert set(inputs) == {"input_ids"}
    model = engine.language.model
    with torch.inference_mode():
        alone = model.language_model(inputs["input_ids"]).logits[0, -1]
    said = "".join(engine.stream(None, prompt, GenerationSettings(max_new_tokens=1)))
    assert said == engine.language.tokenizer.decode([int(alone.argmax())], skip_special_tokens=True)
    with pytest.raises(BadRequest, match="neither examples nor labels"):
        engine.build_prompt(None, "Which?", labels=["a", "b"])


def test_evaluation_pads_as_the_benchmarks(converted):
    engine = load(converted, "foundation")
    asked = benchmark("clotho-v2")
    item = Item("one", converted, ("a horn.",))
    prompt = prompt_of(engine, asked, item)
    assert prompt.padding == prompts.BENCHMARK and ".<audio>" in prompt.text
    demo = prompt_of(engine, asked, item, setting=Setting(padding=prompts.DEMO))
    assert demo.padding == prompts.DEMO and ". <audio>" in demo.text


@pytest.mark.parametrize("path", [path for path in CASES if "padded" in path.name], ids=lambda path: path.stem)
def test_padded_samples_stand_as_in_the_published_code(path):
    """Row by row: sounds laid out with padding have the published mask, and with the golden's own padding in the
    empty places give its logits."""
    model = golden_model(name_of(path))
    case = {key: torch.from_numpy(value) for key, value in np.load(path).items()}
    for row in range(len(case["audio_mask"])):
        embeds, mask = case["audio_embeds"][row], case["audio_mask"][row].bool()
        audios = len(mask) // 16
        sounds = [embeds[16 * i : 16 * i + int(mask[16 * i : 16 * i + 16].sum())] for i in range(audios)]
        sounds = [sound for sound in sounds if len(sound)]
        language = FlamingoText(
            model, Ids(case["input_ids"][row]), "foundation", embeds[-1], {"golden": lambda n, all=audios: all}
        )
        prompt = prompts.Prompt("<audio>" * len(sounds), "foundation", tuple(range(len(sounds))))
        inputs = language.inputs(prompt, sounds)
        assert torch.equal(inputs["audio_mask"][0].bool(), mask)
        inputs["audio_embeds"][0, ~mask] = embeds[~mask]
        with torch.inference_mode():
            logits = model(**inputs).logits[0]
        real = case["attention_mask"][row].bool()
        torch.testing.assert_close(logits[real], case["logits"][row][real], atol=TOLERANCE, rtol=0)


class Ids:
    """A tokenizer that gives the golden's tokens to any text."""

    def __init__(self, ids):
        self.ids = ids

    def __call__(self, text, return_tensors):
        return SimpleNamespace(input_ids=self.ids[None])


def published_shots(engine, heard, count):
    """Shots from a bank in memory, with the clip's own features."""
    from afcore.retrieval.example import Example
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
    assert sum("example bank (once)" in stage for stage, _ in stages) == 1  # both sounds go together
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


def test_before_ampere_the_language_model_is_in_float16_and_what_hears_in_float32(converted, monkeypatch):
    """On a CPU, which computes in float16 too: logits as in float32, also for features that float16 cannot hold."""
    before_ampere = replace(choose_precision("cpu", torch.float32), device=torch.device("cuda"))
    monkeypatch.setattr("afcore.engine.precision.choose_precision", lambda device=None, dtype=None: before_ampere)
    chosen = engines.choose_precision()
    assert chosen.dtype == torch.float16 and "float32" in chosen.reason
    whole, half = (load_converted(converted, "cpu", dtype)[0] for dtype in (torch.float32, chosen.dtype))
    kept = {name.split(".")[0] for name, p in half.named_parameters() if p.dtype == torch.float32}
    assert kept == {"audio_transformer"} and half.get_input_embeddings().weight.dtype == torch.float16
    draw = torch.Generator().manual_seed(0)
    features = 5000 * torch.randn(1, 16, 1024, generator=draw)
    inputs = {
        "audio_embeds": features,
        "audio_mask": torch.ones(1, 16),
        "input_ids": torch.tensor([[2, 20, 157, 30, 31]]),
    }
    with torch.inference_mode():
        wanted, found = whole(**inputs).logits, half(**inputs).logits.float()
        torch.testing.assert_close(found, wanted, atol=0.03, rtol=0.02)
        assert half.audio_transformer.half()(features.half()).isnan().any(), "which is why it is not in float16"


def test_float32_only_where_there_is_room(monkeypatch):
    monkeypatch.setattr("afcore.engine.precision.cpu_has_bfloat16", lambda: False)
    memory = engines.psutil.virtual_memory()
    for room, dtype in ((8e9, torch.bfloat16), (16e9, torch.float32)):
        monkeypatch.setattr(engines.psutil, "virtual_memory", lambda room=room: memory._replace(available=room))
        assert engines.choose_precision("cpu").dtype == dtype
    monkeypatch.setattr(engines.psutil, "virtual_memory", lambda: memory._replace(available=8e9))
    assert "more memory than there is" in engines.choose_precision("cpu").reason
    assert engines.choose_precision("cpu", torch.float32).dtype == torch.float32


def test_a_saved_chat_model_is_the_same(chat, tmp_path, monkeypatch):
    """The published layout: its kind of prompts, its limits and its encoder come along."""
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr(paths, "BANK", tmp_path / "bank")
    folder = chat.save(tmp_path / "data" / "models" / "mine")
    again = load_engine("mine", "cpu", dtype=torch.float32)
    assert (again.name, again.kind, again.max_shots, again.calibration) == ("mine", "chat", 3, chat.calibration)
    assert again.features_name == chat.features_name and weights_of("mine") != ""
    heard, labels = chat.hear(tone_clip(430)), ["horn", "hum", "a buzz"]
    # Equal but for the order in which threads add: 4e-8 was seen.
    assert again.classify(again.hear(tone_clip(430)), labels) == pytest.approx(chat.classify(heard, labels), rel=1e-5)
    (folder / "clapcap.safetensors").unlink()
    with pytest.raises(MissingPart, match=r"clapcap\.safetensors is missing"):
        load_engine(str(folder))
