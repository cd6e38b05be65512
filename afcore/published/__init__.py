"""The published models: where their files are, how they are fetched, checked and loaded."""
