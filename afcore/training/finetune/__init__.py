"""Fine-tuning a model on a person's own questions and answers: `data` reads and looks at them, `run` trains by the
recipe and writes a model's folder, `compare` asks held-out questions before and after."""
