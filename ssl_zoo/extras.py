"""Optional packages, and which extra installs each."""

from __future__ import annotations

from importlib.util import find_spec

from ssl_zoo.types import UserError

_EXTRAS = {
    "hydra-joblib-launcher": "joblib",
    "hydra-submitit-launcher": "submitit",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "onnxscript": "onnx",
    "optuna": "optuna",
    "pillow_heif": "heic",
    "pyarrow": "parquet",
    "pycocotools": "detection",
    "pytorch_metric_learning": "metric",
    "tensorboard": "tensorboard",
}


def how_to_install(package: str) -> str:
    """The command that installs an optional package, by its import name."""
    return f'pip install "ssl_zoo[{_EXTRAS[package]}]"'


def need(what: str, *packages: str, instead: str = "") -> None:
    """Refuse to continue without packages that only some installations have.

    Args:
        what: Which part needs them.
        *packages: Their import names.
        instead: What else the user can do; follows "or".

    Raises:
        UserError: Naming the first that is missing and the extra that installs it.
    """
    for package in packages:
        if find_spec(package) is None:
            otherwise = f", or {instead}" if instead else ""
            raise UserError(
                f"{what} needs {package.replace('_', '-')}, which is not installed: "
                f"{how_to_install(package)}{otherwise}"
            )
