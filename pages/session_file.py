"""Between a browser session's state and the file that it is kept in."""

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from afcore.app.session_file import SavedShot, Session, open_session, save_session
from afcore.audio.recording import open_recording
from afcore.model.generation import GenerationSettings
from afcore.retrieval.bank import Bank, Example
from afcore.retrieval.nearest import Shot
from pages.state import BEAMS, CANDIDATES, LENGTHS, TEMPERATURES, TOP_KS, TOP_PS, Choice, State, Turn


def pack(state: State) -> bytes:
    """The session as the bytes of a file; raises BadRequest where it is too large."""
    shots = tuple(SavedShot(c.id, c.shot.example.sha256, c.use, c.pinned) for c in state.choices)
    return save_session(
        Session(
            name=state.recording.name,
            sound=state.recording.data,
            start=state.start,
            shots=shots,
            turns=tuple(turn.as_dict() for turn in state.turns),
            settings=asdict(state.settings),
            page={
                "k": state.k,
                "question": state.question,
                "labels": state.labels,
                "with_shots": state.with_shots,
                "candidates": state.candidates,
            },
        )
    )


def unpack(state: State, data: bytes, bank: Bank) -> None:
    """Put what a session file holds in the place of the present session.

    Examples that ``bank`` does not have are left out. Raises BadRequest or AudioError and changes nothing where the
    file cannot be used.
    """
    session = open_session(data)
    recording = open_recording(session.sound, session.name)
    find = _finder(bank)
    choices = [
        Choice(Shot(example, 0.0, saved.pinned, bank), saved.used)
        for saved in session.shots
        if (example := find(saved.id, saved.sha256)) is not None
    ]
    turns = [_turn(entry, find, bank) for entry in session.turns]
    state.open(recording, "session", session.start)
    # The similarities come with the next retrieval, which keeps ticks and pins.
    state.choices, state.chosen_for = choices, None
    state.chats[recording.sha256] = turns
    state.settings = _settings(session.settings)
    page = session.page
    state.k = int(_number(page.get("k"), 0, 64, state.k))
    state.question = str(page.get("question") or state.question)[:500]
    state.labels = str(page.get("labels") or "")[:1000]
    state.with_shots = bool(page.get("with_shots"))
    state.candidates = int(_number(page.get("candidates"), *CANDIDATES, state.candidates))


def _finder(bank: Bank):
    """By content, since another build of the bank has other numbers; by number for files without hashes."""
    by_hash = {example.sha256: example for example in bank.examples()}
    by_id = {example.id: example for example in by_hash.values()}

    def find(number: int, sha256: str) -> Example | None:
        return by_hash.get(sha256) if sha256 else by_id.get(number)

    return find


def _turn(entry: Mapping[str, Any], find, bank: Bank) -> Turn:
    shots = [
        Shot(example, float(shot.get("similarity", 0.0)), False, bank)
        for shot in entry.get("shots", ())
        if (example := find(shot["id"], shot.get("sha256", ""))) is not None
    ]
    kept = tuple((candidate["answer"], float(candidate["similarity"])) for candidate in entry.get("candidates", ()))
    turn = Turn(entry["question"], float(entry.get("start", 0.0)), tuple(shots), said=entry["answer"], kept=kept)
    turn.cut, turn.failed = bool(entry.get("stopped")), entry.get("error")
    return turn


def _settings(saved: Mapping[str, Any]) -> GenerationSettings:
    default = GenerationSettings()
    return GenerationSettings(
        max_new_tokens=int(_number(saved.get("max_new_tokens"), *LENGTHS, default.max_new_tokens)),
        temperature=_number(saved.get("temperature"), *TEMPERATURES, default.temperature),
        top_p=_number(saved.get("top_p"), *TOP_PS, default.top_p),
        top_k=int(_number(saved.get("top_k"), *TOP_KS, default.top_k)),
        num_beams=int(_number(saved.get("num_beams"), *BEAMS, default.num_beams)),
    )


def _number(value: Any, least: float, most: float, default: float) -> float:
    """A stranger's file may hold anything; sliders fail on values beyond their ends."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return default
    return float(min(max(value, least), most))
