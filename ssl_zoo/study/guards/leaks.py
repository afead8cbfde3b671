"""G4: images that are in two of train, val and test, counted again from their hashes."""

from __future__ import annotations

import hashlib
from collections import Counter
from typing import Any

from ssl_zoo.study.guards.outcome import Outcome
from ssl_zoo.study.reading import Study, in_words

_PAIRS = (("train", "test"), ("val", "test"), ("train", "val"))
_TRAIN, _VAL, _TEST = "train", "val", "test"
_FACTS = {_TRAIN: "images", _VAL: "val", _TEST: "test"}  # what a run calls their numbers


def check_leaks(study: Study, outcome: Outcome) -> None:
    """G4: by the contents of the images, which plan/images.txt lists."""
    data = study.plan.get("data") or {}
    if not study.folder.images.is_file():
        _not_listed(study, data, outcome)
        return
    text = study.folder.images.read_text(encoding="utf-8", errors="replace")
    names = list(data.get("classes") or [])
    if hashlib.sha256(f"{names!r}{text}".encode()).hexdigest() != data.get("contents_sha"):
        outcome.fail("plan/images.txt, or its hash in plan.json, was changed since the plan")
    lines = [line.split() for line in text.splitlines()]
    images: dict[str, list[tuple[str, str]]] = {part: [] for part in _FACTS}
    for line in lines:
        if len(line) == 3 and line[0] in images:
            images[line[0]].append((line[1], line[2]))
    found = {f"{a}/{b}": len(_shas(images[a]) & _shas(images[b])) for a, b in _PAIRS}
    _say(found, outcome)
    planned = data.get("overlaps")
    if planned is not None and planned != found:
        outcome.fail(f"plan.json counts {planned} shared images, plan/images.txt has {found}")
    again = len(images[_TRAIN]) - len(_shas(images[_TRAIN]))
    if again:
        outcome.warn(f"{again} images are twice or more in one part")
    if study.settings.get("folds"):
        _check_folds(images, outcome)
    else:
        _check_runs(study, {part: len(own) for part, own in images.items()}, outcome)


def _shas(images: list[tuple[str, str]]) -> set[str]:
    return {sha for sha, _ in images}


def _say(found: dict[str, int], outcome: Outcome) -> None:
    for parts, count in found.items():
        if count:
            outcome.fail(f"{count} images are in both of {parts.replace('/', ' and ')}")


def _not_listed(study: Study, data: dict[str, Any], outcome: Outcome) -> None:
    """Without the list: of a plan that has not hashed the images, or one of whom it was taken."""
    if data.get("overlaps") is None:
        line = "the plan has not compared the images of train, val and test"
        (outcome.fail if study.selection else outcome.wait)(line)
        return
    outcome.warn("plan/images.txt is gone: the numbers of shared images are those of plan.json")
    _say(data["overlaps"], outcome)


def _check_folds(images: dict[str, list[tuple[str, str]]], outcome: Outcome) -> None:
    """The list is of the first fold; others divide train and val by class in other ways."""
    classes = Counter(sha for sha, _ in {*images[_TRAIN], *images[_VAL]})
    several = sum(count > 1 for count in classes.values())
    if several:
        outcome.fail(
            f"{several} images are in two classes or more, so that a fold may have them in both of "
            "train and val"
        )


def _check_runs(study: Study, counts: dict[str, int], outcome: Outcome) -> None:
    """The runs have read as many images as are listed."""
    for part, fact in _FACTS.items():
        count = counts[part]
        other = [run.name for run in study.runs if (run.facts.get(fact, count) or 0) != count]
        if other:
            outcome.fail(f"{in_words(other)} had not the {count} {part} images that are listed")
