"""Procedures commit what they have done, and say so where they cannot."""

import psycopg2
import pytest

CALLS = """
SELECT format('CALL pix.%I(%s)', proname, CASE WHEN pronargs > pronargdefaults THEN quote_literal('first') END)
FROM pg_proc WHERE pronamespace = 'pix'::regnamespace AND prokind = 'p' ORDER BY 1
"""

WAYS = {
    "between BEGIN and COMMIT": "BEGIN; {}",
    "with other statements in one string": "SELECT 1; {}",
    "in a block within a transaction": "BEGIN; DO $$ BEGIN {}; END $$",
}


@pytest.mark.parametrize("way", WAYS)
def test_in_a_transaction_the_remedy_is_named(db, way):
    """PostgreSQL's own error is "invalid transaction termination", without a hint, and only at the first commit."""
    calls = [call for (call,) in db.query(CALLS)]
    assert len(calls) >= 5
    for call in calls:
        with pytest.raises(psycopg2.Error) as caught:
            db.query(WAYS[way].format(call))
        assert caught.value.pgcode == "PX062", (call, str(caught.value))
        assert call.split("(")[0].removeprefix("CALL ") in caught.value.diag.message_primary
        assert "autocommit" in caught.value.diag.message_hint


def test_in_a_block_of_its_own_it_works(extracted):
    extracted.query("UPDATE pix.features SET vector = vector")
    extracted.query("DO $$ BEGIN CALL pix.extract_features(); END $$")
    assert extracted.value("SELECT count(*) FROM pix.features WHERE packed_in IS NULL") == 0
