"""Rows of the card about hearing alone: the encoder's embedding against its teacher's, and mini CLAP's search by
text."""

from __future__ import annotations

import numpy as np

from afcore.evaluation.caption_rows import SUFFIX
from afcore.evaluation.card_context import Context
from afcore.evaluation.card_rows import DRAWS, Ability, CardRow, Scores, mean, share
from afcore.evaluation.split_scores import neighbour_hits, teacher_rows
from afcore.stats import bootstrap_interval, macro_over

POOL, AT = 500, 10


def _embedding(context: Context, item: None, controls: bool) -> dict:
    clips = context.clips
    labels = [{info.label for info in clips.info if info.split == split and info.label} for split in ("train", "test")]
    found = neighbour_hits(clips, teacher_rows(context.work / "corpus", clips), labels[0] & labels[1])
    return {name: value.tolist() if isinstance(value, np.ndarray) else value for name, value in found.items()}


def _embedding_score(context: Context, items: list, records: list[dict]) -> Scores:
    (found,) = records
    truth, groups, n = found["truth"], found["groups"], len(found["truth"])
    mine, its = macro_over(found["student"], truth), macro_over(found["teacher"], truth)

    def ratio(rows):
        return mine(rows) / max(its(rows), 1e-9)

    share_of = ratio(np.arange(n))
    chance = 1 / len(set(truth))
    return Scores(
        [
            CardRow(
                "1-nearest-neighbour accuracy of the embedding, share of the teacher's own",
                share_of,
                bootstrap_interval(np.arange(n), groups, ratio, draws=DRAWS),
                n,
                None,
                "95 %",
                share_of >= 0.95,
                f"against {found['bank']} training clips",
            ),
            CardRow("of it, the student's embedding", *mean(found["student"], truth, groups), n, chance),
            CardRow("of it, the teacher's embedding", *mean(found["teacher"], truth, groups), n, chance),
        ]
    )


def distinct(context: Context, named_only: bool) -> list[tuple[int, str]]:
    """(test clip, caption) with each caption once, at most `POOL`: those by file name first, then those by the
    teacher's tags."""
    drawn = np.random.default_rng(61).permutation(len(context.clips)).tolist()
    taken: dict[str, int] = {}
    order = [i for i in drawn if context.clips[i].split == "test" and context.clips[i].caption]
    for i in sorted(
        order, key=lambda i: context.clips[i].label is None
    ):  # stable: the order within each kind stays drawn
        info = context.clips[i]
        if info.label or not named_only:
            taken.setdefault(info.caption.removesuffix(SUFFIX).removesuffix(" playing"), i)
    return [(i, caption) for caption, i in taken.items()][:POOL]


def _search(context: Context, item: bool, controls: bool) -> dict:
    pool = distinct(context, named_only=item)
    sounds = context.clips.clap_vectors(context.engine.clap, [i for i, _ in pool])
    similar = context.engine.clap.text([caption for _, caption in pool]) @ sounds.T
    ranks = (similar > np.diag(similar)[:, None]).sum(1)
    return {"ranks": ranks.tolist(), "groups": [context.clips[i].group for i, _ in pool]}


def _search_score(context: Context, items: list[bool], records: list[dict]) -> Scores:
    rows = []
    for named_only, record in zip(items, records, strict=False):
        value = share([rank < AT for rank in record["ranks"]], record["groups"])
        n = len(record["ranks"])
        every = f"all {n} distinct captions that the test packages give" if n < POOL else ""
        bar, met = ("reported", None) if named_only else ("60 %", value[0] >= 0.60)
        rows.append(
            CardRow(
                f"mini CLAP, text → audio, recall at {AT}",
                *value,
                n,
                min(1.0, AT / n),
                bar,
                met,
                "captions by file name alone" if named_only else every,
            )
        )
    return Scores(rows)


ABILITIES = (
    Ability("embedding", lambda context: [None], _embedding, _embedding_score),
    Ability("search", lambda context: [False, True], _search, _search_score),
)
