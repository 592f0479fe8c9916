"""Numpy in, numpy out: no plpy, no SQL, no global state."""
