"""The engine: a loaded model and what it does with a sound (hear, ask, score labels, compare)."""
