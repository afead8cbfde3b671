"""What a data module read, as plain data and in words."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from ssl_zoo.data.images import Splits
from ssl_zoo.data.preprocess import IMAGENET_MEAN, Preprocess

if TYPE_CHECKING:
    from ssl_zoo.data.datamodule import DataModule

_SHOWN = 4  # classes named in a line


def data_facts(data: DataModule) -> dict[str, Any]:
    """What was read, and what is made of it; plain data.

    `classes` is 0 where there are no labels, `test` None where there are no test images.
    """
    names = data.class_names
    if data.class_split is None:  # those that only val or test has are said elsewhere
        names = names[: data.num_train_classes]
    return {
        "images": data.num_images,
        "labelled": int((data.train.labels >= 0).sum()),
        "classes": len(names),
        "first_classes": list(names[:_SHOWN]),
        "val": len(data.val),
        "val_is_of_train": data.val_is_of_train,
        "test": None if data.test is None else len(data.test),
        "left_out": dict(data.left_out),
        "input_size": data.preprocess.image_size,
        "view_size": data.view_size,
        "view_sizes": list(getattr(data.augmentation, "sizes", [])),
        "statistics": data.statistics,
    }


def images_in_words(facts: Mapping[str, Any]) -> str:
    """The images of `data_facts`, as in "900 images in 2 classes (cat, dog), val 100, test 200"."""
    classes, images = facts["classes"], facts["images"]
    names = ", ".join(facts["first_classes"]) + (", ..." if classes > _SHOWN else "")
    labels = f" in {classes:,} classes ({names})" if classes else ", no labels"
    parts = [f"{images:,} images{labels}"]
    if classes and facts["labelled"] < images:
        parts.append(f"{facts['labelled']:,} of them labelled")
    held_out = " held out of train" if facts["val"] and facts["val_is_of_train"] else ""
    parts.append(f"val {facts['val']:,}{held_out}")
    parts.append("no test images" if facts["test"] is None else f"test {facts['test']:,}")
    left_out = facts["left_out"]
    if left_out:
        listed = ", ".join(f"{count:,} {reason}" for reason, count in left_out.items())
        parts.append(f"left out: {listed}")
    return ", ".join(parts)


def input_in_words(facts: Mapping[str, Any]) -> str:
    """What the backbone sees, as in "32 x 32 pixels, normalised by ImageNet's statistics"."""
    size, views = facts["input_size"], facts["view_size"]
    seen = f"{size} x {size} pixels" + (f" (views {views} x {views})" if views != size else "")
    if len(sides := Counter(facts["view_sizes"])) > 1:
        listed = ", ".join(f"{count} of {side} x {side}" for side, count in sides.items())
        pixels = sum(count * side * side for side, count in sides.items())
        seen = f"{size} x {size} pixels ({sides.total()} views: {listed}; {pixels:,} pixels)"
    return f"{seen}, normalised by {facts['statistics']} statistics"


def whose_statistics(preprocess: Preprocess, given: Sequence[float] | None, splits: Splits) -> str:
    """Whose mean and standard deviation the images are normalised by.

    Args:
        preprocess: What came of it.
        given: The mean or std that the data module was given; None = neither.
        splits: The data set, which may bring its own.
    """
    if given is not None:
        return "the given"
    if splits.mean is not None:
        return "the data set's published"
    used = preprocess.options()["mean"]
    if all(abs(a - b) < 1e-6 for a, b in zip(used, IMAGENET_MEAN, strict=True)):
        return "ImageNet's"
    return "the training images' own"
