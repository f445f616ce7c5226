"""Codes of lambda."""

import pytest
import torch

from lib.methods import Oat
from lib.models.encoding import Encoder, code_table


@pytest.mark.parametrize("encoding", ["orthogonal", "onehot"])
def test_tables_are_orthonormal(encoding):
    table = code_table(encoding, 16)
    torch.testing.assert_close(table @ table.T, torch.eye(16), atol=1e-5, rtol=0)


def test_the_dct_table_is_the_unscaled_transform_of_scipy():
    fft = pytest.importorskip("scipy.fft")
    expected = torch.tensor(fft.dct(torch.eye(8, dtype=torch.float64).numpy(), axis=0))
    torch.testing.assert_close(code_table("dct", 8).double(), expected, atol=1e-5, rtol=0)


def test_each_training_lambda_has_the_row_of_its_place_in_the_list():
    encoder = Encoder(Oat((0.7, 0.0, 0.2), "onehot", 4))
    assert encoder.encode(0.2).tolist() == [[0, 0, 1, 0]]
    codes, zeros = encoder.encode_each(torch.tensor([0.0, 0.7, 0.2]))
    assert codes.tolist() == [[0, 1, 0, 0], [1, 0, 0, 0], [0, 0, 1, 0]]
    assert zeros == 1


def test_double_and_single_precision_lambdas_find_the_same_row():
    encoder = Encoder(Oat((0.0, 0.1, 0.2), "onehot", 4))
    for dtype in (torch.float32, torch.float64):
        codes, _ = encoder.encode_each(torch.tensor([0.1, 0.2], dtype=dtype))
        assert codes.argmax(1).tolist() == [1, 2]
