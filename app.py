"""The app's entry: ``streamlit run app.py``. Page setup, navigation, and what every page shares."""

import sys
from pathlib import Path

import streamlit as st

HERE = Path(__file__).parent

st.set_page_config(
    page_title="Audio Flamingo",
    page_icon=str(HERE / "pages" / "icon.svg"),
    layout="wide",
    initial_sidebar_state="auto",
    menu_items={"About": "Audio Flamingo: ask questions about a sound. Everything runs on this server."},
)
st.html(HERE / "pages" / "style.css")
st.logo(str(HERE / "pages" / "logo.svg"), size="large", icon_image=str(HERE / "pages" / "icon.svg"))

page = st.navigation(
    [
        st.Page("pages/listen.py", title="Listen", icon=":material/hearing:", default=True),
        st.Page("pages/retrieve.py", title="Retrieve", icon=":material/hub:"),
        st.Page("pages/chat.py", title="Chat", icon=":material/chat:"),
        st.Page("pages/about.py", title="About", icon=":material/info:"),
    ]
)

if "pages.common" in sys.modules:
    from pages import common, sidebar
else:
    # Only the server's first visitor waits for this: torch and transformers take seconds to import.
    with st.spinner("Starting …"):
        from pages import common, sidebar

with common.sentences():
    sidebar.draw()
page.run()
