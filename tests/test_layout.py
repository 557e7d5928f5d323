"""The order of modules that the docstring of the library draws is the one that imports follow."""

import ast
from pathlib import Path

import vae_lib

LIBRARY = Path(vae_lib.__file__).parent


def drawn() -> list[set[str]]:
    """The groups of modules, in order: an arrow and a new line of the drawing begin another."""
    drawing = vae_lib.__doc__.split("::\n\n")[1].split("\n\n")[0]
    # The first ten letters of a line are its title, four more its indentation.
    groups = " -> ".join(line[14:] for line in drawing.splitlines()).replace("-> ->", "->")
    return [set(group.strip().split(", ")) for group in groups.split("->")]


def imported(source: str) -> set[str]:
    """The modules of the library that a source imports, wherever it does so."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, "a relative import"
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("vae_lib.")}
    return found


def sources() -> dict[str, list[str]]:
    """Name in the drawing -> texts; ``figures`` is one of its names."""
    found: dict[str, list[str]] = {}
    for path in LIBRARY.rglob("*.py"):
        name = path.relative_to(LIBRARY).with_suffix("").parts[0]
        found.setdefault(name, []).append(path.read_text("utf-8"))
    del found["__init__"]
    return found


def against_the_order(name: str, source: str) -> set[str]:
    """What a module imports although it is not drawn before it. ``sweep`` runs as itself."""
    before: set[str] = set()
    for group in drawn():
        if name in group:
            return imported(source) - before - {name}
        before |= group
    raise AssertionError(f"{name} is not drawn")


def test_every_module_is_drawn_once():
    names = [name for group in drawn() for name in group]
    assert sorted(names) == sorted(sources())


def test_a_module_imports_only_what_is_drawn_before_it():
    wrong = {
        name: later
        for name, texts in sources().items()
        if (later := against_the_order(name, "\n".join(texts)))
    }
    assert wrong == {}


def test_an_import_against_the_order_is_noticed_wherever_it_stands():
    later = against_the_order
    assert (
        later("ppca", "from vae_lib import checks, ppca\nfrom vae_lib.spectrum import x") == set()
    )
    assert later("checks", "def f():\n    from vae_lib.sweep import sweep") == {"sweep"}
    assert later("vae", "import vae_lib.figures.style as style, os") == {"figures"}
    assert later("claims", "from vae_lib import tables, poster") == {"poster"}, "of its own group"
