"""LAION-CLAP by its own package, against transformers' CLAP on the same weights: tiny, random, made on the spot."""

import importlib.util
import json
import sys

import huggingface_hub
import librosa
import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from tokenizers.pre_tokenizers import ByteLevel
from transformers import ClapConfig, ClapFeatureExtractor, ClapModel, RobertaConfig, RobertaModel, RobertaTokenizer

from afcore.audio.recording import Clip, from_samples
from afcore.checkpoints import CheckpointError
from afcore.clap import laion
from afcore.errors import MissingPart

TEXTS = ["a dog barks", "rain on a tin roof, then thunder", "x"]


def bytes_tokenizer() -> dict[str, str]:
    """Files of a byte-level tokenizer without merges, as RoBERTa's and Bart's."""
    tokens = ["<s>", "<pad>", "</s>", "<unk>", *sorted(ByteLevel.alphabet()), "<mask>"]
    return {"vocab.json": json.dumps({token: i for i, token in enumerate(tokens)}), "merges.txt": "#version: 0.2\n"}


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A hub cache with a one-layer RoBERTa and the tokenizers that the package opens while it is imported."""
    cache = tmp_path_factory.mktemp("hub")
    config = RobertaConfig(
        vocab_size=261,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=48,
        max_position_embeddings=90,
        pad_token_id=1,
        type_vocab_size=1,
    )
    files = {
        "bert-base-uncased": {"vocab.txt": "[PAD]\n[UNK]\n[CLS]\n[SEP]\n[MASK]\na\n"},
        "facebook/bart-base": bytes_tokenizer(),
        "roberta-base": bytes_tokenizer() | {"config.json": config.to_json_string(use_diff=False)},
    }
    for repository, contents in files.items():
        folder = cache / ("models--" + repository.replace("/", "--"))
        snapshot = folder / "snapshots" / ("0" * 40)
        snapshot.mkdir(parents=True)
        (folder / "refs").mkdir()
        (folder / "refs" / "main").write_text("0" * 40)
        for name, text in contents.items():
            (snapshot / name).write_text(text)
        if repository == "roberta-base":
            save_file(RobertaModel(config).state_dict(), snapshot / "model.safetensors", {"format": "pt"})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
        # try_to_load_from_cache read the constant when it was defined.
        patch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(cache), raising=False)
        yield cache, config


@pytest.fixture(scope="module", params=[True, False], ids=["fusion", "non-fusion"])
def checkpoint(request, hub, tmp_path_factory):
    """A checkpoint file in the published layout with random weights: (file, fusion)."""
    net = laion.import_laion_clap().CLAP_Module(enable_fusion=request.param, device="cpu").model
    draw = torch.Generator().manual_seed(7)
    weights = {}
    for name, value in net.state_dict().items():
        if value.is_floating_point() and "_extractor." not in name:
            noise = torch.randn(value.shape, generator=draw)
            # Means and variances of the spectrogram's batch norm near those of real sounds, so that nothing saturates.
            if name.endswith("running_mean"):
                value = noise - 20 if ".bn0." in name else 0.1 * noise
            elif name.endswith("running_var"):
                value = 1 + noise.abs() + (200 if ".bn0." in name else 0)
            else:
                value = value + 0.02 * noise
        weights["module." + name] = value
    weights["module.text_branch.embeddings.position_ids"] = torch.arange(90)[None]
    file = tmp_path_factory.mktemp("laion") / "tiny.pt"
    torch.save({"epoch": 3, "best": np.float64(0.5), "state_dict": weights}, file)
    return file, request.param


def to_transformers(file, fusion, config) -> ClapModel:
    """transformers' CLAP with a LAION checkpoint's weights, by the key map of its own conversion."""
    model = ClapModel(
        ClapConfig(
            text_config=config.to_dict() | {"model_type": "clap_text_model"}, audio_config={"enable_fusion": fusion}
        )
    ).eval()
    renamed = {}
    for name, value in laion.read_checkpoint(file).items():
        if name.startswith("audio_branch."):
            for old, new in (
                ("audio_branch.", "audio_model.audio_encoder."),
                ("attn.proj", "attention.output.dense"),
                ("attn.relative", "attention.self.relative"),
                ("mlp.fc1", "intermediate.dense"),
                ("mlp.fc2", "output.dense"),
                ("norm1", "layernorm_before"),
                ("norm2", "layernorm_after"),
                ("bn0", "batch_norm"),
            ):
                name = name.replace(old, new)
            if ".attn.qkv." in name:
                for part, piece in zip(("query", "key", "value"), value.chunk(3), strict=True):
                    renamed[name.replace("attn.qkv", f"attention.self.{part}")] = piece
                continue
        name = name.replace("text_branch.", "text_model.")
        name = name.replace("_projection.0.", "_projection.linear1.").replace("_projection.2.", "_projection.linear2.")
        renamed[name] = value
    missing = model.load_state_dict(renamed, strict=False).missing_keys
    assert [
        name
        for name in missing
        if "position_ids" not in name and "relative_position_index" not in name and "token_type_ids" not in name
    ] == []
    return model


def sounds() -> list[Clip]:
    """Noise that is shorter than, exactly as long as, and longer than the 10 s that the network hears."""
    draw = np.random.default_rng(1)
    clips = []
    for i, seconds in enumerate((0.3, 10.0, 14.2)):
        samples = (0.2 * draw.standard_normal(int(seconds * laion.RATE))).clip(-1, 1).astype(np.float32)
        clips.append(Clip(samples, laion.RATE, 0.0, f"noise {i}", str(i) * 64))
    return clips


def features(clip: Clip, fusion: bool) -> torch.Tensor:
    """The same sound as transformers' own extractor gives it to its model, with the same draw of crops."""
    first = clip.samples[: 10 * laion.RATE]
    samples = np.trunc(first / np.abs(first).max() * 32767).astype(np.int16).astype(np.float32) / 32767
    state = np.random.get_state()
    np.random.seed(0)
    out = ClapFeatureExtractor(frequency_min=50, frequency_max=14_000)(
        samples,
        truncation="fusion" if fusion else "rand_trunc",
        padding="repeatpad",
        sampling_rate=laion.RATE,
        return_tensors="pt",
    )["input_features"]
    np.random.set_state(state)
    return out.float()


