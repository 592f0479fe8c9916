-- What the server has, and what it lacks.

-- The one body that is more than an import and a call: it has to work where the import does not.
CREATE OR REPLACE FUNCTION pix.doctor()
RETURNS TABLE ("check" text, ok boolean, found text, remedy text)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE ROWS 6
SET search_path = pg_catalog, pg_temp
AS $$
try:
    from pixelplum.server.doctor import examine
except ImportError as error:
    return [('package', False, str(error), 'Put what `pix server python-path` prints into PYTHONPATH of the postmaster')]
return examine(plpy, GD, '@VERSION@')
$$;
COMMENT ON FUNCTION pix.doctor() IS
'Checks the server: version, Python, packages, cache folder, memory, cores.
Arguments: none. Result: a row a check: check, ok, found, remedy (NULL where nothing is wrong).
Runs: coordinator.
Example: SELECT * FROM pix.doctor();';
REVOKE ALL ON FUNCTION pix.doctor() FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix.doctor() TO pix_reader;
