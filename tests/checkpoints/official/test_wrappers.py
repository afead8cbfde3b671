"""A backbone is found under whatever wraps it, chosen by `ckpt_prefix` where there are several."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.optim.swa_utils import AveragedModel

from helpers.layouts import (
    State,
    features,
    lightning,
    load,
    numbered,
    prefixed,
    resnet,
    some,
    training,
    vit,
    wrong,
)
from helpers.tiers import every, only
from ssl_zoo.types import UserError


def at(prefix: str) -> State:
    return prefixed(resnet(), prefix)


def under(*keys: str, state: State | None = None) -> Any:
    content: Any = at("") if state is None else state
    for key in reversed(keys):
        content = {key: content, "epoch": 3}
    return content


def inside() -> State:
    """Stages that are compiled one by one, and blocks that are wrapped."""
    changes = (("layer1.", "layer1._orig_mod."), ("layer3.0.", "layer3.0._fsdp_wrapped_module."))
    state = {}
    for name, value in at("").items():
        for old, new in changes:
            name = name.replace(old, new)
        state[name] = value
    return state


def averaged() -> Any:
    return AveragedModel(resnet()).state_dict()


def openmmlab(prefix: str, **others: State) -> Any:
    state = at(prefix)
    for more in others.values():
        state |= more
    return {"meta": {"mmselfsup_version": "0.11.0"}, "state_dict": state, "optimizer": {}}


def openmmlab_moco() -> Any:
    """Its encoder is a Sequential, and `backbone` is the encoder's first part."""
    state = at("encoder_q.0.") | at("backbone.") | some("encoder_q.1.mlp.0.weight", "queue")
    return openmmlab("backbone.", own=state, copy=wrong(resnet(), "encoder_k.0."))


def openmmlab_byol() -> Any:
    own = openmmlab("online_net.0.", copy=wrong(resnet(), "target_net.0."))
    return {**own, "message_hub": {}}


def vissl() -> Any:
    model = {"trunk": at("_feature_blocks."), "heads": some("0.clf.0.weight")}
    return {"phase_idx": 9, "classy_state_dict": {"base_model": {"model": model, "meta": {}}}}


WRAPPED: dict[str, Callable[[], Any]] = {
    # what wrappers put in front
    "compiled": lambda: at("_orig_mod."),
    "compiled inside": lambda: training(at("backbone._orig_mod.")),
    "parallel and compiled": lambda: training(at("module._orig_mod.")),
    "compiled and parallel": lambda: training(at("_orig_mod.module.encoder.")),
    "twice parallel": lambda: training(at("module.module.")),
    "compiled stages": lambda: training(inside()),
    "fsdp": lambda: at("_fsdp_wrapped_module.model._fsdp_wrapped_module."),
    "deepspeed": lambda: {"module": at("_forward_module.model.")},
    "model": lambda: training(at("model.")),
    "net": lambda: training(at("net.")),
    "encoder": lambda: training(at("encoder.")),
    "lightning, model": lambda: lightning(at("model.") | some("head.weight")),
    "lightning, model.backbone": lambda: lightning(at("model.backbone.") | some("model.head.bias")),
    "student.backbone": lambda: training(at("student.backbone.") | some("student.head.weight")),
    "student_backbone": lambda: lightning(at("student_backbone.") | some("student_head.0.weight")),
    "teacher": lambda: {"teacher": at("backbone."), "epoch": 1},
    "online_encoder": lambda: training(at("online_encoder.") | some("online_predictor.weight")),
    "timm_model": lambda: at("timm_model."),
    "five deep": lambda: under("a", "b", "c", state=at("d.e.")),
    # containers
    "model_state_dict": lambda: under("model_state_dict"),
    "net, container": lambda: under("net"),
    "backbone, container": lambda: under("backbone"),
    "encoder, container": lambda: under("encoder"),
    "state_dict_ema": lambda: under("state_dict_ema"),
    "model_ema": lambda: under("model_ema", state=at("module.")),
    "model.state_dict": lambda: under("model", "state_dict"),
    "checkpoint": lambda: under("checkpoint", "model_state"),
    "a tuple": lambda: (at("module."), {"lr": 0.1}),
    "a list within": lambda: {"models": [at(""), some("head.weight")], "epoch": 3},
    # as numpy's arrays
    "arrays": lambda: {"model": {name: value.numpy() for name, value in at("").items()}},
    "some arrays": lambda: {n: v.numpy() if "bn" in n else v for n, v in at("net.").items()},
    "arrays of the other byte order": lambda: {
        n: v.numpy().astype(v.numpy().dtype.newbyteorder(">")) for n, v in at("").items()
    },
    # programs
    "averaged": averaged,
    "openmmlab": lambda: openmmlab("backbone.", neck=some("neck.fc.weight")),
    "openmmlab, moco": openmmlab_moco,
    "openmmlab, byol": openmmlab_byol,
    "vissl": vissl,
    "lucidrains": lambda: (
        at("online_encoder.net.") | wrong(resnet(), "target_encoder.net.") | at("net.")
    ),
    "numbered inside": lambda: training(numbered(resnet(), "module.net.encoder.")),
    "the same twice": lambda: {"model": at(""), "model_ema": at("")},
}
FIRST = ["compiled stages", "student.backbone", "averaged", "vissl", "a tuple", "some arrays"]


