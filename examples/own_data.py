"""A folder of images: pretrain, evaluate, and find the images most like one of them.

python examples/own_data.py photos        (with photos/train/CLASS and photos/test/CLASS)
"""

import sys
from pathlib import Path

import torch
from hydra import compose, initialize_config_dir
from torch.nn.functional import normalize

import ssl_zoo
from ssl_zoo.config import CONFIG_DIR
from ssl_zoo.evaluate import evaluate
from ssl_zoo.train import train

root = Path(sys.argv[1])
more = sys.argv[2:]  # overrides, as on the command line of train.py

with initialize_config_dir(CONFIG_DIR, version_base="1.3"):
    cfg = compose("train", ["dataset=folder", f"dataset.root={root}", "run_dir=runs/own", *more])
    metrics = train(cfg)
    results = evaluate(compose("evaluate", ["ckpt=runs/own", "protocol=knn"]))
print(metrics)
print(results["knn"]["rows"])

paths = sorted(path for path in root.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
unit = normalize(ssl_zoo.embed(paths, "runs/own"))
nearest = torch.argsort(unit @ unit[0], descending=True)[1:4]
print(f"most like {paths[0].name}: {', '.join(paths[i].name for i in nearest)}")
