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

-- Seeds runs of k-means, which this backend keeps.
CREATE OR REPLACE FUNCTION pix_internal.start_kmeans(
    sample bytea, sample_size bigint, dimensions integer[], ks integer[], seed bigint
) RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.start_kmeans', sample, sample_size, dimensions, ks, seed)$$;

-- Those numbers of clusters that there are enough different vectors for.
CREATE OR REPLACE FUNCTION pix_internal.possible_ks(sample bytea, sample_size bigint, dimensions integer[], ks integer[])
RETURNS integer[]
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.possible_ks', sample, sample_size, dimensions, ks)$$;

-- A round of k-means over blocks that were mapped under a key; whether there is more to do.
CREATE OR REPLACE FUNCTION pix_internal.kmeans_round(key text) RETURNS boolean
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.kmeans_round', key)$$;

-- Centers that segments compare vectors with.
CREATE OR REPLACE FUNCTION pix_internal.kmeans_trial(OUT centers bytea, OUT counts integer[], OUT origin bytea)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.kmeans_trial')$$;

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

-- Ends a round of k-means with the sums of all blocks; whether there is more to do.
CREATE OR REPLACE FUNCTION pix_internal.advance_kmeans(sums bytea) RETURNS boolean
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.advance_kmeans', sums)$$;

