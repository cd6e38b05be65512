"""What mini adds to the recipe: described clips as a dataset, and three auxiliary losses."""

from __future__ import annotations

from afcore.training.mini.matching import Matching
from afcore.training.mini.reading import Reading
from afcore.training.mini.rewards import Rewards
from afcore.training.mini.source import ClipSource
from afcore.training.mini.talk_source import TalkSource
from afcore.training.recipe.sources import Parts

PARTS = Parts(
    sources={"clips": ClipSource, "spoken": TalkSource},
    auxiliary={
        "matching": lambda config, settings: Matching(config, **settings),
        "reading": lambda config, settings: Reading(config, **settings),
        "rewards": lambda config, settings: Rewards(config, **settings),
    },
)
