"""A network that stands still: images to logits at one lambda, prepared once for many calls.

While an attack climbs, weights, masks, noise scales and the statistics of batch norms stay as they
are. So weights are made once and not in every pass, a batch norm becomes part of the convolution
before it, W x -> gamma / sqrt(var + eps) (W x - mean) + beta, and nothing but the image is
differentiated. The function is that of the network in evaluation mode, up to rounding, with the
same draws of weight noise, fresh in every call.
"""

from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import Tensor, fx, nn

from lib.models.conditional import Conditional
from lib.models.conditional_layers import BatchNorm2d, Noisy
from lib.models.freezing import called, freeze


class Affine(nn.Module):
    """Scales and shifts channels: a batch norm, or the FiLM after it, that stands by itself."""

    scale: Tensor  # (1 or N, C, 1, 1)
    shift: Tensor

    def forward(self, x: Tensor) -> Tensor:
        return torch.addcmul(self.shift, x, self.scale)


class Standing:
    """Prepares a network for attacks, anew for each as it trains between them."""

    def __init__(self, model: nn.Module, backend: str = "") -> None:
        """Take a network, and a backend of torch.compile for what it is while it stands."""
        self.model, self.backend = model, backend
        self.skeletons: dict[tuple[float, bool], Skeleton | None] = {}
        size = model.noise_size if isinstance(model, Conditional) else 0
        self.noise = next(model.parameters(), torch.zeros(0)).detach().new_zeros(size)

    def still(self, f: Any) -> Callable[[Tensor], Tensor] | None:
        """Return what f computes: the network itself, or a partial call of it with keywords.

        None where f is something else, takes images through two paths at once, or cannot be
        prepared: torch.fx cannot trace it, or it has weights that `Skeleton` knows nothing of.
        """
        call = f.keywords if isinstance(f, partial) else {}
        lam = call.get("lam")
        mixed = call.get("split") is not None or (isinstance(lam, Tensor) and not lam.all())
        network = getattr(f, "func", f)
        if mixed or getattr(network, "_orig_mod", network) is not self.model:  # maybe compiled
            return None
        return self.at(**call)

    @torch.no_grad()
    def at(
        self, lam: float | Tensor | None = None, *, slim: float = 1.0, **call: Any
    ) -> Callable[[Tensor], Tensor] | None:
        """Return images (N, C, H, W) to logits with the weights of now, until `at` is called again.

        lam, slim and call (noise, threshold) are those of a call; several lam must lie above 0.
        """
        each = isinstance(lam, Tensor)
        if (slim, each) not in self.skeletons:
            self.skeletons[slim, each] = self._made(slim, each)
        skeleton = self.skeletons[slim, each]
        if skeleton:
            with called(self.model, lam, slim, **{"noise": self.noise, **call}):
                skeleton.fill()
        return skeleton

    def _made(self, slim: float, each: bool) -> "Skeleton | None":
        plain = freeze(self.model, slim=slim, noise=self.noise).eval()
        try:
            graph = fx.symbolic_trace(plain)
        except Exception:  # it raises whatever a forward raises that is given no tensor
            return None
        made = Skeleton(self.model, graph, each, self.noise)
        if any(True for _ in graph.parameters()):  # which would stay as they are now
            return None
        if self.backend:
            made.graph = torch.compile(graph, dynamic=False, backend=self.backend)
        return made


