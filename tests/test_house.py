"""The rules of the house, read off the files themselves."""

import ast
import importlib
import os
import re
import statistics
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

import htr
from htr import options

ROOT = Path(__file__).resolve().parent.parent
MODULES = sorted((ROOT / "htr").glob("*.py"))
DOCS = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
TEXTS = {".py", ".md", ".toml", ".txt", ".ipynb", ".json", ".csv", ".yml", ""}

FLOORS = [
    "charset config config_check files onnx_check libtiff metrics ink masks letters names listing options workers",
    """samples columnar columns checking rows tables page_xml polygon iam images augment warp synth hand paper strokes
    outlines fonts vocabulary padding keras_metrics masking normalization recurrent losses ctc lattice decoding feeder
    opening plotting cache devices blocks hub
    calibration report_parts alignment corrections audit_page beam language""",
    "model ctc_variants search onnx_graph",
    "objectives",
    "batches checkpoint learner",
    "engines transcriber",
    "evaluation run align",
    "training progress report_sections report_confidence export bulk",
    "board cli_shared report audit demo demo_parts demo_page demo_gate demo_server",
    "cli_data cli_train cli_read cli_export cli_demo",
    "cli",
    "__main__",
]
FLOOR = {name: floor for floor, names in enumerate(FLOORS) for name in names.split()}
BACKENDS = {"tensorflow", "jax", "torch"}


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imported(path: Path, *, functions: bool = True) -> set[str]:
    """The dotted names that a file imports, in functions too or not, but for what only the type checker reads."""
    nodes: list[ast.AST] = [tree(path)]
    names: set[str] = set()
    while nodes:
        node = nodes.pop()
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        if isinstance(node, ast.FunctionDef) and not functions:
            continue
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        if isinstance(node, ast.ImportFrom) and node.module:
            names |= {f"{node.module}.{alias.name}" for alias in node.names}
        nodes += ast.iter_child_nodes(node)
    return names


def roots(names: set[str]) -> set[str]:
    return {name.split(".")[0] for name in names}


def neighbours(path: Path) -> set[str]:
    """The modules of htr that a file imports."""
    parts = [name.split(".") for name in imported(path) if name.startswith("htr.")]
    return {part[1] for part in parts if part[1] in {module.stem for module in MODULES}}


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def test_every_module_has_a_floor():
    assert {module.stem for module in MODULES} - {"__init__"} == set(FLOOR)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_imports_go_down_or_stay(module):
    floor = FLOOR.get(module.stem, -1)
    assert {name for name in neighbours(module) if FLOOR[name] > floor} == set()


def test_imports_have_no_circle():
    left = {module.stem: neighbours(module) for module in MODULES}
    while free := {name for name, needs in left.items() if not needs & set(left)}:
        left = {name: needs for name, needs in left.items() if name not in free}
    assert left == {}


def test_a_backend_is_imported_where_a_kernel_of_its_own_pays_and_only_when_it_runs():
    own = {"ctc", "recurrent", "export", "devices"}
    assert {module.stem for module in MODULES if roots(imported(module)) & BACKENDS} <= own
    assert not any(roots(imported(module, functions=False)) & BACKENDS for module in MODULES)


@pytest.mark.parametrize("path", [*MODULES, *sorted((ROOT / "benchmarks").glob("*.py"))], ids=named)
def test_files_and_functions_stay_small(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) < 300
    functions = [node for node in ast.walk(tree(path)) if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)]
    assert [node.name for node in functions if node.end_lineno - node.lineno > 60] == []


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_the_library_neither_prints_nor_asserts(module):
    nodes = list(ast.walk(tree(module)))
    assert [node.lineno for node in nodes if isinstance(node, ast.Assert)] == []
    prints = [node.lineno for node in nodes if isinstance(node, ast.Call) and ast.unparse(node.func) == "print"]
    assert not prints or module.stem.startswith(("cli", "__main__"))


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.stem)
def test_modules_and_public_functions_say_what_they_are(module):
    names = [] if ast.get_docstring(tree(module)) else [module.stem]
    for node in tree(module).body:
        public = isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_")
        names += [node.name] if public and not ast.get_docstring(node) else []
    assert names in ([], ["main"])


def test_public_names_exist():
    assert len(set(htr.__all__)) == len(htr.__all__)
    for name in htr.__all__:
        assert getattr(htr, name) is not None
    assert set(htr.__all__) <= set(dir(htr))
    for module in MODULES:
        loaded = (
            importlib.import_module(f"htr.{module.stem}") if module.stem in FLOOR and module.stem[0] != "_" else htr
        )
        assert [name for name in getattr(loaded, "__all__", []) if not hasattr(loaded, name)] == []


def test_an_unknown_name_is_refused_with_those_there_are():
    with pytest.raises(AttributeError, match=r"no attribute 'lode'; it has .*load"):
        _ = htr.lode


def test_import_loads_nothing_heavy():
    code = "import sys, htr, htr.cli; print(*sorted({name.split('.')[0] for name in sys.modules}))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert set(loaded) & {*BACKENDS, "keras", "numpy", "PIL", "cv2", "datasets", "pyarrow", "tqdm"} == set()


def test_help_takes_a_tenth_of_a_second_more_than_python_itself():
    def seconds(*arguments: str) -> float:
        """Of the processor: other work on the machine does not count."""
        start = sum(os.times()[2:4])
        subprocess.run([sys.executable, *arguments], capture_output=True, check=True)
        return sum(os.times()[2:4]) - start

    turns = [seconds("-m", "htr", "--help") - seconds("-c", "pass") for _ in range(9)]
    assert statistics.median(turns) < 0.1


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", path.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("path", DOCS, ids=named)
def test_python_blocks_of_docs_parse_and_use_public_names(path):
    for block in blocks(path, "python"):
        used = {ast.unparse(node) for node in ast.walk(ast.parse(block)) if isinstance(node, ast.Attribute)}
        names = {name.split(".")[1] for name in used if name.startswith("htr.")}
        assert names <= {*htr.__all__, *FLOOR}


@pytest.mark.parametrize("path", DOCS, ids=named)
def test_console_blocks_of_docs_are_commands_that_exist(path):
    targets = set(re.findall(r"^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE))
    for block in blocks(path, "console"):
        for line in re.findall(r"^\$ (.*)", block.replace("\\\n", " "), re.MULTILINE):
            program, *words = line.split("#")[0].split()
            if program == "make":
                assert set(words) <= targets
            if program == "htr" and words[0] not in ("--help", "--version"):
                options.parser().parse_args(words[: words.index("|")] if "|" in words else words)


def tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True)
    names = [name for name in listed.stdout.split("\0") if name]
    return [ROOT / name for name in names if (ROOT / name).is_file()] or [*MODULES, *DOCS]


def test_no_path_of_a_machine_and_no_index_is_named():
    machine = re.compile(r"/(work|root|tmp|home)/[a-z]")
    for path in tracked():
        if path.suffix in TEXTS and path.name != "LICENSE":
            assert not machine.search(path.read_text(encoding="utf-8")), named(path)
    assert "/" not in (ROOT / "constraints.txt").read_text(encoding="utf-8")


def test_nothing_large_is_tracked():
    assert [named(path) for path in tracked() if path.stat().st_size > 20_000_000] == []


def test_a_wheel_holds_the_package_and_the_checkpoints(tmp_path):
    build = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.glob("*.whl")
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {f"htr/{module.name}" for module in MODULES}
    expected |= {f"htr/{named(path)}" for path in (ROOT / "checkpoints").rglob("*") if path.is_file()}
    assert expected <= inside
    assert not any(name.startswith("tests") for name in inside)
