-- Rows from an array. PostgreSQL's own unnest asks the planner to compute its argument just to know its length: a search, or
-- a model, would run twice for every query. This is the same function without that wish.

-- The elements of an array as rows.
CREATE OR REPLACE FUNCTION pix_internal.unnest(elements anyarray) RETURNS SETOF anyelement
LANGUAGE internal IMMUTABLE STRICT PARALLEL SAFE ROWS 10 SET search_path = pg_catalog, pg_temp AS 'array_unnest';
