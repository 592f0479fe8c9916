-- Whatever is derived is compared with what it is derived from, as of one moment.

-- The items of an index that this backend has mapped.
CREATE OR REPLACE FUNCTION pix_internal.index_names(state_checksum text) RETURNS text[]
LANGUAGE plpython3u STABLE STRICT PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'indexes.index_names', state_checksum)$$;

-- What is wrong with the blocks of a model, compared with its features; NULL: nothing.
CREATE OR REPLACE FUNCTION pix_internal.wrong_in_blocks(model pix.models) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    pack pix_internal.packs;
    listed record;
    misplaced bigint;
    damaged bigint;
    other bigint;
BEGIN
    SELECT p.* INTO pack FROM pix_internal.packs p WHERE p.model_name = model.model_name;
    SELECT coalesce(sum(b.items), 0) AS items, count(*) AS blocks,
        encode(sha256(convert_to(coalesce(string_agg(b.block || ' ' || b.checksum, ' ' ORDER BY b.block), ''), 'UTF8')), 'hex') AS key
    INTO listed FROM pix_internal.feature_blocks b WHERE b.model_name = model.model_name;
    IF (listed.items, listed.blocks, listed.key) IS DISTINCT FROM (pack.items, pack.blocks::bigint, pack.checksum) THEN
        RETURN 'pix_internal.packs says something else of the blocks';
    END IF;
    SELECT coalesce(sum(e.misplaced), 0) INTO misplaced FROM pix_internal.block_entries(model.model_name) e;
    IF misplaced > 0 THEN
        RETURN format('%s vectors are not where they take themselves to be', misplaced);
    END IF;
    SELECT count(*) INTO damaged FROM (
        SELECT b.checksum, b.norms, b.items, b.item_ids, pix_internal.describe_block(b.item_ids, b.vectors) AS described
        FROM pix_internal.feature_blocks b WHERE b.model_name = model.model_name
        OFFSET 0
    ) d
    WHERE (d.described).checksum <> d.checksum OR (d.described).norms <> d.norms OR d.items <> cardinality(d.item_ids);
    IF damaged > 0 THEN
        RETURN format('%s blocks are damaged', damaged);
    END IF;
    SELECT count(*) INTO other FROM (
        SELECT b.block, u.ordinal, substr(b.vectors, 4 * model.dimensions * (u.ordinal - 1) + 1, 4 * model.dimensions) AS vector
        FROM pix_internal.feature_blocks b CROSS JOIN LATERAL generate_series(1, b.items) u (ordinal)
        WHERE b.model_name = model.model_name
    ) e
    JOIN pix.features f
        ON f.model_name = model.model_name AND f.packed_in IS NOT NULL AND f.block = e.block AND f.position = e.ordinal
    WHERE f.vector <> e.vector;
    RETURN CASE WHEN other > 0 THEN format('%s vectors are others than the items have', other) END;
EXCEPTION WHEN SQLSTATE 'PX030' THEN
    RETURN 'a block holds numbers that are not finite';
END
$$;

-- What is wrong with an index, compared with its packing; NULL: nothing.
CREATE OR REPLACE FUNCTION pix_internal.wrong_in_index(index pix.indexes) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    stored bigint;
    missing bigint;
BEGIN
    SELECT sum(octet_length(p.content)) INTO stored
    FROM pix_internal.index_parts p WHERE p.checksum IN (index.checksum, index.state_checksum);
    IF stored IS DISTINCT FROM index.size_bytes THEN
        RETURN format('%s of %s bytes are stored', coalesce(stored, 0), index.size_bytes);
    END IF;
    PERFORM pix_internal.open_index(index.index_name);
    SELECT count(*) INTO missing
    FROM pix.current_features f LEFT JOIN unnest(pix_internal.index_names(index.state_checksum)) n (item_id) ON n.item_id = f.item_id
    WHERE f.model_name = index.model_name AND f.packed_in <= index.packed_in AND n.item_id IS NULL;
    RETURN CASE WHEN missing > 0 THEN format('%s items that it should have are missing', missing) END;
EXCEPTION WHEN SQLSTATE 'PX094' THEN
    RETURN 'its stored parts are damaged';
