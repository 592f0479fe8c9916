-- All against all: queries of some blocks are compared with every block, where it is stored, in parallel; what is near is
-- merged on the coordinator.

-- Candidates for the k nearest to each query in one block.
CREATE OR REPLACE FUNCTION pix_internal.nearest_in_block(
    queries bytea, query_count bigint, vectors bytea, norms bytea, k bigint, metric text
) RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'neighbor_graph.nearest_in_block', queries, query_count, vectors, norms, k, metric)$$;

-- Pairs of a query and a vector of one block that may be that near.
CREATE OR REPLACE FUNCTION pix_internal.alike_in_block(
    queries bytea, query_count bigint, vectors bytea, norms bytea, max_distance double precision
) RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'neighbor_graph.alike_in_block', queries, query_count, vectors, norms, max_distance)$$;

-- The k nearest to each item of some blocks, out of what was found in all.
CREATE OR REPLACE FUNCTION pix_internal.merge_neighbors(
    key text, query_blocks integer[], block_ids integer[], parts bytea[], k bigint, metric text,
    OUT item_ids text[], OUT ranks integer[], OUT neighbor_ids text[], OUT distances double precision[]
)
LANGUAGE plpython3u STABLE STRICT PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'neighbor_graph.merge_neighbors', key, query_blocks, block_ids, parts, k, metric)$$;

-- Pairs of items that are that near, each once.
CREATE OR REPLACE FUNCTION pix_internal.merge_pairs(
    key text, query_blocks integer[], block_ids integer[], parts bytea[], max_distance double precision, existing bigint,
    OUT item_ids text[], OUT duplicate_ids text[], OUT distances double precision[]
)
LANGUAGE plpython3u STABLE STRICT PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'neighbor_graph.merge_pairs', key, query_blocks, block_ids, parts, max_distance, existing)$$;

