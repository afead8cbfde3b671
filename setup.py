"""The packages; everything else is in pyproject.toml."""

from setuptools import find_packages, setup

# conf/ stays at the top of the repository and goes into the wheel as ssl_zoo/conf
setup(packages=[*find_packages(include=["ssl_zoo*"]), "ssl_zoo.conf"])
