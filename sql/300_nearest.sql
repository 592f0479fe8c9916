-- Look-alikes, exact: every feature of the model is compared.
--
-- What returns rows is a plain SQL function around one that returns an array. It is inlined into the query that calls
-- it, and on a cluster the array is then computed before the query starts: so it can be joined and stored like a
-- table, where a function that queries tables in its own right could only be called alone. Inlining is also why it
-- has no SET clause; it names everything in full.

CREATE OR REPLACE FUNCTION pix._check_k(k integer) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF k IS NULL OR k < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX033', MESSAGE = format('k is %s', coalesce(k::text, 'NULL')),
            HINT = 'Ask for at least one neighbour: k => 10.';
    END IF;
END
$$;
COMMENT ON FUNCTION pix._check_k(integer) IS 'Internal: refuses a k below 1. Errors: PX033. Runs: either.';
REVOKE ALL ON FUNCTION pix._check_k(integer) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix._check_k(integer) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._search(
    query pix.feature_vector, model pix.models, k integer, metric text, excluded text
) RETURNS pix.neighbor[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found pix.neighbor[];
BEGIN
    PERFORM pix._check_k(k);
    PERFORM pix._check_queries(query, 1, coalesce(metric, ''));
    SELECT array_agg((c.rank, c.item_id, c.distance)::pix.neighbor ORDER BY c.rank) INTO found
    FROM (
        SELECT (row_number() OVER (ORDER BY d.distance, d.item_id))::integer AS rank, d.item_id, d.distance
        FROM (
            SELECT f.item_id, pix.distance(f.vector, query, metric) AS distance
            FROM pix.features f
            WHERE f.model_name = model.model_name
                AND f.model_checksum IS NOT DISTINCT FROM model.checksum
                AND f.item_id IS DISTINCT FROM excluded
            ORDER BY 2, 1
            LIMIT k
        ) d
    ) c;
    RETURN found;
END
$$;
COMMENT ON FUNCTION pix._search(pix.feature_vector, pix.models, integer, text, text) IS
'Internal: the k nearest items to a vector, ties in the order of item_id. Errors: PX031, PX032, PX033. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._search(pix.feature_vector, pix.models, integer, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix._search(pix.feature_vector, pix.models, integer, text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._raise_no_features(item_id text, model_name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pix.items i WHERE i.item_id = _raise_no_features.item_id)
        AND NOT EXISTS (SELECT FROM pix.images i WHERE i.item_id = _raise_no_features.item_id)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'PX040',
            MESSAGE = format('Item %s is not in the catalogue', coalesce(quote_literal(item_id), 'NULL')),
            HINT = 'SELECT item_id FROM pix.items lists the catalogue.';
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'PX041',
        MESSAGE = format('Item %L has no up-to-date features of model %L', item_id, model_name),
        HINT = format('CALL pix.extract_features(%L), or see pix.extraction_failures for why there are none.', model_name);
END
$$;
COMMENT ON FUNCTION pix._raise_no_features(text, text) IS
'Internal: says why an item has no features. Errors: PX040, PX041. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._raise_no_features(text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix._raise_no_features(text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._nearest(item_id text, k integer, model_name text, metric text) RETURNS pix.neighbor[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    model pix.models;
    query pix.features;
BEGIN
    PERFORM pix._require_coordinator(
        'pix.nearest',
        'Give it one item, where its result is joined or stored as a value or variable; for many, use pix.nearest_many.'
    );
    model := pix._find_model(model_name);
    SELECT f.* INTO query FROM pix.features f
    WHERE f.item_id = _nearest.item_id AND f.model_name = model.model_name;
    IF NOT FOUND OR query.model_checksum IS DISTINCT FROM model.checksum THEN
        PERFORM pix._raise_no_features(item_id, model.model_name);
    END IF;
    RETURN pix._search(query.vector, model, k, metric, item_id);
END
$$;
COMMENT ON FUNCTION pix._nearest(text, integer, text, text) IS
'Internal: pix.nearest as an array. Errors: those of pix.nearest. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._nearest(text, integer, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix._nearest(text, integer, text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.nearest(
    item_id text, k integer DEFAULT 10, model_name text DEFAULT NULL, metric text DEFAULT 'cosine'
) RETURNS SETOF pix.neighbor
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10
AS $$
SELECT n.rank, n.item_id, n.distance FROM pg_catalog.unnest(pix._nearest(item_id, k, model_name, metric)) n
$$;
COMMENT ON FUNCTION pix.nearest(text, integer, text, text) IS
'Look-alikes of an item: the k items with the nearest features, itself left out.
Arguments: item_id; k; model_name (NULL: the default model); metric: cosine, euclidean, or dot.
Result: rank (from 1), item_id, distance (as pix.distance), fewer than k rows only if there are fewer items.
Errors: PX020 unknown model, PX031 a vector of zeros, PX032 unknown metric, PX033 k below 1,
PX040 unknown item, PX041 an item without features, PX060 a call as a part of a larger query on a cluster.
Runs: coordinator; on a cluster for one item at a time, given as a value where the result is joined or stored.
Example: SELECT n.rank, n.distance, i.title FROM pix.nearest(''B005IYS5ZA'', k => 10) n JOIN pix.items i USING (item_id) ORDER BY n.rank;';
REVOKE ALL ON FUNCTION pix.nearest(text, integer, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix.nearest(text, integer, text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._nearest_to_image(content bytea, k integer, model_name text, metric text)
RETURNS pix.neighbor[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    model pix.models;
BEGIN
    PERFORM pix._require_coordinator(
        'pix.nearest_to_image',
        'Give it one picture, where its result is joined or stored as a value or variable; or use pix.nearest_many.'
    );
    IF content IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX010', MESSAGE = 'The picture is NULL',
            HINT = 'Pass the bytes of a picture file.';
    END IF;
    model := pix._find_model(model_name);
    RETURN pix._search(pix.embed(content, model.model_name), model, k, metric, NULL);
END
$$;
COMMENT ON FUNCTION pix._nearest_to_image(bytea, integer, text, text) IS
'Internal: pix.nearest_to_image as an array. Errors: those of pix.nearest_to_image. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._nearest_to_image(bytea, integer, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix._nearest_to_image(bytea, integer, text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.nearest_to_image(
    content bytea, k integer DEFAULT 10, model_name text DEFAULT NULL, metric text DEFAULT 'cosine'
) RETURNS SETOF pix.neighbor
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10
AS $$
SELECT n.rank, n.item_id, n.distance FROM pg_catalog.unnest(pix._nearest_to_image(content, k, model_name, metric)) n
$$;
COMMENT ON FUNCTION pix.nearest_to_image(bytea, integer, text, text) IS
'Look-alikes of a picture that need not be in the catalogue.
Arguments: content, the bytes of a picture file; k; model_name (NULL: the default model); metric: cosine, euclidean, or dot.
Result: rank (from 1), item_id, distance (as pix.distance).
Errors: those of pix.embed, PX031 a vector of zeros, PX032 unknown metric, PX033 k below 1,
PX060 a call as a part of a larger query on a cluster.
Runs: coordinator; on a cluster for one picture at a time, given as a value where the result is joined or stored.
Example: SELECT * FROM pix.nearest_to_image((SELECT content FROM pix.images LIMIT 1), k => 5);';
REVOKE ALL ON FUNCTION pix.nearest_to_image(bytea, integer, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix.nearest_to_image(bytea, integer, text, text) TO pix_reader;

-- One pass over the features: each is compared with all the queries, where it is stored.
CREATE OR REPLACE FUNCTION pix._nearest_many(item_ids text[], k integer, model_name text, metric text)
RETURNS pix.neighbor_pair[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    model pix.models;
    queries text[];
    vectors bytea;
    missing text;
    found pix.neighbor_pair[];
BEGIN
    PERFORM pix._require_coordinator(
        'pix.nearest_many',
        'Call it once for all items; where its result is joined or stored, give it a value or variable, not a subquery.'
    );
    model := pix._find_model(model_name);
    PERFORM pix._check_k(k);
    -- Asked first: Greenplum 7.0's optimizer crashes where a column is compared with an array of nothing but NULL.
    IF item_ids IS NULL OR EXISTS (SELECT FROM unnest(item_ids) i WHERE i IS NULL) THEN
        PERFORM pix._raise_no_features(NULL, model.model_name);
    END IF;
    SELECT array_agg(f.item_id ORDER BY f.item_id), string_agg(f.vector, ''::bytea ORDER BY f.item_id)
    INTO queries, vectors
    FROM pix.features f
    WHERE f.model_name = model.model_name AND f.model_checksum IS NOT DISTINCT FROM model.checksum
        AND f.item_id = ANY (item_ids);
    SELECT unnest(item_ids) EXCEPT SELECT unnest(queries) ORDER BY 1 LIMIT 1 INTO missing;
    IF missing IS NOT NULL THEN
        PERFORM pix._raise_no_features(missing, model.model_name);
    END IF;
    IF queries IS NULL THEN
        RETURN found;  -- nothing was asked for
    END IF;
    PERFORM pix._check_queries(vectors, cardinality(queries), coalesce(metric, ''));
    SELECT array_agg((queries[n.query], n.rank, n.item_id, n.distance)::pix.neighbor_pair ORDER BY n.query, n.rank)
    INTO found
    FROM (
        SELECT d.query, d.item_id, d.distance,
            (row_number() OVER (PARTITION BY d.query ORDER BY d.distance, d.item_id))::integer AS rank
        FROM (
            SELECT f.item_id, generate_series(1, cardinality(queries)) AS query,
                unnest(pix._distances(f.vector, vectors, metric)) AS distance
            FROM pix.features f
            WHERE f.model_name = model.model_name AND f.model_checksum IS NOT DISTINCT FROM model.checksum
        ) d
        WHERE d.item_id <> queries[d.query]
    ) n
    WHERE n.rank <= k;
    RETURN found;
END
$$;
COMMENT ON FUNCTION pix._nearest_many(text[], integer, text, text) IS
'Internal: pix.nearest_many as an array. Errors: those of pix.nearest_many. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._nearest_many(text[], integer, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix._nearest_many(text[], integer, text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.nearest_many(
    item_ids text[], k integer DEFAULT 10, model_name text DEFAULT NULL, metric text DEFAULT 'cosine'
) RETURNS SETOF pix.neighbor_pair
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 100
AS $$
SELECT n.item_id, n.rank, n.neighbor_id, n.distance
FROM pg_catalog.unnest(pix._nearest_many(item_ids, k, model_name, metric)) n
$$;
COMMENT ON FUNCTION pix.nearest_many(text[], integer, text, text) IS
'Look-alikes of many items in one pass over the features: for each, the k items with the nearest ones, itself left out.
Arguments: item_ids (one that is named twice is answered once); k; model_name (NULL: the default model);
metric: cosine, euclidean, or dot.
Result: item_id, rank (from 1), neighbor_id, distance (as pix.distance), in the order of item_id and rank.
Errors: PX020 unknown model, PX031 a vector of zeros, PX032 unknown metric, PX033 k below 1,
PX040 unknown item, PX041 an item without features, PX060 a call as a part of a larger query on a cluster.
Runs: coordinator; on a cluster with the array given as a value where the result is joined or stored.
Example: SELECT * FROM pix.nearest_many(ARRAY(SELECT item_id FROM pix.features ORDER BY item_id LIMIT 3), k => 2);';
REVOKE ALL ON FUNCTION pix.nearest_many(text[], integer, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix.nearest_many(text[], integer, text, text) TO pix_reader;
