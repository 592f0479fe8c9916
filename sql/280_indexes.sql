-- Indexes for approximate nearest neighbours. The database keeps their files in parts; hosts keep them in their caches, and
-- all backends of a host map the same file.

CREATE OR REPLACE FUNCTION pix._find_index(index_name text) RETURNS pix.indexes
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_index pix.indexes;
BEGIN
    SELECT i.* INTO found_index FROM pix.indexes i WHERE i.index_name = _find_index.index_name;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX090', MESSAGE = format('Index %s is not known', coalesce(quote_literal(index_name), 'NULL')),
            HINT = 'SELECT index_name FROM pix.indexes lists the indexes; pix.build_index builds one.';
    END IF;
    RETURN found_index;
END
$$;
COMMENT ON FUNCTION pix._find_index(text) IS 'Internal: the index of this name. Errors: PX090. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._find_index(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._find_index(text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._check_index(index pix.indexes, model pix.models, metric text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF index.model_name <> model.model_name THEN
        RAISE EXCEPTION USING ERRCODE = 'PX092',
            MESSAGE = format('Index %L is of model %L, not of %L', index.index_name, index.model_name, model.model_name),
            HINT = 'Leave model_name out, or name an index of that model: SELECT index_name, model_name FROM pix.indexes;';
    ELSIF index.model_checksum IS DISTINCT FROM model.checksum THEN
        RAISE EXCEPTION USING ERRCODE = 'PX092',
            MESSAGE = format('Index %L is of an earlier version of model %L', index.index_name, model.model_name),
            HINT = format('SELECT pix.refresh_index(%L);', index.index_name);
    ELSIF metric IS NOT NULL AND metric <> index.metric THEN
        RAISE EXCEPTION USING ERRCODE = 'PX092',
            MESSAGE = format('Index %L is for the metric %s, not for %s', index.index_name, index.metric, metric),
            HINT = 'Leave metric out, or build an index for it.';
    END IF;
END
$$;
COMMENT ON FUNCTION pix._check_index(pix.indexes, pix.models, text) IS
'Internal: refuses an index that does not fit the question. Errors: PX092. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._check_index(pix.indexes, pix.models, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._check_index(pix.indexes, pix.models, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._index_file_is_there(checksum text, kind text) RETURNS boolean
LANGUAGE plpython3u STABLE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'indexes.is_there', checksum, kind)
$$;
COMMENT ON FUNCTION pix._index_file_is_there(text, text) IS
'Internal: whether the cache of this host has a file, undamaged. Errors: PX024. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._index_file_is_there(text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._write_index_part(checksum text, part integer, content bytea) RETURNS void
LANGUAGE plpython3u STABLE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'indexes.write_part', checksum, part, content)
$$;
COMMENT ON FUNCTION pix._write_index_part(text, integer, bytea) IS
'Internal: appends a part to the cache file that is being restored. Errors: PX024. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._write_index_part(text, integer, bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._finish_index_file(checksum text, kind text) RETURNS void
LANGUAGE plpython3u STABLE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'indexes.finish', checksum, kind)
$$;
COMMENT ON FUNCTION pix._finish_index_file(text, text) IS
'Internal: checks and names the restored cache file. Errors: PX024, PX094. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._finish_index_file(text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._restore_index_file(checksum text, kind text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    piece record;
BEGIN
    IF pix._index_file_is_there(checksum, kind) THEN
        RETURN;
    END IF;
    FOR piece IN
        SELECT p.part, p.content FROM pix.index_parts p WHERE p.checksum = _restore_index_file.checksum ORDER BY p.part
    LOOP
        PERFORM pix._write_index_part(checksum, piece.part, piece.content);
    END LOOP;
    PERFORM pix._finish_index_file(checksum, kind);
