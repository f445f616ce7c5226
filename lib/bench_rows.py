"""What the bench measures: training steps, attacks, inference, batch, store, peak and growth.

Training steps compete with the eager ones of `lib.bench_reference`, on random 32x32 images that
both hold in memory. Nothing is read from or written to the results of this repository.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import torch
from torch import nn

from lib import bench_reference, cost, device, runs, scoring, timing
from lib.bench import Call, Group, Growth, Makers, Places, Rate
from lib.bench_whole import batch, store
from lib.data import Images
from lib.method import Method
from lib.methods import METHODS, Float, FloatSlim, Plain
from lib.protocol import Protocol
from lib.recipe import EPS_DEFAULT, Data, Model, Recipe, Train
from lib.sparsity import Momentum

COMPARED = ("plain", "pgd_at", "oat", "float", "smart")
NETWORKS = (("resnet18", 16), ("resnet34", 16), ("resnet34", 64))
STEPS = 7
SMALL: dict[str, Any] = {"eps": 0.5 / 255, "steps": 5, "queries": 50}  # of AutoAttack


def _is_gpu() -> bool:
    return device.device().type == "cuda"


def _images_of(n: int) -> Images:
    draws = torch.Generator().manual_seed(0)
    x = torch.randint(256, (n, 3, 32, 32), dtype=torch.uint8, generator=draws)
    return Images(x, torch.randint(10, (n,), generator=draws)).to(device.device())


def _recipe_of(method: Method, backbone: str, width: int, batch: int, **more: Any) -> Recipe:
    train = Train(epochs=1_000, batch=batch, lr=1e-4)
    return Recipe(Data("cifar10"), Model(backbone, width), method, train, **more)


def _step_of(recipe: Recipe, places: Places) -> Call:
    return partial(next, timing.endless(timing.trainer(recipe, _images_of(4 * recipe.train.batch))))


def _eager(method: str, backbone: str, width: int, batch: int, places: Places) -> Call:
    model = bench_reference.network(method, backbone, width)
    step = bench_reference.training(method, model, EPS_DEFAULT, STEPS)
    images = _images_of(batch)
    return partial(step, images.float().contiguous(), images.labels)


def _product(n: int, places: Places) -> Call:
    kind = torch.bfloat16 if device.used_precision("auto", 32) == "bf16" else torch.float32
    a, b = (torch.randn(n, n, device=device.device()).to(kind) for _ in range(2))
    return lambda: torch.mm(a, b)


def training(backbone: str, width: int) -> Group:
    """Steps of all methods on one network, and their share of the peak."""
    batch, side = (128, 8192) if _is_gpu() else (64, 2048)
    at = f"{backbone}-w{width}"
    rows, makers = dict[str, Any](), {"product": partial(_product, side)}
    for name in COMPARED:
        recipe = _recipe_of(METHODS[name](), backbone, width, batch)
        makers[name] = partial(_step_of, recipe)
        makers[f"eager {name}"] = partial(_eager, name, backbone, width, batch)
        rows[f"train/{name}/{at}"] = Rate("images/s", name, f"eager {name}", batch)
    for name in ("float", "smart"):
        rows[f"train/{name}-vs-oat/{at}"] = Rate("images/s", name, "eager oat", batch)
    for name in COMPARED:
        macs = cost.report(name, backbone, width)["macs"] * METHODS[name]().passes(STEPS)
        done = 2e-9 * macs * batch
        rows[f"peak/{name}/{at}"] = Rate("GFLOP/s", name, "product", done, 2e-9 * side**3)
    return Group(rows, makers, 6 if width == 64 else 7, 480 if width == 64 else 80)


def _attacked(network: tuple[str, int], n: int) -> tuple[nn.Module, nn.Module, Images]:
    """Return an untrained network, ours and the eager one, and images with what it calls them."""
    ours = runs.build(_recipe_of(Plain(), *network, batch=2)).eval()
    eager = bench_reference.network("plain", *network).eval()
    eager.load_state_dict(ours.state_dict())
    images = _images_of(n)
    with torch.no_grad():
        labels = eager(images.float()).argmax(1)
    return ours, eager, Images(images.images, labels)


def _scored(network: tuple[str, int], n: int, protocol: Protocol, places: Places) -> Call:
    """Return the scoring of images under an attack, as evaluations do it."""
    ours, _, images = _attacked(network, n)
    return partial(scoring.correct, ours, images, protocol)


def _driven(network: tuple[str, int], n: int, drive: Any, places: Places) -> Call:
    _, eager, images = _attacked(network, n)
    return partial(drive(eager), images.float().contiguous(), images.labels)


def _foolbox(model: nn.Module) -> Callable[..., object]:
    import foolbox as fb

    attack = fb.attacks.LinfPGD(rel_stepsize=1.25 / 7, steps=20)
    bounded = fb.PyTorchModel(model, bounds=(0, 1), device=device.device())
    return lambda x, y: attack(bounded, x, y, epsilons=EPS_DEFAULT)


def _package(model: nn.Module) -> Callable[..., object]:
    from pyautoattack import AutoAttack

    whole = AutoAttack(model, eps=SMALL["eps"], seed=0, device=device.device())
    for part in (whole.apgd, whole.apgd_targeted, whole.fab):
        part.n_iter = part.n_iter_orig = SMALL["steps"]
    whole.square.n_queries = SMALL["queries"]
    return lambda x, y: whole.run_standard_evaluation(x, y, batch_size=len(x))


def attacks() -> list[Group]:
    """PGD-20 against foolbox, AutoAttack against its package; all in float32."""
    found = []
    for name, network, n, protocol, other, drive in (
        ("pgd20", NETWORKS[-1], 8, {"attack": "pgd", "steps": 20}, "foolbox", _foolbox),
        ("autoattack", NETWORKS[0], 16, {"attack": "autoattack", **SMALL}, "package", _package),
    ):
        n = 100 if _is_gpu() else n
        ours = partial(_scored, network, n, Protocol(**protocol))
        makers: Makers = {name: ours, other: partial(_driven, network, n, drive)}
        found.append(Group({f"attack/{name}": Rate("images/s", name, other, n)}, makers, 5, 40))
    return found


def inference() -> Group:
    """Forms in which a network is deployed at lam = 1, against the plain one in eager float32."""
    backbone, width, batch = "resnet34", 64, 256 if _is_gpu() else 8
    recipe = partial(_recipe_of, backbone=backbone, width=width, batch=4)
    pruned = Momentum(density=0.34, granularity="channel")
    forms: dict[str, Callable[[], nn.Module]] = {
        "plain": lambda: timing.deployable(recipe(Plain()), 1.0),
        "freeze": lambda: timing.deployable(recipe(Float()), 1.0),
        "compact": lambda: timing.deployable(recipe(Float(), sparsity=pruned), 1.0),
        "slim": lambda: timing.deployable(recipe(FloatSlim()), 0.5),
    }

    def call(build: Callable[[], nn.Module], kind: torch.dtype, places: Places) -> Call:
        model = build().to(kind)
        x = _images_of(batch).float().to(kind)  # in channels_last
        return partial(torch.no_grad()(model), x)

    def eager(places: Places) -> Call:
        model = bench_reference.network("plain", backbone, width).eval()
        return partial(torch.no_grad()(model), _images_of(batch).float().contiguous())

    def noisy(places: Places) -> Call:
        model = runs.build(recipe(Float())).eval()
        return partial(torch.no_grad()(model), _images_of(batch).float(), lam=1.0)

    makers: dict[str, Any] = {n: partial(call, form, torch.float32) for n, form in forms.items()}
    makers["noise"] = noisy  # drawn anew for every batch
    if device.used_precision("auto", 32) == "bf16":
        makers |= {f"{n}-bf16": partial(call, form, torch.bfloat16) for n, form in forms.items()}
    rows = {f"inference/{name}": Rate("images/s", name, "eager", batch) for name in makers}
    return Group(rows, {**makers, "eager": eager}, 9, 40)


def growth() -> list[Group]:
    """Seconds of FLOAT's training by images, epochs and width, of PGD by its steps."""
    backbone, width, batch = ("resnet34", 64, 128) if _is_gpu() else ("resnet18", 8, 32)
    images = [batch * k for k in (1, 2, 4, 8)]
    recipe = _recipe_of(Float(), backbone, width, batch)

    def trained(n: int, epochs: int, places: Places) -> Call:
        trainer = timing.trainer(recipe, _images_of(n))
        return lambda: [trainer.epoch() for _ in range(epochs)]

    def attacked(steps: int, places: Places) -> Call:
        model = runs.build(_recipe_of(Plain(), backbone, width, batch))  # scored in one pass
        protocol = Protocol(attack="pgd", steps=steps)
        return partial(scoring.correct, model, _images_of(4 * batch), protocol)

    def widened(width: int, places: Places) -> Call:
        return _step_of(_recipe_of(Float(), "resnet18", width, batch), places)

    def group(what: str, make: Any, sizes: list[int], expected: float, guess: float) -> Group:
        growing = Growth({f"{what} {n}": float(n) for n in sizes}, expected)
        makers = {f"{what} {n}": partial(make, n) for n in sizes}
        return Group({f"growth/{what}": growing}, makers, 7, guess)

    widths = [16, 32, 64, 128] if _is_gpu() else [8, 16, 32, 64]
    return [
        group("images", lambda n, places: trained(n, 1, places), images, 1.0, 30),
        group("epochs", partial(trained, batch), [1, 2, 4, 8], 1.0, 30),
        group("steps", attacked, [10, 20, 40, 80], 1.0, 20),
        group("width", widened, widths, 2.0, 40),
    ]


def groups() -> list[Group]:
    """Return everything that the bench measures."""
    steps = [training(backbone, width) for backbone, width in NETWORKS]
    return [*steps, *attacks(), inference(), batch(), store(), *growth()]
