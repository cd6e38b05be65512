"""Few shots: the bank of examples, the nearest of them to a sound, and the control that shuffles their answers."""
