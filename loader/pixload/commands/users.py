"""pix recommend, pix explain, pix users: models of users, and what they are good for."""

from __future__ import annotations

import json

import click
from rich.console import Console

from pixload.database import Database
from pixload.errors import PixError
from pixload.options import filter_options, named_arguments
from pixload.tables import Table
from pixload.watching import run_watched

model_option = click.option(
    "--model", "model_name", help="Model of the features; default: the database's default model."
)
algorithm_option = click.option(
    "--algorithm", help="Algorithm, as pix algorithms lists it; default: what pix users rules says."
)


@click.command()
@click.argument("user_id")
@click.option("-k", type=click.IntRange(1, 10_000), default=10, show_default=True, help="Number of results.")
@algorithm_option
@model_option
@click.option("--index", "index_name", help="Index of pix index build; default: all items are scored.")
@click.option(
    "--diversity", default=0.0, show_default=True, help="Diversity: from 0, the best, to 1, the most different."
)
@filter_options
@click.pass_obj
def recommend(database: Database, **options) -> None:
    """List what USER_ID will like best, of what they have no opinion of.

    Example: pix recommend ann -k 5 --max-price 100
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT item_id, score, probability, reason FROM pix.recommend({named_arguments(options)}) ORDER BY rank",
            options,
        )
        rows = cursor.fetchall()
        cursor.execute("SELECT item_id, title FROM pix.items WHERE item_id = ANY (%s)", ([row[0] for row in rows],))
        titles = dict(cursor.fetchall())
    table = Table("item", "score", "probability", "why", "title")
    for item_id, score, probability, reason in rows:
        table.add_row(item_id, f"{score:.3f}", _shown(probability), reason, titles.get(item_id) or "")
    Console().print(table)


@click.command()
@click.argument("user_id")
@click.argument("item_id")
@algorithm_option
@model_option
@click.pass_obj
def explain(database: Database, user_id: str, item_id: str, algorithm: str | None, model_name: str | None) -> None:
    """Tell why the model of USER_ID thinks of ITEM_ID what it does.

    Example: pix explain ann B005IYS5ZA
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT aspect, item_id, value, note FROM pix.explain(%s, %s, algorithm => %s, model_name => %s)",
            (user_id, item_id, algorithm, model_name),
        )
        rows = cursor.fetchall()
    table = Table("what", "item", "value", "note")
    for aspect, item, value, note in rows:
        table.add_row(aspect, item or "", f"{value:.3f}", note)
    Console().print(table)


@click.group()
def users() -> None:
    """Models of users: training, choosing, measuring.

    Example: pix users train
    """


@users.command("train")
@click.argument("user_ids", nargs=-1, metavar="[USER_ID]...")
@algorithm_option
@model_option
@click.option("--parameters", help='Parameters of the algorithm, as JSON: {"C": 0.3}.')
@click.pass_obj
def train(
    database: Database, user_ids: tuple[str, ...], algorithm: str | None, model_name: str | None, parameters
) -> None:
    """Train the models of USER_IDs, or of all users, whose votes have changed.

    Example: pix users train --algorithm sgd_log
    """
    names = list(user_ids) or None
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pix.users WHERE %(names)s::text[] IS NULL OR user_id = ANY (%(names)s)",
            {"names": names},
        )
        (total,) = cursor.fetchone()
        cursor.execute("SELECT clock_timestamp()")
        (begun,) = cursor.fetchone()

    def look(watching, _: str) -> int:
        with watching.cursor() as cursor:
            cursor.execute("SELECT count(DISTINCT user_id) FROM pix.user_models WHERE trained_at >= %s", (begun,))
            return cursor.fetchone()[0]

    run_watched(
        database, "CALL pix.train_user_models(%s, %s, %s, %s)", (algorithm, names, model_name, _json(parameters)),
        "training models", total, look,
    )  # fmt: skip
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT algorithm, count(*), avg(auc) FROM pix.user_models WHERE trained_at >= %s GROUP BY 1 ORDER BY 1",
            (begun,),
        )
        rows = cursor.fetchall()
        cursor.execute(
            "SELECT user_id, reason FROM pix.user_model_failures WHERE failed_at >= %s ORDER BY 1 LIMIT 5", (begun,)
        )
        failures = cursor.fetchall()
    for name, number, auc in rows:
        click.echo(
            f"{number:,} models: {name}" + (f", AUC on votes they had not seen {auc:.2f}" if auc is not None else "")
        )
    if not rows:
        click.echo("All models have seen all votes.")
    for user_id, reason in failures:
        click.echo(f"{user_id}: {reason}", err=True)


