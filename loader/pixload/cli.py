"""Entry of the `pix` command."""

from __future__ import annotations

import os
import signal
import sys
from importlib import import_module
from pathlib import Path

import click

from pixload.database import Database
from pixload.errors import PixError
from pixload.private_server import PrivateServer

COMMANDS = {
    "algorithms": "algorithms.algorithms",
    "bandit": "bandit.bandit",
    "classifier": "classifier.classifier",
    "classify": "classifier.classify",
    "cluster": "cluster.cluster",
    "demo": "demo.demo",
    "doctor": "database.doctor",
    "duplicates": "nearest.duplicates",
    "explain": "users.explain",
    "extract": "features.extract",
    "graph": "nearest.graph",
    "index": "index.index",
    "load": "load.load",
    "map": "map.map_",
    "migrate": "database.migrate",
    "model": "model.model",
    "nearest": "nearest.nearest",
    "next": "bandit.next_",
    "pca": "map.pca",
    "plot": "plot.plot",
    "psql": "server.psql",
    "recommend": "users.recommend",
    "report": "report.report",
    "sample": "demo.sample",
    "server": "server.server",
    "undo": "bandit.undo",
    "users": "users.users",
    "vote": "bandit.vote",
}
"""Where each command is, in the package `pixload.commands`."""


def default_home() -> Path:
    """Return `.pix` of the checkout that this command is installed in, or of the current folder."""
    home = Path(sys.prefix).parent
    return home if home.name == ".pix" else Path.cwd() / ".pix"


class Commands(click.Group):
    """Commands that are imported when they are called, and whose trouble with files is told like any other failure."""

    def list_commands(self, context: click.Context | None) -> list[str]:
        return sorted(COMMANDS)

    def get_command(self, context: click.Context | None, name: str) -> click.Command | None:
        if name not in COMMANDS:
            return None
        module, command = COMMANDS[name].split(".")
        return getattr(import_module(f"pixload.commands.{module}"), command)

    def invoke(self, context: click.Context):
        # SIGTERM ends a command as Ctrl-C does: what it runs in the server is canceled.
        signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
        if sys.stdout is not None:
            sys.stdout.reconfigure(errors="backslashreplace")  # names of files can be bytes that are not text
        try:
            return super().invoke(context)
        except BrokenPipeError:
            raise
        except OSError as error:
            raise PixError(f"{error.filename or 'A file'}: {error.strerror or error}") from error
        except UnicodeEncodeError as error:  # an argument, which Python takes as it comes
            raise PixError(f"{error.object[:100]!r} is not text in UTF-8.", "Write names and ids in UTF-8.") from error


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="pixelplum", prog_name="pix")
@click.option("--dsn", envvar="PIX_DSN", help="Connection string or URL; default: the private server.")
@click.option(
    "--home", envvar="PIX_HOME", type=click.Path(file_okay=False, path_type=Path), default=default_home,
    help="Folder of the private server; default: .pix of the checkout.",
)  # fmt: skip
@click.pass_context
def main(context: click.Context, dsn: str | None, home: Path) -> None:
    """Images in PostgreSQL: load them, extract features, find look-alikes.

    Example: pix load images images/ && pix extract && pix nearest B005IYS5ZA
    """
    context.obj = Database(dsn or None, PrivateServer(Path(os.path.abspath(home))))


if __name__ == "__main__":
    main()
