-- Settings that several functions share.

-- Functions whose statements parallel workers share: CREATE TABLE AS, which is planned in parallel, as INSERT … SELECT is not. Their
-- tables look small, as features are small or lie in TOAST: so any size is worth a worker.
DO $$
DECLARE
    routine pg_catalog.regproc;
BEGIN
    FOREACH routine IN ARRAY '{
        pix_internal.embed_chunk, pix_internal.compare_blocks, pix_internal.train_chunk,
        pix_internal.compare_algorithms_of_chunk
    }'::pg_catalog.regproc[] LOOP
        EXECUTE pg_catalog.format(
            'ALTER FUNCTION %s SET min_parallel_table_scan_size = 0 SET parallel_setup_cost = 0 SET parallel_tuple_cost = 0
            SET max_parallel_workers_per_gather = 0 SET enable_indexscan = off SET enable_bitmapscan = off
            SET enable_nestloop = off SET jit = off', routine::pg_catalog.regprocedure
        );
    END LOOP;
END
$$;

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
