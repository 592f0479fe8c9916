-- Models: found by name, stored in parts, restored into the cache of whatever host needs them.
-- What restores them is STABLE: it changes files, not the database, and parallel workers run nothing volatile.

CREATE OR REPLACE FUNCTION pix.find_model(model_name text DEFAULT NULL) RETURNS pix.models
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    wanted text := model_name;
    named_model pix.models;
BEGIN
    IF wanted IS NULL THEN
        SELECT s.value INTO wanted FROM pix.settings s WHERE s.key = 'default_model';
        IF wanted IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'PX020', MESSAGE = 'There is no default model', HINT = coalesce(
                (SELECT format('Name one, or make it the default: SELECT pix.set_default_model(%L);', min(m.model_name))
                 FROM pix.models m HAVING count(*) > 0),
                'Import a model with: pix model import');
        END IF;
    END IF;
    SELECT m.* INTO named_model FROM pix.models m WHERE m.model_name = wanted;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX020', MESSAGE = format('Model %L is not known', left(wanted, 200)),
            HINT = pix_internal.did_you_mean(wanted, ARRAY(SELECT m.model_name FROM pix.models m),
                'SELECT model_name FROM pix.models lists the models; pix model import adds one.');
    END IF;
    RETURN named_model;
END
$$;
COMMENT ON FUNCTION pix.find_model IS
'The model that functions use where this one is named.
Arguments: model_name (NULL: the default model).
Result: the row of pix.models.
Errors: PX020 unknown model, or no default model.
Runs: either (coordinator or segments).
Example: SELECT model_name, dimensions FROM pix.find_model();';

-- The checksum of a model's graph, in the format of an engine.
CREATE OR REPLACE FUNCTION pix_internal.model_checksum(model_name text, engine text DEFAULT 'onnxruntime') RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model pix.models := pix.find_model(model_name);
BEGIN
    IF model.size_bytes IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX022',
            MESSAGE = format(
                'Model %L has no graph: its features %s', model.model_name,
                CASE WHEN model.checksum IS NULL THEN 'were loaded from a file' ELSE 'are those of another, with metadata' END
            ),
            HINT = 'Name a model that was imported with: pix model import';
    END IF;
    IF engine = 'onnxruntime' THEN
        RETURN model.checksum;
    ELSIF engine = 'tensorflow' THEN
        IF model.tensorflow_checksum IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'PX027',
                MESSAGE = format('Model %L was imported without its TensorFlow graph', model.model_name),
                HINT = 'Import it again with: pix model import … --keep-tensorflow';
        END IF;
        RETURN model.tensorflow_checksum;
    END IF;
    PERFORM pix_internal.check_choice('engine', engine, '{onnxruntime,tensorflow}');
END
$$;

-- Whether this backend has the model in memory, where there are no settings to load it by; or can load it from the cache of this
-- host; verify: compare the whole file.
CREATE OR REPLACE FUNCTION pix_internal.model_is_ready(checksum text, engine text, verify boolean, settings jsonb) RETURNS boolean
LANGUAGE plpython3u STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'features.model_is_ready', checksum, engine, verify, settings)$$;

-- Restores the model into the cache of this host if it is missing there; tells whether it did.
-- PL/pgSQL reads the parts: its plain SELECT also works in parallel workers and on segments, plpy's does not.
-- SECURITY DEFINER: whoever may use a model may have it restored, but not write files by calling the functions above.
CREATE OR REPLACE FUNCTION pix_internal.ensure_model(
    checksum text, engine text DEFAULT 'onnxruntime', verify boolean DEFAULT false
) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    settings jsonb;
    piece record;
