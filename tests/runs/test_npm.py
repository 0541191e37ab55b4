"""Packages of a registry, which is a folder here."""

import base64
import hashlib
import io
import re
import tarfile

import pytest

from onebody.core.errors import OnebodyError
from onebody.runs import npm


@pytest.fixture
def archive():
    memory = io.BytesIO()
    with tarfile.open(fileobj=memory, mode="w:gz") as file:
        member = tarfile.TarInfo("package/build/robot.js")
        member.size = 4
        file.addfile(member, io.BytesIO(b"walk"))
    return memory.getvalue()


@pytest.fixture
def package(archive):
    return npm.Package("@robots/robot", "1.2.3", base64.b64encode(hashlib.sha512(archive).digest()).decode())


@pytest.fixture(autouse=True)
def registry(tmp_path, monkeypatch):
    """Folder that packages are downloaded from; the cache beside it is empty."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setenv(npm.SETTING, (tmp_path / "registry").as_uri() + "/")
    folder = tmp_path / "registry" / "@robots" / "robot" / "-"
    folder.mkdir(parents=True)
    return folder


def test_a_package_is_downloaded_once(registry, package, archive, tmp_path):
    (registry / "robot-1.2.3.tgz").write_bytes(archive)
    assert package.read() == {"build/robot.js": b"walk"}
    (registry / "robot-1.2.3.tgz").unlink()
    assert package.read() == {"build/robot.js": b"walk"}
    kept = tmp_path / "cache" / "onebody" / "npm" / "robot-1.2.3.tgz"
    assert [path.read_bytes() for path in kept.parent.iterdir()] == [archive]


def test_without_network_it_says_which_file_to_put_where(package, archive, tmp_path):
    with pytest.raises(OnebodyError, match=r"robot 1\.2\.3 cannot be downloaded") as error:
        package.read()
    path = tmp_path / "cache" / "onebody" / "npm" / "robot-1.2.3.tgz"
    assert f"{npm.REGISTRY}/@robots/robot/-/robot-1.2.3.tgz elsewhere and put it at {path}" in str(error.value)
    assert "\n" not in str(error.value)
    path.parent.mkdir(parents=True)
    path.write_bytes(archive)
    assert package.read() == {"build/robot.js": b"walk"}


def test_another_file_is_not_used(registry, package, archive, tmp_path):
    (registry / "robot-1.2.3.tgz").write_bytes(archive[:-1])
    with pytest.raises(OnebodyError, match=re.escape("what was downloaded as @robots/robot 1.2.3 is another file")):
        package.read()
    assert not (tmp_path / "cache" / "onebody").exists()


def test_a_damaged_copy_is_downloaded_again(registry, package, archive, tmp_path):
    (registry / "robot-1.2.3.tgz").write_bytes(archive)
    package.read()
    (tmp_path / "cache" / "onebody" / "npm" / "robot-1.2.3.tgz").write_bytes(b"")
    assert package.read() == {"build/robot.js": b"walk"}
