"""The app's entry: ``streamlit run app.py``, or any server of ASGI applications, ``uvicorn app:app``."""

import threading

import streamlit as st


def _warm_up() -> None:
    """What the pages need takes seconds to import: begun with the server, it is there when the first visitor comes."""
    from afcore import threads

    threads.settle()  # before anything imports torch
    import afcore.engine.engine
    import afcore.engine.mini  # noqa: F401


threading.Thread(target=_warm_up, name="warm-up", daemon=True).start()
app = st.App("pages/frame.py")
