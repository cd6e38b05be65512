"""The page before all others, where the server has a password."""

import streamlit as st

from afcore.app.password import Gate, wanted
from afcore.errors import BadRequest

_PASSED = "_password_passed"


@st.cache_resource(show_spinner=False)
def _gate() -> Gate:
    return Gate()


def passed() -> bool:
    """Whether this visitor may see the pages; draws the question where not."""
    if not wanted() or st.session_state.get(_PASSED):
        return True
    st.title("Audio Flamingo", anchor=False)
    with st.form("password", width=420):
        answer = st.text_input("Password of this server", type="password", max_chars=200)
        if st.form_submit_button("Come in", icon=":material/login:"):
            try:
                if _gate().admits(answer):
                    st.session_state[_PASSED] = True
                    st.rerun()
                st.error("That is not the password.", icon=":material/error:")
            except BadRequest as error:
                st.error(str(error), icon=":material/hourglass_top:")
    return False
