"""Chapter 11 with scikit-learn: its pipelines, grid search, random search and cross-validation drive a network.

Data: handwritten digits (in the package). Needs the extra: pip install 'dlcore[sklearn]'. DLCORE_SHORT=1: fewer of
them, one epoch.
"""

import os

from sklearn.model_selection import GridSearchCV, RandomizedSearchCV, cross_val_score
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from dlcore import datasets
from dlcore.sklearn import DLClassifier

(x, y), (xt, yt) = datasets.digits.load_data()
x, xt = x.reshape(len(x), -1), xt.reshape(len(xt), -1)
epochs, folds, tries = 10, 3, 8
if os.environ.get("DLCORE_SHORT"):
    x, y, epochs, folds, tries = x[:200], y[:200], 1, 2, 2

network = DLClassifier(epochs=epochs, batch_size=32, random_state=0)
pipeline = Pipeline([("scale", StandardScaler()), ("network", network)])
scores = cross_val_score(pipeline, x, y, cv=folds)
print(f"100 hidden units, Adam: {scores.mean():.3f} ± {scores.std():.3f} over {folds} folds")

grid = {"network__hidden_layer_sizes": [(32,), (32, 32)], "network__learning_rate": [0.001, 0.01]}
search = GridSearchCV(pipeline, grid, cv=folds).fit(x, y)
print(f"best of the grid       {search.best_score_:.3f}  {search.best_params_}")

choices = {
    **grid,
    "network__hidden_layer_sizes": [(32,), (64,), (32, 32), (64, 32)],
    "network__learning_rate": [0.001, 0.01, 0.1],
    "network__activation": ["relu", "tanh", "sigmoid"],
    "network__optimizer": ["sgd", "rmsprop", "adam"],
}
search = RandomizedSearchCV(pipeline, choices, n_iter=tries, cv=folds, random_state=0).fit(x, y)
print(f"best of those drawn    {search.best_score_:.3f}  {search.best_params_}")
print(f"that one, trained on all folds, on the test set: {search.score(xt, yt):.3f}")
