"""Training: the loop, its batches, optimizer, checkpoint, memory use and process group."""
