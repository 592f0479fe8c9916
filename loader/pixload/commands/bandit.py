"""pix vote, pix next, pix bandit: what people like, and what to show them next."""

from __future__ import annotations

import click
from rich.console import Console

from pixload.database import Database
from pixload.errors import PixError
from pixload.options import INT_MAX
from pixload.tables import Table

clustering_option = click.option("--clustering", help="Clustering; default: the default clustering, or the only one.")
prior_option = click.option(
    "--prior", help="Prior: flat, pooled, or tree; default: pooled where there is one, else flat."
)


@click.command()
@click.argument("user_id")
@click.argument("item_id")
@click.option("--like/--dislike", "liked", default=None, help="Opinion of the user.")
@click.option("--signal", help="Another signal: view, click, cart, buy, …")
@click.option("--key", "idempotency_key", help="Idempotency key: a vote that is sent again with it counts once.")
@click.pass_obj
def vote(database: Database, **options) -> None:
    """Log what USER_ID thinks of ITEM_ID.

    Example: pix vote ann B005IYS5ZA --like
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT pix.vote(%(user_id)s, %(item_id)s, %(liked)s, %(signal)s, idempotency_key => %(idempotency_key)s)",
            options,
        )
        (vote_id,) = cursor.fetchone()
    click.echo(f"vote {vote_id}")


@click.command()
@click.argument("user_id")
@click.argument("item_id")
@click.pass_obj
def undo(database: Database, user_id: str, item_id: str) -> None:
    """Take back what USER_ID has said of ITEM_ID.

    Example: pix undo ann B005IYS5ZA
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT pix.undo_vote(%s, %s)", (user_id, item_id))
        (was_there,) = cursor.fetchone()
    click.echo("taken back" if was_there else f"{user_id} has no opinion of {item_id}")


@click.command("next")
@click.argument("user_id")
@click.option("-k", default=1, show_default=True, type=click.IntRange(1, 1000), help="Number of results.")
@click.option("--policy", help="Policy, as pix algorithms lists it; default: thompson.")
@clustering_option
@prior_option
@click.option(
    "--again-after", default="1 day", show_default=True, help="Time after which a shown item may be shown again."
)
@click.option("--seed", type=click.IntRange(0, INT_MAX), help="Random seed; default: a new one each time.")
@click.pass_obj
def next_(database: Database, **options) -> None:
    """Suggest items that USER_ID has not seen.

    Example: pix next ann -k 6
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT item_id, cluster, propensity, score, reason FROM pix.next_items("
            "%(user_id)s, %(k)s, %(policy)s, %(clustering)s, %(prior)s, %(again_after)s, %(seed)s)",
            options,
        )
        rows = cursor.fetchall()
    if not rows:
        click.echo(f"There is nothing left that {options['user_id']} has not seen.")
        return
    table = Table("item", "cluster", "propensity", "score", "why")
    for item_id, cluster, propensity, score, reason in rows:
        table.add_row(item_id, str(cluster), f"{propensity:.3f}", f"{score:.3f}", reason)
    Console().print(table)


@click.group()
def bandit() -> None:
    """Clusters as the arms of a bandit: what is known of them, and how good policies are.

    Example: pix bandit arms ann
    """


@bandit.command("arms")
@click.argument("user_id", required=False)
@clustering_option
@click.pass_obj
def arms(database: Database, user_id: str | None, clustering: str | None) -> None:
    """List what USER_ID, or all users together, think of each cluster.

    Example: pix bandit arms ann
    """
    view, condition = ("pooled_arms", "") if user_id is None else ("arm_posteriors", " AND user_id = %(user_id)s")
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT clustering FROM pix.find_clustering(%s)", (clustering,))
        (name,) = cursor.fetchone()
        cursor.execute(
            f"SELECT cluster, words, votes, likes, dislikes, mean, low, high FROM pix.{view} "
            f"WHERE clustering = %(name)s{condition} ORDER BY mean DESC, cluster",
            {"name": name, "user_id": user_id},
        )
        rows = cursor.fetchall()
    table = Table("cluster", "words", "votes", "likes", "dislikes", "fraction of likes", "95 % from", "to")
    for cluster, words, votes, likes, dislikes, mean, low, high in rows:
        table.add_row(
            str(cluster), " ".join(words or []), f"{votes:,}", f"{likes:,.1f}", f"{dislikes:,.1f}", f"{mean:.2f}",
            f"{low:.2f}", f"{high:.2f}",
        )  # fmt: skip
    Console().print(table)


@bandit.command("default")
@click.argument("clustering")
@click.pass_obj
def default(database: Database, clustering: str) -> None:
    """Suggest from CLUSTERING where none is named.

    Example: pix bandit default looks
    """
    _call(database, "SELECT pix.set_default_clustering(%s)", (clustering,))
    click.echo(f"{clustering} is the default clustering")


@bandit.command("priors")
@clustering_option
@click.option("--algorithm", default="moments", show_default=True, help="Algorithm: moments or likelihood.")
@click.option("--strength-cap", default=20.0, show_default=True, help="Number of votes that a prior is worth at most.")
@click.pass_obj
def priors(database: Database, clustering: str | None, algorithm: str, strength_cap: float) -> None:
    """Refresh the pooled priors: what is expected of a user of whom nothing is known.

    Example: pix bandit priors
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT cluster, alpha, beta, users FROM pix.refresh_priors(%s, %s, %s)",
            (clustering, algorithm, strength_cap),
        )
        rows = cursor.fetchall()
    table = Table("cluster", "alpha", "beta", "mean", "users")
    for cluster, alpha, beta, users in rows:
        table.add_row(str(cluster), f"{alpha:.2f}", f"{beta:.2f}", f"{alpha / (alpha + beta):.2f}", f"{users:,}")
    Console().print(table)


