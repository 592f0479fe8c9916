-- Look-alikes: exact, or with an index. Candidates come from mapped files, blocks or an index; whether they may be answers,
-- and at what distance, follows from pix.features at this moment. Vectors that are in no file yet are compared one by one.
--
-- What returns rows is a plain SQL function around one that returns an array. It is inlined into the query that calls
-- it, and on Greenplum the array is then computed before the query starts: so it can be joined and stored like a
-- table, where a function that queries tables in its own right could only be called alone. Inlining is also why it
-- has no SET clause; it names everything in full.

-- Items that may be the nearest to each query, equally many for each; NULL if this backend has not mapped what is to be
-- searched, or the blocks.
CREATE OR REPLACE FUNCTION pix_internal.find_candidates(
    key text, blocks_key text, queries bytea, query_count bigint, count bigint, metric text
) RETURNS text[]
LANGUAGE plpython3u STABLE STRICT PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'nearest.find_candidates', key, blocks_key, queries, query_count, count, metric)$$;

-- Ranks candidates, and items that were compared already, by true distances; NULL if a query needs more candidates.
CREATE OR REPLACE FUNCTION pix_internal.rank_neighbors(
    blocks_key text, queries bytea, names text[], candidate_ids text[], located pix_internal.located_items,
    scanned pix.nearest_pair[], k bigint, metric text, is_all boolean
) RETURNS pix.nearest_pair[]
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'nearest.rank_neighbors', blocks_key, queries, names, candidate_ids, located, scanned, k, metric, is_all)$$;

