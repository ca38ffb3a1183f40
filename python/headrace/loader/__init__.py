"""Batches to the training loop."""
