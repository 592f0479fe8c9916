-- Whatever is derived is compared with what it is derived from, as of one moment.

-- pix.check_derived.
CREATE OR REPLACE FUNCTION pix_internal.check_derived(OUT "check" text, OUT ok boolean, OUT found text, OUT remedy text)
RETURNS SETOF record
LANGUAGE plpython3u STABLE PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'derived.check_derived')$$;

CREATE OR REPLACE FUNCTION pix.check_derived() RETURNS TABLE ("check" text, ok boolean, found text, remedy text)
LANGUAGE plpgsql STABLE PARALLEL UNSAFE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_alone('pix.check_derived');
    RETURN QUERY SELECT c.* FROM pix_internal.check_derived() c;
END
$$;
COMMENT ON FUNCTION pix.check_derived IS
'Compares everything that is derived with what it is derived from, as of one moment: positions and vectors of blocks with
features, indexes and clusterings with the blocks they were made of, arms with the log of votes, recommendations and
predictions with items. It reads all of it, and so it takes its time; pix doctor --deep shows it.
Arguments: none.
Result: a row a check: check, ok, found, remedy (NULL where nothing is wrong).
Errors: PX024 unusable cache folder, PX028 unusable setting, PX060 call on segments.
Runs: coordinator; much of the work is done on the segments.
Example: SELECT * FROM pix.check_derived() WHERE NOT ok;';
