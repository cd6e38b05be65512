"""From the published files to a folder that `from_pretrained` loads, and everything that may be wrong with them."""

import functools
import json
import shutil
import zipfile

import pytest
import torch
from golden_cases import CASES, GOLDEN, HERE, check_case, check_windows, fill_module, name_of, published_config
from tokenizers import Tokenizer, models
from transformers import PreTrainedTokenizerFast

from afcore.checkpoints import CheckpointError, files
from afcore.checkpoints.synthetic import write_published
from afcore.errors import MissingPart
from afcore.published.convert import CLAPCAP, convert_clapcap, convert_flamingo
from afcore.published.converted import load_converted, load_flamingo

NAMES = sorted({name_of(path) for path in CASES})
KEY = "lang_encoder.model.decoder.layers.1.decoder_layer.fc1.weight"
COPY = "lang_encoder.old_decoder_blocks.1.fc1.weight"


def published(name=NAMES[0]) -> dict[str, torch.Tensor]:
    seed = json.loads((GOLDEN / f"flamingo-{name}.config.json").read_text())["fill_seed"]
    arrays = fill_module().state_dict(GOLDEN / f"flamingo-{name}.keys.json", seed)
    return {key: torch.from_numpy(value) for key, value in arrays.items()}


def config(name=NAMES[0]):
    return published_config(json.loads((GOLDEN / f"flamingo-{name}.config.json").read_text()))


def save(state, path, **beside):
    torch.save({"model_state_dict": state, **beside}, path)
    return path


def convert(source, destination, dtype=torch.float32, **options):
    return convert_flamingo(source, destination, config(), None, dtype, **options)


def same(folder, state=None):
    """Whether the converted folder has exactly the weights of the published `state`, in float32."""
    model = load_flamingo(folder, dtype=torch.float32)
    from afcore.checkpoints.published import load_published

    expected = load_published(state or published(), config()).state_dict()
    return all(torch.equal(value, expected[key]) for key, value in model.state_dict().items())


def tokenizer(size):
    """Any tokenizer of `size` tokens."""
    vocab = {f"t{i}": i for i in range(size)}
    return PreTrainedTokenizerFast(tokenizer_object=Tokenizer(models.WordLevel(vocab, unk_token="t0")))


@pytest.fixture(scope="module")
def clapcap(tmp_path_factory):
    """`clapcap_weights_2023.pth` with the golden numbers' weights, and an entry that captioning does not use."""
    arrays = fill_module().state_dict(HERE / "clapcap.keys.json", 0)
    source = tmp_path_factory.mktemp("clapcap") / "clapcap_weights_2023.pth"
    weights = {key: torch.from_numpy(value) for key, value in arrays.items()}
    torch.save({"model": weights | {"gpt.x": torch.zeros(1)}}, source)
    return source


@pytest.fixture(scope="module")
def converted(tmp_path_factory, clapcap):
    """NAME -> what `load_converted` makes of its published files after conversion in float32."""

    @functools.cache
    def load(name):
        sizes = json.loads((GOLDEN / f"flamingo-{name}.config.json").read_text())
        folder, fill = tmp_path_factory.mktemp(name), fill_module().fill
        write_published(
            GOLDEN / f"flamingo-{name}.keys.json",
            folder / "chat.pt",
            lambda key, shape: fill(key, shape, sizes["fill_seed"]),
        )
        convert_flamingo(folder / "chat.pt", folder / "chat", config(name), tokenizer(sizes["vocab"]), torch.float32)
        convert_clapcap(clapcap, folder / "chat")
        return load_converted(folder / "chat", dtype=torch.float32)

    return load


@pytest.mark.parametrize("path", CASES, ids=lambda path: path.stem)
def test_published_numbers_after_conversion(path, converted):
    model, _, _ = converted(name_of(path))
    check_case(model, path)


def test_published_embeddings_after_conversion(converted):
    _, _, encoder = converted(NAMES[0])
    check_windows(encoder)


def test_shards_in_half_precision(tmp_path):
    shares = []
    folder = convert(
        save(published(), tmp_path / "chat.pt"),
        tmp_path / "chat",
        torch.bfloat16,
        shard_bytes=60_000,
        progress=lambda stage, share: shares.append(share),
    )
    shards = list(folder.glob("*.safetensors"))
    assert len(shards) > 2 and max(shard.stat().st_size for shard in shards) < 80_000
    assert shares == sorted(shares) and shares[-1] == 1
    half = load_flamingo(folder)
    assert half.dtype == torch.bfloat16
    whole = load_flamingo(convert(tmp_path / "chat.pt", tmp_path / "whole"), dtype=torch.float32)
    for key, value in whole.state_dict().items():
        assert torch.equal(half.state_dict()[key], value.to(torch.bfloat16)), key
    assert half.generation_config.eos_token_id == [2, 157]


