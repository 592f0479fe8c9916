"""Published revisions never change: databases have gone through them."""

import hashlib

import pytest

from tests.helpers import CHECKOUT

HASHES = {
    "r0001_catalogue_and_features.py": "1bb5ed1b74448b2d3301f964ca177b815f5cbd048a5565d13a1fca9ab0c13c33",
    "r0002_clusters.py": "88aff03292c69e57e581dcf2d32f7fffd8645914f559d0802b158800fcfe6731",
    "r0003_classifiers.py": "f2100d58ec1cfea6769ebf131884a3e23d2c2fe84ec5d0aff75b5c005e2c76f0",
    "r0004_nearest_neighbours.py": "b4f00e683b1a8bf01486641c0d1e7ec8fdcb30c7bd65ea7287381a5319e09227",
    "r0005_clusters_and_maps.py": "a60effb94ab1616b5df55bcdb299c51912e5d959c09bc9cbcb978615b0e5a613",
    "r0006_votes_and_bandit.py": "5840c6937221c2931f70e89b1133a09e51a2540abb6994eea0ffad43e3c4876c",
    "r0007_metadata_features.py": "e724e9d9d0fcadca71c70b0971059038eac1ff089f79d5decfb598745532e44d",
    "r0008_user_models.py": "3e9d8153ca94ce50fe73a52740dd20a74771d27203d21929527ea72cd5eb3f3b",
    "r0009_servers_of_others.py": "305203a3745f6dea4c8e53364132aa9e106d37a20eaa69b977e9d4403cee4517",
}


@pytest.mark.parametrize("name", HASHES)
def test_published_revision_is_as_it_was(name):
    content = (CHECKOUT / "migrations/versions" / name).read_bytes()
    assert hashlib.sha256(content).hexdigest() == HASHES[name], "Write a new revision instead."
