"""Getting the published models, from a hub that is made up: files, licences, disk, interruptions, wrong files."""

import json
import shutil
import threading
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from afcore import paths
from afcore.checkpoints import CheckpointError
from afcore.clap import laion
from afcore.cli import main
from afcore.errors import BadRequest, Cancelled, MissingPart
from afcore.published import download, folders, hub, items
from afcore.published.converted import load_converted

CHAT = "audio-flamingo-chat"


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    """The folder where published models go, on a disk with room for them; the packages' own hub files are there
    already."""
    free_space(monkeypatch, 1_000_000_000_000)
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    monkeypatch.setattr(laion, "missing_hub_files", lambda: [])
    return tmp_path / "data" / "published"


def free_space(monkeypatch, count: int) -> None:
    """The disk has `count` bytes free: what is made here is small, but room is asked for what is published."""
    usage = shutil.disk_usage(Path.cwd())
    monkeypatch.setattr("afcore.checkpoints.files.shutil.disk_usage", lambda path: usage._replace(free=count))


@pytest.fixture(scope="module")
def laion_file(tmp_path_factory):
    """What looks like LAION-CLAP's checkpoint from afar."""
    file = tmp_path_factory.mktemp("laion") / folders.LAION_FILE
    names = ("module.audio_branch.patch_embed.proj.weight", "module.text_projection.0.weight")
    torch.save({"state_dict": dict.fromkeys(names, torch.zeros(2))}, file)
    return file


