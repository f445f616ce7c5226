"""How long the steps of an attack are: one rule for training and evaluation. No torch."""

SUMS = {"linf": 1.25, "l2": 2.5, "l1": 2.5}  # of all steps, in radii


def default_step(eps: float, steps: int, norm: str = "linf") -> float:
    """Return the step of which so many sum to 1.25 eps in Linf and to 2.5 eps in L2 and L1.

    The papers print min(1.25 eps, eps + 4/255) / steps, which is the same up to a radius of 16/255
    and falls short of a larger ball.
    """
    return SUMS[norm] * eps / max(steps, 1)
