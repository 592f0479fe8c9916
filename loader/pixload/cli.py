"""Entry of the `pix` command."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

import click

from pixload.commands.algorithms import algorithms
from pixload.commands.bandit import bandit, next_, undo, vote
from pixload.commands.classifier import classifier, classify
from pixload.commands.cluster import cluster
from pixload.commands.database import doctor, migrate
from pixload.commands.demo import demo, sample
from pixload.commands.features import extract
from pixload.commands.index import index
from pixload.commands.load import load
from pixload.commands.map import map_, pca
from pixload.commands.model import model
from pixload.commands.nearest import duplicates, graph, nearest
from pixload.commands.plot import plot
from pixload.commands.report import report
from pixload.commands.server import psql, server
from pixload.commands.users import explain, recommend, users
from pixload.database import Database
from pixload.errors import PixError
from pixload.private_server import PrivateServer


def default_home() -> Path:
    """Return `.pix` of the checkout that this command is installed in, or of the current folder."""
    home = Path(sys.prefix).parent
    return home if home.name == ".pix" else Path.cwd() / ".pix"


class Commands(click.Group):
    """Commands whose trouble with files and their names is told like any other failure."""

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


for command in (
    server, psql, migrate, doctor, algorithms, sample, load, model, extract, nearest, index, graph, duplicates, cluster,
    map_, pca, vote, undo, next_, bandit, recommend, explain, users, report, plot, classifier, classify, demo,
):  # fmt: skip
    main.add_command(command)

if __name__ == "__main__":
    main()
