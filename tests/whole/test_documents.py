"""Every code block of README and docs is run; what needs Docker or another machine is checked as text."""

import ast
import importlib
import os
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
import zlib
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FENCE = re.compile(r"^```(\w*)\n(.*?)^```", re.DOTALL | re.MULTILINE)
DOCUMENTS = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")])
RUN = {"bash", "python"}
TEXT = {"console", "text", ""}  # console: commands for another machine, checked word by word below


def blocks(document: Path) -> list[tuple[str, str]]:
    """The fenced blocks of a document: language and text."""
    return FENCE.findall(document.read_text())


COMMAND = """
import subprocess, sys

def gradwire_command(*words):
    # In this process: it has imported TensorFlow already.
    from gradwire._cli.main import main
    sys.argv = ["gradwire", *words]
    try:
        main()
    except SystemExit as end:
        assert not end.code, (words, end.code)
"""


def commands(block: str) -> list[list[str]] | None:
    """The words of a block's lines, where each is `gradwire` and needs no shell; else None."""
    lines = [line for line in block.replace("\\\n", " ").splitlines() if line.strip() and not line.startswith("#")]
    if any(set("|&;<>$`*~") & set(line) or not line.startswith("gradwire ") for line in lines):
        return None
    return [shlex.split(line, comments=True)[1:] for line in lines]


def as_script(document: Path, address: str) -> str:
    """All Python blocks as one program, the shell's in between, asking the server at another address."""
    lines = [COMMAND]
    for language, block in blocks(document):
        text = block.replace("localhost:8500", address)
        if language == "bash" and (plain := commands(text)) is not None:
            lines += [f"gradwire_command(*{words!r})" for words in plain]
        elif language == "bash":
            lines.append(f"subprocess.run({text!r}, shell=True, check=True, executable='/bin/bash')")
        elif language == "python":
            lines.append(text)
    return "\n".join(lines)


@pytest.mark.parametrize("name", [path.name for path in DOCUMENTS])
def test_every_block_has_a_known_language(name):
    """A block in another language would not be run, and nobody would notice."""
    document = next(path for path in DOCUMENTS if path.name == name)
    assert {language for language, _ in blocks(document)} <= RUN | TEXT


@pytest.mark.timeout(900)  # the guide trains, exports and serves a dozen times
@pytest.mark.slow
@pytest.mark.parametrize(
    "name",
    [
        "README.md",
        "batch.md",
        "client.md",
        "command-line.md",
        "derivatives.md",
        "guide.md",
        "problems.md",
        "quickstart.md",
        "serving.md",
        "solve.md",
        "sources.md",
        "training.md",
        "verification.md",
    ],
)
def test_the_blocks_of_a_document_run(name, workplace, tmp_path, monkeypatch, serve):
    """In order, in one directory, beside a server of what was exported before."""
    document = next(path for path in DOCUMENTS if path.name == name)
    shutil.copytree(workplace / "models", tmp_path / "models")
    shutil.copytree(workplace / "build", tmp_path / "build")
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:/usr/bin:/bin")
    shell = [text for language, text in blocks(document) if language == "bash"]
    if "localhost:8500 price" in "".join(shell):
        make_price(tmp_path)
    with serve("models", cwd=tmp_path) as server:
        done = subprocess.run(
            [sys.executable, "-c", as_script(document, server.address)],
            cwd=tmp_path, capture_output=True, text=True, check=False,
        )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr


def make_price(place: Path) -> None:
    """A package with the guide's two inputs, so that its server can start before the guide exports its own."""
    code = (
        "import tensorflow as tf; from gradwire_export import export; spec = tf.TensorSpec((None, 1));"
        "export(lambda spot, rate: {'price': spot * tf.exp(-rate)}, to='models/price', inputs={'spot': spec, 'rate': spec})"
    )
    subprocess.run([sys.executable, "-c", code], cwd=place, check=True, capture_output=True)


