"""The ways to get the library (a clone, a wheel) and the lists of dependencies behind them."""

import ast
import os
import re
import subprocess
import sys
import tomllib
import venv
import zipfile
from pathlib import Path

import pytest
import yaml
from on_colab.sitecustomize import read_image
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
CORE = PROJECT["dependencies"]

# Where conda-forge's name differs from the one in pyproject.toml.
CONDA_NAMES = {
    "torch": "pytorch",
    "huggingface-hub": "huggingface_hub",
    "matplotlib": "matplotlib-base",  # without the Qt windows that a notebook never opens
    "seaborn": "seaborn-base",
}

# Where the name one imports differs from the one one installs.
IMPORT_NAMES = {"pillow": "PIL", "ipython": "IPython", "huggingface-hub": "huggingface_hub"}

COLAB = read_image()
NOT_ON_COLAB = {"tyro"}

# What an extra brings, and the one module that may import it, inside a function: the rest of the
# library does without.
OPTIONAL = {
    "mmret_lib/data/images.py": {"pillow_heif"},
    "mmret_lib/search/faiss_index.py": {"faiss"},
    "mmret_lib/search/milvus_index.py": {"pymilvus", "milvus_lite"},
    "mmret_lib/show/server.py": {"voila"},
}


def bounds(requirements: list[str]) -> dict[str, SpecifierSet]:
    parsed = [Requirement(line) for line in requirements]
    return {canonicalize_name(one.name): one.specifier for one in parsed}


# ---------------------------------------------------------------------------------------------
# The lists of dependencies


def test_environment_yml_says_what_pyproject_says() -> None:
    environment = yaml.safe_load((ROOT / "environment.yml").read_text(encoding="utf-8"))
    python, pip, *packages, from_pip = environment["dependencies"]
    extras = PROJECT["optional-dependencies"]
    wanted = bounds(CORE + extras["lab"] + extras["test"])
    from_pypi = wanted.pop("playwright")
    del wanted["mmret"]  # the extras lab, search and heic, spelled out in the file
    assert {line.split(">=")[0]: line for line in packages} == {
        CONDA_NAMES.get(name, name): f"{CONDA_NAMES.get(name, name)}{bound}"
        for name, bound in wanted.items()
    }
    assert python.split("=")[1] in SpecifierSet(PROJECT["requires-python"])
    # What conda-forge has under uncertain names comes from PyPI.
    assert (pip, from_pip) == ("pip", {"pip": [f"playwright{from_pypi}", "-e .[search,heic]"]})


@pytest.mark.parametrize("line", CORE)
def test_core_bounds_admit_colab(line: str) -> None:
    [(name, bound)] = bounds([line]).items()
    assert [clause.operator for clause in bound] == [">="], "lower bounds only"
    assert (name in COLAB) != (name in NOT_ON_COLAB)
    if name in COLAB:
        assert COLAB[name] in bound


def imported_by(node: ast.AST) -> set[str]:
    if isinstance(node, ast.Import):
        return {alias.name.split(".")[0] for alias in node.names}
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        return {node.module.split(".")[0]}
    return set()


def imported_modules(file: Path) -> set[str]:
    nodes = ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    return set().union(*map(imported_by, nodes))


def test_the_library_imports_nothing_but_its_core_dependencies() -> None:
    allowed = {IMPORT_NAMES.get(name, name) for name in bounds(CORE)} | {"mmret_lib"}
    files = sorted((ROOT / "mmret_lib").rglob("*.py"))
    imports = {file.relative_to(ROOT).as_posix(): imported_modules(file) for file in files}
    strangers = {
        name: unknown
        for name, modules in imports.items()
        if (unknown := modules - allowed - set(sys.stdlib_module_names))
    }
    assert strangers == {name: OPTIONAL[name] for name in OPTIONAL if name in imports}
    for name, modules in strangers.items():
        tree = ast.parse((ROOT / name).read_text(encoding="utf-8"))
        inside = {
            node
            for function in ast.walk(tree)
            if isinstance(function, ast.FunctionDef)
            for node in ast.walk(function)
        }
        for node in set(ast.walk(tree)) - inside:
            assert not modules & imported_by(node), f"{name} needs {modules} to be imported"
    off_colab = {name for name, modules in imports.items() if modules & NOT_ON_COLAB}
    assert all(name.startswith("mmret_lib/cli/") for name in off_colab), off_colab


# ---------------------------------------------------------------------------------------------
# The wheel and the clone, each from an unrelated folder


