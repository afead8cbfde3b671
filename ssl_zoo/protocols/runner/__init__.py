"""Protocols run on checkpoints, beside random weights and raw pixels."""