@users.command("recommend")
@click.option("-k", type=click.IntRange(1, 1000), default=10, show_default=True, help="Number of items for each user.")
@algorithm_option
@model_option
@click.pass_obj
def recommend_all(database: Database, k: int, algorithm: str | None, model_name: str | None) -> None:
    """Write recommendations for all users into pix.recommendations.

    Example: pix users recommend -k 20
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT count(*), clock_timestamp() FROM pix.users")
        total, begun = cursor.fetchone()
    count = "SELECT count(DISTINCT user_id) FROM pix.recommendations WHERE recommended_at >= %s"

    def look(watching, _: str) -> int:
        with watching.cursor() as cursor:
            cursor.execute(count, (begun,))
            return cursor.fetchone()[0]

    run_watched(
        database, "CALL pix.recommend_all(%s, NULL, %s, %s)", (k, algorithm, model_name), "recommending", total, look
    )
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(count, (begun,))
        click.echo(f"recommendations for {cursor.fetchone()[0]:,} of {total:,} users")


@users.command("dimensions")
@click.argument("user_id")
@click.option(
    "--algorithm", default="sgd_log", show_default=True, help="Linear algorithm, such as sgd_log or sgd_hinge."
)
@model_option
@click.pass_obj
def dimensions(database: Database, user_id: str, algorithm: str, model_name: str | None) -> None:
    """List the numbers of the features that the model of USER_ID looks at.

    Example: pix users dimensions ann
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT dimension, weight FROM pix.selected_dimensions(%s, %s, %s)", (user_id, algorithm, model_name)
        )
        rows = cursor.fetchall()
    table = Table("dimension", "weight")
    for dimension, weight in rows:
        table.add_row(str(dimension), f"{weight:.4f}")
    Console().print(table)


@users.command("rules")
@click.option("--fit", "run", help="Make rules of this run of pix users select.")
@click.option("--min-users", default=3, show_default=True, help="Users on whom a rule must have been tried.")
@click.pass_obj
def rules(database: Database, run: str | None, min_users: int) -> None:
    """List which algorithm is chosen for how many likes and dislikes; the first rule that fits is taken.

    Example: pix users rules --fit first
    """
    with database.connect() as connection, connection.cursor() as cursor:
        if run is not None:
            cursor.execute("SELECT count(*) FROM pix.fit_algorithm_rules(%s, %s)", (run, min_users))
            click.echo(f"{cursor.fetchone()[0]} rules fitted", err=True)
        cursor.execute(
            "SELECT priority, algorithm, int4range(min_votes, max_votes, '[]'), int4range(min_likes, max_likes, '[]'), "
            "int4range(min_dislikes, max_dislikes, '[]'), numrange(min_fraction::numeric, max_fraction::numeric), "
            "reason "
            "FROM pix.algorithm_rules ORDER BY priority"
        )
        rows = cursor.fetchall()
    table = Table("priority", "algorithm", "votes", "likes", "dislikes", "fraction of likes", "why")
    for priority, algorithm, *ranges, reason in rows:
        table.add_row(str(priority), algorithm, *map(_range, ranges), reason)
    Console().print(table)


