"""The claims.csv of results: its columns, what is refused, and how it is shown."""

import subprocess
import sys

import pandas as pd
import pytest

from lib import claims
from lib.errors import UserError


def two_claims():
    held = {"kind": "analytic", "paper_value": "21.28 M", "verdict": "reproduced"}
    return claims.table(
        [
            {"id": "float-params", "claim": "ResNet-34 | parameters"} | held,
            {"id": "order", "claim": "SMART above OAT, FLOAT", "verdict": "reproduced"},
        ]
    )


def test_the_table_has_the_agreed_columns_and_comes_back_from_disk(tmp_path):
    table, path = two_claims(), tmp_path / "claims.csv"
    table.to_csv(path, index=False)
    header = path.read_text().splitlines()[0]
    assert header.startswith("id,claim,kind,paper_value,our_value,difference,tolerance,verdict")
    assert header == ",".join(claims.COLUMNS)
    pd.testing.assert_frame_equal(claims.read(path), table.astype(object), check_dtype=False)


def test_counts_follow_the_order_of_the_verdicts():
    assert list(claims.counts(two_claims()).items()) == [
        ("reproduced", 2),
        ("partly", 0),
        ("not reproduced", 0),
        ("not judged", 0),
    ]


def test_damaged_or_missing_files_are_refused(tmp_path):
    path = tmp_path / "claims.csv"
    with pytest.raises(UserError, match="no claims"):
        claims.read(path)
    for content in (b"", b"id,claim\n1,2\n", b"\xff\xfe\x00", b'id,"x\n'):
        path.write_bytes(content)
        with pytest.raises(UserError, match="remake it"):
            claims.read(path)
    two_claims().assign(verdict="maybe").to_csv(path, index=False)
    with pytest.raises(UserError, match="remake it"):
        claims.read(path)


def test_an_id_may_occur_once():
    with pytest.raises(UserError, match="occurs twice"):
        claims.table([{"id": "a"}] * 2)


def test_claims_need_no_torch():
    code = "import sys, lib.claims, lib.published, lib.studies; assert 'torch' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True)
