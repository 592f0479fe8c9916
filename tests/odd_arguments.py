"""Arguments that nobody would think of, for every function, and what may come of them."""

from __future__ import annotations

import itertools
import json
import math
import random
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import psycopg2

from pixelplum.core.users.algorithms import SIMPLE
from tests.fixtures.servers import ROLES, Clone

LEAST = ("pix_reader", "pix_app", "pix_admin")

LOGINS = {group: login for login, group in ROLES.items()}

CATALOGUE = """
SELECT p.oid::regprocedure::text, p.proname, p.prokind = 'p', coalesce(p.proargnames[:p.pronargs], '{}'),
    ARRAY(SELECT format_type(t, NULL) FROM unnest(p.proargtypes) WITH ORDINALITY u (t, n) ORDER BY n),
    p.pronargs - p.pronargdefaults,
    ARRAY(SELECT r.rolname::text FROM aclexplode(p.proacl) a JOIN pg_roles r ON r.oid = a.grantee
        WHERE a.privilege_type = 'EXECUTE')
FROM pg_proc p WHERE p.pronamespace = 'pix'::regnamespace AND p.prokind IN ('f', 'p')
ORDER BY 1
"""

STRANGE = 'it\'s "100 %s" %% \\ {a,b};\n\t-- $1 $$'

FOREIGN = "Stövel 靴 👢 \u202e\u0301"

LONG = "boot " * 20_000

DEEP = 50_000
"""Brackets in one another: PostgreSQL takes as many as its stack allows, Python's json a thousand."""


def floats(*numbers: float) -> bytes:
    return np.array(numbers, "<f4").tobytes()


@dataclass
class Routine:
    signature: str
    name: str
    is_procedure: bool
    names: list[str]
    types: list[str]
    required: int
    grantees: list[str]

    @property
    def role(self) -> str:
        """The login of the least role that may call it."""
        return LOGINS[next(role for role in LEAST if role in self.grantees)]

    def call(self, values: dict) -> tuple[str, list]:
        named = [(name, kind) for name, kind in zip(self.names, self.types, strict=True) if name in values]
        arguments = ", ".join(f'"{name}" => CAST(%s AS {kind})' for name, kind in named)
        verb = "CALL" if self.is_procedure else "SELECT * FROM"
        return f"{verb} pix.{self.name}({arguments})", [values[name] for name, _ in named]


def fill(db: Clone, boots) -> None:
    """Something of every kind, small."""
    db.pix("load", "metadata", boots / "metadata.json.gz")
    for user in USERS:
        items = db.ask("SELECT item_id FROM pix.images ORDER BY md5(item_id || %s) LIMIT 12", (user,))
        votes = [value for number, (item,) in enumerate(items) for value in (user, item, number % 2 == 1)]
        db.ask("SELECT pix.vote(%s, %s, %s);" * len(items), votes)
    for work in (
        "SELECT pix.build_index('fast')",
        "SELECT pix.fit_clusters('groups', k => 4)",
        "SELECT pix.fit_clusters('tree', algorithm => 'ward', k => 4)",
        "SELECT pix.set_default_clustering('groups')",
        "SELECT pix.fit_map('all')",
        "SELECT pix.fit_pca(components => 5)",
        "SELECT pix.fit_metadata('worded')",
        "SELECT pix.train_classifier('heels', 'heel')",
        "SELECT pix.train_user_model('ann', 'sgd_log')",
        "CALL pix.train_user_models('nearest')",
        "CALL pix.select_algorithms('first', sizes => '{8}', algorithms => '{nearest}', "
        "balance => '{none}', repeats => 1)",
        "SELECT pix.evaluate_recommenders('first', '{random}')",
        "SELECT pix.vote('ann', item_id, number % 2 = 0) FROM ("
        "SELECT item_id, row_number() OVER () AS number FROM pix.next_items('ann', 20)) n",
    ):
        db.ask(work)


USERS = ("ann", "bob", "cem", "dora")