BEGIN
    IF NOT verify AND pix_internal.model_is_ready(checksum, engine, false, NULL) THEN
        RETURN false;  -- for every image but a backend's first
    END IF;
    SELECT coalesce(jsonb_object_agg(s.key, s.value), '{}') INTO settings FROM pix.settings s;
    IF pix_internal.model_is_ready(checksum, engine, verify, settings) THEN
        RETURN false;
    END IF;
    FOR piece IN
        SELECT p.part, p.content FROM pix_internal.model_parts p WHERE p.checksum = ensure_model.checksum ORDER BY p.part
    LOOP
        PERFORM pix_internal.write_file_part(checksum, piece.part, piece.content);
    END LOOP;
    PERFORM pix_internal.finish_file(checksum, 'network');
    RETURN true;
END
$$;

-- Loads a model into an engine and says what it is; has_to_see: refuses one that does not tell two images apart, or sees two
-- where there is one.
CREATE OR REPLACE FUNCTION pix_internal.inspect_model(
    checksum text, engine text, has_to_see boolean DEFAULT false, OUT dimensions integer, OUT size_bytes bigint, OUT spec jsonb
) LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'models.inspect_model', checksum, engine, has_to_see)$$;

-- Verifies or restores the model's file on the host it runs on; tells whether it was restored.
-- VOLATILE, or Greenplum would compute it once, on the coordinator, instead of on each segment.
CREATE OR REPLACE FUNCTION pix_internal.ensure_model_here(checksum text, engine text) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN pix_internal.ensure_model(checksum, engine, verify => true);
END
$$;

CREATE OR REPLACE FUNCTION pix.warm_up(model_name text DEFAULT NULL, engine text DEFAULT 'onnxruntime') RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    checksum text;
    restored boolean;
    restored_there boolean;
BEGIN
    PERFORM pix_internal.require_coordinator('pix.warm_up', 'Call it alone: SELECT pix.warm_up()');
    PERFORM pix_internal.require_fit_hosts();
    checksum := pix_internal.model_checksum(model_name, engine);
    restored := pix_internal.ensure_model_here(checksum, engine);
    PERFORM pix_internal.inspect_model(checksum, engine);
    IF pix_internal.is_distributed() THEN
        EXECUTE
            'SELECT bool_or(s.restored)
             FROM (SELECT pix_internal.ensure_model_here($1, $2) AS restored FROM gp_dist_random(''gp_id'')) s'
        INTO restored_there USING checksum, engine;
        restored := restored OR restored_there;
    END IF;
    RETURN restored;
END
$$;
COMMENT ON FUNCTION pix.warm_up IS
'Makes a model ready on this host, and on every host of segments: restores its file from the database if need be, and loads it
into this connection.
Arguments: model_name (NULL: the default model); engine, onnxruntime or tensorflow.
Result: whether a file had to be restored.
Errors: PX002 host that lacks what models need, PX003 unknown engine, PX020 unknown model, PX022 a model without a graph, PX024 unusable cache
folder, PX026 an engine that is not installed, PX027 a model without a TensorFlow graph, PX028 unusable
setting, PX060 call on segments.
Runs: coordinator.
Example: SELECT pix.warm_up(''mini_inception'');';

-- What is stored here is opened only when a model is registered: the whole file is compared with its checksum first. The first
-- part begins the file again, unless all of it is there: so what somebody left half done, or damaged, is in nobody's way.
-- Whoever imports or drops a model takes turns: with whole tables locked, two at once would be a deadlock.
CREATE OR REPLACE FUNCTION pix.store_model_part(checksum text, part bigint, content bytea) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    is_whole boolean;
BEGIN
    PERFORM pix_internal.check_call('pix.store_model_part');
    IF checksum !~ '^[0-9a-f]{64}$' OR part NOT BETWEEN 0 AND 1000 OR octet_length(content) NOT BETWEEN 1 AND 16777216
        OR (checksum IS NULL OR part IS NULL OR content IS NULL)
    THEN
        PERFORM pix_internal.refuse(
            'A part of a model must have a sha256, an ordinal from 0 to 1,000, and 1 byte to 16 MB', 'Import models with: pix model import'
        );
    END IF;
    PERFORM pix_internal.lock('models', 'all');
    SELECT encode(sha256(string_agg(p.content, ''::bytea ORDER BY p.part)), 'hex') IS NOT DISTINCT FROM store_model_part.checksum
    INTO is_whole FROM pix_internal.model_parts p WHERE p.checksum = store_model_part.checksum;
    IF part = 0 AND NOT is_whole THEN
        DELETE FROM pix_internal.model_parts p WHERE p.checksum = store_model_part.checksum;
    ELSIF EXISTS (
        SELECT FROM pix_internal.model_parts p
        WHERE p.checksum = store_model_part.checksum AND p.part = store_model_part.part AND p.content = store_model_part.content
    ) THEN
        RETURN;
    ELSIF is_whole THEN
        PERFORM pix_internal.refuse(
            format('checksum must be that of a file of which parts are missing, and %s is whole', checksum), 'Import models with: pix model import'
        );
    END IF;
    INSERT INTO pix_internal.model_parts (checksum, part, content) VALUES (checksum, part, content)
    ON CONFLICT ON CONSTRAINT model_parts_pkey DO UPDATE SET content = excluded.content;
