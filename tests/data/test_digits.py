"""The default data set, subsets, fingerprints and the door to all of them."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits

from lib import paths
from lib.data import SPLITS, Images, digits, fingerprint, load, names, prepare, spec
from lib.data.images import subset
from lib.errors import UserError


def rows(images):
    return [row.tobytes() for row in images.images.numpy()]


def test_splits_have_the_sizes_of_the_spec_and_together_are_scikit_learns_digits():
    parts = [load("digits", split) for split in SPLITS]
    train, val, test = (set(rows(part)) for part in parts)
    assert not train & val and not train & test and not val & test
    assert [len(part) for part in parts] == [1097, 100, 600] == list(spec("digits").images)
    assert parts[0].images.dtype == torch.uint8 and parts[0].images.shape[1:] == (1, 8, 8)
    assert parts[0].labels.dtype == torch.int64
    both = load("digits", "all")
    assert rows(both) == rows(parts[0]) + rows(parts[1]) and len(both) == spec("digits").count(
        "all"
    )
    original = np.rint(load_digits().images * 255 / 16).astype(np.uint8)
    assert prepare("digits") == dict(zip(SPLITS, (1097, 100, 600), strict=True))
    assert sorted(row for part in parts for row in rows(part)) == sorted(
        row.tobytes() for row in original
    )


def test_every_image_keeps_its_label():
    found = load_digits()
    labels = dict(zip((r.tobytes() for r in found.images.astype(np.uint8)), found.target))  # noqa: B905
    for split in SPLITS:
        part = load("digits", split)
        sixteenths = (part.images.double() * 16 / 255).round().to(torch.uint8)
        assert all(
            labels[row.tobytes()] == label
            for row, label in zip(sixteenths.numpy(), part.labels.tolist(), strict=True)
        )


@pytest.mark.parametrize("split", SPLITS)
def test_classes_are_balanced_in_every_split(split):
    counts = load("digits", split).labels.bincount().tolist()
    assert len(counts) == 10
    assert max(counts) - min(counts) <= 0.06 * sum(counts)


@pytest.mark.parametrize("split", SPLITS)
def test_a_smaller_subset_is_the_beginning_of_a_larger_one(split):
    ten, twenty = load("digits", split, 10), load("digits", split, 20)
    assert torch.equal(ten.images, twenty.images[:10])
    assert torch.equal(ten.labels, twenty.labels[:10])


def test_subsets_are_unbiased_and_fixed_for_good():
    assert subset(10, 0).tolist() == [2, 8, 4, 9, 1, 6, 7, 3, 0, 5]  # NumPy's legacy stream
    assert sorted(subset(500, 500)) == list(range(500))
    assert np.mean([subset(n, 50).mean() / n for n in (200, 500, 1000)]) == pytest.approx(0.5, 0.1)


def test_loading_twice_gives_independent_equal_tensors():
    one, two = load("digits", "test"), load("digits", "test")
    assert fingerprint(one) == fingerprint(two)
    one.images.zero_()
    assert two.images.any()
    assert load("digits", "test").images.any()


def test_fingerprint_notices_a_pixel_a_label_the_order_and_the_shape():
    part = load("digits", "val")
    seen = {fingerprint(part)}
    for change in ("pixel", "label", "order", "shape"):
        other = load("digits", "val")
        if change == "pixel":
            other.images[50, 0, 4, 4] ^= 1
        elif change == "label":
            other.labels[3] = (other.labels[3] + 1) % 10
        elif change == "order":
            other = other[torch.arange(len(other)).flip(0)]
        else:
            other = Images(other.images.view(100, 1, 4, 16), other.labels)
        seen.add(fingerprint(other))
    assert len(seen) == 5
    channels_last = Images(part.images.contiguous(memory_format=torch.channels_last), part.labels)
    assert fingerprint(channels_last) in seen


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("digit", "train"), "did you mean 'digits'"),
        (("cifar", "train"), "did you mean 'cifar10"),
        (("digits", "training"), "did you mean 'train'"),
        (("digits", "val", 101), "101 images were asked for but digits has 100"),
        (("digits", "val", -1), "limit"),
        (("cifar10", "train", 45_001), "45000"),
    ],
)
def test_bad_requests_are_refused_in_one_sentence(arguments, words):
    with pytest.raises(UserError, match=words) as caught:
        load(*arguments)
    assert "\n" not in str(caught.value)


def test_every_spec_is_complete():
    for name in names():
        found = spec(name)
        assert found.name == name
        assert min(found.images) > 0
        assert found.size >= 8
        assert found.flip == (found.pad > 0)


def test_specs_need_no_torch_and_digits_no_torchvision():
    code = """
import sys
from lib.datasets import names, spec
[spec(name) for name in names()]
assert "torch" not in sys.modules and "numpy" not in sys.modules
from lib.data import load
load("digits", "train")
assert "torchvision" not in sys.modules
"""
    subprocess.run([sys.executable, "-c", code], check=True, cwd=paths.ROOT)


def test_the_digits_are_the_same_where_their_file_is_not_listed(monkeypatch):
    listed = digits._table()
    monkeypatch.setattr(digits, "files", lambda name: None)
    assert np.array_equal(listed, digits._table())
