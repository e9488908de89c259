"""The house: imports point down, nothing goes round in a circle, nothing heavy loads before it is needed."""

import ast
import pickle
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from datasets_cards import EchosetError

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGES = ("datasets_cards", "labelers", "shift", "trainers", "organisms", "echoset")
MAY_IMPORT = {
    "datasets_cards": set(),
    "labelers": {"datasets_cards"},
    "shift": {"datasets_cards"},
    "trainers": {"datasets_cards", "labelers"},
    "organisms": {"datasets_cards", "labelers"},
    "echoset": {"datasets_cards", "labelers", "shift", "trainers", "organisms"},
}
HEAVY = (
    "torch",
    "transformers",
    "datasets",
    "sentence_transformers",
    "peft",
    "scipy",
    "sklearn",
    "matplotlib",
    "aiohttp",
    "vllm",
    "ray",
)


def modules() -> dict[str, Path]:
    found = {}
    for package in PACKAGES:
        for path in sorted((REPOSITORY / package).rglob("*.py")):
            parts = path.relative_to(REPOSITORY).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


def runtime_imports(path: Path) -> set[str]:
    """Our modules that a file imports, inside functions too; imports for type checkers only are not followed."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body = []
    known, found = modules(), set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            submodules = {f"{node.module}.{alias.name}" for alias in node.names} & known.keys()
            found |= submodules
            # `from package import module` needs the package's own file only when it takes a name from it.
            if len(submodules) < len(node.names):
                found.add(node.module)
    return {name for name in found if name.split(".")[0] in PACKAGES}


def test_every_package_of_the_house_is_listed_for_the_build() -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))
    assert set(project["tool"]["uv"]["build-backend"]["module-name"]) == set(PACKAGES)


def test_imports_point_down() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules().items()
        for imported in runtime_imports(path)
        if imported.split(".")[0] not in MAY_IMPORT[name.split(".")[0]] | {name.split(".")[0]}
    ]
    assert not wrong


def test_trainers_and_organisms_know_only_the_engines_of_labelers() -> None:
    wrong = [
        f"{name} imports {imported}"
        for name, path in modules().items()
        if name.split(".")[0] in ("trainers", "organisms")
        for imported in runtime_imports(path)
        if imported.startswith("labelers") and not imported.startswith("labelers.engines")
    ]
    assert not wrong


def test_only_the_front_door_and_organisms_know_the_name_tiny() -> None:
    wrong = [
        name
        for name, path in modules().items()
        if name.split(".")[0] not in ("organisms", "echoset") and '"tiny"' in path.read_text(encoding="utf-8")
    ]
    assert not wrong


def test_no_circles_of_modules() -> None:
    graph = {name: runtime_imports(path) & modules().keys() for name, path in modules().items()}
    done: set[str] = set()

    def visit(name: str, trail: list[str]) -> None:
        assert name not in trail, " -> ".join([*trail, name])
        if name not in done:
            for imported in graph[name] - {name}:
                visit(imported, [*trail, name])
            done.add(name)

    for name in graph:
        visit(name, [])


@pytest.mark.parametrize(
    "command",
    [
        "import labelers, shift, trainers, datasets_cards, organisms",
        "import sys; from echoset.cli import main; sys.argv = ['echoset']; main(['--help'])",
    ],
)
def test_nothing_heavy_is_imported_until_needed(command: str) -> None:
    check = f"\nimport sys; heavy = [m for m in {HEAVY!r} if m in sys.modules]; assert not heavy, heavy"
    result = subprocess.run([sys.executable, "-c", command + check], cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr


def every_kind(kind: type[EchosetError]) -> list[type[EchosetError]]:
    return [kind, *(deeper for child in kind.__subclasses__() for deeper in every_kind(child))]


@pytest.mark.parametrize("kind", every_kind(EchosetError))
def test_every_error_comes_back_whole_from_a_worker_process(kind: type[EchosetError]) -> None:
    extra = ("code",) if kind.__name__ == "RowError" else ()
    error = kind(*extra, "it is broken", where="rows.jsonl:3", remedy="Mend it.")
    copy = pickle.loads(pickle.dumps(error))
    assert type(copy) is kind and str(copy) == str(error) == "rows.jsonl:3: it is broken. Mend it."
    assert vars(copy) == vars(error)


def test_files_stay_small_enough_to_read() -> None:
    long = {name: n for name, path in modules().items() if (n := len(path.read_text().splitlines())) > 420}
    assert not long
