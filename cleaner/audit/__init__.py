"""The audit of a model: known triggers and trigger inversion, compared with a population of clean models."""

IMAGES = 600
"""Test images that an audit loads; each test uses a part of them."""
