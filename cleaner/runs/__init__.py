"""Runs on disk: folders, their records and what is requested of them."""
