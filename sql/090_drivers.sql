-- One way to Python that writes and computes in several steps: a function that people call checks its call and its arguments,
-- and hands them over.

-- Calls a driver of the Python package: its name, arguments by name, and what it returns.
-- Statistics lag behind what was just loaded, or is in a temporary table: nested loops over it would be chosen wrongly. Times
-- come to Python as text.
CREATE OR REPLACE FUNCTION pix_internal.drive(driver text, arguments jsonb) RETURNS jsonb
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
SET datestyle = 'ISO'
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'drivers.drive', driver, arguments)$$;

-- As pix_internal.drive, for what somebody waits for: statements are planned once a session, and look up rows by their keys.
CREATE OR REPLACE FUNCTION pix_internal.answer(driver text, arguments jsonb) RETURNS jsonb
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET datestyle = 'ISO'
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'drivers.answer', driver, arguments)$$;

-- On Greenplum, what a subtransaction has written can be lost beside other people's queries (the module distributed of the Python
-- package says how), and PL/Python runs each statement in one. There a driver hands over what is to be written, step by step, and
-- it is run here.
DO $distributed$
BEGIN
    IF NOT pix_internal.is_distributed() THEN
        RETURN;
    END IF;
    CREATE OR REPLACE FUNCTION pix_internal.driver_steps(caller text, driver text, arguments jsonb) RETURNS SETOF text[]
    LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'distributed.steps', caller, driver, arguments)$$;

    CREATE OR REPLACE FUNCTION pix_internal.fail(failure text[]) RETURNS void
    LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
    AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'distributed.fail', failure)$$;

    CREATE OR REPLACE FUNCTION pix_internal.follow_steps(caller text, driver text, arguments jsonb) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
    DECLARE
        steps refcursor;
        step text[];
        returned text;
    BEGIN
        OPEN steps FOR SELECT pix_internal.driver_steps(caller, driver, arguments);
        LOOP
            FETCH steps INTO step;
            EXIT WHEN step IS NULL OR step[1] IN ('result', 'failure');
            IF step[1] = 'return' THEN
                EXECUTE step[2] INTO returned USING step[3:];
            ELSE
                EXECUTE step[2] USING step[3:];
                GET DIAGNOSTICS returned = ROW_COUNT;
            END IF;
            PERFORM set_config('pix.returned', returned, true);
        END LOOP;
        CLOSE steps;
        PERFORM pix_internal.fail(step[2:]) WHERE step[1] = 'failure';
        RETURN step[2];
    END
    $$;

    CREATE OR REPLACE FUNCTION pix_internal.drive(driver text, arguments jsonb) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
    SET datestyle = 'ISO' AS 'BEGIN RETURN pix_internal.follow_steps(''drive'', driver, arguments); END';

    CREATE OR REPLACE FUNCTION pix_internal.answer(driver text, arguments jsonb) RETURNS jsonb
    LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
    SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan SET datestyle = 'ISO'
    AS 'BEGIN RETURN pix_internal.follow_steps(''answer'', driver, arguments); END';
END
$distributed$;

-- A part of the work of a procedure, by the owner's rights: procedures that commit have only those of who calls them. What it
-- returns is where the next part goes on; NULL: there is none.
CREATE OR REPLACE FUNCTION pix_internal.drive_part(part text, arguments jsonb) RETURNS jsonb
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call(part);
    PERFORM pix_internal.check_choice('part', part, '{features.extract_some, batch_training.train_some,
        recommend_all.recommend_some, algorithm_selection.compare_some, neighbor_graph.compare_some}');
    RETURN pix_internal.drive(part, arguments);
END
$$;

-- Does all parts, and commits each. A procedure that commits cannot have a SET clause: it sets search_path itself, in each
-- transaction.
CREATE OR REPLACE PROCEDURE pix_internal.drive_parts(part text, arguments jsonb)
LANGUAGE plpgsql AS $$
DECLARE
    state jsonb := '{}';
BEGIN
    LOOP
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        state := pix_internal.drive_part(part, arguments || state);
        COMMIT;
        EXIT WHEN state IS NULL;
    END LOOP;
END
$$;
