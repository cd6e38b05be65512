"""The worked example of docs/training.md, command by command, with mini itself."""

import importlib
import json
import re
import shlex

import pytest
import torch

from afcore import paths

REPOSITORY = paths.ASSETS.parent
DOCUMENT = REPOSITORY / "docs" / "training.md"
MISSING = [n for n in ("mini/flamingo.safetensors", "bank/bank.sqlite") if not (paths.ASSETS / n).exists()]


def commands() -> list[list[str]]:
    """The words of each command of the worked example."""
    section = DOCUMENT.read_text().split("## A worked example")[1].split("\n## ")[0]
    block = re.search(r"```sh\n(.*?)```", section, re.DOTALL)[1]
    return [shlex.split(line) for line in block.splitlines() if not line.startswith("#")]


@pytest.mark.slow
@pytest.mark.skipif(bool(MISSING), reason=f"not shipped yet: {', '.join(MISSING)}")
def test_the_worked_example_runs_as_documented(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(REPOSITORY)
    threads = torch.get_num_threads()
    ran = []
    for python, dash_m, module, *arguments in commands():
        assert (python, dash_m) == (".venv/bin/python", "-m")
        arguments = [a.replace("work/example", str(tmp_path)) for a in arguments]
        module = f"{module}.__main__" if module.endswith(".recipe") else module
        importlib.import_module(module).main(arguments)
        ran.append(module.split(".")[-1])
    torch.set_num_threads(threads)
    assert ran == ["manifests", "dialogues", "__main__"]
    stages = json.loads((REPOSITORY / "afcore/training/configs/example.json").read_text())["stages"]
    for stage in stages:
        log = [json.loads(line) for line in (tmp_path / stage["name"] / "log.jsonl").read_text().splitlines()]
        assert [row["step"] for row in log] == list(range(1, stage["steps"] + 1))
        assert all(0 < row["loss"] < 12 for row in log)
        for name in ("progress.html", "weights.safetensors"):  # as the document says
            assert (tmp_path / stage["name"] / name).stat().st_size > 1000
    assert (tmp_path / stages[-1]["name"] / "model" / "model.safetensors").exists()
    assert "Done: " in capsys.readouterr().out
