-- Clusters: groups of items that look alike. What fits them works on blocks; what puts an item into one is a design, a file of
-- arrays; and pix.cluster_members is where queries look.

CREATE OR REPLACE FUNCTION pix._find_clustering(clustering text) RETURNS pix.clusterings
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    found_clustering pix.clusterings;
BEGIN
    SELECT c.* INTO found_clustering FROM pix.clusterings c WHERE c.clustering = _find_clustering.clustering;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX100',
            MESSAGE = format('Clustering %s is not known', coalesce(quote_literal(clustering), 'NULL')),
            HINT = 'SELECT clustering FROM pix.clusterings lists the clusterings; pix.fit_clusters makes one.';
    END IF;
    RETURN found_clustering;
END
$$;
COMMENT ON FUNCTION pix._find_clustering(text) IS
'Internal: the clustering of this name. Errors: PX100. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._find_clustering(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._find_clustering(text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._check_clustering(clustering pix.clusterings) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    IF NOT EXISTS (
        SELECT FROM pix.models m
        WHERE m.model_name = clustering.model_name AND m.checksum IS NOT DISTINCT FROM clustering.model_checksum
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX103',
            MESSAGE = format(
                'Clustering %L is of an earlier version of model %L', clustering.clustering, clustering.model_name
            ),
            HINT = format(
                'Fit it again when its features are extracted: SELECT * FROM pix.fit_clusters(%L, %L, %L, k => %s%s);',
                clustering.clustering, clustering.model_name, clustering.algorithm, clustering.k,
                ', dimensions => ' || quote_literal(clustering.dimensions::text)
            );
    END IF;
END
$$;
COMMENT ON FUNCTION pix._check_clustering(pix.clusterings) IS
'Internal: refuses a clustering whose model has changed. Errors: PX103. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._check_clustering(pix.clusterings) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._check_clustering(pix.clusterings) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._leaf_clusters(clustering text, cluster integer) RETURNS integer[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    below integer[] := ARRAY[cluster];
    leaves integer[] := '{}';
    parted integer[];
BEGIN
    IF NOT EXISTS (
        SELECT FROM pix.clusters c WHERE c.clustering = _leaf_clusters.clustering AND c.cluster = _leaf_clusters.cluster
    ) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX105',
            MESSAGE = format('Clustering %L has no cluster %s', clustering, coalesce(cluster::text, 'NULL')),
            HINT = format('SELECT cluster FROM pix.clusters WHERE clustering = %L lists its clusters.', clustering);
    END IF;
    LOOP
        SELECT array_agg(DISTINCT c.parent) INTO parted FROM pix.clusters c
        WHERE c.clustering = _leaf_clusters.clustering AND c.parent = ANY (below);
        SELECT leaves || coalesce(array_agg(b), '{}') INTO leaves
        FROM unnest(below) b WHERE parted IS NULL OR b <> ALL (parted);
        EXIT WHEN parted IS NULL;
        SELECT array_agg(c.cluster) INTO below FROM pix.clusters c
        WHERE c.clustering = _leaf_clusters.clustering AND c.parent = ANY (parted);
    END LOOP;
    RETURN leaves;
