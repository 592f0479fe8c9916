"""The documentation says what is true."""

import ast
import importlib.util
import os
import re
import shutil
import subprocess
from pathlib import Path

import click
import psycopg2
import pytest
import yaml

from pixload.cli import main as pix
from tests.helpers import generator

CHECKOUT = Path(__file__).parents[2]
DOCS = [CHECKOUT / "README.md", CHECKOUT / "CONTRIBUTING.md", *sorted((CHECKOUT / "docs").rglob("*.md"))]


def commands(command=pix, path=("pix",)):
    yield path, command
    if isinstance(command, click.Group):
        for name in command.list_commands(None):
            yield from commands(command.get_command(None, name), (*path, name))


def blocks(path: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", path.read_text(), re.DOTALL)


def statements(block: str) -> list[str]:
    """Split SQL at semicolons, but not within $$."""
    whole = re.findall(r"(?:\$\$.*?\$\$|[^;])+", block, re.DOTALL)
    return [statement for statement in map(str.strip, whole) if statement]


def test_every_command_has_help_with_an_example():
    for path, command in commands():
        assert command.help, path
        assert f"Example: {' '.join(path[:2])}" in command.help, path
        for parameter in command.params:
            if isinstance(parameter, click.Option):
                assert parameter.help, (path, parameter.name)


def test_examples_in_help_are_commands_with_known_options():
    expected = dict(commands())
    for path, command in expected.items():
        example = re.search(r"Example: (.*)", command.help).group(1).split(" -- ")[0]
        for part in example.split(" && "):
            words = part.split()
            depth = max(n for n in range(1, len(words) + 1) if tuple(words[:n]) in expected)
            options = {option for parameter in expected[tuple(words[:depth])].params for option in parameter.opts}
            assert {word for word in words[depth:] if word.startswith("-")} <= options, path


def test_reference_is_generated_from_what_is_there(server):
    generate = generator()
    connection = psycopg2.connect(server.dsn(server.name("template")))
    assert (CHECKOUT / "docs/reference/sql.md").read_text() == generate.sql_reference(connection), "run: make docs"
    connection.close()
    assert (CHECKOUT / "docs/reference/commands.md").read_text() == generate.command_reference(), "run: make docs"


def test_sql_in_the_docs_runs(extracted, boots):
    """Every SQL block of README, tutorial and how-to, in a database with boots in it."""
    extracted.pix("load", "metadata", boots / "metadata.json.gz")
    extracted.pix("load", "labels", boots / "labels.csv")
    item_id = extracted.value("SELECT min(item_id) FROM pix.images")
    ran = 0
    for path in DOCS:
        if "reference" in path.parts:
            continue
        for block in blocks(path, "sql"):
            block = block.replace("PXJTJYZVFR", item_id).replace("B005IYS5ZA", item_id)
            for statement in statements(block):
                extracted.ask(statement)
                ran += 1
    assert ran >= 5


def test_sql_for_pgvector_runs(extracted):
    if not extracted.value("SELECT count(*) FROM pg_available_extensions WHERE name = 'vector'"):
        pytest.skip("pgvector is not installed here")
    item_id = extracted.value("SELECT min(item_id) FROM pix.images")
    ran = [
        extracted.ask(statement.replace("PXJTJYZVFR", item_id), role=None)
        for path in DOCS
        for block in blocks(path, "pgsql")
        for statement in statements(block)
    ]
    assert ran[-1][0] == (item_id,)


def test_commands_in_the_docs_exist():
    expected = {path for path, _ in commands()}
    targets = set(re.findall(r"^([a-z]+):", (CHECKOUT / "Makefile").read_text(), re.M))
    for path in DOCS:
        for block in blocks(path, "sh"):
            for line in block.splitlines():
                words = line.split("#")[0].split()
                if not words:
                    continue
                if words[0] == "make":
                    assert words[1] in targets, (path, line)
                if words[0].endswith("pix"):
                    words = [word for word in words[1:] if not word.startswith("-")]
                    assert ("pix", words[0]) in expected, (path, line)


def test_links_lead_somewhere():
    for path in DOCS:
        for target in re.findall(r"\]\(([^)#]+)", path.read_text()):
            if "://" not in target:
                assert (path.parent / target).exists(), (path, target)


def test_layers_import_only_downwards():
    forbidden = {
        "plpython/pixelplum/untrusted": ("pixelplum.core", "pixelplum.server", "pixload", "plpy"),
        "plpython/pixelplum/core": ("pixelplum.server", "pixload", "plpy"),
        "plpython/pixelplum/server": ("pixload", "plpy"),
        "loader/pixload": ("pixelplum.core", "pixelplum.server"),
    }
    for folder, names in forbidden.items():
        files = list((CHECKOUT / folder).rglob("*.py"))
        assert files
        for path in files:
            for node in ast.walk(ast.parse(path.read_text())):
                modules = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
                modules += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
                for module in modules:
                    assert not any(module == name or module.startswith(f"{name}.") for name in names), (
                        path,
                        module,
                    )


def test_commands_import_nothing_of_one_another():
    """What several commands need is beside them, in a module named for it."""
    for path in (CHECKOUT / "loader/pixload/commands").glob("*.py"):
        assert "pixload.commands" not in path.read_text(), path


def test_the_command_calls_nothing_internal():
    """But where the schema is written, and where COPY needs a staging table."""
    for path in (CHECKOUT / "loader").rglob("*.py"):
        if path.name not in ("migration.py", "merge.py"):
            assert "pix_internal" not in path.read_text(), path


def test_public_functions_have_docstrings():
    for path in [*(CHECKOUT / "plpython").rglob("*.py"), *(CHECKOUT / "loader").rglob("*.py")]:
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, ast.FunctionDef | ast.ClassDef) and not node.name.startswith("_"):
                is_helper = isinstance(node, ast.FunctionDef) and len(node.body) < 12
                assert ast.get_docstring(node) or is_helper, f"{path}: {node.name}"


