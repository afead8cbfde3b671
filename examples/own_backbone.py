"""A network of your own, pretrained on images of your own, without a config file.

Everything is plain Python here; docs/extend.md shows the same with configs, so that the command
line, W&B and evaluate.py know the parts.
"""

from functools import partial

import pytorch_lightning as pl
import torch
from sklearn.datasets import load_digits
from torch import Tensor, nn

from ssl_zoo.data import Augmentation, DataModule
from ssl_zoo.data.images import Splits, TensorImages
from ssl_zoo.evaluation import knn_top1
from ssl_zoo.losses import InfoNCE
from ssl_zoo.methods import MoCo
from ssl_zoo.modules import MLP, Momentum, Queue


class Small(nn.Module):
    """(N, 3, S, S) -> (N, num_features): all that a backbone must be."""

    num_features = 64

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            *(nn.Conv2d(3, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2)),
            *(nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU()),
        )

    def forward(self, images: Tensor) -> Tensor:
        return self.layers(images).mean(dim=(2, 3))


digits = load_digits()
pixels = torch.from_numpy(digits.images * 15.9375).byte()[:, None].expand(-1, 3, -1, -1)
images = TensorImages(pixels.contiguous(), torch.from_numpy(digits.target).long())
views = partial(Augmentation, crop_scale=(0.5, 1.0), flip=0.0, jitter=0.0, grayscale=0.0, blur=0.0)
data = DataModule(Splits(images, None, list("0123456789")), views, batch_size=128)

method = MoCo(
    backbone=Small(),
    projector=partial(MLP, out_dim=64),
    target=partial(Momentum, momentum=0.99),
    negatives=partial(Queue, size=512),
    loss=InfoNCE(temperature=0.2),
    optimizer=partial(torch.optim.AdamW, lr=1e-3),
)
trainer = pl.Trainer(
    max_epochs=5, accelerator="cpu", logger=False, enable_checkpointing=False,
    limit_val_batches=0, use_distributed_sampler=False, enable_progress_bar=False,
)  # fmt: skip
trainer.fit(method, datamodule=data)

method.eval()
with torch.no_grad():
    bank, val = (
        torch.cat([method(data.preprocess.normalize(batch.images)) for batch in loader])
        for loader in (data.bank_dataloader(), data.val_dataloader())
    )
top1 = knn_top1(val, data.val.labels, bank, data.train.labels, 10, [20], 0.07)
print(f"kNN on val: {top1[20]:.1%}")
