"""The paper's training recipe at any size (reference sections 3, 4 and 9 of Audio Flamingo, arXiv 2402.01831): pretraining
with the language model frozen, supervised fine-tuning with shots, chat. One config file says everything:

    python -m afcore.training.recipe CONFIG --work DIR        (or under torchrun / accelerate launch, for several processes)

config → manifests → blending → texts → batches → network → engine, each a module here; `windows` keeps what the frozen
encoder hears on disk, `state` the checkpoints, `progress` the log and the plot, `dialogues` makes dialogue data. See
docs/training.md."""