def test_make_targets_in_documents_exist():
    """Every `make target` in a document is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for document in DOCUMENTS:
        named = set(re.findall(r"(?:^|`|    )make ([a-z-]+)", document.read_text(), re.MULTILINE))
        assert named <= targets, f"{document.name}: {named - targets}"


def test_the_numbers_of_the_readme_were_measured():
    """Every time, error and ratio in the README's table stands in a result that `make bench` wrote."""
    results = "".join(path.read_text() for path in (ROOT / "benchmarks" / "results").glob("*.md"))
    table = (ROOT / "README.md").read_text().split("## Numbers")[1].split("\n## ")[0]
    cells = [cell for line in table.splitlines() if line.startswith("| ") for cell in line.split("|")[2:4]]
    numbers = re.findall(r"\b[\d.]+(?:e-\d+)?(?= (?:s|ms|times)\b)|\b0\.\d+|\b\d\.\d+e-\d+", "\n".join(cells))
    assert len(numbers) > 12
    assert [number for number in numbers if number not in results] == []


def test_links_between_documents_lead_somewhere():
    """Every relative link in a document is a file of the repository."""
    for document in DOCUMENTS:
        for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", document.read_text()):
            assert (document.parent / link).exists(), f"{document.name}: {link}"


MODULES = (
    "gradwire",
    "gradwire.aio",
    "gradwire.batch",
    *(f"gradwire.{bridge}" for bridge in ("scipy", "jax", "torch", "tensorflow", "openmdao", "umbridge")),
    "gradwire_training",
    "gradwire_training.networks",
    "gradwire_training.optimizers",
    "gradwire_training.problems",
    "gradwire_export",
    "gradwire_serving",
)


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The documentation as `make docs` builds it: strictly, so that a broken link or reference fails."""
    place = tmp_path_factory.mktemp("site")
    words = [Path(sys.executable).with_name("mkdocs"), "build", "--strict", "--site-dir", place]
    environment = {**os.environ, "NO_MKDOCS_2_WARNING": "1"}
    done = subprocess.run(words, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    return place


@pytest.mark.slow
def test_the_reference_has_every_public_name(site):
    """Every name of an `__all__` has an entry in the API reference."""
    inventory = zlib.decompress((site / "objects.inv").read_bytes().split(b"\n", 4)[4]).decode()
    documented = {line.split()[0] for line in inventory.splitlines()} | {*MODULES, "gradwire_training.losses"}
    public = {f"{module}.{name}" for module in MODULES for name in importlib.import_module(module).__all__}
    assert public - documented == set()


@pytest.mark.slow
def test_the_documentation_needs_no_other_machine(site):
    """A reader's browser fetches no font, script or image from elsewhere."""
    pages = list(site.rglob("*.html"))
    assert len(pages) > len(MODULES)
    for page in pages:
        text = page.read_text()
        assert re.findall(r"<(?:script|img|iframe)\b[^>]*\bsrc=\"?(?:https?:)?//[^>]*", text) == [], page.name
        assert re.findall(r"<link\b[^>]*\bhref=\"?(?:https?:)?//[^>]*", text) == [], page.name