SENSIBLE = {
    "fit_metadata.model_name": "more",
    "a": floats(1, 2),
    "agreement": 1.0,
    "algorithms": ["nearest"],
    "alpha": 2.0,
    "as_name": "small",
    "b": floats(2, 1),
    "balance": ["none"],
    "beta": 2.0,
    "calibrate": 2,
    "classifier": "heels",
    "classifiers": ["heels"],
    "clustering": "groups",
    "components": 3,
    "cut_clusters.clustering": "tree",
    "days": 30.0,
    "dimensions": [1, 2],
    "refresh_metadata.model_name": "worded",
    "index_name": "fast",
    "intercepts": [0.0, 0.0],
    "k": 3,
    "label_set": "heel",
    "labels": ["flat", "high"],
    "layer": "",  # the first that has maps
    "map": "all",
    "metric": "cosine",
    "model_name": "mini_inception",
    "n": 2,
    "numbers": [0.5, 1.5],
    "policy": "thompson",
    "policies": ["random", "greedy"],
    "probability": 0.5,
    "recommenders": ["random"],
    "repeats": 1,
    "run": "first",
    "register_classifier.classifier": "halves",
    "select_algorithms.balance": ["none"],
    "sizes": [8],
    "fields": ["price"],
    "source": "by hand",
    "train_user_model.algorithm": "nearest",
    "train_user_models.algorithm": "nearest",
    "truth": "heel",
    "user_id": "ann",
    "users": ["ann", "bob"],
    "leaf_clusters.cluster": 1,
    "part": 0,
    "store_model_part.checksum": "0" * 64,
    "synthetic_users": "(heel,2,1,,0)",
    "users_who_like.users": 2,
    "simulate.votes": 3,
    "vote.liked": True,
    "vote_batch.votes": "[]",
}
"""What a sensible person gives, by the argument's name, or by the function's and the argument's; see `Odd.usual`."""

NEVER_LEFT_OUT = ("algorithms", "k", "model_name", "repeats", "sizes", "users")
"""Arguments that have a default, with which a call would take long, or which another model is for."""

TOGETHER = {
    "cluster": {"clustering": "groups"},
    "fit_map.clustering": {"cluster": 1},
    "quantize_model.force": {"as_name": "worded"},
    "quantize_model.model_name": {"as_name": "worded"},
}
"""What is given with an odd argument, as it means nothing alone."""

NAMES = (
    "mini_inception",
    "worded",
    "heels",
    "heel",
    "groups",
    "tree",
    "fast",
    "all",
    "first",
    "ann",
    "nearest",
    "euclidean",
)

TEXTS = ("", " ", "no such thing", STRANGE, FOREIGN, LONG, "NaN", *NAMES)

INTEGERS = (0, -1, 1, 2, 1000, 10_001, 2**31 - 1, -(2**31), 2**31, 2**63 - 1, -(2**63))

FLOATS = ("NaN", "Infinity", "-Infinity", 0.0, -0.0, -1.0, 1.0, 5e-324, 1e-30, 1e300, -1e300)

REALS = ("NaN", "Infinity", "-Infinity", 0.0, -1.0, 1.0, 1e-45, 3e38, -3e38)


def deep(brackets: int, inside: str = "") -> str:
    return "[" * brackets + inside + "]" * brackets


JSON = (
    "null", "true", "0", "-1", "1e300", "1e5000", '"x"', "[]", "{}", "[null]", "[[]]", "[1, 2]", '[{"a": 1}]',
    '{"": null}',
    json.dumps({STRANGE: STRANGE, FOREIGN: FOREIGN}), json.dumps({LONG: LONG}), deep(900), deep(3000), deep(DEEP),
    '{"a": ' + deep(3000) + "}", '{"a": ' + deep(DEEP) + "}", "[" + "9" * 5000 + "]",
)  # fmt: skip

NUMBERS = ("null", "0", "1", "-1", "0.5", "1e300", "1e5000", "2147483648", '"x"', "true", "[]", "{}", deep(900))

PARAMETERS = {
    **{algorithm: tuple(record.parameters) for algorithm, record in SIMPLE.items()},
    "ensemble": ("members",),
    "hierarchical": (),
}


def odd_parameters(names: tuple[str, ...]) -> list[str]:
    return [f'{{"{name}": {value}}}' for name in (*names, "other") for value in NUMBERS]


VOTE_FIELDS = (
    "user_id", "item_id", "liked", "signal", "voted_at", "idempotency_key", "policy", "clustering", "cluster",
    "propensity", "other",
)  # fmt: skip

VOTE_VALUES = (
    "null", "0", "-1", "1.5", "1e300", "1e5000", "true", '""', '"x"', '"infinity"', '"0001-01-01T00:00:00Z"',
    '"9999-12-31T23:59:59.999999-14:00"', '"2026-02-30T00:00:00Z"', json.dumps(FOREIGN), json.dumps(LONG), "[]", "{}",
    deep(3000),
)  # fmt: skip


def odd_votes(item_id: str) -> list[str]:
    vote = {"user_id": "ann", "item_id": item_id, "liked": True}
    return [json.dumps([vote | {name: "odd"}]).replace('"odd"', value) for name in VOTE_FIELDS for value in VOTE_VALUES]


