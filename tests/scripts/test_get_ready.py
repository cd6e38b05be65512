"""Set-up without installing anything: what it skips, what it makes again, what it says when it cannot go on."""

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "get_ready.py"


@pytest.fixture
def setup(tmp_path, monkeypatch):
    """scripts/get_ready.py in a repository with a space in its path; `setup.pip_calls` lists what pip was asked for."""
    spec = importlib.util.spec_from_file_location("get_ready", SCRIPT)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    root = tmp_path / "a folder"
    root.mkdir()
    for name in ("requirements.txt", "requirements-nodeps.txt", "requirements-test.txt", "requirements.lock"):
        (root / name).write_bytes((SCRIPT.parents[1] / name).read_bytes())
    venv = root / ".venv"
    for name, value in {
        "REPOSITORY": root,
        "VENV": venv,
        "PYTHON": venv / "bin" / "python",
        "KIND": venv / ".kind",
        "UNFINISHED": venv / ".unfinished",
        "BROWSER": venv / ".browser",
    }.items():
        monkeypatch.setattr(module, name, value)
    module.pip_calls, module.pip_works = [], True

    def pip(*arguments, quiet=False):
        module.pip_calls.append(arguments)
        return module.pip_works

    monkeypatch.setattr(module, "pip", pip)
    venv.mkdir()
    return module


def test_packages_are_installed_once_and_again_when_a_pin_changes(setup):
    files, stamp = ("requirements-test.txt",), setup.VENV / ".test"
    setup.install(files, stamp, "3.11.2 cpu")
    setup.install(files, stamp, "3.11.2 cpu")
    assert len(setup.pip_calls) == 1 and not setup.UNFINISHED.exists()
    (setup.REPOSITORY / "requirements.lock").write_text("pytest==0.0\n")
    setup.install(files, stamp, "3.11.2 cpu")
    assert len(setup.pip_calls) == 2


def test_what_declares_too_much_comes_without_it(setup):
    setup.install(("requirements.txt", "requirements-nodeps.txt"), setup.VENV / ".app", "3.11.2 cuda")
    everything, alone = setup.pip_calls
    assert "--no-deps" in alone and "--no-deps" not in everything and "-c" in everything
    # laion-clap is named as a requirement, and still comes without the wandb that it declares.
    assert "laion-clap==1.1.7" in setup.pins("requirements.txt") and "laion-clap==1.1.7" in alone
    assert "laion-clap==1.1.7" not in everything and {"streamlit==1.67.0", "faiss-cpu==1.15.1"} <= set(everything)


def test_a_failed_installation_leaves_no_stamp_and_is_made_again_from_nothing(setup, capsys, monkeypatch):
    setup.pip_works = False
    with pytest.raises(SystemExit, match="pip could not install requirements-test.txt"):
        setup.install(("requirements-test.txt",), setup.VENV / ".test", "3.11.2 cpu")
    assert setup.UNFINISHED.exists() and not (setup.VENV / ".test").exists()

    def venv(command):
        assert command[1:3] == ["-m", "venv"]
        setup.PYTHON.parent.mkdir()
        setup.PYTHON.symlink_to(sys.executable)
        return subprocess.CompletedProcess(command, 0)

    monkeypatch.setattr(setup, "subprocess", SimpleNamespace(run=venv))
    monkeypatch.setattr(setup, "succeeds", lambda *command: Path(command[0]).exists())
    half, marker = setup.VENV / "half", setup.VENV / "kept"
    half.touch()
    setup.make_venv("3.11.2 cpu")
    assert not half.exists() and not setup.UNFINISHED.exists() and "removing" in capsys.readouterr().out
    marker.touch()
    setup.make_venv("3.11.2 cpu")
    assert marker.exists()
    setup.make_venv("3.11.2 cuda")  # a GPU that appeared wants another torch
    assert not marker.exists()
    setup.subprocess.run = lambda command: subprocess.CompletedProcess(command, 1)
    with pytest.raises(SystemExit, match="could not be made"):
        setup.make_venv("3.11.2 cpu")
    assert setup.UNFINISHED.exists()  # so the next run starts afresh


def test_a_venv_of_someone_else_is_left_alone(setup):
    (setup.VENV / "pyvenv.cfg").touch()
    with pytest.raises(SystemExit, match="did not make"):
        setup.make_venv("3.11.2 cpu")
    assert (setup.VENV / "pyvenv.cfg").exists()


def test_without_a_browser_one_sentence_says_what_to_do(setup, monkeypatch):
    monkeypatch.delenv("CHROMIUM", raising=False)
    monkeypatch.setattr(setup.shutil, "which", lambda name: None)
    monkeypatch.setattr(setup, "apt_install", lambda package: False)
    monkeypatch.setattr(setup, "succeeds", lambda *command: False)
    with pytest.raises(SystemExit, match="apt-get install chromium.*CHROMIUM=.*make unit"):
        setup.get_browser()


def test_every_requirement_is_pinned_and_none_is_torchvision_or_torchaudio():
    pins = {}
    for name in ("requirements.txt", "requirements-nodeps.txt", "requirements-test.txt", "requirements.lock"):
        for line in (SCRIPT.parents[1] / name).read_text().splitlines():
            if line.strip() and not line.startswith("#"):
                package, version = line.split("==")
                assert pins.setdefault(package.lower().replace("_", "-"), version) == version, line
    assert not {"torchvision", "torchaudio", "sentence-transformers"} & set(pins)
