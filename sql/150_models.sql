-- Models: found by name, stored in parts, restored into the cache of whatever host needs them.
-- What restores them is STABLE: it changes files, not the database, and parallel workers run nothing volatile.

CREATE OR REPLACE FUNCTION pix._find_model(model_name text) RETURNS pix.models
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wanted text := model_name;
    found_model pix.models;
BEGIN
    IF wanted IS NULL THEN
        SELECT s.value INTO wanted FROM pix.settings s WHERE s.key = 'default_model';
        IF wanted IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'PX020', MESSAGE = 'There is no default model',
                HINT = 'Import a model with: pix model import';
        END IF;
    END IF;
    SELECT m.* INTO found_model FROM pix.models m WHERE m.model_name = wanted;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX020', MESSAGE = format('Model %L is not known', wanted),
            HINT = 'SELECT model_name FROM pix.models lists the models; pix model import adds one.';
    END IF;
    RETURN found_model;
END
$$;
COMMENT ON FUNCTION pix._find_model(text) IS
'Internal: the model of this name, or the default model for NULL. Errors: PX020. Runs: either.';
REVOKE ALL ON FUNCTION pix._find_model(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._find_model(text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._network_of(model_name text, engine text DEFAULT 'onnxruntime') RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    model pix.models := pix._find_model(model_name);
BEGIN
    IF model.size_bytes IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX022',
            MESSAGE = format(
                'Model %L has no network: its features %s', model.model_name,
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
    RAISE EXCEPTION USING ERRCODE = 'PX026', MESSAGE = format('The engine %L is not known', engine),
        HINT = 'Use one of: onnxruntime, tensorflow.';
END
$$;
COMMENT ON FUNCTION pix._network_of(text, text) IS
'Internal: the checksum of a model''s network, in the format of an engine. Errors: PX020, PX022, PX026, PX027. Runs: either.';
REVOKE ALL ON FUNCTION pix._network_of(text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._network_of(text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._network_is_loaded(checksum text) RETURNS boolean
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'features.is_loaded', checksum)
$$;
COMMENT ON FUNCTION pix._network_is_loaded(text) IS
'Internal: whether this backend has the network in memory. Runs: either.';
REVOKE ALL ON FUNCTION pix._network_is_loaded(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._model_is_ready(checksum text, engine text, verify boolean, settings jsonb) RETURNS boolean
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'features.is_ready', checksum, engine, verify, settings)
$$;
COMMENT ON FUNCTION pix._model_is_ready(text, text, boolean, jsonb) IS
'Internal: whether this backend can load the model from the cache of this host; verify: compare the whole file.
Errors: PX022, PX026, PX028. Runs: either.';
REVOKE ALL ON FUNCTION pix._model_is_ready(text, text, boolean, jsonb) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._write_model_part(checksum text, part integer, content bytea) RETURNS void
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'features.write_model_part', checksum, part, content)
$$;
COMMENT ON FUNCTION pix._write_model_part(text, integer, bytea) IS
'Internal: appends a part to the cache file that is being restored. Errors: PX024. Runs: either.';
REVOKE ALL ON FUNCTION pix._write_model_part(text, integer, bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._finish_model(checksum text) RETURNS void
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'features.finish_model', checksum)
$$;
COMMENT ON FUNCTION pix._finish_model(text) IS
'Internal: checks and names the restored cache file. Errors: PX022. Runs: either.';
REVOKE ALL ON FUNCTION pix._finish_model(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

-- PL/pgSQL reads the parts: its plain SELECT also works in parallel workers and on segments, plpy's does not.
-- SECURITY DEFINER: whoever may use a model may have it restored, but not write files by calling the functions above.
CREATE OR REPLACE FUNCTION pix._ensure_model(
    checksum text, engine text DEFAULT 'onnxruntime', verify boolean DEFAULT false
) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    settings jsonb;
    piece record;
BEGIN
    IF NOT verify AND pix._network_is_loaded(checksum) THEN
        RETURN false;  -- for every picture but a backend's first
    END IF;
    SELECT coalesce(jsonb_object_agg(s.key, s.value), '{}') INTO settings FROM pix.settings s;
    IF pix._model_is_ready(checksum, engine, verify, settings) THEN
        RETURN false;
    END IF;
    FOR piece IN
        SELECT p.part, p.content FROM pix.model_parts p WHERE p.checksum = _ensure_model.checksum ORDER BY p.part
    LOOP
        PERFORM pix._write_model_part(checksum, piece.part, piece.content);
    END LOOP;
    PERFORM pix._finish_model(checksum);
    RETURN true;
END
$$;
COMMENT ON FUNCTION pix._ensure_model(text, text, boolean) IS
'Internal: restores the model into the cache of this host if it is missing there; tells whether it did. Runs: either.';
REVOKE ALL ON FUNCTION pix._ensure_model(text, text, boolean) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._ensure_model(text, text, boolean) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._inspect_model(
    checksum text, engine text, OUT dimensions integer, OUT size_bytes bigint, OUT spec jsonb
) LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'models.inspect', checksum, engine)
$$;
COMMENT ON FUNCTION pix._inspect_model(text, text) IS
'Internal: loads a model into an engine and says what it is. Errors: PX021, PX022, PX023, PX026. Runs: either.';
REVOKE ALL ON FUNCTION pix._inspect_model(text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._inspect_model(text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._check_sight(checksum text) RETURNS void
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'models.check_sight', checksum)
$$;
COMMENT ON FUNCTION pix._check_sight(text) IS
'Internal: refuses a network that does not tell two pictures apart, or sees two pictures where there is one.
Errors: PX021, PX022, PX025. Runs: either.';
REVOKE ALL ON FUNCTION pix._check_sight(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._check_sight(text) TO pix_reader;

-- VOLATILE, or a cluster would compute it once, on the coordinator, instead of on each segment.
CREATE OR REPLACE FUNCTION pix._ensure_model_here(checksum text, engine text) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN pix._ensure_model(checksum, engine, verify => true);
END
$$;
COMMENT ON FUNCTION pix._ensure_model_here(text, text) IS
'Internal: verifies or restores the model''s file on the host it runs on; tells whether it was restored. Runs: either.';
REVOKE ALL ON FUNCTION pix._ensure_model_here(text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._ensure_model_here(text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.warm_up(model_name text DEFAULT NULL, engine text DEFAULT 'onnxruntime') RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    checksum text;
    restored boolean;
    restored_there boolean;
BEGIN
    PERFORM pix._require_coordinator('pix.warm_up', 'Call it alone: SELECT pix.warm_up()');
    PERFORM pix._require_fit_hosts();
    checksum := pix._network_of(model_name, engine);
    restored := pix._ensure_model_here(checksum, engine);
    PERFORM pix._inspect_model(checksum, engine);
    IF pix._is_cluster() THEN
        EXECUTE
            'SELECT bool_or(s.restored)
             FROM (SELECT pix._ensure_model_here($1, $2) AS restored FROM gp_dist_random(''gp_id'')) s'
        INTO restored_there USING checksum, engine;
        restored := restored OR restored_there;
    END IF;
    RETURN restored;
END
$$;
COMMENT ON FUNCTION pix.warm_up(text, text) IS
'Makes a model ready on this host, and on every host of a cluster: restores its file from the database if need be, and
loads it into this connection.
Arguments: model_name (NULL: the default model); engine, onnxruntime or tensorflow. Result: whether a file had to be restored.
Errors: PX002 a host that lacks what networks need, PX020 unknown model, PX022 a model without a network,
PX024 a cache folder that cannot be written, PX026 an engine that is not known or not installed, PX027 a model without a
TensorFlow graph, PX028 a setting that cannot be used, PX060 a call as a part of a larger query on a cluster.
Runs: coordinator.
Example: SELECT pix.warm_up(''mini_inception'');';
REVOKE ALL ON FUNCTION pix.warm_up(text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.warm_up(text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._lock_models() RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$SELECT pix._lock('models', 'all')$$;
COMMENT ON FUNCTION pix._lock_models() IS
'Internal: who imports or drops a model takes turns, until the end of the transaction; a cluster locks whole tables, and
two at once would be a deadlock. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._lock_models() FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._lock_models() TO pix_admin;

-- What is stored here is opened only when a model is registered: the whole file is compared with its checksum first.
CREATE OR REPLACE FUNCTION pix._store_model_part(checksum text, part integer, content bytea) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pix._require_writable('Importing a model');
    IF checksum !~ '^[0-9a-f]{64}$' OR part NOT BETWEEN 0 AND 1000 OR octet_length(content) NOT BETWEEN 1 AND 16777216
        OR (checksum IS NULL OR part IS NULL OR content IS NULL)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'PX022', MESSAGE = 'This is not a part of a model: a sha256, a number up to 1,000, up to 16 MB',
            HINT = 'Import models with: pix model import';
    END IF;
    INSERT INTO pix.model_parts (checksum, part, content) VALUES (checksum, part, content) ON CONFLICT DO NOTHING;
END
$$;
COMMENT ON FUNCTION pix._store_model_part(text, integer, bytea) IS
'Internal: stores a part of a network''s file, for pix model import. Errors: PX022, PX061. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._store_model_part(text, integer, bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._store_model_part(text, integer, bytea) TO pix_admin;

CREATE OR REPLACE FUNCTION pix._remove_unused_parts() RETURNS void
LANGUAGE sql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DELETE FROM pix.model_parts p
WHERE NOT EXISTS (SELECT FROM pix.models m WHERE p.checksum IN (m.checksum, m.tensorflow_checksum))
$$;
COMMENT ON FUNCTION pix._remove_unused_parts() IS 'Internal: removes files that no model uses any more. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._remove_unused_parts() FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix.register_model(
    model_name text, checksum text, source text, agreement real DEFAULT NULL, tensorflow_checksum text DEFAULT NULL
) RETURNS pix.models
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    description record;
    registered pix.models;
BEGIN
    PERFORM pix._require_coordinator('pix.register_model', 'Call it alone: SELECT * FROM pix.register_model(…)');
    PERFORM pix._require_writable('pix.register_model');
    IF coalesce(octet_length(model_name), 0) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX077', MESSAGE = format('%s cannot name a model', coalesce(quote_literal(model_name), 'NULL')),
            HINT = 'Use a name of 1 to 200 bytes.';
    ELSIF checksum IS NULL OR source IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX077', MESSAGE = 'checksum and source must not be NULL',
            HINT = 'Import models with: pix model import';
    END IF;
    PERFORM pix._lock_models();
    PERFORM pix._require_fit_hosts();
    PERFORM pix._ensure_model(checksum, verify => true);
    SELECT * INTO description FROM pix._inspect_model(checksum, 'onnxruntime');
    PERFORM pix._check_sight(checksum);
    INSERT INTO pix.models AS m
        (model_name, checksum, dimensions, size_bytes, spec, source, agreement, tensorflow_checksum)
    VALUES (
        register_model.model_name, register_model.checksum, description.dimensions, description.size_bytes,
        description.spec, register_model.source, register_model.agreement, register_model.tensorflow_checksum
    )
    ON CONFLICT ON CONSTRAINT models_pkey DO UPDATE SET
        checksum = excluded.checksum, dimensions = excluded.dimensions, size_bytes = excluded.size_bytes,
        spec = excluded.spec, source = excluded.source, agreement = excluded.agreement,
        tensorflow_checksum = excluded.tensorflow_checksum, imported_at = now();
    DELETE FROM pix.quantizations q
    WHERE q.model_name = register_model.model_name AND q.model_checksum <> register_model.checksum;
    DELETE FROM pix.metadata_designs d WHERE d.model_name = register_model.model_name;
    PERFORM pix._remove_unused_parts();
    INSERT INTO pix.settings VALUES ('default_model', register_model.model_name) ON CONFLICT DO NOTHING;
    SELECT m.* INTO registered FROM pix.models m WHERE m.model_name = register_model.model_name;
    RETURN registered;
END
$$;
COMMENT ON FUNCTION pix.register_model(text, text, text, real, text) IS
'Names a network whose ONNX file is in pix.model_parts; pix model import calls it. The first model becomes the default.
Under a name that is taken, the model is replaced, and its features are stale until the next extraction.
Arguments: model_name; checksum, the sha256 of the whole file; source, in words; agreement with the original engine;
tensorflow_checksum, of the TensorFlow graph, if that is in pix.model_parts too.
Result: the row of pix.models. Errors: PX061 a standby or a read-only transaction, PX002 a host that lacks what networks need, PX022 or PX023 a network that does not run
or gives no vector, PX025 one that does not tell pictures apart.
Runs: coordinator.
Example: SELECT * FROM pix.register_model(''mine'', (SELECT min(checksum) FROM pix.model_parts), ''by hand'');';
REVOKE ALL ON FUNCTION pix.register_model(text, text, text, real, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.register_model(text, text, text, real, text) TO pix_admin;

CREATE OR REPLACE FUNCTION pix.set_default_model(model_name text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    model pix.models := pix._find_model(model_name);
BEGIN
    PERFORM pix._require_writable('pix.set_default_model');
    INSERT INTO pix.settings AS s VALUES ('default_model', model.model_name)
    ON CONFLICT (key) DO UPDATE SET value = excluded.value;
END
$$;
COMMENT ON FUNCTION pix.set_default_model(text) IS
'Chooses the model that functions use where none is named.
Arguments: model_name. Result: none. Errors: PX061 a standby or a read-only transaction, PX020 for an unknown model.
Runs: coordinator.
Example: SELECT pix.set_default_model(''mini_inception'');';
REVOKE ALL ON FUNCTION pix.set_default_model(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.set_default_model(text) TO pix_admin;

CREATE OR REPLACE FUNCTION pix.drop_model(model_name text) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    model pix.models;
    dropped bigint;
BEGIN
    PERFORM pix._require_writable('pix.drop_model');
    IF drop_model.model_name IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX020', MESSAGE = 'No model is named',
            HINT = 'Name the model to drop: the default model is never dropped by omission.';
    END IF;
    PERFORM pix._lock_models();
    model := pix._find_model(model_name);
    -- A chunk that is being extracted would leave features behind.
    PERFORM pix._lock('extraction_runs', model.model_name);
    DELETE FROM pix.extraction_failures x WHERE x.model_name = model.model_name;
    DELETE FROM pix.features f WHERE f.model_name = model.model_name;
    GET DIAGNOSTICS dropped = ROW_COUNT;
    DELETE FROM pix.extraction_runs r WHERE r.model_name = model.model_name;
    DELETE FROM pix.quantizations q WHERE q.model_name = model.model_name;
    DELETE FROM pix.metadata_designs d WHERE d.model_name = model.model_name;
    DELETE FROM pix.recommendations r WHERE r.model_name = model.model_name;
    DELETE FROM pix.user_model_failures x WHERE x.model_name = model.model_name;
    DELETE FROM pix.user_models u WHERE u.model_name = model.model_name;
    DELETE FROM pix.tastes t WHERE t.model_name = model.model_name;
    PERFORM pix._forget_neighbors(model.model_name);
    PERFORM pix._forget_groups(model.model_name);
    DELETE FROM pix.models m WHERE m.model_name = model.model_name;
    PERFORM pix._remove_unused_parts();
    DELETE FROM pix.settings s WHERE s.key = 'default_model' AND s.value = model.model_name;
    RETURN dropped;
END
$$;
COMMENT ON FUNCTION pix.drop_model(text) IS
'Removes a model, its network, all its features, and their blocks, indexes, neighbours, clusterings and maps. Classifiers on
these features stay, but cannot be used.
Arguments: model_name. Result: the number of features removed. Errors: PX061 a standby or a read-only transaction, PX020 for an unknown model.
Runs: coordinator.
Example: SELECT pix.drop_model(''mini_inception'');';
REVOKE ALL ON FUNCTION pix.drop_model(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.drop_model(text) TO pix_admin;
