"""Packages of a registry, which is a folder here."""

import base64
import hashlib
import io
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
    assert npm.read(package) == [{"build/robot.js": b"walk"}]
    (registry / "robot-1.2.3.tgz").unlink()
    assert npm.read(package) == [{"build/robot.js": b"walk"}]
    kept = tmp_path / "cache" / "onebody" / "npm" / "robot-1.2.3.tgz"
    assert [path.read_bytes() for path in kept.parent.iterdir()] == [archive]


def test_without_network_it_says_which_files_to_put_where(package, archive, tmp_path):
    other = package._replace(name="arm")
    with pytest.raises(OnebodyError, match=r"@robots/robot 1\.2\.3 cannot be downloaded") as error:
        npm.read(package, other)
    folder = tmp_path / "cache" / "onebody" / "npm"
    first = f"{npm.REGISTRY}/@robots/robot/-/robot-1.2.3.tgz to {folder / 'robot-1.2.3.tgz'}"
    second = f"{npm.REGISTRY}/arm/-/arm-1.2.3.tgz to {folder / 'arm-1.2.3.tgz'}"
    assert str(error.value).endswith(f": {first} and {second}") and "\n" not in str(error.value)
    folder.mkdir(parents=True)
    for name in ("robot", "arm"):
        (folder / f"{name}-1.2.3.tgz").write_bytes(archive)
    assert npm.read(package, other) == [{"build/robot.js": b"walk"}] * 2


def test_another_file_is_not_used(registry, package, archive, tmp_path):
    (registry / "robot-1.2.3.tgz").write_bytes(archive[:-1])
    with pytest.raises(OnebodyError, match="its checksum is wrong"):
        npm.read(package)
    assert not (tmp_path / "cache" / "onebody").exists()


def test_a_damaged_copy_is_downloaded_again(registry, package, archive, tmp_path):
    (registry / "robot-1.2.3.tgz").write_bytes(archive)
    npm.read(package)
    (tmp_path / "cache" / "onebody" / "npm" / "robot-1.2.3.tgz").write_bytes(b"")
    assert npm.read(package) == [{"build/robot.js": b"walk"}]
