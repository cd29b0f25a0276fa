"""What is installed is what was built here, for this interpreter."""

import importlib.metadata
import sysconfig
import tomllib
from pathlib import Path

import ferrio
from ferrio import _ferrio


def test_the_extension_is_built_for_this_interpreter() -> None:
    # A debug build also loads a release build's extension, so the name alone must tell them apart.
    assert _ferrio.__file__.endswith(sysconfig.get_config_var("EXT_SUFFIX"))


def test_the_package_is_the_installed_one() -> None:
    files = importlib.metadata.files("ferrio")
    assert files is not None
    assert Path(ferrio.__file__).resolve() in {Path(f.locate()).resolve() for f in files}


def test_the_version_is_the_workspace_s() -> None:
    manifest = tomllib.loads((Path(__file__).parent.parent / "Cargo.toml").read_text())
    assert importlib.metadata.version("ferrio") == manifest["workspace"]["package"]["version"]
