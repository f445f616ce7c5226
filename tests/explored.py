"""The data of an explorer for tests: two grey images, two methods, three λ and strengths."""

import torch

from lib.samples import pack

LAMS, STRENGTHS, METHODS = [0.0, 0.2, 1.0], [0.0, 1.0, 2.0], ["PGD-AT", "SMART"]
CLEAN = torch.arange(128, dtype=torch.uint8).mul(2).view(2, 1, 8, 8)


def moved(lam):
    """Return by how many 1/255 the images move at each strength; another way at each lam."""
    way = (CLEAN.int() // 2 + LAMS.index(lam)) % 3 - 1
    return torch.stack([25 * int(strength) * way for strength in STRENGTHS]).to(torch.int8)


def score(method, lam, strength):
    value = 90.0 - 20 * lam - 30 * strength + METHODS.index(method)
    return [value, value - 2.5, value + 2.3, 2000.0]


def state(method, lam):
    guesses = [[[1, 0.5], [2 - int(s) // 2, 0.875]] for s in STRENGTHS]  # one flips at 2
    scores = [score(method, lam, strength) for strength in STRENGTHS]
    return {"scores": scores, "guesses": guesses, "noise": pack(moved(lam))}


def explored():
    cost = {"networks": 3, "macs": 35e6, "params": 7e5, "bytes": 7e5}
    of = {m: [state(m, lam) for lam in LAMS] for m in METHODS}
    networks = [{"method": m, "name": "ResNet-18", "cost": cost, "lams": of[m]} for m in METHODS]
    found = {"dataset": "digits", "attack": "PGD-20", "eps": 0.1, "size": 8, "channels": 1}
    found |= {"classes": ["zero", "one", "two"], "lams": LAMS, "strengths": STRENGTHS}
    samples = {"labels": [1, 2], "pixels": pack(CLEAN)}
    return found | {"samples": samples, "networks": networks}
