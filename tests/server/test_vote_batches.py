"""Many votes at once: in SQL, and from files."""

import json
import random

import pytest

from tests.helpers import ARMS, arm_counts, arms_agree, refuses, vote


class TestBatch:
    def send(self, db, votes, role="adam"):
        return db.ask(
            "SELECT ordinal, status, reason FROM pix.vote_batch(%s) ORDER BY ordinal", (json.dumps(votes),), role=role
        )

    def test_is_as_good_as_one_by_one(self, shop):
        shop.ask("SELECT pix.set_half_life(100)")
        chosen = random.Random(5)
        items = [item for (item,) in shop.ask("SELECT item_id FROM pix.cluster_members ORDER BY 1")]
        signals = [name for (name,) in shop.ask("SELECT signal FROM pix.signals ORDER BY 1")]
        votes = [
            {
                "user_id": chosen.choice(["ann", "bob"]),
                "item_id": chosen.choice(items),
                "signal": chosen.choice(signals),
                "voted_at": f"2026-01-{chosen.randint(1, 28):02}T00:00:{number % 60:02}Z",
            }
            for number in range(120)
        ]  # fmt: skip
        for one in votes[:40]:
            shop.ask(
                "SELECT pix.vote(%(user_id)s, %(item_id)s, signal => %(signal)s, voted_at => %(voted_at)s)",
                one,
                role="adam",
            )
        assert {status for _, status, _ in self.send(shop, votes[40:])} == {"logged"}
        batch = shop.ask(ARMS)
        arms_agree(shop)
        shop.ask("TRUNCATE pix.interactions, pix.arms", role=None)
        for one in votes:
            shop.ask(
                "SELECT pix.vote(%(user_id)s, %(item_id)s, signal => %(signal)s, voted_at => %(voted_at)s)",
                one,
                role="adam",
            )
        single = shop.ask(ARMS)
        assert [row[:3] for row in single] == [row[:3] for row in batch]
        assert [row[3:] for row in single] == [pytest.approx(row[3:], rel=1e-9, abs=1e-9) for row in batch]

    def test_what_is_wrong_is_told_and_the_rest_is_logged(self, shop):
        good = {"user_id": "ann", "item_id": "s0-00", "liked": True}
        answer = self.send(shop, [
            good, good | {"item_id": "nowhere"}, {"item_id": "s0-00", "liked": True}, good | {"liked": None},
            good | {"signal": "cart"}, {"user_id": "ann", "item_id": "s0-00", "signal": "likes"},
            good | {"voted_at": "yesterday"}, good | {"voted_at": "2999-01-01T00:00:00Z"}, good | {"propensity": 2},
            good | {"propensity": "much"}, good | {"cluster": "x"}, good | {"idempotency_key": "x" * 201}, 7, None,
            good | {"user_id": "bob", "liked": 0, "voted_at": "2026-01-01 10:00:00+02"}, good | {"liked": "maybe"},
        ])  # fmt: skip
        assert [status for _, status, _ in answer] == ["logged", *["rejected"] * 13, "logged", "rejected"]
        reasons = [reason for *_, reason in answer]
        assert reasons[1] == "item 'nowhere' is not in the catalogue"
        assert reasons[6] == "voted_at is not of the form 2026-11-25T10:00:00+01:00"
        assert reasons[7] == "it is in the future"
        assert all(reasons[1:14])
        assert shop.ask(ARMS) == [("ann", "shelves", 0, 1, 0, 1), ("bob", "shelves", 0, 0, 1, 1)]

    @pytest.mark.parametrize(
        ("moment", "status"),
        [
            ("2024-02-29T23:59:59.5Z", "logged"), ("2023-02-29T00:00Z", "rejected"), ("2025-04-31T00:00Z", "rejected"),
            ("2025-13-01T00:00Z", "rejected"), ("2025-01-01T24:00Z", "rejected"), ("0000-01-01T00:00Z", "rejected"),
            ("2025-01-01T00:00+15", "rejected"), ("2025-01-01T00:00", "rejected"), ("infinity", "rejected"),
            ("2025-12-31 00:00:00+0530", "logged"),
        ],
    )  # fmt: skip
    def test_moments(self, shop, moment, status):
        ((_, results, _),) = self.send(
            shop, [{"user_id": "ann", "item_id": "s0-00", "liked": True, "voted_at": moment}]
        )
        assert results == status

    def test_keys(self, shop):
        one = {"user_id": "ann", "item_id": "s0-00", "liked": True, "idempotency_key": "k"}
        answer = self.send(shop, [one, one, one | {"liked": False}, one | {"user_id": "bob"}])
        assert [status for _, status, _ in answer] == ["logged", "unchanged", "rejected", "logged"]
        answer = self.send(shop, [one, one | {"item_id": "s0-01"}, one | {"idempotency_key": "l"}])
        assert [status for _, status, _ in answer] == ["unchanged", "rejected", "logged"]
        assert "the idempotency key 'k' was used for another vote" in answer[1][2]
        assert shop.ask("SELECT count(*) FROM pix.interactions") == [(3,)]

    def test_what_is_no_array_and_an_empty_one(self, shop):
        for votes in ("NULL", "'{}'", "'7'"):
            refuses(shop, "PX121", f"SELECT * FROM pix.vote_batch({votes})", "must be a JSON array")
        assert self.send(shop, []) == []

    def test_answers_to_suggestions_are_known_as_such(self, shop):
        ((item, cluster, propensity, impression),) = shop.ask(
            "SELECT item_id, cluster, propensity, impression_id FROM pix.next_item('ann', 'random')", role="adam"
        )
        self.send(shop, [{"user_id": "ann", "item_id": item, "liked": True}])
        assert shop.ask("SELECT policy, clustering, cluster, propensity, impression_id FROM pix.interactions") == [
            ("random", "shelves", cluster, propensity, impression)
        ]


