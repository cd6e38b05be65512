"""Server: what runs here, for whoever looks after it; only where the server has a password."""

import pandas as pd
import streamlit as st

from afcore.app import server_log, server_state
from afcore.app.password import wanted
from pages import common


def main() -> None:
    """Draw the page."""
    common.heading("Server", "What runs here: versions, weights, the queue, and how long work takes.")
    if not wanted():
        st.info("This page is shown where AFCORE_PASSWORD sets a password.", icon=":material/lock:")
        return
    left, right = st.columns(2, gap="large")
    with left:
        st.header("Now", anchor=False)
        _table(server_state.process(common.loaded()))
    with right:
        st.header("Versions", anchor=False)
        _table(server_state.versions())
    st.header("Work since the start", anchor=False)
    rows = server_log.timings()
    if rows:
        st.dataframe(rows, hide_index=True)
    else:
        st.caption("None yet.")
    st.caption(f"The last {server_log.RECENT} pieces of work; what was heard or asked is not kept.")
    st.button("Look again", icon=":material/refresh:")
    st.header("Weights", anchor=False)
    _table(server_state.weights(common.model_name()))
    st.caption("The first digits of each file's SHA-256.")


def _table(found: dict[str, str]) -> None:
    st.table(pd.DataFrame({"what": list(found), "value": list(found.values())}), hide_index=True)


main()
