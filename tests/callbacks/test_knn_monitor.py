"""When the kNN monitor runs, and that it is off without labels."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest

from helpers.configs import Make
from helpers.trees import make_tree
from ssl_zoo.callbacks import CleanFeatures, KNNMonitor
from ssl_zoo.train import train


@pytest.mark.slow
def test_without_labels_the_monitors_say_that_they_are_off(
    make_config: Make, caplog: pytest.LogCaptureFixture, tmp_path: object
) -> None:
    tree = make_tree(Path(str(tmp_path)) / "tree", [(32, 32)])
    folder = ["dataset=folder", f"dataset.root={tree}", "dataset.labelled=false", "batch_size=8"]
    net = ["backbone.widths=[8,16]", "backbone.strides=[2,2]", "augmentation.blur=0", "name=test"]
    with caplog.at_level(logging.INFO, "ssl_zoo"):
        metrics = train(make_config(*folder, *net, "epochs=1", tiny=False))
    assert "val/knn_top1" not in metrics
    assert any("no labels" in record.getMessage() for record in caplog.records)


def test_knn_monitor_runs_every_n_epochs_and_after_the_last(make_config: Make) -> None:
    from ssl_zoo.callbacks.due import epoch_due

    class At:
        def __init__(self, epoch: int, max_steps: int) -> None:
            self.current_epoch, self.max_epochs = epoch, 8
            self.global_step, self.max_steps = 10 * (epoch + 1), max_steps

    def due(max_steps: int) -> list[int]:
        return [e + 1 for e in range(8) if epoch_due(At(e, max_steps), 3)]  # type: ignore[arg-type]

    assert due(max_steps=-1) == [3, 6, 8]
    assert due(max_steps=50) == [3, 5, 6, 8]  # trainer.max_steps ends the run after five epochs
    assert KNNMonitor(CleanFeatures(), every_n_epochs=3).every_n_epochs == 3
