"""Any folder of images: splits, decoding, the kept copy, and bad folders."""

import os
import struct
import zlib
from unittest.mock import Mock

import numpy as np
import pytest
import torch
from PIL import Image

from lib import paths
from lib.data import absolute, fingerprint, folder_fingerprint, load, prepare, spec
from lib.data import folder as image_folder
from lib.errors import UserError
from lib.recipe import Data


@pytest.fixture(autouse=True)
def kept(tmp_path_factory, monkeypatch):
    """Where decoded images are kept."""
    monkeypatch.setattr(paths, "DATA", tmp_path_factory.mktemp("data"))
    return paths.DATA / "decoded"


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
    assert len(load(name, "all")) == 40


def test_three_folders_are_the_three_splits(tmp_path):
    name = build(tmp_path, ("train", "val", "test"), count=4)
    assert prepare(name) == {"train": 8, "val": 8, "test": 8}
    with pytest.raises(UserError, match="keeps val/ apart"):
        load(name, "all")
    assert levels(name, "val") == [100, 101, 102, 103, 140, 141, 142, 143]


def test_spec_is_read_from_the_folder(tmp_path):
    build(tmp_path, classes=("c", "a", "b"), count=1)
    found = spec(f"imagefolder:{tmp_path}@32")
    assert (found.num_classes, found.channels, found.size, found.pad) == (3, 3, 32, 4)
    assert spec(f"imagefolder:{tmp_path}").size == 64
    build(tmp_path / "me@home/mine", count=1)
    assert spec(f"imagefolder:{tmp_path}/me@home/mine").size == 64  # no size
    (tmp_path / "loop").symlink_to("loop")
    with pytest.raises(UserError, match="must hold one folder"):
        spec(f"imagefolder:{tmp_path}/loop")


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
    decoded = Mock(wraps=image_folder.decoded)
    monkeypatch.setattr(image_folder, "decoded", decoded)
    load(name, "train")
    load(name, "val")
    assert decoded.call_count == 1
    Image.new("RGB", (16, 16), (255, 255, 255)).save(tmp_path / "train" / "ant" / "000.png")
    assert load(name, "train").images[0].min() == 255
    assert decoded.call_count == 2


def test_chunks_and_threads_keep_the_order(tmp_path, monkeypatch):
    name = build(tmp_path)
    monkeypatch.setattr("lib.data.decode.CHUNK", 7)
    assert levels(name, "test") == [*range(100, 120), *range(140, 160)]


def test_a_full_disk_is_one_sentence_and_leaves_no_fragments(tmp_path, monkeypatch):
    name = build(tmp_path, count=3)

    def full(*args):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(UserError, match="No space left") as caught:
        load(name, "train")
    assert "\n" not in str(caught.value)
    assert not list(paths.DATA.rglob("*.tmp"))
    monkeypatch.undo()
    assert len(load(name, "train")) == 4


def test_more_images_than_memory_are_refused(tmp_path, monkeypatch):
    name = build(tmp_path, count=3)
    monkeypatch.setattr("os.sysconf", lambda name: 3)  # of a page, and of pages
    with pytest.raises(UserError, match="use fewer images or a smaller size"):
        load(name, "train")


def flat(width, height):
    """Return the bytes of a black PNG without making the pixels at once."""
    row = bytes(1 + (width + 7) // 8)
    squeeze = zlib.compressobj(9)
    body = b"".join(squeeze.compress(row) for _ in range(height)) + squeeze.flush()
    head = struct.pack(">IIBBBBB", width, height, 1, 0, 0, 0, 0)
    chunks = ((b"IHDR", head), (b"IDAT", body), (b"IEND", b""))
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))
        for kind, data in chunks
    )


def cut(file):
    Image.effect_noise((64, 64), 90).save(file)
    file.write_bytes(file.read_bytes()[:300])


IMAGES = [  # what is wrong with an image, and what is said
    (lambda f: f.write_bytes(b"not an image"), "000.png cannot be read as an image"),
    (cut, "000.png cannot be read as an image"),
    (lambda f: os.mkfifo(f.with_name("x.png")), "x.png is no ordinary file; replace or remove it"),
    (lambda f: f.with_name("x.png").symlink_to("nowhere"), "x.png leads nowhere .No such file"),
    (lambda f: f.with_name("x.png").symlink_to("x.png"), "x.png leads nowhere"),
    (lambda f: f.rename(f.with_name(os.fsdecode(b"\xff.png"))), "udcff.png' is not UTF-8; rename"),
    (lambda f: f.write_bytes(flat(1_000_000, 1)), "1000000 x 1 pixels, or .* exceed 80,000,000"),
]
FOLDERS = [
    (lambda root: (root / "train/cat").mkdir(), "cat holds no images"),
    (lambda root: (root / "val/bea").mkdir(), "did you mean 'bee'"),
    (
        lambda root: (root / "val").rename(root / "valid"),
        "must hold one folder of images per class",
    ),
    (lambda root: (root / "train" / os.fsdecode(b"\xfe")).mkdir(), r"train/.udcfe' is not UTF-8"),
]


