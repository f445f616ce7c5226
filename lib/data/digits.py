"""The 8x8 digits that ship with scikit-learn: real images that need no download."""

from functools import cache

import numpy as np

from lib.data.store import Arrays


@cache
def arrays() -> Arrays:
    """Return all images uint8 (1797, 1, 8, 8) and their labels in a fixed random order.

    In it every stretch has the classes in balance: the j-th of the n shuffled images of a class is
    put at (j + 1/2) / n of the way.
    """
    from sklearn.datasets import load_digits

    found = load_digits()
    labels = found.target.astype(np.int64)
    rng = np.random.RandomState(0)
    place = np.empty(len(labels))
    for label in range(10):
        members = rng.permutation(np.flatnonzero(labels == label))
        place[members] = (np.arange(len(members)) + 0.5) / len(members)
    order = np.lexsort((labels, place))
    images = np.rint(found.images / 16 * 255).astype(np.uint8)[:, None]
    return images[order], labels[order]
