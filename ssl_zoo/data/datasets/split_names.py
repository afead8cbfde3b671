"""What the names of folders say about splits."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Literal
from unicodedata import normalize

Role = Literal["train", "val", "test"]

_WORDS: dict[str, Role] = {
    **dict.fromkeys(("train", "training", "trn", "trainval"), "train"),
    **dict.fromkeys(("val", "valid", "validation", "validate", "dev", "development"), "val"),
    **dict.fromkeys(("test", "testing", "tst", "eval", "evaluation", "holdout"), "test"),
}
_FILLERS = {
    *("seg", "set", "sets", "data", "split", "subset", "folder", "file", "files", "my", "raw"),
    *("image", "images", "img", "imgs", "photo", "photos", "pic", "pics", "picture", "pictures"),
    *("sample", "samples", "original", "resized", "final"),
}
# How words for splits begin, also in Trainingsdaten; in other languages they are only refused.
_BEGINS: dict[Role, tuple[str, ...]] = {
    "train": (
        *("train", "trein", "entren", "entrain", "entraîn", "addestr", "apprent", "uczen", "eğit"),
        *("обуч", "трен", "训练", "訓練", "学習", "训", "훈련", "학습", "تدريب"),
    ),
    "val": ("valid", "validier", "valida", "вали", "验证", "驗證", "検証", "검증"),
    "test": (
        *("test", "prueba", "prova", "examen", "evalu", "évalu", "avali", "sinav"),
        *("тест", "пров", "测试", "測試", "テスト", "評価", "评估", "테스트", "평가", "اختبار"),
    ),
}
# Folders of one and the same set: by number, or by what is drawn on the pictures of another.
_PIECES = {"fold", "part", "split", "batch", "shard", "chunk", "set", "subset", "volume", "cv"}
_PICTURES = {"image", "images", "img", "imgs", "photo", "photos", "rgb", "input", "inputs", "jpeg"}
_ANNOTATIONS = {
    *("mask", "masks", "label", "labels", "annotation", "annotations", "annot", "segmentation"),
    *("edges", "edge", "thumbnails", "thumbs", "segmentations", "gt", "groundtruth", "truth"),
    *("depth", "target", "targets", "trimaps"),
}
_DRAWN = {"masks", "segmentations", "annotations", "trimaps", "groundtruth"}  # whatever is beside
_SIDES = (  # two parts of one set
    *({"query", "gallery"}, {"seen", "unseen"}, {"base", "novel"}, {"source", "target"}),
    *({"labeled", "unlabeled"}, {"labelled", "unlabelled"}, {"clean", "noisy"}, {"lr", "hr"}),
)
_PART = re.compile(r"[A-Z]?[a-z]+|[A-Z]+(?![a-z])")  # of trainA, seg_train, TrainSet, train2017


def _words(name: str) -> list[str]:
    parts = [part.lower() for part in _PART.findall(name)]
    words = [part.removesuffix("set") or part for part in parts]  # trainset
    return [word for word in words if word not in _FILLERS]


def role(name: str) -> Role | None:
    """The split that a folder's name means: Training, seg_train, test_set, val2017; else None."""
    words = _words(name)
    return _WORDS.get(words[0]) if len(words) == 1 else None


def looks_like(name: str) -> set[Role]:
    """The splits that a name also reminds of, as trainA and fruit_test do."""
    words = {*_words(name), *re.findall(r"[^\W\d_]+", normalize("NFC", name.lower()))}
    return {split for word in words if (split := _hint(word)) is not None}


def _hint(word: str) -> Role | None:
    """A word's split, also of Trainingsdaten and in other languages."""
    found = [split for split, starts in _BEGINS.items() if word.startswith(starts)]
    return _WORDS.get(word) or next(iter(found), None)


def without_split(name: str) -> list[str]:
    """The words of a name that say nothing of a split: cat, of cat_test."""
    return [word for word in _words(name) if _hint(word) is None]


def are_pieces(names: Sequence[str]) -> bool:
    """Whether names are those of the pieces of one set: fold1 and fold2, query and gallery."""
    if {name.lower() for name in names} in _SIDES:
        return True
    number = r"\d+|[a-z]|[ivx]+|one|two|three|four|five"
    pattern = rf"((?:.*[^a-z])?(?:{'|'.join(sorted(_PIECES))}))[ ._-]*(?:{number})"
    found = [re.fullmatch(pattern, name.lower()) for name in names]  # also images_part_1
    stems = {match and match.group(1) for match in found}
    return len(names) > 1 and len(stems) == 1 and None not in stems


def pictures_and_annotations(names: Sequence[str]) -> tuple[str, str] | None:
    """Two folders of which one holds drawings on the pictures of the other: images and masks."""
    words = {name: {part.lower() for part in _PART.findall(name)} for name in names}
    drawn = [name for name, own in words.items() if own & _ANNOTATIONS]
    pictures = [name for name, own in words.items() if own & _PICTURES and name not in drawn]
    if not pictures:  # CUB_200_2011 and segmentations
        drawn = [name for name in names if re.sub(r"[ ._-]", "", name.lower()) in _DRAWN]
        pictures = [name for name in names if name not in drawn]
    return (pictures[0], drawn[0]) if pictures and drawn else None


def is_annotations(name: str) -> bool:
    """Whether a folder's name is only that of what belongs to pictures: labels, Annotations."""
    words = {part.lower() for part in _PART.findall(name)}
    return bool(words) and words <= _ANNOTATIONS
