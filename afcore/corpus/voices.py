"""Speech with exact truth: sentences said by speech synthesisers, by a man's or a woman's voice.

espeak-ng and flite train, festival's Italian and Finnish voices validate, its Czech ones test: no speaker stands on two
sides (flite's kal and slt are festival's English ones, which are left out). There is one voice of a child in Debian,
too few to train and to judge, so none is here.
What is said is never part of the truth.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from afcore.corpus.rendered import Rendered, program, read_mono, run, trimmed
from afcore.encoders.mini import RATE
from afcore.errors import MissingPart

FESTIVAL = Path("/usr/share/festival/voices")


@dataclass(frozen=True)
class Voice:
    package: str
    name: str  # as the synthesiser calls it; of festival "language/voice"
    sex: str  # man or woman, as the package says
    languages: tuple[str, ...]
    split: str
    clips: int
    encoding: str = "ascii"


_ESPEAK = {
    "man": "m1 m2 m3 m4 m5 m6 m7 m8 Andy Denis Diogo Henrique Hugo Lee Marco michel".split(),
    "woman": "f1 f2 f3 f4 f5 Alicia Andrea Annie anika aunty belinda grandma linda steph steph2 steph3".split(),
}
VOICES = (
    *(
        Voice("espeak-ng", name, sex, ("en-us", "en-gb", "de", "fr-fr", "es"), "train", 17)
        for sex, names in _ESPEAK.items()
        for name in names
    ),
    Voice("flite", "awb", "man", ("en-us",), "train", 50),
    Voice("flite", "rms", "man", ("en-us",), "train", 50),
    Voice("flite", "kal16", "man", ("en-us",), "train", 30),
    Voice("flite", "slt", "woman", ("en-us",), "train", 130),
    Voice("festvox-itapc16k", "italian/pc_diphone", "man", ("it",), "validation", 35, "latin-1"),
    Voice("festvox-italp16k", "italian/lp_diphone", "woman", ("it",), "validation", 35, "latin-1"),
    Voice("festvox-suopuhe-mv", "finnish/hy_fi_mv_diphone", "man", ("fi",), "validation", 35, "latin-1"),
    Voice("festvox-suopuhe-lj", "finnish/suo_fi_lj_diphone", "woman", ("fi",), "validation", 35, "latin-1"),
    Voice("festvox-czech-machac", "czech/czech_machac", "man", ("cs",), "test", 35, "iso-8859-2"),
    Voice("festvox-czech-ph", "czech/czech_ph", "man", ("cs",), "test", 35, "iso-8859-2"),
    Voice("festvox-czech-dita", "czech/czech_dita", "woman", ("cs",), "test", 70, "iso-8859-2"),
)

TEXTS = {
    "en": """The train to the coast leaves at half past nine.|Please put the books back on the shelf.
        Nobody knew where the old road went.
        Could you open the window for a moment?|We walked along the river until it was dark.
        I would like a cup of tea with milk.
        The garden is full of apples this year.|She has not called since last Tuesday.|Turn left at the second bridge.
        My brother works in a small bakery.|What time does the library close?|There is still some soup in the kitchen.
        The wind was cold, but the sun was shining.|He forgot his keys again.|Thank you, that is very kind of you.
        They painted the door bright green.|Keep the receipt in case something breaks.
        It has been a long and quiet winter.
        How far is it to the next village?|The cat sleeps on the chair by the stove.
        Let us meet in front of the station.
        A new bicycle costs more than I thought.|The meeting was moved to Friday morning.
        You will find the answer on page twelve.""",
    "de": """Der Zug nach Hamburg hat heute Verspätung.|Kannst du bitte das Fenster aufmachen?
        Im Garten stehen drei alte Bäume.
        Wir treffen uns morgen um acht Uhr.|Das Brot liegt auf dem Tisch.
        Meine Schwester wohnt in einer kleinen Stadt.""",
    "fr": """Le train pour Lyon part dans dix minutes.|Il fait beau aujourd'hui dans le jardin.
        Pouvez-vous fermer la porte, merci.
        Ma soeur habite près de la mer.|Nous avons mangé du pain et du fromage.|Je ne sais pas où est la gare.""",
    "es": """El tren sale a las nueve de la mañana.|Mi hermano vive cerca del mar.|Abre la ventana, por favor.
        Hay tres libros encima de la mesa.|Hoy hace mucho calor en la ciudad.|No recuerdo el nombre de la calle.""",
    "it": """Il treno per Roma parte tra dieci minuti.|Mio fratello lavora in una piccola panetteria.
        Apri la finestra per favore.
        Ci sono tre libri sul tavolo.|Oggi il mare era molto calmo.|Vorrei un caffelatte e un pezzo di torta.
        La strada vecchia passa vicino al fiume.|Non ricordo dove ho messo le chiavi.""",
    "fi": """Juna Turkuun on hieman myöhässä.|Avaa ikkuna ole hyvä.|Kirjat ovat vanhan kaapin päällä.
        Talo on suuri ja valoisa.|Meri oli eilen aivan tyyni.|Haluaisin kupin kahvia ja pullan.
        Sisareni asuu pienessä kaupungissa.|En muista missä avaimet ovat.""",
    "cs": """Vlak do Prahy odjíždí za deset minut.|Otevři prosím okno.|Na stole leží tři knihy.
        Můj bratr pracuje v malé pekárně.|Dnes je venku hodně zima.|Rád bych šálek čaje s mlékem.
        Stará cesta vede kolem řeky.|Nevím, kam jsem dal klíče.""",
}


def sentences(language: str) -> list[str]:
    """The sentences of a language; of "en-us" those of "en"."""
    return [text.strip() for line in TEXTS[language.split("-")[0]].splitlines() for text in line.split("|")]


def texts(voice: Voice, rng: np.random.Generator) -> list[tuple[str, str]]:
    """(language, one or two sentences) for each clip of a voice."""
    out = []
    for _ in range(voice.clips):
        language = str(rng.choice(voice.languages))
        out.append(
            (language, " ".join(map(str, rng.choice(sentences(language), int(rng.integers(1, 3)), replace=False))))
        )
    return out


def check() -> None:
    """Raises MissingPart where a synthesiser or a voice is not installed."""
    for name in ("espeak-ng", "flite", "festival"):
        program(name, name)
    for voice in VOICES:
        if voice.package.startswith("festvox") and not (FESTIVAL / voice.name).exists():
            raise MissingPart(
                f"Rendering voices needs the voice {voice.name} of festival: apt-get install {voice.package}."
            )


def say(voice: Voice, said: list[tuple[str, str]], folder: Path, rng: np.random.Generator) -> list[Path]:
    """Renders each (language, text) to a file in `folder`, at varied rate and, where the synthesiser can, pitch."""
    files = [folder / f"{k}.wav" for k in range(len(said))]
    rates = rng.uniform(0.8, 1.25, len(said))  # of the usual length
    if voice.package == "espeak-ng":
        for file, rate, (language, text) in zip(files, rates, said, strict=True):
            run(
                [
                    program("espeak-ng", "espeak-ng"),
                    "-v",
                    f"{language}+{voice.name}",
                    "-s",
                    str(round(165 / rate)),
                    "-p",
                    str(rng.integers(35, 66)),
                    "-w",
                    str(file),
                    text,
                ]
            )
    elif voice.package == "flite":
        for file, rate, (_, text) in zip(files, rates, said, strict=True):
            run(
                [
                    program("flite", "flite"),
                    "-voice",
                    voice.name,
                    "--setf",
                    f"duration_stretch={rate:.2f}",
                    "-t",
                    text,
                    "-o",
                    str(file),
                ]
            )
    else:
        lines = [f"(voice_{voice.name.split('/')[1]})"]
        for file, rate, (_, text) in zip(files, rates, said, strict=True):
            lines += [
                f"(Parameter.set 'Duration_Stretch {rate:.2f})",
                f'(set! said (utt.synth (Utterance Text "{text}")))',
                f'(utt.save.wave said "{file}" \'riff)',
            ]
        script = folder / "say.scm"
        script.write_bytes("\n".join(lines).encode(voice.encoding))
        run([program("festival", "festival"), "-b", str(script)])
    return files


def sounds(seed: int = 0) -> Iterator[tuple[Rendered, np.ndarray]]:
    """The clips of all voices with their samples."""
    for number, voice in enumerate(VOICES):
        rng = np.random.default_rng((seed, 100 + number))
        with tempfile.TemporaryDirectory() as folder:
            for k, file in enumerate(say(voice, texts(voice, rng), Path(folder), rng)):
                speaker = f"{voice.package}/{voice.name}"
                yield (
                    Rendered(
                        f"{voice.package}:{voice.name}/{k}",
                        "speech",
                        f"a {voice.sex} speaking",
                        "speech",
                        voice.package,
                        speaker,
                        voice.split,
                        {"voice": voice.sex},
                    ),
                    trimmed(read_mono(file))[: 7 * RATE],
                )
