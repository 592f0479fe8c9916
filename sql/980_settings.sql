-- Settings that several functions share.

-- What runs on the coordinator, where there are segments.
DO $$
DECLARE
    routine record;
BEGIN
    IF NOT pix_internal.is_distributed() THEN
        RETURN;
    END IF;
    FOR routine IN
        SELECT p.oid::pg_catalog.regprocedure AS name, l.lanname, p.proretset, p.proparallel
        FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
        WHERE p.pronamespace IN ('pix'::pg_catalog.regnamespace, 'pix_internal'::pg_catalog.regnamespace) AND p.prokind = 'f'
    LOOP
        IF routine.lanname = 'sql' AND routine.proretset THEN
            -- 300_nearest.sql says why these are SQL. So marked, they get the planner that inlines them.
            EXECUTE pg_catalog.format('ALTER FUNCTION %s EXECUTE ON COORDINATOR', routine.name);
        ELSIF routine.lanname = 'plpgsql' AND routine.proparallel <> 's'
            AND routine.name <> 'pix_internal.use_planner()'::pg_catalog.regprocedure
        THEN
            -- As pix_internal.use_planner does for procedures, which cannot have settings.
            EXECUTE pg_catalog.format('ALTER FUNCTION %s SET optimizer = off', routine.name);
        END IF;
    END LOOP;
END
$$;