END
$$;

-- What is wrong with a clustering, compared with its packing; NULL: nothing.
CREATE OR REPLACE FUNCTION pix_internal.wrong_in_clustering(fitted pix.clusterings) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    stored bytea;
    wrong bigint;
BEGIN
    SELECT count(*) INTO wrong FROM pix.clusters c
    LEFT JOIN (SELECT m.cluster, count(*) AS items FROM pix.cluster_members m WHERE m.clustering = fitted.clustering GROUP BY m.cluster) m
        ON m.cluster = c.cluster
    WHERE c.clustering = fitted.clustering AND c.height IS NULL AND c.items <> coalesce(m.items, 0);
    IF wrong > 0 THEN
        RETURN format('%s clusters have other members than they count', wrong);
    END IF;
    SELECT d.content INTO stored FROM pix_internal.clustering_states d WHERE d.clustering = fitted.clustering;
    IF stored IS NULL THEN
        RETURN NULL;  -- made by hand
    END IF;
    SELECT count(*) INTO wrong FROM (
        SELECT f.item_id, (a.assigned).clusters[f.position] AS cluster, (a.assigned).distances[f.position] AS distance
        FROM pix.current_features f
        JOIN (
            SELECT b.block, pix_internal.assign_to_clusters(b.vectors, b.items, stored) AS assigned
            FROM pix_internal.feature_blocks b WHERE b.model_name = fitted.model_name
            OFFSET 0
        ) a ON a.block = f.block
        WHERE f.model_name = fitted.model_name AND f.packed_in <= fitted.packed_in
    ) s
    LEFT JOIN pix.cluster_members m ON m.clustering = fitted.clustering AND m.item_id = s.item_id
    -- Of two centers at the same distance either is right, but for rounding.
    WHERE m.item_id IS NULL OR abs(m.distance - s.distance) > 1e-4 * (1 + s.distance);
    RETURN CASE WHEN wrong > 0 THEN format('%s items are missing, or at another distance from their cluster', wrong) END;
END
$$;

-- How many arms are not what the log of votes comes to.
CREATE OR REPLACE FUNCTION pix_internal.wrong_arms() RETURNS bigint
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    half_life double precision := pix_internal.half_life();
    wrong bigint;
BEGIN
    SELECT count(*) INTO wrong FROM (
        SELECT a.user_id, a.clustering, a.cluster, a.votes, a.likes * pix_internal.decay(half_life, now() - a.as_of) AS likes,
            a.dislikes * pix_internal.decay(half_life, now() - a.as_of) AS dislikes
        FROM pix.arms a
    ) a
    FULL JOIN (
        SELECT o.user_id, m.clustering, m.cluster, count(*) AS votes,
            sum(greatest(o.value, 0) * pix_internal.decay(half_life, now() - o.voted_at)) AS likes,
            sum(greatest(-o.value, 0) * pix_internal.decay(half_life, now() - o.voted_at)) AS dislikes
        FROM pix.opinions o JOIN pix.cluster_members m ON m.item_id = o.item_id
        GROUP BY o.user_id, m.clustering, m.cluster
    ) d ON d.user_id = a.user_id AND d.clustering = a.clustering AND d.cluster = a.cluster
    WHERE coalesce(a.votes, 0) <> coalesce(d.votes, 0)
        OR abs(coalesce(a.likes, 0) - coalesce(d.likes, 0)) > 1e-6 * (1 + coalesce(d.likes, 0))
        OR abs(coalesce(a.dislikes, 0) - coalesce(d.dislikes, 0)) > 1e-6 * (1 + coalesce(d.dislikes, 0));
    RETURN wrong;
END
$$;

CREATE OR REPLACE FUNCTION pix.check_derived() RETURNS TABLE ("check" text, ok boolean, found text, remedy text)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model pix.models;
    index pix.indexes;
    chosen_clustering pix.clusterings;
    wrong text;
    ordinal bigint;
