"""Protocols: what they refuse, what they are called, and which keys their records have."""

import pytest

from lib.errors import UserError
from lib.protocol import Protocol

PGD = Protocol(attack="pgd", eps=0.1, steps=3)


def test_protocol_keys_differ_where_numbers_would():
    variants = [
        Protocol(),
        Protocol(lam=0.2),
        PGD,
        Protocol(attack="pgd", eps=0.1, steps=20),
        Protocol(attack="pgd", eps=0.1, steps=3, eot=2),
        Protocol(attack="pgd", eps=0.1, steps=3, noise="frozen"),
        Protocol(images=10),
    ]
    assert len({p.key for p in variants}) == len(variants)
    assert PGD.key == Protocol(attack="pgd", eps=0.1, steps=3, lam=0).key


def test_steps_that_are_not_given_follow_the_papers_or_the_radius():
    assert Protocol(attack="pgd").used_step == pytest.approx(10 / 255 / 7)
    assert Protocol(attack="pgd", steps=20).used_step == pytest.approx(10 / 255 / 7)
    assert Protocol(attack="pgd", norm="l2", eps=0.5, steps=10).used_step == pytest.approx(0.125)
    assert Protocol(attack="pgd", step=0.01).used_step == 0.01
    assert Protocol(attack="pgd", eps=0.25).used_step == pytest.approx(1.25 * 0.25 / 7)
    printed = [(e, min(1.25 * e, e + 4 / 255) / 7) for e in (1 / 255, 8 / 255, 16 / 255)]
    assert all(Protocol(eps=e).used_step == pytest.approx(step) for e, step in printed)
    with pytest.raises(UserError, match="FGSM is an attack in linf"):
        Protocol(attack="fgsm", norm="l2")
    with pytest.raises(UserError, match="'l1-sparse' is for PGD"):
        Protocol(attack="autoattack", norm="l1-sparse")


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        ({}, "pgd7"),
        ({"steps": 20}, "pgd20"),
        ({"steps": 20, "step": 10 / 255 / 7}, "pgd20"),
        ({"steps": 20, "step": 10 / 255 / 20}, "pgd20-step0.5"),
        ({"steps": 20, "step": 10 / 255 / 20, "eot": 5}, "pgd20-step0.5-eot5"),
        ({"norm": "l2", "step": 0.2}, "pgd7-l2-step0.2"),
        ({"norm": "l1-sparse", "steps": 50, "restarts": 10}, "pgd50x10-l1-sparse"),
        ({"norm": "l1-sparse", "step": 1.0}, "pgd7-l1-sparse-step1"),
        ({"attack": "autoattack"}, "aa"),
        ({"attack": "autoattack", "version": "rand", "eot": 5, "slim": 0.5}, "aa-rand"),
        ({"slim": 0.5}, "pgd7"),
    ],
)
def test_names_tell_attacks_apart(fields, name):
    assert Protocol(**({"attack": "pgd"} | fields)).name == name


@pytest.mark.parametrize(
    "fields",
    [
        *({"slim": 0.0}, {"slim": 1.5}, {"queries": 0}, {"version": "plus"}, {"steps": 0}),
        *({"eps": 8}, {"images": 2**31}),
    ],
)
def test_protocols_refuse_what_no_attack_can_do(fields):
    with pytest.raises(UserError, match=next(iter(fields))):
        Protocol(attack="autoattack", **fields)


def test_new_fields_leave_the_keys_of_old_records():
    assert set(PGD.to_dict(full=False)) == {"attack", "eps", "steps"}
