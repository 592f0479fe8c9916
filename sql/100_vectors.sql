-- Feature vectors.

CREATE OR REPLACE FUNCTION pix.to_array(vector pix.feature_vector) RETURNS real[]
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 10000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'vectors.to_array', vector)$$;
COMMENT ON FUNCTION pix.to_array IS
'Unpacks a feature vector into numbers, for BI tools, pgvector (::vector) and MADlib.
Arguments: vector.
Result: real[], one number a dimension; NULL for NULL.
Errors: none.
Runs: either (coordinator or segments).
Example: SELECT item_id, pix.to_array(vector) FROM pix.features LIMIT 3;';

CREATE OR REPLACE FUNCTION pix.from_array(numbers double precision[]) RETURNS pix.feature_vector
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 1000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'vectors.from_array', numbers)$$;
COMMENT ON FUNCTION pix.from_array IS
'Packs numbers as a feature vector.
Arguments: numbers, all finite.
Result: the vector; NULL for NULL.
Errors: PX030.
Runs: either (coordinator or segments).
Example: SELECT pix.from_array(ARRAY[0.5, 1.5]::real[]);';

CREATE OR REPLACE FUNCTION pix.distance(a pix.feature_vector, b pix.feature_vector, metric text DEFAULT 'cosine')
RETURNS double precision
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 1000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'vectors.distance', a, b, metric)$$;
COMMENT ON FUNCTION pix.distance IS
'Distance between two feature vectors; the smaller, the more alike.
Arguments: a, b (of one model); metric, one of pix.algorithms(''metric'').
Result: double precision; NULL for NULL.
Errors: PX003 unknown metric, PX030 different dimensions.
Runs: either (coordinator or segments).
Example: SELECT pix.distance(a.vector, b.vector) FROM pix.features a, pix.features b LIMIT 1;';

-- Distances of a vector to several, one after another in queries.
CREATE OR REPLACE FUNCTION pix_internal.distances(
    vector pix.feature_vector, queries bytea, query_count bigint, metric text
) RETURNS double precision[]
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 10000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'vectors.distances', vector, queries, query_count, metric)$$;

-- Raises PX031 or PX003 if one of the vectors in queries has no meaningful neighbors.
CREATE OR REPLACE FUNCTION pix_internal.check_queries(queries bytea, query_count bigint, metric text) RETURNS void
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'vectors.check_queries', queries, query_count, metric)$$;
