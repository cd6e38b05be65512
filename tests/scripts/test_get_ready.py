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
    for name in ("requirements.txt", "requirements.lock", "requirements-dev.lock"):
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


def test_packages_are_installed_once_and_again_when_a_version_changes(setup):
    lock, stamp = "requirements-dev.lock", setup.VENV / ".dev"
    setup.install(lock, stamp, "3.11.2 cpu")
    setup.install(lock, stamp, "3.11.2 cpu")
    assert len(setup.pip_calls) == 1 and not setup.UNFINISHED.exists()
    (setup.REPOSITORY / lock).write_text("pytest==0.0\n")
    setup.install(lock, stamp, "3.11.2 cpu")
    assert len(setup.pip_calls) == 2


def test_exactly_what_the_lock_lists_is_installed_and_every_file_of_it_checked(setup):
    setup.install("requirements.lock", setup.VENV / ".app", "3.11.2 cuda")
    torch, everything = setup.pip_calls
    # With a GPU torch brings the CUDA libraries that it names; nothing else brings anything.
    assert torch == (setup.torch_release(),)
    assert {"--no-deps", "--require-hashes"} <= set(everything)
    assert everything[-1] == str(setup.REPOSITORY / "requirements.lock")


def test_without_a_gpu_the_small_build_of_torch_is_looked_for_first(setup, monkeypatch):
    monkeypatch.setattr(setup.platform, "system", lambda: "Linux")
    tried = []

    def pip(*arguments, quiet=False):
        tried.append(arguments)
        return "--no-index" not in arguments

    def unreachable(address, timeout):
        raise OSError("no route")

    monkeypatch.setattr(setup, "pip", pip)
    monkeypatch.setattr(setup.urllib.request, "urlopen", unreachable)
    setup.install_torch("3.13.5 cpu")
    release = setup.torch_release()
    assert tried == [("--no-deps", "--no-index", release), (release,)]

    tried.clear()
    monkeypatch.setattr(setup.urllib.request, "urlopen", lambda address, timeout: SimpleNamespace(close=lambda: None))
    setup.install_torch("3.13.5 cpu")
    assert tried == [("--no-deps", "--no-index", release), ("--no-deps", "--index-url", setup.CPU_TORCH, release)]

    tried.clear()
    monkeypatch.setattr(setup, "has_torch", lambda release: True)
    setup.install_torch("3.13.5 cpu")
    assert tried == []


@pytest.mark.parametrize("version, fits", [((3, 10), False), ((3, 11), True), ((3, 14), True), ((3, 15), False)])
def test_pythons_that_are_too_old_or_too_new_are_named(setup, monkeypatch, version, fits):
    monkeypatch.setattr(
        setup, "sys", SimpleNamespace(version_info=(*version, 0), exit=sys.exit, executable=sys.executable)
    )
    monkeypatch.setattr(sys, "argv", ["get_ready.py", "unit"])
    for step in ("make_venv", "install", "get_mini"):
        monkeypatch.setattr(setup, step, lambda *_: None)
    if fits:
        setup.main()
    else:
        with pytest.raises(SystemExit, match=r"3.11 to 3.14"):
            setup.main()


def test_a_failed_installation_leaves_no_stamp_and_is_made_again_from_nothing(setup, capsys, monkeypatch):
    setup.pip_works = False
    with pytest.raises(SystemExit, match="pip could not install requirements-dev"):
        setup.install("requirements-dev.lock", setup.VENV / ".dev", "3.11.2 cpu")
    assert setup.UNFINISHED.exists() and not (setup.VENV / ".dev").exists()

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
    with pytest.raises(SystemExit, match=r"apt-get install chromium.*CHROMIUM=.*make unit"):
        setup.get_browser()
