"""The trial of the Dockerfile without an engine: it knows every instruction that is in it, and does as it says."""

import importlib.util
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.fixture
def script():
    spec = importlib.util.spec_from_file_location("try_container", ROOT / "scripts" / "try_container.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_instruction_of_the_dockerfile_is_one_that_the_trial_does(script):
    found = list(script.instructions((ROOT / "Dockerfile").read_text()))
    assert found[0][0] == "FROM" and script.BASE.fullmatch(found[0][1])
    assert [name for name, _ in found].count("RUN") == 3
    with pytest.raises(ValueError, match="ADD"):
        list(script.instructions("FROM a\nADD b c\n"))


def test_the_last_words_are_those_that_start_the_app_and_ask_it(script, tmp_path):
    container = script.Container(tmp_path)
    for name, rest in script.instructions((ROOT / "Dockerfile").read_text()):
        if name not in ("FROM", "COPY", "RUN"):
            container.do(name, rest)
    assert container.user == "1000" and container.folder == "/app" and container.volumes == ["/data"]
    assert container.command[1:4] == ["-m", "streamlit", "run"] and "_stcore/health" in container.health[-1]
    assert container.variables["AFCORE_DATA"] == "/data" and container.asked == {"KIND": "cpu"}
    inside = " ".join(container.inside(["true"], network=False, privileged=False))
    assert "--net" in inside and "--no-new-privs" in inside and "--reuid=1000" in inside


@pytest.mark.parametrize(
    "path, left_out",
    [
        (".git/config", True),
        ("data/x.wav", True),
        ("afcore/__pycache__/a.pyc", True),
        ("afcore/data.py", False),
        (".venv/x", True),
    ],
)
def test_what_docker_would_leave_out_is_left_out(script, path, left_out):
    assert script.ignored(path, (ROOT / ".dockerignore").read_text().split()) == left_out
