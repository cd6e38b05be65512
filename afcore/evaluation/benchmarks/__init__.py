"""The paper's benchmarks: one small file for each official layout, one table of prompts, one of published scores."""
