"""SimCLR in a loop of its own: no Trainer, no config."""

from functools import partial

import torch

from ssl_zoo.backbones import ConvNet
from ssl_zoo.data import Augmentation, DataModule
from ssl_zoo.data.datasets import shapes
from ssl_zoo.losses import InfoNCE
from ssl_zoo.methods import SimCLR
from ssl_zoo.modules import MLP, InBatch

data = DataModule(
    shapes(num_train=2000),
    partial(Augmentation, crop_scale=(0.5, 1.0), hue=0.5, grayscale=0.4, blur=0.0),
    batch_size=128,
)
method = SimCLR(
    backbone=ConvNet(),
    projector=partial(MLP, out_dim=128),
    negatives=InBatch,
    loss=InfoNCE(temperature=0.1),
)
optimizer = torch.optim.AdamW(method.parameters(), lr=1.5e-3)
loader = data.train_dataloader()
for epoch in range(2):
    loader.sampler.set_epoch(epoch)
    for raw in loader:
        batch = data.transfer_batch_to_device(raw, torch.device("cpu"), 0)  # makes the views
        output = method.step(batch)
        optimizer.zero_grad()
        output.loss.backward()
        optimizer.step()
        method.update(progress=0.0)  # EMA, queue and bank move here; SimCLR has none
    print(epoch, output.loss.item())
