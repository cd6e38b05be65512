"""The app's entry: ``streamlit run app.py``, or any server of ASGI applications, ``uvicorn app:app``."""

import streamlit as st

app = st.App("pages/frame.py")
