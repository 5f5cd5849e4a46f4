"""TA-Cleaner Lab: poison an image-text model, clean it, and see what changed."""
