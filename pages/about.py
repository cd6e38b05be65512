"""About: what the model is, what it cannot do, and whose sounds and code this is."""

from collections import Counter

import pandas as pd
import streamlit as st

from afcore.app.privacy import KEPT
from pages import common, share
from pages.teach_common import forget_name

LIMITS = """
- **At most 33.25 seconds** are heard at a time. Of a longer recording you choose the part.
- **Not for transcripts.** It does not write down speech, and it does not tell speakers apart.
- **It can make things up**, most of all in open questions, and where the examples are few or do not fit.
- **Examples help unevenly**: a lot for some kinds of sound, little for others. Rare sounds come off worst.
- **Its way of talking is learned** from dialogues that were made by machine, and it has their habits.
- The published 2.2 billion parameter model needs a GPU for answers at the speed of a conversation.
"""

HOW = """
1. Your sound is cut into overlapping **windows of 7 seconds**; an encoder turns each into numbers.
2. **Similar sounds** are found in an example bank, and stand with their answers before your question.
3. A **language model** reads your question and looks at the windows while it writes, word by word.
"""

LICENCES = """
| what | licence |
|---|---|
| Code, and mini's weights, which were trained here | MIT |
| Language model SmolLM2-135M-Instruct | Apache-2.0 |
| Sentence model all-MiniLM-L6-v2, for searches by description | Apache-2.0 |
| The published Audio Flamingo weights, not part of this app | non-commercial research only |
| Example sounds | each its own, free; see below |
"""


def main() -> None:
    """Draw the page."""
    common.heading("About", "An open demo of Audio Flamingo, a language model that listens.")
    how, limits = st.columns(2, gap="large")
    with how:
        st.header("How it works", anchor=False)
        st.markdown(HOW)
        st.markdown(
            "From the paper *Audio Flamingo: A Novel Audio Language Model with Few-Shot Learning and Dialogue "
            "Abilities*, Kong et al., ICML 2024, [arXiv 2402.01831](https://arxiv.org/abs/2402.01831)."
        )
    with limits:
        st.header("Limits", anchor=False)
        st.markdown(LIMITS)
    _privacy()
    st.page_link("model_card.py", label="Mini's model card, and where it fails", icon=":material/fact_check:")
    licences, sounds = st.tabs(["Licences", "Example sounds"])
    with licences:
        st.markdown(LICENCES)
    with sounds:
        _sounds()


def _privacy() -> None:
    st.header("What is kept, and who sees it", anchor=False)
    st.markdown("Nothing is sent elsewhere, and no usage statistics are collected. On this server:")
    rows = ["| what | where | how long | who sees it | how to delete it |", "|---|---|---|---|---|"]
    rows += [f"| {one.what} | {one.where} | {one.how_long} | {one.who} | {one.delete} |" for one in KEPT]
    with st.container(key="kept"):
        st.markdown("\n".join(rows))
    with st.container(horizontal=True, vertical_alignment="center"):
        st.button(
            "Forget my sound and chat",
            icon=":material/delete:",
            disabled=common.session().recording is None,
            on_click=common.do,
            args=(common.forget,),
            key="about-forget",
        )
        if st.button("Forget my name", icon=":material/person_off:", key="forget-name"):
            forget_name()
            st.success("This browser no longer knows your name.", icon=":material/check:")
        st.download_button(
            "All thumbs as CSV",
            common.feedback().to_csv,
            "audio-flamingo-thumbs.csv",
            "text/csv",
            icon=":material/thumbs_up_down:",
            on_click="ignore",
        )
        common.delete_button(
            "The thumbs of everybody who uses this server go, and do not come back.",
            "clear-thumbs",
            common.feedback().clear,
            label="Delete all thumbs",
        )
        st.page_link("teach.py", label="Teach's projects", icon=":material/school:")
    st.markdown("### What you have shared")
    share.listed()


def _sounds() -> None:
    examples = common.bank().examples()
    kinds = Counter(example.licence for example in examples)
    st.markdown(
        f"{len(examples)} sounds with {len({example.label for example in examples})} labels: "
        + ", ".join(f"{count} under {licence}" for licence, count in kinds.most_common())
        + "."
    )
    st.dataframe(
        pd.DataFrame(
            {
                "Label": [example.label for example in examples],
                "Caption": [example.caption for example in examples],
                "Author": [example.author for example in examples],
                "Licence": [example.licence for example in examples],
                "Package": [example.package for example in examples],
                "File": [example.path for example in examples],
            }
        ),
        hide_index=True,
        height=420,
    )


main()