-- Compares each query with every vector that passes, where it is stored. The rank of a pair is the number of its query.
CREATE OR REPLACE FUNCTION pix_internal.scan_features(
    queries bytea, query_count bigint, names text[], model_name text, k bigint, metric text, conditions text
) RETURNS pix.nearest_pair[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_seqscan = on SET enable_hashjoin = on
SET enable_mergejoin = on SET plan_cache_mode = auto AS $$
DECLARE
    scanned pix.nearest_pair[];
BEGIN
    EXECUTE 'SELECT array_agg(ROW(NULL, n.query, n.item_id, n.distance)::pix.nearest_pair)
        FROM (
            SELECT d.query, d.item_id, d.distance,
                row_number() OVER (PARTITION BY d.query ORDER BY d.distance, d.item_id) AS rank
            FROM (
                SELECT f.item_id, generate_series(1, $2) AS query, unnest(pix_internal.distances(f.vector, $1, $2, $3)) AS distance
                FROM pix.current_features f WHERE f.model_name = $4' || conditions || '
            ) d
            WHERE d.item_id IS DISTINCT FROM ($5)[d.query]
        ) n
        WHERE n.rank <= $6'
    INTO scanned USING queries, query_count, metric, model_name, names, k;
    RETURN scanned;
END
$$;

-- Whether so few items pass a filter that each of them is best compared.
CREATE OR REPLACE FUNCTION pix_internal.few_pass(model_name text, conditions text) RETURNS boolean
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_seqscan = on SET enable_hashjoin = on
SET enable_mergejoin = on SET plan_cache_mode = auto AS $$
DECLARE
    are_few boolean;
BEGIN
    EXECUTE 'SELECT count(*) <= 1000
        FROM (SELECT FROM pix.features f WHERE f.model_name = $1' || conditions || ' LIMIT 1001) p'
    INTO are_few USING model_name;
    RETURN are_few;
END
$$;

-- The nearest of all items that pass, without blocks or an index.
CREATE OR REPLACE FUNCTION pix_internal.compare_all_features(
    queries bytea, query_count bigint, names text[], model_name text, k bigint, metric text, conditions text
) RETURNS pix.nearest_pair[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_queries(queries, query_count, metric);
    RETURN pix_internal.rank_neighbors(NULL, queries, names, NULL, NULL,
        pix_internal.scan_features(queries, query_count, names, model_name, k, metric, conditions), k, metric, true);
END
$$;

-- The k nearest items to each query that pass a filter, the item that a query belongs to left out; ties in the order of
-- item_id.
-- A few rows by their keys are what is asked for here, and statistics lag behind tables that grow fast: so the planner has
-- no choice; what looks at many rows gives it back.
--
-- Candidates are asked for in growing numbers until each query has k answers. When that becomes dear, or few items pass the
-- filter at all, every one that passes is compared: so there are fewer than k only if there are no more.
CREATE OR REPLACE FUNCTION pix_internal.search_neighbors(
    queries bytea, query_count bigint, names text[], model pix.models, k bigint, metric text, index pix.indexes,
    filter pix.item_filter
) RETURNS pix.nearest_pair[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_hashjoin = off SET enable_mergejoin = off SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    pack pix_internal.packs;
    conditions text := CASE WHEN filter IS NULL THEN '' ELSE pix_internal.filter_conditions(filter) END;
    use_index boolean := index.index_name IS NOT NULL;
    wanted bigint := k::bigint + 4 + coalesce(cardinality(filter.except_ids), 0);
    rerank integer := coalesce((index.parameters ->> 'rerank')::integer, 0);
    key text; key_before text;
    searched integer; scanned_after integer;
    candidate_ids text[];
    located pix_internal.located_items;
    scanned pix.nearest_pair[]; answer pix.nearest_pair[];
BEGIN
    SELECT p.* INTO pack FROM pix_internal.packs p WHERE p.model_name = model.model_name;
    IF NOT FOUND OR pack.model_checksum IS DISTINCT FROM model.checksum
        OR filter.only_ids IS NOT NULL OR (conditions <> '' AND pix_internal.few_pass(model.model_name, conditions))
    THEN
        answer := pix_internal.compare_all_features(queries, query_count, names, model.model_name, k, metric, conditions);
        PERFORM pix_internal.check_filter(filter) WHERE conditions <> '' AND coalesce(cardinality(answer), 0) = 0;
        RETURN answer;
    END IF;
    LOOP
        IF use_index AND wanted > 2000 THEN
            use_index := false;
            scanned := NULL;
            wanted := k::bigint + 4 + coalesce(cardinality(filter.except_ids), 0);
        END IF;
        IF wanted * model.dimensions > 25000000 THEN  -- 100 MB of vectors
            RETURN pix_internal.compare_all_features(queries, query_count, names, model.model_name, k, metric, conditions);
        ELSIF query_count > 1 AND query_count * greatest(wanted, rerank) > 1000000 THEN
            FOR i IN 1 .. query_count LOOP
                answer := answer || pix_internal.search_neighbors(substr(queries, 4 * model.dimensions * (i - 1) + 1, 4 * model.dimensions),
                    1, names[i:i], model, k, metric, index, filter);
            END LOOP;
            RETURN answer;
        END IF;
        searched := CASE WHEN use_index THEN index.packed_in ELSE pack.packed_in END;
        key := CASE WHEN use_index THEN index.state_checksum ELSE pack.checksum END;
        candidate_ids := pix_internal.find_candidates(key, pack.checksum, queries, query_count,
            CASE WHEN use_index THEN greatest(wanted, rerank) ELSE wanted END, metric);
        IF candidate_ids IS NULL THEN  -- not mapped yet
            PERFORM pix_internal.raise_files_vanish() WHERE key_before IS NOT DISTINCT FROM key;
            key_before := key;
            PERFORM pix_internal.open_blocks(model.model_name);
            PERFORM pix_internal.open_index(index.index_name) WHERE use_index;
            CONTINUE;
        END IF;
        -- Which of them may be answers, and where in the blocks their vectors are.
        IF conditions = '' THEN
            SELECT array_agg(f.item_id), array_agg(f.block), array_agg(f.position) INTO located
            FROM pix.current_features f
            WHERE f.item_id = ANY (candidate_ids) AND f.model_name = model.model_name AND f.packed_in <= searched;
        ELSE
            EXECUTE 'SELECT array_agg(f.item_id), array_agg(f.block), array_agg(f.position)
                FROM pix.current_features f
                WHERE f.item_id = ANY ($1) AND f.model_name = $2 AND f.packed_in <= $3' || conditions
            INTO located USING candidate_ids, model.model_name, searched;
        END IF;
        IF scanned_after IS DISTINCT FROM searched AND (
            EXISTS (SELECT FROM pix.features f WHERE f.model_name = model.model_name AND f.packed_in > searched)
            OR EXISTS (SELECT FROM pix.features f WHERE f.model_name = model.model_name AND f.packed_in IS NULL)
        ) THEN
            scanned := pix_internal.scan_features(queries, query_count, names, model.model_name, k, metric,
                conditions || format(' AND (f.packed_in IS NULL OR f.packed_in > %s)', searched));
            scanned_after := searched;
        END IF;
        answer := pix_internal.rank_neighbors(pack.checksum, queries, names, candidate_ids, located, scanned, k, metric,
            NOT use_index AND wanted >= pack.items);
        EXIT WHEN answer IS NOT NULL;
        wanted := 8 * wanted;
    END LOOP;
    RETURN answer;
END
$$;

-- Says why an item has no features.
CREATE OR REPLACE FUNCTION pix_internal.raise_no_features(item_id text, model_name text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM pix.items i WHERE i.item_id = raise_no_features.item_id)
        AND NOT EXISTS (SELECT FROM pix.images i WHERE i.item_id = raise_no_features.item_id)
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

-- The model that is asked for, or that of the index, which must fit it.
CREATE OR REPLACE FUNCTION pix_internal.searched_model(model_name text, index pix.indexes, metric text) RETURNS pix.models
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model pix.models := pix.find_model(coalesce(model_name, index.model_name));
BEGIN
    IF index.index_name IS NOT NULL THEN
        PERFORM pix_internal.check_index(index, model, metric);
    END IF;
    RETURN model;
END
$$;

-- Refuses a vector that is none of the model.
CREATE OR REPLACE FUNCTION pix_internal.check_dimensions(bytes bigint, model pix.models) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF bytes IS DISTINCT FROM 4 * model.dimensions THEN
        RAISE EXCEPTION USING ERRCODE = 'PX030',
            MESSAGE = format('The query has %s dimensions, model %L has %s', coalesce(bytes / 4, 0), model.model_name, model.dimensions),
            HINT = format('Give a vector of %s numbers: compare those of one model only.', model.dimensions);
    END IF;
END
$$;

-- pix.nearest as an array.
CREATE OR REPLACE FUNCTION pix_internal.nearest(
    item_id text, k bigint, model_name text, metric text, index_name text, filter pix.item_filter
) RETURNS pix.nearest_pair[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED COST 100000 SET search_path = pg_catalog, pg_temp
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    index pix.indexes;
    model pix.models;
    query pix.feature_vector;
BEGIN
    PERFORM pix_internal.require_coordinator(
        'pix.nearest',
        'Give it one item, where its result is joined or stored as a value or variable; for many, use pix.nearest_many.'
    );
    PERFORM pix_internal.check_range('k', k, 1);
    IF index_name IS NOT NULL THEN
        index := pix_internal.find_index(index_name);
    END IF;
    model := pix_internal.searched_model(model_name, index, metric);
    SELECT f.vector INTO query FROM pix.current_features f
    WHERE f.item_id = nearest.item_id AND f.model_name = model.model_name;
    IF NOT FOUND THEN
        PERFORM pix_internal.raise_no_features(item_id, model.model_name);
    END IF;
    PERFORM pix_internal.check_dimensions(octet_length(query), model);
    RETURN pix_internal.search_neighbors(
        query, 1, ARRAY[item_id], model, k, coalesce(metric, index.metric, 'cosine'), index, filter);
END
$$;

CREATE OR REPLACE FUNCTION pix.nearest(
    item_id text, k bigint DEFAULT 10, model_name text DEFAULT NULL, metric text DEFAULT NULL, index_name text DEFAULT NULL,
    filter pix.item_filter DEFAULT NULL
) RETURNS SETOF pix.nearest_item
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10 AS $$
SELECT n.rank, n.neighbor_id, n.distance FROM pix_internal.unnest(pix_internal.nearest(item_id, k, model_name, metric, index_name, filter)) n
$$;
COMMENT ON FUNCTION pix.nearest IS
'Look-alikes of an item: the k items with the nearest features, itself left out.
Arguments: item_id; k; model_name (NULL: that of the index, or the default model); metric, one of pix.algorithms(''metric'') (NULL:
that of the index, or cosine); index_name, one that pix.build_index has built (NULL: exact search); filter, which items may be
neighbors, as pix.items_where makes it (NULL: all).
Result: rank (from 1), item_id, distance (as pix.distance), by an index too; fewer than k rows only if no more items pass.
Errors: PX003 invalid argument, PX004 a filter that names what exists nowhere, PX020 unknown model, PX024 unusable cache
folder, PX030 incomparable vectors, PX031 a vector of zeros, PX040 unknown item, PX041 an item without features, PX060 call
on segments, PX090 unknown index, PX092 an index of another model or metric, PX094 a damaged index, PX100 unknown clustering, PX103
clustering of a changed model, PX105 unknown cluster.
Runs: coordinator; on Greenplum for one item at a time, given as a value where the result is joined or stored.
Example: SELECT n.rank, n.distance, i.title FROM pix.nearest(''B005IYS5ZA'', k => 10) n JOIN pix.items i USING (item_id) ORDER BY n.rank;';

-- pix.nearest_to_image and pix.nearest_to_vector as an array: near an image, or else numbers.
CREATE OR REPLACE FUNCTION pix_internal.nearest_to(
    kind text, content bytea, numbers double precision[], k bigint, model_name text, metric text, index_name text,
    filter pix.item_filter
) RETURNS pix.nearest_pair[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED COST 1000000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    index pix.indexes;
    model pix.models;
    query pix.feature_vector;
BEGIN
    PERFORM pix_internal.require_coordinator('pix.nearest_to_' || kind,
        format('Give it one %s, where its result is joined or stored as a value or variable%s', kind,
            CASE kind WHEN 'image' THEN '; or use pix.nearest_many.' ELSE '.' END));
    PERFORM pix_internal.check_range('k', k, 1);
    IF kind = 'image' AND content IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX010', MESSAGE = 'The image is NULL',
            HINT = 'Pass the bytes of an image file.';
    END IF;
    IF index_name IS NOT NULL THEN
        index := pix_internal.find_index(index_name);
    END IF;
    model := pix_internal.searched_model(model_name, index, metric);
    IF kind = 'vector' AND numbers IS NULL THEN
        PERFORM pix_internal.refuse('vector must be numbers, not NULL', format('Give %s of them.', model.dimensions));
    END IF;
    query := CASE kind WHEN 'image' THEN pix.embed(content, model.model_name) ELSE pix.from_array(numbers) END;
    PERFORM pix_internal.check_dimensions(octet_length(query), model);
    RETURN pix_internal.search_neighbors(
        query, 1, ARRAY[NULL::text], model, k, coalesce(metric, index.metric, 'cosine'), index, filter);
END
$$;

CREATE OR REPLACE FUNCTION pix.nearest_to_image(
    content bytea, k bigint DEFAULT 10, model_name text DEFAULT NULL, metric text DEFAULT NULL,
    index_name text DEFAULT NULL, filter pix.item_filter DEFAULT NULL
) RETURNS SETOF pix.nearest_item
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10 AS $$
SELECT n.rank, n.neighbor_id, n.distance
FROM pix_internal.unnest(pix_internal.nearest_to('image', content, NULL, k, model_name, metric, index_name, filter)) n
$$;
COMMENT ON FUNCTION pix.nearest_to_image IS
'Look-alikes of an image that need not be in the catalogue.
Arguments: content, the bytes of an image file; all others as for pix.nearest.
Result: rank (from 1), item_id, distance (as pix.distance).
Errors: those of pix.embed and of pix.nearest.
Runs: coordinator; on Greenplum for one image at a time, given as a value where the result is joined or stored.
Example: SELECT * FROM pix.nearest_to_image((SELECT content FROM pix.images LIMIT 1), k => 5, filter => pix.items_where(max_price => 100));';

CREATE OR REPLACE FUNCTION pix.nearest_to_vector(
    vector double precision[], k bigint DEFAULT 10, model_name text DEFAULT NULL, metric text DEFAULT NULL,
    index_name text DEFAULT NULL, filter pix.item_filter DEFAULT NULL
) RETURNS SETOF pix.nearest_item
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 10 AS $$
SELECT n.rank, n.neighbor_id, n.distance
FROM pix_internal.unnest(pix_internal.nearest_to('vector', NULL, vector, k, model_name, metric, index_name, filter)) n
$$;
COMMENT ON FUNCTION pix.nearest_to_vector IS
'The items whose features are nearest to a vector, such as the mean of what somebody likes.
Arguments: vector, as many numbers as the model has dimensions; all others as for pix.nearest.
Result: rank (from 1), item_id, distance (as pix.distance).
Errors: those of pix.nearest, PX030 also for other dimensions, and numbers that are missing or not finite.
Runs: coordinator; on Greenplum for one vector at a time, given as a value where the result is joined or stored.
Example: SELECT * FROM pix.nearest_to_vector((SELECT features FROM pix.feature_arrays WHERE model_name = ''mini_inception'' LIMIT 1), k => 5);';

-- pix.nearest_many as an array.
-- Many queries at once: one matrix product for each block.
CREATE OR REPLACE FUNCTION pix_internal.nearest_many(
    item_ids text[], k bigint, model_name text, metric text, index_name text, filter pix.item_filter
) RETURNS pix.nearest_pair[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED COST 1000000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    index pix.indexes;
    model pix.models;
    used_metric text;
    names text[];
    damaged integer;
    missing text;
    items bigint;
    piece text[];
    step integer;
    queries bytea;
    answers pix.nearest_pair[];
BEGIN
    PERFORM pix_internal.require_coordinator(
        'pix.nearest_many',
        'Call it once for all items; where its result is joined or stored, give it a value or variable, not a subquery.'
    );
    PERFORM pix_internal.check_range('k', k, 1);
    IF index_name IS NOT NULL THEN
        index := pix_internal.find_index(index_name);
    END IF;
    model := pix_internal.searched_model(model_name, index, metric);
    used_metric := coalesce(metric, index.metric, 'cosine');
    -- Asked first: Greenplum 7.0's optimizer crashes where a column is compared with an array of nothing but NULL.
    IF item_ids IS NULL OR EXISTS (SELECT FROM unnest(item_ids) i WHERE i IS NULL) THEN
        PERFORM pix_internal.raise_no_features(NULL, model.model_name);
    END IF;
    SELECT array_agg(f.item_id ORDER BY f.item_id),
        min(octet_length(f.vector)) FILTER (WHERE octet_length(f.vector) <> 4 * model.dimensions)
    INTO names, damaged
    FROM pix.current_features f WHERE f.model_name = model.model_name AND f.item_id = ANY (item_ids);
    IF damaged IS NOT NULL THEN
        PERFORM pix_internal.check_dimensions(damaged, model);
    END IF;
    SELECT unnest(item_ids) EXCEPT SELECT unnest(names) ORDER BY 1 LIMIT 1 INTO missing;
    IF missing IS NOT NULL THEN
        PERFORM pix_internal.raise_no_features(missing, model.model_name);
    END IF;
    IF names IS NULL AND NOT filter IS NULL THEN
        PERFORM pix_internal.check_filter(filter);
    END IF;
    SELECT p.items INTO items FROM pix_internal.packs p WHERE p.model_name = model.model_name;
    -- As many queries at once as keep their proximities to all items under 100 MB.
    step := greatest(1, least(25000000 / (coalesce(items, 0) + 1), 1000));
    FOR start IN 1 .. coalesce(cardinality(names), 0) BY step LOOP
        piece := names[start:start + step - 1];
        SELECT string_agg(f.vector, ''::bytea ORDER BY f.item_id) INTO queries
        FROM pix.current_features f WHERE f.model_name = model.model_name AND f.item_id = ANY (piece);
        answers := answers || pix_internal.search_neighbors(queries, cardinality(piece), piece, model, k, used_metric, index, filter);
    END LOOP;
    RETURN answers;
END
$$;

CREATE OR REPLACE FUNCTION pix.nearest_many(
    item_ids text[], k bigint DEFAULT 10, model_name text DEFAULT NULL, metric text DEFAULT NULL,
    index_name text DEFAULT NULL, filter pix.item_filter DEFAULT NULL
) RETURNS SETOF pix.nearest_pair
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 100 AS $$
SELECT n.item_id, n.rank, n.neighbor_id, n.distance
FROM pix_internal.unnest(pix_internal.nearest_many(item_ids, k, model_name, metric, index_name, filter)) n
$$;
COMMENT ON FUNCTION pix.nearest_many IS
'Look-alikes of many items in one statement: for each, the k items with the nearest features, itself left out.
Arguments: item_ids (one that is named twice is answered once); all others as for pix.nearest.
Result: item_id, rank (from 1), neighbor_id, distance (as pix.distance), in the order of item_id and rank.
Errors: those of pix.nearest.
Runs: coordinator; on Greenplum with the array given as a value where the result is joined or stored.
Example: SELECT * FROM pix.nearest_many(ARRAY(SELECT item_id FROM pix.features ORDER BY item_id LIMIT 3), k => 2);';
