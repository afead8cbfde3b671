"""Exporting a backbone: `python -m ssl_zoo.export RUN --format torchvision|timm|... OUT`."""

from ssl_zoo.stopping import end_quietly

if __name__ == "__main__":
    end_quietly()

from ssl_zoo.checkpoints.export import export, main

__all__ = ["export", "main"]

if __name__ == "__main__":
    main()
