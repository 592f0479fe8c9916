-- What can be chosen: the records that say so are Python's, and everything else asks them.

-- The names of a kind of algorithm that have all of some properties; 'not x' is to lack x. Computed when a statement is planned.
CREATE OR REPLACE FUNCTION pix_internal.algorithms_with(kind text, properties text[]) RETURNS text[]
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'algorithms.algorithms_with', kind, properties)$$;

-- pix.algorithms of all kinds, as Python has them.
CREATE OR REPLACE FUNCTION pix_internal.list_algorithms(
    OUT kind text, OUT algorithm text, OUT summary text, OUT parameters jsonb
) RETURNS SETOF record
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE ROWS 40 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'algorithms.list_algorithms')$$;

CREATE OR REPLACE FUNCTION pix.algorithms(of_kind text DEFAULT NULL)
RETURNS TABLE (kind text, algorithm text, summary text, parameters jsonb)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 40 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    kinds text[] := ARRAY(SELECT DISTINCT a.kind FROM pix_internal.list_algorithms() a ORDER BY 1);
BEGIN
    PERFORM pix_internal.check_choice('of_kind', coalesce(of_kind, kinds[1]), kinds);
    RETURN QUERY SELECT a.* FROM pix_internal.list_algorithms() a WHERE a.kind = coalesce(of_kind, a.kind);
END
$$;
COMMENT ON FUNCTION pix.algorithms IS
'What can be chosen where functions take an algorithm, a metric, a policy.
Arguments: of_kind: metric, index, classifier, clustering, map, policy, estimator, user model (NULL: all).
Result: kind, algorithm, summary, and parameters with their defaults.
Errors: PX003 invalid argument.
Runs: coordinator.
Example: SELECT algorithm, summary, parameters FROM pix.algorithms(''index'');';
