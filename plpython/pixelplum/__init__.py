"""Pixelplum: a visual recommender inside PostgreSQL and Greenplum.

`pixelplum.core` is numerical code that knows nothing of a database;
`pixelplum.server` holds the bodies of the SQL functions.
"""

__version__ = "0.1.0"