ODD = {
    "text": TEXTS,
    "text[]": (
        "{}", "{NULL}", "{NULL,NULL}", "{{a,b},{c,d}}", "{{{a}}}", "{{NULL}}", "{a,a}", '{""}', "[5:6]={a,b}",
        "[0:0]={a}", *([text] for text in TEXTS[1:]), list(map(str, range(20_000))),
    ),
    "bigint": INTEGERS,
    "bigint[]": (
        "{}", "{NULL}", "{{1,2},{3,4}}", "{{8}}", "{1,1}", "[5:6]={8,9}", list(range(20_000)), *([n] for n in INTEGERS),
    ),
    "double precision": FLOATS,
    "double precision[]": (
        "{}", "{NULL,1}", "{{0,0},{0,0}}", "{{0,0}}", "[5:6]={0,0}", "{0}", *([x, x] for x in FLOATS),
    ),
    "real": REALS,
    "real[]": (
        "{}", "{NULL,1}", "{NULL}", "{{1,2},{3,4}}", "{{1,2}}", "[5:6]={1,2}", [1.0] * 20_000, *([x] for x in REALS),
        *([x] * 48 for x in REALS),
    ),
    "numeric": ("NaN", "Infinity", "-Infinity", "0", "-1", "1e-1000", "1e1000", "-1e1000", "9" * 2000),
    "boolean": (True, False),
    "jsonb": JSON,
    "pix.synthetic_users": (
        "(,,,,)",
        "(,2,1,,0)",
        "(no such thing,2,1,,0)",
        "(heel,,1,,0)",
        "(heel,0,1,,0)",
        "(heel,-1,1,,0)",
        "(heel,100001,1,,0)",
        f"(heel,{2**63 - 1},1,,0)",
        "(heel,2,,,0)",
        "(heel,2,0,,0)",
        f"(heel,2,{-(2**63)},,0)",
        "(heel,2,1,0,0)",
        "(heel,2,1,-1,0)",
        f"(heel,2,1,{2**63 - 1},0)",
        "(heel,2,1,,)",
        "(heel,2,1,,0.6)",
        "(heel,2,1,,-1)",
        "(heel,2,1,,NaN)",
        "(heel,2,1,,Infinity)",
    ),
    "pix.item_filter": (
        "(,,,,,,,,,)", '("{}",,,,,,,,,)', '("{NULL}",,,,,,,,,)', '(,"{{a,b},{c,d}}",,,,,,,,)',
        "(,,no such thing,,,,,,,)",
        "(,,heel,no such thing,,,,,,)", "(,,,heel,,,,,,)", "(,,,,no such thing,,,,,)", "(,,,,,no such thing,,,,)",
        "(,,,,,,NaN,,,)", "(,,,,,,,-1,,)", "(,,,,,,2,1,,)", "(,,,,,,,,no such thing,)", "(,,,,,,,,groups,)",
        "(,,,,,,,,,1)", "(,,,,,,,,groups,0)", f"(,,,,,,,,groups,{2**63 - 1})",
    ),
    "bytea": (b"", b"\0", b"no image", b"\xff\xd8\xff", bytes(100_000)),
    "interval": (
        "0", "1 second", "-1 day", "178000000 years", "-178000000 years", "2147483647 days", "0.000001 seconds",
        "infinity", "-infinity",
    ),
    "timestamp with time zone": (
        "infinity", "-infinity", "0001-01-01", "4713-01-01 BC", "290000-01-01", "2026-11-25 10:00",
    ),
    "pix.feature_vector": (
        floats(0), floats(0, 0), floats(1, 2), floats(math.nan, 1), floats(math.inf, 1), floats(3e38, 3e38),
        floats(1e-45, 0), bytes(4 * 48), floats(*[1] * 48), floats(*range(5000)),
    ),
}  # fmt: skip
"""Odd values, by type; NULL is odd for all."""

INSTEAD = {
    "fit_map.model_name": ("", "no such thing", LONG),
    "fit_map.map": ("", STRANGE, LONG),
    "fit_map.perplexity": (*FLOATS[:6], 1e300),
    "fit_map.seed": (-1, 2**31 - 1, -(2**31)),
    "select_algorithms.repeats": (0, -1, 2, 1001, 2**31 - 1, -(2**31)),
    "quantize_model.as_name": ("", STRANGE, LONG, "worded"),
    "quantize_model.calibrate": (0, -1, 1001, 2**31 - 1, -(2**31)),
}
"""Odd values of arguments with which a call that does its work takes seconds."""


