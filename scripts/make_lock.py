"""`make lock`: exact versions with hashes, for every supported Python and platform, from the requirements files.

Three files: `requirements.lock` (the app), `requirements-dev.lock` and `requirements-ray.lock` (what comes on top).
They are whole, so pip installs them with `--no-deps`: that is how a package of requirements-nodeps.txt comes alone.

torch stands outside: its CPU builds are not on the package index, and have hashes of their own. The libraries that its
CUDA build brings stand outside with it; torch itself names their exact versions.
"""

import re
import subprocess
import sys
import tempfile
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
OLDEST_PYTHON = "3.11"
TORCH_AND_ITS_OWN = re.compile(r"(torch|triton|cuda-[a-z-]+|nvidia-[a-z0-9-]+)==")
HEAD = "# Made by `make lock` from {sources}; not to be edited by hand.\n"


def names(file: str) -> list[str]:
    """The lines of a requirements file that name a package."""
    lines = (REPOSITORY / file).read_text().splitlines()
    return [line.strip() for line in lines if line.strip() and not line.startswith("#")]


def locked(requirements: list[str], *options: str, below: str = "") -> str:
    """What `uv pip compile` makes of `requirements`, without comments. `below`: versions that hold here too."""
    with tempfile.TemporaryDirectory() as folder:
        source, constraints = Path(folder, "requirements.in"), Path(folder, "constraints.txt")
        source.write_text("\n".join(requirements))
        constraints.write_text(below)
        command: list[str | Path] = [
            Path(sys.executable).with_name("uv"),
            "pip",
            "compile",
            "--quiet",
            "--no-header",
            "--no-annotate",
        ]
        command += ["--universal", "--python-version", OLDEST_PYTHON, *options, "--constraints", constraints, source]
        run = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if run.returncode != 0:
        sys.exit("uv found no versions that go together: see the lines above.")
    return run.stdout


def versions(lock: str) -> str:
    """A lock's `name==version ; marker` lines, without hashes."""
    return "".join(line.rstrip(" \\") + "\n" for line in lock.splitlines() if re.match(r"[a-z0-9]", line))


def without(lock: str, unwanted: re.Pattern[str]) -> str:
    """A lock without the entries that `unwanted` matches; an entry is one line and the indented ones after it."""
    kept, keep = [], True
    for line in lock.splitlines(keepends=True):
        if not line.startswith(" "):
            keep = not unwanted.match(line)
        if keep:
            kept.append(line)
    return "".join(kept)


def main() -> None:
    alone = names("requirements-nodeps.txt")
    app = [line for line in names("requirements.txt") if line not in alone]
    everything = locked(app, "--generate-hashes")
    hashes = without(everything, TORCH_AND_ITS_OWN) + locked(alone, "--generate-hashes", "--no-deps")
    head = HEAD.format(sources="requirements.txt and requirements-nodeps.txt")
    (REPOSITORY / "requirements.lock").write_text(head + hashes)

    known = re.compile("|".join(re.escape(name) for name in re.findall(r"^[a-z0-9-]+==", everything, re.MULTILINE)))
    for part in ("dev", "ray"):
        more = locked(names(f"requirements-{part}.txt"), "--generate-hashes", below=versions(everything))
        head = HEAD.format(sources=f"requirements-{part}.txt, for beside requirements.lock")
        (REPOSITORY / f"requirements-{part}.lock").write_text(head + without(more, known))


if __name__ == "__main__":
    main()
