"""Codes of lambda that OAT's FiLM layers read."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from lib.errors import UserError, check_range

TOLERANCE = 1e-6  # between a lambda asked for and one that was trained; float32 has 0.2 + 3e-9


class Encoder(nn.Module):
    """Row j of a fixed table is the code of the j-th training lambda; "none": lambda itself."""

    table: Tensor | None
    values: Tensor

    def __init__(self, lambdas: Sequence[float], encoding: str, code_dim: int) -> None:
        super().__init__()
        self.lambdas = tuple(float(check_range("lambdas", lam, 0.0, 1.0)) for lam in lambdas)
        if not self.lambdas or len(set(self.lambdas)) < len(self.lambdas):
            raise UserError(f"lambdas {list(self.lambdas)} must be one or more different values.")
        self.code_dim = 1 if encoding == "none" else code_dim
        if encoding != "none" and code_dim < len(self.lambdas):
            raise UserError(
                f"code_dim is {code_dim} but must be at least {len(self.lambdas)}, "
                "one dimension for each training lambda."
            )
        table = None if encoding == "none" else code_table(encoding, code_dim)
        self.register_buffer("table", None if table is None else table[: len(self.lambdas)].clone())
        self.register_buffer("values", torch.tensor(self.lambdas), persistent=False)

    def encode(self, lam: float) -> Tensor:
        """The code (1, D) of one lambda."""
        if self.table is None:
            return torch.full_like(self.values[:1], lam)[:, None]
        for row, trained in enumerate(self.lambdas):
            if abs(lam - trained) < TOLERANCE:
                return self.table[row : row + 1]
        raise self.unknown(f"{lam:g}")

    def encode_each(self, lam: Tensor) -> tuple[Tensor, int]:
        """The codes (N, D) of one lambda a sample, and how many zeros lead them.

        A lam on the CPU is checked there and costs a GPU no waiting.
        """
        adversarial = lam > 0
        zeros = int(len(lam) - adversarial.sum())
        if not bool(adversarial[zeros:].all()):
            raise UserError("lam must have its zeros first: sort the samples of the batch by lam.")
        if not bool(((lam >= 0) & (lam <= 1)).all()):
            raise UserError("lam must lie between 0 and 1 for every sample.")
        if self.table is None:
            return lam.to(self.values)[:, None], zeros
        distance = (lam[:, None] - self.values.to(lam.device)).abs()  # (N, training lambdas)
        nearest, row = distance.min(dim=1)
        if bool((nearest > TOLERANCE).any()):
            raise self.unknown(f"{lam[nearest.argmax()].item():g}")
        return self.table[row.to(self.table.device)], zeros

    def unknown(self, lam: str) -> UserError:
        """The refusal of a lambda that has no code."""
        known = ", ".join(f"{value:g}" for value in self.lambdas)
        return UserError(f"lam is {lam} but this OAT network was built for lambdas {known} only.")


def code_table(encoding: str, size: int) -> Tensor:
    """A (size, size) table with orthogonal rows: of length 1, for "dct" as the released OAT code.

    "orthogonal" is random, from torch's generator; "dct" is the unscaled DCT-II, with rows of
    length sqrt(2 size), the first sqrt(4 size).
    """
    if encoding == "onehot":
        return torch.eye(size)
    if encoding == "dct":
        index = torch.arange(size, dtype=torch.float64)
        return (2 * torch.cos(math.pi / size * index[:, None] * (index + 0.5))).float()
    return torch.linalg.qr(torch.randn(size, size)).Q.contiguous()
