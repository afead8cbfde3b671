"""Pretrain a backbone: `python train.py method=simclr dataset=cifar10 ...`; see `--help`."""

from ssl_zoo.stopping import end_quietly

if __name__ == "__main__":
    end_quietly()  # before the imports that take half a second
    from ssl_zoo.train import command

    command()
