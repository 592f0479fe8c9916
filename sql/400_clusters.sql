-- Clusters: groups of items that look alike. What fits them works on blocks; what puts an item into one is a state, a file of
-- arrays; and pix.cluster_members is where queries look.

CREATE OR REPLACE FUNCTION pix.find_clustering(clustering text DEFAULT NULL) RETURNS pix.clusterings
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text := clustering;
    names text[];
    named pix.clusterings;
BEGIN
    IF name IS NULL THEN
        SELECT s.value INTO name FROM pix.settings s WHERE s.key = 'default_clustering';
    END IF;
    IF name IS NULL THEN
        SELECT array_agg(c.clustering ORDER BY c.clustering) INTO names FROM pix.clusterings c;
        IF names IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'PX100', MESSAGE = 'There are no clusters',
                HINT = 'Make some: SELECT * FROM pix.fit_clusters(''looks'');';
        ELSIF cardinality(names) > 1 THEN
            RAISE EXCEPTION USING ERRCODE = 'PX126', MESSAGE = 'There is no default clustering',
                HINT = format('Name one, or choose one of %s: SELECT pix.set_default_clustering(%L);',
                    array_to_string(names[1:20], ', '), names[1]);
        END IF;
        name := names[1];
    END IF;
    SELECT c.* INTO named FROM pix.clusterings c WHERE c.clustering = name;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX100', MESSAGE = format('Clustering %L is not known', left(name, 200)),
            HINT = pix_internal.did_you_mean(name, ARRAY(SELECT c.clustering FROM pix.clusterings c),
                'SELECT clustering FROM pix.clusterings lists the clusterings; pix.fit_clusters makes one.');
    END IF;
    RETURN named;
END
$$;
COMMENT ON FUNCTION pix.find_clustering IS
'The clustering that functions use where this one is named.
Arguments: clustering (NULL: the default one, or the only one).
Result: the row of pix.clusterings.
Errors: PX100 unknown clustering, or none, PX126 several clusterings, none of which is the default.
Runs: coordinator.
Example: SELECT clustering, algorithm, k FROM pix.find_clustering(''boots'');';