def test_prefixes_buffers_and_what_stands_beside(tmp_path):
    state = {f"module.{key}": value for key, value in published().items()}
    state["module.audio_transformer.position_enc.pos_table"] = torch.zeros(1, 128, 32)
    folder = convert(save(state, tmp_path / "chat.pt", epoch=3, optimizer={"lr": 0.1}), tmp_path / "chat")
    assert same(folder)


def test_without_second_copies(tmp_path):
    state = {key: value for key, value in published().items() if "old_decoder_blocks" not in key}
    assert same(convert(save(state, tmp_path / "chat.pt"), tmp_path / "chat"))


def test_five_parts(tmp_path):
    """Parts that each hold some tensors, and slices of one file's bytes; any part names them all."""
    state = published()
    keys = list(state)
    for n in range(5):
        save({key: state[key] for key in keys[n::5]}, tmp_path / f"chat_part{n + 1}.pt")
    assert same(convert(tmp_path / "chat_part1.pt", tmp_path / "tensors"))
    data = save(state, tmp_path / "whole.pt").read_bytes()
    size = len(data) // 5 + 1
    for n in range(5):
        (tmp_path / f"chat_part{n + 1}.pt").write_bytes(data[n * size : (n + 1) * size])
    assert same(convert(tmp_path / "chat_part4.pt", tmp_path / "bytes"))
    (tmp_path / "chat_part3.pt").unlink()
    with pytest.raises(CheckpointError, match=r"chat_part3.pt of 5 parts missing"):
        convert(tmp_path / "chat_part1.pt", tmp_path / "missing")


def wrong_states():
    state = published()
    yield "lacks", {k: v for k, v in state.items() if k != KEY}, KEY.replace("lang_encoder", "language_model")
    yield "unexpected", {**state, "lang_encoder.surprise": torch.zeros(2)}, "lang_encoder.surprise"
    yield "shape", {**state, KEY: torch.zeros(3, 3)}, KEY
    yield "contradicts", {**state, COPY: state[COPY] + 1}, COPY
    yield "not numbers", {**state, KEY: state[KEY] * torch.nan, COPY: state[KEY] * torch.nan}, "contradicts|not numbers"
    yield "embeddings", {k: v for k, v in state.items() if "embed_tokens" not in k}, "embed_tokens"
    yield "twice", {**state, "module." + KEY: state[KEY]}, KEY
    yield "nothing", {}, "chat.pt"


@pytest.mark.parametrize("state, named", [pytest.param(s, n, id=i) for i, s, n in wrong_states()])
def test_wrong_content(state, named, tmp_path):
    source = save(state, tmp_path / "chat.pt")
    with pytest.raises(CheckpointError, match=named):
        convert(source, tmp_path / "chat")
    assert [path.name for path in tmp_path.iterdir()] == ["chat.pt"]


class Harmful:
    def __reduce__(self):
        return (print, ("this must never run",))


