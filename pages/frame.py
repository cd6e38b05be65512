"""The frame around every page: page setup, style, navigation and sidebar. Streamlit runs this script for every visit.

Why it stands here and not in ``app.py``: Streamlit takes a folder named ``pages`` beside the script that it runs for
its older kind of app with several pages. It then runs the file of a page by itself, without the frame, where a page's
address is the first that a new server is asked for, until some visit has called ``st.navigation``. The setting
``client.showSidebarNavigation = false`` does not change that: it only hides the menu, that of ``st.navigation`` too.
What Streamlit looks at is the folder of its script, so ``app.py`` names this one (``st.App``), beside which there is no
folder ``pages``; paths of pages, in `st.Page` and ``st.page_link``, are relative to this file.
"""

import sys
import threading
from pathlib import Path

import streamlit as st

from afcore import threads
from afcore.app import server_log
from afcore.app.password import wanted
from pages import password

threads.settle()  # before the pages import torch
server_log.settle()

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
    may_enter = password.passed()
    models = [
        st.Page("model_card.py", title="Model card", icon=":material/fact_check:"),
        st.Page("about.py", title="About", icon=":material/info:"),
        st.Page("shared.py", title="Shared result", visibility="hidden"),
    ]
    if wanted():
        models.append(st.Page("server.py", title="Server", icon=":material/dns:"))
    page = st.navigation(
        {
            "Try": [
                st.Page("listen.py", title="Listen", icon=":material/hearing:", default=True),
                st.Page("retrieve.py", title="Retrieve", icon=":material/hub:"),
                st.Page("chat.py", title="Chat", icon=":material/chat:"),
            ],
            "Teach ": [
                st.Page("teach.py", title="Teach", icon=":material/school:"),
                st.Page("finetune.py", title="Fine-tune", icon=":material/tune:"),
            ],
            "Compare ": [st.Page("shelf.py", title="Compare", icon=":material/library_music:")],
            "Models": models,
        },
        position="sidebar" if may_enter else "hidden",
    )
    if not may_enter:
        return
    if "pages.sidebar" in sys.modules:
        from pages import common, sidebar
    else:
        # Only the server's first visitor waits for this: torch and transformers take seconds to import.
        with st.spinner("Starting …"):
            for thread in threading.enumerate():  # two that import the same at once may get in each other's way
                if thread.name == "warm-up":
                    thread.join()
            from pages import common, sidebar
    with common.error_boundary():
        common.resume()
        common.keep()
    with common.error_boundary():
        sidebar.draw()
    with common.error_boundary():
        common.follow_banks()
    st.sidebar.html(_NARROW, unsafe_allow_javascript=True)  # at its end, where an element without height leaves no gap
    with common.error_boundary():
        page.run()
        common.keep()


if __name__ == "__main__":
    run()
