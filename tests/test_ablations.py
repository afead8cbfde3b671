"""What each ablation file changes, whatever recipe it stands on; what a method's defaults are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from omegaconf import DictConfig, OmegaConf

from helpers.configs import Make
from helpers.tiers import every
from ssl_zoo.config import CONFIG_DIR

NTXENT, TRIPLET, LOGISTIC = "InfoNCE", "MarginTriplet", "NTLogistic"


def loss(name: str, **knobs: Any) -> dict[str, Any]:
    return {"method.loss._target_": f"ssl_zoo.losses.{name}"} | {
        f"method.loss.{key}": value for key, value in knobs.items()
    }


def part(slot: str, name: str, **knobs: Any) -> dict[str, Any]:
    return {f"method.{slot}._target_": f"ssl_zoo.modules.{name}"} | {
        f"method.{slot}.{key}": value for key, value in knobs.items()
    }


def library(name: str, **knobs: Any) -> dict[str, Any]:
    return {"method.metric_loss._target_": f"pytorch_metric_learning.{name}"} | {
        f"method.metric_loss.{key}": value for key, value in knobs.items()
    }


R18 = {"backbone.name": "resnet18", "backbone.stem": "cifar"}

ONE_VIEW = {"method.same_view_negatives": False}

SIMSIAM_NORMS = {  # of the projector's hidden layers and end, of the predictor's
    "simsiam_bn_none": (False, "none", False, "none"),
    "simsiam_bn_hidden": (True, "none", True, "none"),
    "simsiam_bn_default": (True, "plain", True, "none"),
    "simsiam_bn_all": (True, "plain", True, "affine"),
}

NORM_KEYS = [
    f"method.{head}.{key}"
    for head in ("projector", "predictor")
    for key in ("hidden_norm", "out_norm")
]

MOCO_V2 = part("projector", "MLP", hidden_norm=False, out_norm="none")

SHUFFLED = part("target", "ShuffleBN", shuffle=True)

AUG_V2 = {
    "method.temperature": 0.2,
    "augmentation.crop_scale": [0.2, 1.0],
    "augmentation.blur": 0.5,
}

COSINE = {"scheduler._target_": "ssl_zoo.optim.cosine_by_epoch"}

ROWS: dict[str, dict[str, Any]] = {
    "simclr_loss_ntxent_t010": loss(NTXENT, temperature=0.1),
    "simclr_loss_ntxent_t050": loss(NTXENT, temperature=0.5),
    "simclr_loss_ntxent_t100": loss(NTXENT, temperature=1.0),
    "simclr_loss_triplet_m040": loss(TRIPLET, margin=0.4, mode="all"),
    "simclr_loss_triplet_m080": loss(TRIPLET, margin=0.8, mode="all"),
    "simclr_loss_triplet_semi_hard_m080": loss(TRIPLET, margin=0.8, mode="semi_hard_wide"),
    "simclr_loss_ntlogistic_t020": loss(LOGISTIC, temperature=0.2, mode="all"),
    "simclr_loss_ntlogistic_subsample_t020": loss(LOGISTIC, temperature=0.2, mode="subsample"),
    "simclr_loss_ntlogistic_subsample_t050": loss(LOGISTIC, temperature=0.5, mode="subsample"),
    "simclr_loss_ntlogistic_subsample_t100": loss(LOGISTIC, temperature=1.0, mode="subsample"),
    "simclr_loss_ntlogistic_reweight_resnet18_t020": R18
    | loss(LOGISTIC, temperature=0.2, mode="reweight"),
    "simclr_loss_ntxent_resnet18_t050": R18 | loss(NTXENT, temperature=0.5),
    "simclr_loss_ntxent_lars_t050": loss(NTXENT, temperature=0.5)
    | {"optimizer.module.optimizer._target_": "ssl_zoo.optim.LARS"},
    "simclr_table4_margin": ONE_VIEW | loss(TRIPLET, mode="all"),
    "simclr_table4_margin_semi_hard": ONE_VIEW | loss(TRIPLET, mode="semi_hard"),
    "simclr_table4_ntlogistic": ONE_VIEW | loss(LOGISTIC, mode="all"),
    "simclr_table4_ntlogistic_semi_hard": ONE_VIEW | loss(LOGISTIC, mode="semi_hard"),
    "simclr_table4_ntxent": ONE_VIEW | loss(NTXENT),
    "moco_dictionary_queue": SHUFFLED | part("negatives", "Queue"),
    "moco_dictionary_end_to_end": SHUFFLED
    | part("negatives", "InBatch")
    | {"method.target.target._target_": "ssl_zoo.modules.Shared"},
    "moco_dictionary_memory_bank": part("negatives", "MemoryBank", exclude_own=True) | loss(NTXENT),
    "moco_no_shuffle_bn": part("target", "ShuffleBN", shuffle=False, num_splits=8),
    "moco_symmetric": MOCO_V2 | AUG_V2 | COSINE | {"method.symmetric": True},
    "moco_mlp": MOCO_V2,
    "moco_mlp_aug": MOCO_V2 | AUG_V2,
    "moco_mlp_aug_cosine": MOCO_V2 | AUG_V2 | COSINE,
    "simsiam_baseline": {"method.constant_predictor_lr": True, "method.symmetric": True},
    "simsiam_no_stop_gradient": part("target", "Shared"),
    "simsiam_predictor_none": part("predictor", "Identity"),
    "simsiam_predictor_fixed": part("predictor", "Frozen"),
    "simsiam_predictor_decaying_lr": {"method.constant_predictor_lr": False},
    **{name: dict(zip(NORM_KEYS, norms, strict=True)) for name, norms in SIMSIAM_NORMS.items()},
    "simsiam_cross_entropy": loss("SoftmaxCrossEntropy"),
    "simsiam_asymmetric": {"method.symmetric": False},
    "simsiam_alternation_001": part("target", "Lagged", every=1),
    "simsiam_alternation_010": part("target", "Lagged", every=10),
    "simsiam_alternation_100": part("target", "Lagged", every=100),
    "simsiam_alternation_epoch": part("target", "Lagged", every="epoch"),
    "byol_baseline": part("target", "Momentum"),
    "byol_target_constant": part("target", "Momentum", momentum=1.0, final_momentum=None),
    "byol_target_stop_gradient": part("target", "StopGradient"),
    "byol_target_online": part("target", "Shared"),
    "byol_predictor_none": part("predictor", "Identity"),
    "instdisc_softmax": loss(NTXENT) | part("negatives", "MemoryBank", num_negatives=None),
    **{
        f"instdisc_nce_{m:04d}": loss("NCE") | part("negatives", "MemoryBank", num_negatives=m)
        for m in (1, 10, 512, 4096)
    },
}

ROWS |= {
    "metric_learning_flawed_contrastive": library("losses.ContrastiveLoss", neg_margin=1.0)
    | {"method.miner._target_": "ssl_zoo.modules.DisjointPairs"},
    "metric_learning_flawed_triplet": library("losses.TripletMarginLoss", margin=1.0)
    | {"method.miner._target_": "ssl_zoo.modules.DisjointTriplets"},
    "metric_learning_multi_similarity_with_miner": library("losses.MultiSimilarityLoss")
    | {"method.miner._target_": "pytorch_metric_learning.miners.MultiSimilarityMiner"},
}

ROWS |= {
    "barlow_twins_invariance_only": loss("CrossCorrelation", off_diagonal=0.0),
    "barlow_twins_no_bn": part("projector", "MLP", hidden_norm=False, num_layers=3),
    **{
        f"vicreg_{name}": loss(
            "VarianceInvarianceCovariance", invariance=inv, variance=var, covariance=cov
        )
        for name, (inv, var, cov) in {
            "invariance_only": (1.0, 0.0, 0.0),
            "no_variance": (25.0, 0.0, 1.0),
            "no_invariance": (0.0, 25.0, 1.0),
            "no_covariance": (1.0, 1.0, 0.0),
        }.items()
    },
    "lejepa_no_sigreg": loss("SIGReg", sigreg_weight=0.0),
    "swav_softmax_codes": part("assignment", "Softmax", epsilon=0.05),
}

ROWS |= {"mocov3_predictor_none": part("predictor", "Identity")}

RECIPES = {  # what docs/ablations.md or a recipe's header has them stand on
    "simclr": ["simclr_quick", "simclr_losses_cifar10", "simclr_imagenet"],
    "moco": ["moco_quick", "moco_cifar10"],
    "simsiam": ["simsiam_quick", "simsiam_cifar10"],
    "byol": ["byol_quick", "byol_imagenet"],
    "instdisc": ["instdisc_quick", "instdisc_cifar10"],
    "barlow": ["barlow_twins_quick", "barlow_twins_imagenet"],
    "vicreg": ["vicreg_quick", "vicreg_imagenet"],
    "lejepa": ["lejepa_quick", "lejepa_cifar10"],
    "mocov3": ["mocov3_quick", "mocov3_imagenet"],
    "swav": ["swav_quick", "swav_imagenet"],
    "metric": ["metric_learning_omniglot", "metric_learning_mlrc"],
}


def test_every_file_has_a_row_here() -> None:
    assert {path.stem for path in (Path(CONFIG_DIR) / "ablation").glob("*.yaml")} == set(ROWS)


def value(cfg: DictConfig, key: str) -> Any:
    found = OmegaConf.select(cfg, key, throw_on_missing=True)
    return OmegaConf.to_object(found) if OmegaConf.is_config(found) else found


@pytest.mark.parametrize("name", every(8, ROWS))
def test_a_row_is_what_it_says(make_config: Make, name: str) -> None:
    for recipe in [None, *RECIPES[name.split("_")[0]]]:
        chosen = ["name=test", f"ablation={name}"] + ([f"experiment={recipe}"] if recipe else [])
        cfg = make_config(*chosen, tiny=False)
        found = {key: value(cfg, key) for key in ROWS[name]}
        assert found == ROWS[name], recipe


@pytest.mark.parametrize(
    ("method", "knobs"),
    [
        ("simclr", {"same_view_negatives": True, "embed_dim": 128}),
        ("moco", {"momentum": 0.999, "queue_size": 65536, "temperature": 0.07, "symmetric": False}),
        ("byol", {"momentum": 0.99, "final_momentum": 1.0, "symmetric": True, "hidden_dim": 4096}),
        ("simsiam", {"constant_predictor_lr": True, "symmetric": True, "predictor_dim": 512}),
        ("barlow_twins", {"off_diagonal": 0.0051, "embed_dim": 2048, "hidden_dim": 2048}),
        ("vicreg", {"invariance": 25.0, "variance": 25.0, "covariance": 1.0, "embed_dim": 2048}),
        ("lejepa", {"sigreg_weight": 0.05, "embed_dim": 128, "hidden_dim": 2048}),
        ("mocov3", {"momentum": 0.99, "final_momentum": 1.0, "temperature": 1.0, "embed_dim": 256}),
        ("nnclr", {"queue_size": 98304, "temperature": 0.1, "embed_dim": 256, "hidden_dim": 2048}),
        ("supcon", {"temperature": 0.1, "embed_dim": 128, "hidden_dim": None}),
        ("swav", {"num_prototypes": 3000, "temperature": 0.1, "queue_size": 0, "num_targets": 2}),
        ("instdisc", {"temperature": 0.07, "num_negatives": 4096, "bank_momentum": 0.5}),
    ],
)
def test_published_defaults(make_config: Make, method: str, knobs: dict[str, Any]) -> None:
    cfg = make_config(f"method={method}", tiny=False)
    assert {key: cfg.method[key] for key in knobs} == knobs
    if method in ("byol", "moco"):
        target = cfg.method.target if method == "byol" else cfg.method.target.target
        assert target.momentum == knobs["momentum"]
        assert target.final_momentum == knobs.get("final_momentum")