class Hub:
    """A hub whose files are these; `fetched` is what was taken from it."""

    def __init__(self, files: dict[tuple[str, str], Path], monkeypatch):
        self.files, self.fetched, self.error, self.licences = files, [], None, {}
        monkeypatch.setattr(hub, "sizes", self.sizes)
        monkeypatch.setattr(hub, "fetch", self.fetch)
        monkeypatch.setattr(hub, "listing", self.listing)

    def listing(self, repository, stop=None):
        if self.error:
            raise MissingPart(self.error)
        sizes = {name: file.stat().st_size for (one, name), file in self.files.items() if one == repository}
        return hub.Listing(sizes, self.licences.get(repository, "other"))

    def sizes(self, repository, names, stop=None):
        if self.error:
            raise MissingPart(self.error)
        return {n: self.files[repository, n].stat().st_size for n in names if (repository, n) in self.files}

    def fetch(self, repository, name, folder=None, progress=None, stop=None):
        source, target = self.files[repository, name], folder / name
        for done in range(1, 4):
            progress(source.stat().st_size * done // 3)
        folder.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(source, target)
        self.fetched.append(name)
        return target


@pytest.fixture
def on_hub(sources, laion_file, monkeypatch):
    files = {
        ("nvidia/audio-flamingo", "chat.pt"): sources / "chat.pt",
        ("lukewys/laion_clap", laion_file.name): laion_file,
        ("microsoft/msclap", "clapcap_weights_2023.pth"): sources / "clapcap_weights_2023.pth",
    }
    files |= {("facebook/opt-iml-max-1.3b", file.name): file for file in (sources / "opt").iterdir()}
    return Hub(files, monkeypatch)


def left(home) -> list[str]:
    """What lies there, downloads apart."""
    return sorted(file.name for file in home.iterdir() if file.name != "downloads") if home.exists() else []


def test_everything_is_fetched_and_converted(home, on_hub):
    seen = []
    sentence = download.get(CHAT, agreed=True, progress=lambda stage, share: seen.append((stage, share)))
    assert "ready" in sentence and "not needed any more" in sentence
    model, tokenizer, encoder = load_converted(folders.folder_of("chat"))
    assert len(tokenizer) == model.config.text_config.vocab_size == 160 and encoder.width == 1024
    assert folders.is_ready("chat") and folders.laion_file().is_file()
    assert left(home) == [CHAT, "laion-clap"]
    stages = [stage.split(" (")[0] for stage, _ in seen]
    assert "Downloading chat.pt" in stages and "Converting the weights" in stages
    first = [share for stage, share in seen if stage != "Asking the hub for sizes"][
        : stages.index("Converting the weights")
    ]
    assert first == sorted(first)
    on_hub.fetched.clear()
    download.get(CHAT, agreed=True)
    assert on_hub.fetched == []


def test_without_agreement_nothing_is_fetched(home, on_hub, capsys):
    on_hub.error = "No hub."
    with pytest.raises(BadRequest, match="non-commercial"):
        download.get(CHAT)
    assert main.main(["get", CHAT]) == 2  # standard input is no terminal
    out, err = capsys.readouterr()
    assert "17.7 GB" in out and "nvidia/audio-flamingo: chat.pt" in out and "non-commercial" in out and "5 GB" in out
    assert "approximate, since the hub could not be asked: No hub." in out
    assert err.count("\n") == 1 and "--agree" in err and left(home) == [] and on_hub.fetched == []


def test_sizes_and_licences_are_the_hubs_where_it_can_be_asked(on_hub, monkeypatch):
    monkeypatch.setattr(laion, "HUB_FILES", {})
    on_hub.licences["microsoft/msclap"] = "ms-pl"
    wanted = [item for item in items.files_of(CHAT) if not item.cached]
    found = {item.key: item for item in items.as_the_hub_says(wanted)}
    assert found["clapcap"].licence.endswith("the hub names it “ms-pl”") and found["weights"].agree
    assert found["clapcap"].size == on_hub.files["microsoft/msclap", "clapcap_weights_2023.pth"].stat().st_size
    gone = [replace(item, names=("gone.pt",)) for item in wanted]
    with pytest.raises(MissingPart, match=r"has no gone\.pt any more"):
        items.as_the_hub_says(gone)


def test_on_the_command_line(home, on_hub, capsys):
    assert main.main(["get", CHAT, "--agree"]) == 0
    assert "The model is ready" in capsys.readouterr().out and folders.is_ready("chat")
    assert main.main(["get", CHAT]) == 0
    assert "here already" in capsys.readouterr().out


def test_files_at_hand(home, on_hub, sources, laion_file):
    """In any order; only what is not given is fetched, and what is given stays."""
    given = [laion_file, sources / "opt", sources / "clapcap_weights_2023.pth", sources / "chat.pt"]
    on_hub.error = "The hub was asked."
    download.get(CHAT, True, given)
    assert folders.is_ready("chat") and on_hub.fetched == [] and all(path.exists() for path in given)
    assert folders.laion_file().read_bytes() == laion_file.read_bytes()
    assert "downloads" not in [file.name for file in home.iterdir()]
    with pytest.raises(BadRequest, match="here already: remove"):
        download.get(CHAT, True, given)
    with pytest.raises(BadRequest, match=r"chat.pt belongs to audio-flamingo-chat"):
        download.get("audio-flamingo-foundation", True, given)


def test_a_folder_with_everything(home, on_hub, sources):
    download.get(CHAT, True, [sources])
    assert folders.is_ready("chat") and on_hub.fetched == [folders.LAION_FILE]


def test_without_laion_clap_the_model_is_ready_all_the_same(home, on_hub, sources):
    on_hub.error = "No connection."
    with pytest.raises(MissingPart, match=r"model is ready, but .* mini CLAP: No connection"):
        download.get(CHAT, True, [sources])
    assert folders.is_ready("chat")


def test_five_parts_on_the_hub(home, on_hub, sources, tmp_path, monkeypatch):
    data = (sources / "chat.pt").read_bytes()
    size = len(data) // 5 + 1
    del on_hub.files["nvidia/audio-flamingo", "chat.pt"]
    for n in range(5):
        part = tmp_path / f"chat_part{n + 1}.pt"
        part.write_bytes(data[n * size : (n + 1) * size])
        on_hub.files["nvidia/audio-flamingo", part.name] = part
    given = [tmp_path / "chat_part2.pt", sources / "opt", sources / "clapcap_weights_2023.pth"]
    small = sum(file.stat().st_size for file in [*(sources / "opt").iterdir(), given[-1]])
    room = len(data) + small + items.CONVERTED + items.LAION_FILES[0].size  # but for joining the parts
    free_space(monkeypatch, room + len(data) // 2)
    with pytest.raises(MissingPart, match="of free disk"):
        download.get(CHAT, True)
    free_space(monkeypatch, items.CONVERTED + len(data) // 2)
    with pytest.raises(MissingPart, match="of free disk"):
        download.get(CHAT, True, given)
    assert on_hub.fetched == [] and left(home) == []
    free_space(monkeypatch, room + len(data))
    download.get(CHAT, True)
    assert folders.is_ready("chat") and "chat_part5.pt" in on_hub.fetched
    with pytest.raises(MissingPart, match=r"no file foundation_part1.pt"):
        download.get("audio-flamingo-foundation", True)


def test_no_connection(home, on_hub):
    on_hub.error = "The hub cannot be reached."
    with pytest.raises(MissingPart, match="cannot be reached"):
        download.get(CHAT, True)
    assert left(home) == []


def test_too_little_disk_is_seen_before_anything_is_fetched(home, on_hub, monkeypatch):
    free_space(monkeypatch, 4_000_000_000)
    with pytest.raises(MissingPart, match="of free disk"):
        download.get(CHAT, True)
    assert on_hub.fetched == [] and left(home) == []


def test_a_disk_that_fills_up_while_converting(home, on_hub, monkeypatch):
    from afcore.published import convert

    def full(*_, **__):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(convert, "_write_shards", full)
    with pytest.raises(MissingPart, match="full; nothing was kept"):
        download.get(CHAT, True)
    assert left(home) == []


def test_stopping(home, on_hub):
    for until in ("Downloading clapcap", "Converting the weights"):
        stop = threading.Event()

        def seen(stage, share, until=until, stop=stop):
            if stage.startswith(until):
                stop.set()

        with pytest.raises(Cancelled, match="kept for the next time"):
            download.get(CHAT, True, progress=seen, stop=stop)
        assert left(home) == []
    download.get(CHAT, True)
    assert folders.is_ready("chat")


def test_a_broken_download_is_fetched_anew(home, on_hub, tmp_path):
    whole = on_hub.files["nvidia/audio-flamingo", "chat.pt"]
    half = tmp_path / "half.pt"
    half.write_bytes(whole.read_bytes()[:1_000_000])
    on_hub.files["nvidia/audio-flamingo", "chat.pt"] = half
    with pytest.raises(CheckpointError, match=r"chat.pt is broken"):
        download.get(CHAT, True)
    assert left(home) == [] and not list(home.rglob("chat.pt"))
    on_hub.files["nvidia/audio-flamingo", "chat.pt"] = whole
    download.get(CHAT, True)
    assert folders.is_ready("chat")


def test_wrong_files_are_refused_in_a_sentence(home, on_hub, sources, tmp_path):
    torch.save({"weights": torch.zeros(1)}, tmp_path / "other.pt")
    (tmp_path / "page.pt").write_text("<html>")
    (tmp_path / "empty").mkdir()
    for name, error, words in (
        ("other.pt", BadRequest, "none of the files"),
        ("page.pt", CheckpointError, "broken"),
        ("empty", BadRequest, "none of the files"),
        ("gone.pt", BadRequest, "no file or folder"),
    ):
        with pytest.raises(error, match=words):
            download.get(CHAT, True, [tmp_path / name])
    torch.save({"model_state_dict": {"lang_encoder.x": torch.zeros(1)}}, tmp_path / "chat.pt")
    with pytest.raises(CheckpointError, match="embed_tokens"):
        download.get(CHAT, True, [tmp_path / "chat.pt", sources / "opt", sources / "clapcap_weights_2023.pth"])
    shutil.copytree(sources / "opt", tmp_path / "opt")
    (tmp_path / "opt" / "config.json").write_text(json.dumps({"model_type": "llama"}))
    with pytest.raises(CheckpointError, match="not OPT's"):
        download.get(CHAT, True, [tmp_path / "opt", sources / "chat.pt", sources / "clapcap_weights_2023.pth"])
    assert left(home) == []
    with pytest.raises(BadRequest, match="laion-clap"):
        items.files_of("nothing")


def test_what_a_killed_conversion_left_is_cleared(home, on_hub):
    dead = home / f".{CHAT}.999999999.partial"
    dead.mkdir(parents=True)
    download.get("laion-clap")
    assert not dead.exists() and folders.laion_file().is_file()
