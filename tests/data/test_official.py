"""CIFAR, SVHN and STL10 in tiny files of the official layout, and what happens without them."""

import os
import pickle
import urllib.error
from pathlib import Path

import numpy as np
import pytest
import scipy.io
import torch
import torchvision

from lib import paths
from lib.data import fingerprint, load, official, prepare, spec
from lib.errors import UserError

RNG = np.random.default_rng(0)
REAL = paths.DATA / "cifar-10-batches-py"


@pytest.fixture
def trusting(monkeypatch):
    """Let torchvision accept files whose MD5 is not the official one."""
    for module in ("cifar", "svhn", "stl10"):
        reader = f"torchvision.datasets.{module}.check_integrity"
        monkeypatch.setattr(reader, lambda path, md5=None: path and Path(path).is_file())


def cifar(folder, name):
    """Write N images, in batches as the official files do; return all of them in order."""
    plain = name == "cifar10"
    root = folder / ("cifar-10-batches-py" if plain else "cifar-100-python")
    root.mkdir(parents=True)
    train = [f"data_batch_{i}" for i in range(1, 6)] if plain else ["train"]
    pixels = {}
    for file in [*train, "test_batch" if plain else "test"]:
        rows = RNG.integers(0, 256, (20, 3072), dtype=np.uint8)
        labels = RNG.integers(0, 10, 20).tolist()
        key = "labels" if plain else "fine_labels"
        (root / file).write_bytes(pickle.dumps({"data": rows, key: labels}))
        pixels[file] = rows.reshape(-1, 3, 32, 32), labels
    meta = {"label_names": list("abcdefghij")} if plain else {"fine_label_names": ["a"] * 100}
    (root / ("batches.meta" if plain else "meta")).write_bytes(pickle.dumps(meta))
    joined = [np.concatenate([pixels[f][i] for f in train]) for i in (0, 1)]
    return joined, pixels["test_batch" if plain else "test"]


def svhn(folder):
    root = folder / "svhn"
    root.mkdir(parents=True)
    out = []
    for part, count in (("train", 50), ("test", 20)):
        x = RNG.integers(0, 256, (32, 32, 3, count), dtype=np.uint8)
        y = RNG.integers(1, 11, (count, 1))
        scipy.io.savemat(root / f"{part}_32x32.mat", {"X": x, "y": y})
        out.append((x.transpose(3, 2, 0, 1), y[:, 0] % 10))
    return out


def stl10(folder):
    root = folder / "stl10_binary"
    root.mkdir(parents=True)
    (root / "unlabeled_X.bin").write_bytes(b"")
    out = []
    for part, count in (("train", 12), ("test", 6)):
        x = RNG.integers(0, 256, (count, 3, 96, 96), dtype=np.uint8)  # columns come first
        y = RNG.integers(1, 11, count, dtype=np.uint8)
        x.tofile(root / f"{part}_X.bin")
        y.tofile(root / f"{part}_y.bin")
        out.append((x.transpose(0, 1, 3, 2), y.astype(int) - 1))
    return out


CASES = {
    "cifar10": (lambda folder: cifar(folder, "cifar10"), (90, 10, 20)),
    "cifar100": (lambda folder: cifar(folder, "cifar100"), (15, 5, 20)),
    "svhn": (svhn, (45, 5, 20)),
    "stl10": (stl10, (9, 3, 6)),
}


@pytest.mark.parametrize("name", CASES)
def test_splits_follow_the_official_order(name, folder, small, trusting):
    build, sizes = CASES[name]
    small(name, sizes)
    (train_x, train_y), (test_x, test_y) = build(folder)
    cut = sizes[0]
    want = {
        "train": (train_x[:cut], train_y[:cut]),
        "val": (train_x[cut:], train_y[cut:]),
        "test": (test_x, test_y),
    }
    for _ in ("decoded", "kept"):
        for split, (x, y) in want.items():
            got = load(name, split)
            assert np.array_equal(got.images.numpy(), x)
            assert got.labels.tolist() == list(y)
            assert got.images.is_contiguous()
    assert prepare(name) == dict(zip(("train", "val", "test"), sizes, strict=True))


@pytest.mark.parametrize("name", CASES)
def test_papers_split_sizes(name):
    train = {"cifar10": 50_000, "cifar100": 50_000, "svhn": 73_257, "stl10": 5_000}[name]
    assert sum(spec(name).images[:2]) == train