BEGIN
    PERFORM pix_internal.require_coordinator('pix.check_derived', 'Call it alone: SELECT * FROM pix.check_derived();');
    FOR model IN SELECT m.* FROM pix.models m JOIN pix_internal.packs p ON p.model_name = m.model_name ORDER BY m.model_name LOOP
        wrong := pix_internal.wrong_in_blocks(model);
        RETURN QUERY SELECT format('blocks of model %s', model.model_name), wrong IS NULL, coalesce(wrong, 'as the features'),
            CASE WHEN wrong IS NOT NULL THEN format('SELECT * FROM pix.pack_features(%L);', model.model_name) END;
    END LOOP;
    FOR index IN
        SELECT i.* FROM pix.indexes i
        JOIN pix.models m ON m.model_name = i.model_name AND m.checksum IS NOT DISTINCT FROM i.model_checksum
        ORDER BY i.index_name
    LOOP
        wrong := pix_internal.wrong_in_index(index);
        RETURN QUERY SELECT format('index %s', index.index_name), wrong IS NULL, coalesce(wrong, 'as the blocks'),
            CASE WHEN wrong IS NOT NULL THEN format('SELECT pix.build_index(%L, %L, %L, %L, %L, %s);', index.index_name,
                index.model_name, index.algorithm, index.metric, index.parameters,
                coalesce(index.project_to::text, 'NULL')) END;
    END LOOP;
    FOR chosen_clustering IN
        SELECT c.* FROM pix.clusterings c
        JOIN pix.models m ON m.model_name = c.model_name AND m.checksum IS NOT DISTINCT FROM c.model_checksum
        ORDER BY c.clustering
    LOOP
        wrong := pix_internal.wrong_in_clustering(chosen_clustering);
        RETURN QUERY SELECT format('clustering %s', chosen_clustering.clustering), wrong IS NULL, coalesce(wrong, 'as the blocks'),
            CASE WHEN wrong IS NOT NULL THEN format('SELECT pix.fit_clusters(%L, %L, %L, %s%s);',
                chosen_clustering.clustering, chosen_clustering.model_name, chosen_clustering.algorithm,
                chosen_clustering.k, ', dimensions => ' || quote_literal(chosen_clustering.dimensions::text)) END;
    END LOOP;
    ordinal := pix_internal.wrong_arms();
    RETURN QUERY SELECT 'arms', ordinal = 0, CASE WHEN ordinal = 0 THEN 'as the log of votes'
        ELSE format('%s are not what the log of votes comes to', ordinal) END,
        CASE WHEN ordinal > 0 THEN 'SELECT pix.rebuild_arms();' END;
    SELECT count(*) INTO ordinal FROM pix.recommendations r
    WHERE NOT EXISTS (SELECT FROM pix.items i WHERE i.item_id = r.item_id);
    RETURN QUERY SELECT 'recommendations', ordinal = 0, CASE WHEN ordinal = 0 THEN 'of items that there are'
        ELSE format('%s are of items that have been deleted', ordinal) END,
        CASE WHEN ordinal > 0 THEN 'CALL pix.recommend_all();' END;
    SELECT count(*) INTO ordinal FROM pix.predictions p
    WHERE NOT EXISTS (SELECT FROM pix.features f WHERE f.item_id = p.item_id)
        OR NOT EXISTS (SELECT FROM pix.classifiers c WHERE c.classifier = p.classifier);
    RETURN QUERY SELECT 'predictions', ordinal = 0, CASE WHEN ordinal = 0 THEN 'of items that there are'
        ELSE format('%s are of items or classifiers that have been deleted', ordinal) END,
        CASE WHEN ordinal > 0 THEN 'SELECT pix.classify_all(…);' END;
END
$$;
COMMENT ON FUNCTION pix.check_derived IS
'Compares everything that is derived with what it is derived from, as of one moment: positions and vectors of blocks with
features, indexes and clusterings with the blocks they were made of, arms with the log of votes, recommendations and
predictions with items. It reads all of it, and so it takes its time; pix doctor --deep shows it.
Arguments: none.
Result: a row a check: check, ok, found, remedy (NULL where nothing is wrong).
Errors: PX024 unusable cache folder, PX028 unusable setting, PX060 call on segments.
Runs: coordinator; much of the work is done on the segments.
Example: SELECT * FROM pix.check_derived() WHERE NOT ok;';
