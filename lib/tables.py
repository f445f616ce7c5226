"""Tables of a study: what was trained, how it was attacked, the paper's numbers, ours, verdicts."""

import math
import re
from collections.abc import Mapping, Sequence
from itertools import permutations
from typing import Any

import pandas as pd

from lib import flags
from lib.claims import counts
from lib.intervals import Estimate, accuracy, difference
from lib.protocol import Protocol
from lib.study import Job, Study

Where = Mapping[str, Any]
FROM_255 = 255  # pixels are in [0, 1]; papers give radii in 1/255
DATASETS = {
    "cifar10": "CIFAR-10",
    "cifar100": "CIFAR-100",
    "svhn": "SVHN",
    "stl10": "STL-10",
    "tiny_imagenet": "Tiny-ImageNet",
}
BACKBONES = {"preact_resnet": "PreActResNet", "resnet": "ResNet", "wrn": "WRN", "vgg": "VGG"}
SPELT = {  # the others
    "mobilenet_v1": "MobileNetV1",
    "mobilenet_v2": "MobileNetV2",
    "preact_resnet18_admm": "PreActResNet-18 without final norm",
    "resnet18_dws": "ResNet-18 (DWS)",
    "resnet20_40": "ResNet-20 (40 to 160 channels)",
    "resnet50_imagenet": "ResNet-50 (ImageNet)",
    "robnet_free": "RobNet-free",
    "vgg16_bn": "VGG-16-BN",
    "vgg16_hydra": "VGG-16 (HYDRA)",
}
ATTACKS = {
    "fgsm": "FGSM",
    "aa": "AutoAttack",
    "union": "union",
    "aa-rand": "AutoAttack",
    "aa-rand-all": "AutoAttack, all draws",
}
WORDS = {r"-(l[12])(-sparse)?-step([\d.]+)": r"-\1\2, step \3", r"-(l[12])": r", \1"}
WORDS |= {"-sparse": " of few pixels", r"(?<=\d)x(\d+)": r", \1 restarts"}
WORDS |= {r"-step([\d.]+)": r", step \1/255", r"-eot(\d+)": r", \1 draws"}  # parts of the names
# Columns of protocols that are left out where empty
RARE = ("draws that score", "AutoAttack", "queries", "slimming factor", "flags")


def networks(study: Study, runs: Mapping[str, Any]) -> pd.DataFrame:
    """Return one row for every network of a study: recipe, loss at the end, seconds, key."""
    rows = []
    for key, recipe in study.recipes.items():
        history = runs[key].history
        row = {
            "network": next(job.label for job in study.jobs if job.recipe.key == key),
            "training λ": getattr(recipe.method, "lam", ""),
            "seed": recipe.seed,
            "data": recipe.data.dataset,
            "images": recipe.data.train_images or "all",
            "backbone": recipe.model.backbone,
            "width": recipe.model.width or "paper's",
            "epochs": recipe.train.epochs,
            "last loss": round(float(history["loss"].iloc[-1]), 3) if len(history) else "",
            "seconds": runs[key].info["seconds"],
            "run": key,
        }
        rows.append(row)
    found = pd.DataFrame(rows)
    return found if found["training λ"].ne("").any() else found.drop(columns="training λ")


def protocols(study: Study) -> pd.DataFrame:
    """Return one row for every way of scoring that a study uses, radii in 1/255.

    Columns that only AutoAttack, noisy or slimmed networks fill are there where one is scored.
    flags are what a reader may doubt before anything is measured, on one of the networks at least.
    """
    rows = [
        _protocol(p, job) | {"λ": job.lam(p), "flags": marks}
        for job in study.jobs
        for p, marks in flags.of_job(job).items()
    ]
    found = pd.DataFrame(rows)
    ways = found.columns.drop(["λ", "flags"]).to_list()
    found = found.groupby(ways, sort=False)[["λ", "flags"]].agg(set).reset_index()
    found["λ"] = [", ".join(f"{lam:g}" for lam in sorted(lams)) for lams in found["λ"]]
    found["flags"] = [", ".join(c.says for c in flags.among(of)) for of in found["flags"]]
    return found.drop(columns=[name for name in RARE if found[name].eq("").all()])


