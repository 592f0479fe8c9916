"""Pixelplum: a visual recommender inside PostgreSQL and Greenplum.

`pixelplum.core` is numerical code that knows nothing of a database;
`pixelplum.server` holds the bodies of the SQL functions.
"""

import os

# ONNX Runtime looks at this when it is imported; without it, a thread reports to its makers.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

__version__ = "0.8.0"
