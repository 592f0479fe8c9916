-- Indexes for approximate nearest neighbors. The database keeps their files in parts; hosts keep them in their caches, and
-- all backends of a host map the same file.

-- The index of this name.
CREATE OR REPLACE FUNCTION pix_internal.find_index(index_name text) RETURNS pix.indexes
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    named_index pix.indexes;
BEGIN
    SELECT i.* INTO named_index FROM pix.indexes i WHERE i.index_name = find_index.index_name;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX090', MESSAGE = format('Index %s is not known', coalesce(quote_literal(left(index_name, 200)), 'NULL')),
            HINT = pix_internal.did_you_mean(index_name, ARRAY(SELECT i.index_name FROM pix.indexes i),
                'SELECT index_name FROM pix.indexes lists the indexes; pix.build_index builds one.');
    END IF;
    RETURN named_index;
END
$$;

-- Refuses an index that does not fit the question.
CREATE OR REPLACE FUNCTION pix_internal.check_index(index pix.indexes, model pix.models, metric text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
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

-- Maps the files of an index, to be searched under the checksum of its state; false if one was removed.
CREATE OR REPLACE FUNCTION pix_internal.open_index_files(checksum text, state_checksum text) RETURNS boolean
LANGUAGE plpython3u STABLE STRICT PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'indexes.open_index_files', checksum, state_checksum)$$;