@dataclass
class Odd:
    """A database with something of every kind, and what to call its functions with."""

    db: Clone
    image: bytes
    item_ids: list[str]
    layer: str
    checksum: str
    dimensions: int
    numbers: itertools.count = field(default_factory=itertools.count)

    def sensible(self, routine: Routine) -> dict:
        """What is given for each argument that is sensible; what is not here keeps its default."""
        chosen = {}
        for position, name in enumerate(routine.names):
            for key in (f"{routine.name}.{name}", name):
                if key in self.usual:
                    if key != name or position < routine.required or name in NEVER_LEFT_OUT:
                        chosen[name] = self.usual[key]
                    break
            else:
                assert position >= routine.required, f"SENSIBLE lacks {name}, an argument of {routine.signature}"
        if routine.name == "select_algorithms":  # what was committed goes on with the same arguments only
            chosen["run"] = f"run {next(self.numbers)}"
        return chosen

    @cached_property
    def usual(self) -> dict:
        return SENSIBLE | {
            "content": self.image,
            "item_id": self.item_ids[0],
            "item_ids": self.item_ids[:2],
            "layer": self.layer,
            "vector": [1.0] * self.dimensions,
            "checksum": self.checksum,
            "weights": bytes(4 * 2 * self.dimensions),
            "principal_components.vector": floats(*[1] * self.dimensions),
            "to_array.vector": floats(*[1] * self.dimensions),
        }

    def together(self, routine: Routine, name: str) -> dict:
        """What is given along with an odd argument."""
        arguments = TOGETHER.get(f"{routine.name}.{name}", TOGETHER.get(name, {}))
        return {key: value for key, value in arguments.items() if key in routine.names}

    def odd(self, routine: Routine, name: str, kind: str) -> list:
        """What is odd for an argument; on a cluster, where calls take long, a part of it."""
        values = [None, *INSTEAD.get(f"{routine.name}.{name}", ODD[kind])]
        if kind == "bytea":
            values += [self.image[: len(self.image) // 2], self.image]
        if kind == "text[]":
            values += [[self.item_ids[0], None], [self.item_ids[0]] * 2]
        if kind.endswith("[]"):
            good = self.usual.get(f"{routine.name}.{name}") or self.usual.get(name) or self.item_ids[:2]
            values += [[good], [good, good], [*good, None], f"[5:6]={{{good[0]},{good[-1]}}}"]
        if kind == "jsonb":
            values += odd_votes(self.item_ids[0]) if name == "votes" else odd_parameters(("alpha", "m"))
        if self.db.server.is_distributed:
            return [None, *random.Random(f"{routine.name}.{name}").sample(values, min(len(values), 5))]
        return values

    @property
    def combinations(self) -> int:
        return 5 if self.db.server.is_distributed else 10


def run(odd: Odd, role: str, sql: str, values: list, commit: bool = False) -> psycopg2.Error | None:
    """Call something, and return its error; what it has done is undone."""
    cursor = odd.db.session(role).cursor()
    if not commit:
        cursor.execute("BEGIN")
    try:
        cursor.execute(sql, values)
        cursor.fetchall() if cursor.description else None
    except psycopg2.Error as error:
        return error
    finally:
        if not commit and not odd.db.session(role).closed:
            cursor.execute("ROLLBACK")


def what_is_wrong(error: psycopg2.Error | None) -> str | None:
    if error is None:
        return None
    message, hint = error.diag.message_primary or str(error), error.diag.message_hint
    if not (error.pgcode or "").startswith("PX"):
        return f"{error.pgcode}: {message[:300]}"
    if not hint:
        return f"{error.pgcode} without a hint: {message[:300]}"
    if len(message) < 6 or "Traceback" in message or "<NULL>" in message:
        return f"{error.pgcode} says nothing: {message[:300]}"
    return None


def refused_by_the_server(odd: Odd, routine: Routine, arguments: dict, error: psycopg2.Error) -> bool:
    """Tell whether a value is refused before any function sees it: PostgreSQL cannot read it as what it should be."""
    for name, kind in zip(routine.names, routine.types, strict=True):
        if name in arguments:
            own = run(odd, routine.role, f"SELECT CAST(%s AS {kind})", [arguments[name]])
            if own is not None and own.pgcode == error.pgcode:
                return True
    return False


def shown(value) -> str:
    text = repr(value)
    return text if len(text) < 60 else f"{text[:40]}…({len(text):,} characters)"


def findings(odd: Odd, routine: Routine, calls: list[tuple[str, dict]]) -> list[str]:
    """Call a routine with arguments of each description; return what is wrong with the errors."""
    failures = []
    for what, arguments in calls:
        error = run(odd, routine.role, *routine.call(arguments), commit=routine.is_procedure)
        wrong = what_is_wrong(error)
        if wrong and not refused_by_the_server(odd, routine, arguments, error):
            failures.append(f"{routine.signature}, {what}: {wrong}")
    return failures
