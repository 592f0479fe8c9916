"""Principal components, against scikit-learn's."""

import numpy as np
import pytest
from sklearn.decomposition import PCA

from tests.helpers import refuses, store


def test_as_scikit_learn_has_them(catalogue):
    db = catalogue.db
    matrix = np.stack([catalogue.vectors[item_id] for item_id in sorted(catalogue.vectors)])
    theirs = PCA(10).fit(matrix)
    ((components, items, variances, ratios, mean),) = db.ask(
        "SELECT components, items, explained_variance, explained_variance_ratio, pix.to_array(mean) "
        "FROM pix.fit_pca('clouds', 10)"
    )
    assert (components, items) == (10, 2000)
    assert variances == pytest.approx(theirs.explained_variance_.tolist(), rel=1e-3)
    assert ratios == pytest.approx(theirs.explained_variance_ratio_.tolist(), rel=1e-3)
    assert mean == pytest.approx(theirs.mean_.tolist(), abs=1e-4)
    ((ours,),) = db.ask(
        "SELECT pix.principal_components(vector, 'clouds') FROM pix.features WHERE item_id = 'c0017'", role="rita"
    )
    expected = theirs.transform(catalogue.vectors["c0017"][np.newaxis])[0]
    assert np.abs(ours) == pytest.approx(np.abs(expected), abs=1e-2)


def test_none_for_none_and_on_many_items(catalogue):
    db = catalogue.db
    db.ask("SELECT pix.fit_pca('clouds', 2)")
    assert db.ask("SELECT pix.principal_components(NULL, 'clouds')") == [(None,)]
    rows = db.ask("SELECT item_id, pix.principal_components(vector, 'clouds') FROM pix.features")
    assert len(rows) == 2000
    assert {len(components) for _, components in rows} == {2}


def test_bad_input(catalogue):
    db = catalogue.db
    refuses(db, "PX106", "SELECT pix.principal_components('\\x00000000', 'clouds')", "no principal components")
    db.ask("SELECT pix.fit_pca('clouds', 2)")
    refuses(db, "PX030", "SELECT pix.principal_components('\\x00000000', 'clouds')", "1 dimensions")
    for components in ("0", "-1", "NULL", "49"):
        refuses(db, "PX003", f"SELECT pix.fit_pca('clouds', {components})", components)
    refuses(db, "PX020", "SELECT pix.fit_pca('nothing')", "'nothing'")
    refuses(db, "PX095", "SELECT pix.fit_pca('mini_inception')", "no up-to-date features")
    store(db, "same", np.ones((10, 4)))
    refuses(db, "PX112", "SELECT pix.fit_pca('same', 2)", "the same")
    db.ask("UPDATE pix.models SET checksum = 'other' WHERE model_name = 'clouds'", role=None)
    refuses(db, "PX106", "SELECT pix.principal_components('\\x00000000', 'clouds')", "as it is now")


def test_command(catalogue):
    output = catalogue.db.pix("pca", "--model", "clouds", "--components", 48).stdout
    assert "clouds: 48 components of 2,000 items explain 100.0 %" in output
