"""Score a backbone: `python evaluate.py ckpt=RUN protocol=linear`; see `--help`."""

from ssl_zoo.evaluate import command

if __name__ == "__main__":
    command()
