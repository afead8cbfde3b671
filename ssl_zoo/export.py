"""Exporting a backbone: `python -m ssl_zoo.export RUN --format torchvision|timm|... OUT`."""

from ssl_zoo.checkpoints.export import export, main

__all__ = ["export", "main"]

if __name__ == "__main__":
    main()
