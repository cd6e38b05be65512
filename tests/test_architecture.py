"""The layers of docs/architecture.md hold: the contracts under [tool.importlinter] in pyproject.toml, read from the
imports."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LINT = "from importlinter.cli import lint_imports_command; lint_imports_command()"


def lint(folder: Path) -> subprocess.CompletedProcess[str]:
    """`lint-imports` on the packages that stand in `folder`, after the contracts that stand there."""
    command = [sys.executable, "-c", LINT, "--no-cache", "--no-logo"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=120)


def test_packages_depend_one_way_and_no_module_imports_in_a_circle():
    outcome = lint(ROOT)
    assert outcome.returncode == 0, outcome.stdout + outcome.stderr
    assert "0 broken" in outcome.stdout


@pytest.mark.parametrize(
    "module, line, broken",
    [
        ("afcore/audio/clock.py", "from afcore.engine import results", "Packages depend one way"),
        ("afcore/audio/clock.py", "def late():\n    import afcore.cli.main", "Packages depend one way"),
        ("afcore/audio/spectrum.py", "from afcore.audio import envelope, windows", None),
        ("afcore/teach/schema.py", "import afcore.training.recipe", "Packages depend one way"),
        ("afcore/jobs.py", "import streamlit", "afcore draws nothing"),
        ("afcore/app/plots.py", "import pages.listen", "afcore draws nothing"),
        ("afcore/errors.py", "import afcore.jobs", "No module imports in a circle"),
        ("afcore/hall.py", "", "Packages depend one way"),  # a package that has no layer yet
    ],
)
def test_an_arrow_that_points_back_is_found(tmp_path, module, line, broken):
    for package in ("afcore", "pages"):
        shutil.copytree(ROOT / package, tmp_path / package, ignore=shutil.ignore_patterns("__pycache__", "*.json"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with open(tmp_path / module, "a") as file:
        file.write(f"\n{line}\n")
    outcome = lint(tmp_path)
    if broken is None:
        assert outcome.returncode == 0, outcome.stdout
    else:
        assert outcome.returncode == 1 and f"{broken} BROKEN" in outcome.stdout, outcome.stdout + outcome.stderr
