-- Items that look the same, and images that are the same.

-- Says that there are too many pairs.
CREATE OR REPLACE FUNCTION pix_internal.raise_too_many_pairs() RETURNS void
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'neighbor_graph.raise_too_many_pairs')$$;

-- The expression that pix_internal.compare_blocks takes, for pairs that are that near.
CREATE OR REPLACE FUNCTION pix_internal.alike_expression(max_distance double precision) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$SELECT format('pix_internal.alike_in_block($queries, b.vectors, b.norms, %L)', max_distance)$$;

-- pix.duplicates as an array, without writing anything.
-- Where nothing can be written, blocks are compared by this backend alone; and being stable, it sees them as of one moment.
CREATE OR REPLACE FUNCTION pix_internal.duplicates_now(model pix.models, max_distance double precision) RETURNS pix.duplicate_pair[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    pack pix_internal.packs;
    done integer[] := '{}';
    query_blocks integer[];
    query_count integer;
    compared record;
    pairs record;
    answer pix.duplicate_pair[] := '{}';
BEGIN
    IF EXISTS (SELECT FROM pix.current_features f WHERE f.model_name = model.model_name AND f.packed_in IS NULL)
        OR EXISTS (SELECT FROM pix_internal.block_entries(model.model_name) e WHERE e.live < e.items OR e.misplaced > 0)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'PX061',
            MESSAGE = format('Features of model %L have come or changed since they were packed, and nothing can be written here', model.model_name),
            HINT = format('Where it can: SELECT * FROM pix.pack_features(%L);', model.model_name);
    END IF;
    SELECT p.* INTO pack FROM pix_internal.packs p WHERE p.model_name = model.model_name;
    IF pack.items > 0 THEN
        PERFORM pix_internal.open_blocks(model.model_name);
    END IF;
    LOOP
        query_blocks := pix_internal.next_blocks(model, done, 4000);
        EXIT WHEN query_blocks IS NULL;
        done := done || query_blocks;
        SELECT sum(b.items) INTO query_count
        FROM pix_internal.feature_blocks b WHERE b.model_name = model.model_name AND b.block = ANY (query_blocks);
        EXECUTE format('SELECT array_agg(c.block ORDER BY c.block) AS block_ids, array_agg(c.part ORDER BY c.block) AS parts
            FROM (%s) c', pix_internal.comparison_query(pix_internal.alike_expression(max_distance)))
        INTO compared USING query_blocks, model.model_name, query_blocks[1], query_count;
        pairs := pix_internal.merge_pairs(pack.checksum, query_blocks, compared.block_ids, compared.parts, max_distance, cardinality(answer));
        SELECT answer || coalesce(array_agg(ROW(u.item_id, u.duplicate_id, u.distance)::pix.duplicate_pair), '{}') INTO answer
        FROM unnest(pairs.item_ids, pairs.duplicate_ids, pairs.distances) u (item_id, duplicate_id, distance);
    END LOOP;
    RETURN answer;
END
$$;

CREATE OR REPLACE FUNCTION pix.duplicates(model_name text DEFAULT NULL, max_distance double precision DEFAULT 0.01)
RETURNS SETOF pix.duplicate_pair
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 1000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model pix.models;
    pack pix_internal.packs;
    done integer[] := '{}';
    query_blocks integer[];
    compared record;
    found_pairs record;
    pair_count bigint := 0;
BEGIN
    PERFORM pix_internal.require_coordinator('pix.duplicates', 'Call it alone: SELECT * FROM pix.duplicates(…);');
    PERFORM pix_internal.check_range('max_distance', max_distance, 0, 2);
    model := pix.find_model(model_name);
    IF pix_internal.is_read_only() THEN
        RETURN QUERY SELECT u.* FROM unnest(pix_internal.duplicates_now(model, max_distance)) u;
        RETURN;
    END IF;
    PERFORM pix.pack_features(model.model_name);
    SELECT p.* INTO pack FROM pix_internal.packs p WHERE p.model_name = model.model_name;
    IF pack.items > 0 THEN
        PERFORM pix_internal.open_blocks(model.model_name);
    END IF;
    LOOP
        query_blocks := pix_internal.next_blocks(model, done, 4000);
        EXIT WHEN query_blocks IS NULL;
        done := done || query_blocks;
        compared := pix_internal.compare_blocks(model.model_name, query_blocks,
            pix_internal.alike_expression(max_distance), query_blocks[1], 100000000);
        IF compared.parts IS NULL THEN
            PERFORM pix_internal.raise_too_many_pairs();
        END IF;
        found_pairs := pix_internal.merge_pairs(pack.checksum, query_blocks, compared.block_ids, compared.parts, max_distance, pair_count);
        pair_count := pair_count + cardinality(found_pairs.item_ids);
        RETURN QUERY SELECT u.item_id, u.duplicate_id, u.distance
            FROM unnest(found_pairs.item_ids, found_pairs.duplicate_ids, found_pairs.distances)
                u (item_id, duplicate_id, distance);
    END LOOP;
END
$$;
COMMENT ON FUNCTION pix.duplicates IS
'Pairs of items that look the same to a model: every item is compared with every other.
Arguments: model_name (NULL: the default model); max_distance, cosine distance up to which two are the same.
Result: item_id, duplicate_id, distance (as pix.distance); each pair once, item_id being the first by name.
Errors: PX003 invalid argument, PX020 unknown model, PX024 unusable cache folder, PX030 incomparable vector, PX060 call
on segments, PX061 read-only, PX096 more than a million pairs.
Runs: coordinator; the work is done in parallel workers or on the segments.
Example: SELECT * FROM pix.duplicates(''mini_inception'', max_distance => 0.001) ORDER BY distance LIMIT 5;';

CREATE OR REPLACE VIEW pix.identical_images AS
SELECT i.sha256, count(*) AS items, array_agg(i.item_id ORDER BY i.item_id) AS item_ids
FROM pix.images i GROUP BY i.sha256 HAVING count(*) > 1;
COMMENT ON VIEW pix.identical_images IS 'Image files that several items have, byte for byte, and which items these are.';
