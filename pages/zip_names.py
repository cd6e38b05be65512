"""Which code page a zip's names are in: asked where they are not in UTF-8, with how they then read."""

from typing import BinaryIO

import streamlit as st

from afcore.app.markdown import markdown_safe
from afcore.errors import BadRequest
from afcore.safe_files import CODE_PAGES, names_in_code_page

FIRST = next(iter(CODE_PAGES))


def code_page(file: BinaryIO, key: str) -> str:
    """In which code page the names of the zip ``file`` are."""
    try:
        if not names_in_code_page(file, FIRST):
            return FIRST
        chosen = st.selectbox(
            "Its names are not in Unicode. How do they read right?",
            list(CODE_PAGES),
            format_func=lambda page: f"{CODE_PAGES[page]} ({page})",
            key=key,
        )
        lines = "\n".join(f"- {markdown_safe(name)}" for name in names_in_code_page(file, chosen))
    except BadRequest:  # it is said when the zip is taken
        return FIRST
    st.caption(f"So read they are called:\n\n{lines}")
    return chosen