@pytest.mark.parametrize("case", only(FIRST, WRAPPED))
def test_the_features_are_those_of_the_network(case: str, tmp_path: Path) -> None:
    loaded = load(WRAPPED[case](), tmp_path)
    assert torch.equal(features(loaded.backbone), features(resnet()))
    assert f"{len(resnet().state_dict())} weights loaded, none missing" in loaded.report
    assert "backbone taken from " in loaded.report
    assert "\n" not in loaded.report


def test_one_line_says_what_was_concluded_from_what(tmp_path: Path) -> None:
    report = load(WRAPPED["student.backbone"](), tmp_path).report
    assert "left over: head 1, and epoch, arch, optimizer" in report
    assert "backbone taken from state_dict.student.backbone., the only whole one" in report
    report = load(vissl(), tmp_path).report
    assert "(VISSL)" in report
    assert "told by trunk._feature_blocks., classy_state_dict" in report


def test_a_vit_under_a_wrapper(tmp_path: Path) -> None:
    state = prefixed(vit(), "module.student._orig_mod.backbone.")
    loaded = load({"model": state}, tmp_path)
    assert torch.equal(features(loaded.backbone), features(vit()))


def two() -> Any:
    return {
        "student": wrong(resnet(), "backbone."),
        "teacher": at("backbone."),
        "epoch": 1,
    }


def test_several_backbones_are_refused_and_one_is_chosen(tmp_path: Path) -> None:
    both = r"2 whole backbones, under student\.backbone\., teacher\.backbone\.: choose one by"
    with pytest.raises(UserError, match=both + r" ckpt_prefix=student\.backbone$") as error:
        load(two(), tmp_path)
    assert "\n" not in str(error.value)
    for prefix in ("teacher", "teacher.backbone", "teacher.backbone."):
        loaded = load(two(), tmp_path, ckpt_prefix=prefix)
        assert torch.equal(features(loaded.backbone), features(resnet()))
        assert f"backbone taken from teacher.backbone. by ckpt_prefix={prefix}" in loaded.report
        assert "left over: student 120" in loaded.report
    with pytest.raises(UserError, match=both):
        load(two(), tmp_path, ckpt_prefix="backbone")


@pytest.mark.parametrize(
    ("main", "average"),
    every(3, [("state_dict", "state_dict_ema"), ("model", "model_ema"), ("net", "ema")]),
)
def test_an_average_beside_the_weights(main: str, average: str, tmp_path: Path) -> None:
    content = {main: at(""), average: wrong(resnet(), "")}
    with pytest.raises(UserError, match=f"2 whole backbones, under .*{average}"):
        load(content, tmp_path)
    loaded = load(content, tmp_path, ckpt_prefix=main)
    assert torch.equal(features(loaded.backbone), features(resnet()))


def test_a_student_and_a_teacher_of_ones_own_are_not_dinos(tmp_path: Path) -> None:
    heads = some("student.head.weight", "teacher.head.weight")
    content = lightning(wrong(resnet(), "student.backbone.") | at("teacher.backbone.") | heads)
    with pytest.raises(
        UserError, match=r"2 whole backbones, under state_dict\.student\.backbone\."
    ):
        load(content, tmp_path)


def test_no_prefix_is_a_prefix_too(tmp_path: Path) -> None:
    content = at("") | wrong(resnet(), "ema.")
    with pytest.raises(UserError, match=r"2 whole backbones, under no prefix, ema\.: choose"):
        load(content, tmp_path)
    loaded = load(content, tmp_path, ckpt_prefix="")
    assert torch.equal(features(loaded.backbone), features(resnet()))


@pytest.mark.parametrize("given", ["ema.module.net.", "ema._orig_mod.net", "ema.net"])
def test_a_prefix_as_it_stands_in_the_file(given: str, tmp_path: Path) -> None:
    """The names that are shown lack the wrappers' parts."""
    wrapper = given.split(".")[1] if given.count(".") > 1 else "module"
    content = {"model": wrong(resnet(), "net."), "ema": at(f"{wrapper}.net.")}
    loaded = load(content, tmp_path, ckpt_prefix=given)
    assert torch.equal(features(loaded.backbone), features(resnet()))


def test_a_prefix_without_a_backbone(tmp_path: Path) -> None:
    said = (
        r"^ckpt_prefix=encoder: .* has no whole backbone there, but under student\.backbone\., "
        r"teacher\.backbone\.; its tensors are student\.backbone\.conv1\.weight, .* and \d+ more$"
    )
    with pytest.raises(UserError, match=said):
        load(two(), tmp_path, ckpt_prefix="encoder")


def test_the_error_shows_the_names_of_tensors(tmp_path: Path) -> None:
    content = {"model": {"a": some("features.0.weight", "features.3.bias"), "\x1b[2J": some("w")}}
    said = (
        r"its tensors are model\.a\.features\.0\.weight, model\.a\.features\.3\.bias, model\.\\x1b"
    )
    with pytest.raises(UserError, match=said):
        load(content, tmp_path)


def test_dicts_that_hold_themselves(tmp_path: Path) -> None:
    content: dict[str, Any] = {"model": at("")}
    content["self"] = content
    content["again"] = {"model": content["model"], "up": content}
    assert torch.equal(features(load(content, tmp_path).backbone), features(resnet()))
