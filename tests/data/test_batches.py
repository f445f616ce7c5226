"""Order and augmentation, against explicit loops over images and pixels."""

import itertools

import pytest
import torch

from lib.data import Images, batches, in_order
from lib.data.batching import crop_and_flip, draws
from lib.errors import UserError


@pytest.fixture
def data() -> Images:
    """Thirty images, each labelled with its own index."""
    generator = torch.Generator().manual_seed(5)
    pixels = torch.randint(0, 256, (30, 3, 8, 8), generator=generator, dtype=torch.uint8)
    return Images(pixels, torch.arange(30))


def by_label(iterator):
    return {int(label): image for x, y in iterator for image, label in zip(x, y, strict=True)}


def explicit_crop(image, corner, mirror, pad, mode):
    """Build the border and cut, one pixel at a time."""
    channels, height, width = image.shape
    out = torch.zeros_like(image)
    for c, i, j in itertools.product(range(channels), range(height), range(width)):
        row, column = corner[0] + i - pad, corner[1] + (width - 1 - j if mirror else j) - pad
        if mode == "reflect":
            row = abs(row) if row < height else 2 * (height - 1) - row
            column = abs(column) if column < width else 2 * (width - 1) - column
        if 0 <= row < height and 0 <= column < width:
            out[c, i, j] = image[c, row, column]
    return out


@pytest.mark.parametrize("mode", ["zero", "reflect"])
@pytest.mark.parametrize("pad", [0, 2, 7])
def test_crop_and_flip_equals_a_loop_over_pixels(data, pad, mode):
    _, corner, mirror = draws(30, 1, 2, pad)
    got = crop_and_flip(data.images, corner, mirror, pad, mode)
    for index in range(30):
        at, flip = corner[index].tolist(), bool(mirror[index])
        assert torch.equal(got[index], explicit_crop(data.images[index], at, flip, pad, mode))


@pytest.mark.parametrize("size", [4, 7, 30])
def test_an_image_is_augmented_alike_in_any_batch_size(data, size):
    options = {"seed": 3, "epoch": 1, "pad": 2, "flip": True}
    alone = by_label(batches(data, 1, **options))
    other = by_label(batches(data, size, **options))
    assert alone.keys() == set(range(30)) and len(other) == 30 // size * size
    assert all(torch.equal(alone[i], other[i]) for i in other)


def test_order_is_a_permutation_given_by_seed_and_epoch(data):
    def order(seed, epoch):
        return torch.cat([y for _, y in batches(data, 10, seed=seed, epoch=epoch)]).tolist()

    before = torch.get_rng_state()
    assert order(0, 0) == order(0, 0)
    assert torch.equal(before, torch.get_rng_state())
    assert sorted(order(0, 0)) == list(range(30))
    assert len({tuple(order(s, e)) for s, e in [(0, 0), (0, 1), (1, 0), (1, 1), (10, 0)]}) == 5


def test_epochs_differ_in_crop_and_mirror():
    _, corner, mirror = draws(200, 0, 0, 4)
    _, other_corner, other_mirror = draws(200, 0, 1, 4)
    assert not torch.equal(corner, other_corner)
    assert not torch.equal(mirror, other_mirror)
    assert corner.min() == 0
    assert corner.max() == 8
    assert 70 < mirror.sum() < 130  # 200 fair coins: outside with probability 1e-5


def test_without_pad_and_flip_images_are_only_shuffled(data):
    for i, image in by_label(batches(data, 7, seed=0, epoch=0)).items():
        assert torch.equal(image, data.images[i].float() / 255)


def test_flip_alone_mirrors_some_images_and_changes_no_other(data):
    seen = by_label(batches(data, 30, seed=0, epoch=0, flip=True))
    straight = [torch.equal(seen[i], data.images[i] / 255) for i in range(30)]
    mirrored = [torch.equal(seen[i], data.images[i].flip(-1) / 255) for i in range(30)]
    assert all(a != b for a, b in zip(straight, mirrored, strict=True))
    assert 0 < sum(mirrored) < 30


def test_batches_are_whole_float32_in_range_and_channels_last(data):
    made = list(batches(data, 8, seed=0, epoch=0, pad=1))
    assert [len(y) for _, y in made] == [8, 8, 8]  # what does not fill a batch is left out
    for x, y in made:
        assert x.dtype == torch.float32
        assert y.dtype == torch.int64
        assert 0 <= x.min() <= x.max() <= 1
        assert x.is_contiguous(memory_format=torch.channels_last)


def test_white_is_exactly_one_and_every_level_is_exact():
    levels = torch.arange(256, dtype=torch.uint8).view(1, 1, 16, 16)
    got = Images(levels, torch.zeros(1, dtype=torch.int64)).float()
    assert got.max() == 1
    assert torch.equal((got * 255).round().to(torch.uint8), levels)


def test_in_order_gives_every_image_once_as_it_is(data):
    x, y = (torch.cat(parts) for parts in zip(*in_order(data, 8), strict=True))
    assert torch.equal(x, data.images / 255)
    assert torch.equal(y, data.labels)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"batch": 0}, "batch"),
        ({"batch": 31}, "smaller batch"),
        ({"pad": -1}, "pad"),
        ({"pad": 8}, "pad"),
        ({"pad_mode": "zeros"}, "did you mean 'zero'"),
    ],
)
def test_bad_arguments_are_refused_before_the_first_batch(data, change, words):
    with pytest.raises(UserError, match=words):
        batches(data, **{"batch": 8, "seed": 0, "epoch": 0, **change})
