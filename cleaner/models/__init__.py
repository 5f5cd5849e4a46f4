"""CLIP models: architectures, files, devices."""
