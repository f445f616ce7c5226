"""A data folder that is empty, so that no test meets real data or leaves anything behind."""

from dataclasses import replace

import pytest

from lib import datasets, paths


@pytest.fixture
def folder(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "DATA", tmp_path / "data")
    return tmp_path / "data"


@pytest.fixture
def small(monkeypatch):
    """Shrink the spec of a data set to so many images, or classes."""

    def shrink(name, images, **changes):
        spec = replace(datasets._SPECS[name], images=images, **changes)
        monkeypatch.setitem(datasets._SPECS, name, spec)

    return shrink