-- Measures the runs of a fit on its sample.
CREATE OR REPLACE FUNCTION pix_internal.kmeans_curve(
    items bigint, OUT ks integer[], OUT silhouettes double precision[], OUT inertias double precision[]
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.kmeans_curve', items)$$;

-- The best run, and the end of the fit.
CREATE OR REPLACE FUNCTION pix_internal.kmeans_result(
    k bigint, OUT state bytea, OUT seeds integer[], OUT rounds integer, OUT has_converged boolean
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.kmeans_result', k)$$;

-- K-means by mini-batches of blocks that were mapped under a key.
CREATE OR REPLACE FUNCTION pix_internal.fit_minibatches(
    key text, sample bytea, sample_size bigint, dimensions integer[], k bigint, n_init bigint, seed bigint, OUT state
    bytea, OUT rounds integer
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.fit_minibatches', key, sample, sample_size, dimensions, k, n_init, seed)$$;

-- A mixture of Gaussians.
CREATE OR REPLACE FUNCTION pix_internal.fit_mixture(
    coordinates bytea, sample_size bigint, dimensions integer[], mean bytea, axes bytea, k bigint, n_init bigint, seed
    bigint, OUT state bytea, OUT rounds integer, OUT has_converged boolean
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.fit_mixture', coordinates, sample_size, dimensions, mean, axes, k, n_init, seed)$$;

-- Numbers clusters as they were numbered before, and joins them to a tree.
CREATE OR REPLACE FUNCTION pix_internal.identify_clusters(
    state bytea, is_tree boolean, old_ids integer[], old_centers bytea, old_upper_ids integer[],
    old_upper_centers bytea, OUT numbered bytea, OUT cluster_ids integer[], OUT parents integer[], OUT heights double
    precision[], OUT centers bytea
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.identify_clusters', state, is_tree, old_ids, old_centers, old_upper_ids, old_upper_centers)$$;

-- The cluster of each vector of a block, and its distance to the center.
CREATE OR REPLACE FUNCTION pix_internal.assign_to_clusters(
    vectors bytea, items bigint, state bytea, OUT clusters integer[], OUT distances double precision[]
)
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 100000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.assign_to_clusters', vectors, items, state)$$;

-- Does rounds of k-means until all runs have ended, 300 at most.
CREATE OR REPLACE FUNCTION pix_internal.run_kmeans(title text, model pix.models, key text, dimensions integer[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tried record;
    sums bytea;
    rounds integer := 0;
BEGIN
    LOOP
        PERFORM set_config('application_name', format('pix: %s %% of %s', rounds / 3, title), true);
        IF pix_internal.is_distributed() THEN
            tried := pix_internal.kmeans_trial();
            SELECT pix_internal.total_kmeans_sums(
                pix_internal.kmeans_sums(b.vectors, b.items, dimensions, tried.centers, tried.counts, tried.origin)
            ) INTO sums
            FROM pix_internal.feature_blocks b WHERE b.model_name = model.model_name;
            EXIT WHEN NOT pix_internal.advance_kmeans(sums);
        ELSE
            EXIT WHEN NOT pix_internal.kmeans_round(key);
        END IF;
        rounds := rounds + 1;
    END LOOP;
END
$$;

-- The number of clusters whose silhouette is largest, by k-means; stores the curve.
CREATE OR REPLACE FUNCTION pix_internal.choose_k(
    clustering text, model pix.models, pack pix_internal.packs, sample bytea, sample_size bigint, dimensions integer[], max_k
    bigint, seed bigint
) RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    tried integer[];
    curve record;
    best integer;
BEGIN
    SELECT array_agg(k ORDER BY k) INTO tried
    FROM unnest(ARRAY[2, 3, 4, 5, 6, 7, 8, 9, 10, 12, 15, 20, 25, 30, 40, 50, 60, 80, 100, 120, 150, 200]) k
    WHERE k <= max_k AND k < pack.items;
    IF tried IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX102',
            MESSAGE = format('There is nothing to choose among for %s items', pack.items),
            HINT = 'Load and extract more images.';
    END IF;
    tried := pix_internal.possible_ks(sample, sample_size, dimensions, tried);
    IF cardinality(tried) = 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX102', MESSAGE = 'All features are the same, or nearly so',
            HINT = 'See whether their model tells images apart.';
    END IF;
    PERFORM pix_internal.start_kmeans(sample, sample_size, dimensions, tried, seed);
    PERFORM pix_internal.run_kmeans('choosing k for ' || clustering, model, pack.checksum, dimensions);
    curve := pix_internal.kmeans_curve(pack.items);
    DELETE FROM pix.cluster_curves c WHERE c.clustering = choose_k.clustering;
    INSERT INTO pix.cluster_curves (clustering, k, silhouette, inertia)
    SELECT choose_k.clustering, u.k, u.silhouette, u.inertia
    FROM unnest(curve.ks, curve.silhouettes, curve.inertias) u (k, silhouette, inertia);
    SELECT u.k INTO best FROM unnest(curve.ks, curve.silhouettes) u (k, silhouette)
    ORDER BY u.silhouette DESC, u.k LIMIT 1;
    RETURN best;
END
$$;

-- Fits a clustering, and tells what its algorithm says of that.
CREATE OR REPLACE FUNCTION pix_internal.fit_state(
    clustering text, model pix.models, pack pix_internal.packs, algorithm text, k bigint, n_init bigint, seed bigint,
    dimensions integer[], sample bytea, item_ids text[], OUT state bytea, OUT notes jsonb
)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    sample_size integer := cardinality(item_ids);
    fitted record;
    components record;
    coordinates bytea;
BEGIN
    IF algorithm = ANY (pix_internal.algorithms_with('clustering', '{by_rounds}')) THEN
        PERFORM pix_internal.start_kmeans(sample, sample_size, dimensions, array_fill(k::integer, ARRAY[n_init::integer]), seed);
        PERFORM pix_internal.run_kmeans('clustering ' || clustering, model, pack.checksum, dimensions);
        fitted := pix_internal.kmeans_result(k);
        notes := jsonb_build_object(
            'n_init', n_init, 'rounds', fitted.rounds, 'converged', fitted.has_converged,
            'seeds', (SELECT jsonb_agg(item_ids[s]) FROM unnest(fitted.seeds) s)
        );
    ELSIF algorithm = ANY (pix_internal.algorithms_with('clustering', '{by_batches}')) THEN
        PERFORM pix_internal.open_blocks(model.model_name);
        fitted := pix_internal.fit_minibatches(pack.checksum, sample, sample_size, dimensions, k, n_init, seed);
        notes := jsonb_build_object('n_init', n_init, 'rounds', fitted.rounds);
    ELSE
        components := pix_internal.fit_projection(sample, sample_size, dimensions,
            least(10, greatest(2, pack.items / 60))::integer, seed);
        SELECT string_agg(p.coordinates, ''::bytea ORDER BY p.block) INTO coordinates FROM (
            SELECT b.block, pix_internal.project_vectors(b.vectors, b.items, dimensions, components.mean, components.axes) AS coordinates
            FROM pix_internal.feature_blocks b WHERE b.model_name = model.model_name
        ) p;
        fitted := pix_internal.fit_mixture(coordinates, pack.items::integer, dimensions, components.mean,
            components.axes, k, n_init, seed);
        notes := jsonb_build_object('n_init', n_init, 'rounds', fitted.rounds, 'converged', fitted.has_converged);
    END IF;
    state := fitted.state;
END
$$;

-- Puts the vectors that were packed after some packing into clusters, in a temporary table pix_assigned.
-- Written to a table that is planned in parallel. Nested loops over fresh statistics would be chosen wrongly.
CREATE OR REPLACE FUNCTION pix_internal.assign_blocks(model_name text, packed_after bigint, state bytea) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
BEGIN
    PERFORM pix_internal.drop_temporary('pix_assigned');
    EXECUTE
        'CREATE TEMP TABLE pix_assigned ON COMMIT DROP AS
        SELECT unnest(d.item_ids) AS item_id, unnest((d.assigned).clusters) AS cluster,
            unnest((d.assigned).distances) AS distance
        FROM (
            SELECT b.item_ids, pix_internal.assign_to_clusters(b.vectors, b.items, $3) AS assigned FROM pix_internal.feature_blocks b
            WHERE b.model_name = $1 AND ($2 = 0 OR b.block IN (
                SELECT f.block FROM pix.features f WHERE f.model_name = $1 AND f.packed_in > $2
            ))
            OFFSET 0
        ) d' || pix_internal.distributed_by('item_id')
    USING model_name, packed_after, state;
    IF packed_after > 0 THEN
        DELETE FROM pg_temp.pix_assigned a USING pix.features f
        WHERE f.item_id = a.item_id AND f.model_name = assign_blocks.model_name AND f.packed_in <= packed_after;
    END IF;
    ANALYZE pg_temp.pix_assigned;
END
$$;

-- For each cluster, which of those below it has its center nearest; itself, where items belong to it.
CREATE OR REPLACE FUNCTION pix_internal.nearest_leaves(cluster_ids integer[], parents integer[], centers bytea) RETURNS integer[]
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.nearest_leaves', cluster_ids, parents, centers)$$;

-- Writes what is known of the clusters of a clustering, whose members are there.
CREATE OR REPLACE FUNCTION pix_internal.describe_clusters(
    clustering text, cluster_ids integer[], parents integer[], heights double precision[], centers bytea
) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    size integer := octet_length(centers) / cardinality(cluster_ids);
    nearest integer[] := pix_internal.nearest_leaves(cluster_ids, parents, centers);
    described record;
BEGIN
    -- Every cluster with those below it that items belong to; a flat one has itself.
    WITH RECURSIVE node AS (
        SELECT u.cluster, u.parent, u.height, u.nearest
        FROM unnest(cluster_ids, parents, heights, nearest) u (cluster, parent, height, nearest)
    ), below AS (
        SELECT n.cluster, n.cluster AS leaf FROM node n WHERE n.height IS NULL
        UNION ALL
        SELECT n.parent, b.leaf FROM below b JOIN node n ON n.cluster = b.cluster WHERE n.parent IS NOT NULL
    ), member AS (
        SELECT m.item_id, m.cluster AS leaf, m.distance FROM pix.cluster_members m
        WHERE m.clustering = describe_clusters.clustering
    ), leaf AS (
        -- NaN is a price to numeric.
        SELECT m.leaf, count(*) AS items, sum(i.price) AS price, count(i.price) AS priced FROM member m LEFT JOIN (
            SELECT p.item_id, p.price FROM pix.items p WHERE p.price::text ~ '^-?[0-9.]+$'
        ) i ON i.item_id = m.item_id
        GROUP BY m.leaf
    ), medoid AS (
        SELECT r.leaf, r.item_id FROM (
            SELECT m.leaf, m.item_id, row_number() OVER (PARTITION BY m.leaf ORDER BY m.distance, m.item_id) AS rank
            FROM member m
        ) r
        WHERE r.rank = 1
    ), node_size AS (
        SELECT b.cluster, sum(l.items) AS items, sum(l.price) / nullif(sum(l.priced), 0) AS mean_price
        FROM below b JOIN leaf l ON l.leaf = b.leaf GROUP BY b.cluster
    ), spoken AS (
        SELECT DISTINCT m.item_id, m.leaf, w.word FROM member m JOIN pix.items i ON i.item_id = m.item_id,
            regexp_split_to_table(lower(i.title), '[^[:alnum:]]+') w (word)
        WHERE length(w.word) > 1 AND w.word !~ '^[0-9]+$'
    ), spoken_leaf AS (
        SELECT s.leaf, s.word, count(*) AS items FROM spoken s GROUP BY s.leaf, s.word
    ), total AS (
        SELECT l.word, sum(l.items) AS items FROM spoken_leaf l GROUP BY l.word
    ), spoken_node AS (
        SELECT b.cluster, l.word, sum(l.items) AS items
        FROM below b JOIN spoken_leaf l ON l.leaf = b.leaf GROUP BY b.cluster, l.word
    ), telling AS (
        -- How much more often the word is said here than anywhere, weighted by how often.
        SELECT s.cluster, s.word, s.items * ln(
            (s.items / z.items) / (t.items / (SELECT sum(l.items) FROM leaf l))
        ) AS weight
        FROM spoken_node s JOIN total t ON t.word = s.word JOIN node_size z ON z.cluster = s.cluster
    ), words AS (
        SELECT r.cluster, array_agg(r.word ORDER BY r.rank) AS words FROM (
            SELECT t.cluster, t.word, row_number() OVER (PARTITION BY t.cluster ORDER BY t.weight DESC, t.word) AS rank
            FROM telling t WHERE t.weight > 0
        ) r
        WHERE r.rank <= 5 GROUP BY r.cluster
    )
    SELECT array_agg(n.cluster ORDER BY n.cluster) AS clusters, array_agg(z.items ORDER BY n.cluster) AS items,
        array_agg(z.mean_price ORDER BY n.cluster) AS prices, array_agg(d.item_id ORDER BY n.cluster) AS medoids,
        jsonb_agg(coalesce(to_jsonb(w.words), '[]') ORDER BY n.cluster) AS words
    INTO described FROM node n
    LEFT JOIN node_size z ON z.cluster = n.cluster
    LEFT JOIN medoid d ON d.leaf = n.nearest
    LEFT JOIN words w ON w.cluster = n.cluster;

    DELETE FROM pix.clusters c WHERE c.clustering = describe_clusters.clustering;
    INSERT INTO pix.clusters (clustering, cluster, parent, height, items, center, medoid, words, mean_price)
    SELECT describe_clusters.clustering, n.cluster, n.parent, n.height, coalesce(d.items, 0),
        substr(centers, (n.ordinal::integer - 1) * size + 1, size), d.medoid,
        ARRAY(SELECT jsonb_array_elements_text(described.words -> (d.ordinal::integer - 1))), d.mean_price
    FROM unnest(cluster_ids, parents, heights) WITH ORDINALITY n (cluster, parent, height, ordinal)
    JOIN unnest(described.clusters, described.items, described.prices, described.medoids)
        WITH ORDINALITY d (cluster, items, mean_price, medoid, ordinal) ON d.cluster = n.cluster;
END
$$;

CREATE OR REPLACE FUNCTION pix.fit_clusters(
    clustering text, model_name text DEFAULT NULL, algorithm text DEFAULT 'kmeans', k bigint DEFAULT 25, n_init
    bigint DEFAULT 10, seed bigint DEFAULT 7, dimensions bigint[] DEFAULT NULL, max_k bigint DEFAULT 40
) RETURNS pix.clusterings
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
AS $$
DECLARE
    begun timestamptz := clock_timestamp();
    taken double precision;
    name_before text := current_setting('application_name');
    model pix.models;
    pack pix_internal.packs;
    old pix.clusterings;
    before record;
    drawn record;
    fitted record;
    numbered record;
    used_k integer;
    used_dimensions integer[];
    moved_count bigint;
    total_inertia double precision;
    prior pix.arm_priors;
BEGIN
    PERFORM pix_internal.check_call('pix.fit_clusters');
    model := pix.find_model(model_name);
    PERFORM pix_internal.check_name('clustering', clustering);
    PERFORM pix_internal.check_choice('algorithm', algorithm, pix_internal.algorithms_with('clustering', '{}'));
    PERFORM pix_internal.check_range('k', coalesce(k, 2), 2, 2000);
    PERFORM pix_internal.check_range('max_k', CASE WHEN k IS NULL THEN max_k ELSE 2 END, 2, 200);
    PERFORM pix_internal.check_range('n_init', n_init, 1, 100);
    PERFORM pix_internal.check_range('seed', seed, 0, 1000000000);
    PERFORM pix_internal.check_list('dimensions', dimensions);
    IF cardinality(dimensions) = 0 OR EXISTS (SELECT FROM unnest(dimensions) d WHERE d IS NULL OR d < 1 OR d > model.dimensions)
        OR cardinality(dimensions) > (SELECT count(DISTINCT d) FROM unnest(dimensions) d)
    THEN
        PERFORM pix_internal.refuse(
            format('dimensions must be different numbers from 1 to %s, not %s', model.dimensions, left(dimensions::text, 200)),
            'Leave it out to look at all of them.'
        );
    END IF;
    used_k := k;
    used_dimensions := dimensions;
    PERFORM pix_internal.lock('clusterings', clustering);
    PERFORM set_config('application_name', 'pix: 0 % of clustering ' || clustering, true);
    PERFORM pix.pack_features(model.model_name);
    pack := pix_internal.find_pack(model);
    IF k > pack.items THEN
        RAISE EXCEPTION USING ERRCODE = 'PX102',
            MESSAGE = format('%s clusters are more than the %s items with features of model %L', k, pack.items, model.model_name),
            HINT = format('Use k => %s or less.', pack.items);
    END IF;
    IF NOT pix_internal.is_distributed() THEN
        PERFORM pix_internal.open_blocks(model.model_name);
    END IF;
    drawn := pix_internal.sample_features(model.model_name, NULL, NULL, greatest(3000, 10 * coalesce(k, max_k)), seed);
    IF k IS NULL THEN
        used_k := pix_internal.choose_k(clustering, model, pack, drawn.vectors, cardinality(drawn.item_ids),
            used_dimensions, max_k, seed);
    ELSE
        DELETE FROM pix.cluster_curves c WHERE c.clustering = fit_clusters.clustering;
    END IF;
    fitted := pix_internal.fit_state(clustering, model, pack, algorithm, used_k, n_init, seed, used_dimensions,
        drawn.vectors, drawn.item_ids);

    -- Clusters keep their numbers, if those before looked at the same.
    SELECT c.* INTO old FROM pix.clusterings c WHERE c.clustering = fit_clusters.clustering;
    SELECT coalesce(array_agg(c.cluster ORDER BY c.cluster) FILTER (WHERE c.height IS NULL), '{}') AS cluster_ids,
        coalesce(string_agg(c.center, ''::bytea ORDER BY c.cluster) FILTER (WHERE c.height IS NULL), '') AS centers,
        coalesce(array_agg(c.cluster ORDER BY c.cluster) FILTER (WHERE c.height IS NOT NULL), '{}') AS upper_ids,
        coalesce(string_agg(c.center, ''::bytea ORDER BY c.cluster) FILTER (WHERE c.height IS NOT NULL), '') AS upper_centers
    INTO before FROM pix.clusters c WHERE c.clustering = old.clustering AND old.model_name = model.model_name
        AND old.model_checksum IS NOT DISTINCT FROM model.checksum
        AND old.dimensions IS NOT DISTINCT FROM used_dimensions;
    numbered := pix_internal.identify_clusters(fitted.state,
        algorithm = ANY (pix_internal.algorithms_with('clustering', '{is_tree}')), before.cluster_ids, before.centers,
        before.upper_ids, before.upper_centers);
    PERFORM pix_internal.assign_blocks(model.model_name, 0, numbered.numbered);
    SELECT sum(a.distance ^ 2) INTO total_inertia FROM pg_temp.pix_assigned a;
    IF old.clustering IS NOT NULL THEN
        SELECT count(*) INTO moved_count FROM pg_temp.pix_assigned a
        JOIN pix.cluster_members m ON m.item_id = a.item_id AND m.clustering = old.clustering
        WHERE m.cluster <> a.cluster;
    END IF;
    PERFORM pix_internal.lock_arms();
    DELETE FROM pix.cluster_members m WHERE m.clustering = fit_clusters.clustering;
    INSERT INTO pix.cluster_members (item_id, clustering, cluster, distance)
    SELECT a.item_id, fit_clusters.clustering, a.cluster, a.distance FROM pg_temp.pix_assigned a;
    DELETE FROM pix_internal.clustering_states d WHERE d.clustering = fit_clusters.clustering;
    INSERT INTO pix_internal.clustering_states (clustering, content) VALUES (fit_clusters.clustering, numbered.numbered);
    PERFORM pix_internal.describe_clusters(clustering, numbered.cluster_ids, numbered.parents, numbered.heights,
        numbered.centers);
    SELECT count(*) INTO used_k FROM unnest(numbered.heights) h WHERE h IS NULL;
    taken := EXTRACT(EPOCH FROM clock_timestamp() - begun);
    DELETE FROM pix.clusterings c WHERE c.clustering = fit_clusters.clustering;
    INSERT INTO pix.clusterings (clustering, model_name, model_checksum, algorithm, k, dimensions, parameters,
        packed_in, items, inertia, moved, seconds) VALUES (
        fit_clusters.clustering, model.model_name, model.checksum, fit_clusters.algorithm, used_k,
        used_dimensions, fitted.notes || jsonb_build_object('k', k, 'seed', seed), pack.packed_in, pack.items,
        total_inertia, moved_count, taken
    );
    PERFORM pix_internal.add_up_arms(clustering, NULL);
    -- Pooled priors, if there are any, are fitted again as they were.
    SELECT p.* INTO prior FROM pix.arm_priors p WHERE p.clustering = fit_clusters.clustering LIMIT 1;
    IF FOUND THEN
        PERFORM pix.refresh_priors(clustering, prior.algorithm, prior.strength_cap);
    END IF;
    PERFORM set_config('application_name', name_before, true);
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
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    chosen_clustering pix.clusterings;
    model pix.models;
    pack pix_internal.packs;
    stored bytea;
    tree record;
    assigned bigint;
BEGIN
    PERFORM pix_internal.check_call('pix.refresh_clusters');
    PERFORM pix_internal.check_name('clustering', clustering);
    PERFORM pix_internal.lock('clusterings', clustering);
    chosen_clustering := pix.find_clustering(clustering);
    PERFORM pix_internal.check_clustering(chosen_clustering);
    PERFORM pix.pack_features(chosen_clustering.model_name);
    model := pix.find_model(chosen_clustering.model_name);
    SELECT p.* INTO pack FROM pix_internal.packs p WHERE p.model_name = chosen_clustering.model_name;
    PERFORM pix_internal.check_pack(pack, model);
    SELECT d.content INTO stored FROM pix_internal.clustering_states d WHERE d.clustering = refresh_clusters.clustering;
    PERFORM pix_internal.assign_blocks(model.model_name, chosen_clustering.packed_in, stored);
    PERFORM pix_internal.lock_arms();
    DELETE FROM pix.cluster_members m WHERE m.clustering = refresh_clusters.clustering AND (
        NOT EXISTS (
            SELECT FROM pix.features f
            WHERE f.item_id = m.item_id AND f.model_name = model.model_name AND f.packed_in IS NOT NULL
        ) OR EXISTS (SELECT FROM pg_temp.pix_assigned a WHERE a.item_id = m.item_id)
    );
    INSERT INTO pix.cluster_members (item_id, clustering, cluster, distance)
    SELECT a.item_id, refresh_clusters.clustering, a.cluster, a.distance FROM pg_temp.pix_assigned a;
    GET DIAGNOSTICS assigned = ROW_COUNT;
    SELECT array_agg(c.cluster ORDER BY c.cluster) AS cluster_ids, array_agg(c.parent ORDER BY c.cluster) AS parents,
        array_agg(c.height ORDER BY c.cluster) AS heights, string_agg(c.center, ''::bytea ORDER BY c.cluster) AS centers
    INTO tree FROM pix.clusters c WHERE c.clustering = refresh_clusters.clustering;
    PERFORM pix_internal.describe_clusters(clustering, tree.cluster_ids, tree.parents, tree.heights, tree.centers);
    UPDATE pix.clusterings c SET packed_in = pack.packed_in WHERE c.clustering = refresh_clusters.clustering;
    PERFORM pix_internal.add_up_arms(clustering, NULL);
    RETURN assigned;
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
