"""Metrics, and how they are measured."""
