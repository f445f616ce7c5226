"""Codes of lambda that OAT's FiLM layers read."""

import math

import torch
from torch import Tensor, nn

from lib.errors import UserError
from lib.methods import Oat


class Encoder(nn.Module):
    """Row j of a fixed table is the code of the j-th training lambda; "none": lambda itself."""

    table: Tensor | None
    values: Tensor

    def __init__(self, method: Oat) -> None:
        super().__init__()
        self.method, self.lambdas = method, method.lambdas
        coded = method.encoding != "none"
        self.code_dim = method.code_dim if coded else 1
        table = (
            code_table(method.encoding, self.code_dim)[: len(self.lambdas)].clone()
            if coded
            else None
        )
        self.register_buffer("table", table)
        self.register_buffer("values", torch.tensor(self.lambdas), persistent=False)

    def encode(self, lam: float) -> Tensor:
        """The code (1, D) of one lambda."""
        if self.table is None:
            return torch.full_like(self.values[:1], lam)[:, None]
        self.method.check_lam(lam)
        distance = [abs(lam - trained) for trained in self.lambdas]
        row = distance.index(min(distance))
        return self.table[row : row + 1]

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
            return lam.to(self.values, non_blocking=True)[:, None], zeros
        distance = (lam[:, None] - lam.new_tensor(self.lambdas)).abs()  # (N, training lambdas)
        nearest, row = distance.min(dim=1)
        self.method.check_lam(lam[nearest.argmax()].item())
        return self.table[row.to(self.table.device, non_blocking=True)], zeros


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
