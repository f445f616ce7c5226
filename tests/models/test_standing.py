"""Networks that stand still compute what the networks themselves do in evaluation mode."""

from functools import partial

import pytest
import torch
from torch import fx, nn

from lib.methods import METHODS
from lib.models import BACKBONES, create
from lib.models.standing import Standing

CASES = [(method, backbone) for method in METHODS for backbone in BACKBONES]


def network(method: str, backbone: str = "resnet18", **options) -> nn.Module:
    """A narrow network in float64 whose batch norms are not those of a fresh one."""
    width = 2 if "slim" in method or backbone.startswith("resnet") else 1
    model = create(method, backbone, width=width, **options).double().eval()
    for norm in model.modules():
        if isinstance(norm, nn.BatchNorm2d):
            norm.running_mean.normal_(0, 0.1)
            norm.running_var.uniform_(0.5, 2)
            if norm.affine:
                norm.weight.data.uniform_(0.5, 1.5)
                norm.bias.data.normal_(0, 0.1)
    return model


def calls(method: str) -> list[dict]:
    kind = METHODS[method]
    found = [{"lam": lam} for lam in (0.0, 0.2, 1.0)] if kind.conditional else [{}]
    if kind.rescales:
        found.append({"lam": 0.7, "threshold": 0.2})
    if kind().film:
        found.append({"lam": torch.tensor([0.2, 0.7, 0.2, 1.0, 1.0, 0.7])})
    return found + [{**call, "slim": 0.5} for call in found if len(kind().widths) > 1]


def logits_and_gradient(f, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(3)
    x = x.clone().requires_grad_()
    logits = f(x)
    return logits.detach(), torch.autograd.grad(logits.logsumexp(1).sum(), x)[0]


def assert_equal_functions(f, g, x):
    for ours, theirs in zip(logits_and_gradient(f, x), logits_and_gradient(g, x), strict=True):
        torch.testing.assert_close(ours, theirs, rtol=1e-8, atol=1e-8 * float(theirs.abs().max()))


@pytest.mark.parametrize(("method", "backbone"), CASES)
def test_logits_gradients_and_draws_are_those_of_the_network(method, backbone, images):
    model = network(method, backbone, prunable=method in ("plain", "float"))
    for name, buffer in model.named_buffers():
        if name.endswith(".mask"):
            buffer.copy_(torch.rand(buffer.shape) < 0.5)
    standing = Standing(model)
    for call in calls(method):
        f = partial(model, **call) if call else model
        assert_equal_functions(standing.still(f), f, images.double())


@pytest.mark.parametrize("method", ["pgd_at", "oat", "smart"])
def test_weights_and_statistics_are_those_of_the_moment(method, images):
    model = network(method)
    standing, f = Standing(model), partial(model, lam=1.0) if method != "pgd_at" else model
    standing.still(f)
    with torch.no_grad():
        for tensor in (*model.parameters(), *model.buffers()):
            if tensor.is_floating_point():
                tensor.mul_(1.1)
    assert_equal_functions(standing.still(f), f, images.double())


def test_frozen_noise_is_the_noise_of_every_call(images):
    model = network("float")
    f = partial(model, lam=1.0, noise=model.draw_noise())
    still = Standing(model).still(f)
    assert torch.equal(still(images.double()), still(images.double()))
    assert_equal_functions(still, f, images.double())


def test_no_random_number_is_drawn_and_nothing_of_the_network_changes_by_preparing():
    model = network("pni")
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    state = torch.get_rng_state()
    Standing(model).at(lam=1.0)
    assert torch.equal(torch.get_rng_state(), state)
    assert all(torch.equal(before[name], t) for name, t in model.state_dict().items())
    assert all(p.requires_grad and p.grad is None for p in model.parameters())


class Twice(nn.Module):
    """One convolution used twice, once before a batch norm."""

    def __init__(self):
        super().__init__()
        self.conv, self.norm = nn.Conv2d(3, 3, 3, padding=1), nn.BatchNorm2d(3)
        self.fc = nn.Linear(3, 10)

    def forward(self, x):
        return self.fc((self.norm(self.conv(x)) + self.conv(x)).mean((2, 3)))


class Choosing(Twice):
    def forward(self, x):
        return super().forward(x if x.mean() > 0 else -x)


@pytest.mark.parametrize("affine", [True, False])
def test_a_batch_norm_joins_no_convolution_whose_output_has_another_use(images, affine):
    model = Twice().double().eval()
    model.norm = nn.BatchNorm2d(3, affine=affine).double().eval()
    model.norm.running_var.fill_(3)
    assert_equal_functions(Standing(model).still(model), model, images.double())


def test_what_cannot_be_prepared_is_left_to_the_network():
    oat, other, choosing = network("oat"), network("oat"), Choosing()
    standing = Standing(oat)
    assert standing.still(other) is None
    assert standing.still(lambda x: oat(x, lam=1.0)) is None
    assert standing.still(partial(oat, lam=0.0, split=3)) is None
    assert standing.still(partial(oat, lam=torch.tensor([0.0, 1.0]))) is None
    assert Standing(choosing).still(choosing) is None
    model = Twice()
    for norm in (nn.GroupNorm(1, 3), nn.BatchNorm2d(3, track_running_stats=False)):
        model.norm = norm  # whose weights would be those of the first attack for good
        assert Standing(model).still(model) is None


def test_what_cannot_be_prepared_is_not_tried_again(monkeypatch):
    model, tried, trace = Choosing(), [], fx.symbolic_trace
    monkeypatch.setattr(fx, "symbolic_trace", lambda m: tried.append(m) or trace(m))
    standing = Standing(model)
    assert [standing.still(model) for _ in range(3)] == [None] * 3 and len(tried) == 1
