"""Pretrain a backbone: `python train.py method=simclr dataset=cifar10 ...`; see `--help`."""

from ssl_zoo.train import command

if __name__ == "__main__":
    command()
