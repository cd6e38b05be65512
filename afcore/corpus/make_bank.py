"""Step `bank`: example banks made from the labelled corpus.

    python -m afcore.corpus.make_bank --work DIR --out assets/bank          the shipped one: free licences, balanced,
    small python -m afcore.corpus.make_bank --work DIR --out data/bank --local    a large one for this machine: any
    licence

Sounds of test packages are in neither, so that a test's queries never meet their own package. Sounds of validation
packages stand in only for labels that no training package offers under a free licence. The shipped one also has sounds
of everyday life out of the sets (`everyday_bank.txt`), of recordings that train.
"""

from __future__ import annotations

import argparse
import io
import json
import os
import re
import shutil
import subprocess
from collections import Counter, defaultdict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from afcore.corpus.decoded import read_index, splits_of
from afcore.corpus.extract import RATE
from afcore.corpus.fingerprint import near_duplicates
from afcore.corpus.labels import labelled_rows
from afcore.corpus.licence_texts import ADDRESSES, TEXTS
from afcore.corpus.licences import Licence, Licences, free_name
from afcore.corpus.splits import dropped, recording_of, split_of
from afcore.errors import MissingPart
from afcore.retrieval.bank import Bank

SHORTEST, LONGEST = 0.3, 10.0  # s of a clip
OPUS_RATE = 48_000  # Hz, what Opus always decodes to
BITS = 56_000  # per second; the corpus ends at 16 kHz
PER_LABEL, PER_LABEL_LOCAL = 8, 60
EVERYDAY = Path(__file__).with_name("everyday_bank.txt")
EVERYDAY_LONGEST, EVERYDAY_BITS, EVERYDAY_PER_LABEL, FROM_ONE_RECORDING = 6.0, 40_000, 4, 2
"""s of a clip of the sets, bits per second, clips of a label at most, and of one recording."""
FROM_ONE_PACKAGE = 0.6  # share of that for a label of one package, or of drums
PER_SOURCE = 2  # takes of one source (hit1 … hit9) at most
SURE, ENOUGH = 0.56, 5  # where a label has ENOUGH sounds that the teacher agrees with (confidence SURE), only those
LOUD_ENOUGH = 300  # largest |int16 sample| of a clip worth keeping
PATIENCE = 5  # packages that fail before the first has come, after which no other is tried


@dataclass
class Candidate:
    """A labelled piece that may stand in a bank."""

    row: dict  # of labels.jsonl
    piece: dict  # of index.jsonl
    number: int  # of the piece in the index
    licence: Licence


def candidates(corpus: Path, shipped: bool) -> list[Candidate]:
    """Labelled pieces of training and validation packages, long and loud enough; for `shipped` under free licences
    only."""
    licences = Licences(corpus / "texts")
    index = [json.loads(line) for line in (corpus / "index.jsonl").read_text().splitlines()]
    gone = dropped([p["package"] for p in index], [p["cluster"] for p in index])
    number = {piece["id"]: i for i, piece in enumerate(index)}
    out, clusters = [], set()
    for row in labelled_rows(corpus):
        i = number[row["id"]]
        piece = index[i]
        if gone[i] or split_of(piece["package"]) == "test" or piece["peak"] < LOUD_ENOUGH:
            continue
        licence = licences.of(piece["package"], piece["path"])
        if (shipped and not licence.free) or piece["cluster"] in clusters:
            continue
        clusters.add(piece["cluster"])
        out.append(Candidate(row, piece, i, licence))
    return out


def select(found: list[Candidate], per_label: int) -> list[Candidate]:
    """At most `per_label` per label: packages in turn, within a package one source after the other, surest first."""
    by_label: dict[str, list[Candidate]] = defaultdict(list)
    for candidate in found:
        by_label[candidate.row["label"]].append(candidate)
    chosen = []
    for label in sorted(by_label):
        pool = by_label[label]
        pool = [c for c in pool if split_of(c.piece["package"]) == "train"] or pool
        sure = [c for c in pool if c.row["confidence"] >= SURE]
        pool = sure if len({c.piece["group"] for c in sure}) >= ENOUGH else pool
        queues: dict[str, list[Candidate]] = defaultdict(list)
        takes: dict[str, int] = defaultdict(int)
        for c in sorted(pool, key=lambda c: (-c.row["confidence"], c.piece["id"])):
            if takes[c.piece["group"]] < PER_SOURCE:
                takes[c.piece["group"]] += 1
                queues[c.piece["package"]].append(c)
        for queue in queues.values():  # first takes of every source before second ones
            seen: dict[str, int] = defaultdict(int)
            order: dict[int, int] = {}
            for c in queue:
                seen[c.piece["group"]] += 1
                order[id(c)] = seen[c.piece["group"]]
            queue.sort(key=lambda c: order[id(c)])
        picked: list[Candidate] = []
        limit = per_label
        if len(queues) == 1 or pool[0].row.get("fine") == "percussion":
            limit = max(1, round(per_label * FROM_ONE_PACKAGE))
        while len(picked) < limit and any(queues.values()):
            for queue in queues.values():
                if queue and len(picked) < limit:
                    picked.append(queue.pop(0))
        chosen += picked
    return chosen


