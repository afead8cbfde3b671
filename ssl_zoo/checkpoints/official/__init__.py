"""Checkpoints of other repositories, which `layouts` recognises."""

from ssl_zoo.checkpoints.official.load import load_official

__all__ = ["load_official"]
