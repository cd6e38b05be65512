"""Making mini from Debian's sounds: corpus, teacher, student, mini CLAP, language side. Each step is `python -m
afcore.training STEP`."""
