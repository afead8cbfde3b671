"""Features of a pretrained backbone into scikit-learn.

python examples/features_sklearn.py runs/RUN        (or a file, torchvision:resnet50 ...)
"""

import sys

import numpy as np
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import cross_val_score
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import ssl_zoo

digits = load_digits()
images = np.repeat((digits.images * 15.9375).astype(np.uint8)[..., None], 3, axis=3)
features = ssl_zoo.embed(images, sys.argv[1]).numpy()
head = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
scores = cross_val_score(head, features, digits.target, cv=5)
print(f"{features.shape[1]} features, 5-fold accuracy {scores.mean():.1%}")
