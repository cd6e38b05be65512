"""What one browser session holds: its sound, its shots, its chat, its settings. Nothing here draws.

Streamlit forgets a widget's value when its page is left, so everything that must last lives here, in one object, and
widgets only start from it. Slow work is held as a ``Job``, so that a page that is drawn again, or another page, finds
it where it was.
"""

from __future__ import annotations

import secrets
import weakref
from collections.abc import Callable, Hashable, MutableMapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from afcore import prompts
from afcore.app.banks import SHIPPED
from afcore.app.comparison import Comparison
from afcore.app.labels import joined_labels, split_labels
from afcore.app.shelf import Shelf
from afcore.audio.channels import AUTO
from afcore.audio.notices import BANK_CHANNELS, NOTHING_SENTENCE, Notice
from afcore.audio.recording import MAX_SECONDS, Clip, Recording, open_recording
from afcore.errors import AudioError, BadRequest
from afcore.jobs import Job, Turns
from afcore.model.generation import GenerationSettings
from afcore.retrieval.nearest import Shot, prompt_order

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.engine.results import Heard
    from afcore.retrieval import ExampleBank
    from afcore.retrieval.example import Example

_KEY = "browser-session"

# Least and most of the chat's settings.
TEMPERATURES, TOP_KS, TOP_PS = (0.0, 1.5), (0, 100), (0.05, 1.0)
BEAMS, LENGTHS, CANDIDATES = (1, 5), (8, 256), (1, 10)


@dataclass
class Choice:
    """A retrieved example on the Retrieve page."""

    shot: Shot
    use: bool = True
    """Ticked: it goes into the prompt."""

    @property
    def pinned(self) -> bool:
        """Stays when the sound or the number of neighbours changes."""
        return self.shot.pinned

    @property
    def id(self) -> int:
        """The example's number in the bank."""
        return self.shot.example.id


@dataclass
class Turn:
    """A question about the sound and its answer, which may still be on its way."""

    question: str
    start: float
    """Where in the recording the heard part began, in seconds."""
    shots: tuple[Shot, ...] = ()
    job: Job | None = None
    """Makes the answer; None where the turn is from a session file: then the fields ``saved_…`` hold what it said."""
    candidates: int = 1
    """How many answers were asked for, of which the one nearest to the sound is the answer."""
    prompt: str = ""
    """The exact text that was sent; '' before, and where nothing was."""
    saved_answer: str = ""
    saved_ranked: tuple[tuple[str, float], ...] = ()
    saved_stopped: bool = False
    saved_error: str | None = None

    @property
    def ranked(self) -> list[tuple[str, float]]:
        """The candidates with their CLAP similarity to the sound, best first; none where one answer was asked for."""
        return list(self.saved_ranked if self.job is None else self.job.items)

    @property
    def answer(self) -> str:
        """The answer as far as it has come."""
        return (self.saved_answer if self.job is None else self.job.text).strip()

    @property
    def open(self) -> bool:
        """True while the answer is on its way."""
        return self.job is not None and not self.job.done

    @property
    def stopped(self) -> bool:
        """True when somebody stopped the answer before its end."""
        return self.saved_stopped if self.job is None else self.job.stopped

    @property
    def error(self) -> str | None:
        """Why there is no (whole) answer, in one sentence."""
        return self.saved_error if self.job is None else self.job.error

    def stop(self) -> None:
        """Stop the answer on its way; what has come is kept."""
        if self.job is not None:
            self.job.stop()

    def wait(self, seconds: float) -> None:
        """Wait for the answer's end, at most ``seconds``."""
        if self.job is not None:
            self.job.wait(seconds)

    def as_dict(self) -> dict[str, Any]:
        """For the transcript and the session file."""
        entry: dict[str, Any] = {"question": self.question, "answer": self.answer, "start": self.start}
        entry["shots"] = [
            {
                "id": shot.example.id,
                "sha256": shot.example.sha256,
                "label": shot.example.label,
                "caption": shot.example.caption,
                "similarity": round(float(shot.similarity), 4),
            }
            for shot in self.shots
        ]
        if self.ranked:
            entry["candidates"] = [{"answer": text, "similarity": round(float(near), 4)} for text, near in self.ranked]
        if self.prompt:
            entry["prompt"] = self.prompt
        if self.stopped or self.open:
            entry["stopped"] = True
        if self.error:
            entry["error"] = self.error
        return entry


