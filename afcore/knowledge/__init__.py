"""What everybody knows of a sound: a table of AudioSet's 527 classes, and names judged against their tags.

Nothing here needs more than numpy.
"""
