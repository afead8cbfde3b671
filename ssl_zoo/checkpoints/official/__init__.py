"""Foreign checkpoints, those of other repositories: `layouts` tells them apart."""

from ssl_zoo.checkpoints.official.layouts import KNOWN, LAYOUTS, Layout, load_official

__all__ = ["KNOWN", "LAYOUTS", "Layout", "load_official"]
