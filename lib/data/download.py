"""One file over the network, checked against its SHA-256 before it gets its name."""

from __future__ import annotations

import hashlib
import http.client
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from lib.errors import UserError
from lib.store import writing

BLOCK = 1 << 20


def download(url: str, file: Path, sha256: str, size: int) -> None:
    """Write url to file with a progress bar; more than size bytes or another hash are refused."""
    digest, received = hashlib.sha256(), 0
    with writing(file) as stream:
        for block in _blocks(url, file, size):
            received += len(block)
            if received > size:
                break
            digest.update(block)
            stream.write(block)
        if received != size or digest.hexdigest() != sha256:
            raise UserError(
                f"{url} is not the file it should be (its SHA-256 differs); try again, or put "
                f"a good copy at {file}."
            )


def _blocks(url: str, file: Path, size: int) -> Iterator[bytes]:
    from tqdm.auto import tqdm

    try:
        with (
            urllib.request.urlopen(url, timeout=60) as source,
            tqdm(total=size, desc=file.name, unit="B", unit_scale=True, leave=False) as bar,
        ):
            while block := source.read(BLOCK):
                yield block
                bar.update(len(block))
    except (OSError, http.client.HTTPException) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise UserError(
            f"{url} could not be downloaded ({reason}); check the network and try again, or put "
            f"the file at {file}."
        ) from error
