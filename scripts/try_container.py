"""The steps of Dockerfile and compose.yaml in a Debian root made by debootstrap, where there is no container engine.

    .venv/bin/python scripts/try_container.py /var/tmp/container      (as root; needs debootstrap and ip)

The base image is Debian's release of the same name with its own Python, which has to be of the same version. RUN, COPY,
ENV, USER and WORKDIR are done as written, in the folder that is named; then the app is started by CMD as compose.yaml
says (read-only root, temporary folders, no capabilities, no new privileges), without any network, and HEALTHCHECK is
asked until it answers. Variables that begin with `PIP_`, and this machine's certificates, are handed on to the build.
"""

import argparse
import fnmatch
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).resolve().parent.parent
CERTIFICATES = Path("/etc/ssl/certs/ca-certificates.crt")
MIRROR = "http://deb.debian.org/debian"
BASE = re.compile(r"python:(?P<python>[\d.]+)-slim-(?P<release>\w+)")
PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
KNOWN = set("FROM ARG SHELL RUN USER WORKDIR COPY ENV VOLUME EXPOSE HEALTHCHECK CMD".split())


def instructions(dockerfile: str) -> Iterator[tuple[str, str]]:
    """Name and rest of each; lines that end in a backslash are joined, comments left out.

    Raises ValueError for an instruction that is not done here.
    """
    lines = "\n".join(line for line in dockerfile.splitlines() if not line.lstrip().startswith("#"))
    for line in re.sub(r"\\\n", " ", lines).splitlines():
        if line.strip():
            name, rest = line.split(maxsplit=1)
            if name not in KNOWN:
                raise ValueError(f"{name} is not an instruction that is done here.")
            yield name, rest.strip()


def ignored(path: str, patterns: list[str]) -> bool:
    """Whether .dockerignore leaves out ``path``, relative to the repository: by itself or with a folder above it."""
    parts = path.split("/")
    above = ["/".join(parts[: i + 1]) for i in range(len(parts))]
    return any(
        fnmatch.fnmatch(one, pattern)
        or (pattern.startswith("**/") and fnmatch.fnmatch(one.split("/")[-1], pattern[3:]))
        for one in above
        for pattern in patterns
    )