@dataclass(frozen=True)
class Wanted:
    """A label of `everyday_bank.txt`: its caption, and where its sounds are, as (set, label there)."""

    label: str
    caption: str
    places: tuple[tuple[str, str], ...]


def wanted_everyday(file: Path = EVERYDAY) -> list[Wanted]:
    """The lines of the file."""
    found = []
    for line in file.read_text(encoding="utf-8").splitlines():
        if line.strip() and not line.startswith("#"):
            label, caption, places = (part.strip() for part in line.split("|"))
            pairs = [place.strip().split(": ", 1) for place in places.split(";")]
            found.append(Wanted(label, caption, tuple((collection, said) for collection, said in pairs)))
    return found


def set_licence(said: str) -> str | None:
    """A licence as the manifests of the sets write it, by its usual name; None where it is not free, or not said
    which."""
    short = {
        "Creative Commons Attribution 3.0": "CC-BY-3.0",
        "Creative Commons Attribution 3.0 Unported": "CC-BY-3.0",
        "Creative Commons Attribution 4.0": "CC-BY-4.0",
        "Creative Commons 0 1.0 Universal Public Domain Dedication": "CC0-1.0",
        "Creative Commons Public Domain Dedication": "public-domain",
    }.get(said, said)
    if short in ("ODbL 1.0 / DbCL 1.0", "MPL-2.0"):
        return {"MPL-2.0": "MPL 2.0"}.get(short, "ODbL 1.0 and DbCL 1.0")
    found = free_name(
        re.sub(r"^CC\s+", "CC-", short).replace("BY ", "BY-").replace("CC0 ", "CC0-").replace("SA ", "SA-")
    )
    return None if found in ("CC BY", "CC BY-SA") else found  # of no version: nobody can say what it asks for


def everyday(sets: Path, corpus: Path) -> list[Candidate]:
    """Sounds of the sets for the labels of `everyday_bank.txt`, each place in turn: of recordings that train, under a
    licence that is stated and free, no near-duplicate of a sound that validates or tests, nor of one another."""
    rows = read_index(sets)
    known = read_index(corpus)
    splits = splits_of([*known, *rows])[len(known) :]
    clusters = near_duplicates([(row["fingerprint"], row["seconds"]) for row in rows])
    at: dict[tuple[str, str], list[int]] = defaultdict(list)
    for n, row in enumerate(rows):
        if splits[n] == "train" and row["peak"] >= LOUD_ENOUGH:
            at[row["package"], row["label"]].append(n)
    chosen, seen = [], set()
    for wanted in wanted_everyday():
        queues, takes, found = [list(at[place]) for place in wanted.places], Counter[str](), list[Candidate]()
        while any(queues) and len(found) < EVERYDAY_PER_LABEL:
            for queue in queues:
                if not queue or len(found) == EVERYDAY_PER_LABEL:
                    continue
                row = rows[n := queue.pop(0)]
                recording = recording_of(row["package"], row["path"], row["source"])
                licence = set_licence(row["licence"])
                if licence is None or clusters[n] in seen or takes[recording] == FROM_ONE_RECORDING:
                    continue
                takes[recording] += 1
                seen.add(clusters[n])
                said = {"label": wanted.label, "caption": wanted.caption, "confidence": 1.0}
                piece = {**row, "group": recording, "version": ""}
                found.append(Candidate(said, piece, n, Licence(licence, row["author"], True, row["source"])))
        chosen += found
    return chosen


