"""Checkpoints of other repositories, which `layouts` recognises."""

from ssl_zoo.checkpoints.official.layouts import KNOWN, LAYOUTS, Layout, load_official

__all__ = ["KNOWN", "LAYOUTS", "Layout", "load_official"]
