"""Folders of studies as plan, run, train.py and evaluate.py leave them; their runs cost nothing."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from ssl_zoo.run_folder import RunFolder
from ssl_zoo.study.folder import RunRow, Score, StudyFolder, read_rows, write_rows
from ssl_zoo.study.reading import seal_of, sha256_of

METRIC = "val/knn_top1"
IMAGES, STEPS, EPOCHS = 3600, 12, 4
HELD = ["backbone", "dataset", "data", "batch_size", "epochs", "precision", "optimizer"]

# What the configs below repeat, as conf/train.yaml has it.
COMPOSED = {
    "optimizer": {"lr": "${scaled_lr:${optimizer.base_lr},${batch_size}}"},
    "data": {"fold": "${dataset.fold}", "seed": "${seed}"},
}


@dataclass
class Planned:
    """What a study is to look like.

    Attributes:
        methods: By name, how good each is.
        trials: Of each.
        seeds: Of the final runs.
        folds: Of each trial.
        noise: Of the seeds.
        failing: (method, trial) of trials that end with NaN.
        settings: That replace those of study.yaml.
        effect: Added to all methods' scores by a final seed.
    """

    methods: dict[str, float] = field(default_factory=lambda: {"simclr": 0.6, "moco": 0.55})
    trials: int = 3
    seeds: int = 3
    folds: int = 1
    noise: float = 0.01
    failing: Sequence[tuple[str, int]] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    effect: Callable[[int], float] = lambda seed: 0.0


def settings_of(planned: Planned) -> dict[str, Any]:
    methods = {
        name: {
            "overrides": [f"method={name}"],
            "search": {"method.temperature": "tag(log,interval(0.02,1))"},
        }
        for name in planned.methods
    }
    return {
        "methods": methods,
        "common": ["dataset=shapes", f"epochs={EPOCHS}"],
        "search": {"optimizer.base_lr": "tag(log,interval(1e-4,1e-2))"},
        "trials": planned.trials,
        "sampler": "sobol",
        "study_seed": 0,
        "metric": METRIC,
        "rerun": {"configs": 2, "seeds": 1},
        "seeds": planned.seeds,
        "folds": [f"dataset.fold={i}" for i in range(planned.folds)] if planned.folds > 1 else None,
        "protocols": ["knn"],
        "floors": True,
        "ceiling": True,
        "oracle": True,
        "held": HELD,
        "allow_differ": [],
        "waive": [],
        "unit": "images",
    } | planned.settings


def _config(run: Path, method: str, values: dict[str, Any], seed: int, fold: int) -> dict[str, Any]:
    dataset = {"name": "shapes", "fold": fold, "splits": {"num_train": 1000, "num_test": 400}}
    return {
        "method": {"temperature": values["method.temperature"], "name": method},
        "backbone": {"_target_": "ssl_zoo.backbones.ConvNet", "widths": [8, 16]},
        "dataset": dataset,
        "optimizer": {
            "base_lr": values["optimizer.base_lr"],
            "lr": values["optimizer.base_lr"] * 300 / 256,
            "lr_rule": "linear",
        },
        "scheduler": {"_target_": "ssl_zoo.optim.warmup_cosine", "epochs": EPOCHS},
        "data": {"splits": dataset["splits"], "batch_size": 300, "seed": seed, "fold": fold},
        "seed": seed,
        "epochs": EPOCHS,
        "batch_size": 300,
        "precision": "32-true",
        "name": f"{method}_shapes",
        "run_dir": str(run.resolve()),
    }


def _sha(*of: Any) -> str:
    return hashlib.sha256(json.dumps(of).encode()).hexdigest()


class Writer:
    """Writes a study, stage by stage."""

    def __init__(self, folder: Path, planned: Planned) -> None:
        self.folder, self.planned = StudyFolder(folder), planned
        self.random = random.Random(0)
        self.trials: list[RunRow] = []
        self.finals: list[RunRow] = []
        self.scores: list[Score] = []
        self.lines: list[str] = []

    def plan(self) -> None:
        settings = settings_of(self.planned)
        self.folder.path.mkdir(parents=True, exist_ok=True)
        text = yaml.safe_dump(settings, sort_keys=False)
        self.folder.settings.write_text(f"# python -m ssl_zoo.study run study=test\n{text}")
        for name in self.planned.methods:
            job = self.folder.configs / _safe(name) / "job.yaml"
            job.parent.mkdir(parents=True)
            job.write_text(yaml.safe_dump({"composed": COMPOSED}))
        methods = {
            name: {
                "held_sha": "held",
                "held": {},
                "dimensions": {},
                "options": {"method": name, "backbone": "convnet", "optimizer": "adamw"},
            }
            for name in self.planned.methods
        }
        listing = listed_images({"train": 900, "val": 100, "test": 400})
        self.folder.images.write_text(listing)
        data = {
            "sha": _sha("data", 0),
            "contents_sha": sha_of_images(["disc", "ring"], listing),
            "images": {"train": 900, "val": 100, "test": 400},
            "classes": ["disc", "ring"],
            "overlaps": {"train/test": 0, "val/test": 0, "train/val": 0},
            "duplicates": 0,
        }
        head = {"format": 1, "name": "test", "created": "2026-11-26T10:00:00+00:00"}
        content = head | {"code": "0123456789ab", "methods": methods, "data": data, "notes": []}
        self.folder.write_json(self.folder.plan, content)

    def search(self) -> None:
        for method in self.planned.methods:
            for trial in range(self.planned.trials):
                for fold in range(self.planned.folds):
                    self._add(self.trials, "hpo", method, trial, 0, fold)
        for method in self.planned.methods:
            best = sorted(range(self.planned.trials), key=lambda t: -self._first(method, t))
            for trial in best[:2]:
                if (method, trial) not in self.planned.failing:
                    for fold in range(self.planned.folds):
                        self._add(self.trials, "rerun", method, trial, 1, fold)
        write_rows(self.folder.trials, self.trials, RunRow)

    def _first(self, method: str, trial: int) -> float:
        rows = [r for r in self.trials if (r.method, r.trial) == (method, trial)]
        return sum(-1.0 if r.score is None else r.score for r in rows) / len(rows)

    def values(self, method: str, trial: int) -> dict[str, float]:
        part = (trial + 1) / (self.planned.trials + 1)
        return {"optimizer.base_lr": 1e-4 * 100**part, "method.temperature": 0.02 * 50**part}

    def _add(
        self, rows: list[RunRow], stage: str, method: str, trial: int, seed: int, fold: int
    ) -> None:
        place = f"finals/{_safe(method)}/seed{seed}"
        if stage != "final":
            place = f"trials/{_safe(method)}/{trial}" + (f"-seed{seed}" if seed else "")
        place += f"/fold{fold}" if self.planned.folds > 1 else ""
        run = RunFolder(self.folder.path / place)
        values = self.values(method, trial)
        lost = (method, trial) in self.planned.failing
        best = self.planned.trials // 2
        score = self.planned.methods[method] - 0.02 * abs(trial - best)
        score = round(score + self.random.gauss(0, self.planned.noise), 6)
        text = yaml.safe_dump(_config(run.path, method, values, seed, fold), sort_keys=False)
        run.path.mkdir(parents=True)
        run.config.write_text(f"# python train.py method={method}\n{text}")
        facts = {
            **{"images": 900, "val": 100, "test": 400, "classes": 2, "device": "cpu"},
            **{"parameters": 3880, "backbone_parameters": 1416, "code": "0123456789ab"},
            **{"versions": {"torch": "2.11.0"}, "data_sha": _sha("data", fold)},
            **{"images_seen": IMAGES, "views_seen": 2 * IMAGES, "pixels_seen": 2048 * IMAGES},
            **{"views_sha": _sha("views", seed), "steps": STEPS, "epochs": EPOCHS},
            "peak_mib": None,
        }
        status = "nan" if lost else "finished"
        metrics = {} if lost else {METRIC: score, "train/loss": 5.0 - score}
        result = {"name": method, "seed": seed, "status": status, "seconds": 20.0}
        run.write_result(result | {"metrics": metrics, "facts": facts})
        for epoch in range(1, 1 + EPOCHS if not lost else 1):
            step = epoch * STEPS // EPOCHS - 1
            value = round(score - 0.05 * (EPOCHS - epoch), 6)
            loss = 5.0 - value + 0.01 * seed
            run.append_metrics(
                step, {METRIC: value, "train/loss": loss}, epoch - 1, epoch * IMAGES // EPOCHS
            )
        run.checkpoints.mkdir()
        run.last.write_text(f"weights of {place}")
        same = {name: facts[name] for name in ("data_sha", "code", "device", "parameters")}
        same |= {n: facts[n] for n in ("steps", "epochs", "images_seen", "views_seen", "views_sha")}
        hour = {"hpo": 10, "rerun": 11, "final": 13}[stage]
        rows.append(
            RunRow(
                **{"stage": stage, "method": method, "trial": trial, "seed": seed, "fold": fold},
                values=json.dumps(values),
                score=None if lost else score,
                status=status,
                folder=place,
                config_sha=_sha("config", method, trial),
                held_sha="held",
                versions=json.dumps(facts["versions"]),
                backbone_parameters=1416,
                pixels_seen=2048 * IMAGES,
                seconds=20.0,
                checkpoint_sha=sha256_of(run.last),
                started=f"2026-11-26T{hour}:00:00+00:00",
                ended=f"2026-11-26T{hour}:05:00+00:00",
                **same,  # type: ignore[arg-type]
            )
        )

    def seal(self) -> None:
        methods = {}
        for method in self.planned.methods:
            again = {r.trial for r in self.trials if (r.method, r.stage) == (method, "rerun")}
            if not again:
                continue
            trial = max(again, key=lambda t: (self._first(method, t), -t))
            scores = [r.score for r in self.trials if (r.method, r.trial) == (method, trial)]
            methods[method] = {
                "trial": trial,
                "values": self.values(method, trial),
                "config_sha": _sha("config", method, trial),
                "score": self._first(method, trial),
                "n": len(scores),
            }
        shas = {
            "trials_sha": sha256_of(self.folder.trials),
            "plan_sha": sha256_of(self.folder.plan),
        }
        content = {"format": 1, "sealed": "2026-11-26T12:00:00+00:00", **shas, "methods": methods}
        self.folder.write_json(self.folder.selection, content | {"seal": seal_of(content)})
        self.selected = {method: int(one["trial"]) for method, one in methods.items()}

    def train_finals(self) -> None:
        for method, trial in self.selected.items():
            for seed in range(101, 101 + self.planned.seeds):
                for fold in range(self.planned.folds):
                    self._add(self.finals, "final", method, trial, seed, fold)
        write_rows(self.folder.finals, self.finals, RunRow)

    def test(self) -> None:
        for row in self.finals:
            value = self.planned.methods[row.method] + self.planned.effect(row.seed)
            value += self.random.gauss(0, self.planned.noise)
            self._read("method", row, row.folder, row.checkpoint_sha, value)
        for name, value in {"random init": 0.31, "raw pixels": 0.27}.items():
            self._read("floor", _row(name, -1, 0), f"floors/{name.replace(' ', '_')}", "", value)
        for seed in range(101, 101 + self.planned.seeds):
            self._read("ceiling", _row("supervised", -1, seed), f"ceiling/seed{seed}", "", 0.9)
        for row in self.trials:
            if row.stage == "hpo" and row.score is not None:
                self._read("oracle", row, row.folder, row.checkpoint_sha, row.score + 0.01)
        write_rows(self.folder.results, self.scores, Score)
        self.write_ledger()

    def write_ledger(self) -> None:
        self.folder.ledger.write_text("".join(f"{line}\n" for line in self.lines))

    def _read(self, kind: str, row: RunRow, place: str, sha: str, value: float) -> None:
        suite = "finetune" if kind == "ceiling" else "knn"
        metric = "test_top1_100pct" if kind == "ceiling" else "test_top1"
        number, value = len(self.lines) // 2, round(min(value, 1.0) * 400) / 400
        line = {
            **{"id": f"r{number}", "purpose": kind, "method": row.method, "trial": row.trial},
            **{"seed": row.seed, "fold": row.fold, "suites": [suite], "checkpoint_sha": sha},
            "folder": place,
            "selection_sha": sha256_of(self.folder.selection),
        }
        for status, minute in (("opened", 0), ("read", 1)):
            self.add_line(line | {"status": status, "time": f"2026-11-26T14:0{minute}:00+00:00"})
        file = self.folder.path / place / "evaluation" / f"{suite}.json"
        name = {"floor": row.method, "ceiling": "random init"}.get(kind, "pretrained")
        evaluated(file, value, name, metric)
        self.scores.append(
            Score(
                **{"kind": kind, "method": row.method, "trial": row.trial, "seed": row.seed},
                **{
                    "suite": suite,
                    "metric": metric,
                    "value": value,
                    "num_test": 400,
                },
                **{"is_headline": True, "protocol_id": "0a1b2c3d", "reading": f"r{number}"},
                folder=f"{place}/evaluation/{suite}.json",
            )
        )

    def add_line(self, line: dict[str, Any]) -> None:
        """Add to the ledger's chain."""
        before = hashlib.sha256(self.lines[-1].encode()).hexdigest() if self.lines else ""
        self.lines.append(json.dumps(line | {"previous": before}))