@dataclass
class BrowserSession:
    """One browser session; `session_in` finds it."""

    recording: Recording | None = None
    source: str = ""
    """Where the recording came from: "upload", "microphone", "example" or "session"."""
    clip: Clip | None = None
    """The part of the recording that the model hears."""
    start: float = 0.0
    """Where the heard part begins in the recording, in seconds."""
    channels: str | int = AUTO
    """Which channels of the sound the person wants to hear, a rule of `afcore.audio.channels`."""
    bank_channels: str | int = AUTO
    """By which rule the chosen example banks are heard; another than `AUTO` goes before ``channels``, so that sound and
    examples follow one."""
    banks: tuple[str, ...] = (SHIPPED,)
    """From which banks examples come: `SHIPPED` for the one that comes with the app, or names of one's own."""
    k: int = 4
    """How many neighbours the Retrieve page asks for."""
    choices: list[Choice] = field(default_factory=list)
    without_sound: bool = False
    """Whether the chat leaves the sound out."""
    with_shots: bool = False
    """Whether the chat's prompts hold the ticked shots."""
    settings: GenerationSettings = field(default_factory=GenerationSettings)
    candidates: int = 1
    """How many answers the chat samples for each question, to show the one nearest to the sound first."""
    question: str = "What is this sound?"
    """The question of the Retrieve page."""
    labels: str = ""
    """Of the Retrieve page, as they were typed."""
    shuffle_seed: int = 0
    """Of the order in which the Retrieve page mixes up the labels."""
    chats: dict[str, list[Turn]] = field(default_factory=dict)
    """Turns by the recording's sha256: coming back to a sound finds its chat."""
    jobs: dict[str, Job] = field(default_factory=dict)
    """The latest work of each kind: "hear", "caption", "chat", "compare" and what pages add."""
    epoch: int = 0
    """Part of every widget's key; a new number makes widgets start again from what is here."""
    tuned: int = 0
    """Part of the keys of the settings' widgets: a new number makes them show settings that no widget has set."""
    id: str = field(default_factory=lambda: secrets.token_hex(8))
    """Tells it apart from the others of the server."""
    model: str = ""
    """Name of the model that this session has worked with last."""
    model_set: tuple[str, ...] = ()
    """How that model was set then: its padding, and the CLAP that found neighbours."""
    seen: set[str] = field(default_factory=set)
    """Uploads and recordings already taken, so that a page drawn again does not take them twice."""
    left_pins: list[Choice] = field(default_factory=list)
    """Examples that were pinned for another sound: they wait for a word on whether they are wanted here too."""
    pins_of: str = ""
    """The name of that sound."""
    shelf: Shelf = field(default_factory=Shelf)
    """The sounds of this session."""
    comparison: Comparison | None = None
    """The settings that Compare sets side by side, and what they said."""
    comparison_links: dict[int, str] = field(default_factory=dict)
    """The id of the link of the comparison that was kept last, by the object's identity."""
    kept_as: str = ""
    """The id under which it is kept for a reload; see `afcore.app.kept_sessions`."""
    chosen_for: tuple | None = None
    """What ``choices`` were retrieved for."""

    def __post_init__(self) -> None:
        # When the browser session ends, nobody will read its answers: let the next in the queue go on.
        weakref.finalize(self, _stop_all, self.jobs)

    def sound(self) -> tuple[Recording, Clip]:
        """The recording and the part of it that the model hears. Raises BadRequest where there is none."""
        if self.recording is None or self.clip is None:
            raise BadRequest("There is no sound yet: choose one first.")
        return self.recording, self.clip

    @property
    def turns(self) -> list[Turn]:
        """The chat about the present sound."""
        return self.chats.setdefault(self.recording.sha256, []) if self.recording else []

    @property
    def soundless(self) -> bool:
        """Whether the chat is about no sound: there is none, or the person wants it so."""
        return self.without_sound or self.recording is None

    @property
    def talk(self) -> list[Turn]:
        """The chat that goes on: that about the present sound, or that without any."""
        return self.chats.setdefault("", []) if self.soundless else self.turns

    def key(self, name: str) -> str:
        """A widget's key."""
        return f"{name}-{self.epoch}"

    def open(self, recording: Recording, source: str, start: float = 0.0) -> None:
        """Take another sound; answers on their way about the last one are stopped and kept. Raises AudioError where it
        cannot be heard as the chosen banks are."""
        wanted = recording.heard.rule
        recording = self._as_banks(recording, wanted)
        self.stop()
        self.channels = wanted
        if self.recording is not None and self.recording.sha256 != recording.sha256:
            pins = [choice for choice in self.choices if choice.pinned]
            if pins:
                self.left_pins, self.pins_of = pins, self.recording.name
            # What was near the last sound may be far from this one; nothing of it is shown beside this one unasked.
            self.choices, self.chosen_for = [], None
        self.shelf.add(recording)
        self.recording, self.source = recording, source
        self.question, self.labels = BrowserSession.question, BrowserSession.labels
        self.epoch += 1
        self._cut(recording, start)

    def move(self, start: float) -> None:
        """Hear another part of the recording, from ``start`` seconds."""
        if self.recording is not None and start != self.start:
            self.stop()
            self._cut(self.recording, start)

    def hear_otherwise(self, channels: str | int, track: int) -> None:
        """Hear other channels, or another track, of the same file. Raises AudioError, BadRequest."""
        recording, _ = self.sound()
        recording = self._as_banks(open_recording(recording.data, recording.name, channels, track), channels)
        self.channels = channels
        self._hear_anew(recording)

    def follow_banks(self, channels: str | int) -> None:
        """Hear sounds from now on, the present one too, by the rule ``channels`` of the chosen example banks. Raises
        AudioError where the present one cannot be."""
        before = self.bank_channels
        if channels == before:
            return
        self.bank_channels = channels
        if self.recording is not None:
            try:
                recording = self._as_banks(self.recording, self.channels)
            except AudioError:
                self.bank_channels = before
                raise
            self._hear_anew(recording)

    @property
    def follows_banks(self) -> bool:
        """Whether the chosen example banks say which channels of the present sound are heard."""
        return self.recording is not None and self.recording.channels > 1 and self._can_follow(self.recording)

    def _can_follow(self, recording: Recording) -> bool:
        rule = self.bank_channels
        return rule <= recording.channels if isinstance(rule, int) else rule != AUTO

    def _as_banks(self, recording: Recording, otherwise: str | int) -> Recording:
        """``recording`` as heard by the rule of the chosen banks, or by ``otherwise`` where they have none that it can
        follow."""
        rule = self.bank_channels if self._can_follow(recording) else otherwise
        if recording.channels == 1 or rule == recording.heard.rule:
            return recording
        return open_recording(recording.data, recording.name, rule, recording.track)

    def _hear_anew(self, recording: Recording) -> None:
        """Go on with the present sound as ``recording`` has it."""
        self.stop()
        self.recording = recording
        self.chosen_for = None
        self.epoch += 1
        self._cut(recording, self.start)

    def _cut(self, recording: Recording, start: float) -> None:
        self.start = float(min(max(start, 0.0), max(recording.duration - MAX_SECONDS, 0.0)))
        clip, rule = recording.clip(self.start, MAX_SECONDS), self.bank_channels
        if self.follows_banks:
            said = f"Its channels are heard as those of the chosen example banks are, by the rule “{rule}”."
            clip = replace(clip, notices=(*clip.notices, Notice(BANK_CHANNELS, said)))
        elif isinstance(rule, int):
            said = f"The chosen example banks hear channel {rule}, which it does not have."
            clip = replace(clip, notices=(*clip.notices, Notice(BANK_CHANNELS, said)))
        self.clip = clip

    def follow_model(self, engine: Engine) -> None:
        """Go on with ``engine``, which may be another than before.

        What the other one heard and found is made anew when it is next asked for; sound, chat, pins, ticks and settings
        stay, as far as the model has room for the examples.
        """
        settings = (engine.padding, engine.clap_name)
        if (engine.name, settings) == (self.model, self.model_set):
            return
        if self.model:
            self.stop()
            self.jobs.clear()
            self.chosen_for = None
            self.epoch += 1
        self.model, self.model_set = engine.name, settings
        self.k = min(self.k, engine.max_shots)

    def stop(self) -> None:
        """Stop whatever runs for this session."""
        _stop_all(self.jobs)

    def run(self, name: str, key: Hashable, work: Callable[[Job], Any], queue: Turns | None) -> Job:
        """The job ``name`` about ``key``: the one that is there, else a new one in its place."""
        job = self.jobs.get(name)
        if job is None or job.key != key or job.stopped:
            if job is not None:
                job.stop()
            job = self.jobs[name] = Job(work, queue, key, name).start()
        return job

    def people_ahead(self, job: Job) -> int:
        """How many jobs of other sessions are before ``job``."""
        mine = (other for other in self.jobs.values() if other is not job and not other.done)
        return (job.ahead or 0) - sum(other.running or (other.ahead or 0) < (job.ahead or 0) for other in mine)

    def hear(self, engine: Engine) -> Job:
        """The job whose result is what the engine heard in the clip."""
        _, clip = self.sound()
        return self.run("hear", (engine.name, clip.key), lambda job: engine.hear(clip), engine.turns)

    def forget_hearing(self) -> None:
        """Have the clip heard anew when it is next asked for."""
        self.jobs.pop("hear", None)

    def caption(self, engine: Engine, heard: Heard) -> Job:
        """The job whose text is a one-sentence caption."""

        def work(job: Job) -> None:
            if heard.silent:
                job.say(NOTHING_SENTENCE)
                return
            prompt = engine.build_prompt(heard, prompts.CAPTION, ())
            for piece in engine.stream(heard, prompt, GenerationSettings(), job.stopping):
                job.say(piece)

        _, clip = self.sound()
        return self.run("caption", (engine.name, clip.key), work, engine.turns)

    def choose(self, engine: Engine, heard: Heard, bank: ExampleBank | None = None) -> list[Choice]:
        """The nearest examples of ``bank``, by default the engine's own, at most ``k`` with the pinned ones; ticks of
        examples that stay are kept, as many as the model takes."""
        self.k = min(self.k, engine.max_shots)  # a session file may ask for more
        _, clip = self.sound()
        which = (engine.name, id(bank or engine.bank))
        wanted = (which, clip.key, self.k, tuple(sorted(c.id for c in self.choices if c.pinned)))
        if wanted != self.chosen_for:
            kept = []
            for c in self.choices:
                if c.pinned and (shot := _shot_of(engine, heard, c.shot.example, bank)) is not None:
                    kept.append(replace(c, shot=shot))
            ticks = {c.id: c.use for c in self.choices}
            missing = max(self.k - len(kept), 0)
            found = engine.neighbours(heard, missing, {c.id for c in kept}, bank) if missing else []
            found = sorted(found, key=lambda shot: -shot.similarity)
            self.choices = kept + [Choice(shot, ticks.get(shot.example.id, True)) for shot in found]
            for choice in [c for c in self.choices if c.use][engine.max_shots :]:
                choice.use = False
            self.chosen_for = wanted
        return self.choices

    def pin(self, choice: Choice, pinned: bool) -> None:
        """Pin an example or let it go; what is listed stays as it is until the sound or ``k`` changes."""
        choice.shot = replace(choice.shot, pinned=pinned)
        pins = tuple(sorted(c.id for c in self.choices if c.pinned))
        if self.chosen_for:
            self.chosen_for = (*self.chosen_for[:-1], pins)

    def add(self, shot: Shot) -> None:
        """Add an example by hand; it is pinned, since no retrieval would bring it back."""
        if all(c.id != shot.example.id for c in self.choices):
            choice = Choice(shot)
            self.choices.insert(0, choice)
            self.k = max(self.k, len(self.choices))
            if self.chosen_for:
                self.chosen_for = (*self.chosen_for[:2], self.k, self.chosen_for[3])
            self.pin(choice, True)

    def take_pins(self) -> None:
        """Use what was pinned for another sound here too."""
        known = {choice.id for choice in self.choices}
        self.choices = [choice for choice in self.left_pins if choice.id not in known] + self.choices
        for choice in self.choices:
            if any(choice.id == left.id for left in self.left_pins):
                choice.shot = replace(choice.shot, pinned=True)
        self.k, self.chosen_for = max(self.k, len(self.left_pins)), None
        self.drop_pins()

    def drop_pins(self) -> None:
        """Let go what was pinned for another sound."""
        self.left_pins, self.pins_of = [], ""

    def shots(self) -> list[Shot]:
        """The ticked examples in the prompt's order, nearest last."""
        return prompt_order([choice.shot for choice in self.choices if choice.use])

    @property
    def known_labels(self) -> list[str]:
        """Labels of the listed examples, each once, nearest first."""
        return list(dict.fromkeys(choice.shot.example.label for choice in self.choices))

    def use_labels(self, labels: list[str]) -> None:
        """Let the Retrieve page ask which of ``labels`` it is."""
        self.labels, self.question = joined_labels(labels), prompts.CLASSIFY
        self.epoch += 1

    def asked_labels(self) -> list[str] | None:
        """The labels to choose from on the Retrieve page, or None. Raises BadRequest where there is only one."""
        labels = split_labels(self.labels)
        if len(labels) == 1:
            raise BadRequest("Give at least two labels, separated by commas.")
        return labels or None

    def comparison_key(self) -> tuple:
        """What the comparison of the Retrieve page depends on; the clip's key comes first. Raises BadRequest."""
        labels, shots = tuple(self.asked_labels() or ()), tuple(shot.example.id for shot in self.shots())
        _, clip = self.sound()
        return clip.key, self.question, labels, shots, self.shuffle_seed

    def is_about_clip(self, comparison: Job) -> bool:
        """Whether a comparison is about the part of the sound that is heard now."""
        _, clip = self.sound()
        return comparison.key[0] == clip.key

    def compare(self, engine: Engine, heard: Heard) -> Job:
        """The job whose items are the answers to the Retrieve page's question.

        There are three: without shots, with them, and with their labels mixed up. A job that failed is made anew.
        Raises BadRequest.
        """
        if heard.silent:
            raise BadRequest(NOTHING_SENTENCE)
        key, shots, labels = self.comparison_key(), self.shots(), self.asked_labels()
        question, seed = self.question, self.shuffle_seed

        def work(job: Job) -> None:
            engine.three_answers(heard, question, shots, labels, seed=seed, on_answer=job.show, stop=job.stopping)

        if "compare" in self.jobs and self.jobs["compare"].error:
            self.jobs.pop("compare")
        return self.run("compare", key, work, engine.turns)

    @property
    def history(self) -> list[tuple[str, str]]:
        """(question, answer) of the turns that the next one follows: those about the same part of the sound."""
        same = [turn for turn in self.talk if self.soundless or turn.start == self.start]
        return [(turn.question, turn.answer) for turn in same if turn.answer]

    def ask(self, engine: Engine, heard: Heard | None, question: str) -> Turn:
        """Ask in the chat, without ``heard`` about no sound; an answer still on its way is stopped and kept."""
        history, turns = self.history, self.talk
        shots = tuple(self.shots()) if self.with_shots and heard is not None else ()
        settings = self.settings
        # Without drawing, only beams give several answers; without a sound none is nearest to it.
        count = self.candidates if settings.temperature > 0 and heard is not None else 1
        drawn = replace(settings, num_beams=1)

        def work(job: Job) -> None:
            if heard is not None and heard.silent:
                job.say(NOTHING_SENTENCE)
                return
            prompt = engine.build_prompt(heard, question, shots, history=history, chat=True)
            turn.prompt = prompt.text
            if count > 1 and heard is not None:
                for number, found in enumerate(engine.candidates(heard, prompt, count, drawn, job.stopping)):
                    job.show(found)
                    job.say("" if number else found[0])
                return
            for piece in engine.stream(heard, prompt, settings, job.stopping):
                job.say(piece)

        if "chat" in self.jobs:
            self.jobs["chat"].stop()
        job = self.jobs["chat"] = Job(work, engine.turns, kind="chat")
        turn = Turn(question, self.start, shots, job, candidates=count)
        job.start()
        turns.append(turn)
        return turn

    def use_settings(self, settings: GenerationSettings) -> None:
        """Let the chat answer by other settings, whole, and the settings' widgets show them."""
        self.settings = settings
        self.tuned += 1

    def forget(self) -> None:
        """Let go of the sound and everything that was made of it; settings stay."""
        self.stop()
        self.jobs.clear()
        self.chats.clear()
        self.recording = self.clip = self.chosen_for = None
        self.choices = []
        self.shelf = Shelf()
        self.drop_pins()
        self.start, self.source = 0.0, ""
        self.epoch += 1

    def clear_chat(self) -> None:
        """Forget the chat about the present sound."""
        if "chat" in self.jobs:
            self.jobs.pop("chat").stop()
        self.talk.clear()


def session_in(state: MutableMapping[Any, Any]) -> BrowserSession:
    """The browser session that ``state``, Streamlit's ``st.session_state``, holds; made where there is none yet."""
    if _KEY not in state:
        state[_KEY] = BrowserSession()
    return state[_KEY]


def _shot_of(engine: Engine, heard: Heard, example: Example, bank: ExampleBank | None) -> Shot | None:
    """A pinned example as a shot of ``bank``, or of the engine's own; None where neither has it any more."""
    for place in dict.fromkeys((bank, None)):
        try:
            return engine.as_shot(heard, example, True, place)
        except BadRequest:
            continue
    return None


def _stop_all(jobs: dict[str, Job]) -> None:
    for job in list(jobs.values()):
        if not job.done:
            job.stop()