@pytest.mark.parametrize("name", [*CASES, "tiny_imagenet"])
def test_missing_data_names_the_command_and_the_folder(name, folder):
    with pytest.raises(UserError, match=f"python -m lib data {name}") as caught:
        load(name, "train")
    assert str(folder) in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not folder.exists()


def test_a_second_load_needs_no_torchvision(folder, small, trusting, monkeypatch):
    small("cifar10", (90, 10, 20))
    cifar(folder, "cifar10")
    first = fingerprint(load("cifar10", "train"))
    monkeypatch.setattr(official, "_reader", lambda kind: pytest.fail("torchvision was used"))
    assert fingerprint(load("cifar10", "train")) == first
    assert len(load("cifar10", "val", 3)) == 3


class Trap:
    """Pickles to something that leaves a folder behind if it is ever unpickled."""

    def __init__(self, path):
        self.path = str(path)

    def __reduce__(self):
        return (os.mkdir, (self.path,))


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_a_damaged_official_file_is_refused_before_it_is_unpickled(name, folder):
    cifar(folder, name)
    for file in folder.rglob("*"):
        if file.is_file():
            file.write_bytes(pickle.dumps(Trap(folder / "trapped")))
    with pytest.raises(UserError, match="incomplete or damaged"):
        load(name, "train")
    assert not (folder / "trapped").exists()


def test_download_without_network_says_what_to_do(folder, monkeypatch):
    def offline(*args, **options):
        raise urllib.error.URLError("Name or service not known")

    monkeypatch.setattr("urllib.request.urlopen", offline)
    with pytest.raises(UserError, match="check the network") as caught:
        prepare("cifar10")
    assert "\n" not in str(caught.value)
    assert "python -m lib data cifar10" in str(caught.value)


def flip(file):
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def fill(file):
    file.unlink()
    (file / "full").mkdir(parents=True)


HARMS = {
    "flip": flip,
    "truncate": lambda file: file.write_bytes(file.read_bytes()[:-7]),
    "empty": lambda file: file.write_bytes(b""),
    "pickle": lambda file: file.write_bytes(pickle.dumps(Trap(paths.DATA / "trapped"))),
    "nested": lambda file: file.write_text("[" * 200_000),
    "a full folder": fill,
}


@pytest.mark.parametrize("victim", ["train.images.npy", "train.labels.npy", "train.json"])
@pytest.mark.parametrize("harm", HARMS.values(), ids=HARMS)
def test_a_damaged_copy_is_refused_and_prepare_mends_it(victim, harm, folder, small, trusting):
    small("stl10", (9, 3, 6))
    stl10(folder)
    good = fingerprint(load("stl10", "train"))
    harm(folder / "decoded" / "stl10" / victim)
    with pytest.raises(UserError, match=r"damaged; run `python -m lib data stl10`"):
        load("stl10", "train")
    assert not (folder / "trapped").exists()
    prepare("stl10")
    assert fingerprint(load("stl10", "train")) == good


def test_a_read_only_data_folder_still_loads(folder, small, trusting, monkeypatch):
    small("stl10", (9, 3, 6))
    stl10(folder)

    def refuse(*args, **options):
        raise UserError("Cannot write.")

    monkeypatch.setattr("lib.data.store.write", refuse)
    assert len(load("stl10", "train")) == 9


def test_labels_outside_the_classes_are_refused(folder, small, trusting):
    small("stl10", (9, 3, 6))
    stl10(folder)
    (folder / "stl10_binary" / "train_y.bin").write_bytes(bytes([11] * 12))
    with pytest.raises(UserError, match="labels outside"):
        load("stl10", "train")


@pytest.mark.skipif(not REAL.exists(), reason="CIFAR-10 is not in the data folder")
def test_real_cifar10_is_split_as_the_oat_code_does():
    reader = torchvision.datasets.CIFAR10(str(paths.DATA), train=True)
    official_x = torch.from_numpy(reader.data).permute(0, 3, 1, 2)
    for split, part in (("train", slice(45_000)), ("val", slice(45_000, None))):
        got = load("cifar10", split)
        assert torch.equal(got.images, official_x[part])
        assert got.labels.tolist() == reader.targets[part]
    assert load("cifar10", "test").labels.bincount().tolist() == [1000] * 10