def _protocol(protocol: Protocol, job: Job) -> dict[str, Any]:
    attacked = protocol.attack != "none"
    stepwise = protocol.attack == "pgd"
    automatic = protocol.attack == "autoattack"  # chooses the size of its steps itself
    standard = automatic and protocol.version == "standard"
    draws = 1 if standard else protocol.eot
    scored = protocol.draws(job.recipe.method)
    return {
        "images": protocol.images or "all",
        "attack": protocol.name if attacked else "none (clean)",
        "norm": protocol.norm if attacked else "",
        "ε, 1/255": f"{FROM_255 * protocol.eps:.4g}" if attacked else "",
        "step, 1/255": f"{FROM_255 * protocol.used_step:.3g}" if stepwise else "",
        "steps": protocol.steps if stepwise or automatic else "",
        "restarts": protocol.restarts if stepwise else "",
        "draws of noise per gradient": draws if attacked else "",
        "draws that score": scored if scored > 1 else "",
        "noise": protocol.noise,
        "AutoAttack": protocol.version if automatic else "",
        "queries": protocol.queries if standard else "",
        "slimming factor": protocol.slim if protocol.slim != 1 else "",
    }


def shown(rows: pd.DataFrame) -> Estimate:
    """Return an accuracy as figures and tables show it, with its 95 % interval.

    For one seed the interval is of its test images only; for several it is of their mean, images
    and spread. Verdicts allow for the spread in either case.
    """
    if len(rows) == 1:
        return Estimate(*rows[["value", "ci_low", "ci_high"]].iloc[0].astype(float))
    return accuracy(rows)


def cell(rows: pd.DataFrame) -> str:
    """Return an accuracy in percent with its interval, '57.8 [55.6, 59.9]', a mean over seeds.

    Ratios have a digit more. Marks of its flags follow, as in '57.8 [55.6, 59.9] †sn'.
    """
    found, digits = shown(rows), 1 if rows["metric"].iloc[0].endswith("_acc") else 2
    value, low, high = (f"{x:.{digits}f}" for x in (found.value, found.low, found.high))
    return f"{value} [{low}, {high}]{flags.shown(rows.get('flags', []))}"


def plain(rows: pd.DataFrame) -> str:
    """Return a number, a mean over rows: accuracies with two decimals, as papers print them."""
    value = float(rows["value"].mean())
    return f"{value:.2f}" if rows["metric"].iloc[0].endswith("_acc") else f"{value:.4g}"


def as_printed(rows: pd.DataFrame) -> pd.DataFrame:
    """Return rows with networks and attacks named as papers do: without a width, without a step."""
    named = {"backbone": {r"-\d+$": ""}, "attack": {r"-step[\d.]+": ""}}
    return rows.replace(named, regex=True)


def matching(frame: pd.DataFrame, where: Where) -> pd.DataFrame:
    """Return the rows whose columns have the given values; there may be none."""
    for name, value in where.items():
        frame = frame[frame[name] == value]
    return frame


def beside(
    ours: pd.DataFrame,
    paper: pd.DataFrame,
    rows: Mapping[str, Where],
    columns: Mapping[str, Where],
    heading: str = "",
) -> pd.DataFrame:
    """Return the paper's numbers and below each of them ours, with intervals where measured.

    rows and columns map what is shown to the values of columns that it stands for.
    """
    out = []
    for name, row in rows.items():
        for source, frame in (("paper", paper), ("ours", ours)):
            each = {title: _entry(matching(frame, {**row, **of})) for title, of in columns.items()}
            out.append({heading: name, "numbers": source, **each})
    return pd.DataFrame(out)


def _entry(rows: pd.DataFrame) -> str:
    if rows.empty:
        return ""
    return cell(rows) if "n" in rows and rows["n"].notna().all() else plain(rows)


def outline(metrics: pd.DataFrame, columns: Sequence[str]) -> pd.DataFrame:
    """Return accuracies as text, one row for each network and trade-off, for a first look.

    They are rounded and flagged as in `cell`; what was not measured is blank.
    """
    rows = metrics[metrics["metric"].isin(("clean_acc", "robust_acc"))]
    attack = rows["attack"].where(rows["metric"] == "robust_acc", "clean")
    rows = rows.assign(score=attack, marks=rows["flags"].fillna("") if "flags" in rows else "")
    by = {"index": list(columns), "columns": "score", "sort": False}
    wide = rows.pivot_table(values="value", **by)
    marks = rows.pivot_table(values="marks", aggfunc="sum", **by).reindex_like(wide).fillna("")
    said = wide.map(lambda value: "" if math.isnan(value) else f"{value:.1f}")
    told = Flagged(said + marks.map(lambda text: flags.shown([text])))
    told.attrs["legend"] = flags.legend(rows)
    return told


