"""Images per second of a SimCLR training step on this machine, setting by setting, side by side.

    python benchmarks/step.py
    python benchmarks/step.py --device cuda

Each row adds one setting to the row above it and runs in its own process (malloc's and torch's
settings are per process), in turn, several times; the ratio is to the first row of the same
round. bfloat16 is left out where the device would only emulate it, as in training.
"""

from __future__ import annotations

import argparse
import os
import statistics
import subprocess
import sys
from functools import partial
from time import perf_counter

import torch

from ssl_zoo.hardware import has_native_bf16, keep_freed_memory

SETTINGS = ["float32", "bfloat16", "channels_last", "freed memory kept", "compiled"]


def settings(device: torch.device) -> list[str]:
    """The settings that act on this device."""
    idle = {"freed memory kept"} if device.type == "cuda" else set()
    if not has_native_bf16(device):
        print(f"{device} has no native bfloat16: it is left out")
        idle.add("bfloat16")
    return [name for name in SETTINGS if name not in idle]


def measure(used: list[str], seconds: float, batch_size: int, device: torch.device) -> float:
    """Images per second with these settings, in this process."""
    if "freed memory kept" in used:
        os.environ["THP_MEM_ALLOC_ENABLE"] = "1"
        keep_freed_memory()
    from ssl_zoo.backbones import SmallResNet
    from ssl_zoo.data import Augmentation, DataModule
    from ssl_zoo.data.datasets import shapes
    from ssl_zoo.losses import InfoNCE
    from ssl_zoo.methods import SimCLR
    from ssl_zoo.modules import MLP, InBatch

    data = DataModule(shapes(), partial(Augmentation, blur=0.0), batch_size=batch_size)
    method = SimCLR(SmallResNet(), partial(MLP, out_dim=128), InBatch, InfoNCE(0.2)).to(device)
    if "channels_last" in used:
        method = method.to(memory_format=torch.channels_last)
    if "compiled" in used:
        method.encoder.compile()
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9)
    loader = data.train_dataloader()
    done, start = -5, 0.0
    while True:
        for raw in loader:
            if done == 0:
                start = now(device)
            batch = data.transfer_batch_to_device(raw, device, 0)
            with torch.autocast(device.type, dtype=torch.bfloat16, enabled="bfloat16" in used):
                loss = method.step(batch).loss
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            done += 1
            if done > 0 and perf_counter() - start > seconds:
                return done * batch_size / (now(device) - start)
        loader.sampler.set_epoch(loader.sampler.epoch + 1)


def now(device: torch.device) -> float:
    """The time, once a GPU has done what it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)
    return perf_counter()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=8.0, help="of each measurement")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=256)
    parser.add_argument("--device", type=torch.device, default=torch.device("cpu"))
    parser.add_argument("--one", nargs="+", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.one:
        print(measure(args.one, args.seconds, args.batch_size, args.device))
        return
    names = settings(args.device)
    rates: dict[str, list[float]] = {name: [] for name in names}
    for _ in range(args.repeats):
        for last, values in enumerate(rates.values(), 1):
            options = ["--seconds", str(args.seconds), "--batch-size", str(args.batch_size)]
            options += ["--device", str(args.device), "--one", *names[:last]]
            command = [sys.executable, __file__, *options]
            output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
            values.append(float(output.split()[-1]))
    first = rates[names[0]]
    print(
        f"SimCLR on 32 x 32 images, SmallResNet, batch {args.batch_size}, n={args.repeats}, "
        f"{args.device}, torch {torch.__version__}"
    )
    for name, values in rates.items():
        ratio = statistics.median(a / b for a, b in zip(values, first, strict=True))
        spread = f"{min(values):.0f}-{max(values):.0f}"
        row = name if name == names[0] else f"+ {name}"
        print(f"{row:20s} {statistics.median(values):8.0f} images/s ({spread})  x{ratio:.2f}")


if __name__ == "__main__":
    main()
