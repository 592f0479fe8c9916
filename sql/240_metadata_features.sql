-- Metadata as features: models whose vectors are those of another model, with metadata appended.

-- Refuses what no metadata can be encoded by.
CREATE OR REPLACE FUNCTION pix_internal.check_metadata(fields text[], weight double precision, terms bigint) RETURNS void
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'metadata_features.check_metadata', fields, weight, terms)$$;

-- What can be encoded of an item, as JSON; lists however nested are made flat.
CREATE OR REPLACE FUNCTION pix_internal.item_metadata(item_id text, item pix.items) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE COST 1000 SET search_path = pg_catalog, pg_temp AS $$
SELECT jsonb_build_object(
    'item_id', item_id, 'price', item.price, 'brand', item.brand, 'title', item.title,
    'categories', jsonb_path_query_array(item.categories, 'strict $.** ? (@.type() == "string")'),
    'related', jsonb_path_query_array(item.related, 'strict $.** ? (@.type() == "string")')
)::text
$$;

-- How metadata are encoded, learned from items.
CREATE OR REPLACE FUNCTION pix_internal.fit_metadata(
    items text[], fields text[], weight double precision, terms bigint, norms bytea, OUT fitted_state jsonb, OUT columns integer
)
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 100000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'metadata_features.fit_metadata', items, fields, weight, terms, norms)$$;

-- What to append to the vectors of these items.
CREATE OR REPLACE FUNCTION pix_internal.encode_metadata(items text[], fitted_state jsonb) RETURNS bytea[]
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 100000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'metadata_features.encode_metadata', items, fitted_state)$$;

-- Makes the vectors that a model lacks, or that are out of date, from packed ones of another; tells how many.
-- Vectors are joined where they are stored; only metadata travel. A vector is as of the later of its image's features and
-- its metadata, and that is its extracted_at: where it differs, there is something new.
CREATE OR REPLACE FUNCTION pix_internal.append_metadata(model pix.models, base_model text, fitted_state jsonb) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    at_once integer := greatest(1, least(20000, 67108864 / (4 * (fitted_state ->> 'columns')::integer)));
    low text := '';
    chunk record;
    encoded bytea[];
    written bigint;
    appended bigint := 0;
BEGIN
    PERFORM pix_internal.use_planner();
    DELETE FROM pix.features f WHERE f.model_name = model.model_name AND NOT EXISTS (
        SELECT FROM pix.features b
        WHERE b.item_id = f.item_id AND b.model_name = append_metadata.base_model AND b.packed_in IS NOT NULL
    );
    LOOP
        SELECT array_agg(c.item_id ORDER BY c.item_id) AS item_ids, array_agg(c.moment ORDER BY c.item_id) AS moments,
            array_agg(c.metadata ORDER BY c.item_id) AS metadata
        INTO chunk FROM (
            SELECT b.item_id, greatest(b.extracted_at, i.loaded_at) AS moment, pix_internal.item_metadata(b.item_id, i) AS metadata
            FROM pix.features b
            LEFT JOIN pix.items i ON i.item_id = b.item_id
            LEFT JOIN pix.features f ON f.item_id = b.item_id AND f.model_name = model.model_name
            WHERE b.model_name = append_metadata.base_model AND b.packed_in IS NOT NULL AND b.item_id > low
                AND (f.model_checksum, f.image_sha256, f.extracted_at) IS DISTINCT FROM
                    (model.checksum, b.image_sha256, greatest(b.extracted_at, i.loaded_at))
            ORDER BY b.item_id LIMIT at_once
        ) c;
        EXIT WHEN chunk.item_ids IS NULL;
        encoded := pix_internal.encode_metadata(chunk.metadata, fitted_state);
        INSERT INTO pix.features AS f (item_id, model_name, model_checksum, image_sha256, vector, extracted_at)
        SELECT b.item_id, model.model_name, model.checksum, b.image_sha256, b.vector || e.encoded, e.moment
        FROM unnest(chunk.item_ids, encoded, chunk.moments) e (item_id, encoded, moment)
        JOIN pix.features b ON b.item_id = e.item_id AND b.model_name = append_metadata.base_model
        ON CONFLICT ON CONSTRAINT features_pkey DO UPDATE SET
            model_checksum = excluded.model_checksum, image_sha256 = excluded.image_sha256,
            vector = excluded.vector, extracted_at = excluded.extracted_at;
        GET DIAGNOSTICS written = ROW_COUNT;
        appended := appended + written;
        low := chunk.item_ids[cardinality(chunk.item_ids)];
    END LOOP;
    -- While an index is being built, blocks stay as they are: what is not packed is found all the same.
    IF pix_internal.try_lock('packs', model.model_name) THEN
        PERFORM pix.pack_features(model.model_name);
    END IF;
    RETURN appended;
