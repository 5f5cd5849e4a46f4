"""Runs on disk: folders, records and requests."""
