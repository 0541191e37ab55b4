"""Packages of the npm registry, at fixed versions, kept in the user's cache."""

import base64
import hashlib
import os
import tarfile
import urllib.error
import urllib.request
from http.client import HTTPException
from pathlib import Path
from typing import NamedTuple

from onebody.core.errors import OnebodyError
from onebody.runs.compilation_cache import user_cache

REGISTRY, SETTING = "https://registry.npmjs.org", "npm_config_registry"
"""npm's default registry, and the environment variable by which npm is told another one"""
SECONDS = 60.0
"""time after which a registry that sends nothing counts as unreachable"""


class Package(NamedTuple):
    """A version of a package."""

    name: str
    version: str
    sha512: str
    """of its tar archive, in base64, as the registry states it"""

    @property
    def path(self) -> Path:
        """of its tar archive, in the user's cache"""
        return user_cache() / "npm" / f"{self.name.rpartition('/')[2]}-{self.version}.tgz"

    def address(self, registry: str) -> str:
        """of its tar archive"""
        return f"{registry.rstrip('/')}/{self.name}/-/{self.path.name}"

    def is_intact(self, archive: bytes) -> bool:
        return base64.b64encode(hashlib.sha512(archive).digest()).decode() == self.sha512


def read(*packages: Package) -> list[dict[str, bytes]]:
    """The files of each package by path; those that are not in the user's cache are downloaded into it.

    Raises:
        OnebodyError: one cannot be downloaded; says which files to put where.
    """
    missing = [each for each in packages if not (each.path.is_file() and each.is_intact(each.path.read_bytes()))]
    for i, package in enumerate(missing):
        try:
            _keep(package, _download(package))
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            by_hand = " and ".join(f"{each.address(REGISTRY)} to {each.path}" for each in missing[i:])
            raise OnebodyError(
                f"{package.name} {package.version} cannot be downloaded ({reason}); "
                f"download by hand, on another computer if need be: {by_hand}"
            ) from error
    return [_files(package.path) for package in packages]


def _download(package: Package) -> bytes:
    """Raises ValueError if the registry has another file under the package's name."""
    with urllib.request.urlopen(package.address(os.environ.get(SETTING) or REGISTRY), timeout=SECONDS) as response:
        archive = response.read()
    if not package.is_intact(archive):
        raise ValueError("its checksum is wrong")
    return archive


def _keep(package: Package, archive: bytes) -> None:
    package.path.parent.mkdir(parents=True, exist_ok=True)
    partial = package.path.with_name(f"{package.path.name}.{os.getpid()}.partial")
    partial.write_bytes(archive)
    os.replace(partial, package.path)


def _files(path: Path) -> dict[str, bytes]:
    with tarfile.open(path) as archive:
        members = [(member, archive.extractfile(member)) for member in archive.getmembers() if member.isfile()]
        return {member.name.partition("/")[2]: file.read() for member, file in members if file}