def listed_images(counts: dict[str, int]) -> str:
    """plan/images.txt, of images that are all different."""
    return "".join(
        f"{part} {_sha(part, number)} {number % 2}\n"
        for part, count in counts.items()
        for number in range(count)
    )


def sha_of_images(classes: list[str], listing: str) -> str:
    """As the plan has it."""
    return hashlib.sha256(f"{classes!r}{listing}".encode()).hexdigest()


def evaluated(
    file: Path, value: float, name: str = "pretrained", metric: str = "test_top1"
) -> None:
    """What evaluate.py writes."""
    row = {"protocol_id": "0a1b2c3d", "val_top1": 0.5, metric: value, "num_test_images": 400}
    content = {"ckpt": "x", "headline": metric, "protocol_id": "0a1b2c3d"}
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(content | {"rows": {name: row}}))


def _row(name: str, trial: int, seed: int) -> RunRow:
    return RunRow("final", name, trial, seed)


def _safe(name: str) -> str:
    return "".join(letter if letter.isalnum() else "_" for letter in name)


def study(folder: Path, until: str = "test", **planned: Any) -> Writer:
    """Write a study up to a stage: plan, search, seal, train_finals or test."""
    writer = Writer(folder, Planned(**planned))
    for stage in ("plan", "search", "seal", "train_finals", "test"):
        getattr(writer, stage)()
        if stage == until:
            break
    return writer


