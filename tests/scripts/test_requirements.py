"""The requirements files, the locks made from them, and what pyproject.toml declares: one list in three forms."""

import importlib.util
import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

import afcore

ROOT = Path(__file__).parents[2]
SUPPORTED = ["3.11.2", "3.12.3", "3.13.5", "3.14.0"]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())


def make_lock():
    """scripts/make_lock.py as a module."""
    spec = importlib.util.spec_from_file_location("make_lock", ROOT / "scripts" / "make_lock.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def wanted(file: str) -> dict[str, Requirement]:
    found = [Requirement(line.split("  #")[0]) for line in make_lock().names(file)]
    return {canonicalize_name(requirement.name): requirement for requirement in found}


def locked(file: str, python: str) -> dict[str, str]:
    """Name and version of what pip installs from a lock on Linux with that Python."""
    entries = {}
    for line in make_lock().versions((ROOT / file).read_text()).splitlines():
        requirement = Requirement(line)
        environment = {"python_full_version": python, "python_version": python.rpartition(".")[0], "extra": ""}
        environment |= {"sys_platform": "linux", "platform_system": "Linux", "platform_machine": "x86_64"}
        if requirement.marker is None or requirement.marker.evaluate(environment):
            name = canonicalize_name(requirement.name)
            assert name not in entries, f"two versions of {name} for Python {python}"
            entries[name] = next(iter(requirement.specifier)).version
    return entries


@pytest.mark.parametrize("python", SUPPORTED)
def test_locks_hold_a_version_in_range_of_all_that_is_wanted(python):
    app, dev = locked("requirements.lock", python), locked("requirements-dev.lock", python)
    ray = locked("requirements-ray.lock", python)
    assert not (app.keys() & dev.keys()) and not (app.keys() & ray.keys()), "what the app has comes from its lock"
    for file in ("requirements.txt", "requirements-nodeps.txt", "requirements-dev.txt", "requirements-ray.txt"):
        for name, requirement in wanted(file).items():
            marker = {"python_version": python.rpartition(".")[0]}
            if name == "torch" or (requirement.marker and not requirement.marker.evaluate(marker)):
                continue
            assert (app | dev | ray)[name] in requirement.specifier, f"{requirement}: run `make lock`"


def test_what_set_up_must_not_bring():
    """torch comes beforehand, in the build that fits; what a few packages declare beyond what is used never comes."""
    for python in SUPPORTED:
        names = set(locked("requirements.lock", python))
        assert not {name for name in names if re.match("torch$|triton|cuda-|nvidia-", name)}
        assert not names & {
            "torchvision",
            "torchaudio",
            "sentence-transformers",
            "wandb",
            "progressbar",
            "llama-cpp-python",
        }


def test_every_entry_of_a_lock_has_hashes():
    for file in ("requirements.lock", "requirements-dev.lock", "requirements-ray.lock"):
        lines = [line for line in (ROOT / file).read_text().splitlines() if not line.startswith("#")]
        entries = [i for i, line in enumerate(lines) if not line.startswith(" ")]
        assert entries and all(lines[i + 1].startswith("    --hash=sha256:") for i in entries), file


def test_without_drops_whole_entries():
    lock = "a==1 \\\n    --hash=sha256:1 \\\n    --hash=sha256:2\n"
    lock += "b==2 ; python_full_version < '3.12' \\\n    --hash=sha256:3\n"
    tool = make_lock()
    assert tool.without(lock, re.compile("a==")) == "b==2 ; python_full_version < '3.12' \\\n    --hash=sha256:3\n"
    assert tool.versions(lock) == "a==1\nb==2 ; python_full_version < '3.12'\n"
    assert tool.without(lock, tool.TORCH_AND_ITS_OWN) == lock
    own = "".join(
        f"{name}==1 \\\n    --hash=sha256:1\n" for name in ("torch", "triton", "nvidia-cudnn-cu13", "cuda-bindings")
    )
    assert tool.without(own + "torchlibrosa==1\n", tool.TORCH_AND_ITS_OWN) == "torchlibrosa==1\n"


def test_the_package_declares_what_requirements_txt_does():
    declared = {canonicalize_name(r.name): r for r in map(Requirement, PYPROJECT["project"]["dependencies"])}
    listed = wanted("requirements.txt")
    alone = set(wanted("requirements-nodeps.txt"))
    assert "laion-clap" in listed, "retrieval for the published model"
    assert set(declared) == set(listed) - alone
    for name, requirement in declared.items():
        if name == "torch":
            assert next(iter(listed[name].specifier)).version in requirement.specifier
        else:
            assert (requirement.specifier, str(requirement.marker)) == (
                listed[name].specifier,
                str(listed[name].marker),
            )


@pytest.mark.parametrize("extra", ["dev", "ray"])
def test_extras_are_the_other_requirements_files(extra):
    declared = {str(Requirement(line)) for line in PYPROJECT["project"]["optional-dependencies"][extra]}
    assert declared == set(map(str, wanted(f"requirements-{extra}.txt").values()))


def test_the_version_stands_once():
    assert PYPROJECT["project"]["dynamic"] == ["version"]
    assert PYPROJECT["tool"]["setuptools"]["dynamic"]["version"] == {"attr": "afcore._version.__version__"}
    assert re.fullmatch(r"\d+\.\d+\.\d+", afcore.__version__)


def test_the_console_command_is_the_module():
    module, _, function = PYPROJECT["project"]["scripts"]["afcore"].partition(":")
    spec = importlib.util.find_spec(module)
    assert f"from {module} import {function}" in (ROOT / "afcore" / "__main__.py").read_text() and spec is not None
