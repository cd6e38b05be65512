"""The app's entry: ``streamlit run app.py``."""

from pages import frame

frame.run()
