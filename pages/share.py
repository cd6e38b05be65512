"""The box behind "Share": a link to a result as it is now, and a report of it as one file."""

from collections.abc import Callable

import streamlit as st

from afcore import paths
from afcore.app.kept_comparisons import KeptComparisons
from afcore.app.report import to_html
from afcore.app.shares import Share, Shares
from afcore.app.teach_exports import file_name
from pages import common

COOKIE, _MINE = "shares", "my-shares"
_MOST_MINE = 40  # ids that fit into one cookie
_LONGEST = 80  # characters of a name in the list


@st.cache_resource(show_spinner=False)
def shares() -> Shares:
    """The shared results of this server."""
    return Shares(paths.DATA / "shares")


@st.cache_resource(show_spinner=False)
def comparisons() -> KeptComparisons:
    """The comparisons of this server that have a link."""
    return KeptComparisons(paths.DATA / "comparisons")


def mine() -> list[str]:
    """Ids of what this browser has shared, results and comparisons, and what is still there, the newest last."""
    if _MINE not in st.session_state:
        st.session_state[_MINE] = st.context.cookies.get(COOKIE, "").split(".")
    known = st.session_state[_MINE]
    st.session_state[_MINE] = [name for name in known if shares().find(name) or comparisons().find(name)]
    return st.session_state[_MINE]


def address(name: str, page: str = "shared", parameter: str = "share") -> str:
    """The address of a shared result on this server, or of what else a page opens by its id."""
    base = (st.context.url or "").split("?")[0].rstrip("/")
    pages = {"retrieve", "chat", "teach", "shelf", "model_card", "about", "shared"}
    head, _, last = base.rpartition("/")
    return f"{head if last in pages else base}/{page}?{parameter}={name}"


def box(key: str, make: Callable[[], tuple[Share, bytes]], disabled: bool = False) -> None:
    """Draw it; ``make`` gives the snapshot and the WAV file of its sound."""
    with st.popover("Share", icon=":material/share:", disabled=disabled, key=f"share-{key}"):
        st.caption(
            "A link shows this result, with the part of the sound that was heard, to whoever has it, for a month. It "
            "never changes, and nobody can guess it."
        )
        if st.button("Make a link", icon=":material/link:", type="primary", key=f"make-link-{key}"):
            common.attempt(_make, key, make)
            common.problem()
        made = st.session_state.get(f"_made-{key}")
        if made in mine():
            st.code(address(made), language=None, wrap_lines=True)
            st.caption("The About page lists what you have shared, and deletes it.")
        st.download_button(
            "Download a report",
            data=lambda: to_html(*make()).encode(),
            file_name=f"{file_name(key)}-report.html",
            mime="text/html",
            icon=":material/description:",
            on_click="ignore",
            key=f"report-{key}",
            help="One page with its pictures inside; it prints well.",
        )
        remember()


def _make(key: str, make: Callable[[], tuple[Share, bytes]]) -> None:
    name = shares().keep(*make())
    mine().append(name)
    st.session_state[f"_made-{key}"] = name


def remember() -> None:
    """Have the browser know for a month what it has shared, so that it can be deleted from there."""
    value = ".".join(mine()[-_MOST_MINE:])
    if value != st.context.cookies.get(COOKIE, ""):
        st.html(
            f'<script>document.cookie = "{COOKIE}={value}; max-age=2592000; path=/; samesite=lax"</script>',
            unsafe_allow_javascript=True,
        )


def listed() -> None:
    """What this browser has shared, each with a button that deletes it."""
    names = mine()
    if not names:
        st.caption("You have shared nothing that is still there.")
    for name in reversed(names):
        share, run = shares().find(name), comparisons().find(name)
        with st.container(horizontal=True, vertical_alignment="center"):
            if share is not None:
                st.page_link(
                    "shared.py",
                    label=share.title,
                    icon=":material/link:",
                    query_params={"share": name},
                    width="stretch",
                )
            elif run is not None:
                st.page_link(
                    "shelf.py",
                    label=f"Comparison: {', '.join(run.sounds.values())}"[:_LONGEST],
                    icon=":material/compare_arrows:",
                    query_params={"comparison": name},
                    width="stretch",
                )
            st.button(
                "Delete",
                icon=":material/delete:",
                type="tertiary",
                key=f"delete-share-{name}",
                on_click=common.do,
                args=((shares() if share is not None else comparisons()).delete, name),
            )
    remember()
