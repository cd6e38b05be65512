"""What each benchmark is asked, as the published code asked it: one table."""

from __future__ import annotations

from dataclasses import dataclass

from afcore import prompts

SOUND = "describe the sound in a sentence."
MUSIC = "describe the music in a sentence."
QUESTION = "please answer this question: {question}"
MUSIC_CAPTIONING = "music captioning"
MUSIC_QUESTIONS = "audio question answering"


@dataclass(frozen=True)
class PublishedPrompt:
    """The prefix's task and the prompt. ``options``: the labels are listed with it. ``note``: what was not
    published."""

    task: str
    text: str
    options: bool = False
    note: str = ""


PROMPTS = {
    "clotho-v2": PublishedPrompt(prompts.CAPTIONING, SOUND),
    "audiocaps": PublishedPrompt(prompts.CAPTIONING, SOUND),
    "musiccaps": PublishedPrompt(MUSIC_CAPTIONING, MUSIC),
    "lp-musiccaps-mc": PublishedPrompt(MUSIC_CAPTIONING, MUSIC),
    "lp-musiccaps-mtt": PublishedPrompt(MUSIC_CAPTIONING, MUSIC),
    "clotho-aqa": PublishedPrompt(prompts.QUESTION_ANSWERING, QUESTION),
    "music-avqa": PublishedPrompt(MUSIC_QUESTIONS, QUESTION),
    "cochlscene": PublishedPrompt("scene classification", prompts.CLASSIFY, options=True),
    "nonspeech7k": PublishedPrompt(
        "event classification",
        prompts.CLASSIFY,
        options=True,
        note="The published code asks the dataset's own prompt, which is not written down; this one stands for it.",
    ),
    "crema-d": PublishedPrompt("emotion classification", prompts.EMOTION, options=True),
    "ravdess": PublishedPrompt("emotion classification", prompts.EMOTION, options=True),
    "urbansound8k": PublishedPrompt("sound classification", prompts.CLASSIFY, options=True),
    "esc-50": PublishedPrompt(
        "event classification", prompts.CLASSIFY, options=True, note="Not one of the paper's benchmarks."
    ),
    "nsynth-instrument": PublishedPrompt("instrument classification", prompts.INSTRUMENT, options=True),
    "nsynth-source": PublishedPrompt(
        "music information retrieval",
        prompts.SOURCE,
        options=True,
        note="The task that the prefix names is not written down for it.",
    ),
    "nsynth-quality": PublishedPrompt(
        "music information retrieval",
        prompts.QUALITIES,
        note="The task that the prefix names is not written down for it.",
    ),
    "medley-solos-db": PublishedPrompt("instrument classification", prompts.INSTRUMENT, options=True),
    "gtzan": PublishedPrompt("genre classification", "what is the genre of this music?", options=True),
    "fsd50k": PublishedPrompt("event classification", prompts.SPECIFIC_TO_GENERAL),
    "audioset": PublishedPrompt("event classification", prompts.FEW_LABELS),
    "bg-gun-sound": PublishedPrompt("sound classification", "what is the gun of this sound?", options=True),
    "af-dialogue-audiosetsl": PublishedPrompt(prompts.DIALOG, ""),
    "af-dialogue-musiccaps": PublishedPrompt(prompts.DIALOG, ""),
    "folder": PublishedPrompt("event classification", prompts.CLASSIFY, options=True, note="A folder of your own."),
}
"""By the benchmark's name. Yes/no questions of ClothoAQA list ``yes.`` and ``no.`` as their options."""
