"""CLIP models: architectures, checkpoints, devices."""
