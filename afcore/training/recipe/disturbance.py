"""What training does to the features of a sound, each time anew, so that the model does not lean on one part of
them."""

from __future__ import annotations

import numpy as np

from afcore.corpus.clips import NO_TAG
from afcore.training.recipe.config import Data, Disturbance


def for_training(features: np.ndarray, data: Data, embedding: int, rng: np.random.Generator) -> np.ndarray:
    """Features (windows, E) float32 as a training sample of `data` hears them: (at most `data.most_windows`, E), a new
    array. `embedding`: how many of the E values are the embedding; tag logits follow. `rng` alone decides what
    changes."""
    if data.most_windows and len(features) > data.most_windows:
        start = int(rng.integers(0, len(features) - data.most_windows + 1))
        features = features[start : start + data.most_windows]
    return disturbed(features, data.disturb, embedding, rng)


def disturbed(features: np.ndarray, how: Disturbance, embedding: int, rng: np.random.Generator) -> np.ndarray:
    """Features (windows, E) with some values of the embedding at 0, the others larger by as much, and sometimes without
    tags. A new array."""
    features = features.copy()
    if how.dropout:
        kept = rng.random((len(features), embedding)) >= how.dropout
        features[:, :embedding] *= kept / np.float32(1 - how.dropout)
    if how.without_tags and rng.random() < how.without_tags:
        features[:, embedding:] = NO_TAG
    return features
