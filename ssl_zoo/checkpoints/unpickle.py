"""Reading untrusted checkpoint files as data: nothing in them is run."""

from __future__ import annotations

import io
import pickle
import re
import sys
import warnings
from _compat_pickle import IMPORT_MAPPING  # modules that had other names in Python 2
from collections import Counter, OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ssl_zoo.checkpoints.archives import NotReadableError, check_kind, is_zip
from ssl_zoo.types import UserError

# Every name that is not rebuilt becomes an inert placeholder. What is refused is a file that calls
# one: of Python's own packages, torch and numpy all but these modules and names; of other packages
# what begins like a function, unless the package's files are known.
_KNOWN_PACKAGES = frozenset(
    {
        *("omegaconf", "solo", "lightly", "timm", "torchvision", "transformers", "wandb", "hydra"),
        *("pytorch_lightning", "lightning", "lightning_fabric", "pandas", "PIL", "ml_collections"),
        *("mmcv", "mmengine", "mmselfsup", "vissl", "classy_vision", "fvcore", "detectron2"),
        *("haiku", "jax", "jaxlib", "optax", "byol"),
        *("lib", "alias_multinomial"),  # of lemniscate.pytorch
    }
)
_INERT_MODULES = (
    *("argparse", "collections", "datetime", "decimal", "enum", "fractions", "functools"),
    *(
        "ipaddress",
        "itertools",
        "logging",
        "operator",
        "_operator",
        "pathlib",
        "random",
        "re",
        "sre_compile",
        "types",
        "typing",
        "uuid",
        "zoneinfo",
    ),
    *("torch.nn", "torch.optim", "torch.distributed", "torch._C", "torch.torch_version"),
    *("numpy.random", "numpy.dtypes", "numpy.ma"),
)
_PLAIN_TYPES = (
    *("bool", "int", "float", "complex", "str", "bytes", "bytearray", "list", "dict", "tuple"),
    *("frozenset", "slice", "range", "object", "type", "getattr", "reduce"),
    *("long", "unicode", "xrange"),  # as Python 2 calls them
)
_INERT_NAMES = frozenset(
    {
        ("array", "array"),
        ("array", "_array_reconstructor"),
        ("time", "struct_time"),
        ("torch.serialization", "_get_layout"),
        ("numpy", "ndarray"),
        ("numpy.core.multiarray", "scalar"),
        ("numpy._core.multiarray", "scalar"),
    }
    | {("numpy", name) for name in np.sctypeDict if isinstance(name, str)}
    | {(module, name) for module in ("builtins", "__builtin__") for name in _PLAIN_TYPES}
)
_OWN = sys.stdlib_module_names | IMPORT_MAPPING.keys() | {"torch", "numpy"}
_INERT_PREFIXES = tuple(f"{module}." for module in _INERT_MODULES)
_DTYPE = re.compile(r"[fiub][1248]")


def _shown(text: str) -> str:
    """Text from a file, shortened and without control characters."""
    return repr(text)[1:-1][:80]


class Placeholder:
    """An object of a foreign class as data: its arguments and its state, no behaviour.

    Attributes:
        args: What it was constructed from.
        state: What was set on it; None = nothing.
    """

    args: tuple[Any, ...]
    state: Any = None
    called = ""  # the name in the file

    def __new__(cls, *args: Any, **kwargs: Any) -> Placeholder:
        made = super().__new__(cls)
        made.args = args
        return made

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        pass

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def __call__(self, *args: Any) -> None:
        raise NotReadableError(f"it calls what {_shown(self.called)} returns")

    def __setitem__(self, key: Any, value: Any) -> None:
        pass  # a foreign dict's items are not needed

    def append(self, value: Any) -> None:
        pass

    def extend(self, values: Any) -> None:
        pass

    def add(self, value: Any) -> None:
        pass


class _Uncalled(Placeholder):
    """A name that may stand in a file, but that a file may not call.

    Objects are made without a call of `__init__`, by pickle's NEWOBJ.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        raise NotReadableError(f"it names {_shown(self.called)}, which is not called")


class Array:
    """A numpy array, rebuilt from its bytes; `value` holds numbers, and None stands for others."""

    value: np.ndarray[Any, Any] | None = None

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, shape, dtype, column_major, data = state
        kind = dtype.value() if isinstance(dtype, _Dtype) else None
        if kind is None or not isinstance(data, bytes):
            return
        flat = np.frombuffer(data, kind)
        self.value = flat.reshape(shape, order="F" if column_major else "C")


class _Dtype:
    """An array's element type as the file states it."""

    def __init__(self, name: str, *flags: Any) -> None:
        self.name, self.order = str(name), "<"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = str(state[1])

    def value(self) -> np.dtype[Any] | None:
        """None for texts, dates and the like."""
        if not _DTYPE.fullmatch(self.name) or self.order not in "<>|=":
            return None
        return np.dtype((">" if self.order == ">" else "<") + self.name)


class _Call:
    """A function that the file may call, but cannot set attributes of."""

    __slots__ = ("_function",)

    def __init__(self, function: Callable[..., Any]) -> None:
        self._function = function

    def __call__(self, *args: Any) -> Any:
        return self._function(*args)

    def __setstate__(self, state: Any) -> None:
        raise NotReadableError("it sets attributes of a function")


