"""Any folder of images: splits, decoding, the kept copy, and bad folders."""

import numpy as np
import pytest
import torch
from PIL import Image

from lib.data import fingerprint, load, prepare, spec
from lib.data import folder as image_folder
from lib.errors import UserError


def build(root, parts=("train", "val"), classes=("ant", "bee"), count=20, size=(16, 16)):
    """Flat PNGs: image i of class c in part p is as grey as 100 p + 40 c + i."""
    for p, part in enumerate(parts):
        for c, name in enumerate(classes):
            (root / part / name).mkdir(parents=True)
            for i in range(count):
                level = 100 * p + 40 * c + i
                Image.new("L", size, level).save(root / part / name / f"{i:03d}.png")
    return f"imagefolder:{root}@16"


def levels(name, split):
    return load(name, split).images[:, 0, 8, 8].tolist()


def test_val_is_held_out_of_train_and_test_is_the_val_folder(tmp_path):
    name = build(tmp_path)
    assert levels(name, "train") == [*range(19), *range(40, 59)]
    assert levels(name, "val") == [19, 59]
    assert levels(name, "test") == [*range(100, 120), *range(140, 160)]
    assert load(name, "train").labels.tolist() == [0] * 19 + [1] * 19
    assert prepare(name) == {"train": 38, "val": 2, "test": 40}


def test_three_folders_are_the_three_splits(tmp_path):
    name = build(tmp_path, ("train", "val", "test"), count=4)
    assert prepare(name) == {"train": 8, "val": 8, "test": 8}
    assert levels(name, "val") == [100, 101, 102, 103, 140, 141, 142, 143]


def test_spec_is_read_from_the_folder(tmp_path):
    build(tmp_path, classes=("c", "a", "b"), count=1)
    found = spec(f"imagefolder:{tmp_path}@32")
    assert (found.num_classes, found.channels, found.size, found.pad) == (3, 3, 32, 4)
    assert spec(f"imagefolder:{tmp_path}").size == 64


def test_large_images_are_scaled_and_cut_from_the_centre(tmp_path):
    name = build(tmp_path, count=2)
    wide = np.zeros((64, 128, 3), np.uint8)
    wide[:, 64:] = 255  # black | white: the cut is in the middle
    Image.fromarray(wide).save(tmp_path / "train" / "ant" / "000.png")
    x = load(name, "train").images[0].float()
    assert x.shape == (3, 16, 16)
    assert (x[:, :, :6] == 0).all()
    assert (x[:, :, 10:] == 255).all()


def test_images_are_decoded_once_and_again_when_a_file_changes(tmp_path, monkeypatch):
    name = build(tmp_path, count=3)
    decoded = []
    original = image_folder.decode
    monkeypatch.setattr(
        image_folder, "decode", lambda *args: decoded.append(args[3]) or original(*args)
    )
    load(name, "train")
    load(name, "val")
    assert len(decoded) == 1
    Image.new("RGB", (16, 16), (255, 255, 255)).save(tmp_path / "train" / "ant" / "000.png")
    assert load(name, "train").images[0].min() == 255
    assert len(decoded) == 2


def test_chunks_and_threads_keep_the_order(tmp_path, monkeypatch):
    name = build(tmp_path)
    monkeypatch.setattr("lib.data.decode.CHUNK", 7)
    assert levels(name, "test") == [*range(100, 120), *range(140, 160)]


def test_a_subset_is_the_same_in_every_load(tmp_path):
    name = build(tmp_path)
    five, ten = load(name, "test", 5), load(name, "test", 10)
    assert torch.equal(five.images, ten.images[:5])
    with pytest.raises(UserError, match="there are only 40"):
        load(name, "test", 41)


def test_a_corrupted_kept_copy_is_refused_and_prepare_mends_it(tmp_path):
    name = build(tmp_path, count=3)
    good = fingerprint(load(name, "train"))
    file = tmp_path / ".decoded-16px" / "train.images.npy"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(UserError, match="is damaged; run `python -m lib data imagefolder:"):
        load(name, "train")
    prepare(name)
    assert fingerprint(load(name, "train")) == good


def test_a_full_disk_is_one_sentence_and_leaves_no_fragments(tmp_path, monkeypatch):
    name = build(tmp_path, count=3)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("lib.data.store.hash_file", full)
    with pytest.raises(UserError, match="No space left") as caught:
        load(name, "train")
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.tmp"))
    monkeypatch.undo()
    assert len(load(name, "train")) == 4


def test_more_images_than_memory_are_refused(tmp_path, monkeypatch):
    name = build(tmp_path, count=3)
    monkeypatch.setattr("os.sysconf", lambda key: 10)
    with pytest.raises(UserError, match="use fewer images or a smaller size"):
        load(name, "train")


def bad_image(root):
    (root / "train" / "ant" / "000.png").write_bytes(b"not an image")


def cut_image(root):
    file = root / "train" / "ant" / "000.png"
    Image.effect_noise((64, 64), 90).save(file)
    file.write_bytes(file.read_bytes()[:300])


def empty_class(root):
    (root / "train" / "cat").mkdir()


def strange_class(root):
    (root / "val" / "bea").mkdir()


def no_val(root):
    (root / "val").rename(root / "valid")


@pytest.mark.parametrize(
    ("harm", "words"),
    [
        (bad_image, "000.png cannot be read as an image"),
        (cut_image, "000.png cannot be read as an image"),
        (empty_class, "cat holds no images"),
        (strange_class, "did you mean 'bee'"),
        (no_val, "must hold one folder of images per class"),
    ],
)
def test_bad_folders_are_refused_in_one_sentence(tmp_path, harm, words):
    name = build(tmp_path, count=3)
    harm(tmp_path)
    with pytest.raises(UserError, match=words) as caught:
        prepare(name)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.rglob("*.tmp"))


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("imagefolder:/nowhere/at/all", "point imagefolder:PATH at the folder"),
        ("imagefolder:somewhere@16", "must hold an absolute path"),
        ("imagefolder:somewhere@big", "must end in a size"),
        ("imagefolder:somewhere@4", "must end in a size"),
        ("imagefolder", "did you mean 'imagefolder:PATH'"),
    ],
)
def test_bad_names_are_refused(name, words):
    with pytest.raises(UserError, match=words):
        load(name, "train")
