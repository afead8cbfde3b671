"""Which classes val and test share with train, and what that means, in words.

A classifier knows the classes of train. Images of others are left out where it is scored, and take
part in what needs no classifier.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch

from ssl_zoo.data.images import Images
from ssl_zoo.types import listed

_HEADS = "knn, linear and other classifiers"
_ALL = "retrieval and embed take all images"
_USES = {"val": "chosen", "test": "scored"}


def class_ids(images: Images | None) -> list[int]:
    """The labels that occur among images, ascending."""
    if images is None:
        return []
    return [label for label in images.labels.unique().tolist() if label >= 0]


def share_no_class(one: Images | None, other: Images | None) -> bool:
    """Whether both have labels, but none in common."""
    first, second = class_ids(one), class_ids(other)
    return bool(first and second) and set(first).isdisjoint(second)


def differences(
    train: Images, val: Images, test: Images | None, class_names: Sequence[str]
) -> list[str]:
    """A line for each of val and test whose classes are not those of train.

    Args:
        train: Images to learn from.
        val: Images to choose on.
        test: Images to report on.
        class_names: Name of each label.
    """
    lines = []
    if val_line := _compared("val", train, val, class_names):
        lines.append(val_line)
    if test is not None and (test_line := _compared("test", train, test, class_names)):
        lines.append(test_line)
    return lines


def _compared(part: str, train: Images, images: Images, names: Sequence[str]) -> str | None:
    known, own = class_ids(train), class_ids(images)
    if not len(images) or set(known) == set(own):
        return None
    if not own:
        has = f"no image of {part} has a label, train has {classes_in_words(known, names)}"
        return f"{has}: {_unscored(part)}"
    if not known:
        has = f"no image of train has a label, {part} has {classes_in_words(own, names)}"
        return f"{has}: {_unscored(part)}"
    if share_no_class(train, images):
        both = f"train {classes_in_words(known, names)}, {part} {classes_in_words(own, names)}"
        line = f"train and {part} share no class ({both}): {_unscored(part)}"
        return "; ".join([line, *_alike(own, known, names)])
    others = [label for label in own if label not in set(known)]
    lacking = [label for label in known if label not in set(own)]
    said, unused = [], ""
    if others:
        said.append(f"has {classes_in_words(others, names)} that train lacks")
        count = int(torch.isin(images.labels, torch.tensor(others)).sum())
        unused = f", without {count:,} of its {len(images):,} images; {_ALL}"
    if lacking:
        said.append(f"lacks {classes_in_words(lacking, names)} of train")
    shared = _counted(len(own) - len(others))
    use = f"{_HEADS} learn all of train's and are {_USES[part]} on the {shared} that both have"
    line = f"{part} {' and '.join(said)}: {use}{unused}"
    return "; ".join([line, *_alike(others, lacking, names)])


def _unscored(part: str) -> str:
    return f"{_HEADS} cannot be {_USES[part]} on it; {_ALL}"


def classes_in_words(labels: Sequence[int], names: Sequence[str]) -> str:
    """As in "2 classes (cat, dog)"."""
    if not labels:
        return "no labels"
    return f"{_counted(len(labels))} ({listed([str(names[label]) for label in labels])})"


def _counted(classes: int) -> str:
    return "1 class" if classes == 1 else f"{classes:,} classes"


def _alike(others: Sequence[int], lacking: Sequence[int], names: Sequence[str]) -> list[str]:
    """A hint at names that are meant to be the same."""
    ours = {str(names[label]).casefold().strip(): label for label in lacking}
    for label in others:
        if (same := ours.get(str(names[label]).casefold().strip())) is not None:
            return [f"{names[same]} and {names[label]} are two classes: are they meant to be one?"]
    return []