def edit_rows(file: Path, change: Callable[[RunRow], RunRow | None]) -> None:
    """Replace or drop rows of trials.csv or finals.csv."""
    rows = [change(row) for row in read_rows(file, RunRow)]
    write_rows(file, [row for row in rows if row is not None], RunRow)


def edit_json(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def edit_yaml(file: Path, change: Callable[[dict[str, Any]], object]) -> None:
    content = yaml.safe_load(file.read_text())
    change(content)
    file.write_text(yaml.safe_dump(content, sort_keys=False))


def reseal(folder: StudyFolder, **changes: Any) -> None:
    """Seal again, as one would who changes what was selected from."""
    content = folder.read_json(folder.selection)
    content |= {
        "trials_sha": sha256_of(folder.trials),
        "plan_sha": sha256_of(folder.plan),
    } | changes
    content.pop("seal")
    folder.write_json(folder.selection, content | {"seal": seal_of(content)})
    edit_ledger(folder, lambda line: line | {"selection_sha": sha256_of(folder.selection)})


def edit_ledger(folder: StudyFolder, change: Callable[[dict[str, Any]], dict[str, Any]]) -> None:
    """Change lines and chain them again."""
    writer = Writer(folder.path, Planned())
    for line in folder.read_ledger():
        writer.add_line(change(line))
    writer.write_ledger()
