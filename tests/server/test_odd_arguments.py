"""Any function or procedure with any argument: an answer, or an error that says what to do."""

from __future__ import annotations

import random
import re
from dataclasses import replace

import pytest

from pixelplum.core.search import indexes
from pixelplum.core.users.algorithms import ALGORITHMS
from tests.fixtures.servers import ROLES, Clone
from tests.helpers import CHECKOUT, fails_with
from tests.odd_arguments import (
    CATALOGUE,
    LEAST,
    PARAMETERS,
    Odd,
    Routine,
    deep,
    fill,
    findings,
    odd_parameters,
    refused_by_the_server,
    run,
    shown,
    what_is_wrong,
)


@pytest.fixture(scope="module")
def odd(server, with_labels, stage, boots):
    name = stage("odd", with_labels, lambda db: fill(db, boots))
    server.create("odd_arguments", name)
    db = Clone(server, server.name("odd_arguments"))
    server.run(f"ALTER DATABASE {db.name} SET statement_timeout = '{60 if server.is_distributed else 20}s'")
    item_ids = [item for (item,) in db.query("SELECT item_id FROM pix.images ORDER BY 1 LIMIT 4")]
    yield Odd(
        db, bytes(db.value("SELECT content FROM pix.images ORDER BY item_id LIMIT 1")), item_ids,
        db.value("SELECT layer FROM pix.model_layers() WHERE cardinality(shape) = 4 LIMIT 1"),
        db.value("SELECT checksum FROM pix.models WHERE model_name = 'mini_inception'"),
        db.value("SELECT dimensions FROM pix.models WHERE model_name = 'mini_inception'"),
    )  # fmt: skip
    db.close()
    server.drop(db.name)


CREATES = re.compile(r"^CREATE OR REPLACE (?:FUNCTION|PROCEDURE)\s+pix\.([a-z]\w*)\(", re.M)
PUBLIC = sorted({name for path in (CHECKOUT / "sql").glob("*.sql") for name in CREATES.findall(path.read_text())})


@pytest.fixture(scope="module")
def routines(odd) -> list[Routine]:
    return [Routine(*row) for row in odd.db.query(CATALOGUE)]


def test_all_of_the_catalogue_is_called(routines):
    assert sorted({routine.name for routine in routines}) == PUBLIC


@pytest.mark.parametrize("name", PUBLIC)
def test_a_sensible_call_succeeds(odd, routines, name):
    """Or else the other tests would try nothing: their odd argument is the only one."""
    for routine in [routine for routine in routines if routine.name == name]:
        assert run(odd, routine.role, *routine.call(odd.sensible(routine)), commit=routine.is_procedure) is None


@pytest.mark.parametrize("name", PUBLIC)
def test_one_odd_argument(odd, routines, name):
    """No traceback, no error of PostgreSQL's own: what cannot be used is named, with what can."""
    failures = []
    for routine in [routine for routine in routines if routine.name == name]:
        calls = [
            (
                f"{argument} => {shown(value)}",
                odd.sensible(routine) | odd.together(routine, argument) | {argument: value},
            )
            for argument, kind in zip(routine.names, routine.types, strict=True)
            for value in odd.odd(routine, argument, kind)
        ]
        failures += findings(odd, routine, [*calls, ("all NULL", dict.fromkeys(routine.names))])
    assert not failures, "\n" + "\n".join(failures)


@pytest.mark.parametrize("name", PUBLIC)
def test_several_odd_arguments(odd, routines, name):
    """What one odd argument hides is found behind another one."""
    failures = []
    for routine in [routine for routine in routines if routine.name == name and len(routine.names) > 1]:
        chance = random.Random(routine.signature)
        calls = []
        for _ in range(odd.combinations):
            odd_ones = chance.sample(list(zip(routine.names, routine.types, strict=True)), k=min(3, len(routine.names)))
            arguments = {argument: chance.choice(odd.odd(routine, argument, kind)) for argument, kind in odd_ones}
            what = ", ".join(f"{argument} => {shown(value)}" for argument, value in arguments.items())
            calls.append((what, odd.sensible(routine) | odd.together(routine, "") | arguments))
        failures += findings(odd, routine, calls)
    assert not failures, "\n" + "\n".join(failures)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
def test_odd_parameters_of_algorithms(odd, routines, algorithm):
    (routine,) = [routine for routine in routines if routine.name == "train_user_model"]
    calls = [
        (f"{algorithm}, {shown(parameters)}", {"user_id": "ann", "algorithm": algorithm, "parameters": parameters})
        for parameters in odd_parameters(PARAMETERS[algorithm])
    ]
    failures = findings(odd, routine, calls)
    assert not failures, "\n" + "\n".join(failures)


