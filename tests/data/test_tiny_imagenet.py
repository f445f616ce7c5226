"""Tiny-ImageNet from a tiny archive of the official layout; downloads come from a file: address."""

import io
import zipfile

import numpy as np
import pytest
from PIL import Image

from lib.data import load, prepare, tiny_imagenet
from lib.errors import UserError
from lib.store import sha256

IDS = ["n01443537", "n01629819", "n09999999"]
PER_CLASS, TEST = 20, 4


def jpeg(level, mode="RGB"):
    """A flat image survives JPEG: its grey level says which one it is."""
    stream = io.BytesIO()
    Image.new(mode, (64, 64), level if mode == "L" else (level,) * 3).save(stream, "JPEG")
    return stream.getvalue()


def members():
    """The files of the archive; training image i of class c is as grey as 20 c + i."""
    files = {"wnids.txt": "\n".join(reversed(IDS)).encode(), "words.txt": b""}
    for c, one in enumerate(IDS):
        for i in range(PER_CLASS):
            name = f"train/{one}/images/{one}_{i}.JPEG"
            files[name] = jpeg(20 * c + i, "L" if i % 2 else "RGB")
    lines = [f"val_{i}.JPEG\t{IDS[i % 3]}\t0\t0\t62\t62" for i in range(TEST)]
    files["val/val_annotations.txt"] = "\n".join(lines).encode()
    return files | {f"val/images/val_{i}.JPEG": jpeg(200 + i) for i in range(TEST)}


@pytest.fixture
def publish(tmp_path, folder, small, monkeypatch):
    """Make an archive of these files the official one."""

    def publish(files):
        path = tmp_path / "server" / "tiny.zip"
        path.parent.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(path, "w") as archive:
            for name, content in files.items():
                archive.writestr(f"tiny-imagenet-200/{name}", content)
        monkeypatch.setattr(tiny_imagenet, "URL", path.as_uri())
        monkeypatch.setattr(tiny_imagenet, "SHA256", sha256(path))
        small("tiny_imagenet", (57, 3, TEST), num_classes=len(IDS))
        return path

    return publish


def levels(split):
    return load("tiny_imagenet", split).images.double().mean((1, 2, 3)).round().int().tolist()


def check_splits():
    assert levels("train") == [20 * c + i for c in range(3) for i in range(19)]
    assert levels("val") == [19, 39, 59]
    assert levels("test") == [200, 201, 202, 203]
    assert load("tiny_imagenet", "train").labels.tolist() == [0] * 19 + [1] * 19 + [2] * 19
    assert load("tiny_imagenet", "test").labels.tolist() == [0, 1, 2, 0]


def test_download_decodes_and_splits_and_the_decoded_copy_is_enough(folder, publish):
    server = publish(members())
    assert prepare("tiny_imagenet") == {"train": 57, "val": 3, "test": 4}
    check_splits()
    assert {p.name for p in folder.iterdir()} == {"tiny-imagenet-200.zip", "decoded"}
    x = load("tiny_imagenet", "train").images[1].numpy()  # written as a grey JPEG
    assert x.shape == (3, 64, 64) and np.array_equal(x[0], x[1])
    server.unlink()
    (folder / "tiny-imagenet-200.zip").unlink()
    prepare("tiny_imagenet")
    check_splits()


def test_an_unpacked_folder_is_used_as_it_is(folder, publish):
    publish({})
    for name, content in members().items():
        file = folder / "tiny-imagenet-200" / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content)
    check_splits()


def test_names_that_climb_out_of_the_archive_reach_nothing(tmp_path, folder, publish):
    publish(members() | {"../../escaped.txt": "x", "../../../escaped.txt": "x"})
    prepare("tiny_imagenet")
    assert not list(tmp_path.rglob("escaped*"))


@pytest.mark.parametrize("harm", ["flip", "truncate"])
def test_a_damaged_archive_is_never_opened(folder, publish, harm, monkeypatch):
    path = publish(members())
    content = bytearray(path.read_bytes())
    content[100] ^= harm == "flip"
    folder.mkdir(parents=True)
    (folder / "tiny-imagenet-200.zip").write_bytes(content[: -50 if harm == "truncate" else None])
    monkeypatch.setattr(zipfile, "ZipFile", lambda *a: pytest.fail("it was opened"))
    with pytest.raises(UserError, match="SHA-256 differs"):
        load("tiny_imagenet", "train")


@pytest.mark.parametrize("harm", ["longer", "shorter", "other", "absent"])
def test_a_failed_download_is_one_sentence_and_leaves_nothing_behind(folder, publish, harm):
    path = publish(members())
    content = path.read_bytes()
    path.unlink()
    wrong = {"longer": content + b"x", "shorter": content[:-1], "other": b"y" + content[1:]}
    if harm in wrong:
        path.write_bytes(wrong[harm])
    with pytest.raises(UserError, match=r"could not be downloaded .* check the network") as caught:
        prepare("tiny_imagenet")
    assert "\n" not in str(caught.value)
    assert not list(folder.iterdir())


LISTS = ("wnids.txt", "val/val_annotations.txt")
ELSEWHERE = members()[LISTS[1]].replace(b"val_0.JPEG", b"../../secret.JPEG")
WRONG = {
    name: ({k: v for k, v in members().items() if not k.startswith(name)}, name.split("/")[-1])
    for name in (*LISTS, "train/n01443537")
}
WRONG |= {f"{n} not UTF-8": (members() | {n: b"\xff"}, "lists are not UTF-8") for n in LISTS}
WRONG |= {"a name elsewhere": (members() | {LISTS[1]: ELSEWHERE}, "val_annotations")}


@pytest.mark.parametrize(("files", "said"), WRONG.values(), ids=WRONG)
def test_an_incomplete_layout_is_refused(folder, publish, files, said):
    publish(files)
    with pytest.raises(UserError, match=said):
        prepare("tiny_imagenet")
    assert not list(folder.rglob("*.tmp"))
