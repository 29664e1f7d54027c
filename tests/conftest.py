"""Fixtures that several test files share."""

import importlib.util
import os
import shutil
import tempfile
from pathlib import Path
from types import ModuleType

import pytest
import torch
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]

# Test processes share two cores; one thread each is faster than many that wait for each other.
torch.set_num_threads(1)


settings.register_profile("long", max_examples=5000)


def pytest_configure(config: pytest.Config) -> None:
    """One cache folder for all processes of a run, so that tests leave the user's own alone."""
    if not hasattr(config, "workerinput"):
        os.environ["MMRET_CACHE"] = tempfile.mkdtemp(prefix="mmret-tests-")


def pytest_unconfigure(config: pytest.Config) -> None:
    if not hasattr(config, "workerinput"):
        shutil.rmtree(os.environ["MMRET_CACHE"], ignore_errors=True)


@pytest.fixture(scope="session")
def real_data() -> Path:
    """The folder of real photos, or a skip that says where it would be."""
    folder = Path(os.environ.get("MMRET_REAL_DATA", ROOT.parent / "shared" / "real"))
    if not folder.is_dir():
        pytest.skip(f"real photos are not at {folder} (set MMRET_REAL_DATA to their folder)")
    return folder


@pytest.fixture(params=["cpu", pytest.param("cuda", marks=pytest.mark.cuda)])
def device(request: pytest.FixtureRequest) -> str:
    """Every device the same test must hold on; CUDA only where there is one."""
    if request.param == "cuda" and not torch.cuda.is_available():
        pytest.skip("no CUDA device on this machine")
    return request.param


def script(path: str) -> ModuleType:
    """A script of the repository as a module; it is in no package."""
    spec = importlib.util.spec_from_file_location(Path(path).stem, ROOT / path)
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="session")
def tool() -> ModuleType:
    return script("notebooks/execute.py")


@pytest.fixture(scope="session")
def generator() -> ModuleType:
    return script("exercises/generate.py")