def _tensor(storage: Any, offset: int, size: Any, stride: Any, *hooks: Any) -> Tensor:
    """A tensor without the hooks that the file sets."""
    tensor: Tensor = torch._utils._rebuild_tensor(storage, offset, size, stride)
    return tensor


def _encode(text: str, encoding: str) -> bytes:
    """How protocol 2 writes bytes."""
    if encoding != "latin1":
        raise NotReadableError(f"it holds text in {_shown(encoding)}")
    return text.encode("latin1")


def _array_of(data: bytes, dtype: Any, shape: Any, order: str) -> Array:
    """How protocol 5 writes an array."""
    array = Array()
    array.__setstate__((1, shape, dtype, order == "F", bytes(data)))
    return array


def _storage(data: bytes) -> Any:
    """How pickle, without torch.save, writes a tensor's numbers: as a file of torch in the file."""
    return torch.load(io.BytesIO(data), map_location="cpu", weights_only=True)


_ARRAY = _Call(lambda *_: Array())
# What is rebuilt, name by name.
REBUILT: dict[tuple[str, str], Any] = {
    ("collections", "OrderedDict"): OrderedDict,
    ("collections", "defaultdict"): defaultdict,
    ("collections", "Counter"): _Call(lambda counts=(): Counter(counts)),
    ("builtins", "set"): set,
    ("__builtin__", "set"): set,
    ("torch", "Size"): torch.Size,
    ("torch", "device"): torch.device,
    ("torch._utils", "_rebuild_tensor"): _Call(_tensor),
    ("torch._utils", "_rebuild_tensor_v2"): _Call(_tensor),
    ("torch._utils", "_rebuild_parameter"): _Call(lambda data, *_: data),
    ("torch._utils", "_rebuild_parameter_with_state"): _Call(lambda data, *_: data),
    # torch.float32 and the like are values, which are written by their names
    **{
        ("torch", name): value
        for name, value in vars(torch).items()
        if isinstance(value, torch.dtype)
    },
    ("numpy.core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy._core.multiarray", "_reconstruct"): _ARRAY,
    ("numpy.core.numeric", "_frombuffer"): _Call(_array_of),
    ("numpy._core.numeric", "_frombuffer"): _Call(_array_of),
    ("torch.storage", "_load_from_bytes"): _Call(_storage),
    ("numpy", "dtype"): _Dtype,
    ("_codecs", "encode"): _Call(_encode),
}


class Unpickler(pickle.Unpickler):
    """Rebuilds tensors, arrays and containers, keeps known foreign objects inert; no more."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) in REBUILT:
            return REBUILT[module, name]
        if (kind := _placeholder(module, name)) is not None:
            return type(name, (kind,), {"__module__": "foreign", "called": f"{module}.{name}"})
        raise NotReadableError(f"it names {_shown(f'{module}.{name}')}, which is not called")


def _placeholder(module: str, name: str) -> type[Placeholder] | None:
    """What a name of a file becomes; None = it is none."""
    parts = [*module.split("."), name.split(".")[0]]
    if (module, name) in _INERT_NAMES or f"{module}.".startswith(_INERT_PREFIXES):
        return Placeholder
    if parts[0] in _KNOWN_PACKAGES:
        return Placeholder
    # torch takes storages from here and would stumble over another thing in their place
    if not all(part.isidentifier() for part in parts) or name.endswith("Storage"):
        return None
    # some classes, such as enums, are called
    function = parts[0] in _OWN or name.rpartition(".")[2][:1].islower()
    return _Uncalled if function else Placeholder


def _load(file: Any, **options: Any) -> Any:
    return Unpickler(file, **options).load()


def module_in(content: Any, depth: int = 4) -> str:
    """The class of a whole model of torch in a file, in containers within containers; else ""."""
    state = content.state if isinstance(content, Placeholder) else None
    if isinstance(state, Mapping) and {"_parameters", "_modules"} <= state.keys():
        return _shown(content.called)
    values = content.values() if isinstance(content, Mapping) else content
    if depth == 0 or not isinstance(content, Mapping | list | tuple):
        return ""
    return next((found for value in values if (found := module_in(value, depth - 1))), "")


def read(path: Path) -> Any:
    """The content of a PyTorch or pickle file, with foreign objects as `Placeholder`s.

    Plain data is read with `torch.load(weights_only=True)`, and only what that refuses with
    `Unpickler`.

    Raises:
        UserError: In one line, if the file is damaged, is something else, or names what is neither
            rebuilt nor kept as a placeholder.
    """
    try:
        check_kind(path)
        return _read(path)
    except NotReadableError as error:
        raise UserError(f"{path} is not a readable checkpoint: {error}") from error
    except Exception as error:  # a broken file can raise anything
        raise UserError(
            f"{path} is not a readable checkpoint: it is damaged or cut short"
        ) from error


def _read(path: Path) -> Any:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # on old formats and on missing sources
        # torch goes by the suffix of a path, and the file may have any
        with path.open("rb") as file:
            try:
                return torch.load(file, map_location="cpu", weights_only=True)
            except Exception:  # foreign objects or a broken file: the second attempt tells which
                file.seek(0)
            if not is_zip(path):
                first = _load(file)
                if first != torch.serialization.MAGIC_NUMBER:
                    return first
                file.seek(0)
            reader: Any = SimpleNamespace(__name__="unpickle", Unpickler=Unpickler, load=_load)
            return torch.load(file, map_location="cpu", weights_only=False, pickle_module=reader)