@pytest.mark.parametrize("algorithm", indexes.INDEXES)
def test_odd_parameters_of_indexes(odd, routines, algorithm):
    (routine,) = [routine for routine in routines if routine.name == "build_index"]
    calls = [
        (f"{algorithm}, {shown(parameters)}", {"index_name": "odd", "algorithm": algorithm, "parameters": parameters})
        for parameters in odd_parameters(tuple(indexes.INDEXES[algorithm].parameters))
    ]
    failures = findings(odd, routine, calls)
    assert not failures, "\n" + "\n".join(failures)


def test_what_is_not_there_yet(odd, routines, db):
    """Sensible calls in a database that has a model and nothing else."""
    failures = []
    empty = replace(odd, db=db)
    for routine in routines:
        failures += findings(empty, routine, [("nothing is there", odd.sensible(routine))])
        failures += findings(empty, routine, [("nothing is given", dict.fromkeys(routine.names[: routine.required]))])
    assert not failures, "\n" + "\n".join(failures)


KINDS = {
    "an array of two dimensions": (
        "PX003", "algorithms must be a list of one dimension, not an array of 2",
        "CALL pix.select_algorithms('2-d', algorithms => '{{nearest}}')",
    ),
    "an array of two dimensions, elsewhere": (
        "PX003", "dimensions must be",
        "SELECT pix.fit_clusters('2-d', k => 2, dimensions => '{{1,2},{3,4}}')",
    ),
    "lists in lists": (
        "PX003", "hundreds of lists",
        f"SELECT * FROM pix.train_user_model('ann', 'nearest', parameters => '{deep(3000)}')",
    ),
    "lists in lists, elsewhere": (
        "PX003", "hundreds of lists", f"SELECT * FROM pix.build_index('deep', parameters => '{deep(3000)}')",
    ),
    "a product that is not an integer": (
        "PX003", "project_to must be from 1 to 59, not 2147483647",
        "SELECT * FROM pix.build_index('wide', project_to => 2147483647)",
    ),
    "several numbers, of which one is wrong": (
        "PX003", "max_users must be 1 or more, not 0", "SELECT * FROM pix.evaluate_recommenders('x', max_users => 0)",
    ),
    "what is NULL": (
        "PX003", "NULL", "CALL pix.select_algorithms('NULL', algorithms => '{NULL}')",
    ),
}  # fmt: skip


@pytest.mark.parametrize("kind", KINDS)
def test_the_cause_is_named(odd, kind):
    """In 0.7.0 tracebacks (38000), 22003, or a message that did not say which argument."""
    sqlstate, message, sql = KINDS[kind]
    assert message in str(fails_with(odd.db, sqlstate, sql))


def test_arrays_may_begin_anywhere_and_repeat_themselves(odd):
    """In 0.7.0 what began elsewhere than at 1 was NULL (23502), and what was named twice was compared twice (23505)."""
    ask = odd.db.query
    weights = bytes(4 * 2 * odd.dimensions)
    ask("SELECT pix.register_classifier('late', 'mini_inception', '[5:6]={flat,high}', %s, '[0:1]={0,1}')", (weights,))
    rows = "SELECT label, intercept FROM pix.classifier_classes WHERE classifier = 'late' ORDER BY label"
    assert ask(rows) == [("flat", 0), ("high", 1)]
    assert ask("SELECT label FROM pix.classify_item(%s, '[0:0]={late}'::text[], 1)", (odd.item_ids[0],)) == [("high",)]
    ask(
        "CALL pix.select_algorithms('twice', sizes => '{8,8}', algorithms => '{nearest,nearest}', "
        "balance => '{none,none}', repeats => 1)"
    )
    count = "SELECT count(*), count(DISTINCT user_id) FROM pix.algorithm_selection_results WHERE run = 'twice'"
    ((results, users),) = ask(count)
    assert results == users > 0


def test_procedures_in_a_transaction(odd, routines):
    for routine in [routine for routine in routines if routine.is_procedure]:
        error = run(odd, routine.role, *routine.call(odd.sensible(routine)))
        assert error.pgcode == "PX062", routine.signature
        for argument, kind in zip(routine.names, routine.types, strict=True):
            for value in odd.odd(routine, argument, kind):
                arguments = odd.sensible(routine) | {argument: value}
                error = run(odd, routine.role, *routine.call(arguments))
                assert what_is_wrong(error) is None or refused_by_the_server(odd, routine, arguments, error), argument


def test_who_may_not_is_told_nothing_else(odd, routines):
    """Whoever lacks EXECUTE gets 42501, whatever the arguments are."""
    for routine in routines:
        may = LEAST[LEAST.index(ROLES[routine.role]) :]
        for login in (login for login, role in ROLES.items() if role not in may):
            for arguments in (odd.sensible(routine), dict.fromkeys(routine.names)):
                error = run(odd, login, *routine.call(arguments))
                assert error is not None, (login, routine.signature)
                assert error.pgcode == "42501", (login, routine.signature)