-- Maps an index, restored into the cache of this host where it is missing.
-- SECURITY DEFINER: whoever may search may have the files of an index restored from the database, but not write any other.
CREATE OR REPLACE FUNCTION pix_internal.open_index(index_name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    index pix.indexes := pix_internal.find_index(index_name);
    file record;
    piece record;
BEGIN
    FOR attempt IN 1 .. 10 LOOP
        FOR file IN SELECT f.* FROM (VALUES (index.checksum, 'index'), (index.state_checksum, 'state')) f (checksum, kind) LOOP
            CONTINUE WHEN pix_internal.missing_files(ARRAY[file.checksum], file.kind) = '{}';
            FOR piece IN SELECT p.part, p.content FROM pix_internal.index_parts p WHERE p.checksum = file.checksum ORDER BY p.part LOOP
                PERFORM pix_internal.write_file_part(file.checksum, piece.part, piece.content);
            END LOOP;
            PERFORM pix_internal.finish_file(file.checksum, file.kind);
        END LOOP;
        IF pix_internal.open_index_files(index.checksum, index.state_checksum) THEN
            RETURN;
        END IF;
    END LOOP;
    PERFORM pix_internal.raise_files_vanish();
END
$$;

CREATE OR REPLACE FUNCTION pix.build_index(
    index_name text, model_name text DEFAULT NULL, algorithm text DEFAULT 'hnsw', metric text DEFAULT 'cosine',
    parameters jsonb DEFAULT '{}', project_to bigint DEFAULT NULL
) RETURNS pix.indexes
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.build_index');
    PERFORM pix_internal.drive('indexes.build_index', jsonb_build_object(
        'index_name', index_name, 'model_name', model_name, 'algorithm', algorithm, 'metric', metric,
        'parameters', coalesce(parameters, '{}')::text, 'project_to', project_to));
    RETURN pix_internal.find_index(index_name);
END
$$;
COMMENT ON FUNCTION pix.build_index IS
'Builds an index for approximate nearest neighbors, which pix.nearest then uses by name. What it finds is compared with the
query by full vectors, so distances are exact, and what may be missing is a neighbor: recall says how often. An index of the
same name is replaced when the new one is finished; queries go on with the old one until then.
Arguments: index_name; model_name (NULL: the default model); algorithm, one of
pix.algorithms(''index''), which lists their parameters; metric, one of pix.algorithms(''metric''); parameters; project_to, how
many principal components the index holds instead of whole vectors (NULL: whole vectors; for the Euclidean distance they are
those of pix.fit_pca, where there are as many).
Result: the new row of pix.indexes, among it recall (at 10, of 100 items), build_seconds and size_bytes.
Errors: PX003 invalid argument, PX020 unknown model, PX024 unusable cache folder, PX060 call on
segments, PX061 read-only, PX093 an index that another session is building, PX095 no features.
Runs: coordinator, on all its cores, in one transaction, for which packing that model waits; pix.builds shows its
progress.
Example: SELECT recall, build_seconds FROM pix.build_index(''boots'', algorithm => ''hnsw'', parameters => ''{"ef_search": 100}'');';

CREATE OR REPLACE FUNCTION pix.refresh_index(index_name text) RETURNS pix.indexes
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.refresh_index');
    PERFORM pix_internal.drive('indexes.refresh_index', jsonb_build_object('index_name', index_name));
    RETURN pix_internal.find_index(index_name);
END
$$;
COMMENT ON FUNCTION pix.refresh_index IS
'Brings an index up to date with the features: items that came are put in, items that are deleted or changed are taken out. An
hnsw index is changed in place unless a third of it is concerned; any other, and one of a model that was imported again, is
built again. Queries go on with the old one until it is done.
Arguments: index_name.
Result: the row of pix.indexes, with its new recall.
Errors: PX061 read-only, PX090 unknown index.
Runs: coordinator, on all its cores, in one transaction; pix.builds shows its progress.
Example: SELECT items, recall FROM pix.refresh_index(''boots'');';

CREATE OR REPLACE FUNCTION pix.drop_index(index_name text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.drop_index');
    PERFORM pix_internal.drive('indexes.drop_index', jsonb_build_object('index_name', index_name));
END
$$;
COMMENT ON FUNCTION pix.drop_index IS
'Removes an index; the features stay. A query that is using it goes on to its end.
Arguments: index_name.
Result: none.
Errors: PX060 call on segments, PX061 read-only, PX090 unknown index, PX093 an index that another session is building.
Runs: coordinator.
Example: SELECT pix.drop_index(''boots'');';

-- pix.recall_check of an index that need not be stored yet.
-- The fraction of found neighbors that are not farther than the last of the true ones: of two at the same distance, either is right.
-- STABLE: all of it sees the catalogue as of one moment.
CREATE OR REPLACE FUNCTION pix_internal.measure_recall(index pix.indexes, model pix.models, queries bigint, k bigint) RETURNS pix.recall
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    query record;
    begun timestamptz;
    query_count integer := 0;
    farthest double precision[];
    answer pix.nearest_pair[];
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
            SELECT f.item_id, f.vector FROM pix.current_features f WHERE f.model_name = model.model_name
            ORDER BY hashtext('recall of ' || f.item_id), f.item_id LIMIT queries
        LOOP
            -- A vector of zeros is at no angle to any other.
            CONTINUE WHEN index.metric = ANY (pix_internal.algorithms_with('metric', '{compares_directions}')) AND query.vector = decode(repeat('00', octet_length(query.vector)), 'hex');
            begun := clock_timestamp();
            IF with_index THEN
                answer := pix_internal.search_neighbors(query.vector, 1, ARRAY[query.item_id], model, k, index.metric, index, NULL);
                index_ms := index_ms || 1000 * EXTRACT(EPOCH FROM clock_timestamp() - begun)::double precision;
                query_count := query_count + 1;
                hits := hits + (
                    SELECT count(*) FROM unnest(answer) a
                    WHERE a.distance <= farthest[query_count] + 1e-9 * greatest(1, abs(farthest[query_count]))
                );
            ELSE
                answer := pix_internal.search_neighbors(query.vector, 1, ARRAY[query.item_id], model, k, index.metric, NULL, NULL);
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

CREATE OR REPLACE FUNCTION pix.recall_check(index_name text, k bigint DEFAULT 10, queries bigint DEFAULT 100)
RETURNS pix.recall
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    index pix.indexes;
    model pix.models;
BEGIN
    PERFORM pix_internal.require_coordinator('pix.recall_check', 'Call it alone: SELECT * FROM pix.recall_check(…);');
    PERFORM pix_internal.check_range('k', k, 1);
    PERFORM pix_internal.check_range('queries', queries, 1);
    index := pix_internal.find_index(index_name);
    model := pix.find_model(index.model_name);
    PERFORM pix_internal.check_index(index, model, NULL);
    RETURN pix_internal.measure_recall(index, model, queries, k);
END
$$;
COMMENT ON FUNCTION pix.recall_check IS
'Measures an index as it is used now, against exact search, with items of the catalogue as queries: the same ones each time.
Arguments: index_name; k, how many neighbors; queries, how many items.
Result: queries, k, recall: the fraction of the k nearest that are found, index_p50_ms and index_p95_ms: median and 95 % quantile
of the milliseconds that a query takes, exact_p50_ms and exact_p95_ms: the same without the index.
Errors: PX003 invalid argument, PX060 call on segments, PX090 unknown index, PX092 an index of an earlier version of its
model.
Runs: coordinator.
Example: SELECT recall, index_p50_ms, exact_p50_ms FROM pix.recall_check(''boots'', queries => 50);';

CREATE OR REPLACE VIEW pix.index_status AS
SELECT i.index_name, i.model_name, i.algorithm, i.metric, i.parameters, i.project_to, i.items,
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
'Indexes, and how many items they lack until pix.refresh_index.';

CREATE OR REPLACE VIEW pix.builds AS
SELECT a.pid, (regexp_match(a.application_name, '^pix: ([0-9]+) % of '))[1]::integer AS percent,
    regexp_replace(a.application_name, '^pix: [0-9]+ % of ', '') AS building
FROM pg_catalog.pg_stat_activity a WHERE a.datname = current_database() AND a.application_name ~ '^pix: [0-9]+ % of ';
COMMENT ON VIEW pix.builds IS
'Indexes and neighbor graphs that are being built in this database: by which process, how much of it is done, and what it
is (its name is cut after about 40 bytes).';
