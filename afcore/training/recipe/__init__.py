"""The paper's training recipe at any size (reference sections 3, 4 and 9 of Audio Flamingo, arXiv 2402.01831):
pretraining with the language model frozen, supervised fine-tuning with shots, chat. One config file says everything:

    python -m afcore.training.recipe CONFIG --work DIR        (or under torchrun / accelerate launch, for several
    processes)

config → manifests → texts → sources → blending → batches → network → stages, each a module here; `windows` keeps what
the frozen encoder hears on disk, `disturbance` varies it, `state` keeps the checkpoints, `progress` the log and the
plot, `dialogues` makes dialogue data. `sources.Parts` is what others add: mini's clips and its matching loss
(`afcore.training.mini.parts`). See docs/training.md."""
