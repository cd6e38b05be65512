"""`import afcore`: quick, without torch, and everything that it promises is there."""

import importlib
import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
import soundfile
from tiny import RATE, tiny_engine, tone_clip

import afcore
from afcore import paths


@pytest.mark.parametrize("name", afcore.__all__)
def test_every_name_is_there(name):
    assert getattr(afcore, name) is not None
    if name in afcore._MODULES:
        assert getattr(importlib.import_module(afcore._MODULES[name]), name) is getattr(afcore, name)
    assert name in dir(afcore)


def test_no_name_is_forgotten():
    assert {*afcore._MODULES, "__version__"} == set(afcore.__all__)
    with pytest.raises(AttributeError, match="no attribute 'load_engines'"):
        afcore.load_engines  # noqa: B018


def test_importing_it_costs_next_to_nothing():
    """In a process of its own; the best of three, in processor time, since another process may have the processor."""
    code = "import time, sys, json; t = time.process_time(); import afcore; t = time.process_time() - t; "
    code += "print(json.dumps([t, [m for m in ('torch', 'numpy', 'transformers', 'streamlit') if m in sys.modules]]))"
    runs = [
        json.loads(subprocess.run([sys.executable, "-c", code], cwd=root(), capture_output=True, check=True).stdout)
        for _ in range(3)
    ]
    assert all(loaded == [] for _, loaded in runs)
    assert min(seconds for seconds, _ in runs) < 0.2


def test_the_readmes_example_runs(tmp_path, monkeypatch, capsys):
    """As it stands there, but for the model: a tiny one says something about a tone."""
    example = re.search(r"```python\n(.*?)```", Path(root(), "README.md").read_text(), re.DOTALL)[1]
    soundfile.write(tmp_path / "dog.ogg", tone_clip(600).samples, RATE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(afcore, "load_engine", lambda: tiny_engine(tmp_path))
    exec(example, {})
    assert capsys.readouterr().out.strip()


def root() -> str:
    return paths.__file__.rsplit("/", 2)[0]