class Flagged(pd.DataFrame):
    """A table that a notebook shows with what its marks mean below it."""

    def _repr_html_(self) -> str:
        return f"{super()._repr_html_()}<p>{self.attrs.get('legend', '')}</p>"


def attack_name(attack: str) -> str:
    """Return an attack as papers write it: 'PGD-7' for 'pgd7', 'AutoAttack' for 'aa-rand'.

    A step is in pixels of [0, 1]: 'PGD-20, step 0.5/255' for 'pgd20-step0.5'; 'PGD-7, 2 restarts,
    3 draws' for 'pgd7x2-eot3'.
    """
    spelt = attack.replace("pgd", "PGD-")
    for short, long in WORDS.items():
        spelt = re.sub(short, long, spelt)
    return ATTACKS.get(attack, spelt)


def dataset_name(dataset: str) -> str:
    """Return the usual spelling of a data set."""
    return DATASETS.get(dataset, dataset)


def backbone_name(backbone: str) -> str:
    """Return the usual spelling of a backbone: 'WRN-16-8, width 1' of 'wrn16_8-1'."""
    network, _, width = backbone.partition("-")
    family = network.rstrip("_0123456789")
    if network in SPELT:
        network = SPELT[network]
    elif family in BACKBONES:
        network = f"{BACKBONES[family]}-{network.removeprefix(family).replace('_', '-')}"
    return f"{network}, width {width}" if width else network


def weaker(metrics: pd.DataFrame) -> str:
    """Say where an attack of more steps leaves more images right than one of fewer, or nowhere.

    metrics are of one data set and network; accuracies are means over seeds. Where the interval
    of a difference reaches zero, it is counted but not shown.
    """
    rows = metrics[metrics["metric"] == "robust_acc"]
    cases: dict[str, list[str]] = {}
    chance, unequal = 0, False
    for (method, lam), group in rows.groupby(["method", "lam"], sort=False):
        for (more, a), (fewer, b) in permutations(group.groupby("attack", sort=False), 2):
            if _steps(more) <= _steps(fewer) or a["value"].mean() <= b["value"].mean():
                continue
            if difference(a, b).low <= 0:
                chance += 1
                continue
            pair = f"{method} under {attack_name(more)} and {attack_name(fewer)}"
            images = [of["n"].min() for of in (a, b)]
            if images[0] != images[1]:
                pair += f" (on {images[0]:.0f} and {images[1]:.0f} images)"
                unequal = True
            found = f"{a['value'].mean():.1f} and {b['value'].mean():.1f} % at λ = {lam:g}"
            cases.setdefault(pair, []).append(found)
    noun = "difference" if chance == 1 else "differences"
    small = f"{chance} {noun} whose 95 % interval reaches 0, which may be chance."
    if not cases:
        text = "No attack of more steps leaves more images right than one of fewer"
        return f"{text}, but for {small}" if chance else f"{text}."
    text = (
        "More steps leave **more** images right here than fewer do. That can be a sign of an "
        "attack that is stuck in masked gradients or takes steps of an unsuitable length, not of "
        "robustness."
    )
    if unequal:
        text += " Where one attack was tried on fewer images, these may be the reason."
    if chance:
        text += f" Not listed: {small}"
    return "\n".join((text, "", *(f"- {pair}: {'; '.join(of)}" for pair, of in cases.items())))


def _steps(attack: str) -> float:
    """Return how often an attack looks at the gradient; AutoAttack more often than all others."""
    if attack.startswith("aa"):
        return math.inf
    return math.prod(map(float, re.findall(r"(?:pgd|(?<=\d)x|eot)(\d+)", attack)))


def verdicts(study: Study, claims: pd.DataFrame) -> str:
    """Return claims as Markdown: how many got each verdict, all of them, and why some are open."""
    said = ", ".join(f"{number} {verdict}" for verdict, number in counts(claims).items() if number)
    why = f" Nothing measured is judged: {study.why_not}." if study.why_not else ""
    columns = ["claim", "paper_value", "our_value", "difference", "verdict"]
    extra = [name for name in ("why", "least", "needs") if claims[name].ne("").any()]
    rows = claims[columns + extra].astype(str).rename(columns=lambda name: name.replace("_", " "))
    table = rows.replace(r"\|", r"\|", regex=True).to_markdown(index=False, disable_numparse=True)
    return f"{len(claims)} claims: {said}.{why}\n\n{table}"