def excerpt(samples: np.ndarray, longest: float = LONGEST) -> np.ndarray:
    """(T,) int16 at 32 kHz → at most ``longest`` s of float32 in −1 … 1 from where it gets loud, peak 0.9, ends faded
    over 10 ms.

    What is shorter than `SHORTEST` is followed by silence up to it."""
    x = samples.astype(np.float32) / 32768
    loud = np.flatnonzero(np.abs(x) > 0.02 * np.abs(x).max())
    start = max(0, loud[0] - RATE // 20)
    stop = min(len(x), max(loud[-1] + RATE // 10, start + int(SHORTEST * RATE)))
    x = x[max(0, min(start, stop - int(SHORTEST * RATE))) : stop][: int(longest * RATE)].copy()
    x *= 0.9 / np.abs(x).max()
    fade = min(RATE // 100, len(x) // 4)
    ramp = np.linspace(0, 1, fade, dtype=np.float32)
    x[:fade] *= ramp
    x[-fade:] *= ramp[::-1]
    return np.pad(x, (0, max(0, round(SHORTEST * RATE) - len(x))))


def encode(samples: np.ndarray, bits: int = BITS) -> bytes:
    """(T,) float32 at 32 kHz → Ogg Opus, mono; the same bytes for the same samples."""
    out = io.BytesIO()
    with av.open(out, "w", format="ogg", options={"fflags": "+bitexact"}) as container:
        stream = container.add_stream("libopus", rate=OPUS_RATE, layout="mono")
        stream.bit_rate = bits
        resampler = av.AudioResampler(format="flt", layout="mono", rate=OPUS_RATE)
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples, np.float32)[None], format="flt", layout="mono")
        frame.sample_rate = RATE
        for part in [*resampler.resample(frame), *resampler.resample(None), None]:
            for packet in stream.encode(part):
                container.mux(packet)
    return out.getvalue()


def build(
    corpus: Path,
    out: Path,
    shipped: bool = True,
    per_label: int | None = None,
    progress: Callable[[str], None] | None = print,
    sets: Path | None = None,
) -> Bank:
    """Makes the bank `out` anew (audio, database, LICENCES.md for the shipped one) without embeddings, and returns it.
    `sets`: the folder of the decoded sets, whose everyday sounds the shipped one begins with.

    Raises FileNotFoundError where the steps before (index, labels) have not been run.
    """
    chosen = select(candidates(corpus, shipped), per_label or (PER_LABEL if shipped else PER_LABEL_LOCAL))
    sources = [(corpus, chosen, LONGEST, BITS)]
    if shipped and sets is not None:
        sources.insert(0, (sets, everyday(sets, corpus), EVERYDAY_LONGEST, EVERYDAY_BITS))  # what people know leads
    shutil.rmtree(out / "audio", ignore_errors=True)
    (out / "bank.sqlite").unlink(missing_ok=True)
    bank = Bank(out, create=True)
    for folder, found, longest, bits in sources:
        audio, classes = np.memmap(folder / "audio.i16", np.int16, "r"), _classes(folder, corpus)
        for n, c in enumerate(found):
            samples = excerpt(audio[c.piece["offset"] : c.piece["offset"] + c.piece["length"]], longest)
            bank.add(
                encode(samples, bits),
                c.row["label"],
                c.row["caption"],
                round(len(samples) / RATE, 3),
                classes(c.number),
                package=c.piece["package"],
                version=c.piece["version"],
                path=c.piece["path"],
                author=c.licence.author,
                licence=c.licence.name,
                source_url=c.licence.source,
                group_key=c.piece["group"],
            )
            if progress and n % 100 == 0:
                progress(f"{folder.name}: {n} of {len(found)} sounds")
    if shipped:
        (out / "LICENCES.md").write_text(licence_table(bank), encoding="utf-8")
    bank.compact()
    return bank


def from_debian(
    work: Path, out: Path, packages: list[str] | None = None, progress: Callable[[str], None] = print
) -> Bank:
    """A large local bank from nothing: downloads the packages (about 9 GB for all), decodes, labels by name, and builds
    it.

    `work` keeps what each step made, so that a stopped run goes on where it was. Packages that cannot be had, in
    another release of Debian for instance, are named and left out. Raises MissingPart where none can be had or holds a
    nameable sound.
    """
    from afcore.corpus import extract, labels

    _download(work / "debs", packages, progress)
    progress("Decoding their sounds")
    extract.extract(work, os.cpu_count() or 1, progress)
    progress("Looking for repeats")
    extract.index(work, progress)
    progress("Reading labels from their names")
    if not labels.write(work / "corpus"):
        raise MissingPart(f"No sound of the packages in {work / 'debs'} has a name that says what it is.")
    return build(work / "corpus", out, shipped=False, progress=progress)


def _download(debs: Path, wanted: list[str] | None, progress: Callable[[str], None]) -> None:
    from afcore.corpus import packages

    debs.mkdir(parents=True, exist_ok=True)
    held = {packages.name_version(file)[0] for file in packages.files(debs)}
    missing = [name for name in wanted or [*packages.PACKAGES, *packages.WHEELS] if name not in held]
    failed: list[str] = []
    for n, name in enumerate(missing):
        progress(f"Downloading {name}, {n + 1} of {len(missing)}")
        try:
            packages.fetch(debs, [name], progress=lambda _: None)
        except FileNotFoundError as error:
            raise MissingPart(
                f"Packages are downloaded with apt-get, which is not here: put their .deb files into {debs}."
            ) from error
        except subprocess.CalledProcessError:
            failed.append(name)
        if len(failed) == n + 1 == PATIENCE:
            break
    if not packages.files(debs):
        raise MissingPart(
            "No package could be downloaded: run `apt-get update`, see that the network is there, and start again."
        )
    if failed:
        progress(f"Left out, since they cannot be had here: {', '.join(failed)}")


def _classes(folder: Path, corpus: Path) -> Callable[[int], list[str]]:
    """Index number of ``folder`` → AudioSet classes that the teacher is at least 0.3 sure of; none without its
    output."""
    file, listed = folder / "teacher.npy", corpus / "audioset.json"
    if not file.exists() or not listed.exists():
        return lambda i: []
    logits, names = np.load(file, mmap_mode="r")[:, -527:], json.loads(listed.read_text())

    def of(i: int) -> list[str]:
        x = logits[i].astype(np.float32)
        return [names[k] for k in np.argsort(-x)[:5] if 1 / (1 + np.exp(-x[k])) >= 0.3]

    return of


def licence_table(bank: Bank) -> str:
    """LICENCES.md: what was changed, then a section per package with its sounds, authors and licences."""
    packages: dict[str, list] = defaultdict(list)
    for example in bank.examples():
        packages[example.package].append(example)
    lines = [
        "# Sources and licences of the example bank",
        "",
        f"{sum(map(len, packages.values()))} sounds from {len(packages)} packages of Debian and PyPI and sets of "
        "sounds from public repositories. "
        f"Each was cut to at most {LONGEST:.0f} s, "
        "reduced to its first channel, brought to one peak level and encoded as Ogg Opus; nothing else was changed. "
        "Authors and licences are those that the package's copyright file gives for the file. "
        "Sounds under CC BY-SA stay under CC BY-SA with these changes. "
        "The licences' texts, or where they stand, are at the end. "
        "The file of a sound is `audio/<first two digits>/<name>.ogg`.",
        "",
        "| package or set | version | sounds | licences | upstream |",
        "|---|---|---|---|---|",
    ]
    for package, examples in sorted(packages.items()):
        first, licences = examples[0], ", ".join(sorted({e.licence for e in examples}))
        upstream = first.source_url if first.version else "of each sound, below"
        lines.append(f"| {package} | {first.version} | {len(examples)} | {licences} | {upstream} |")
    for package, examples in sorted(packages.items()):
        lines += [
            "",
            f"## {package}",
            "",
            "| sound | label | file in the package | author | licence |",
            "|---|---|---|---|---|",
        ]
        lines += [
            f"| {e.sha256[:12]} | {e.label} | {_cell(e.path if e.version else f'{e.path}, from {e.source_url}')} "
            f"| {_cell(e.author)} | {e.licence} |"
            for e in sorted(examples, key=lambda e: (e.label, e.path))
        ]
    used = sorted({part for examples in packages.values() for e in examples for part in e.licence.split(" and ")})
    lines += ["", "## Licences", ""] + [f"- {name}: {ADDRESSES[name]}" for name in used if name in ADDRESSES]
    for name in used:
        if name in TEXTS:
            lines += ["", f"### {name} (copyright: the authors named above)", "", TEXTS[name]]
    return "\n".join(lines) + "\n"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m afcore.corpus.make_bank", description=__doc__.split("\n\n")[0])
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--local", action="store_true", help="any licence, many more sounds: for this machine only")
    parser.add_argument("--per-label", type=int)
    arguments = parser.parse_args()
    sets = arguments.work / "sounds"
    bank = build(
        arguments.work / "corpus",
        arguments.out,
        not arguments.local,
        arguments.per_label,
        sets=sets if (sets / "index.jsonl").exists() else None,
    )
    examples = bank.examples()
    size = sum(f.stat().st_size for f in arguments.out.rglob("*") if f.is_file()) / 1e6
    print(
        f"{len(examples)} sounds, {len(bank.labels())} labels, {len({e.package for e in examples})} packages, "
        f"{sum(e.seconds for e in examples) / 60:.1f} minutes, {size:.1f} MB"
    )


if __name__ == "__main__":
    main()
