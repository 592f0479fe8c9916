-- What the server has, and what it lacks; where there are segments, what each of their hosts has and lacks.

-- Checks the host it runs on, for so many models of this size at once.
-- The one body that is more than an import and a call: it has to work where the import does not.
CREATE OR REPLACE FUNCTION pix_internal.examine_host(segment bigint, models bigint, model_bytes bigint) RETURNS pix.finding[]
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
import socket
import sys
try:
    import pixelplum
    if pixelplum.__version__ == '@VERSION@':
        from pixelplum.server.doctor import examine
        checks = examine(plpy, GD, models, model_bytes)
    else:
        found = f'SQL has version @VERSION@, the package on this host {pixelplum.__version__}'
        remedy = 'Run pix migrate where SQL is older; else install pixelplum @VERSION@ here, and open a new connection'
        checks = [('package', False, found, remedy)]
except Exception as error:
    found = f'{" ".join(str(error).split())[:200]} (Python {sys.version.split()[0]})'  # numpy's error fills a page
    remedy = ('Install pixelplum @VERSION@ for this Python, put what `pix server python-path` prints into PYTHONPATH '
              'of the postmaster, and restart it')
    checks = [('package', False, found, remedy)]
return [(socket.gethostname(), segment, *check) for check in checks]
$$;

-- pix.doctor as an array.
CREATE OR REPLACE FUNCTION pix_internal.doctor() RETURNS pix.finding[]
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model_bytes bigint;
    primaries integer[];
    here pix.finding[];
    there pix.finding[];
BEGIN
    PERFORM pix_internal.require_coordinator('pix.doctor', 'Call it alone: SELECT * FROM pix.doctor()');
    SELECT coalesce(max(m.size_bytes), 0) INTO model_bytes FROM pix.models m;
    IF NOT pix_internal.is_distributed() THEN
        RETURN pix_internal.examine_host(NULL, NULL, model_bytes);
    END IF;
    -- How many primaries share a segment's host: each runs a model of its own. The coordinator runs one.
    EXECUTE
        'SELECT array_agg(s.primaries ORDER BY s.content)
         FROM (
             SELECT content, count(*) OVER (PARTITION BY hostname) AS primaries
             FROM pg_catalog.gp_segment_configuration WHERE role = ''p'' AND content >= 0
         ) s'
    INTO primaries;
    here := pix_internal.examine_host(NULL, 1, model_bytes);
    EXECUTE
        'SELECT array_agg(s.found)
         FROM (
             SELECT unnest(pix_internal.examine_host(g.number, $1[g.number + 1], $2)) AS found
             FROM (SELECT gp_execution_segment() AS number FROM gp_dist_random(''gp_id'')) g
         ) s'
    INTO there USING primaries, model_bytes;
    SELECT array_agg(
        (
            t.host, t.segment, t."check", t.ok AND h.found IS NULL, t.found,
            CASE WHEN h.found IS NULL THEN t.remedy ELSE format('Install what the coordinator has: %s', h.found) END
        )::pix.finding
    ) INTO there
    FROM unnest(there) t
    LEFT JOIN unnest(here) h ON h."check" = t."check" AND h."check" IN ('python', 'packages') AND h.found <> t.found;
    RETURN here || there;
END
$$;

CREATE OR REPLACE FUNCTION pix.doctor() RETURNS SETOF pix.finding
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
SELECT f.host, f.segment, f."check", f.ok, f.found, f.remedy
FROM unnest(pix_internal.doctor()) WITH ORDINALITY f (host, segment, "check", ok, found, remedy, ordinal)
ORDER BY f.segment NULLS FIRST, f.ordinal
$$;
COMMENT ON FUNCTION pix.doctor IS
'Checks the server, on Greenplum the coordinator and every segment: package and version, Python, packages (the same on every
host), cache folder, memory for as many models as run there at once, cores.
Arguments: none.
Result: a row a check: host, segment (NULL: the coordinator, or a server without segments), check, ok, found, remedy (NULL
where nothing is wrong).
Errors: PX060 call on segments.
Runs: coordinator, alone in its query.
Example: SELECT * FROM pix.doctor();';

-- Refuses to go on while a host lacks what models need.
CREATE OR REPLACE FUNCTION pix_internal.require_fit_hosts() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fault pix.finding;
BEGIN
    SELECT * INTO fault FROM unnest(pix_internal.doctor()) f
    WHERE NOT f.ok AND f."check" IN ('package', 'python', 'packages') ORDER BY f.segment NULLS FIRST LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX002',
            MESSAGE = format('Host %s%s cannot run models: %s', fault.host,
                coalesce(format(' (segment %s)', fault.segment), ''), fault.found),
            HINT = fault.remedy;
    END IF;
END
$$;
