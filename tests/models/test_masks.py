"""Path masks: shares, exact counts, what is refused."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from lib.errors import UserError
from lib.models import create
from lib.models.masks import draw, parse_pattern, share_out


@st.composite
def shares(sample):
    """A density and an overlap that two masks of it can have."""
    density = sample(st.integers(0, 10_000))
    overlap = sample(st.integers(max(0, 2 * density - 10_000), density))
    return density / 10_000, overlap / 10_000


@given(shares(), st.integers(1, 500))
def test_exact_counts_sum_up_and_are_within_one_of_their_share(share, total):
    density, overlap = share
    counts = share_out(total, density, overlap)
    one = density - overlap
    ideal = [overlap * total, one * total, one * total, (1 - density - one) * total]
    assert sum(counts) == total
    assert all(
        count >= 0 and abs(count - want) < 1 + 1e-6
        for count, want in zip(counts, ideal, strict=True)
    )


@given(shares(), st.integers(0, 2**31))
@settings(max_examples=40, deadline=None)
def test_exact_masks_have_the_counts_asked_for(share, seed):
    density, overlap = share
    generator = torch.Generator().manual_seed(seed)
    clean, adv = draw((7, 3, 3, 3), density, overlap, True, generator)
    both, only_clean, only_adv, _ = share_out(189, density, overlap)
    assert int((clean & adv).sum()) == both
    assert int((clean & ~adv).sum()) == only_clean
    assert int((adv & ~clean).sum()) == only_adv


@pytest.mark.parametrize(
    ("density", "overlap"), [(0.5, 0.25), (0.5, 0.0), (0.5, 0.5), (0.8, 0.6), (0.1, 0.05)]
)
def test_random_masks_have_their_shares_within_five_sigma(density, overlap):
    clean, adv = draw((300, 300), density, overlap, generator=torch.Generator().manual_seed(0))
    for share, mask in ((density, clean), (density, adv), (overlap, clean & adv)):
        sigma = (share * (1 - share) / mask.numel()) ** 0.5
        assert abs(mask.float().mean().item() - share) <= 5 * sigma


def test_disjoint_masks_of_half_density_are_complements():
    clean, adv = draw((50, 50), 0.5, 0.0)
    assert torch.equal(clean, ~adv)


@pytest.mark.parametrize("written", ["DDSS", "D D S S", "[D D S S]", "ddss", " [DDSS] "])
def test_patterns_may_be_written_as_in_the_paper(written):
    assert parse_pattern(written, 4) == "DDSS"


def test_without_a_pattern_the_last_two_stages_are_sparse():
    assert parse_pattern(None, 4) == "DDSS"
    assert parse_pattern(None, 3) == "DSS"


@pytest.mark.parametrize("written", ["DDS", "DDSSS", "DDXS", ""])
def test_patterns_that_do_not_fit_are_refused(written):
    with pytest.raises(UserError, match="needs 4 letters"):
        create("smart", "resnet18", width=4, pattern=written)


def masked_layers(model):
    return {
        name
        for name, layer in model.named_modules()
        if getattr(layer, "mask_clean", None) is not None
    }


def test_only_3x3_convolutions_of_sparse_stages_are_masked():
    names = masked_layers(create("smart", "resnet18", width=4, pattern="DSDS"))
    expected = {
        f"layer{stage}.{block}.conv{conv}"
        for stage in (2, 4)
        for block in (0, 1)
        for conv in (1, 2)
    }
    assert names == expected


def test_shortcuts_are_masked_when_asked_for():
    names = masked_layers(create("smart", "resnet18", width=4, mask_shortcuts=True))
    assert {"layer3.0.downsample.0", "layer4.0.downsample.0"} <= names
    assert "layer2.0.downsample.0" not in names


def test_a_mask_seed_fixes_the_masks_and_nothing_else():
    models = []
    for seed, mask_seed in ((0, 7), (1, 7), (0, 8)):
        torch.manual_seed(seed)
        models.append(create("smart", "resnet20", width=4, mask_seed=mask_seed).state_dict())
    name = "layer3.0.conv1"
    assert torch.equal(models[0][f"{name}.mask_adv"], models[1][f"{name}.mask_adv"])
    assert not torch.equal(models[0][f"{name}.mask_adv"], models[2][f"{name}.mask_adv"])
    assert torch.equal(models[0][f"{name}.weight"], models[2][f"{name}.weight"])
    assert not torch.equal(models[0][f"{name}.weight"], models[1][f"{name}.weight"])