-- The query that compares the vectors of some blocks, $queries (and their number), with every block b.
-- The queries are selected in the statement: a constant of megabytes would be sent to workers as text.
CREATE OR REPLACE FUNCTION pix_internal.comparison_query(expression text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT format(
    'SELECT b.block, %s AS part FROM pix_internal.feature_blocks b WHERE b.model_name = $2 AND b.block >= $3',
    replace(
        expression, '$queries',
        '(SELECT string_agg(q.vectors, '''' ORDER BY array_position($1, q.block)) FROM pix_internal.feature_blocks q
        WHERE q.model_name = $2 AND q.block = ANY ($1)), $4'
    )
)
$$;

-- Compares the vectors of some blocks, $queries (and their number), with every block b from a number on; NULLs if more bytes
-- were found than most.
-- CREATE TABLE AS is planned in parallel, and what runs inside a function otherwise is not.
CREATE OR REPLACE FUNCTION pix_internal.compare_blocks(
    model_name text, query_blocks integer[], expression text, first_block bigint, most bigint,
    OUT block_ids integer[], OUT parts bytea[]
)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
SET parallel_leader_participation = off AS $$
DECLARE
    query_count integer;
    found_bytes bigint;
BEGIN
    -- What is found in a block is larger than the queue to the leader: it must be there to read, and not work itself.
    PERFORM pix_internal.use_workers(leader_works => false);
    SELECT sum(b.items) INTO query_count
    FROM pix_internal.feature_blocks b WHERE b.model_name = compare_blocks.model_name AND b.block = ANY (query_blocks);
    PERFORM pix_internal.drop_temporary('pix_compared');
    EXECUTE 'CREATE TEMP TABLE pix_compared ON COMMIT DROP AS ' || pix_internal.comparison_query(expression) || pix_internal.distributed_by('block')
    USING query_blocks, model_name, first_block, query_count;
    SELECT sum(octet_length(c.part)::bigint) INTO found_bytes FROM pg_temp.pix_compared c;
    IF found_bytes > most THEN
        RETURN;
    END IF;
    SELECT array_agg(c.block ORDER BY c.block), array_agg(c.part ORDER BY c.block) INTO block_ids, parts
    FROM pg_temp.pix_compared c;
END
$$;

-- Blocks whose items are taken together next; NULL when all are done.
CREATE OR REPLACE FUNCTION pix_internal.next_blocks(model pix.models, done integer[], most bigint) RETURNS integer[]
LANGUAGE sql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
-- As many rows as make the reading of every block worth its while: 4,000, or 32 MB; and whose answers are not too many.
SELECT array_agg(b.block ORDER BY b.block) FROM (
    SELECT b.block, b.items, sum(b.items) OVER (ORDER BY b.block) - b.items AS before
    FROM pix_internal.feature_blocks b WHERE b.model_name = (model).model_name AND b.block <> ALL (done)
) b
WHERE b.before = 0 OR b.before + b.items <= least(4000, 8388608 / (model).dimensions, most)
$$;

-- Stores the neighbors of the items of some blocks.
CREATE OR REPLACE FUNCTION pix_internal.store_neighbors_of_blocks(
    model pix.models, key text, query_blocks integer[], k bigint, metric text
) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    compared record;
    merged record;
    stored bigint;
BEGIN
    compared := pix_internal.compare_blocks(model.model_name, query_blocks,
        format('pix_internal.nearest_in_block($queries, b.vectors, b.norms, %s, %L)', k, metric), 1, 1000000000);
    -- Not in the INSERT: on Greenplum another process would run it, which has not mapped the blocks.
    merged := pix_internal.merge_neighbors(key, query_blocks, compared.block_ids, compared.parts, k, metric);
    DELETE FROM pix.neighbors n WHERE n.model_name = model.model_name AND n.item_id IN (
        SELECT unnest(b.item_ids) FROM pix_internal.feature_blocks b
        WHERE b.model_name = model.model_name AND b.block = ANY (query_blocks)
    );
    INSERT INTO pix.neighbors (item_id, model_name, rank, neighbor_id, distance)
    SELECT u.item_id, model.model_name, u.rank, u.neighbor_id, u.distance
    FROM unnest(merged.item_ids, merged.ranks, merged.neighbor_ids, merged.distances)
        u (item_id, rank, neighbor_id, distance);
    GET DIAGNOSTICS stored = ROW_COUNT;
    RETURN stored;
END
$$;

-- A procedure that commits cannot have a SET clause: it sets search_path itself, in each transaction.
CREATE OR REPLACE PROCEDURE pix.build_neighbor_graph(
    model_name text DEFAULT NULL, k bigint DEFAULT 10, metric text DEFAULT 'cosine'
)
LANGUAGE plpgsql AS $$
DECLARE
    model pix.models := pix.find_model(model_name);
    pack pix_internal.packs;
    graph pix.neighbor_graphs;
    query_blocks integer[];
    begun timestamptz;
    now_done integer[];
    taken double precision;
    moment timestamptz;
    most bigint;
    starts integer := 0;
BEGIN
    CALL pix_internal.require_no_transaction('pix.build_neighbor_graph');
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM pix_internal.require_writable('pix.build_neighbor_graph');
    PERFORM pix_internal.check_range('k', k, 1);
    PERFORM pix_internal.check_metric(metric);
    PERFORM pix.pack_features(model.model_name);
    pack := pix_internal.find_pack(model);
    COMMIT;
    LOOP
        PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
        -- Two calls at once take turns, and share the work.
        PERFORM pix_internal.lock('neighbor_graphs', model.model_name);
        PERFORM pix_internal.use_planner();
        -- Statistics lag behind features that were just loaded: nested loops over them would be chosen wrongly.
        PERFORM set_config('enable_nestloop', 'off', true);
        begun := clock_timestamp();
        -- Blocks stay as they are while they are compared.
        PERFORM pix_internal.lock('packs', model.model_name);
        model := pix.find_model(model.model_name);
        SELECT p.* INTO pack FROM pix_internal.packs p WHERE p.model_name = model.model_name;
        PERFORM pix_internal.check_pack(pack, model);
        -- What is found for a vector in every block, 6 bytes each, comes together in one value.
        most := 250000000 / (6 * (least(k, 996) + 4) * pack.blocks::bigint);
        IF 1000 * (6 * (least(k, 996) + 4) * pack.blocks::bigint) > 1000000000 THEN
            PERFORM pix_internal.refuse(format('k is %s, too large for a graph of %s items', k, pack.items),
                'Use a smaller k; pix.nearest has no such limit.');
        END IF;
        SELECT g.* INTO graph FROM pix.neighbor_graphs g WHERE g.model_name = model.model_name;
        IF graph.model_name IS NULL OR graph.k <> k OR graph.metric <> metric OR graph.packed_in <> pack.packed_in
            OR graph.model_checksum IS DISTINCT FROM pack.model_checksum
        THEN
            DELETE FROM pix.neighbor_graphs g WHERE g.model_name = model.model_name;
            INSERT INTO pix.neighbor_graphs (model_name, model_checksum, packed_in, k, metric, done, blocks, items, seconds)
            VALUES (model.model_name, pack.model_checksum, pack.packed_in, k, metric, '{}', pack.blocks, pack.items, 0);
            graph.done := '{}';
            graph.seconds := 0;
            starts := starts + 1;
            IF starts > 3 THEN
                RAISE EXCEPTION USING ERRCODE = 'PX097',
                    MESSAGE = format('The features of model %L are packed again before the graph is finished', model.model_name),
                    HINT = 'Call it again when loading and extracting are done.';
            END IF;
        END IF;
        query_blocks := pix_internal.next_blocks(model, graph.done, most);
        EXIT WHEN query_blocks IS NULL;
        PERFORM set_config('application_name', format('pix: %s %% of neighbor graph of %s',
            100 * cardinality(graph.done) / pack.blocks, model.model_name), true);
        PERFORM pix_internal.open_blocks(model.model_name);
        PERFORM pix_internal.store_neighbors_of_blocks(model, pack.checksum, query_blocks, k, metric);
        now_done := graph.done || query_blocks;
        taken := graph.seconds + EXTRACT(EPOCH FROM clock_timestamp() - begun);
        moment := NULL;
        IF pix_internal.next_blocks(model, now_done, most) IS NULL THEN
            DELETE FROM pix.neighbors n WHERE n.model_name = model.model_name AND NOT EXISTS (
                SELECT FROM pix.features f
                WHERE f.item_id = n.item_id AND f.model_name = model.model_name AND f.packed_in <= pack.packed_in
            );
            moment := clock_timestamp();
        END IF;
        UPDATE pix.neighbor_graphs g SET done = now_done, seconds = taken, finished_at = moment
        WHERE g.model_name = model.model_name;
        COMMIT;
        EXIT WHEN moment IS NOT NULL;
    END LOOP;
END
$$;
COMMENT ON PROCEDURE pix.build_neighbor_graph IS
'Fills pix.neighbors with the k nearest neighbors of every item: BI tools join it, and hot queries are answered from it. It
works on some blocks at a time and commits. It can be stopped at any moment and called again: at most the last part is lost.
Called when all is done, it does nothing; called after features have changed, it starts again, and readers have the old
neighbors of an item until its new ones are there. pix.neighbor_graphs and pix.builds show its progress.
Arguments: model_name (NULL: the default model); k, how many neighbors; metric, one of pix.algorithms(''metric'').
Result: none.
Errors: PX003 invalid argument, PX020 unknown model, PX024 unusable cache folder, PX030 incomparable vector, PX061 read-only, PX062 call in a transaction, PX095 no features, PX097 features that change all the
time.
Runs: coordinator, outside a transaction block; the work is done in parallel workers or on the segments.
Example: CALL pix.build_neighbor_graph(''mini_inception'', k => 10);';
