-- On a cluster, functions that return rows are planned for the coordinator: see 300_nearest.sql for why they are SQL.
-- The planner that knows this is chosen by itself, whatever the setting optimizer says.
DO $$
DECLARE
    routine regprocedure;
BEGIN
    IF pix._is_cluster() THEN
        FOR routine IN
            SELECT p.oid FROM pg_catalog.pg_proc p JOIN pg_catalog.pg_language l ON l.oid = p.prolang
            WHERE p.pronamespace = 'pix'::pg_catalog.regnamespace AND p.proretset AND l.lanname = 'sql'
        LOOP
            EXECUTE pg_catalog.format('ALTER FUNCTION %s EXECUTE ON COORDINATOR', routine);
        END LOOP;
    END IF;
END
$$;
