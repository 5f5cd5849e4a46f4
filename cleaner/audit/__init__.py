"""The audit of a model: known triggers and trigger inversion, compared with a population of clean models."""