END
$$;
COMMENT ON FUNCTION pix.store_model_part IS
'Stores a part of the file of a model, for pix.register_model; pix model import calls it. Part 0 begins the file again, unless
the parts that are stored are all of it.
Arguments: checksum, the sha256 of the whole file; part, its ordinal, from 0; content, up to 16 MB.
Result: none.
Errors: PX003 invalid argument, PX060 call on segments, PX061 read-only.
Runs: coordinator.
Example: SELECT pix.store_model_part(encode(sha256(''\x00''), ''hex''), 0, ''\x00'');';

-- Removes files that no model uses any more.
CREATE OR REPLACE FUNCTION pix_internal.remove_unused_parts() RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DELETE FROM pix_internal.model_parts p
WHERE NOT EXISTS (SELECT FROM pix.models m WHERE p.checksum IN (m.checksum, m.tensorflow_checksum))
$$;

CREATE OR REPLACE FUNCTION pix.register_model(
    model_name text, checksum text, source text, agreement double precision DEFAULT NULL, tensorflow_checksum text DEFAULT NULL
) RETURNS pix.models
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    description record;
BEGIN
    PERFORM pix_internal.check_call('pix.register_model');
    PERFORM pix_internal.check_name('model_name', model_name);
    IF checksum IS NULL OR source IS NULL THEN
        PERFORM pix_internal.refuse('checksum and source must not be NULL', 'Import models with: pix model import');
    END IF;
    PERFORM pix_internal.check_range('agreement', coalesce(agreement, 0), 0, 1000);
    PERFORM pix_internal.lock('models', 'all');
    PERFORM pix_internal.require_fit_hosts();
    PERFORM pix_internal.ensure_model(checksum, verify => true);
    SELECT * INTO description FROM pix_internal.inspect_model(checksum, 'onnxruntime', has_to_see => true);
    INSERT INTO pix.models AS m
        (model_name, checksum, dimensions, size_bytes, spec, source, agreement, tensorflow_checksum)
    VALUES (register_model.model_name, register_model.checksum, description.dimensions, description.size_bytes,
        description.spec, register_model.source, round(register_model.agreement::numeric, 9),
        register_model.tensorflow_checksum)
    ON CONFLICT ON CONSTRAINT models_pkey DO UPDATE SET
        checksum = excluded.checksum, dimensions = excluded.dimensions, size_bytes = excluded.size_bytes,
        spec = excluded.spec, source = excluded.source, agreement = excluded.agreement,
        tensorflow_checksum = excluded.tensorflow_checksum, imported_at = now();
    DELETE FROM pix.quantizations q
    WHERE q.model_name = register_model.model_name AND q.model_checksum <> register_model.checksum;
    DELETE FROM pix.metadata_models d WHERE d.model_name = register_model.model_name;
    PERFORM pix_internal.remove_unused_parts();
    INSERT INTO pix.settings VALUES ('default_model', register_model.model_name) ON CONFLICT DO NOTHING;
    RETURN pix.find_model(model_name);