END
$$;
COMMENT ON FUNCTION pix._leaf_clusters(text, integer) IS
'Internal: the clusters that items of a cluster belong to: itself, or those below it. Errors: PX105. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._leaf_clusters(text, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._leaf_clusters(text, integer) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._start_kmeans(
    sample bytea, number integer, dimensions integer[], ks integer[], seed integer
) RETURNS void
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.start_kmeans', sample, number, dimensions, ks, seed)
$$;
COMMENT ON FUNCTION pix._start_kmeans(bytea, integer, integer[], integer[], integer) IS
'Internal: seeds runs of k-means, which this backend keeps. Errors: PX030, PX102. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._start_kmeans(bytea, integer, integer[], integer[], integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._possible_ks(sample bytea, number integer, dimensions integer[], ks integer[])
RETURNS integer[]
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.possible', sample, number, dimensions, ks)
$$;
COMMENT ON FUNCTION pix._possible_ks(bytea, integer, integer[], integer[]) IS
'Internal: those numbers of clusters that there are enough different vectors for. Errors: PX030. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._possible_ks(bytea, integer, integer[], integer[]) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._round_of_mapped(key text) RETURNS boolean
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.round_of_mapped', key)
$$;
COMMENT ON FUNCTION pix._round_of_mapped(text) IS
'Internal: a round of k-means over blocks that were mapped under a key; whether there is more to do. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._round_of_mapped(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._kmeans_trial(OUT centres bytea, OUT counts integer[], OUT origin bytea)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.trial')
$$;
COMMENT ON FUNCTION pix._kmeans_trial() IS
'Internal: centres that segments compare vectors with. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._kmeans_trial() FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._kmeans_sums(
    vectors bytea, items integer, dimensions integer[], centres bytea, counts integer[], origin bytea
) RETURNS bytea
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE COST 1000000
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.sums', vectors, items, dimensions, centres, counts, origin)
$$;
COMMENT ON FUNCTION pix._kmeans_sums(bytea, integer, integer[], bytea, integer[], bytea) IS
'Internal: what of a block belongs to each centre, summed up. Errors: PX030. Runs: either.';
REVOKE ALL ON FUNCTION pix._kmeans_sums(bytea, integer, integer[], bytea, integer[], bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._add_sums(a bytea, b bytea) RETURNS bytea
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.add', a, b)
$$;
COMMENT ON FUNCTION pix._add_sums(bytea, bytea) IS
'Internal: adds up what two blocks gave. Runs: either.';
REVOKE ALL ON FUNCTION pix._add_sums(bytea, bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE AGGREGATE pix._sum_of_sums(bytea) (
    SFUNC = pix._add_sums, STYPE = bytea, COMBINEFUNC = pix._add_sums, PARALLEL = SAFE
);
COMMENT ON AGGREGATE pix._sum_of_sums(bytea) IS
'Internal: adds up what blocks gave, on each segment first. Runs: either.';
REVOKE ALL ON FUNCTION pix._sum_of_sums(bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._advance_kmeans(sums bytea) RETURNS boolean
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.advance', sums)
$$;
COMMENT ON FUNCTION pix._advance_kmeans(bytea) IS
'Internal: ends a round of k-means with the sums of all blocks; whether there is more to do. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._advance_kmeans(bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._kmeans_curve(
    items bigint, OUT ks integer[], OUT silhouettes double precision[], OUT inertias double precision[]
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.curve', items)
$$;
COMMENT ON FUNCTION pix._kmeans_curve(bigint) IS
'Internal: measures the runs of a fit on its sample. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._kmeans_curve(bigint) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._kmeans_result(
    k integer, OUT design bytea, OUT seeds integer[], OUT rounds integer, OUT has_converged boolean
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.kmeans_result', k)
$$;
COMMENT ON FUNCTION pix._kmeans_result(integer) IS
'Internal: the best run, and the end of the fit. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._kmeans_result(integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._fit_minibatches(
    key text, sample bytea, number integer, dimensions integer[], k integer, n_init integer, seed integer, OUT design
    bytea, OUT rounds integer
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.fit_minibatches', key, sample, number, dimensions, k, n_init, seed)
$$;
COMMENT ON FUNCTION pix._fit_minibatches(text, bytea, integer, integer[], integer, integer, integer) IS
'Internal: k-means by mini-batches of blocks that were mapped under a key. Errors: PX030, PX102. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._fit_minibatches(text, bytea, integer, integer[], integer, integer, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._fit_mixture(
    places bytea, number integer, dimensions integer[], mean bytea, axes bytea, k integer, n_init integer, seed
    integer, OUT design bytea, OUT rounds integer, OUT has_converged boolean
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.fit_mixture', places, number, dimensions, mean, axes, k, n_init, seed)
$$;
COMMENT ON FUNCTION pix._fit_mixture(bytea, integer, integer[], bytea, bytea, integer, integer, integer) IS
'Internal: a mixture of Gaussians. Errors: PX030. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._fit_mixture(bytea, integer, integer[], bytea, bytea, integer, integer, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._number_clusters(
    design bytea, is_tree boolean, old_numbers integer[], old_centres bytea, old_upper_numbers integer[],
    old_upper_centres bytea, OUT numbered bytea, OUT numbers integer[], OUT parents integer[], OUT heights double
    precision[], OUT centres bytea
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.number', design, is_tree, old_numbers, old_centres, old_upper_numbers, old_upper_centres)
$$;
COMMENT ON FUNCTION pix._number_clusters(bytea, boolean, integer[], bytea, integer[], bytea) IS
'Internal: numbers clusters as they were numbered before, and joins them to a tree. Errors: PX030. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._number_clusters(bytea, boolean, integer[], bytea, integer[], bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._assign(
    vectors bytea, items integer, design bytea, OUT clusters integer[], OUT distances double precision[]
)
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 100000
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.assign', vectors, items, design)
$$;
COMMENT ON FUNCTION pix._assign(bytea, integer, bytea) IS
'Internal: the cluster of each vector of a block, and its distance to the centre. Errors: PX030. Runs: either.';
REVOKE ALL ON FUNCTION pix._assign(bytea, integer, bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._run_kmeans(title text, model pix.models, key text, dimensions integer[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    tried record;
    sums bytea;
    rounds integer := 0;
BEGIN
    LOOP
        PERFORM set_config('application_name', format('pix: %s %% of %s', rounds / 3, title), true);
        IF pix._is_cluster() THEN
            tried := pix._kmeans_trial();
            SELECT pix._sum_of_sums(
                pix._kmeans_sums(b.vectors, b.items, dimensions, tried.centres, tried.counts, tried.origin)
            ) INTO sums
            FROM pix.feature_blocks b WHERE b.model_name = model.model_name;
            EXIT WHEN NOT pix._advance_kmeans(sums);
        ELSE
            EXIT WHEN NOT pix._round_of_mapped(key);
        END IF;
        rounds := rounds + 1;
    END LOOP;
END
$$;
COMMENT ON FUNCTION pix._run_kmeans(text, pix.models, text, integer[]) IS
'Internal: does rounds of k-means until all runs have ended, 300 at most.
Runs: coordinator; vectors are compared by threads on mapped blocks, or on the segments that store them.';
REVOKE ALL ON FUNCTION pix._run_kmeans(text, pix.models, text, integer[]) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._check_fit(
    clustering text, algorithm text, k integer, n_init integer, seed integer, dimensions integer[], max_k integer,
    model pix.models
) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    wrong text;
    remedy text;
BEGIN
    IF coalesce(octet_length(clustering), 0) NOT BETWEEN 1 AND 200 THEN
        wrong := format('%s cannot name a clustering', coalesce(quote_literal(clustering), 'NULL'));
        remedy := 'Use a name of 1 to 200 bytes.';
    ELSIF algorithm IS NULL OR algorithm NOT IN ('kmeans', 'minibatch_kmeans', 'gaussian_mixture', 'hierarchical') THEN
        wrong := format('The algorithm %s is not known', coalesce(quote_literal(algorithm), 'NULL'));
        remedy := 'Use one of: kmeans, minibatch_kmeans, gaussian_mixture, hierarchical.';
    ELSIF k < 2 OR k > 2000 THEN
        wrong := format('k is %s', k);
        remedy := 'Use 2 to 2000 clusters, or k => NULL to have the number chosen.';
    ELSIF k IS NULL AND (max_k IS NULL OR max_k < 2 OR max_k > 200) THEN
        wrong := format('max_k is %s', coalesce(max_k::text, 'NULL'));
        remedy := 'Choose among 2 to at most 200 clusters.';
    ELSIF n_init IS NULL OR n_init < 1 OR n_init > 100 THEN
        wrong := format('n_init is %s', coalesce(n_init::text, 'NULL'));
        remedy := 'Start 1 to 100 times; 10 is usual.';
    ELSIF seed IS NULL OR seed < 0 OR seed > 1000000000 THEN
        wrong := format('seed is %s', coalesce(seed::text, 'NULL'));
        remedy := 'Use a number from 0 to 1000000000.';
    ELSIF dimensions IS NOT NULL AND (
        array_ndims(dimensions) IS DISTINCT FROM 1
        OR EXISTS (SELECT FROM unnest(dimensions) d WHERE d IS NULL OR d < 1 OR d > model.dimensions)
        OR cardinality(dimensions) > (SELECT count(DISTINCT d) FROM unnest(dimensions) d)
    ) THEN
        wrong := format('These are no dimensions of model %L', model.model_name);
        remedy := format('Name each once, by numbers from 1 to %s.', model.dimensions);
    END IF;
    IF wrong IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX101', MESSAGE = wrong, HINT = remedy;
    END IF;
END
$$;
COMMENT ON FUNCTION pix._check_fit(text, text, integer, integer, integer, integer[], integer, pix.models) IS
'Internal: refuses what no clustering can be fitted with. Errors: PX101. Runs: coordinator.';
REVOKE ALL ON FUNCTION
pix._check_fit(text, text, integer, integer, integer, integer[], integer, pix.models) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._choose_k(
    clustering text, model pix.models, pack pix.packs, sample bytea, number integer, dimensions integer[], max_k
    integer, seed integer
) RETURNS integer
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
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
            HINT = 'Load and extract more pictures.';
    END IF;
    tried := pix._possible_ks(sample, number, dimensions, tried);
    IF cardinality(tried) = 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX102', MESSAGE = 'All features are the same, or nearly so',
            HINT = 'See whether their model tells pictures apart.';
    END IF;
    PERFORM pix._start_kmeans(sample, number, dimensions, tried, seed);
    PERFORM pix._run_kmeans('choosing k for ' || clustering, model, pack.checksum, dimensions);
    curve := pix._kmeans_curve(pack.items);
    DELETE FROM pix.cluster_curves c WHERE c.clustering = _choose_k.clustering;
    INSERT INTO pix.cluster_curves (clustering, k, silhouette, inertia)
    SELECT _choose_k.clustering, u.k, u.silhouette, u.inertia
    FROM unnest(curve.ks, curve.silhouettes, curve.inertias) u (k, silhouette, inertia);
    SELECT u.k INTO best FROM unnest(curve.ks, curve.silhouettes) u (k, silhouette)
    ORDER BY u.silhouette DESC, u.k LIMIT 1;
    RETURN best;
END
$$;
COMMENT ON FUNCTION pix._choose_k(text, pix.models, pix.packs, bytea, integer, integer[], integer, integer) IS
'Internal: the number of clusters whose silhouette is largest, by k-means; stores the curve. Errors: PX102. Runs: coordinator.';
REVOKE ALL ON FUNCTION
pix._choose_k(text, pix.models, pix.packs, bytea, integer, integer[], integer, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._fit_design(
    clustering text, model pix.models, pack pix.packs, algorithm text, k integer, n_init integer, seed integer,
    dimensions integer[], sample bytea, item_ids text[], OUT design bytea, OUT said jsonb
)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    number integer := cardinality(item_ids);
    fitted record;
    components record;
    places bytea;
BEGIN
    IF algorithm IN ('kmeans', 'hierarchical') THEN
        PERFORM pix._start_kmeans(sample, number, dimensions, array_fill(k, ARRAY[n_init]), seed);
        PERFORM pix._run_kmeans('clustering ' || clustering, model, pack.checksum, dimensions);
        fitted := pix._kmeans_result(k);
        said := jsonb_build_object(
            'n_init', n_init, 'rounds', fitted.rounds, 'converged', fitted.has_converged,
            'seeds', (SELECT jsonb_agg(item_ids[s]) FROM unnest(fitted.seeds) s)
        );
    ELSIF algorithm = 'minibatch_kmeans' THEN
        PERFORM pix._open_blocks(model.model_name);
        fitted := pix._fit_minibatches(pack.checksum, sample, number, dimensions, k, n_init, seed);
        said := jsonb_build_object('n_init', n_init, 'rounds', fitted.rounds);
    ELSE
        components := pix._fit_projection(
            sample, number, dimensions, least(10, greatest(2, pack.items / 60))::integer, seed
        );
        SELECT string_agg(p.places, ''::bytea ORDER BY p.block) INTO places
        FROM (
            SELECT b.block, pix._project(b.vectors, b.items, dimensions, components.mean, components.axes) AS places
            FROM pix.feature_blocks b WHERE b.model_name = model.model_name
        ) p;
        fitted := pix._fit_mixture(
            places, pack.items::integer, dimensions, components.mean, components.axes, k, n_init, seed
        );
        said := jsonb_build_object('n_init', n_init, 'rounds', fitted.rounds, 'converged', fitted.has_converged);
    END IF;
    design := fitted.design;
END
$$;
COMMENT ON FUNCTION
pix._fit_design(text, pix.models, pix.packs, text, integer, integer, integer, integer[], bytea, text[]) IS
'Internal: fits a clustering, and tells what its algorithm says of that. Errors: PX030, PX102, PX112. Runs: coordinator.';
REVOKE ALL ON FUNCTION
pix._fit_design(text, pix.models, pix.packs, text, integer, integer, integer, integer[], bytea, text[]) FROM PUBLIC, pix_reader, pix_app, pix_admin;

-- Written to a table that is planned in parallel. Nested loops over fresh statistics would be chosen wrongly.

CREATE OR REPLACE FUNCTION pix._assign_blocks(model_name text, packed_after integer, design bytea) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
AS $$
BEGIN
    IF to_regclass('pg_temp.pix_assigned') IS NOT NULL THEN
        DROP TABLE pg_temp.pix_assigned;
    END IF;
    EXECUTE
        'CREATE TEMP TABLE pix_assigned ON COMMIT DROP AS
        SELECT unnest(d.item_ids) AS item_id, unnest((d.assigned).clusters) AS cluster,
            unnest((d.assigned).distances) AS distance
        FROM (
            SELECT b.item_ids, pix._assign(b.vectors, b.items, $3) AS assigned FROM pix.feature_blocks b
            WHERE b.model_name = $1 AND ($2 = 0 OR b.block IN (
                SELECT f.block FROM pix.features f WHERE f.model_name = $1 AND f.packed_in > $2
            ))
            OFFSET 0
        ) d' || pix._distributed_by('item_id')
    USING model_name, packed_after, design;
    IF packed_after > 0 THEN
        DELETE FROM pg_temp.pix_assigned a
        USING pix.features f
        WHERE f.item_id = a.item_id AND f.model_name = _assign_blocks.model_name AND f.packed_in <= packed_after;
    END IF;
    ANALYZE pg_temp.pix_assigned;
END
$$;
COMMENT ON FUNCTION pix._assign_blocks(text, integer, bytea) IS
'Internal: puts the vectors that were packed after some packing into clusters, in a temporary table pix_assigned.
Runs: coordinator; the work is done on the segments.';
REVOKE ALL ON FUNCTION pix._assign_blocks(text, integer, bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._nearest_leaves(numbers integer[], parents integer[], centres bytea) RETURNS integer[]
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.nearest_leaves', numbers, parents, centres)
$$;
COMMENT ON FUNCTION pix._nearest_leaves(integer[], integer[], bytea) IS
'Internal: for each cluster, which of those below it has its centre nearest; itself, where items belong to it. Runs: either.';
REVOKE ALL ON FUNCTION pix._nearest_leaves(integer[], integer[], bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix._describe_clusters(
    clustering text, numbers integer[], parents integer[], heights double precision[], centres bytea
) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
AS $$
DECLARE
    size integer := octet_length(centres) / cardinality(numbers);
    nearest integer[] := pix._nearest_leaves(numbers, parents, centres);
    described record;
BEGIN
    -- Every cluster with those below it that items belong to; a flat one has itself.
    WITH RECURSIVE node AS (
        SELECT u.cluster, u.parent, u.height, u.nearest
        FROM unnest(numbers, parents, heights, nearest) u (cluster, parent, height, nearest)
    ), below AS (
        SELECT n.cluster, n.cluster AS leaf FROM node n WHERE n.height IS NULL
        UNION ALL
        SELECT n.parent, b.leaf FROM below b JOIN node n ON n.cluster = b.cluster WHERE n.parent IS NOT NULL
    ), member AS (
        SELECT m.item_id, m.cluster AS leaf, m.distance FROM pix.cluster_members m
        WHERE m.clustering = _describe_clusters.clustering
    ), leaf AS (
        -- NaN is a price to numeric.
        SELECT m.leaf, count(*) AS items, sum(i.price) AS price, count(i.price) AS priced
        FROM member m LEFT JOIN (
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
        SELECT DISTINCT m.item_id, m.leaf, w.word
        FROM member m JOIN pix.items i ON i.item_id = m.item_id,
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
    INTO described
    FROM node n
    LEFT JOIN node_size z ON z.cluster = n.cluster
    LEFT JOIN medoid d ON d.leaf = n.nearest
    LEFT JOIN words w ON w.cluster = n.cluster;

    DELETE FROM pix.clusters c WHERE c.clustering = _describe_clusters.clustering;
    INSERT INTO pix.clusters (clustering, cluster, parent, height, items, centre, medoid, words, mean_price)
    SELECT _describe_clusters.clustering, n.cluster, n.parent, n.height, coalesce(d.items, 0),
        substr(centres, (n.place::integer - 1) * size + 1, size), d.medoid,
        ARRAY(SELECT jsonb_array_elements_text(described.words -> (d.place::integer - 1))), d.mean_price
    FROM unnest(numbers, parents, heights) WITH ORDINALITY n (cluster, parent, height, place)
    JOIN unnest(described.clusters, described.items, described.prices, described.medoids)
        WITH ORDINALITY d (cluster, items, mean_price, medoid, place) ON d.cluster = n.cluster;
END
$$;
COMMENT ON FUNCTION pix._describe_clusters(text, integer[], integer[], double precision[], bytea) IS
'Internal: writes what is known of the clusters of a clustering, whose members are there.
Runs: coordinator; the work is done on the segments.';
REVOKE ALL ON FUNCTION pix._describe_clusters(text, integer[], integer[], double precision[], bytea) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix.fit_clusters(
    clustering text, model_name text DEFAULT NULL, algorithm text DEFAULT 'kmeans', k integer DEFAULT 25, n_init
    integer DEFAULT 10, seed integer DEFAULT 7, dimensions integer[] DEFAULT NULL, max_k integer DEFAULT 40
) RETURNS pix.clusterings
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET client_min_messages = warning  -- a long name is cut where it is shown
AS $$
DECLARE
    begun timestamptz := clock_timestamp();
    taken double precision;
    name_before text := current_setting('application_name');
    model pix.models;
    pack pix.packs;
    old pix.clusterings;
    before record;
    drawn record;
    fitted record;
    numbered record;
    used_k integer := k;
    number_moved bigint;
    total_inertia double precision;
    result pix.clusterings;
BEGIN
    PERFORM pix._require_coordinator('pix.fit_clusters', 'Call it alone: SELECT * FROM pix.fit_clusters(…)');
    PERFORM pix._require_writable('pix.fit_clusters');
    model := pix._find_model(model_name);
    PERFORM pix._check_fit(clustering, algorithm, k, n_init, seed, dimensions, max_k, model);
    PERFORM pix._lock('clusterings', clustering);
    PERFORM set_config('application_name', 'pix: 0 % of clustering ' || clustering, true);
    PERFORM pix.pack_features(model.model_name);
    SELECT p.* INTO pack FROM pix.packs p WHERE p.model_name = model.model_name;
    PERFORM pix._check_pack(pack, model);
    IF k > pack.items THEN
        RAISE EXCEPTION USING ERRCODE = 'PX102',
            MESSAGE = format('%s clusters are more than the %s items with features of model %L', k, pack.items, model.model_name),
            HINT = format('Use k => %s or less.', pack.items);
    END IF;
    IF NOT pix._is_cluster() THEN
        PERFORM pix._open_blocks(model.model_name);
    END IF;
    drawn := pix._sample(model.model_name, NULL, NULL, greatest(3000, 10 * coalesce(k, max_k)), seed);
    IF k IS NULL THEN
        used_k := pix._choose_k(
            clustering, model, pack, drawn.vectors, cardinality(drawn.item_ids), dimensions, max_k, seed
        );
    ELSE
        DELETE FROM pix.cluster_curves c WHERE c.clustering = fit_clusters.clustering;
    END IF;
    fitted := pix._fit_design(
        clustering, model, pack, algorithm, used_k, n_init, seed, dimensions, drawn.vectors, drawn.item_ids
    );

    -- Clusters keep their numbers, if those before looked at the same.
    SELECT c.* INTO old FROM pix.clusterings c WHERE c.clustering = fit_clusters.clustering;
    SELECT coalesce(array_agg(c.cluster ORDER BY c.cluster) FILTER (WHERE c.height IS NULL), '{}') AS numbers,
        coalesce(string_agg(c.centre, ''::bytea ORDER BY c.cluster) FILTER (WHERE c.height IS NULL), '') AS centres,
        coalesce(array_agg(c.cluster ORDER BY c.cluster) FILTER (WHERE c.height IS NOT NULL), '{}') AS upper_numbers,
        coalesce(string_agg(c.centre, ''::bytea ORDER BY c.cluster) FILTER (WHERE c.height IS NOT NULL), '') AS upper_centres
    INTO before
    FROM pix.clusters c
    WHERE c.clustering = old.clustering AND old.model_name = model.model_name
        AND old.model_checksum IS NOT DISTINCT FROM model.checksum
        AND old.dimensions IS NOT DISTINCT FROM fit_clusters.dimensions;
    numbered := pix._number_clusters(
        fitted.design, algorithm = 'hierarchical', before.numbers, before.centres,
        before.upper_numbers, before.upper_centres
    );
    PERFORM pix._assign_blocks(model.model_name, 0, numbered.numbered);
    SELECT sum(a.distance ^ 2) INTO total_inertia FROM pg_temp.pix_assigned a;
    IF old.clustering IS NOT NULL THEN
        SELECT count(*) INTO number_moved
        FROM pg_temp.pix_assigned a
        JOIN pix.cluster_members m ON m.item_id = a.item_id AND m.clustering = old.clustering
        WHERE m.cluster <> a.cluster;
    END IF;
    PERFORM pix._hold_arms();
    DELETE FROM pix.cluster_members m WHERE m.clustering = fit_clusters.clustering;
    INSERT INTO pix.cluster_members (item_id, clustering, cluster, distance)
    SELECT a.item_id, fit_clusters.clustering, a.cluster, a.distance FROM pg_temp.pix_assigned a;
    DELETE FROM pix.clustering_designs d WHERE d.clustering = fit_clusters.clustering;
    INSERT INTO pix.clustering_designs (clustering, content) VALUES (fit_clusters.clustering, numbered.numbered);
    PERFORM pix._describe_clusters(
        clustering, numbered.numbers, numbered.parents, numbered.heights, numbered.centres
    );
    SELECT count(*) INTO used_k FROM unnest(numbered.heights) h WHERE h IS NULL;
    taken := EXTRACT(EPOCH FROM clock_timestamp() - begun);
    DELETE FROM pix.clusterings c WHERE c.clustering = fit_clusters.clustering;
    INSERT INTO pix.clusterings (
        clustering, model_name, model_checksum, algorithm, k, dimensions, parameters, packed_in, items, inertia, moved,
        seconds
    ) VALUES (
        fit_clusters.clustering, model.model_name, model.checksum, fit_clusters.algorithm, used_k,
        fit_clusters.dimensions, fitted.said || jsonb_build_object('k', k, 'seed', seed), pack.packed_in, pack.items,
        total_inertia, number_moved, taken
    );
    PERFORM pix._add_up_arms(clustering, NULL);
    PERFORM pix._refresh_known_priors(clustering);
    PERFORM set_config('application_name', name_before, true);
    SELECT c.* INTO result FROM pix.clusterings c WHERE c.clustering = fit_clusters.clustering;
    RETURN result;
END
$$;
COMMENT ON FUNCTION pix.fit_clusters(text, text, text, integer, integer, integer, integer[], integer) IS
'Groups the items of a model by how they look. A clustering of this name is replaced; its clusters keep the numbers of those
that they are nearest to, and votes are counted for the clusters that items are in now. pix.clusters tells what each cluster is,
pix.cluster_members which items are in it.
Arguments: clustering, its name; model_name (NULL: the default model); algorithm: kmeans (k-means++, then Lloyd''s rounds),
minibatch_kmeans (quicker for millions of items, less exact), gaussian_mixture (by variational Bayes, in 10 principal
components, of few items in fewer; clusters that nothing belongs to are dropped, so that k is the most), hierarchical (k-means clusters, joined
two by two up to a single one: pix.cut_clusters names the clusters of any level); k, how many clusters (NULL: the number
from 2 to max_k with the largest silhouette; pix.cluster_curves has all); n_init, how often it starts, the best being kept;
seed of the random numbers; dimensions, numbers from 1 of those features that are looked at (NULL: all); max_k.
Starts are drawn from 3,000 items at random, or 10 for each cluster.
Result: the row of pix.clusterings; moved tells how many items are in another cluster than before.
Errors: PX020 unknown model, PX024 a cache folder that cannot be used, PX030 vectors that cannot be compared, PX060 a call as
a part of a larger query on a cluster,
PX061 a standby or a read-only transaction, PX063 a transaction that has voted and does not end, PX095 a model without features, PX101 an argument that cannot be used, PX102 more
clusters than items or than features that differ, PX112 features that are all the same.
Runs: coordinator; on a cluster, k-means is computed on the segments, which send sums and no vectors.
Example: SELECT * FROM pix.fit_clusters(''boots'', ''mini_inception'', k => 12);';
REVOKE ALL ON FUNCTION pix.fit_clusters(text, text, text, integer, integer, integer, integer[], integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION
pix.fit_clusters(text, text, text, integer, integer, integer, integer[], integer) TO pix_admin;

CREATE OR REPLACE FUNCTION pix.assign_clusters(clustering text) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
AS $$
DECLARE
    known pix.clusterings;
    model pix.models;
    pack pix.packs;
    stored bytea;
    tree record;
    assigned bigint;
BEGIN
    PERFORM pix._require_coordinator('pix.assign_clusters', 'Call it alone: SELECT pix.assign_clusters(…)');
    PERFORM pix._require_writable('pix.assign_clusters');
    PERFORM pix._lock('clusterings', clustering);
    known := pix._find_clustering(clustering);
    PERFORM pix._check_clustering(known);
    PERFORM pix.pack_features(known.model_name);
    model := pix._find_model(known.model_name);
    SELECT p.* INTO pack FROM pix.packs p WHERE p.model_name = known.model_name;
    PERFORM pix._check_pack(pack, model);
    SELECT d.content INTO stored FROM pix.clustering_designs d WHERE d.clustering = assign_clusters.clustering;
    PERFORM pix._assign_blocks(model.model_name, known.packed_in, stored);
    PERFORM pix._hold_arms();
    DELETE FROM pix.cluster_members m
    WHERE m.clustering = assign_clusters.clustering AND (
        NOT EXISTS (
            SELECT FROM pix.features f
            WHERE f.item_id = m.item_id AND f.model_name = model.model_name AND f.packed_in IS NOT NULL
        ) OR EXISTS (SELECT FROM pg_temp.pix_assigned a WHERE a.item_id = m.item_id)
    );
    INSERT INTO pix.cluster_members (item_id, clustering, cluster, distance)
    SELECT a.item_id, assign_clusters.clustering, a.cluster, a.distance FROM pg_temp.pix_assigned a;
    GET DIAGNOSTICS assigned = ROW_COUNT;
    SELECT array_agg(c.cluster ORDER BY c.cluster) AS numbers, array_agg(c.parent ORDER BY c.cluster) AS parents,
        array_agg(c.height ORDER BY c.cluster) AS heights, string_agg(c.centre, ''::bytea ORDER BY c.cluster) AS centres
    INTO tree
    FROM pix.clusters c WHERE c.clustering = assign_clusters.clustering;
    PERFORM pix._describe_clusters(clustering, tree.numbers, tree.parents, tree.heights, tree.centres);
    UPDATE pix.clusterings c SET packed_in = pack.packed_in WHERE c.clustering = assign_clusters.clustering;
    PERFORM pix._add_up_arms(clustering, NULL);
    RETURN assigned;
END
$$;
COMMENT ON FUNCTION pix.assign_clusters(text) IS
'Puts items that are new, or whose features have changed, into the clusters of a clustering, without fitting it again; items
without features leave it. Sizes, medoids, words and mean prices are brought up to date; centres stay.
Arguments: clustering. Result: how many items were assigned.
Errors: PX020 unknown model, PX030 vectors that cannot be compared, PX060 a call as a part of a larger query on a cluster,
PX061 a standby or a read-only transaction, PX063 a transaction that has voted and does not end,
PX095 a model without features, PX100 unknown clustering, PX103 a clustering whose model has changed.
Runs: coordinator; the work is done on the segments.
Example: SELECT pix.assign_clusters(''boots'');';
REVOKE ALL ON FUNCTION pix.assign_clusters(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.assign_clusters(text) TO pix_admin;

CREATE OR REPLACE FUNCTION pix._forget_clustering(clustering text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pix._hold_arms();
    DELETE FROM pix.arms a WHERE a.clustering = _forget_clustering.clustering;
    DELETE FROM pix.arm_priors p WHERE p.clustering = _forget_clustering.clustering;
    DELETE FROM pix.settings s WHERE s.key = 'default_clustering' AND s.value = _forget_clustering.clustering;
    DELETE FROM pix.cluster_members m WHERE m.clustering = _forget_clustering.clustering;
    DELETE FROM pix.clusters c WHERE c.clustering = _forget_clustering.clustering;
    DELETE FROM pix.cluster_curves c WHERE c.clustering = _forget_clustering.clustering;
    DELETE FROM pix.clustering_designs d WHERE d.clustering = _forget_clustering.clustering;
    DELETE FROM pix.clusterings c WHERE c.clustering = _forget_clustering.clustering;
END
$$;
COMMENT ON FUNCTION pix._forget_clustering(text) IS
'Internal: removes a clustering. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._forget_clustering(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;

CREATE OR REPLACE FUNCTION pix.drop_clustering(clustering text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    PERFORM pix._require_coordinator('pix.drop_clustering', 'Call it alone: SELECT pix.drop_clustering(…)');
    PERFORM pix._require_writable('pix.drop_clustering');
    PERFORM pix._lock('clusterings', clustering);
    PERFORM pix._find_clustering(clustering);
    PERFORM pix._forget_clustering(clustering);
END
$$;
COMMENT ON FUNCTION pix.drop_clustering(text) IS
'Removes a clustering, its clusters, members and arms; features and votes stay.
Arguments: clustering. Result: none.
Errors: PX060 a call as a part of a larger query on a cluster,
PX061 a standby or a read-only transaction, PX063 a transaction that has voted and does not end, PX100 unknown clustering.
Runs: coordinator.
Example: SELECT pix.drop_clustering(''boots'');';
REVOKE ALL ON FUNCTION pix.drop_clustering(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.drop_clustering(text) TO pix_admin;

CREATE OR REPLACE FUNCTION pix._cut_clusters(clustering text, k integer) RETURNS pix.cluster_cut[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    known pix.clusterings;
    shown integer[];
    widest integer;
    parted integer[];
    answer pix.cluster_cut[] := '{}';
    shown_cluster integer;
BEGIN
    PERFORM pix._require_coordinator('pix.cut_clusters', 'Call it alone, or give it values.');
    known := pix._find_clustering(clustering);
    IF k IS NULL OR k < 1 OR k > known.k THEN
        RAISE EXCEPTION USING ERRCODE = 'PX101', MESSAGE = format('k is %s', coalesce(k::text, 'NULL')),
            HINT = format('Clustering %L can be cut into 1 to %s clusters.', clustering, known.k);
    END IF;
    SELECT array_agg(c.cluster) INTO shown
    FROM pix.clusters c WHERE c.clustering = _cut_clusters.clustering AND c.parent IS NULL;
    IF cardinality(shown) > 1 AND k < cardinality(shown) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX101', MESSAGE = format('Clustering %L is flat', clustering),
            HINT = 'Fit it with algorithm => ''hierarchical'' to have levels.';
    END IF;
    WHILE cardinality(shown) < k LOOP
        SELECT c.cluster INTO widest FROM pix.clusters c
        WHERE c.clustering = _cut_clusters.clustering AND c.cluster = ANY (shown)
        ORDER BY c.height DESC NULLS LAST, c.cluster LIMIT 1;
        SELECT array_agg(c.cluster) INTO parted FROM pix.clusters c
        WHERE c.clustering = _cut_clusters.clustering AND c.parent = widest;
        shown := array_remove(shown, widest) || parted;
    END LOOP;
    FOREACH shown_cluster IN ARRAY shown LOOP
        SELECT answer || array_agg((l.leaf, shown_cluster)::pix.cluster_cut ORDER BY l.leaf) INTO answer
        FROM unnest(pix._leaf_clusters(clustering, shown_cluster)) l (leaf);
    END LOOP;
    RETURN answer;
END
$$;
COMMENT ON FUNCTION pix._cut_clusters(text, integer) IS
'Internal: pix.cut_clusters as an array. Errors: those of pix.cut_clusters. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._cut_clusters(text, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._cut_clusters(text, integer) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.cut_clusters(clustering text, k integer) RETURNS SETOF pix.cluster_cut
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 25
AS $$
SELECT n.leaf, n.cluster FROM pix._unnest(pix._cut_clusters(clustering, k)) n
$$;
COMMENT ON FUNCTION pix.cut_clusters(text, integer) IS
'Cuts the tree of a hierarchical clustering into k clusters.
Arguments: clustering; k, from 1 to its number of clusters.
Result: leaf, a cluster that items belong to, as pix.cluster_members has it; cluster, that which it is in at this level.
Errors: PX060 a call as a part of a larger query on a cluster, PX100 unknown clustering, PX101 a k that there is no cut for.
Runs: coordinator; on a cluster with values for arguments.
Example: SELECT m.item_id, c.cluster FROM pix.cluster_members m JOIN pix.cut_clusters(''shapes'', 4) c ON c.leaf = m.cluster WHERE m.clustering = ''shapes'';';
REVOKE ALL ON FUNCTION pix.cut_clusters(text, integer) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.cut_clusters(text, integer) TO pix_reader;

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
'Clusterings and how far they are behind. items: those in their clusters; added: items that came or changed since, which
pix.assign_clusters puts into clusters; moved: items that the last refit put elsewhere; usable: whether the model is still the
one they were fitted on.';
REVOKE ALL ON pix.clustering_status FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT SELECT ON pix.clustering_status TO pix_reader;
