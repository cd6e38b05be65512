"""Audio Flamingo: few-shot listening, question answering and dialogue about sounds (arXiv 2402.01831)."""

__version__ = "0.1.0"
