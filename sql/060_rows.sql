-- Rows from an array. PostgreSQL's own unnest asks the planner to compute its argument just to know its length: a search, or
-- a network, would run twice for every query. This is the same function without that wish.

CREATE OR REPLACE FUNCTION pix._unnest(elements anyarray) RETURNS SETOF anyelement
LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE ROWS 10
SET search_path = pg_catalog, pg_temp
AS 'array_unnest';
COMMENT ON FUNCTION pix._unnest(anyarray) IS 'Internal: the elements of an array as rows. Runs: either.';
REVOKE ALL ON FUNCTION pix._unnest(anyarray) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._unnest(anyarray) TO pix_reader;