@users.command("select")
@click.argument("run")
@click.option(
    "--size",
    "sizes",
    multiple=True,
    type=int,
    default=(20, 40, 60, 80),
    show_default=True,
    help="Votes to train on; may be repeated.",
)
@click.option(
    "--algorithm", "algorithms", multiple=True, help="Algorithm to compare; may be repeated; default: seven of them."
)
@click.option(
    "--balance",
    multiple=True,
    default=("none", "oversample", "class_weight"),
    show_default=True,
    help="Way to balance likes and dislikes: none, oversample or class_weight; may be repeated.",
)
@click.option(
    "--repeats",
    default=5,
    show_default=True,
    type=click.IntRange(1, 1000),
    help="Number of splits of each user's votes.",
)
@click.option("--search", default="grid", show_default=True, help="How parameters are searched: grid or random.")
@model_option
@click.pass_obj
def select(database: Database, run: str, algorithms: tuple[str, ...], **options) -> None:
    """Compare algorithms on users' votes; stopped, it goes on where it was.

    Example: pix users select first --size 20 --algorithm logistic --algorithm nearest
    """
    arguments = {
        "run": run,
        **{name: list(value) if isinstance(value, tuple) else value for name, value in options.items()},
    }
    if algorithms:
        arguments["algorithms"] = list(algorithms)
    call = f"CALL pix.select_algorithms({', '.join(f'{name} => %({name})s' for name in arguments)})"
    most = [0]

    def look(watching, _: str) -> int:
        with watching.cursor() as cursor:
            cursor.execute("SELECT sum(pending) FROM pix.algorithm_selection_progress WHERE run = %s", (run,))
            pending = cursor.fetchone()[0] or 0
        most[0] = max(most[0], pending)
        return 100 * (most[0] - pending) // max(most[0], 1)

    run_watched(database, call, arguments, "comparing algorithms", 100, look)
    ranking(database, run)


@users.command("ranking")
@click.argument("run")
@click.pass_obj
def show_ranking(database: Database, run: str) -> None:
    """Show how algorithms did in RUN of pix users select.

    Example: pix users ranking first
    """
    ranking(database, run)


def ranking(database: Database, run: str) -> None:
    """Print pix.algorithm_ranking of a run."""
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT size, algorithm, balance, users, mean_auc, low, high, gap, fit_seconds "
            "FROM pix.algorithm_ranking WHERE run = %s AND users > 0 ORDER BY size, rank, algorithm",
            (run,),
        )
        rows = cursor.fetchall()
    if not rows:
        raise PixError(f"Run {run!r} has no results.", f"pix users select {run}")
    table = Table("votes", "algorithm", "balance", "users", "AUC", "from", "to", "gap", "fit ms")
    for size, algorithm, balance, people, auc, low, high, gap, seconds in rows:
        numbers = (f"{number:.3f}" for number in (auc, low, high))
        table.add_row(str(size), algorithm, balance, str(people), *numbers, f"{gap:+.3f}", f"{1000 * seconds:.1f}")
    Console().print(table)


@users.command("evaluate")
@click.argument("run")
@click.argument("recommenders", nargs=-1)
@click.option("--split", default="last", show_default=True, help="last: each user's last like; time: the newest votes.")
@click.option("-k", type=click.IntRange(1, 1000), default=10, show_default=True, help="Number of recommendations.")
@model_option
@click.pass_obj
def evaluate(
    database: Database, run: str, recommenders: tuple[str, ...], split: str, k: int, model_name: str | None
) -> None:
    """Measure how well RECOMMENDERS would have met what users liked afterwards; default: rules, popularity, random.

    Example: pix users evaluate first rules nearest random
    """
    arguments = {"run": run, "split": split, "k": k, "model_name": model_name}
    if recommenders:
        arguments["recommenders"] = list(recommenders)
    named = ", ".join(f"{name} => %({name})s" for name in arguments)
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            f"SELECT metric, recommender, value, low, high, users FROM pix.evaluate_recommenders({named})", arguments
        )
        rows = cursor.fetchall()
    table = Table("metric", "recommender", "value", "95 % from", "to", "users")
    for metric, recommender, *numbers, people in rows:
        table.add_row(metric, recommender, *map(_shown, numbers), f"{people:,}")
    Console().print(table)


def _shown(number: float | None) -> str:
    return "" if number is None else f"{number:.3f}"


def _range(interval) -> str:
    """Show a range as people write it: from 5, to 4, 20 to 39, or nothing for all."""
    low, high = interval.lower, interval.upper
    if high is not None and isinstance(high, int):
        high -= 1
    if low is None and high is None:
        return ""
    if high is None:
        return f"from {low}"
    return f"to {high}" if low is None else f"{low} to {high}"


def _json(text: str | None) -> str | None:
    """Refuse parameters that are not a JSON object before anything else is done."""
    if text is not None:
        try:
            value = json.loads(text)
        except ValueError as error:
            raise PixError(
                f"The parameters must be JSON, not {text!r}.", "Write it like this: '{\"C\": 0.3}'"
            ) from error
        if not isinstance(value, dict):
            raise PixError(f"The parameters must be a JSON object, not {text!r}.", "Write it like this: '{\"C\": 0.3}'")
    return text
