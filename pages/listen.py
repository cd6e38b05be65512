"""Listen: bring a sound, see what of it the model hears, and read what it says it is."""

import shutil
from urllib.parse import urlparse

import streamlit as st

from afcore.app import plots
from afcore.app.markdown import markdown_safe
from afcore.app.session import BrowserSession
from afcore.audio import windows
from afcore.audio.clock import clock_text
from afcore.audio.recording import MAX_SECONDS
from afcore.engine.results import Heard
from afcore.retrieval.bank import Example
from pages import common

SHOWN_TAGS = 6


def main() -> None:
    """Draw the page."""
    session = common.session()
    common.heading("Listen", "Drop in a sound and Audio Flamingo tells you what it hears.")
    if session.clip is None:
        with st.container(border=True, key="try"):
            st.subheader("Try one now", anchor=False)
            common.example_buttons(8)
        with st.container(border=True):
            st.subheader("Or use your own sound", anchor=False)
            _bring(session)
        with st.expander(f"All {len(common.bank().examples())} examples", icon=":material/library_music:"):
            _browse(session)
        return
    with st.expander("Choose another sound", icon=":material/swap_horiz:"):
        common.example_buttons(8)
        _bring(session)
        _browse(session)
    _show(session)


def _bring(session: BrowserSession) -> None:
    upload, record = st.tabs([":material/upload: Upload", ":material/mic: Record"], key=session.key("bring"))
    with upload:
        file = st.file_uploader(
            "A sound or a video file",
            key=session.key("upload"),
            help="WAV, FLAC, OGG, MP3, M4A, WebM and most others; of a video, its sound. Up to 200 MB.",
        )
        if file is not None and file.file_id not in session.seen:
            session.seen.add(file.file_id)
            with st.spinner("Reading the sound …"):
                common.take(file.getvalue(), file.name, "upload")
            st.rerun()
    with record:
        _record(session)


def _record(session: BrowserSession) -> None:
    address = urlparse(st.context.url or "")
    if address.scheme == "http" and address.hostname not in ("localhost", "127.0.0.1", "::1", None):
        st.warning(
            "Browsers allow the microphone only on https pages or on the machine itself, so recording will be refused "
            "at this address. Uploading works.",
            icon=":material/mic_off:",
        )
    data = _recorder(session) if shutil.which("ffmpeg") and shutil.which("ffprobe") else _built_in(session)
    if data:
        with st.spinner("Reading the sound …"):
            common.take(data, "Recording.wav", "microphone")
        st.rerun()


def _built_in(session: BrowserSession) -> bytes | None:
    file = st.audio_input("Record a sound", sample_rate=48_000, key=session.key("microphone"))
    st.caption("This is Streamlit's own recorder: ffmpeg, which streamlit-audiorecorder needs, is not installed here.")
    if file is None or file.file_id in session.seen:
        return None
    session.seen.add(file.file_id)
    return file.getvalue()


def _recorder(session: BrowserSession) -> bytes | None:
    from audiorecorder import audiorecorder  # imports pydub, which complains where ffmpeg is missing
    from pydub.exceptions import CouldntDecodeError

    try:
        segment = audiorecorder("Record", "Stop", key=session.key("recorder"))
    except CouldntDecodeError:
        st.error("The recording could not be read, so please record it again.", icon=":material/error:")
        return None
    # The component hands the same recording over again each time the page is drawn.
    mark = f"recorder-{hash(segment.raw_data)}"
    if len(segment) == 0 or mark in session.seen:
        return None
    session.seen.add(mark)
    return segment.export(format="wav").read()


def _browse(session: BrowserSession) -> None:
    examples = {example.id: example for example in common.bank().examples()}
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
        args=(key, examples),
    )


def _picked(key: str, examples: dict[int, Example]) -> None:
    picked = st.session_state[key]
    if picked is not None:
        common.take_example(examples[picked])


def _show(session: BrowserSession) -> None:
    recording, clip = session.sound()
    facts = [clock_text(recording.duration), f"{recording.rate / 1000:g} kHz"]
    if recording.channels > 1:
        facts.append("stereo" if recording.channels == 2 else f"{recording.channels} channels")
    st.subheader(markdown_safe(recording.name), anchor=False)
    st.caption(" · ".join(facts))

    answer, tags = st.columns([3, 2], gap="large")
    with answer:
        common.player(clip)
        caption = st.container(border=True, key="caption")
        onward = st.container(horizontal=True)
    with tags:
        st.subheader("Sound tags", anchor=False)
        tag_place = st.container()

    st.subheader("What the model hears", anchor=False)
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
    )
    for notice in clip.notices:
        st.info(notice, icon=":material/info:")
    st.subheader("Spectrogram", anchor=False)
    common.figure(plots.mel(clip), "mel", "Mel spectrogram of the part that is heard")
    if clip.duration < recording.duration - 0.01:
        with st.expander("Play the whole recording", icon=":material/play_circle:"):
            st.audio(recording.data)

    # Last, since it takes time: everything above is there to look at meanwhile.
    with caption:
        st.caption("In one sentence")
        engine = common.engine()
        heard = common.heard(engine)
    with tag_place:
        _tags(heard)
    with caption:
        common.stream(session.caption(engine, heard), "Finding words")
        if engine.kind == "mini":
            st.caption("Mini answers are short and can be wrong: check them by ear.")
    with onward:
        st.page_link("chat.py", label="Ask about it", icon=":material/chat:")
        st.page_link("retrieve.py", label="See similar sounds", icon=":material/hub:")


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


def _tags(heard: Heard) -> None:
    if not heard.tags:
        st.caption("This model's encoder names no tags.")
        return
    common.figure(plots.tags(heard.tags[:SHOWN_TAGS]), "tags", "The most probable sound tags")


main()
