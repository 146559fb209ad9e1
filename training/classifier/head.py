"""Multinomial logistic regression on mean-pooled vectors, in numpy. Convex, so the same data give the same head."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Linear:
    """`x @ weight.T + bias` are the logits; standardisation is folded in."""

    weight: Array  # classes x width
    bias: Array

    def logits(self, x: Array) -> Array:
        return x @ self.weight.T + self.bias


def softmax(logits: Array) -> Array:
    shifted = np.exp(logits - logits.max(axis=-1, keepdims=True))
    return np.asarray(shifted / shifted.sum(axis=-1, keepdims=True))


def fit(x: Array, y: npt.NDArray[np.int64], weights: Array, classes: int, *, decay: float, steps: int = 200) -> Linear:
    """Minimises weighted cross-entropy + decay/2 |w|^2 by accelerated gradient descent on standardised inputs."""
    mean, scale = x.mean(axis=0), x.std(axis=0) + 1e-6
    z = np.hstack([(x - mean) / scale, np.ones((len(x), 1))])
    w = np.zeros((classes, z.shape[1]))
    target = np.eye(classes)[y]
    share = (weights / weights.sum())[:, None]
    penalty = np.full(z.shape[1], decay)
    penalty[-1] = 0.0
    rate = 1.0 / (0.5 * _largest_eigenvalue(z, share) + decay)
    previous = w
    for step in range(steps):
        ahead = w + (step / (step + 3)) * (w - previous)
        gradient = (share * (softmax(z @ ahead.T) - target)).T @ z + penalty * ahead
        previous, w = w, ahead - rate * gradient
    return Linear(w[:, :-1] / scale, w[:, -1] - (w[:, :-1] / scale) @ mean)


def _largest_eigenvalue(z: Array, share: Array) -> float:
    """Of the weighted second-moment matrix, by power iteration: the curvature that bounds the step."""
    moment = z.T @ (share * z)
    vector = np.ones(len(moment))
    for _ in range(50):
        vector = moment @ vector
        vector /= np.linalg.norm(vector)
    return 1.05 * float(vector @ moment @ vector)
