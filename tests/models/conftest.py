"""Small networks of every kind whose parameters all matter, and what a call of them should give."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from lib.methods import METHODS
from lib.models import create

WIDTH = 4
ALIKE = ("resnet20_40", "vgg16_bn")  # other widths and first weights of resnet20 and vgg16
SLIM = {name for name, method in METHODS.items() if len(method().widths) > 1}
TWICE = {name for name, method in METHODS.items() if method().dual_bn or method().film}
REFUSED = {  # methods that a backbone cannot be built by
    **dict.fromkeys(("mobilenet_v1", "mobilenet_v2", "resnet18_dws", "vgg16_hydra"), SLIM),
    "robnet_free": SLIM | TWICE,
}
SMALL = {"oat": {"code_dim": 8}, "oat_slim": {"code_dim": 8}}


def pytest_collection_modifyitems(items):
    """Leave out what cannot be built, and networks of the same layers as another."""
    for item in items[:]:
        case = item.callspec.params if hasattr(item, "callspec") else {}
        backbone = str(case.get("backbone"))
        if item.path.parent.name == "models" and (
            case.get("method") in REFUSED.get(backbone, ()) or backbone in ALIKE
        ):
            items.remove(item)


def stir(model: nn.Module, seed: int = 3) -> nn.Module:
    """Random alphas, batch-norm affines and statistics, so that wrong routing changes outputs."""
    generator = torch.Generator().manual_seed(seed)
    for name, value in model.state_dict().items():
        if name.endswith("alpha"):
            value.copy_(0.1 + 0.3 * torch.rand(value.shape, generator=generator))
        elif value.dim() == 1 and value.is_floating_point() and "film" not in name:
            value.copy_(0.5 + torch.rand(value.shape, generator=generator))
        elif name.endswith("linear2.bias"):
            value.copy_(1 + torch.rand(value.shape, generator=generator))
    return model


def make(method: str, backbone: str = "resnet20", **options) -> nn.Module:
    """A network whose weights begin as torch's layers do, whatever its backbone: never large."""
    model = create(method, backbone, **{"width": WIDTH, **SMALL.get(method, {}), **options})
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):
            layer.reset_parameters()
    return stir(model).eval()


def plain_state(model: nn.Module, path: str) -> dict[str, torch.Tensor]:
    """Parameters and buffers for the plain backbone, with the batch norms of one path."""
    state = model.state_dict()
    plain = {}
    for name, value in state.items():
        if any(p in name for p in ("alpha", "mask", ".adv.", ".film.", "encoder.", ".slims.")):
            continue
        layer, _, leaf = name.rpartition(".")
        other = f"{layer}.adv.{leaf}"
        plain[name] = state[other] if path == "adv" and other in state else value
    return plain


def weights_by_hand(model: nn.Module, lam: float, noise: torch.Tensor | None) -> dict:
    """(theta + lam alpha sigma eta) * mask for every layer, from the definition in the papers."""
    weights, start = {}, 0
    for name, layer in model.named_modules():
        if not isinstance(layer, nn.Conv2d | nn.Linear) or "film" in name:
            continue
        weight = layer.weight.detach().clone()
        alpha = getattr(layer, "alpha", None)
        if alpha is not None:
            eta = noise[start : start + weight.numel()] if noise is not None else None
            start += weight.numel()
            if lam > 0:
                if weight.dim() == 4:
                    o, i, h, w = weight.shape
                    eta = eta.reshape(o, h, w, i).permute(0, 3, 1, 2)
                weight = weight + lam * alpha.detach() * weight.std() * eta.reshape(weight.shape)
        if getattr(layer, "mask_adv", None) is not None:
            weight = weight * (layer.mask_adv if lam > 0 else layer.mask_clean).float()
        weights[f"{name}.weight"] = weight
    return weights


def film_by_hand(film: nn.Module, code: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    """OAT's modulation written out with matrix products."""
    hidden = code @ film.linear1.weight.T + film.linear1.bias
    hidden = torch.where(hidden > 0, hidden, 0.01 * hidden)
    out = hidden @ film.linear2.weight.T + film.linear2.bias
    out = torch.where(out > 0, out, 0.01 * out)
    channels = x.shape[1]
    return x * out[:, :channels, None, None] + out[:, channels:, None, None]


def oracle(model, method, backbone, x, lam, noise=None, path="") -> torch.Tensor:
    """Logits from the plain network, called with weights made by hand and hooks for FiLM.

    path names its batch norms; without it they go with lam.
    """
    plain = create("plain", backbone, width=WIDTH).eval()
    for name, layer in plain.named_modules():
        film = getattr(model.get_submodule(name), "film", None)
        if film is not None:
            row = model.encoder.lambdas.index(lam)
            code = model.encoder.table[row : row + 1]
            layer.register_forward_hook(
                lambda _, __, out, film=film, code=code: film_by_hand(film, code, out)
            )
    state = plain_state(model, path or ("adv" if lam > 0 and method != "pni" else "clean"))
    state |= weights_by_hand(model, lam, noise)
    return torch.func.functional_call(plain, state, (x,))


@pytest.fixture(name="make")
def _make():
    return make


@pytest.fixture
def plain():
    """Build a plain network in float64 with random batch norms."""
    return lambda backbone, **options: make("plain", backbone, **options).double()


@pytest.fixture
def refused():
    return REFUSED


@pytest.fixture(name="oracle")
def _oracle():
    return oracle


@pytest.fixture(name="weights_by_hand")
def _weights_by_hand():
    return weights_by_hand


@pytest.fixture
def images() -> torch.Tensor:
    """Six 3x8x8 images in [0, 1]."""
    return torch.rand(6, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def loss():
    """A fixed cross-entropy of a call's logits."""
    return lambda logits: F.cross_entropy(logits, torch.arange(len(logits)) % 10)
