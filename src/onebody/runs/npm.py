"""Packages of the npm registry, at fixed versions, kept in the user's cache."""

import base64
import hashlib
import io
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
    def file(self) -> str:
        """name of its tar archive"""
        return f"{self.name.rpartition('/')[2]}-{self.version}.tgz"

    def read(self) -> dict[str, bytes]:
        """Its files by path, downloaded unless they are in the user's cache.

        Raises:
            OnebodyError: it is not in the cache and cannot be downloaded; says which file to put where.
        """
        path = user_cache() / "npm" / self.file
        data = path.read_bytes() if path.is_file() else b""
        if not self._is_intact(data):
            data = self._download(path)
        with tarfile.open(fileobj=io.BytesIO(data)) as archive:
            members = [(member, archive.extractfile(member)) for member in archive.getmembers() if member.isfile()]
            return {member.name.partition("/")[2]: file.read() for member, file in members if file}

    def _is_intact(self, data: bytes) -> bool:
        return base64.b64encode(hashlib.sha512(data).digest()).decode() == self.sha512

    def _download(self, path: Path) -> bytes:
        address = f"{(os.environ.get(SETTING) or REGISTRY).rstrip('/')}/{self.name}/-/{self.file}"
        by_hand = f"download {REGISTRY}/{self.name}/-/{self.file} elsewhere and put it at {path}"
        try:
            with urllib.request.urlopen(address, timeout=SECONDS) as response:
                data = response.read()
        except (OSError, HTTPException, ValueError) as error:
            reason = error.reason if isinstance(error, urllib.error.URLError) else error
            raise OnebodyError(f"{self.name} {self.version} cannot be downloaded ({reason}): {by_hand}") from error
        if not self._is_intact(data):
            raise OnebodyError(f"what was downloaded as {self.name} {self.version} is another file: {by_hand}")
        partial = path.with_name(f"{path.name}.{os.getpid()}.partial")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            partial.write_bytes(data)
            os.replace(partial, path)
        except OSError as error:
            raise OnebodyError(f"cannot write {path}: {error.strerror}") from error
        return data
