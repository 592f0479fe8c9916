-- What differs on a cluster (Greenplum, Cloudberry), which is known by what it can do: it has distribution policies.

-- Inlined, as it is asked for every vote: so it has no SET clause, and names everything in full.
CREATE OR REPLACE FUNCTION pix._is_cluster() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE
AS $$SELECT pg_catalog.to_regclass('pg_catalog.gp_distribution_policy') IS NOT NULL$$;
COMMENT ON FUNCTION pix._is_cluster() IS 'Internal: whether this server spreads tables over segments. Runs: either.';
REVOKE ALL ON FUNCTION pix._is_cluster() FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._is_cluster() TO pix_reader;

CREATE OR REPLACE FUNCTION pix._distributed_by(columns text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$SELECT CASE WHEN pix._is_cluster() THEN format(' DISTRIBUTED BY (%s)', columns) ELSE '' END$$;
COMMENT ON FUNCTION pix._distributed_by(text) IS
'Internal: what a cluster wants at the end of CREATE TABLE; elsewhere nothing. Runs: either.';
REVOKE ALL ON FUNCTION pix._distributed_by(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._distributed_by(text) TO pix_reader;

-- A function that queries tables cannot run in a part of a query that a cluster has handed out, on a segment or beside
-- the coordinator: there the server would say only which relation is in the way.
CREATE OR REPLACE FUNCTION pix._require_coordinator(function text, remedy text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('gp_role', true) = 'execute' THEN
        RAISE EXCEPTION USING ERRCODE = 'PX060',
            MESSAGE = format('%s cannot run as a part of this query on a cluster', function), HINT = remedy;
    END IF;
END
$$;
COMMENT ON FUNCTION pix._require_coordinator(text, text) IS
'Internal: refuses to run anywhere but in the coordinator''s own part of a query. Errors: PX060. Runs: either.';
REVOKE ALL ON FUNCTION pix._require_coordinator(text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._require_coordinator(text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._use_planner() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF current_setting('optimizer', true) IS NOT NULL THEN
        PERFORM set_config('optimizer', 'off', true);
    END IF;
END
$$;
COMMENT ON FUNCTION pix._use_planner() IS
'Internal: for this transaction, has Greenplum use the planner, which needs milliseconds where its other optimizer needs
seconds: for a column compared with an array of a thousand keys. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._use_planner() FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._use_planner() TO pix_reader;
