"""Images per second of a SimCLR training step on this machine, setting by setting, side by side.

Each setting runs in its own process (malloc's and torch's settings are per process), in turn,
several times; the ratio is to the first row of the same round.
"""

from __future__ import annotations

import argparse
import statistics
import subprocess
import sys
from functools import partial
from time import perf_counter

SETTINGS = {  # name: (precision, channels_last, compile, malloc keeps freed memory)
    "float32": ("32", False, False, False),
    "bfloat16": ("bf16", False, False, False),
    "bfloat16, channels_last": ("bf16", True, False, False),
    "the same, freed memory kept": ("bf16", True, False, True),
    "the same, compiled": ("bf16", True, True, True),
}


def measure(name: str, seconds: float, batch_size: int) -> float:
    """Images per second of one setting, in this process."""
    import os

    precision, channels_last, compiled, keep = SETTINGS[name]
    if keep:
        os.environ["THP_MEM_ALLOC_ENABLE"] = "1"
    import torch

    from ssl_zoo.backbones import SmallResNet
    from ssl_zoo.data import Augmentation, DataModule
    from ssl_zoo.data.datasets import shapes
    from ssl_zoo.hardware import keep_freed_memory
    from ssl_zoo.losses import InfoNCE
    from ssl_zoo.methods import SimCLR
    from ssl_zoo.modules import MLP, InBatch

    if keep:
        keep_freed_memory()
    data = DataModule(shapes(), partial(Augmentation, blur=0.0), batch_size=batch_size)
    method = SimCLR(SmallResNet(), partial(MLP, out_dim=128), InBatch, InfoNCE(0.2))
    if channels_last:
        method = method.to(memory_format=torch.channels_last)
    if compiled:
        method.encoder.compile()
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9)
    loader = data.train_dataloader()
    done, start = -5, 0.0
    while True:
        for raw in loader:
            if done == 0:
                start = perf_counter()
            batch = data.transfer_batch_to_device(raw, torch.device("cpu"), 0)
            with torch.autocast("cpu", dtype=torch.bfloat16, enabled=precision == "bf16"):
                loss = method.step(batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
            if done > 0 and perf_counter() - start > seconds:
                return done * batch_size / (perf_counter() - start)
        loader.sampler.set_epoch(loader.sampler.epoch + 1)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--one", choices=SETTINGS, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(measure(args.one, args.seconds, args.batch_size))
        return
    rates: dict[str, list[float]] = {name: [] for name in SETTINGS}
    for _ in range(args.repeats):
        for name, values in rates.items():
            options = ["--seconds", str(args.seconds), "--batch-size", str(args.batch_size)]
            command = [sys.executable, __file__, "--one", name, *options]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            values.append(float(output.split()[-1]))
    first = next(iter(rates.values()))
    print(f"SimCLR on 32 x 32 images, SmallResNet, batch {args.batch_size}, n={args.repeats}")
    for name, values in rates.items():
        ratio = statistics.median(a / b for a, b in zip(values, first, strict=True))
        spread = f"{min(values):.0f}-{max(values):.0f}"
        print(f"{name:30s} {statistics.median(values):6.0f} images/s ({spread})  x{ratio:.2f}")


if __name__ == "__main__":
    main()