def test_model_card_states_what_was_measured():
    card = (CHECKOUT / "loader/pixload/networks/mini_inception.md").read_text()
    accuracy = float(re.search(r"10 nearest neighbors\D*(0\.\d+)", card).group(1))
    assert accuracy >= 0.70


def test_scripts_are_sound_and_there():
    for script in (CHECKOUT / "tools").glob("*.sh"):
        subprocess.run(["bash", "-n", script], check=True)
        assert os.access(script, os.X_OK), script
    for dockerfile in CHECKOUT.glob("Dockerfile*"):
        named = re.findall(r"tools/\w+\.sh", dockerfile.read_text())
        assert named
        for script in named:
            assert (CHECKOUT / script).exists(), (dockerfile, script)


def test_installation_compiles_the_package():
    """The server's user cannot, and would do it again for each session."""
    for path in (CHECKOUT / "plpython").rglob("*.py"):
        assert Path(importlib.util.cache_from_source(path)).exists(), f"{path}: run make install"


def test_compose_file_has_no_default_password():
    services = yaml.safe_load((CHECKOUT / "docker-compose.yml").read_text())["services"]
    assert set(services) == {"db", "greenplum"}
    for service in services.values():
        passwords = [value for name, value in service["environment"].items() if "PASSWORD" in name]
        assert passwords
        assert all(value.startswith("${POSTGRES_PASSWORD:?") for value in passwords)
        assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert services["greenplum"]["profiles"] == ["greenplum"]


def test_installation_on_a_greenplum_host_names_what_is_missing(tmp_path):
    """Without a Greenplum there, and with one whose PL/Python links too old a Python."""
    script = CHECKOUT / "tools" / "install_greenplum.sh"
    environment = os.environ | {"GPHOME": str(tmp_path)}
    missing = subprocess.run([script, tmp_path / "venv"], env=environment, capture_output=True, text=True)
    assert missing.returncode == 1
    assert f"plpython3.so) under {tmp_path}/lib" in missing.stderr
    (tmp_path / "lib").mkdir()
    shutil.copy(shutil.which("true"), tmp_path / "lib" / "plpython3.so")
    other = subprocess.run([script, tmp_path / "venv"], env=environment, capture_output=True, text=True)
    assert other.returncode == 1
    assert "needs 3.11 or later" in other.stderr
    assert not (tmp_path / "etc").exists()


def test_container_refuses_to_start_without_a_password():
    environment = {name: value for name, value in os.environ.items() if name != "POSTGRES_PASSWORD"}
    result = subprocess.run([CHECKOUT / "tools" / "container.sh"], env=environment, capture_output=True, text=True)
    assert result.returncode != 0
    assert "no default password" in result.stderr


@pytest.mark.exhaustive
def test_shipped_model_is_as_good_as_its_card(data):
    """10-nearest-neighbor accuracy on the held-out tenth, by the training script's own measure."""
    import numpy as np

    from pixelplum.core.networks.onnx import Network
    from pixload.models import SHIPPED

    spec = importlib.util.spec_from_file_location("train_mini_model", CHECKOUT / "tools" / "train_mini_model.py")
    train = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(train)
    paths = sorted((data / "clothing").glob("*/*.jpg"))
    network = Network(SHIPPED["mini_inception"])
    features = np.stack([network.embed(path.read_bytes()) for path in paths])
    names = sorted({path.parent.name for path in paths})
    labels = np.array([names.index(path.parent.name) for path in paths])
    held_out = np.array([train.is_held_out(path) for path in paths])
    accuracy = train.neighbor_accuracy(features[~held_out], labels[~held_out], features[held_out], labels[held_out])
    card = (CHECKOUT / "loader/pixload/networks/mini_inception.md").read_text()
    stated = float(re.search(r"10 nearest neighbors\D*(0\.\d+)", card).group(1))
    assert accuracy == pytest.approx(stated, abs=0.006)


def test_every_error_is_listed():
    listed = set(re.findall(r"^\| (PX\w{3}) \|", (CHECKOUT / "docs/reference/errors.md").read_text(), re.M))
    sources = [*(CHECKOUT / "sql").glob("*.sql"), CHECKOUT / "plpython/pixelplum/errors.py"]
    raised = {code for path in sources for code in re.findall(r"['\"](PX\w{3})['\"]", path.read_text())}
    assert raised - {"PX000"} == listed