@bandit.command("rebuild")
@click.option("--clustering", help="Clustering; default: all.")
@click.pass_obj
def rebuild(database: Database, clustering: str | None) -> None:
    """Derive all arms again from the log of votes.

    Example: pix bandit rebuild
    """
    click.echo(f"{_call(database, 'SELECT pix.rebuild_arms(%s)', (clustering,)):,} arms")


@bandit.command("half-life")
@click.argument("days")
@click.pass_obj
def half_life(database: Database, days: str) -> None:
    """Let votes lose half of their weight in DAYS; none: they do not age.

    Example: pix bandit half-life 90
    """
    try:
        number = None if days == "none" else float(days)
    except ValueError as error:
        raise PixError(f"DAYS must be a number of days or none, not {days!r}.", "Write a number, or none.") from error
    _call(database, "SELECT pix.set_half_life(%s)", (number,))
    click.echo("votes do not age" if number is None else f"votes count half after {number:g} days")


@bandit.command("skips")
@click.option("--older-than", default="1 day", show_default=True, help="Time that people have to answer.")
@click.pass_obj
def skips(database: Database, older_than: str) -> None:
    """Count suggestions that were not answered.

    Example: pix bandit skips --older-than '1 day'
    """
    click.echo(f"{_call(database, 'SELECT pix.count_skips(%s)', (older_than,)):,} suggestions were skipped")


@bandit.command("simulate")
@click.argument("policy")
@click.option("--truth", required=True, help="What tastes are about: a label set, brand, or an attribute.")
@click.option("--users", default=20, show_default=True, type=click.IntRange(2, 100_000), help="Number of users.")
@click.option(
    "--votes", default=40, show_default=True, type=click.IntRange(1, 10_000), help="Number of votes of each user."
)
@clustering_option
@prior_option
@click.option(
    "--liked-labels", default=2, show_default=True, type=click.IntRange(1), help="Number of labels that a user likes."
)
@click.option(
    "--taste-groups",
    type=click.IntRange(1, INT_MAX),
    help="Number of tastes that users share; default: each user has their own.",
)
@click.option("--flipped", default=0.1, show_default=True, help="Fraction of votes that say the opposite.")
@click.option(
    "--seed", default=7, show_default=True, type=click.IntRange(0, INT_MAX), help="Random seed of users and votes."
)
@click.option("--keep", is_flag=True, help="Keep the users and their votes.")
@click.pass_obj
def simulate(database: Database, **options) -> None:
    """Try POLICY on synthetic users whose taste is known.

    Example: pix bandit simulate thompson --truth heel --liked-labels 1
    """
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT simulation_id, prior, likes, likes_error, seconds FROM pix.simulate("
            "%(policy)s, pix.users_who_like(%(truth)s, %(users)s, %(liked_labels)s, %(taste_groups)s, %(flipped)s), "
            "%(votes)s, %(clustering)s, %(prior)s, %(seed)s, %(keep)s)",
            options,
        )
        number, prior, likes, error, seconds = cursor.fetchone()
        cursor.execute(
            "SELECT regret, regret_error FROM pix.regret_curves WHERE simulation_id = %s ORDER BY vote DESC LIMIT 1",
            (number,),
        )
        regret, regret_error = cursor.fetchone()
    click.echo(
        f"{options['policy']}, {prior} prior: {likes:.1f} ± {error:.1f} likes in {options['votes']} votes, "
        f"regret {regret:.1f} ± {regret_error:.1f} (simulation {number}, {seconds:.1f} s)"
    )


@bandit.command("evaluate")
@click.argument("policies", nargs=-1)
@click.option("--from-log", help="Policy whose suggestions are looked at; default: all.")
@clustering_option
@click.option("--prior", help="Prior: flat or pooled; default: flat.")
@click.pass_obj
def evaluate(
    database: Database, policies: tuple[str, ...], from_log: str | None, clustering: str | None, prior: str | None
) -> None:
    """Estimate from the log what POLICIES, or all, would be worth: likes per suggestion.

    Example: pix bandit evaluate greedy thompson --from-log random
    """
    names = {"policies": list(policies)} if policies else {}
    arguments = names | {"from_log": from_log, "clustering": clustering, "prior": prior}
    named = ", ".join(f"{name} => %({name})s" for name in arguments)
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(
            "SELECT policy, estimator, value, low, high, effective_sample_size, mean_weight "
            f"FROM pix.compare_policies({named})",
            arguments,
        )
        rows = cursor.fetchall()
    table = Table("policy", "estimator", "value", "95 % from", "to", "effective n", "mean weight")
    for policy, estimator, *numbers, size, weight in rows:
        shown = ["" if number is None else f"{number:.3f}" for number in numbers]
        table.add_row(policy, estimator, *shown, f"{size:,.0f}", f"{weight:.2f}")
    Console().print(table)


def _call(database: Database, sql: str, parameters: tuple):
    with database.connect() as connection, connection.cursor() as cursor:
        cursor.execute(sql, parameters)
        return cursor.fetchone()[0]
