"""The frame around every page: page setup, style, navigation and sidebar."""

import sys
from contextvars import ContextVar
from pathlib import Path

import streamlit as st

_HERE = Path(__file__).parent
_NARROW = """
<script>
if (!window.closesSidebar) {
  window.closesSidebar = true;
  document.addEventListener('click', event => {
    if (innerWidth < 768 && event.target.closest?.('[data-testid=stSidebarNavLink]'))
      setTimeout(() => document.querySelector('[data-testid=stSidebarCollapseButton] button')?.click(), 100);
  });
}
</script>
"""
"""Streamlit takes its sidebar away after a choice only where the browser says that it is a phone's; this does it in
every window in which the sidebar covers the page."""
_framed: ContextVar[bool] = ContextVar("framed", default=False)


def run() -> None:
    """Draw the frame and, in it, the page that the address names."""
    st.set_page_config(
        page_title="Audio Flamingo",
        page_icon=str(_HERE / "icon.svg"),
        layout="wide",
        menu_items={"About": "Audio Flamingo: ask questions about a sound. Everything runs on this server."},
    )
    st.html(_HERE / "style.css")
    st.logo(str(_HERE / "logo.svg"), size="large", icon_image=str(_HERE / "icon.svg"))
    page = st.navigation(
        [
            st.Page("pages/listen.py", title="Listen", icon=":material/hearing:", default=True),
            st.Page("pages/retrieve.py", title="Retrieve", icon=":material/hub:"),
            st.Page("pages/chat.py", title="Chat", icon=":material/chat:"),
            st.Page("pages/teach.py", title="Teach", icon=":material/school:"),
            st.Page("pages/model_card.py", title="Model card", icon=":material/fact_check:"),
            st.Page("pages/about.py", title="About", icon=":material/info:"),
        ]
    )
    if "pages.sidebar" in sys.modules:
        from pages import common, sidebar
    else:
        # Only the server's first visitor waits for this: torch and transformers take seconds to import.
        with st.spinner("Starting …"):
            from pages import common, sidebar
    with common.error_boundary():
        sidebar.draw()
    st.sidebar.html(_NARROW, unsafe_allow_javascript=True)  # at its end, where an element without height leaves no gap
    before = _framed.set(True)
    try:
        page.run()
    finally:
        _framed.reset(before)


def show(main) -> None:
    """Draw a page by its function ``main``; each page's file ends with this.

    Streamlit takes a folder named pages for its older kind of multipage app until ``st.navigation`` has been called
    once in the process, and runs a page's file by itself where the first visitor asks for that page. The frame then
    puts itself around it.
    """
    if not _framed.get():
        run()
        return
    from pages import common

    with common.error_boundary():
        main()
