-- Look-alikes, exact: every feature of the model is compared.

CREATE OR REPLACE FUNCTION pix._search(
    query pix.feature_vector, model pix.models, k integer, metric text, excluded text
) RETURNS SETOF pix.neighbor
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF k IS NULL OR k < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX033', MESSAGE = format('k is %s', coalesce(k::text, 'NULL')),
            HINT = 'Ask for at least one neighbour: k => 10.';
    END IF;
    PERFORM pix._check_query(query, coalesce(metric, ''));
    RETURN QUERY
    SELECT (row_number() OVER (ORDER BY c.distance, c.item_id))::integer, c.item_id, c.distance
    FROM (
        SELECT f.item_id, pix.distance(f.vector, query, metric) AS distance
        FROM pix.features f
        WHERE f.model_name = model.model_name
            AND f.model_checksum IS NOT DISTINCT FROM model.checksum
            AND f.item_id IS DISTINCT FROM excluded
        ORDER BY 2, 1
        LIMIT k
    ) c
    ORDER BY 1;
END
$$;
COMMENT ON FUNCTION pix._search(pix.feature_vector, pix.models, integer, text, text) IS
'Internal: the k nearest items to a vector, ties in the order of item_id. Errors: PX031, PX032, PX033. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._search(pix.feature_vector, pix.models, integer, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix._search(pix.feature_vector, pix.models, integer, text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.nearest(
    item_id text, k integer DEFAULT 10, model_name text DEFAULT NULL, metric text DEFAULT 'cosine'
) RETURNS SETOF pix.neighbor
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    model pix.models := pix._find_model(model_name);
    query pix.features;
BEGIN
    SELECT f.* INTO query FROM pix.features f
    WHERE f.item_id = nearest.item_id AND f.model_name = model.model_name;
    IF NOT FOUND OR query.model_checksum IS DISTINCT FROM model.checksum THEN
        IF NOT EXISTS (SELECT FROM pix.items i WHERE i.item_id = nearest.item_id)
            AND NOT EXISTS (SELECT FROM pix.images i WHERE i.item_id = nearest.item_id)
        THEN
            RAISE EXCEPTION USING ERRCODE = 'PX040',
                MESSAGE = format('Item %s is not in the catalogue', coalesce(quote_literal(nearest.item_id), 'NULL')),
                HINT = 'SELECT item_id FROM pix.items lists the catalogue.';
        END IF;
        RAISE EXCEPTION USING ERRCODE = 'PX041',
            MESSAGE = format('Item %L has no up-to-date features of model %L', nearest.item_id, model.model_name),
            HINT = format(
                'CALL pix.extract_features(%L), or see pix.extraction_failures for why there are none.',
                model.model_name
            );
    END IF;
    RETURN QUERY SELECT * FROM pix._search(query.vector, model, k, metric, nearest.item_id);
END
$$;
COMMENT ON FUNCTION pix.nearest(text, integer, text, text) IS
'Look-alikes of an item: the k items with the nearest features, itself left out.
Arguments: item_id; k; model_name (NULL: the default model); metric: cosine, euclidean, or dot.
Result: rank (from 1), item_id, distance (as pix.distance), fewer than k rows only if there are fewer items.
Errors: PX020 unknown model, PX031 a vector of zeros, PX032 unknown metric, PX033 k below 1,
PX040 unknown item, PX041 an item without features.
Runs: coordinator.
Example: SELECT n.rank, n.distance, i.title FROM pix.nearest(''B005IYS5ZA'', k => 10) n JOIN pix.items i USING (item_id) ORDER BY n.rank;';
REVOKE ALL ON FUNCTION pix.nearest(text, integer, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix.nearest(text, integer, text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.nearest_to_image(
    content bytea, k integer DEFAULT 10, model_name text DEFAULT NULL, metric text DEFAULT 'cosine'
) RETURNS SETOF pix.neighbor
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 10
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    model pix.models := pix._find_model(model_name);
BEGIN
    IF content IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX010', MESSAGE = 'The picture is NULL',
            HINT = 'Pass the bytes of a picture file.';
    END IF;
    RETURN QUERY
    SELECT * FROM pix._search(pix.embed(content, model.model_name), model, k, metric, NULL);
END
$$;
COMMENT ON FUNCTION pix.nearest_to_image(bytea, integer, text, text) IS
'Look-alikes of a picture that need not be in the catalogue.
Arguments: content, the bytes of a picture file; k; model_name (NULL: the default model); metric: cosine, euclidean, or dot.
Result: rank (from 1), item_id, distance (as pix.distance).
Errors: those of pix.embed, PX031 a vector of zeros, PX032 unknown metric, PX033 k below 1.
Runs: coordinator.
Example: SELECT * FROM pix.nearest_to_image((SELECT content FROM pix.images LIMIT 1), k => 5);';
REVOKE ALL ON FUNCTION pix.nearest_to_image(bytea, integer, text, text) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION pix.nearest_to_image(bytea, integer, text, text) TO pix_reader;