END
$$;
COMMENT ON FUNCTION pix.register_model IS
'Names a model whose ONNX file pix.store_model_part has stored; pix model import calls it. The first model becomes the default.
Under a name that is taken, the model is replaced, and its features are stale until the next extraction.
Arguments: model_name; checksum, the sha256 of the whole file; source, in words; agreement with the original engine;
tensorflow_checksum, of the TensorFlow graph, if that is in pix_internal.model_parts too.
Result: the row of pix.models.
Errors: PX002 host that lacks what models need, PX003 invalid argument, PX022 or PX023 a model that does not run or
gives no vector, PX025 one that does not tell images apart, PX061 read-only.
Runs: coordinator.
Example: SELECT * FROM pix.register_model(''mine'', (SELECT min(checksum) FROM pix.models WHERE spec IS NOT NULL), ''by hand'');';

CREATE OR REPLACE FUNCTION pix.set_default_model(model_name text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model pix.models := pix.find_model(model_name);
BEGIN
    PERFORM pix_internal.require_writable('pix.set_default_model');
    INSERT INTO pix.settings AS s VALUES ('default_model', model.model_name)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value;
END
$$;
COMMENT ON FUNCTION pix.set_default_model IS
'Chooses the model that functions use where none is named.
Arguments: model_name.
Result: none.
Errors: PX020 unknown model, PX061 read-only.
Runs: coordinator.
Example: SELECT pix.set_default_model(''mini_inception'');';

CREATE OR REPLACE FUNCTION pix.drop_model(model_name text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model pix.models;
    old text;
BEGIN
    PERFORM pix_internal.check_call('pix.drop_model');
    IF drop_model.model_name IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX020', MESSAGE = 'No model is named',
            HINT = 'Name the model to drop: the default model is never dropped by omission.';
    END IF;
    PERFORM pix_internal.lock('models', 'all');
    model := pix.find_model(model_name);
    -- A chunk that is being extracted would leave features behind.
    PERFORM pix_internal.lock('extraction_runs', model.model_name);
    PERFORM pix_internal.forget('model_name', model.model_name, '{
        pix.extraction_failures, pix.features, pix.extraction_runs, pix.quantizations, pix.metadata_models,
        pix.recommendations, pix.user_model_failures, pix.user_models, pix.common_taste
    }');
    PERFORM pix_internal.lock('packs', model.model_name);
    PERFORM pix_internal.forget('model_name', model.model_name, '{pix_internal.feature_blocks, pix_internal.packs}');
    PERFORM pix_internal.forget('model_name', model.model_name, '{pix.indexes}');
    PERFORM pix_internal.drive('indexes.forget_parts', '{}');
    PERFORM pix_internal.forget('model_name', model.model_name, '{pix.neighbors, pix.neighbor_graphs}');
    FOR old IN SELECT c.clustering FROM pix.clusterings c WHERE c.model_name = model.model_name LOOP
        PERFORM pix_internal.forget_clustering(old);
    END LOOP;
    FOR old IN SELECT m.map FROM pix.maps m WHERE m.model_name = model.model_name LOOP
        PERFORM pix_internal.forget('map', old, '{pix.map_points, pix.maps}');
    END LOOP;
    PERFORM pix_internal.forget('model_name', model.model_name, '{pix_internal.projections, pix.models}');
    PERFORM pix_internal.remove_unused_parts();
    DELETE FROM pix.settings s WHERE s.key = 'default_model' AND s.value = model.model_name;
END
$$;
COMMENT ON FUNCTION pix.drop_model IS
'Removes a model, its graph, all its features, and their blocks, indexes, neighbors, clusterings and maps. Classifiers on these
features stay, but cannot be used.
Arguments: model_name.
Result: none.
Errors: PX020 unknown model, PX060 call on segments, PX061 read-only.
Runs: coordinator.
Example: SELECT pix.drop_model(''mini_inception'');';
