"""Native precision of the hardware, and settings that make it faster."""

from __future__ import annotations

import ctypes
import os
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any

import torch
from torch import Tensor

_M_TRIM_THRESHOLD, _M_TOP_PAD, _M_MMAP_MAX = -1, -2, -4  # malloc.h


def default_device() -> torch.device:
    """The GPU if there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def device_name(device: torch.device) -> str:
    """A device as its user knows it: cpu, or the GPU's name."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else device.type


def peak_memory(device: torch.device) -> tuple[float, float] | None:
    """The most memory that this process has used, and what there is, in GB (1e9 bytes).

    Of the GPU, else of the machine; None where the system does not say.
    """
    if device.type == "cuda":
        total = torch.cuda.get_device_properties(device).total_memory
        return torch.cuda.max_memory_reserved(device) / 1e9, total / 1e9
    try:
        import resource
    except ImportError:  # Windows
        return None
    used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    used *= 1 if sys.platform == "darwin" else 1024
    return used / 1e9, os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 1e9


def has_native_bf16(device: torch.device) -> bool:
    """Whether bfloat16 matrix products run natively on this device."""
    if device.type == "cuda":
        return bool(torch.cuda.is_bf16_supported(including_emulation=False))
    return device.type == "cpu" and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def at_least_float32(x: Tensor) -> Tensor:
    """Half precisions become float32; float64 stays."""
    return x.float() if x.dtype in (torch.float16, torch.bfloat16) else x


def resolve_precision(precision: str, device: torch.device) -> str:
    """`auto` becomes bf16-mixed where it is native, else 32-true; anything else stays."""
    if precision != "auto":
        return str(precision)
    return "bf16-mixed" if has_native_bf16(device) else "32-true"


def autocast(
    device: torch.device, precision: str = "auto"
) -> Callable[[], AbstractContextManager[Any]]:
    """A context of bfloat16 autocast for bf16-mixed, else a null context.

    Args:
        device: Where it is used.
        precision: 32-true, bf16-mixed, or auto = the second where it is native.
    """
    if resolve_precision(precision, device) != "bf16-mixed":
        return nullcontext
    return partial(torch.autocast, device.type, dtype=torch.bfloat16)


def keep_freed_memory() -> None:
    """Make glibc's malloc keep freed memory.

    By default it returns each large block to the kernel, and the next step page-faults it in
    again: a fifth of the time of a small network's step. Without glibc, nothing happens.
    """
    if sys.platform != "linux":
        return
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_MAX, 0)
        mallopt(_M_TRIM_THRESHOLD, -1)
        mallopt(_M_TOP_PAD, 2**28)
