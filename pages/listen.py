"""Listen: bring a sound, see what of it the model hears, and read what it says it is."""

from collections.abc import Sequence

import streamlit as st

from afcore.app import certainty, plots, shares
from afcore.app.markdown import markdown_safe
from afcore.app.session import BrowserSession
from afcore.audio import windows
from afcore.audio.channels import AUTO, MIX, ONE
from afcore.audio.clock import clock_text
from afcore.audio.notices import NOTHING_SENTENCE
from afcore.audio.recording import MAX_SECONDS
from afcore.evaluation.beforehand import MODEL, Beforehand
from afcore.retrieval.bank import Bank
from afcore.retrieval.example import Example
from pages import common, listen_ask, listen_find, playhead, recorder, share

SHOWN_TAGS = 6


def main() -> None:
    """Draw the page."""
    session = common.session()
    common.heading("Listen", "Drop in a sound and Audio Flamingo tells you what it hears.")
    if session.clip is None:
        with st.container(border=True, key="try"):
            st.header("Try one now", anchor=False)
            common.example_buttons(8)
        with st.container(border=True):
            st.header("Or use your own sound", anchor=False)
            _bring(session)
        with st.expander(f"All {len(common.bank().examples())} examples", icon=":material/library_music:"):
            _browse(session)
        return
    # Closed anew with each sound, so that the answer stands where one looks.
    with st.expander("Choose another sound", icon=":material/swap_horiz:", key=session.key("another")):
        common.example_buttons(8)
        _bring(session)
        _browse(session)
    _show(session)


def _bring(session: BrowserSession) -> None:
    upload, record = st.tabs([":material/upload: Upload", ":material/mic: Record"], key="bring")
    with upload:
        file = st.file_uploader(
            "A sound or a video file",
            key=session.key("upload"),
            help="WAV, FLAC, OGG, MP3, M4A, WebM and most others; of a video, its sound. Up to 200 MB.",
        )
        if file is not None and file.file_id not in session.seen:
            with st.spinner("Reading the sound …"):
                common.take(file.getvalue(), file.name, "upload")
                session.seen.add(file.file_id)  # not before: a run that is broken off at the spinner would lose it
            st.rerun()
    with record:
        _record(session)


def _record(session: BrowserSession) -> None:
    data = recorder.record(session.key("record"), session.seen)
    if data:  # taken at once: nothing is drawn before, where a run may be broken off
        common.take(data, "Recording.wav", "microphone")
        st.rerun()


def _browse(session: BrowserSession) -> None:
    bank = common.bank()
    examples = {example.id: example for example in bank.examples()}
    order = sorted(examples, key=lambda i: (examples[i].label.lower(), i))
    key = session.key("browse")
    st.selectbox(
        "Pick an example",
        order,
        index=None,
        format_func=lambda i: f"{examples[i].label} · {examples[i].caption}",
        placeholder="Type to search the labels and captions",
        key=key,
        on_change=_picked,
        args=(key, examples, bank),
    )


def _picked(key: str, examples: dict[int, Example], bank: Bank) -> None:
    picked = st.session_state[key]
    if picked is not None:
        common.take_example(examples[picked], bank)


