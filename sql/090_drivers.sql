-- One way to Python that writes and computes in several steps: a function that people call checks its call and its arguments,
-- and hands them over.

-- Calls a driver of the Python package: its name, arguments by name, and what it returns.
-- Statistics lag behind what was just loaded, or is in a temporary table: nested loops over it would be chosen wrongly. Times
-- come to Python as text.
CREATE OR REPLACE FUNCTION pix_internal.drive(driver text, arguments jsonb) RETURNS jsonb
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
SET client_min_messages = warning SET datestyle = 'ISO'
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'drivers.drive', driver, arguments)$$;
