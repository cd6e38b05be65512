"""Between a browser session and the file that it is kept in, whose format is `afcore.app.session_format`."""

from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from afcore.app.session import (
    BEAMS,
    CANDIDATES,
    LENGTHS,
    TEMPERATURES,
    TOP_KS,
    TOP_PS,
    BrowserSession,
    Choice,
    Turn,
)
from afcore.app.session_format import SavedSession, SavedShot, open_session, save_session
from afcore.audio.channels import AUTO, check_rule
from afcore.audio.recording import open_recording
from afcore.model.generation import GenerationSettings
from afcore.retrieval.bank import Bank
from afcore.retrieval.example import Example
from afcore.retrieval.nearest import Shot

_Find = Callable[[int, str], Example | None]
"""An example of the bank by its number and the hash of its sound."""


def pack(session: BrowserSession) -> bytes:
    """The session as the bytes of a file; raises BadRequest where it is too large or has no sound."""
    return save_session(saved(session))


def saved(session: BrowserSession) -> SavedSession:
    """What of a session is kept; raises BadRequest where it has no sound."""
    recording, _ = session.sound()
    shots = tuple(SavedShot(c.id, c.shot.example.sha256, c.use, c.pinned) for c in session.choices)
    return SavedSession(
        name=recording.name,
        sound=recording.data,
        start=session.start,
        shots=shots,
        turns=tuple(_kept(turn, turn is session.turns[-1]) for turn in session.turns),
        settings=asdict(session.settings),
        page={
            "k": session.k,
            "question": session.question,
            "labels": session.labels,
            "with_shots": session.with_shots,
            "candidates": session.candidates,
            "channels": session.channels,
            "track": recording.track,
        },
    )


def unpack(session: BrowserSession, data: bytes, bank: Bank) -> None:
    """Put what a session file holds in the place of the present session.

    Examples that ``bank`` does not have are left out. Raises BadRequest or AudioError and changes nothing where the
    file cannot be used.
    """
    restore(session, open_session(data), bank)


def restore(session: BrowserSession, saved: SavedSession, bank: Bank) -> None:
    """As `unpack`, for a session that was read already."""
    recording = open_recording(saved.sound, saved.name, *_what_is_heard(saved.page))
    find = _finder(bank)
    choices = [
        Choice(Shot(example, 0.0, shot.pinned, bank), shot.used)
        for shot in saved.shots
        if (example := find(shot.id, shot.sha256)) is not None
    ]
    turns = [_turn(entry, find, bank) for entry in saved.turns]
    session.open(recording, "session", saved.start)
    # The similarities come with the next retrieval, which keeps ticks and pins.
    session.choices, session.chosen_for = choices, None
    session.chats[recording.sha256] = turns
    session.settings = _settings(saved.settings)
    page = saved.page
    session.k = int(_number(page.get("k"), 0, 64, session.k))
    session.question = str(page.get("question") or session.question)[:500]
    session.labels = str(page.get("labels") or "")[:1000]
    session.with_shots = bool(page.get("with_shots"))
    session.candidates = int(_number(page.get("candidates"), *CANDIDATES, session.candidates))


def _finder(bank: Bank) -> _Find:
    """By content, since another build of the bank has other numbers; by number for files without hashes."""
    by_hash = {example.sha256: example for example in bank.examples()}
    by_id = {example.id: example for example in by_hash.values()}

    def find(number: int, sha256: str) -> Example | None:
        return by_hash.get(sha256) if sha256 else by_id.get(number)

    return find


def _kept(turn: Turn, last: bool) -> dict[str, Any]:
    """Without its prompt but for the last: each prompt holds the whole dialogue before it."""
    entry = turn.as_dict()
    if not last:
        entry.pop("prompt", None)
    return entry


def _turn(entry: Mapping[str, Any], find: _Find, bank: Bank) -> Turn:
    shots = [
        Shot(example, float(shot.get("similarity", 0.0)), False, bank)
        for shot in entry.get("shots", ())
        if (example := find(shot["id"], shot.get("sha256", ""))) is not None
    ]
    ranked = tuple((candidate["answer"], float(candidate["similarity"])) for candidate in entry.get("candidates", ()))
    return Turn(
        entry["question"],
        float(entry.get("start", 0.0)),
        tuple(shots),
        prompt=entry.get("prompt", ""),
        saved_answer=entry["answer"],
        saved_ranked=ranked,
        saved_stopped=bool(entry.get("stopped")),
        saved_error=entry.get("error"),
    )


def _settings(saved: Mapping[str, Any]) -> GenerationSettings:
    default = GenerationSettings()
    return GenerationSettings(
        max_new_tokens=int(_number(saved.get("max_new_tokens"), *LENGTHS, default.max_new_tokens)),
        temperature=_number(saved.get("temperature"), *TEMPERATURES, default.temperature),
        top_p=_number(saved.get("top_p"), *TOP_PS, default.top_p),
        top_k=int(_number(saved.get("top_k"), *TOP_KS, default.top_k)),
        num_beams=int(_number(saved.get("num_beams"), *BEAMS, default.num_beams)),
    )


def _what_is_heard(page: Mapping[str, Any]) -> tuple[str | int, int | None]:
    """(rule for channels, track) of a session's sound; older files do not say."""
    try:
        rule = check_rule(page.get("channels") or AUTO)
    except (ValueError, TypeError):
        rule = AUTO
    track = page.get("track")
    return rule, track if isinstance(track, int) and not isinstance(track, bool) else None


def _number(value: Any, least: float, most: float, default: float) -> float:
    """A stranger's file may hold anything; sliders fail on values beyond their ends."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return float(min(max(value, least), most))