class Skeleton:
    """The plain network of one width; its weights are put in from the network that trains."""

    def __init__(self, model: nn.Module, graph: fx.GraphModule, each: bool, noise: Tensor) -> None:
        """Join what can be joined; where each image has its lambda, FiLM stands by itself."""
        self.model, self.noise = model, noise
        self.graph: Any = graph
        nodes = [node for node in self.graph.graph.nodes if node.op == "call_module"]
        times = Counter(node.target for node in nodes)
        self.weighted: dict[str, Any] = {}
        self.norms: list[tuple[str, str, Affine | None]] = []  # convolution before, module after
        for node in nodes:
            layer, before = self.graph.get_submodule(node.target), node.args[0]
            if isinstance(layer, nn.Conv2d | nn.Linear):
                self.weighted[node.target] = layer
            if not isinstance(layer, nn.BatchNorm2d) or layer.running_var is None:
                continue
            once = times[node.target] == times.get(before.target) == len(before.users) == 1
            conv = before.target if once and before.target in self.weighted else ""
            film = each and getattr(model.get_submodule(node.target), "film", None) is not None
            self.norms.append((node.target, conv, Affine() if film or not conv else None))
            if self.norms[-1][2] is None:
                node.replace_all_uses_with(before)
                self.graph.graph.erase_node(node)
            else:
                self.graph.set_submodule(node.target, self.norms[-1][2])
        for layer in self.weighted.values():
            del layer.weight, layer.bias  # plain tensors come in their place
        self.graph.delete_all_unused_submodules()
        self.graph.recompile()

    def fill(self) -> None:
        """Put in the weights of the call that the network is in."""
        sources: dict[str, Any] = {n: self.model.get_submodule(n) for n in self.weighted}
        condition = self.model.condition if isinstance(self.model, Conditional) else None
        fresh = condition is not None and condition.noise is self.noise  # drawn in every call
        noisy = {n: s for n, s in sources.items() if getattr(s, "alpha", None) is not None}
        noisy = noisy if fresh else {}
        if noisy:
            self.noise.zero_()
        weights = {name: _weight(source) for name, source in sources.items()}
        if noisy:
            self.noise.fill_(1.0)  # weights are affine in their noise
        sizes = {name: _weight(source) - weights[name] for name, source in noisy.items()}
        biases = {name: _bias(source, weights[name]) for name, source in sources.items()}
        for name, conv, affine in self.norms:
            scale, shift, film = _moments(self.model.get_submodule(name))
            if film is not None and not (conv and affine):
                scale, shift, film = film[0] * scale, film[0] * shift + film[1], None
            if conv:
                for values in (weights, sizes):
                    if conv in values:
                        values[conv] = values[conv] * scale.view(-1, 1, 1, 1)
                old = biases[conv]
                biases[conv] = shift[0] if old is None else old * scale[0] + shift[0]
                scale, shift = film or (scale, shift)
            if affine:
                affine.scale, affine.shift = (_cast(t[:, :, None, None]) for t in (scale, shift))
        for name, layer in self.weighted.items():
            layer.weight, layer.bias = _cast(weights[name]), _cast(biases[name])
        self.drawn = [self.weighted[name] for name in noisy]
        self.values, self.sizes = [weights[name] for name in noisy], [*sizes.values()]
        shapes = {name: weights[name].shape for name in noisy}  # of a slim network's share
        etas = {name: source.eta(self.noise) for name, source in noisy.items()}
        self.etas = [eta[: shapes[name][0], : shapes[name][1]] for name, eta in etas.items()]

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits (N, K) of images x (N, C, H, W)."""
        if self.drawn:
            self.noise.normal_()
            weights = torch._foreach_addcmul(self.values, self.etas, self.sizes)
            for layer, weight in zip(self.drawn, weights, strict=True):
                layer.weight = weight
        return self.graph(x)


def _weight(layer: Any) -> Tensor:
    return (layer.effective_weight() if isinstance(layer, Noisy) else layer.weight).detach()


def _bias(layer: Any, weight: Tensor) -> Tensor | None:
    return None if layer.bias is None else layer.bias[: len(weight)].detach()


def _moments(norm: Any) -> tuple[Tensor, Tensor, tuple[Tensor, Tensor] | None]:
    """Return scale and shift (1, C) of a batch norm, and FiLM's (1 or N, C) after it, if any."""
    active: Any = norm.active() if isinstance(norm, BatchNorm2d) else norm
    weight, bias = (active.weight, active.bias) if active.affine else (1.0, 0.0)
    scale = weight / (active.running_var + active.eps).sqrt()
    shift = bias - active.running_mean * scale
    code = norm.condition.code if isinstance(norm, BatchNorm2d) else None
    film: Any = None if code is None or norm.film is None else norm.film.affine(code)
    return scale[None], shift[None], film


def _cast(values: Any) -> Any:
    """Return values, if any, in the precision that layers compute in here."""
    if values is None or not torch.is_autocast_enabled(values.device.type):
        return values
    return values.to(torch.get_autocast_dtype(values.device.type))
