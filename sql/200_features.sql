-- Images to features: one image with pix.embed, all of them with pix.extract_features.

-- Features, or why the image has none.
CREATE OR REPLACE FUNCTION pix_internal.embed(content bytea, checksum text, engine text) RETURNS pix_internal.embedding
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'features.embed', content, checksum, engine)$$;

-- Features by a model, restored on this host if need be, or why the image has none.
CREATE OR REPLACE FUNCTION pix_internal.try_embed(content bytea, checksum text, engine text) RETURNS pix_internal.embedding
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.ensure_model(checksum, engine);
    RETURN pix_internal.embed(content, checksum, engine);
END
$$;

CREATE OR REPLACE FUNCTION pix.embed(content bytea, model_name text DEFAULT NULL, engine text DEFAULT 'onnxruntime')
RETURNS pix.feature_vector
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    embedding pix_internal.embedding := pix_internal.try_embed(content, pix_internal.model_checksum(model_name, engine), engine);
BEGIN
    IF embedding.sqlstate IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = embedding.sqlstate, MESSAGE = embedding.reason, HINT = embedding.hint;
    END IF;
    RETURN embedding.vector;
END
$$;
COMMENT ON FUNCTION pix.embed IS
'Runs a model on an image, and returns its features.
Arguments: content, the bytes of an image file; model_name (NULL: the default model); engine: onnxruntime, or tensorflow for a
model that was imported with its TensorFlow graph (the same features within 1e-4, slower and in more memory).
Result: the feature vector; NULL for NULL.
Errors: PX003 unknown engine, PX010 not an image, PX011 one that takes too much to decode, PX020 unknown model, PX022 a model that cannot run,
or does more than compute, PX026 an engine that is not installed, PX027 a model without a TensorFlow graph,
PX028 unusable setting.
Runs: either (in parallel workers too, and on the segments that hold the images).
Example: SELECT item_id, pix.embed(content) FROM pix.images LIMIT 3;';

CREATE OR REPLACE VIEW pix.pending_images AS
SELECT m.model_name, i.item_id FROM pix.models m
CROSS JOIN pix.images i
WHERE m.size_bytes IS NOT NULL
    AND NOT EXISTS (
        SELECT FROM pix.features f WHERE f.item_id = i.item_id AND f.model_name = m.model_name
            AND f.model_checksum = m.checksum AND f.image_sha256 = i.sha256
    )
    AND NOT EXISTS (
        SELECT FROM pix.extraction_failures x WHERE x.item_id = i.item_id AND x.model_name = m.model_name
            AND x.model_checksum = m.checksum AND x.image_sha256 = i.sha256
    );
COMMENT ON VIEW pix.pending_images IS
'Images that the next pix.extract_features of a model will work on: without features, or with stale ones.';

-- A procedure that commits cannot have a SET clause: it sets search_path itself, in each transaction.
CREATE OR REPLACE PROCEDURE pix.extract_features(
    model_name text DEFAULT NULL, chunk_size bigint DEFAULT 1000, retry_failed boolean DEFAULT false,
    engine text DEFAULT 'onnxruntime'
)
LANGUAGE plpgsql AS $$
BEGIN
    CALL pix_internal.require_no_transaction('pix.extract_features');
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM pix_internal.require_writable('pix.extract_features');
    PERFORM pix_internal.check_range('chunk_size', chunk_size, 1);
    model_name := (pix.find_model(model_name)).model_name;
    PERFORM pix.warm_up(model_name, engine);
    CALL pix_internal.drive_parts('features.extract_some', pg_catalog.jsonb_build_object(
        'model_name', model_name, 'chunk_size', chunk_size, 'retry_failed', retry_failed, 'engine', engine));
END
$$;
COMMENT ON PROCEDURE pix.extract_features IS
'Computes the features of every image that has none yet, or stale ones, on all CPU cores or segments, and commits after each
chunk. It can be stopped at any moment and called again: at most one chunk is lost. An image that cannot be read becomes a row
of pix.extraction_failures; pix.extraction_progress shows its progress. Features of items whose image is deleted go with it.
In the end it calls pix.pack_features, unless an index of the model is being built.
Arguments: model_name (NULL: the default model); chunk_size, images per commit; retry_failed, whether to try again the images
that failed before (they are tried again anyway when the image or the model changes); engine, as for pix.embed.
Result: none.
Errors: PX002 host that lacks what models need, PX003 invalid argument, PX020 unknown model, PX022 a model that does not
work, PX026 to PX028 an engine that cannot be used, PX061 read-only, PX062 call in a transaction.
Runs: coordinator, outside a transaction block; the work is done in parallel workers or on the segments.
Example: CALL pix.extract_features(''mini_inception'');';

CREATE OR REPLACE VIEW pix.extraction_progress AS
SELECT
    m.model_name,
    count(i.item_id) AS images,
    count(f.item_id) FILTER (WHERE f.fresh) AS extracted,
    count(x.item_id) AS failed,
    count(f.item_id) FILTER (WHERE NOT f.fresh) AS stale,
    count(i.item_id) FILTER (WHERE f.fresh IS NOT TRUE AND x.item_id IS NULL) AS pending,
    (
        SELECT (r.extracted + r.failed) / nullif(r.seconds, 0) FROM pix.extraction_runs r
        WHERE r.model_name = m.model_name ORDER BY r.run_id DESC LIMIT 1
    ) AS images_per_second
FROM pix.models m
LEFT JOIN pix.images i ON true
LEFT JOIN LATERAL (
    SELECT f.item_id, f.model_checksum = m.checksum AND f.image_sha256 = i.sha256 AS fresh
    FROM pix.features f WHERE f.item_id = i.item_id AND f.model_name = m.model_name
) f ON true
LEFT JOIN pix.extraction_failures x
    ON x.item_id = i.item_id AND x.model_name = m.model_name
    AND x.model_checksum = m.checksum AND x.image_sha256 = i.sha256
WHERE m.size_bytes IS NOT NULL
GROUP BY m.model_name;
COMMENT ON VIEW pix.extraction_progress IS
'Exact counts per model: images = extracted + failed + pending.';

CREATE OR REPLACE VIEW pix.feature_arrays AS
SELECT f.item_id, f.model_name, pix.to_array(f.vector) AS features, f.extracted_at FROM pix.features f;
COMMENT ON VIEW pix.feature_arrays IS 'Features as real[], for BI tools and other extensions.';

CREATE OR REPLACE VIEW pix.current_features AS
SELECT f.item_id, f.model_name, f.vector, f.packed_in, f.block, f.position FROM pix.features f
JOIN pix.models m ON m.model_name = f.model_name AND f.model_checksum IS NOT DISTINCT FROM m.checksum
LEFT JOIN pix.images i ON i.item_id = f.item_id
WHERE f.image_sha256 IS NULL OR f.image_sha256 = i.sha256;
COMMENT ON VIEW pix.current_features IS
'Features that are up to date: of the model as it is, and of the item''s image as it is. These are searched.';
