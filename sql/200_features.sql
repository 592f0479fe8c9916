-- Images to features: one image with pix.embed, all of them with pix.extract_features.

-- Features, or why the image has none.
CREATE OR REPLACE FUNCTION pix_internal.run_model(content bytea, checksum text, engine text) RETURNS pix_internal.embedding
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'features.run_model', content, checksum, engine)$$;

-- Features by a model, restored on this host if need be, or why the image has none.
CREATE OR REPLACE FUNCTION pix_internal.try_embed(content bytea, checksum text, engine text) RETURNS pix_internal.embedding
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.ensure_model(checksum, engine);
    RETURN pix_internal.run_model(content, checksum, engine);
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

-- CPU cores that this server may use.
CREATE OR REPLACE FUNCTION pix_internal.cores() RETURNS integer
LANGUAGE plpython3u STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'doctor.cores')$$;

-- As many workers as there are cores for them, until the calling function ends; where there are segments, they share the work.
CREATE OR REPLACE FUNCTION pix_internal.use_workers(leader_works boolean DEFAULT true) RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT set_config('max_parallel_workers_per_gather', CASE WHEN pix_internal.is_distributed() THEN 0
    ELSE pix_internal.cores() - leader_works::integer END::text, true)
$$;

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

-- Computes the features of these items into the temporary table pix_chunk.
-- One table, and no index: parallel workers share out the few rows of a page, not the hundreds of an index's.
CREATE OR REPLACE FUNCTION pix_internal.embed_chunk(item_ids text[], checksum text, engine text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.use_workers();
    PERFORM pix_internal.drop_temporary('pix_chunk');
    EXECUTE
        'CREATE TEMP TABLE pix_chunk ON COMMIT DROP AS
         SELECT item_id, sha256, pix_internal.try_embed(content, $1, $3) AS embedding FROM pix.images WHERE item_id = ANY ($2)'
        || pix_internal.distributed_by('item_id')
    USING checksum, item_ids, engine;
END
$$;

-- A procedure that commits cannot have a SET clause: it sets search_path itself, in each transaction.
CREATE OR REPLACE PROCEDURE pix.extract_features(
    model_name text DEFAULT NULL, chunk_size bigint DEFAULT 1000, retry_failed boolean DEFAULT false,
    engine text DEFAULT 'onnxruntime'
)
LANGUAGE plpgsql AS $$
DECLARE
    model pix.models := pix.find_model(model_name);
    model_now pix.models;
    run bigint;
    item_ids text[];
    low text := '';
    tried bigint;
    done bigint;
    begun timestamptz;
    taken double precision;
BEGIN
    CALL pix_internal.require_no_transaction('pix.extract_features');
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM pix_internal.require_writable('pix.extract_features');
    PERFORM pix_internal.check_range('chunk_size', chunk_size, 1);
    PERFORM pix.warm_up(model.model_name, engine);
    -- Two calls at once take turns, chunk by chunk, instead of doing the same work. Whoever writes does so in the order
    -- failures, features, runs: Greenplum locks whole tables, and another order would be a deadlock.
    PERFORM pix_internal.lock('extraction_runs', model.model_name);
    PERFORM pix_internal.use_planner();
    DELETE FROM pix.extraction_failures x WHERE x.model_name = model.model_name
        AND (retry_failed OR NOT EXISTS (SELECT FROM pix.images i WHERE i.item_id = x.item_id));
    DELETE FROM pix.features f WHERE f.model_name = model.model_name
        AND NOT EXISTS (SELECT FROM pix.images i WHERE i.item_id = f.item_id);
    COMMIT;
    LOOP
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        PERFORM pix_internal.lock('extraction_runs', model.model_name);
        PERFORM pix_internal.use_planner();
        begun := clock_timestamp();
        model_now := pix.find_model(model.model_name);
        IF model_now.checksum IS DISTINCT FROM model.checksum THEN
            low := '';  -- it was imported again during the run: what is done already is stale
        END IF;
        model := model_now;
        -- Statistics lag behind a table that grows this fast: nested loops over it would be chosen wrongly.
        PERFORM set_config('enable_nestloop', 'off', true);
        SELECT array_agg(p.item_id ORDER BY p.item_id) INTO item_ids FROM (
            SELECT item_id FROM pix.pending_images WHERE pending_images.model_name = model.model_name AND item_id > low
            ORDER BY item_id LIMIT chunk_size
        ) p;
        EXIT WHEN item_ids IS NULL;
        PERFORM pix_internal.embed_chunk(item_ids, pix_internal.model_checksum(model.model_name, engine), engine);

        DELETE FROM pix.extraction_failures x WHERE x.model_name = model.model_name AND x.item_id = ANY (item_ids);
        INSERT INTO pix.extraction_failures
            (item_id, model_name, model_checksum, image_sha256, sqlstate, reason)
        SELECT c.item_id, model.model_name, model.checksum, c.sha256, (c.embedding).sqlstate, (c.embedding).reason
        FROM pg_temp.pix_chunk c WHERE (c.embedding).sqlstate IS NOT NULL;
        DELETE FROM pix.features f WHERE f.model_name = model.model_name AND f.item_id = ANY (
            ARRAY(SELECT c.item_id FROM pg_temp.pix_chunk c WHERE (c.embedding).sqlstate IS NOT NULL)
        );
        INSERT INTO pix.features AS f (item_id, model_name, model_checksum, image_sha256, vector)
        SELECT c.item_id, model.model_name, model.checksum, c.sha256, (c.embedding).vector
        FROM pg_temp.pix_chunk c WHERE (c.embedding).sqlstate IS NULL
        ON CONFLICT ON CONSTRAINT features_pkey DO UPDATE SET
            model_checksum = excluded.model_checksum, image_sha256 = excluded.image_sha256,
            vector = excluded.vector, extracted_at = excluded.extracted_at;
        GET DIAGNOSTICS done = ROW_COUNT;
        SELECT count(*) INTO tried FROM pg_temp.pix_chunk;
        taken := EXTRACT(EPOCH FROM clock_timestamp() - begun);
        IF run IS NULL THEN
            INSERT INTO pix.extraction_runs AS r (model_name, extracted, failed, seconds)
            VALUES (model.model_name, done, tried - done, taken) RETURNING r.run_id INTO run;
        ELSE
            UPDATE pix.extraction_runs r
            SET extracted = r.extracted + done, failed = r.failed + tried - done, seconds = r.seconds + taken
            WHERE r.run_id = run;
        END IF;
        low := item_ids[cardinality(item_ids)];
        COMMIT;
    END LOOP;
    -- While an index is being built, blocks stay as they are: what is not packed is found all the same.
    IF pix_internal.try_lock('packs', model.model_name) THEN
        PERFORM pix.pack_features(model.model_name);
    END IF;
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
