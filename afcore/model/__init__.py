"""Audio Flamingo (Kong et al., ICML 2024, arXiv 2402.01831): a decoder language model that hears
through gated cross-attention on the windows of one or several interleaved audios."""

from afcore.model.configuration import AudioFlamingoConfig
from afcore.model.flamingo import AudioFlamingo

__all__ = ["AudioFlamingo", "AudioFlamingoConfig"]
