"""Score a backbone: `python evaluate.py ckpt=RUN protocol=linear`; see `--help`."""

from ssl_zoo.stopping import end_quietly

if __name__ == "__main__":
    end_quietly()  # before the imports that take half a second
    from ssl_zoo.evaluate import command

    command()