def test_wrong_files(tmp_path, capsys):
    whole = save(published(), tmp_path / "whole.pt").read_bytes()
    wrong = {
        "short.pt": (whole[: len(whole) // 2], "broken"),
        "empty.pt": (b"", "broken"),
        "page.pt": (b"<html>", "broken"),
        "flipped.pt": (whole[:30] + bytes(60) + whole[90:], ".*broken"),
    }
    for name, (data, sentence) in wrong.items():
        (tmp_path / name).write_bytes(data)
        with pytest.raises(CheckpointError, match=f"{name} .*{sentence}"):
            convert(tmp_path / name, tmp_path / "chat")
    torch.save({"model_state_dict": published(), "more": Harmful()}, tmp_path / "harmful.pt")
    with pytest.raises(CheckpointError, match=r"harmful.pt carries more than weights"):
        convert(tmp_path / "harmful.pt", tmp_path / "chat")
    torch.save([1, 2], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="no named tensors"):
        convert(tmp_path / "list.pt", tmp_path / "chat")
    with zipfile.ZipFile(tmp_path / "archive.pt", "w") as archive:
        archive.writestr("readme", "hello")
    with pytest.raises(CheckpointError, match="broken"):
        convert(tmp_path / "archive.pt", tmp_path / "chat")
    with pytest.raises(CheckpointError, match=r"no file absent.pt"):
        convert(tmp_path / "absent.pt", tmp_path / "chat")
    assert not (tmp_path / "chat").exists() and not list(tmp_path.glob(".*"))
    assert "never run" not in capsys.readouterr().out


def test_too_little_disk(tmp_path, monkeypatch):
    source = save(published(), tmp_path / "chat.pt")
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(files.shutil, "disk_usage", lambda path: usage._replace(free=1_000_000))
    with pytest.raises(MissingPart, match=r"0.2 GB of free disk"):
        convert(source, tmp_path / "chat")
    assert [path.name for path in tmp_path.iterdir()] == ["chat.pt"]


def test_interrupted(tmp_path):
    """A disk that fills up on the way, or a person who stops: nothing is left, and it can be done again."""
    source = save(published(), tmp_path / "chat.pt")
    for error, seen in (
        (OSError(28, "No space left on device"), MissingPart),
        (KeyboardInterrupt(), KeyboardInterrupt),
    ):

        def stop(stage, share, error=error):
            if share > 0.5:
                raise error

        with pytest.raises(seen):
            convert(source, tmp_path / "chat", shard_bytes=10_000, progress=stop)
        assert [path.name for path in tmp_path.iterdir()] == ["chat.pt"]
    assert same(convert(source, tmp_path / "chat"))
    with pytest.raises(CheckpointError, match="there already"):
        convert(source, tmp_path / "chat")


def test_memory_is_a_shard_not_the_file(tmp_path):
    """Anonymous memory while a file of 340 MB is converted in shards of 8 MB."""
    layers, hidden = 8, 768
    opt = {
        "model_type": "opt",
        "hidden_size": hidden,
        "word_embed_proj_dim": hidden,
        "num_hidden_layers": layers,
        "num_attention_heads": 8,
        "ffn_dim": 4 * hidden,
        "vocab_size": 400,
        "max_position_embeddings": 64,
    }
    from afcore.model import AudioFlamingoConfig
    from afcore.published.convert import _wanted

    sizes = AudioFlamingoConfig(
        text_config=opt, feature_width=32, audio_width=32, audio_heads=4, audio_inner=64, cross_attn_every=4
    )
    names = {key.replace("language_model.", "lang_encoder."): list(shape) for key, shape in _wanted(sizes).items()}
    entries = {key: {"shape": shape} for key, shape in names.items()}
    entries |= {
        key.replace("model.decoder.layers.", "old_decoder_blocks.").replace(".decoder_layer", ""): {
            "shape": shape,
            "same_as": key,
        }
        for key, shape in names.items()
        if ".decoder_layer." in key
    }
    (tmp_path / "keys.json").write_text(json.dumps(entries))
    write_published(tmp_path / "keys.json", tmp_path / "chat.pt")
    assert (tmp_path / "chat.pt").stat().st_size > 450e6

    def anonymous(*_):
        with open("/proc/self/status") as status:
            lines = dict(line.split(":", 1) for line in status)
        seen.append(int(lines["RssAnon"].split()[0]) * 1024)

    seen = []
    anonymous()
    convert_flamingo(tmp_path / "chat.pt", tmp_path / "chat", sizes, None, progress=anonymous, shard_bytes=8_000_000)
    assert max(seen) - seen[0] < 100e6, [round(value / 1e6) for value in seen]


def test_tokenizer_must_fit(clapcap, tmp_path):
    source = save(published(), tmp_path / "chat.pt")
    with pytest.raises(CheckpointError, match=r"159 tokens.*160 rows"):
        convert_flamingo(source, tmp_path / "chat", config(), tokenizer(159))
    folder = convert_flamingo(source, tmp_path / "chat", config(), tokenizer(160))
    with pytest.raises(MissingPart, match=CLAPCAP):
        load_converted(folder)
    convert_clapcap(clapcap, folder)
    model, again, encoder = load_converted(folder)
    assert model.dtype == torch.bfloat16 and len(again) == 160
    weight = fill_module().fill("clap.projection.linear1.weight", tuple(encoder.projection.linear1.weight.shape))
    assert torch.equal(encoder.projection.linear1.weight, torch.from_numpy(weight))


def test_damaged_folder(tmp_path):
    with pytest.raises(MissingPart, match="no converted model"):
        load_flamingo(tmp_path)
    folder = convert(save(published(), tmp_path / "chat.pt"), tmp_path / "chat", shard_bytes=50_000)
    shard = sorted(folder.glob("*.safetensors"))[1]
    data = shard.read_bytes()
    shard.write_bytes(data[:100])
    with pytest.raises(CheckpointError):
        load_flamingo(folder)
    shard.unlink()
    with pytest.raises(CheckpointError):
        load_flamingo(folder)