def template(node: ast.Constant | ast.JoinedStr) -> str:
    """A string of the source, with NUL where a value is put in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(part.value) if isinstance(part, ast.Constant) else "\0" for part in node.values)
    return node.value if isinstance(node.value, str) else ""


@pytest.mark.slow
def test_the_messages_of_troubleshooting_are_in_the_source():
    """Each message that the page quotes is a message of the code; `…` stands for what varies."""
    trees = [
        ast.parse(path.read_text())
        for folder in ("client", "export", "serving", "training")
        for path in (ROOT / folder).rglob("*.py")
    ]
    nodes = [node for tree in trees for node in ast.walk(tree) if isinstance(node, ast.Constant | ast.JoinedStr)]
    templates = "\n\n".join({template(node).replace("\n", " ") for node in nodes})
    rows = re.findall(r"^\| (`.*?) \| ", (ROOT / "docs" / "troubleshooting.md").read_text(), re.MULTILINE)
    quotes = [quote for row in rows for quote in re.findall("`([^`]+)`", row) if not quote.isidentifier()]
    assert len(quotes) > 100
    patterns = {quote: ".*".join(re.escape(words.strip()) for words in quote.split("…")) for quote in quotes}
    assert [quote for quote, pattern in patterns.items() if not re.search(pattern, templates)] == []


ARCHITECTURE = (ROOT / "docs" / "architecture.md").read_text()


def test_the_architecture_lists_the_folders_in_the_order_of_their_layers():
    """The tables of architecture.md are import-linter's layers, from the top down."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = {contract["name"]: contract["layers"] for contract in contracts if "containers" in contract}
    sections = dict(re.findall(r"^### (\S+/\S+)\n(.*?)(?=^##)", ARCHITECTURE, re.DOTALL | re.MULTILINE))
    assert sections.keys() == layers.keys()
    for package, section in sections.items():
        rows = re.findall(r"^\| (`.*?) \|", section, re.MULTILINE)
        listed = [name for row in rows for name in re.findall(r"`(\w+)`", row)]
        assert listed == [name for layer in layers[package] for name in layer.split(" | ")]
        there = {
            path.stem for path in (ROOT / package).iterdir() if path.suffix == ".py" or (path / "__init__.py").exists()
        }
        assert there - {"__init__"} == set(listed)


def test_the_walks_of_the_architecture_name_what_is_there():
    """Each row of a walk names a file, and classes or functions in it."""
    rows = re.findall(r"^\| `(\S+\.py)` \| (`[^|]*`) \|", ARCHITECTURE, re.MULTILINE)
    assert len(rows) > 20
    for file, cell in rows:
        text = (ROOT / file).read_text()
        names = [name for words in re.findall(r"`([\w.]+)`", cell) for name in words.split(".")]
        assert [name for name in names if not re.search(rf"\b(?:def|class) {name}\b", text)] == [], file


def test_the_classes_in_the_glossary_exist():
    """A term's class, in parentheses behind it, is a class of the source."""
    source = "".join(
        path.read_text() for top in ("client", "training", "export") for path in (ROOT / top).rglob("*.py")
    )
    named = re.findall(r"\*\* \(`(\w+)`\): ", (ROOT / "docs" / "glossary.md").read_text().replace("\n  ", " "))
    assert len(named) > 5
    assert [name for name in named if not re.search(rf"^class {name}\b", source, re.MULTILINE)] == []


def test_the_paths_in_documents_exist():
    """Every path of the repository that a document names."""
    for document in DOCUMENTS:
        text = document.read_text()
        for path in re.findall(r"`((?:client|training|export|serving|tests|docs|benchmarks|examples)/[\w/.]+)`", text):
            assert (ROOT / path).exists() or document.name == "CHANGELOG.md", f"{document.name}: {path}"


@pytest.mark.slow
@pytest.mark.parametrize("name", ["plain_function.py", "own_model.py"])
def test_examples_run_and_are_right(name, tmp_path):
    """An example prints its errors; they are small."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / name], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    numbers = [float(number) for number in re.findall(r"(?:error|place:|and) ?([0-9.e-]+)", done.stdout)]
    limit = 1.0 if name == "plain_function.py" else 1e-3
    assert numbers
    assert max(numbers) <= limit, done.stdout


@pytest.mark.slow
def test_the_demo_runs(tmp_path):
    """`make demo` ends with a table from the served package, its errors, its files, and the next command."""
    done = subprocess.run(
        [sys.executable, ROOT / "examples" / "demo.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "over gRPC" in done.stdout
    assert "worst of 1,000 points" in done.stdout
    assert "Traceback" not in done.stdout + done.stderr
    for path in re.findall(r"^  (build/\S+)$", done.stdout, re.MULTILINE):
        assert (tmp_path / path).is_file()
    assert "gradwire serve" in done.stdout.splitlines()[-1]
    noise = [line for line in done.stderr.splitlines() if re.match(r"[IWE]\d{4} |WARNING", line)]
    assert noise == []
