"""Load, faults and bad files, tried on purpose: ``python -m afcore.reliability soak | faults | fuzz`` print figures."""