class Container:
    """A root folder in which commands run as in a container."""

    def __init__(self, root: Path):
        self.root, self.user, self.folder = root, "0", "/"
        self.shell = ["/bin/sh", "-c"]
        self.variables = {"PATH": PATH}
        self.asked: dict[str, str] = {}  # build arguments
        self.command: list[str] = []
        self.health: list[str] = []
        self.volumes: list[str] = []

    def inside(self, command: list[str], before: str = "", network: bool = True, privileged: bool = True) -> list[str]:
        """``command`` as one to be run outside; what it mounts, and processes that it leaves, end with it.

        ``before``: shell commands done outside before it. ``privileged``: with the capabilities that a build has.
        """
        root = shlex.quote(str(self.root))
        drop = [] if privileged else ["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]
        enter = f"cd {shlex.quote(self.folder)} && exec " + shlex.join([*self.become(), *drop, *command])
        home = "/root" if self.user == "0" else "/home/app"
        clean = [f"{name}={value}" for name, value in {"HOME": home, **self.variables}.items()]
        steps = [
            f"mount --bind {root} {root}",
            before,
            f"mount --rbind /dev {root}/dev",
            f"mount -t proc proc {root}/proc",
            "" if network else "ip link set lo up",
            f"exec chroot {root} " + shlex.join(["env", "-i", *clean, "/bin/sh", "-c", enter]),
        ]
        script = "\n".join(["set -e", *filter(None, steps)])
        spaces = ["--mount", "--pid", "--fork", "--kill-child", *([] if network else ["--net"])]
        return ["unshare", *spaces, "/bin/sh", "-c", script]

    def become(self) -> list[str]:
        """What runs a command inside as the user that USER names."""
        return ["setpriv", f"--reuid={self.user}", f"--regid={self.user}", "--clear-groups"]

    def do(self, name: str, rest: str) -> None:
        """One instruction of the build."""
        if name == "SHELL":
            self.shell = json.loads(rest)
        elif name == "ARG":
            key, _, value = rest.partition("=")
            self.asked.setdefault(key, value)
        elif name == "USER":
            self.user = rest
        elif name == "WORKDIR":
            self.folder = rest
        elif name == "ENV":
            self.variables |= dict(pair.split("=", 1) for pair in shlex.split(rest))
        elif name == "VOLUME":
            self.volumes.append(rest)
        elif name == "CMD":
            self.command = json.loads(rest)
        elif name == "HEALTHCHECK":
            self.health = json.loads(rest[rest.index("CMD") + 3 :])
        elif name == "COPY":
            self.copy(shlex.split(rest))
        elif name == "RUN":
            handed = {key: value for key, value in os.environ.items() if key.startswith("PIP_")}
            set_here = " ".join(f"{key}={shlex.quote(value)}" for key, value in {**handed, **self.asked}.items())
            subprocess.run(self.inside([*self.shell, f"export {set_here}; {rest}"]), check=True)

    def copy(self, words: list[str]) -> None:
        """COPY with ``--chown``, of files named by their path or of the whole repository."""
        *sources, target = [word for word in words if not word.startswith("--")]
        folder = self.root / self.folder.lstrip("/") / target
        patterns = (REPOSITORY / ".dockerignore").read_text().split()
        for source in sources:
            if source == ".":
                listed = subprocess.run(["git", "ls-files", "-z"], cwd=REPOSITORY, check=True, stdout=subprocess.PIPE)
                files = [name for name in listed.stdout.decode().split("\0") if name and not ignored(name, patterns)]
                pairs = [(name, folder / name) for name in files]
            else:
                pairs = [(source, folder / Path(source).name)]
            for name, place in pairs:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(REPOSITORY / name, place)
        owner = next((word.split("=")[1] for word in words if word.startswith("--chown=")), None)
        if owner:
            chown = ["chown", "-R", owner, str(Path(self.folder) / target)]
            subprocess.run(["chroot", str(self.root), *chown], check=True)


def base(container: Container, image: str) -> None:
    """A Debian of the image's release, with Python of the image's version as ``python``."""
    found = BASE.fullmatch(image)
    if not found:
        sys.exit(f"The base image {image} is none that can be made here.")
    root, packages = container.root, "ca-certificates,python3,python3-venv,python-is-python3"
    make = ["debootstrap", "--variant=minbase", f"--include={packages}", found["release"], str(root), MIRROR]
    subprocess.run(make, check=True, stdout=subprocess.DEVNULL)
    shutil.copy2("/etc/resolv.conf", root / "etc/resolv.conf")
    shutil.copy2(CERTIFICATES, root / str(CERTIFICATES).lstrip("/"))
    version = subprocess.check_output(["chroot", str(root), "python", "--version"], text=True).split()[1]
    if not f"{version}.".startswith(found["python"] + "."):
        sys.exit(f"Debian {found['release']} has Python {version}, the image {found['python']}.")
    say(f"base: Debian {found['release']}, Python {version}")


def start(container: Container) -> "subprocess.Popen[bytes]":
    """The app, as compose.yaml says."""
    service = yaml.safe_load((REPOSITORY / "compose.yaml").read_text())["services"]["app"]
    root = shlex.quote(str(container.root))
    mounts = [f"mount --bind {root}{place} {root}{place}" for place in container.volumes]
    if service.get("read_only"):
        mounts.append(f"mount -o remount,bind,ro {root}")  # what is mounted by now stays as it is
    for place in service.get("tmpfs", []):
        mounts.append(f"mount -t tmpfs -o mode=1777 tmpfs {root}{place}")
    privileged = service.get("cap_drop") != ["ALL"]
    return subprocess.Popen(
        container.inside(container.command, "\n".join(mounts), network=False, privileged=privileged)
    )


def say(text: str) -> None:
    print(f"[container] {text}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("root", type=Path, help="a folder that is not there yet; some 10 GB with CUDA builds")
    parser.add_argument("--again", action="store_true", help="the folder was built before: only start the app")
    options = parser.parse_args()
    if os.geteuid() != 0:
        sys.exit("This has to be run as root: it mounts and changes root.")
    container = Container(options.root.resolve())
    if container.root.exists() != options.again:
        sys.exit(f"{container.root} is {'not there' if options.again else 'there already'}.")
    began = time.monotonic()
    for name, rest in instructions((REPOSITORY / "Dockerfile").read_text()):
        if options.again and name in ("FROM", "COPY", "RUN"):
            continue
        say(f"{name} {rest}"[:100])
        if name == "FROM":
            base(container, rest)
        else:
            container.do(name, rest)
        if name in ("FROM", "COPY", "RUN"):
            say(f"done after {time.monotonic() - began:.0f} s")
    ask(container)


def ask(container: Container) -> None:
    """Start the app and ask HEALTHCHECK until it answers; then `python -m afcore check` beside it."""
    began = time.monotonic()
    with start(container) as app:
        try:
            inner = next(iter(children(app.pid)))
            enter = ["nsenter", "-t", str(inner), "--mount", "--net", "--pid", "chroot", str(container.root)]
            clean = ["env", "-i", "HOME=/home/app", *(f"{key}={value}" for key, value in container.variables.items())]

            def run(command: list[str]) -> int:
                inside = ["/bin/sh", "-c", f"cd {container.folder} && exec {shlex.join(command)}"]
                return subprocess.run(
                    [*enter, *container.become(), *clean, *inside], stderr=subprocess.DEVNULL
                ).returncode

            while run(container.health) != 0:
                if app.poll() is not None or time.monotonic() - began > 300:
                    sys.exit("[container] the app does not answer its health check")
                time.sleep(1)
            say(f"healthy {time.monotonic() - began:.0f} s after the start, without a network")
            if run([container.command[0], "-m", "afcore", "check"]) != 0:
                sys.exit("[container] `python -m afcore check` found damage")
            say("`python -m afcore check` ends with 0")
            written = run(["touch", f"{container.folder}/written"])
            say(f"the app's folder can{'' if written == 0 else 'not'} be written to")
        finally:
            app.kill()  # `unshare` passes over other signals; what it started ends with it


def children(pid: int) -> Iterator[int]:
    """Processes that ``pid`` has started, once there are some."""
    for _ in range(100):
        found = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
        if found:
            yield from map(int, found)
            return
        time.sleep(0.1)
    sys.exit("[container] the app did not start")


if __name__ == "__main__":
    main()
