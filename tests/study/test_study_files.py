"""The studies in conf/study: what they search, and that a part of one can be run."""

from __future__ import annotations

from pathlib import Path

import pytest

from ssl_zoo.config import options_of
from ssl_zoo.config.groups import search
from ssl_zoo.study.counts import runs_of
from ssl_zoo.study.plan import frozen_of
from ssl_zoo.study.settings import Settings, read_settings
from ssl_zoo.study.space import space_of
from ssl_zoo.types import UserError

# Ranges of the paper's 50 trials (fair_comparison.md, 1.3), by knob without method.metric_loss.
PUBLISHED = {
    "contrastive": {"pos_margin": (-0.2, 2), "neg_margin": (-0.2, 2)},
    "triplet": {"margin": (-0.2, 2)},
    "nt_xent": {"temperature": (1e-5, 100)},
    "proxy_nca": {"softmax_scale": (0.01, 100), "loss_lr": (1e-6, 1)},
    "margin": {"margin": (-0.2, 2), "beta": (-0.2, 2), "loss_lr": (1e-6, 1)},
    "normalized_softmax": {"temperature": (0.01, 100), "loss_lr": (1e-6, 1)},
    "cosface": {"margin": (0, 1), "scale": (0.01, 200), "loss_lr": (1e-6, 1)},
    "arcface": {"margin": (0, 90), "scale": (0.01, 200), "loss_lr": (1e-6, 1)},
    "fastap": {"num_bins": (2, 250)},
    "snr": {"pos_margin": (0, 2), "neg_margin": (0, 2)},
    "multi_similarity": {"alpha": (0.01, 100), "beta": (0.01, 100), "base": (0, 1)},
    "soft_triple": {
        "la": (0.01, 100),
        "gamma": (0.01, 100),
        "margin": (0, 1),
        "loss_lr": (1e-6, 1),
    },
}
PUBLISHED["multi_similarity_miner"] = PUBLISHED["multi_similarity"] | {"epsilon": (0, 1)}


@pytest.fixture(scope="module")
def whole() -> Settings:
    """The reality check's."""
    return read_settings(["study=reality_check", "dataset.root=DIR"])


def ranges(settings: Settings, method: str) -> dict[str, tuple[float, float]]:
    (own,) = space_of({}, {method: settings.methods[method]["search"]}).own.values()
    return {d.knob.rpartition(".")[2]: (d.source.low, d.source.high) for d in own}  # type: ignore[union-attr]


def test_the_reality_check_is_that_of_the_paper(whole: Settings) -> None:
    found = whole
    assert {name: ranges(found, name) for name in found.methods} == PUBLISHED
    losses = {
        one.partition("metric_loss=")[2] for m in found.methods.values() for one in m["overrides"]
    }
    assert losses - {""} == set(options_of("method/metric_loss")) - {"other"}
    assert (found.trials, found.seeds, found.rerun["configs"]) == (50, 10, 0)
    assert found.folds == [f"dataset.fold={i}" for i in range(4)]
    assert (found.metric, found.protocols) == ("val/map_at_r", ["retrieval"])
    assert runs_of(found)["hpo"] == 13 * 50 * 4
    assert runs_of(found)["final"] == 13 * 10 * 4


def test_bins_are_whole_numbers_and_margins_are_not(whole: Settings) -> None:
    own = space_of({}, {m: whole.methods[m]["search"] for m in ("fastap", "cosface")}).own
    shares = [i / 10 for i in range(10)]
    assert all(type(own["fastap"][0].at(share)) is int for share in shares)
    assert all(type(own["cosface"][0].at(share)) is float for share in shares)


def test_a_part_of_a_study_keeps_what_its_file_says_of_it(whole: Settings) -> None:
    args = ["methods=[contrastive,triplet]", "trials=3", "seeds=2"]
    part = read_settings(["study=reality_check", "dataset.root=DIR", *args])
    assert list(part.methods) == ["contrastive", "triplet"]
    assert part.methods["triplet"] == whole.methods["triplet"]
    assert (part.trials, part.seeds, part.folds) == (3, 2, whole.folds)
    with pytest.raises(UserError, match=r"methods=tripet .*triplet"):
        read_settings(["study=reality_check", "methods=[tripet]"])


def test_five_methods_search_the_same_rates_and_few_knobs_of_their_own() -> None:
    found = read_settings(["study=five_methods"])
    assert list(found.methods) == ["simclr", "moco", "simsiam", "byol", "instdisc"]
    assert set(found.search) == {"optimizer.base_lr", "optimizer.weight_decay"}
    assert all("log" in text for text in found.search.values())
    assert all(1 <= len(one["search"]) <= 2 for one in found.methods.values())


def test_a_file_of_ones_own_beside_conf_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "study").mkdir()
    mine = tmp_path / "study" / "mine.yaml"
    mine.write_text("methods: {simclr: {}, byol: {}}\ntrials: 4\n")
    assert read_settings([f"study={mine}"]).trials == 4
    monkeypatch.setattr("ssl_zoo.config.groups.own_folders", [])
    search(["--config-dir", str(tmp_path)])
    assert list(read_settings(["study=mine"]).methods) == ["simclr", "byol"]
    search([])
    with pytest.raises(UserError, match="study=mine is not a study"):
        read_settings(["study=mine"])


@pytest.mark.slow
@pytest.mark.parametrize("name", ["quick", "reality_check", "five_methods"])
def test_every_method_composes_and_holds_what_is_held(name: str, tmp_path: Path) -> None:
    data = [] if name == "five_methods" else [f"dataset.root={tmp_path}"]
    planned = frozen_of(read_settings([f"study={name}", *data]))
    held = [planned.held(method) for method in planned.frozen]
    assert all(one == held[0] for one in held)


@pytest.mark.slow
def test_a_method_that_reads_labels_is_a_row_like_the_others(tmp_path: Path) -> None:
    rows = ("simclr", "mocov3", "nnclr", "supcon")
    lines = [f"  {name}_row: {{overrides: [method={name}]}}" for name in rows]
    (tmp_path / "mine.yaml").write_text("\n".join(["methods:", *lines, "trials: 4\n"]))
    planned = frozen_of(read_settings([f"study={tmp_path / 'mine.yaml'}"]))
    held = [planned.held(method) for method in planned.frozen]
    assert list(planned.frozen) == [f"{name}_row" for name in rows]
    assert all(one == held[0] for one in held)


@pytest.mark.slow
def test_five_methods_go_on_other_data() -> None:
    args = ["dataset=cifar10", "backbone=resnet18_cifar", "epochs=2", "trials=3", "seeds=2"]
    planned = frozen_of(read_settings(["study=five_methods", *args]))
    assert {one.job.config["dataset"]["name"] for one in planned.frozen.values()} == {"cifar10"}