-- Refuses a clustering whose model has changed.
CREATE OR REPLACE FUNCTION pix_internal.check_clustering(clustering pix.clusterings) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pix.models m
        WHERE m.model_name = clustering.model_name AND m.checksum IS NOT DISTINCT FROM clustering.model_checksum
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX103',
            MESSAGE = format('Clustering %L is of an earlier version of model %L', clustering.clustering,
                clustering.model_name),
            HINT = format(
                'Fit it again when its features are extracted: SELECT * FROM pix.fit_clusters(%L, %L, %L, k => %s%s);',
                clustering.clustering, clustering.model_name, clustering.algorithm, clustering.k,
                ', dimensions => ' || quote_literal(clustering.dimensions::text));
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION pix.leaf_clusters(clustering text, cluster bigint) RETURNS integer[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    below integer[];
    leaves integer[] := '{}';
    parted integer[];
BEGIN
    PERFORM pix.find_clustering(coalesce(clustering, ''));
    IF NOT EXISTS (
        SELECT FROM pix.clusters c WHERE c.clustering = leaf_clusters.clustering AND c.cluster = leaf_clusters.cluster
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX105',
            MESSAGE = format('Clustering %L has no cluster %s', clustering, coalesce(cluster::text, 'NULL')),
            HINT = format('It has %s to %s: SELECT cluster FROM pix.clusters WHERE clustering = %L lists them.',
                (SELECT min(c.cluster) FROM pix.clusters c WHERE c.clustering = leaf_clusters.clustering),
                (SELECT max(c.cluster) FROM pix.clusters c WHERE c.clustering = leaf_clusters.clustering), clustering);
    END IF;
    below := ARRAY[cluster];
    LOOP
        SELECT array_agg(DISTINCT c.parent) INTO parted FROM pix.clusters c
        WHERE c.clustering = leaf_clusters.clustering AND c.parent = ANY (below);
        SELECT leaves || coalesce(array_agg(b), '{}') INTO leaves
        FROM unnest(below) b WHERE parted IS NULL OR b <> ALL (parted);
        EXIT WHEN parted IS NULL;
        SELECT array_agg(c.cluster) INTO below FROM pix.clusters c
        WHERE c.clustering = leaf_clusters.clustering AND c.parent = ANY (parted);
    END LOOP;
    RETURN leaves;
END
$$;
COMMENT ON FUNCTION pix.leaf_clusters IS
'The clusters that items of a cluster belong to: in a tree those below it, else itself.
Arguments: clustering; cluster.
Result: their ids.
Errors: PX100 unknown clustering, PX105 unknown cluster.
Runs: coordinator.
Example: SELECT pix.leaf_clusters(''boots'', 1);';

-- What of a block belongs to each center, summed up.
CREATE OR REPLACE FUNCTION pix_internal.kmeans_sums(
    vectors bytea, items bigint, dimensions integer[], centers bytea, counts integer[], origin bytea
) RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.kmeans_sums', vectors, items, dimensions, centers, counts, origin)$$;

-- Adds up what two blocks gave.
CREATE OR REPLACE FUNCTION pix_internal.add_kmeans_sums(a bytea, b bytea) RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.add_kmeans_sums', a, b)$$;

-- Adds up what blocks gave, on each segment first.
CREATE OR REPLACE AGGREGATE pix_internal.total_kmeans_sums(bytea) (
    SFUNC = pix_internal.add_kmeans_sums, STYPE = bytea, COMBINEFUNC = pix_internal.add_kmeans_sums, PARALLEL = SAFE
);

-- The cluster of each vector of a block, and its distance to the center.
CREATE OR REPLACE FUNCTION pix_internal.assign_to_clusters(
    vectors bytea, items bigint, state bytea, OUT clusters integer[], OUT distances double precision[]
)
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 100000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.assign_to_clusters', vectors, items, state)$$;

CREATE OR REPLACE FUNCTION pix.fit_clusters(
    clustering text, model_name text DEFAULT NULL, algorithm text DEFAULT 'kmeans', k bigint DEFAULT 25, n_init
    bigint DEFAULT 10, seed bigint DEFAULT 7, dimensions bigint[] DEFAULT NULL, max_k bigint DEFAULT 40
) RETURNS pix.clusterings
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.fit_clusters');
    PERFORM pix_internal.check_name('clustering', clustering);
    PERFORM pix_internal.check_choice('algorithm', algorithm, pix_internal.algorithms_with('clustering', '{}'));
    PERFORM pix_internal.check_range('k', coalesce(k, 2), 2, 2000);
    PERFORM pix_internal.check_range('max_k', CASE WHEN k IS NULL THEN max_k ELSE 2 END, 2, 200);
    PERFORM pix_internal.check_range('n_init', n_init, 1, 100);
    PERFORM pix_internal.check_range('seed', seed, 0, 1000000000);
    PERFORM pix_internal.check_list('dimensions', dimensions);
    PERFORM pix_internal.drive('clusters.fit_clusters', jsonb_build_object(
        'clustering', clustering, 'model_name', model_name, 'algorithm', algorithm, 'k', k, 'n_init', n_init, 'seed', seed,
        'dimensions', dimensions, 'max_k', max_k));
    RETURN pix.find_clustering(clustering);
END
$$;
COMMENT ON FUNCTION pix.fit_clusters IS
'Groups the items of a model by how they look. A clustering of this name is replaced; its clusters keep the numbers of those
that they are nearest to, and votes are counted for the clusters that items are in now. pix.clusters tells what each cluster
is, pix.cluster_members which items are in it.
Arguments: clustering, its name; model_name (NULL: the default model); algorithm: kmeans (k-means++, then Lloyd''s rounds),
minibatch_kmeans (quicker for millions of items, less exact), gaussian_mixture (by variational Bayes, in 10 principal
components, of few items in fewer; clusters that nothing belongs to are dropped, so that k is the most), ward (k-means
clusters, joined two by two up to a single one: pix.cut_clusters names the clusters of any level); k, how many clusters (NULL:
the number from 2 to max_k with the largest silhouette; pix.cluster_curves has all); n_init, how often it starts, the best
being kept; random seed; dimensions, numbers from 1 of those features that are looked at (NULL: all); max_k.
Starts are drawn from 3,000 items at random, or 10 for each cluster.
Result: the row of pix.clusterings; moved tells how many items are in another cluster than before.
Errors: PX003 invalid argument, PX020 unknown model, PX024 unusable cache folder, PX030 incomparable vectors, PX060 call
on segments, PX061 read-only, PX063 votes in a transaction that does not end, PX095 no features, PX102 more clusters
than items or than features that differ, PX112 features all the same.
Runs: coordinator; on Greenplum, k-means is computed on the segments, which send sums and no vectors.
Example: SELECT * FROM pix.fit_clusters(''boots'', ''mini_inception'', k => 12);';

CREATE OR REPLACE FUNCTION pix.refresh_clusters(clustering text) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.refresh_clusters');
    PERFORM pix_internal.check_name('clustering', clustering);
    RETURN pix_internal.drive('clusters.refresh_clusters', jsonb_build_object('clustering', clustering));
END
$$;
COMMENT ON FUNCTION pix.refresh_clusters IS
'Puts items that are new, or whose features have changed, into the clusters of a clustering, without fitting it again; items
without features leave it. Sizes, medoids, words and mean prices are brought up to date; centers stay.
Arguments: clustering.
Result: how many items were assigned.
Errors: PX003 invalid argument, PX020 unknown model, PX030 incomparable vectors, PX060 call on segments, PX061
read-only, PX063 votes in a transaction that does not end, PX095 no features, PX100 unknown clustering, PX103 clustering
of a changed model.
Runs: coordinator; the work is done on the segments.
Example: SELECT pix.refresh_clusters(''boots'');';

-- Removes a clustering.
CREATE OR REPLACE FUNCTION pix_internal.forget_clustering(clustering text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.lock_arms();
    PERFORM pix_internal.forget('clustering', clustering, '{pix.arms, pix.arm_priors}');
    DELETE FROM pix.settings s WHERE s.key = 'default_clustering' AND s.value = forget_clustering.clustering;
    PERFORM pix_internal.forget('clustering', clustering, '{
        pix.cluster_members, pix.clusters, pix.cluster_curves, pix_internal.clustering_states, pix.clusterings
    }');
END
$$;

CREATE OR REPLACE FUNCTION pix.drop_clustering(clustering text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.drop_clustering');
    PERFORM pix_internal.check_name('clustering', clustering);
    PERFORM pix_internal.lock('clusterings', clustering);
    PERFORM pix.find_clustering(clustering);
    PERFORM pix_internal.forget_clustering(clustering);
END
$$;
COMMENT ON FUNCTION pix.drop_clustering IS
'Removes a clustering, its clusters, members and arms; features and votes stay.
Arguments: clustering.
Result: none.
Errors: PX060 call on segments, PX061 read-only, PX063 votes in a transaction that does not end, PX100 unknown
clustering.
Runs: coordinator.
Example: SELECT pix.drop_clustering(''boots'');';

-- pix.cut_clusters as an array.
CREATE OR REPLACE FUNCTION pix_internal.cut_clusters(clustering text, k bigint) RETURNS pix.cluster_cut[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    chosen_clustering pix.clusterings;
    shown integer[];
    widest integer;
    parted integer[];
    answer pix.cluster_cut[] := '{}';
    shown_cluster integer;
BEGIN
    PERFORM pix_internal.require_coordinator('pix.cut_clusters', 'Call it alone, or give it values.');
    chosen_clustering := pix.find_clustering(clustering);
    IF k IS NULL OR k < 1 OR k > chosen_clustering.k THEN
        PERFORM pix_internal.refuse(
            format('k must be from 1 to %s, as many as clustering %L has, not %s', chosen_clustering.k, chosen_clustering.clustering,
                coalesce(k::text, 'NULL')),
            'Use a smaller one, such as k => 1.'
        );
    END IF;
    SELECT array_agg(c.cluster) INTO shown
    FROM pix.clusters c WHERE c.clustering = chosen_clustering.clustering AND c.parent IS NULL;
    IF cardinality(shown) > 1 AND k < cardinality(shown) THEN
        PERFORM pix_internal.refuse(format('Clustering %L is flat', chosen_clustering.clustering),
            'Fit it with algorithm => ''ward'' to have levels.');
    END IF;
    WHILE cardinality(shown) < k LOOP
        SELECT c.cluster INTO widest FROM pix.clusters c
        WHERE c.clustering = chosen_clustering.clustering AND c.cluster = ANY (shown)
        ORDER BY c.height DESC NULLS LAST, c.cluster LIMIT 1;
        SELECT array_agg(c.cluster) INTO parted FROM pix.clusters c
        WHERE c.clustering = chosen_clustering.clustering AND c.parent = widest;
        shown := array_remove(shown, widest) || parted;
    END LOOP;
    FOREACH shown_cluster IN ARRAY shown LOOP
        SELECT answer || array_agg((l.leaf, shown_cluster)::pix.cluster_cut ORDER BY l.leaf) INTO answer
        FROM unnest(pix.leaf_clusters(chosen_clustering.clustering, shown_cluster)) l (leaf);
    END LOOP;
    RETURN answer;
END
$$;

CREATE OR REPLACE FUNCTION pix.cut_clusters(clustering text, k bigint) RETURNS SETOF pix.cluster_cut
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 25 AS $$
SELECT n.leaf, n.cluster FROM pix_internal.unnest(pix_internal.cut_clusters(clustering, k)) n
$$;
COMMENT ON FUNCTION pix.cut_clusters IS
'Cuts the tree of a clustering by ward into k clusters.
Arguments: clustering; k, from 1 to its number of clusters.
Result: leaf, a cluster that items belong to, as pix.cluster_members has it; cluster, that which it is in at this level.
Errors: PX003 invalid argument, PX060 call on segments, PX100 unknown clustering.
Runs: coordinator; on Greenplum with values for arguments.
Example: SELECT m.item_id, c.cluster FROM pix.cluster_members m JOIN pix.cut_clusters(''shapes'', 4) c ON c.leaf = m.cluster WHERE m.clustering = ''shapes'';';

CREATE OR REPLACE VIEW pix.clustering_status AS
SELECT c.clustering, c.model_name, c.algorithm, c.k, c.dimensions, coalesce(n.members, 0) AS items,
    coalesce(a.added, 0) AS added, c.moved,
    m.model_name IS NOT NULL AND m.checksum IS NOT DISTINCT FROM c.model_checksum AS usable,
    c.inertia, c.seconds, c.fitted_at
FROM pix.clusterings c
LEFT JOIN pix.models m ON m.model_name = c.model_name
LEFT JOIN (SELECT clustering, count(*) AS members FROM pix.cluster_members GROUP BY clustering) n
    ON n.clustering = c.clustering
LEFT JOIN (
    SELECT x.clustering, count(*) FILTER (WHERE f.packed_in IS NULL OR f.packed_in > x.packed_in) AS added
    FROM pix.clusterings x JOIN pix.current_features f ON f.model_name = x.model_name
    GROUP BY x.clustering
) a ON a.clustering = c.clustering;
COMMENT ON VIEW pix.clustering_status IS
'Clusterings, and how many items they lack until pix.refresh_clusters.';
