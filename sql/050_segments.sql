-- What differs where tables are distributed over segments (Greenplum, Cloudberry): such a server is known by what it can do, it
-- has distribution policies.

-- Whether this server spreads tables over segments.
-- Inlined, as it is asked for every vote: so it has no SET clause, and names everything in full.
CREATE OR REPLACE FUNCTION pix_internal.is_distributed() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$SELECT pg_catalog.to_regclass('pg_catalog.gp_distribution_policy') IS NOT NULL$$;

-- What a distributed server wants at the end of CREATE TABLE; elsewhere nothing. For what is loaded.
CREATE OR REPLACE FUNCTION pix_internal.distributed_by(columns text) RETURNS text
LANGUAGE sql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$SELECT CASE WHEN pix_internal.is_distributed() THEN format(' DISTRIBUTED BY (%s)', columns) ELSE '' END$$;

-- Refuses to run anywhere but in the coordinator's own part of a query.
-- A function that queries tables cannot run in a part of a query that was handed out, on a segment or beside
-- the coordinator: there the server would say only which relation is in the way.
CREATE OR REPLACE FUNCTION pix_internal.require_coordinator(function text, remedy text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('gp_role', true) = 'execute' THEN
        RAISE EXCEPTION USING ERRCODE = 'PX060',
            MESSAGE = format('%s cannot run inside this query, on segments', function), HINT = remedy;
    END IF;
END
$$;

-- For this transaction, has Greenplum use the planner, which needs milliseconds where its other optimizer needs seconds: for a
-- column compared with an array of a thousand keys.
CREATE OR REPLACE FUNCTION pix_internal.use_planner() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('optimizer', true) IS NOT NULL THEN
        PERFORM set_config('optimizer', 'off', true);
    END IF;
END
$$;