def _show(session: BrowserSession) -> None:
    recording, clip = session.sound()
    facts = [clock_text(recording.duration), f"{recording.rate / 1000:g} kHz"]
    if recording.channels > 1:
        facts.append("stereo" if recording.channels == 2 else f"{recording.channels} channels")
    st.header(markdown_safe(recording.name), anchor=False)
    st.caption(" · ".join(facts))

    answer, tags = st.columns([3, 2], gap="large")
    with answer:
        with st.container(key="heard-player"):
            common.player(clip)
        with st.container(border=True, key="caption"):
            st.caption("In one sentence")
            hearing, caption = st.empty(), st.empty()  # emptied now: a sentence is never under another sound's name
        onward = st.container(horizontal=True, vertical_alignment="center")
        asked = st.empty()
    with tags:
        st.header("Sound tags", anchor=False)
        tag_place = st.empty()

    before, doubt = common.computed_beforehand(), None
    if before is not None:  # an example on a first visit: the model may still be on its way
        said = before.caption
        with tag_place.container():
            _tags(before.tags)
        with caption.container():
            doubt = _said_beforehand(session, before)

    st.header("What the model hears", anchor=False)
    _which(session)
    _part(session)
    ready = common.loaded()
    plan = windows.MINI if ready is None else ready.encoder.plan
    times = plots.window_times(clip, plan)
    several = f"{len(times)} windows" if len(times) > 1 else "one window"
    overlap = f", one every {plan.hop_seconds:g} s, so that neighbours overlap" if len(times) > 1 else ""
    st.caption(
        f"The model hears this sound in {several} of {plan.seconds:g} s{overlap}. At most {plan.max_seconds:g} s are "
        "heard."
    )
    common.figure(
        plots.waveform(recording.envelope, recording.duration, times, clip.start, plan.max_seconds, clip.samples),
        "waveform",
        f"Waveform of {recording.name} with {several} marked",
        csv=False,
    )
    axis = "xaxis2" if clip.duration < recording.duration / 3 else "xaxis"
    playhead.follow("playhead-heard", "heard-player", "waveform", times, clip.start, axis)
    all_of_it = st.container()
    st.header("Spectrogram", anchor=False)
    common.figure(plots.mel(clip), "mel", "Mel spectrogram of the part that is heard", csv=False)
    if clip.duration < recording.duration - 0.01:
        with st.expander("Play the whole recording", icon=":material/play_circle:"):
            st.audio(recording.data)

    # Last, since it takes time: everything above is there to look at meanwhile.
    with hearing.container():
        engine = common.engine()
        heard = common.hear(engine)
    if before is None:
        with tag_place.container():
            _tags(heard.tags, heard.silent)
        with caption.container():
            said = common.stream(session.caption(engine, heard), "Finding words")
            doubt = common.doubt(engine, lambda limits: certainty.of_sentence(said, heard.tags, limits.tags))
            if engine.kind == "mini":
                st.caption("Mini answers are short and can be wrong: check them by ear.")
    with asked.container():
        if not heard.silent:
            listen_ask.draw(session, engine, heard, said)
    with all_of_it:
        listen_find.draw(session, engine)
    with onward:
        st.page_link("chat.py", label="Ask about it", icon=":material/chat:")
        st.page_link("retrieve.py", label="See similar sounds", icon=":material/hub:")
        scores = listen_ask.asked(session, engine, heard)
        share.box(session.key("clip"), lambda: shares.of_clip(session, engine, heard, said.strip(), doubt, scores))


def _which(session: BrowserSession) -> None:
    """Which of several tracks and channels is heard."""
    recording, _ = session.sound()
    track, rule = recording.track, recording.heard.rule
    if len(recording.tracks) > 1:
        names = {one.number: f"{one.number}: {one}" for one in recording.tracks if one.codec}
        track = st.selectbox(
            "Which sound track is heard?",
            list(names),
            index=list(names).index(track),
            format_func=names.__getitem__,
            key=session.key("track"),
        )
    if recording.channels > 1:
        rules: dict[str | int, str] = {
            AUTO: "The first, unless it is silent or unlike the others",
            ONE: "The first",
            MIX: "The mix of all",
            **{number: f"Channel {number}" for number in range(2, recording.channels + 1)},
        }
        rule = st.selectbox(
            "Which channel is heard?",
            list(rules),
            index=list(rules).index(rule),
            format_func=rules.__getitem__,
            key=session.key("channels"),
            disabled=session.follows_banks,
            help="The chosen example banks say which." if session.follows_banks else None,
        )
    if (track, rule) != (recording.track, recording.heard.rule):
        common.attempt(session.hear_otherwise, session.channels if session.follows_banks else rule, track)
        st.rerun()


def _part(session: BrowserSession) -> None:
    recording, _ = session.sound()
    last = recording.duration - MAX_SECONDS
    if last < 0.05:
        return
    start = st.slider(
        f"Which {MAX_SECONDS:g} s should the model hear? (start, in seconds)",
        0.0,
        float(int(last * 4) / 4) if last >= 0.25 else float(last),
        float(session.start),
        step=min(0.25 if last < 600 else 1.0, last),
        format="%.1f s",
        key=session.key("start"),
        help="The rest of the recording, shown pale below, is not heard.",
    )
    if start != session.start:
        session.move(start)
        st.rerun()


def _said_beforehand(session: BrowserSession, before: Beforehand) -> certainty.Doubt | None:
    st.markdown(markdown_safe(before.caption))
    doubt = common.doubt(MODEL, lambda limits: certainty.of_sentence(before.caption, before.tags, limits.tags))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.caption("This answer was made beforehand, by this model.")
        st.button(
            "Ask the model now",
            type="tertiary",
            icon=":material/refresh:",
            key=session.key("recompute"),
            on_click=common.compute_now,
        )
    return doubt


def _tags(tags: Sequence[tuple[str, float]], silent: bool = False) -> None:
    if silent:
        st.caption(NOTHING_SENTENCE)
        return
    if not tags:
        st.caption("This model's encoder names no tags.")
        return
    common.figure(plots.tags(tags[:SHOWN_TAGS]), "tags", "The most probable sound tags")


main()