@pytest.mark.parametrize(
    ("place", "harm", "words"),
    [("train/ant/000.png", *case) for case in IMAGES] + [("", *case) for case in FOLDERS],
)
def test_bad_folders_are_refused_in_one_sentence(tmp_path, place, harm, words):
    name = build(tmp_path, count=3)
    harm(tmp_path / place)
    with pytest.raises(UserError, match=words) as caught:
        prepare(name)
    assert "\n" not in str(caught.value) and str(caught.value).isprintable()
    assert not list(paths.DATA.rglob("*.tmp"))


def test_of_an_image_that_is_too_large_only_the_header_is_read(tmp_path, monkeypatch, recwarn):
    name = build(tmp_path, count=1)
    for folder in ("ant", "bee"):
        (tmp_path / "train" / folder / "000.png").write_bytes(flat(13_000, 13_000))
    monkeypatch.setattr(Image.Image, "load", None)
    with pytest.raises(UserError, match=r"13000 x 13000 pixels, .* exceed 80,000,000"):
        load(name, "train")
    assert not [w for w in recwarn if w.category is Image.DecompressionBombWarning]


def test_a_folder_inside_a_class_is_looked_into_whatever_its_name(tmp_path):
    name = build(tmp_path, count=3)
    inner = tmp_path / "train" / "ant" / "more.png"
    inner.mkdir()
    (tmp_path / "train" / "ant" / "002.png").rename(inner / "2.png")
    assert sorted(levels(name, "train") + levels(name, "val")) == [0, 1, 2, 40, 41, 42]


def test_what_systems_leave_beside_images_is_no_image(tmp_path):
    build(tmp_path)
    before = load(f"imagefolder:{tmp_path}@16", "test")
    (tmp_path / "val/ant/._0.png").write_bytes(b"\0\5\26\7")
    (tmp_path / "val/ant/.thumbnails").mkdir()
    (tmp_path / "val/ant/.thumbnails/a.png").write_bytes(b"")
    (tmp_path / "test/.ipynb_checkpoints").mkdir(parents=True)
    assert torch.equal(load(f"imagefolder:{tmp_path}@16", "test").images, before.images)


def test_nothing_is_written_into_a_folder_of_images(tmp_path, kept):
    name = build(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    (tmp_path / ".decoded-16px").mkdir()  # as earlier versions made it
    (tmp_path / ".decoded-16px" / "train.json").write_text("{")
    prepare(name)
    load(f"imagefolder:{tmp_path}@8", "test")
    assert sorted(set(tmp_path.rglob("*")) - set((tmp_path / ".decoded-16px").rglob("*"))) == [
        tmp_path / ".decoded-16px",
        *before,
    ]
    assert len(list(kept.iterdir())) == 2  # one for each size
    assert {p.name.rpartition("-")[0] for p in kept.iterdir()} == {tmp_path.name[:40]}


def test_folders_of_one_name_do_not_share_decoded_images(tmp_path):
    first = build(tmp_path / "a" / "mine", count=3)
    second = build(tmp_path / "b" / "mine", count=4)
    assert (len(load(first, "test")), len(load(second, "test"))) == (6, 8)


def test_a_relative_folder_is_made_absolute_once(tmp_path, monkeypatch):
    name = build(tmp_path / "mine", count=3)
    monkeypatch.chdir(tmp_path)
    assert absolute("imagefolder:mine@16") == name
    assert absolute("imagefolder:./x/../mine@16") == name
    assert Data("imagefolder:mine@16") == Data(name)
    assert spec("imagefolder:mine@16").name == name
    monkeypatch.setenv("HOME", str(tmp_path))
    assert absolute("imagefolder:~/mine@16") == name
    for same in (name, "digits", "cifar10", "imagefolder:", "imagefolder:/a/../b@32"):
        assert absolute(same) == same


def test_the_fingerprint_of_a_folder_follows_its_images(tmp_path):
    name = build(tmp_path, count=3)
    before = folder_fingerprint(name, "test", 4)
    assert before == fingerprint(load(name, "test", 4)) != folder_fingerprint(name, "test")
    (tmp_path / "val" / "ant").rename(tmp_path / "val" / "cat")
    (tmp_path / "val" / "bee").rename(tmp_path / "val" / "ant")
    (tmp_path / "val" / "cat").rename(tmp_path / "val" / "bee")
    assert folder_fingerprint(name, "test", 4) == fingerprint(load(name, "test", 4)) != before
    assert folder_fingerprint("cifar10", "test") == ""  # and no data are needed to say so


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("imagefolder:/nowhere/at/all", "point imagefolder:PATH at the folder"),
        ("imagefolder:somewhere@16", "point imagefolder:PATH at the folder"),
        ("imagefolder:@16", "names no folder"),
        ("imagefolder:somewhere@\u00b2", "must end in a size"),
        ("imagefolder:somewhere@" + "9" * 5000, "must end in a size"),
        ("imagefolder:somewhere@big", "must end in a size"),
        ("imagefolder:somewhere@4", "must end in a size"),
        ("imagefolder", "did you mean 'imagefolder:PATH'"),
    ],
)
def test_bad_names_are_refused(name, words):
    with pytest.raises(UserError, match=words):
        load(name, "train")