END
$$;

CREATE OR REPLACE FUNCTION pix.fit_metadata(
    model_name text, base_model text DEFAULT NULL, fields text[] DEFAULT '{price,brand,categories,related,title}',
    weight double precision DEFAULT 1, terms bigint DEFAULT 256
) RETURNS pix.metadata_models
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    base pix.models;
    model pix.models;
    pack pix_internal.packs;
    sample text[];
    all_norms bytea;
    fitted record;
    number bigint;
BEGIN
    PERFORM pix_internal.check_call('pix.fit_metadata');
    PERFORM pix_internal.check_list('fields', fields);
    PERFORM pix_internal.check_metadata(fields, weight, terms);
    PERFORM pix_internal.lock('models', 'all');
    base := pix.find_model(base_model);
    IF coalesce(octet_length(model_name), 0) NOT BETWEEN 1 AND 200 OR model_name = base.model_name THEN
        RAISE EXCEPTION USING ERRCODE = 'PX152', MESSAGE = format('model_name must be a new name of 1 to 200 bytes, not %L', left(model_name, 200)),
            HINT = format('Use another than that of its base model, such as %L.', left(base.model_name, 190) || '_metadata');
    END IF;
    IF EXISTS (SELECT FROM pix.models m WHERE m.model_name = fit_metadata.model_name) AND NOT EXISTS (
        SELECT FROM pix.metadata_models d WHERE d.model_name = fit_metadata.model_name
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX152',
            MESSAGE = format('Model %L has a graph, or features of its own, and is not overwritten', model_name),
            HINT = 'Use another name, or drop that model first: SELECT pix.drop_model(…)';
    END IF;
    PERFORM pix_internal.lock('extraction_runs', model_name);
    PERFORM pix.pack_features(base.model_name);
    pack := pix_internal.find_pack(base);

    SELECT array_agg(pix_internal.item_metadata(s.item_id, i) ORDER BY s.item_id) INTO sample FROM (
        SELECT f.item_id FROM pix.features f WHERE f.model_name = base.model_name AND f.packed_in IS NOT NULL
        ORDER BY md5('7' || f.item_id), f.item_id LIMIT 50000
    ) s
    LEFT JOIN pix.items i ON i.item_id = s.item_id;
    SELECT string_agg(b.norms, ''::bytea) INTO all_norms
    FROM pix_internal.feature_blocks b WHERE b.model_name = base.model_name;
    fitted := pix_internal.fit_metadata(sample, fields, weight, terms, all_norms);

    INSERT INTO pix.models AS m (model_name, checksum, dimensions, source) VALUES (fit_metadata.model_name,
        encode(sha256(convert_to(concat_ws(' ', base.model_name, base.checksum, fitted.fitted_state), 'UTF8')), 'hex'),
        base.dimensions + fitted.columns, format('%s with %s', base.model_name, array_to_string(fields, ', ')))
    ON CONFLICT ON CONSTRAINT models_pkey DO UPDATE SET
        checksum = excluded.checksum, dimensions = excluded.dimensions, source = excluded.source, imported_at = now();
    SELECT m.* INTO model FROM pix.models m WHERE m.model_name = fit_metadata.model_name;
    PERFORM pix_internal.append_metadata(model, base.model_name, fitted.fitted_state);
    SELECT count(*) INTO number FROM pix.features f WHERE f.model_name = model.model_name;
    DELETE FROM pix.metadata_models d WHERE d.model_name = model.model_name;
    INSERT INTO pix.metadata_models
        (model_name, base_model, base_checksum, fields, weight, terms, dimensions, items, fitted_state)
    VALUES (model.model_name, base.model_name, base.checksum, fit_metadata.fields, fit_metadata.weight,
        fit_metadata.terms, fitted.columns, number, fitted.fitted_state);
    RETURN (SELECT d FROM pix.metadata_models d WHERE d.model_name = model.model_name);
END
$$;
COMMENT ON FUNCTION pix.fit_metadata IS
'Makes a model whose vectors are those of another with metadata appended; whatever takes a model takes it. Called again, it
learns again how metadata are encoded, from 50,000 items at random where there are more; what was made of the earlier vectors,
clusterings, indexes, classifiers, is out of date then, unless the vectors are the same. Price: its logarithm, standardized,
and whether it is missing. Brand, categories, related items (and the item itself, so that items which name each other overlap)
and words of the title: TF-IDF, of length 1 for each field; 0 where an item has none.
Arguments: model_name, of the new model; base_model (NULL: the default model); fields, of price, brand, categories, related,
title; weight, of all metadata: 1 makes them as long as the base model''s vectors are (root mean square); terms, how many
values of each field have a number, the most frequent, and those of one item only never.
Result: the row of pix.metadata_models: dimensions, how many numbers were appended; items, that have vectors; fitted_state,
what each number stands for, and which fields have none because no item has them.
Errors: PX003 invalid argument, PX020 unknown model, PX024 unusable cache folder, PX030 incomparable vectors, PX060 call
on segments, PX061 read-only, PX095 no features, PX152 a name that is taken or cannot be used, PX153 no metadata.
Runs: coordinator; vectors are made on the segments.
Example: SELECT dimensions, items FROM pix.fit_metadata(''with_brand'', ''mini_inception'', ARRAY[''brand'', ''price'']);';

CREATE OR REPLACE FUNCTION pix.refresh_metadata(model_name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model pix.models;
    base pix.models;
    fitted pix.metadata_models;
    appended bigint;
    number bigint;
BEGIN
    PERFORM pix_internal.check_call('pix.refresh_metadata');
    model := pix.find_model(model_name);
    PERFORM pix_internal.lock('extraction_runs', model.model_name);
    model := pix.find_model(model.model_name);
    SELECT d.* INTO fitted FROM pix.metadata_models d WHERE d.model_name = model.model_name;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX152', MESSAGE = format('Model %L has no metadata', model.model_name),
            HINT = 'Name one of: SELECT model_name FROM pix.metadata_models; pix.fit_metadata makes one.';
    END IF;
    base := pix.find_model(fitted.base_model);
    IF base.checksum IS DISTINCT FROM fitted.base_checksum OR base.dimensions <> model.dimensions - fitted.dimensions THEN
        RAISE EXCEPTION USING ERRCODE = 'PX154',
            MESSAGE = format('Model %L was imported again since %L was made of it', base.model_name, model.model_name),
            HINT = format('Make it again: SELECT pix.fit_metadata(%L, %L, …)', model.model_name, base.model_name);
    END IF;
    PERFORM pix.pack_features(base.model_name);
    appended := pix_internal.append_metadata(model, base.model_name, fitted.fitted_state);
    SELECT count(*) INTO number FROM pix.features f WHERE f.model_name = model.model_name;
    UPDATE pix.metadata_models d SET items = number WHERE d.model_name = model.model_name;
    RETURN appended;
END
$$;
COMMENT ON FUNCTION pix.refresh_metadata IS
'Brings the vectors of a model that pix.fit_metadata made up to date: makes those of items that are new, or whose features or
metadata were loaded since, encoded as before; items that have no features any more leave it.
Arguments: model_name.
Result: how many vectors were made.
Errors: PX020 unknown model, or base model, PX024 unusable cache folder, PX030 incomparable vectors, PX060 call on
segments, PX061 read-only, PX152 a model without metadata, PX154 a base model that was imported again.
Runs: coordinator; vectors are made on the segments.
Example: SELECT pix.refresh_metadata(''with_brand'');';