END
$$;
COMMENT ON FUNCTION pix._restore_index_file(text, text) IS
'Internal: puts a file into the cache of this host, if it is missing there or damaged. Errors: PX024, PX094. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._restore_index_file(text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._map_index(checksum text, design_checksum text) RETURNS boolean
LANGUAGE plpython3u STABLE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'indexes.open_index', checksum, design_checksum)
$$;
COMMENT ON FUNCTION pix._map_index(text, text) IS
'Internal: maps the files of an index, to be searched under the checksum of its design; false if one was removed meanwhile.
Errors: PX094. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._map_index(text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

-- SECURITY DEFINER: whoever may search may have the files of an index restored from the database, but not write any other.
CREATE OR REPLACE FUNCTION pix._open_index(index_name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    index pix.indexes := pix._find_index(index_name);
BEGIN
    FOR attempt IN 1 .. 10 LOOP
        PERFORM pix._restore_index_file(index.checksum, 'index');
        PERFORM pix._restore_index_file(index.design_checksum, 'design');
        IF pix._map_index(index.checksum, index.design_checksum) THEN
            RETURN;
        END IF;
    END LOOP;
    PERFORM pix._raise_files_vanish();
END
$$;
COMMENT ON FUNCTION pix._open_index(text) IS
'Internal: maps an index, restored into the cache of this host where it is missing. Errors: PX024, PX090, PX094.
Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._open_index(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._open_index(text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._check_index_parameters(method text, metric text, parameters jsonb, project_to integer)
RETURNS void
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'indexes.check', method, metric, parameters, project_to)
$$;
COMMENT ON FUNCTION pix._check_index_parameters(text, text, jsonb, integer) IS
'Internal: refuses what no index can be built with. Errors: PX032, PX091. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._check_index_parameters(text, text, jsonb, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._write_index(
    title text, key text, method text, metric text, parameters jsonb, project_to integer, mean bytea, axes bytea,
    OUT checksum text, OUT design_checksum text, OUT size_bytes bigint, OUT used_parameters jsonb
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'indexes.build', title, key, method, metric, parameters, project_to, mean, axes)
$$;
COMMENT ON FUNCTION pix._write_index(text, text, text, text, jsonb, integer, bytea, bytea) IS
'Internal: builds an index of the blocks that were mapped under a key, into the cache of this host.
Errors: PX024, PX091. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._write_index(text, text, text, text, jsonb, integer, bytea, bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._rewrite_index(
    title text, old_checksum text, old_design_checksum text, key text, kept text[], added text[],
    OUT checksum text, OUT design_checksum text, OUT size_bytes bigint, OUT used_parameters jsonb
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'indexes.update', title, old_checksum, old_design_checksum, key, kept, added)
$$;
COMMENT ON FUNCTION pix._rewrite_index(text, text, text, text, text[], text[]) IS
'Internal: writes an index that holds other items into the cache of this host. Errors: PX024, PX091. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._rewrite_index(text, text, text, text, text[], text[]) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._read_index_part(checksum text, part integer) RETURNS bytea
LANGUAGE plpython3u STABLE STRICT PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'indexes.read_part', checksum, part)
$$;
COMMENT ON FUNCTION pix._read_index_part(text, integer) IS
'Internal: a part of a file that this backend has written; NULL behind its end. Errors: PX024. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._read_index_part(text, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._store_index_file(checksum text, kind text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    content bytea;
    part integer := 0;
BEGIN
    DELETE FROM pix.index_parts p WHERE p.checksum = _store_index_file.checksum;
    LOOP
        content := pix._read_index_part(checksum, part);
        EXIT WHEN content IS NULL;
        INSERT INTO pix.index_parts (checksum, part, content) VALUES (checksum, part, content);
        part := part + 1;
    END LOOP;
    PERFORM pix._finish_index_file(checksum, kind);
END
$$;
COMMENT ON FUNCTION pix._store_index_file(text, text) IS
'Internal: stores a file that this backend has written in the database, in parts, and gives it its name in the cache.
Errors: PX024. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._store_index_file(text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

-- Two indexes of the same vectors that were built alike share a file.
CREATE OR REPLACE FUNCTION pix._forget_index_files(old pix.indexes) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    DELETE FROM pix.index_parts p WHERE p.checksum = old.checksum
        AND NOT EXISTS (SELECT FROM pix.indexes i WHERE i.checksum = old.checksum);
    DELETE FROM pix.index_parts p WHERE p.checksum = old.design_checksum
        AND NOT EXISTS (SELECT FROM pix.indexes i WHERE i.design_checksum = old.design_checksum);
    PERFORM pix._sweep_files();
END
$$;
COMMENT ON FUNCTION pix._forget_index_files(pix.indexes) IS
'Internal: removes the files of an index that is gone, if no other has them. Errors: PX024. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._forget_index_files(pix.indexes) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._lock_index(index_name text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF coalesce(octet_length(index_name), 0) NOT BETWEEN 1 AND 200 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX091',
            MESSAGE = format('%s cannot name an index', coalesce(quote_literal(index_name), 'NULL')),
            HINT = 'Use a name of 1 to 200 bytes.';
    END IF;
    IF NOT pix._try_lock('indexes', index_name) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX093',
            MESSAGE = format('Index %L is being built, refreshed or dropped by another session', index_name),
            HINT = 'SELECT * FROM pix.builds shows how far it is; call again when it is done.';
    END IF;
END
$$;
COMMENT ON FUNCTION pix._lock_index(text) IS
'Internal: who writes an index is the only one to, until the end of the transaction. Errors: PX091, PX093. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._lock_index(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

-- Puts a finished index in the place of the one before, and measures it. Whoever reads meanwhile sees the one before until
-- this transaction is committed, and its files can be restored as long.
CREATE OR REPLACE FUNCTION pix._replace_index(index pix.indexes, model pix.models, begun timestamptz) RETURNS pix.indexes
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    measured pix.recall;
    old pix.indexes;
    finished pix.indexes := index;
BEGIN
    PERFORM pix._store_index_file(index.checksum, 'index');
    PERFORM pix._store_index_file(index.design_checksum, 'design');
    finished.build_seconds := EXTRACT(EPOCH FROM clock_timestamp() - begun);
    finished.built_at := clock_timestamp();
    finished.recall := 0;
    finished.recall_queries := 0;
    SELECT i.* INTO old FROM pix.indexes i WHERE i.index_name = index.index_name;
    DELETE FROM pix.indexes i WHERE i.index_name = index.index_name;
    INSERT INTO pix.indexes SELECT (finished).*;
    IF old.index_name IS NOT NULL THEN
        PERFORM pix._forget_index_files(old);
    END IF;
    measured := pix._recall(finished, model, 100, 10);
    finished.recall := measured.recall;
    finished.recall_queries := measured.queries;
    UPDATE pix.indexes i SET recall = measured.recall, recall_queries = measured.queries
    WHERE i.index_name = index.index_name;
    RETURN finished;
END
$$;
COMMENT ON FUNCTION pix._replace_index(pix.indexes, pix.models, timestamptz) IS
'Internal: stores a finished index, measured, in the place of the one before. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._replace_index(pix.indexes, pix.models, timestamptz) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._build_index(
    index_name text, model pix.models, method text, metric text, parameters jsonb, project_to integer
) RETURNS pix.indexes
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    pack pix.packs;
    known record;
    written record;
    index pix.indexes;
    begun timestamptz := clock_timestamp();
    name_before text := current_setting('application_name');
BEGIN
    PERFORM set_config('application_name', 'pix: 0 % of index ' || index_name, true);
    PERFORM pix.pack_features(model.model_name);
    SELECT p.* INTO pack FROM pix.packs p WHERE p.model_name = model.model_name;
    PERFORM pix._check_pack(pack, model);
    PERFORM pix._open_blocks(model.model_name);
    -- Principal components of vectors as they are suit the Euclidean distance; other metrics compare other vectors.
    SELECT p.mean, substr(p.axes, 1, 4 * model.dimensions * least(greatest(project_to, 0), p.components)) AS axes INTO known FROM pix.projections p
    WHERE metric = 'euclidean' AND p.model_name = model.model_name
        AND p.model_checksum IS NOT DISTINCT FROM model.checksum AND p.components >= project_to;
    SELECT * INTO written FROM pix._write_index(
        'index ' || index_name, pack.checksum, method, metric, parameters, project_to, known.mean, known.axes
    );
    index.index_name := index_name;
    index.model_name := model.model_name;
    index.model_checksum := model.checksum;
    index.method := method;
    index.metric := metric;
    index.parameters := written.used_parameters;
    index.project_to := project_to;
    index.packed_in := pack.packed_in;
    index.items := pack.items;
    index.checksum := written.checksum;
    index.design_checksum := written.design_checksum;
    index.size_bytes := written.size_bytes;
    index := pix._replace_index(index, model, begun);
    PERFORM set_config('application_name', name_before, true);
    RETURN index;
END
$$;
COMMENT ON FUNCTION pix._build_index(text, pix.models, text, text, jsonb, integer) IS
'Internal: builds an index of all features of a model. Errors: those of pix.build_index. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._build_index(text, pix.models, text, text, jsonb, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix.build_index(
    index_name text, model_name text DEFAULT NULL, method text DEFAULT 'hnsw', metric text DEFAULT 'cosine',
    parameters jsonb DEFAULT '{}', project_to integer DEFAULT NULL
) RETURNS pix.indexes
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pix._require_coordinator('pix.build_index', 'Call it alone: SELECT * FROM pix.build_index(…);');
    PERFORM pix._require_writable('pix.build_index');
    PERFORM pix._lock_index(index_name);
    PERFORM pix._check_index_parameters(method, metric, coalesce(parameters, '{}'), project_to);
    RETURN pix._build_index(
        index_name, pix._find_model(model_name), method, metric, coalesce(parameters, '{}'), project_to
    );
END
$$;
COMMENT ON FUNCTION pix.build_index(text, text, text, text, jsonb, integer) IS
'Builds an index for approximate nearest neighbours, which pix.nearest then uses by name. What it finds is compared with the
query by full vectors, so distances are exact, and what may be missing is a neighbour: recall says how often. An index of
the same name is replaced when the new one is finished; queries go on with the old one until then.
Arguments: index_name; model_name (NULL: the default model); method: hnsw (a graph), annoy (trees), or exact (all vectors,
for project_to); metric: cosine, euclidean, or dot; parameters, some of: rerank, how many candidates are compared by full
vectors at least; hnsw: m, ef_construction, ef_search, dtype (float32, float16, int8); annoy: trees, search_k; project_to,
how many principal components the index holds instead of whole vectors (NULL: whole vectors; for the Euclidean distance they are
those of pix.fit_pca, where there are as many).
Result: the new row of pix.indexes, among it recall (at 10, of 100 items), build_seconds and size_bytes.
Errors: PX020 unknown model, PX024 a cache folder that cannot be used, PX032 unknown metric, PX060 a call as a part of a
larger query on a cluster,
PX061 a standby or a read-only transaction, PX091 a method, parameter, name or project_to that cannot be used, PX093 an index that another
session is building, PX095 a model without features.
Runs: coordinator, on all its cores, in one transaction, which no packing of that model gets past; pix.builds shows how far it
is. It cannot be cancelled while the trees of annoy are grown.
Example: SELECT recall, build_seconds FROM pix.build_index(''boots'', method => ''hnsw'', parameters => ''{"ef_search": 100}'');';
REVOKE ALL ON FUNCTION pix.build_index(text, text, text, text, jsonb, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.build_index(text, text, text, text, jsonb, integer) TO pix_admin;

CREATE OR REPLACE FUNCTION pix.refresh_index(index_name text) RETURNS pix.indexes
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    index pix.indexes;
    model pix.models;
    pack pix.packs;
    written record;
    kept text[];
    added text[];
    begun timestamptz := clock_timestamp();
    name_before text := current_setting('application_name');
BEGIN
    PERFORM pix._require_coordinator('pix.refresh_index', 'Call it alone: SELECT * FROM pix.refresh_index(…);');
    PERFORM pix._require_writable('pix.refresh_index');
    PERFORM pix._lock_index(index_name);
    index := pix._find_index(index_name);
    model := pix._find_model(index.model_name);
    PERFORM pix.pack_features(model.model_name);
    SELECT p.* INTO pack FROM pix.packs p WHERE p.model_name = model.model_name;
    SELECT array_agg(f.item_id) FILTER (WHERE f.packed_in <= index.packed_in),
        array_agg(f.item_id) FILTER (WHERE f.packed_in > index.packed_in)
    INTO kept, added
    FROM pix.current_features f WHERE f.model_name = model.model_name;
    IF index.model_checksum IS NOT DISTINCT FROM model.checksum THEN
        IF cardinality(kept) = index.items AND added IS NULL THEN
            RETURN index;
        END IF;
        -- A graph that has lost or gained much is better made anew; and inner products depend on the longest vector.
        IF index.method = 'hnsw' AND index.metric <> 'dot'
            AND 3 * (index.items - coalesce(cardinality(kept), 0) + coalesce(cardinality(added), 0)) < index.items
        THEN
            PERFORM pix._open_blocks(model.model_name);
            PERFORM pix._open_index(index_name);
            SELECT * INTO written FROM pix._rewrite_index(
                'index ' || index_name, index.checksum, index.design_checksum, pack.checksum, kept, coalesce(added, '{}')
            );
            index.packed_in := pack.packed_in;
            index.items := pack.items;
            index.checksum := written.checksum;
            index.design_checksum := written.design_checksum;
            index.size_bytes := written.size_bytes;
            index := pix._replace_index(index, model, begun);
            PERFORM set_config('application_name', name_before, true);
            RETURN index;
        END IF;
    END IF;
    RETURN pix._build_index(index_name, model, index.method, index.metric, index.parameters, index.project_to);
END
$$;
COMMENT ON FUNCTION pix.refresh_index(text) IS
'Brings an index up to date with the features: items that came are put in, items that are gone or changed are taken out. An
hnsw index is changed in place unless a third of it is concerned; any other, and one of a model that was imported again, is
built anew. Queries go on with the old one until it is done.
Arguments: index_name. Result: the row of pix.indexes, with its new recall.
Errors: PX061 a standby or a read-only transaction, those of pix.build_index, PX090 unknown index.
Runs: coordinator, on all its cores, in one transaction; pix.builds shows how far it is.
Example: SELECT items, recall FROM pix.refresh_index(''boots'');';
REVOKE ALL ON FUNCTION pix.refresh_index(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.refresh_index(text) TO pix_admin;

CREATE OR REPLACE FUNCTION pix.drop_index(index_name text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    old pix.indexes;
BEGIN
    PERFORM pix._require_coordinator('pix.drop_index', 'Call it alone: SELECT pix.drop_index(…);');
    PERFORM pix._require_writable('pix.drop_index');
    PERFORM pix._lock_index(index_name);
    old := pix._find_index(index_name);
    DELETE FROM pix.indexes i WHERE i.index_name = old.index_name;
    PERFORM pix._forget_index_files(old);
END
$$;
COMMENT ON FUNCTION pix.drop_index(text) IS
'Removes an index; the features stay. A query that is using it ends as if it were there.
Arguments: index_name. Result: none.
Errors: PX060 a call as a part of a larger query on a cluster,
PX061 a standby or a read-only transaction, PX090 unknown index, PX093 an index that another session is
building.
Runs: coordinator.
Example: SELECT pix.drop_index(''boots'');';
REVOKE ALL ON FUNCTION pix.drop_index(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.drop_index(text) TO pix_admin;

-- The share of found neighbours that are no farther than the last of the true ones: of two at the same distance, either is right.
-- STABLE: all of it sees the catalogue as of one moment.
CREATE OR REPLACE FUNCTION pix._recall(index pix.indexes, model pix.models, queries integer, k integer) RETURNS pix.recall
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    query record;
    begun timestamptz;
    number integer := 0;
    farthest double precision[];
    answer pix.neighbor_pair[];
    exact_ms double precision[] := '{}';
    index_ms double precision[] := '{}';
    with_index boolean;
    hits bigint := 0;
    wanted bigint := 0;
    result pix.recall;
BEGIN
    -- Exact search first, then the index alone: so each finds memory as its own queries leave it.
    FOREACH with_index IN ARRAY ARRAY[false, true] LOOP
        FOR query IN
            SELECT f.item_id, f.vector FROM pix.current_features f
            WHERE f.model_name = model.model_name
            ORDER BY hashtext('recall of ' || f.item_id), f.item_id LIMIT queries
        LOOP
            -- A vector of zeros is at no angle to any other.
            CONTINUE WHEN index.metric = 'cosine' AND query.vector = decode(repeat('00', octet_length(query.vector)), 'hex');
            begun := clock_timestamp();
            IF with_index THEN
                answer := pix._search(query.vector, 1, ARRAY[query.item_id], model, k, index.metric, index, NULL);
                index_ms := index_ms || 1000 * EXTRACT(EPOCH FROM clock_timestamp() - begun)::double precision;
                number := number + 1;
                hits := hits + (
                    SELECT count(*) FROM unnest(answer) a
                    WHERE a.distance <= farthest[number] + 1e-9 * greatest(1, abs(farthest[number]))
                );
            ELSE
                answer := pix._search(query.vector, 1, ARRAY[query.item_id], model, k, index.metric, NULL, NULL);
                exact_ms := exact_ms || 1000 * EXTRACT(EPOCH FROM clock_timestamp() - begun)::double precision;
                wanted := wanted + coalesce(cardinality(answer), 0);
                farthest := farthest || answer[cardinality(answer)].distance;
            END IF;
        END LOOP;
    END LOOP;
    result.queries := cardinality(exact_ms);
    result.k := k;
    result.recall := CASE WHEN wanted = 0 THEN 1 ELSE hits / wanted::double precision END;
    SELECT percentile_cont(0.5) WITHIN GROUP (ORDER BY u.i), percentile_cont(0.95) WITHIN GROUP (ORDER BY u.i),
        percentile_cont(0.5) WITHIN GROUP (ORDER BY u.e), percentile_cont(0.95) WITHIN GROUP (ORDER BY u.e)
    INTO result.index_p50_ms, result.index_p95_ms, result.exact_p50_ms, result.exact_p95_ms
    FROM unnest(index_ms, exact_ms) u (i, e);
    RETURN result;
END
$$;
COMMENT ON FUNCTION pix._recall(pix.indexes, pix.models, integer, integer) IS
'Internal: pix.recall_check of an index that need not be stored yet. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._recall(pix.indexes, pix.models, integer, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._recall(pix.indexes, pix.models, integer, integer) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.recall_check(index_name text, queries integer DEFAULT 100, k integer DEFAULT 10)
RETURNS pix.recall
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    index pix.indexes;
    model pix.models;
BEGIN
    PERFORM pix._require_coordinator('pix.recall_check', 'Call it alone: SELECT * FROM pix.recall_check(…);');
    PERFORM pix._check_k(k);
    IF queries IS NULL OR queries < 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX091', MESSAGE = format('queries is %s', coalesce(queries::text, 'NULL')),
            HINT = 'Ask for at least one query: queries => 100.';
    END IF;
    index := pix._find_index(index_name);
    model := pix._find_model(index.model_name);
    PERFORM pix._check_index(index, model, NULL);
    RETURN pix._recall(index, model, queries, k);
END
$$;
COMMENT ON FUNCTION pix.recall_check(text, integer, integer) IS
'Measures an index as it is used now, against exact search, with items of the catalogue as queries: the same ones each time.
Arguments: index_name; queries, how many items; k, how many neighbours.
Result: queries, k, recall: the share of the k nearest that are found, index_p50_ms and index_p95_ms: median and 95 % quantile
of the milliseconds that a query takes, exact_p50_ms and exact_p95_ms: the same without the index.
Errors: PX033 k below 1, PX060 a call as a part of a larger query on a cluster, PX090 unknown index, PX091 queries below 1,
PX092 an index of an earlier version of its model.
Runs: coordinator.
Example: SELECT recall, index_p50_ms, exact_p50_ms FROM pix.recall_check(''boots'', queries => 50);';
REVOKE ALL ON FUNCTION pix.recall_check(text, integer, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.recall_check(text, integer, integer) TO pix_reader;

CREATE OR REPLACE VIEW pix.index_status AS
SELECT i.index_name, i.model_name, i.method, i.metric, i.parameters, i.project_to, i.items,
    coalesce(c.added, 0) AS added, i.items - coalesce(c.kept, 0) AS removed,
    m.model_name IS NOT NULL AND m.checksum IS NOT DISTINCT FROM i.model_checksum AS usable,
    i.recall, i.build_seconds, i.size_bytes, i.built_at
FROM pix.indexes i
LEFT JOIN pix.models m ON m.model_name = i.model_name
LEFT JOIN (
    SELECT x.index_name,
        count(*) FILTER (WHERE f.packed_in <= x.packed_in) AS kept,
        count(*) FILTER (WHERE f.packed_in IS NULL OR f.packed_in > x.packed_in) AS added
    FROM pix.indexes x JOIN pix.current_features f ON f.model_name = x.model_name
    GROUP BY x.index_name
) c ON c.index_name = i.index_name;
COMMENT ON VIEW pix.index_status IS
'Indexes and how far they are behind. items: those it finds; added: items that came or changed since, which are compared one
by one until pix.refresh_index; removed: items that are gone or changed, which are left out of answers; usable: whether the
model is still the one it was built for.';
REVOKE ALL ON pix.index_status FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT SELECT ON pix.index_status TO pix_reader;

CREATE OR REPLACE VIEW pix.builds AS
SELECT a.pid, (regexp_match(a.application_name, '^pix: ([0-9]+) % of '))[1]::integer AS percent,
    regexp_replace(a.application_name, '^pix: [0-9]+ % of ', '') AS building
FROM pg_catalog.pg_stat_activity a
WHERE a.datname = current_database() AND a.application_name ~ '^pix: [0-9]+ % of ';
COMMENT ON VIEW pix.builds IS
'Indexes and neighbour graphs that are being built in this database: by which process, how much of it is done, and what it
is (its name is cut after about 40 bytes).';
REVOKE ALL ON pix.builds FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT SELECT ON pix.builds TO pix_reader;