def unit(vectors: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(vectors, dim=-1).numpy()


def test_agrees_with_transformers(checkpoint, hub):
    file, fusion = checkpoint
    clap, other = laion.LaionClap(file), to_transformers(file, fusion, hub[1])
    assert clap.fusion is fusion and clap.name == "laion-clap/tiny, first 10 s"
    clips = sounds()
    with torch.inference_mode():
        longer = torch.tensor([[False]] * 3)
        expected = unit(
            other.get_audio_features(torch.cat([features(clip, fusion) for clip in clips]), longer).pooler_output
        )
        tokens = RobertaTokenizer.from_pretrained("roberta-base")(
            TEXTS, padding="max_length", max_length=77, return_tensors="pt"
        )
        expected_texts = unit(other.get_text_features(**tokens).pooler_output)
    vectors, texts = clap.audios(clips), clap.text(TEXTS)
    assert vectors.shape == (3, 512) and vectors.dtype == np.float32
    # A non-fusion network makes its own spectrogram in float32, the extractor in float64.
    np.testing.assert_allclose(vectors, expected, atol=1e-5 if fusion else 1e-4)
    np.testing.assert_allclose(texts, expected_texts, atol=1e-5)
    # Different sounds and texts are told apart by more than the tolerance, so agreement means something.
    assert np.abs(vectors[0] - vectors[2]).max() > 1e-3 and np.abs(texts[0] - texts[1]).max() > 1e-3
    # A sound's vector is the same alone and in a batch, and in a second call.
    np.testing.assert_allclose(np.stack([clap.audio(clip) for clip in clips]), vectors, atol=1e-6)
    assert clap.audios([]).shape == clap.text([]).shape == (0, 512)


def test_what_reaches_the_network():
    """As in the published code: the first 10 s of the first channel, peak 1, through 16 bits."""
    t = np.arange(25 * laion.RATE) / laion.RATE
    left = (0.01 * np.sin(2 * np.pi * 440 * t) * (1 + (t > 12))).astype(np.float32)  # louder after 12 s
    stereo = np.stack([left, 0.9 * left], 1)
    clip = from_samples(stereo, laion.RATE).clip()
    [quiet] = laion.heard(clip.samples[: 3 * laion.RATE])
    expected = np.trunc(np.float32(32767) * (left[: 3 * laion.RATE] / np.abs(left[: 3 * laion.RATE]).max())) / 32767
    np.testing.assert_allclose(quiet, expected, atol=1e-6)
    assert np.abs(quiet).max() == 1.0
    [long] = laion.heard(clip.samples)
    assert len(long) == 10 * laion.RATE and np.abs(long).max() == 1.0  # by the peak of what is heard
    np.testing.assert_allclose(long[: 3 * laion.RATE], quiet, atol=1e-4)
    [still] = laion.heard(np.zeros(4800, np.float32))
    assert len(still) == 4800 and not still.any()
    parts = laion.heard(clip.samples, whole=True)
    assert [len(part) for part in parts] == [10 * laion.RATE, 10 * laion.RATE, 5 * laion.RATE]
    assert len(laion.heard(clip.samples[: 10 * laion.RATE + 100], whole=True)) == 1  # a rest of less than 1 s


def test_fusion_spectrogram_is_the_packages(checkpoint):
    """Its `get_mel` needs torchaudio; a comment beside it gives the librosa call that equals it."""
    file, fusion = checkpoint
    if not fusion:
        pytest.skip("a non-fusion network computes its spectrogram itself")
    clap = laion.LaionClap(file)
    heard = [laion.heard(clip.samples)[0] for clip in sounds()]  # of the longest the first 10 s
    inputs = [clap._inputs(samples) for samples in heard]
    assert [bool(entry["longer"]) for entry in inputs] == [False, False, False]
    for samples, entry in zip(heard[1:], inputs[1:], strict=True):
        power = librosa.feature.melspectrogram(
            y=samples,
            sr=48_000,
            n_fft=1024,
            hop_length=480,
            pad_mode="reflect",
            power=2.0,
            n_mels=64,
            norm=None,
            htk=True,
            fmin=50,
            fmax=14_000,
        )
        expected = librosa.power_to_db(power, amin=1e-10, top_db=None).T
        np.testing.assert_allclose(entry["mel_fusion"].numpy(), np.stack([expected] * 4), atol=1e-3)


def test_import_leaves_nothing_behind(hub):
    before = list(sys.path)
    laion.import_laion_clap()
    assert sys.path == before and not any("laion_clap" in folder for folder in sys.path)
    assert not [name for name in sys.modules if name.split(".")[0] == "torchvision"]
    assert importlib.util.find_spec("torchvision") is None
    from transformers.utils import is_torchvision_available

    assert not is_torchvision_available()


def test_stand_in_has_specs_and_goes_after_an_error():
    with pytest.raises(KeyError), laion._torchvision_stand_in():
        assert importlib.util.find_spec("torchvision.transforms").name == "torchvision.transforms"
        raise KeyError
    assert "torchvision" not in sys.modules and "torchvision.ops.misc" not in sys.modules


def test_files_missing_from_the_hub_cache_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    monkeypatch.setattr("huggingface_hub.file_download.HF_HUB_CACHE", str(tmp_path), raising=False)
    assert len(laion.missing_hub_files()) == 7
    monkeypatch.delitem(sys.modules, "laion_clap", raising=False)
    with pytest.raises(MissingPart, match=r"vocab.txt of bert-base-uncased.*afcore get"):
        laion.import_laion_clap()


def test_no_start_asks_the_network(hub, checkpoint, monkeypatch):
    asked = []

    def look_up(host, *_, **__):
        asked.append(host)
        raise OSError("no network")

    file, _ = checkpoint
    monkeypatch.setattr("socket.getaddrinfo", look_up)
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_OFFLINE", False)
    huggingface_hub.close_session()  # an open connection would need no address
    laion.LaionClap(file)
    assert asked == []
    RobertaConfig.from_pretrained("roberta-base")
    assert asked  # as it is without care
    monkeypatch.undo()
    huggingface_hub.close_session()


def test_a_damaged_file_in_the_hub_cache_is_a_sentence(hub, checkpoint):
    cache, _ = hub
    [weights] = cache.glob("models--roberta-base/snapshots/*/model.safetensors")
    whole = weights.read_bytes()
    weights.write_bytes(whole[:1000])
    try:
        with pytest.raises(MissingPart, match=r"could not be opened here.*roberta-base.*afcore get laion-clap"):
            laion.LaionClap(checkpoint[0])
    finally:
        weights.write_bytes(whole)


def test_package_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "laion_clap", None)
    with pytest.raises(MissingPart, match="package laion-clap"):
        laion.import_laion_clap()


def test_checkpoints_that_are_refused(tmp_path, checkpoint):
    file, _ = checkpoint
    with pytest.raises(MissingPart, match="not at"):
        laion.LaionClap(tmp_path / "none.pt")

    class Harmful:
        def __reduce__(self):
            return (open, (str(tmp_path / "touched"), "w"))

    torch.save({"state_dict": {"a": Harmful()}}, tmp_path / "pickle.pt")
    (tmp_path / "half.pt").write_bytes(file.read_bytes()[:100_000])
    (tmp_path / "text.pt").write_text("not a checkpoint")
    for name in ("pickle.pt", "half.pt", "text.pt"):
        with pytest.raises(CheckpointError, match=name):
            laion.LaionClap(tmp_path / name)
    assert not (tmp_path / "touched").exists()

    torch.save({"state_dict": {"a": torch.zeros(1)}}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match="audio and text branches"):
        laion.LaionClap(tmp_path / "other.pt")
    weights = laion.read_checkpoint(file)
    weights["surplus"] = weights.pop("logit_scale_a")
    torch.save({"state_dict": weights}, tmp_path / "renamed.pt")
    with pytest.raises(CheckpointError, match="does not fit"):
        laion.LaionClap(tmp_path / "renamed.pt")
