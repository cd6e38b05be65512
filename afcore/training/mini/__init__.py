"""What is mini's own in training: its samples, distillation, matching and calibration."""