def test_load_command(shop, tmp_path):
    path = tmp_path / "votes.csv"
    path.write_text("user_id,item_id,liked\nann,s0-00,1\nann,s1-00,0\nbob,nowhere,1\nbob,s0-00,maybe\n")
    output = shop.pix("load", "interactions", path, role="adam", cwd=tmp_path).stdout
    assert output.startswith("2 new, 0 changed, 0 unchanged, 2 rejected")
    assert "item 'nowhere' is not in the catalogue" in (tmp_path / "pix-rejects.csv").read_text()
    again = shop.pix("load", "interactions", path, role="adam", cwd=tmp_path).stdout
    assert again.startswith("0 new, 0 changed, 2 unchanged, 2 rejected")
    assert shop.ask(ARMS) == [("ann", "shelves", 0, 1, 0, 1), ("ann", "shelves", 1, 0, 1, 1)]
    (tmp_path / "talk.tsv").write_text("s2-00\t1\ns2-01\t0\n")
    shop.pix("load", "interactions", "talk.tsv", "--user", "eve", role="adam", cwd=tmp_path)
    assert arm_counts(shop, "eve") == {2: (1, 1, 2)}
    refused = shop.pix("load", "interactions", "talk.tsv", role="adam", check=False, cwd=tmp_path)
    assert "does not say who voted" in refused.stderr


def test_skips(shop):
    (first,), (second,) = shop.ask("SELECT item_id FROM pix.next_items('ann', 2, 'random')", role="adam")
    vote(shop, "ann", first, True)
    assert shop.ask("SELECT pix.count_skips('1 hour')", role="adam") == [(0,)]
    assert shop.ask("SELECT pix.count_skips('0')", role="adam") == [(1,)]
    assert shop.ask("SELECT pix.count_skips('0')", role="adam") == [(0,)]
    assert shop.ask("SELECT item_id, value FROM pix.opinions WHERE signal = 'skip'") == [(second, -0.1)]
    assert shop.ask("SELECT policy, propensity FROM pix.interactions WHERE signal = 'skip'") == [
        ("random", pytest.approx(0.5))
    ]
    arms_agree(shop)
    vote(shop, "ann", second, signal="view")  # as strong, and later
    assert shop.ask("SELECT signal FROM pix.opinions WHERE item_id = %s", (second,)) == [("view",)]
    shop.ask("INSERT INTO pix.signals (signal, value) VALUES ('hover', 0.05)")
    ((third,),) = shop.ask("SELECT item_id FROM pix.next_item('ann')", role="adam")
    shop.ask("SELECT pix.count_skips('0')", role="adam")
    vote(shop, "ann", third, signal="hover")  # anything outweighs a skip
    assert shop.ask("SELECT signal FROM pix.opinions WHERE item_id = %s", (third,)) == [("hover",)]
    refuses(shop, "PX003", "SELECT pix.count_skips('-1 day')", "1,000 years, not -1 days")
