"""A shared result, read-only: whoever has its address sees it as it was when it was shared."""

import time

import streamlit as st

from afcore.app import plots, report
from afcore.app.markdown import markdown_safe
from afcore.app.report import to_html
from afcore.app.shares import PROOF, Share, SharedAnswer
from afcore.app.teach_exports import file_name
from afcore.audio.recording import open_recording
from pages import common
from pages.share import shares

_TAKEN = "_shared-taken"


def main() -> None:
    """Draw the page."""
    if st.session_state.pop(_TAKEN, False):
        st.switch_page("listen.py")
    share = shares().find(st.query_params.get("share", ""))
    if share is None:
        common.heading("Shared result", "This result is not here (any more).")
        st.info(
            "Shared results go after a month, or when whoever shared them deletes them.", icon=":material/link_off:"
        )
        return
    common.heading("Shared result", report.TITLES[share.kind])
    st.header(markdown_safe(share.title), anchor=False)
    made = time.strftime("%d %B %Y", time.gmtime(share.made))
    st.caption(f"By {markdown_safe(share.model)}, on {made}. A copy that nobody can change; it goes after a month.")
    wav = shares().wav(share)
    if wav:
        _sound(share, wav)
    for answer in share.answers:
        _answer(answer)
    if share.scores:
        values = [(score.title, score.accuracy) for score in share.scores]
        st.header("Clips labelled rightly", anchor=False)
        common.figure(plots.shares(dict(values)), "shared-scores", "Share of clips that each method labels rightly")
        st.markdown(markdown_safe(share.says))
    if share.tags:
        st.header("Sound tags", anchor=False)
        common.figure(plots.tags(share.tags[:6]), "shared-tags", "The most probable sound tags")
    with st.expander("How it was made", icon=":material/tune:"):
        rows = [("Model", share.model), ("Weights", share.weights), *share.facts]
        st.dataframe([{"what": name, "value": value} for name, value in rows], hide_index=True)
    if any(answer.prompt for answer in share.answers):
        with st.expander("The exact prompts", icon=":material/data_object:"):
            for answer in share.answers:
                st.code(answer.prompt, language=None, wrap_lines=True)
    with st.container(horizontal=True):
        st.download_button(
            "Download the report",
            data=lambda: to_html(share, wav).encode(),
            file_name=f"{file_name(share.title)}-report.html",
            mime="text/html",
            icon=":material/description:",
            on_click="ignore",
        )
        if share.kind != PROOF:
            st.button(
                "Try this sound yourself",
                icon=":material/hearing:",
                on_click=_take,
                args=(share, wav),
            )


def _sound(share: Share, wav: bytes) -> None:
    recording = open_recording(wav, share.title)
    clip = recording.clip()
    windows = [(start - share.start, end - share.start) for start, end in share.windows]
    common.player(clip)
    common.figure(
        plots.waveform(recording.envelope, recording.duration, windows, 0.0),
        "shared-waveform",
        f"Waveform of {share.title} with its windows marked",
        csv=False,
    )
    common.figure(plots.mel(clip), "shared-mel", "Mel spectrogram of the part that was heard", csv=False)


def _take(share: Share, wav: bytes) -> None:
    if common.take(wav, f"{share.title.rsplit('.', 1)[0]}.wav", "upload"):
        st.session_state[_TAKEN] = True


def _answer(answer: SharedAnswer) -> None:
    with st.container(border=True):
        st.markdown(f"**{markdown_safe(answer.question)}**")
        st.markdown(markdown_safe(answer.answer) or "*No answer.*")
        for label, p in answer.labels:
            st.progress(min(p, 1.0), text=f"{markdown_safe(label)} {100 * p:.0f} %")
        if answer.note:
            st.caption(markdown_safe(answer.note))
        if answer.examples:
            shown = ", ".join(f"{label} ({similarity:.2f})" for label, similarity in answer.examples)
            st.caption(f"Examples in the prompt: {markdown_safe(shown)}")


main()
