"""Scores of what ships, on sounds that nothing was trained or tuned on."""
