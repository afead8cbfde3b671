"""The packages; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

# conf/ stays at the top of the repository and goes into the wheel as ssl_zoo/conf
# Hydra takes plugins from hydra_plugins only, which other distributions share
setup(packages=[*find_packages(include=["ssl_zoo*"]), "ssl_zoo.conf", "hydra_plugins.ssl_zoo"])
