"""What a longer sound costs: windows through cross-attention, and the same windows as tokens in front of the prompt.

The paper's reason for cross-attention (section 3): with L tokens of text and N of audio, a decoder that has the audio
in its prompt attends over L + N positions from each of them, so that its work grows with the square of their sum;
cross-attention reads N audio tokens from each of L positions, so that it grows with L · N. Both ways are measured on
one and the same decoder, with random weights: time and memory do not depend on their values.
"""

from __future__ import annotations

import copy
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from afcore.errors import BadRequest

if TYPE_CHECKING:
    from afcore.engine.engine import Engine
    from afcore.model import AudioFlamingo, AudioFlamingoConfig

WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128)
TEXT_TOKENS, NEXT_TOKENS = 32, 8
CROSS, PROMPT = "cross-attention", "tokens in the prompt"


@dataclass(frozen=True)
class Cost:
    """What one sound of ``windows`` windows costs one of the two ways."""

    way: str
    windows: int
    tokens: int
    """Audio tokens that the windows become."""
    read_s: float
    """Seconds until sound and prompt are read, without the audio encoder, which both ways need alike."""
    token_s: float
    """Seconds for each further token."""
    kept_mb: float
    """MB (10⁶ bytes) of keys and values that are kept while an answer is written, those of the text with them."""


def config_of(engine: Engine) -> AudioFlamingoConfig:
    """The shape of an engine's model. Raises BadRequest for a model of another kind."""
    from afcore.engine.language import FlamingoText

    if not isinstance(engine.language, FlamingoText):
        raise BadRequest(f"{engine.name} has no cross-attention to measure.")
    return engine.language.model.config


def random_model(config: AudioFlamingoConfig, most: int = max(WINDOWS)) -> AudioFlamingo:
    """A model of ``config``'s shape with random weights, which hears up to ``most`` windows of one sound."""
    from afcore.model import AudioFlamingo

    wide = copy.deepcopy(config)
    wide.max_positions = most * wide.tokens_per_window
    return AudioFlamingo(wide).eval()


def costs(
    model: AudioFlamingo,
    windows: Sequence[int] = WINDOWS,
    runs: int = 3,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> list[Cost]:
    """Both ways for each number of windows, in turns, each the median of ``runs`` runs after one that is not counted.

    ``model``: of `random_model`. Raises ValueError for more windows than it hears.
    """
    hears = model.config.max_positions // model.config.tokens_per_window
    if max(windows) > hears:
        raise ValueError(f"This model hears {hears} windows.")
    found = []
    for done, count in enumerate(windows):
        on_progress(done, len(windows))
        runs_of: dict[str, list[tuple[float, float, float]]] = {CROSS: [], PROMPT: []}
        for _ in range(runs + 1):
            for way, measured in runs_of.items():
                measured.append(_run(model, count, way))
        for way, measured in runs_of.items():
            read, token, kept = (statistics.median(column) for column in zip(*measured[1:], strict=True))
            found.append(Cost(way, count, count * model.config.tokens_per_window, read, token, kept))
    on_progress(len(windows), len(windows))
    return found


def _run(model: AudioFlamingo, windows: int, way: str) -> tuple[float, float, float]:
    """Seconds to read, seconds a further token, MB kept."""
    import torch

    from afcore.model.cache import FlamingoCache

    config, embed = model.config, model.get_input_embeddings()
    cache = FlamingoCache(config.text_config)
    text = torch.arange(10, 10 + TEXT_TOKENS)[None]
    first, mark = text.clone(), text.new_tensor(config.audio_token_id)
    first[0, 0] = mark
    config.max_windows_per_audio = windows  # no place is left empty
    heard = torch.zeros(1, windows, config.feature_width)
    with torch.inference_mode():
        begun = time.perf_counter()
        if way == CROSS:
            model(first, audio_embeds=heard, cache=cache, logits_to_keep=1)
        else:
            tokens = torch.zeros(1, windows * config.tokens_per_window, embed.embedding_dim, dtype=embed.weight.dtype)
            model(inputs_embeds=torch.cat([tokens, embed(text)], 1), cache=cache, logits_to_keep=1)
        read = time.perf_counter() - begun
        begun = time.perf_counter()
        for n in range(NEXT_TOKENS):
            model(text[:, n : n + 1], cache=cache, logits_to_keep=1)
        token = (time.perf_counter() - begun) / NEXT_TOKENS
    layers: list[Any] = cache.layers
    kept = [part for layer in layers for part in (layer.keys, layer.values)]
    if cache.audio is not None:
        kept += [part for pair in cache.audio.keys_values.values() for part in pair]
    return read, token, sum(part.numel() * part.element_size() for part in kept) / 1e6


def table(found: Sequence[Cost]) -> str:
    """A Markdown table, a row for each number of windows."""
    by = {(cost.way, cost.windows): cost for cost in found}
    pairs = [f"{what}: cross-attention | in the prompt" for what in ("read", "next token", "kept")]
    lines = [f"| windows | audio tokens | {' | '.join(pairs)} |", "|--:|--:|--:|--:|--:|--:|--:|--:|"]
    for windows in dict.fromkeys(cost.windows for cost in found):
        pair = by[CROSS, windows], by[PROMPT, windows]
        cells = [f"{1000 * cost.read_s:.0f} ms" for cost in pair]
        cells += [f"{1000 * cost.token_s:.1f} ms" for cost in pair]
        cells += [f"{cost.kept_mb:.1f} MB" for cost in pair]
        lines.append(f"| {windows} | {pair[0].tokens} | {' | '.join(cells)} |")
    return "\n".join(lines)


def to_json(found: Sequence[Cost]) -> list[dict[str, Any]]:
    """As plain data."""
    return [asdict(cost) for cost in found]
