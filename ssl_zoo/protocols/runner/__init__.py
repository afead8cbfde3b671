"""Protocols run on checkpoints, with random weights and raw pixels for comparison."""
