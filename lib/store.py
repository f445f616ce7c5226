"""Whole writes, hashes and the one-writer rule: what keeps files on disk trustworthy."""

import hashlib
import json
import os
import platform
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

from filelock import FileLock, Timeout

from lib import paths
from lib.errors import UserError, written

HERE = platform.node().replace(".", "-")  # a process number means nothing on another machine
MANIFEST = "manifest.json"
VERIFIED = "verified.json"
BUNDLE = "evaluations.json"  # of a recorded run: what was scored under a protocol
WEIGHTS = {"last": "weights.safetensors", "best": "best.safetensors"}


@contextmanager
def writing(path: Path) -> Iterator[BinaryIO]:
    """Open a file that appears under its name only when the block has ended well."""
    partial = path.with_name(f".{path.name}.{HERE}.{os.getpid()}.tmp")
    try:
        with written(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write a file whole or not at all."""
    with writing(path) as file:
        file.write(content)


def write_text(path: Path, content: str) -> None:
    """Write a text file whole or not at all."""
    write_bytes(path, content.encode())


def encode(content: Any) -> bytes:
    """Return content as indented JSON with sorted keys."""
    return (json.dumps(content, indent=1, sort_keys=True, allow_nan=False) + "\n").encode()


def compact(content: Any) -> str:
    """Return content as JSON with sorted keys, in one line without spaces."""
    return json.dumps(content, sort_keys=True, separators=(",", ":"), allow_nan=False)


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON with sorted keys, whole or not at all."""
    write_bytes(path, encode(content))


def parse(path: Path, shape: type = dict) -> Any:
    """Return the JSON of a file; whatever is wrong with it is a ValueError of a few words."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except ValueError as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if not isinstance(content, shape):
        raise ValueError(f"it holds a {type(content).__name__} in place of a {shape.__name__}")
    return content


def read_json(path: Path) -> dict[str, Any]:
    """Return a JSON object, empty if the file is absent or damaged."""
    try:
        return parse(path)
    except ValueError:
        return {}


def sha256(path: Path) -> str:
    """Return the SHA-256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def seal(folder: Path, names: list[str], manifest: str = MANIFEST) -> None:
    """Write the manifest of a folder: the SHA-256 of each named file. Written last."""
    write_json(folder / manifest, {name: sha256(folder / name) for name in sorted(names)})


def is_sealed(folder: Path) -> bool:
    """Return whether a folder holds a finished run."""
    return (folder / MANIFEST).is_file()


def places(key: str, name: str = "") -> list[Path]:
    """Return where a run, or a file of it, may be: job store, which is written to, then records."""
    return [home / key / name for home in (paths.runs(), paths.records())]


def homes(key: str) -> list[Path]:
    """Return the folders that hold the finished run of a key, the one that counts first.

    Whatever has the weights comes before what lacks them; with SUITE_FROM_RECORDS, another training
    than the recorded one comes last.
    """
    found = [folder for folder in places(key) if is_sealed(folder)]
    last = WEIGHTS["last"]
    made = {folder: redrawing() and read_json(folder / MANIFEST).get(last) for folder in found}
    return sorted(found, key=lambda f: (made[f] != made[found[-1]], not (f / last).is_file()))


def measured(home: Path, name: str = "*") -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield with its name what was measured on the run in a folder, if it is not damaged.

    Files of their own come before what `bundle` has written.
    """
    for path in sorted((home / "evaluations").glob(f"{name}.json")):
        if record := read_signed(path):
            yield path.stem, record
    with suppress(ValueError, RecursionError, KeyError, TypeError, AttributeError):
        all_say, own = map(parse(home / BUNDLE).__getitem__, ("all", "own"))
        for one in own if name == "*" else own.keys() & {name}:
            protocol = all_say["protocol"] | own[one]["protocol"]
            if record := _verified(all_say | own[one] | {"protocol": protocol}):
                yield one, record


def bundle(records: Mapping[str, dict[str, Any]]) -> bytes:
    """Return evaluations by name as one file, in which what all of them say stands once."""
    own = {name: signed(record) for name, record in records.items()}
    protocols = [record["protocol"] for record in own.values()]
    all_say = _shared([*own.values()]) | {"protocol": _shared(protocols)}
    for name, protocol in zip(own, protocols, strict=True):
        differs = {"protocol": _beyond(protocol, all_say["protocol"])}
        own[name] = _beyond(own[name], all_say) | differs
    return f"{compact({'all': all_say, 'own': own})}\n".encode()


def _shared(objects: list[dict[str, Any]]) -> dict[str, Any]:
    said = ({(field, compact(value)) for field, value in one.items()} for one in objects)
    return {field: json.loads(text) for field, text in set.intersection(*said)}


def _beyond(record: dict[str, Any], said: dict[str, Any]) -> dict[str, Any]:
    return {field: value for field, value in record.items() if field not in said}


def proofs(key: str) -> list[dict[str, Any]]:
    """Return what has been shown of the code behind a run."""
    return [proof for path in places(key, VERIFIED) if (proof := read_signed(path))]


def redrawing() -> bool:
    """Return whether SUITE_FROM_RECORDS asks to take records as they are and to train nothing."""
    return bool(os.environ.get("SUITE_FROM_RECORDS"))


def damage(folder: Path, manifest: str = MANIFEST) -> str:
    """Return what is wrong with a sealed folder in a few words, '' if nothing but weights lacks."""
    try:
        listed = {name: str(digest) for name, digest in parse(folder / manifest).items()}
    except ValueError:
        return f"{manifest} is unreadable"
    if not listed:
        return f"{manifest} is empty"
    for name, digest in listed.items():
        path = folder / name
        if Path(name).name != name:
            return f"{manifest} names a file outside the folder"
        if path.is_file() and sha256(path) != digest:
            return f"{name} differs from its recorded hash"
        if not path.is_file() and name not in WEIGHTS.values():
            return f"{name} is missing"
    return ""


def remove(path: Path) -> None:
    """Delete a file, a link or a folder with all that is in it, if it is there."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)


def quarantine(path: Path) -> Path:
    """Move a damaged file or folder aside, where nothing loads it, and return the new place."""
    for number in range(1, 1000):
        aside = path.with_name(f"{path.name}.damaged-{number}")
        if aside.exists():
            continue
        try:
            path.rename(aside)
        except FileNotFoundError:
            pass  # another process was faster
        except OSError as error:
            raise UserError(
                f"{path} is damaged and cannot be moved aside ({error.strerror}); make its folder "
                "writable or delete it."
            ) from error
        return aside
    raise UserError(f"{path} is damaged and has been set aside 999 times; check the disk.")


def signed(content: dict[str, Any]) -> dict[str, Any]:
    """Return content with the SHA-256 of its canonical JSON in the field 'sha256'."""
    return content | {"sha256": digest(content)}


def encode_signed(content: dict[str, Any]) -> bytes:
    """Return content as `read_signed` takes it, in as few bytes as it needs."""
    return f"{compact(signed(content))}\n".encode()


def read_signed(path: Path) -> dict[str, Any] | None:
    """Return the content of a signed file, None if it is absent or damaged; change nothing."""
    try:
        return _verified(parse(path))
    except (ValueError, RecursionError):
        return None


def _verified(content: dict[str, Any]) -> dict[str, Any] | None:
    return content if content.pop("sha256", None) == digest(content) else None


def write_signed(path: Path, content: dict[str, Any]) -> None:
    """Write content as `read_signed` takes it, whole or not at all."""
    write_bytes(path, encode_signed(content))


def set_aside_damaged(path: Path) -> None:
    """Move a signed file aside if it is damaged, before another one takes its place."""
    if os.path.lexists(path) and read_signed(path) is None:
        quarantine(path)


def digest(content: dict[str, Any]) -> str:
    """Return the SHA-256 of the canonical JSON of content."""
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@contextmanager
def one_writer(path: Path, waiting: Callable[[], None] = lambda: None) -> Iterator[None]:
    """Hold the lock beside a path; the operating system frees it when its owner dies.

    The same process may take it again inside.
    """
    with written(path.parent):
        path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(path.with_name(f"{path.name}.lock"), is_singleton=True)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            waiting()
            lock.acquire()
    try:
        sweep(path)
        yield
    finally:
        lock.release()


def sweep(folder: Path) -> None:
    """Remove from a folder what writers of this machine that were killed have left unfinished."""
    for partial in [*folder.rglob(f".*.{HERE}.*.tmp")]:
        with suppress(ValueError, OSError):
            try:
                os.kill(int(partial.name.split(".")[-2]), 0)
            except ProcessLookupError:
                partial.unlink()
