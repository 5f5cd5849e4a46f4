"""The command line: python -m cleaner."""