@pytest.fixture(scope="module")
def tracked_files() -> list[Path]:
    """What a clone would hold: the files git tracks or would add, relative to the root."""
    listing = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    try:
        answer = subprocess.run(listing, cwd=ROOT, check=True, capture_output=True, text=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("not a git clone, so there is no list of the repository's files")
    names = sorted({Path(name) for name in answer.stdout.split("\0") if name})
    return [name for name in names if (ROOT / name).is_file()]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory"]
    subprocess.run([*build, str(folder)], cwd=ROOT, check=True)
    [built] = folder.glob("mmret-*.whl")
    return built


class Elsewhere:
    """A fresh environment that sees this one's packages but not this clone, and a folder to run in.

    The packages come through a .pth line instead of a download. Python does not read the .pth files
    of a folder added that way, so the editable install of this clone stays out of sight.
    """

    def __init__(self, folder: Path, wheel: Path | None = None) -> None:
        venv.create(folder / "env", with_pip=False, symlinks=os.name != "nt")
        scripts = "Scripts" if os.name == "nt" else "bin"
        self.scripts = folder / "env" / scripts
        self.python = self.scripts / ("python.exe" if os.name == "nt" else "python")
        self.cwd = folder / "unrelated folder"
        self.cwd.mkdir()
        here = [path for path in sys.path if Path(path).name in {"site-packages", "dist-packages"}]
        if wheel:  # before the packages come into sight, an mmret of the same version among them
            pip = [sys.executable, "-m", "pip", "--python", str(self.python), "install", "--quiet"]
            subprocess.run([*pip, "--no-deps", "--no-index", str(wheel)], check=True)
        [site_packages] = self.run("-c", "import sysconfig; print(sysconfig.get_path('purelib'))")
        (Path(site_packages) / "packages_of_the_tests.pth").write_text("\n".join(here))

    def run(self, *arguments: str | Path, program: Path | None = None, **environ: str) -> list[str]:
        """The lines that Python (or `program`) prints; its error output on failure."""
        inherited = {k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_"))}
        answer = subprocess.run(
            [program or self.python, *arguments],
            cwd=self.cwd,
            env=inherited | environ,
            capture_output=True,
            text=True,
            encoding="utf-8",
        )
        assert answer.returncode == 0, answer.stderr
        return answer.stdout.splitlines()


WHERE_THINGS_ARE = (
    "import mmret_lib; from mmret_lib.files.places import shipped;"
    "print(mmret_lib.__file__); print(shipped('sprites/zebra.png'))"
)

POCKET = "from mmret_lib.encoders import ImageEncoder; ImageEncoder('pocket', 'pocket')"


@pytest.mark.slow
def test_the_wheel_holds_the_library_and_its_data_only(
    wheel: Path, tracked_files: list[Path]
) -> None:
    with zipfile.ZipFile(wheel) as archive:
        held = {name for name in archive.namelist() if ".dist-info/" not in name}
    library = {name.as_posix() for name in tracked_files if name.parts[0] == "mmret_lib"}
    shipped = {name.relative_to("data") for name in tracked_files if name.parts[0] == "data"}
    assert shipped, "data/ holds what the course ships"
    assert held == library | {f"mmret_lib/shipped_data/{name.as_posix()}" for name in shipped}


@pytest.mark.slow
def test_the_wheel_works_elsewhere(wheel: Path, tmp_path: Path) -> None:
    elsewhere = Elsewhere(tmp_path, wheel)
    module, sprite = elsewhere.run("-c", WHERE_THINGS_ARE)
    assert Path(module).is_relative_to(tmp_path / "env")
    assert Path(sprite).is_relative_to(Path(module).parent / "shipped_data")
    elsewhere.run("-c", POCKET)
    usage = "\n".join(elsewhere.run("--help", program=elsewhere.scripts / "mmret"))
    for command in ("demo", "train", "evaluate", "search"):
        assert command in usage
    [version] = elsewhere.run("-c", "import importlib.metadata as m; print(m.version('mmret'))")
    assert wheel.name.split("-")[1] == version


@pytest.mark.slow
def test_a_bare_clone_works_by_its_path_alone(tracked_files: list[Path], tmp_path: Path) -> None:
    clone = tmp_path / "a clone"
    for name in tracked_files:
        if name.parts[0] in {"mmret_lib", "data"}:
            (clone / name).parent.mkdir(parents=True, exist_ok=True)
            (clone / name).write_bytes((ROOT / name).read_bytes())
    elsewhere = Elsewhere(tmp_path)
    module, sprite = elsewhere.run("-c", WHERE_THINGS_ARE, PYTHONPATH=str(clone))
    assert Path(module).is_relative_to(clone)
    assert Path(sprite).is_relative_to(clone / "data")
    elsewhere.run("-c", POCKET, PYTHONPATH=str(clone))
    readme_line = "from mmret_lib.data import load_pairs"
    assert readme_line in (ROOT / "README.md").read_text(encoding="utf-8")
    elsewhere.run("-c", readme_line, PYTHONPATH=str(clone))


# ---------------------------------------------------------------------------------------------
# What must not be in the repository

# Written in pieces, or this file would find itself.
REGISTRY_HOSTS = [
    r"pypi\." + "org",
    r"pythonhosted\." + "org",
    r"npmjs\." + "(org|com)",
    r"(deb|security)\.debian\." + "org",
    r"conda\.anaconda\." + "org",
]
MACHINE_PATHS = [r"(?<![\w.~-])/(work|root|home)/" + r"\w"]
FORBIDDEN = re.compile("|".join(REGISTRY_HOSTS + MACHINE_PATHS))


@pytest.mark.slow
def test_no_file_names_a_registry_host_or_a_path_of_one_machine(tracked_files: list[Path]) -> None:
    found = []
    for name in tracked_files:
        content = (ROOT / name).read_bytes()
        if b"\0" in content:
            continue  # not a text
        for number, line in enumerate(content.decode("utf-8", "replace").splitlines(), start=1):
            if match := FORBIDDEN.search(line):
                found.append(f"{name}:{number}: {match.group()}")
    assert found == []
