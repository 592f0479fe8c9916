-- Maps: every item a point on a plane, so that BI tools can plot the catalogue. They are laid out from principal components,
-- which is all that leaves the segments.

CREATE OR REPLACE FUNCTION pix.find_map(map text) RETURNS pix.maps
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    named_map pix.maps;
BEGIN
    SELECT m.* INTO named_map FROM pix.maps m WHERE m.map = find_map.map;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX110',
            MESSAGE = format('Map %s is not known', coalesce(quote_literal(left(map, 200)), 'NULL')),
            HINT = pix_internal.did_you_mean(map, ARRAY(SELECT m.map FROM pix.maps m),
                'SELECT map FROM pix.maps lists the maps; pix.fit_map makes one.');
    END IF;
    RETURN named_map;
END
$$;
COMMENT ON FUNCTION pix.find_map IS
'The map of this name.
Arguments: map.
Result: the row of pix.maps.
Errors: PX110 unknown map.
Runs: coordinator.
Example: SELECT map, algorithm, items FROM pix.find_map(''boots'');';

-- The perplexity to use for a map of so many items.
CREATE OR REPLACE FUNCTION pix_internal.usual_perplexity(algorithm text, perplexity double precision, items bigint)
RETURNS double precision
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'maps.usual_perplexity', algorithm, perplexity, items)$$;

-- Lays out items by their principal components.
CREATE OR REPLACE FUNCTION pix_internal.lay_out(
    title text, coordinates bytea, items bigint, algorithm text, perplexity double precision, seed bigint, OUT xs double
    precision[], OUT ys double precision[], OUT trustworthiness double precision
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'maps.lay_out', title, coordinates, items, algorithm, perplexity, seed)$$;

-- Lays out those of some items that have no coordinates yet.
CREATE OR REPLACE FUNCTION pix_internal.lay_out_further(
    coordinates bytea, known_xs double precision[], known_ys double precision[], algorithm text, perplexity double precision,
    seed bigint, OUT xs double precision[], OUT ys double precision[]
)
LANGUAGE plpython3u VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'maps.lay_out_further', coordinates, known_xs, known_ys, algorithm, perplexity, seed)$$;

-- Principal components of the items of a map.
CREATE OR REPLACE FUNCTION pix_internal.map_components(
    model pix.models, clustering text, leaves integer[], seed bigint, OUT item_ids text[], OUT coordinates bytea
)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    drawn record;
    axes record;
BEGIN
    -- t-SNE and UMAP look at 50 components.
    SELECT p.mean::bytea AS mean, substr(p.axes, 1, 50 * 4 * model.dimensions) AS axes INTO axes
    FROM pix_internal.projections p JOIN pix_internal.packs k ON k.model_name = p.model_name
    WHERE map_components.clustering IS NULL AND p.model_name = model.model_name
        AND p.model_checksum IS NOT DISTINCT FROM model.checksum
        AND p.components >= least(50, k.items, model.dimensions) AND p.items >= least(10000, k.items) / 2;
    IF axes IS NULL THEN
        drawn := pix_internal.sample_features(model.model_name, clustering, leaves, 10000, seed);
        axes := pix_internal.fit_projection(drawn.vectors, cardinality(drawn.item_ids), NULL, 50, seed);
    END IF;
    PERFORM pix_internal.drop_temporary('pix_coordinates');
    EXECUTE
        'CREATE TEMP TABLE pix_coordinates ON COMMIT DROP AS
        SELECT g.block, g.item_ids, pix_internal.project_vectors(g.vectors, cardinality(g.item_ids), NULL, $4, $5) AS coordinates
        FROM (
            SELECT f.block, array_agg(f.item_id ORDER BY f.position) AS item_ids,
                string_agg(f.vector, ''''::bytea ORDER BY f.position) AS vectors
            FROM pix.features f WHERE f.model_name = $1 AND f.packed_in IS NOT NULL AND ($2 IS NULL OR f.item_id IN (
                SELECT m.item_id FROM pix.cluster_members m WHERE m.clustering = $2 AND m.cluster = ANY ($3)
            ))
            GROUP BY f.block
            OFFSET 0
        ) g' || pix_internal.distributed_by('block')
    USING model.model_name, clustering, leaves, axes.mean, axes.axes;
    SELECT array_agg(u.item_id ORDER BY u.block, u.item_count) INTO item_ids FROM (
        SELECT p.block, e.item_id, e.item_count
        FROM pg_temp.pix_coordinates p, unnest(p.item_ids) WITH ORDINALITY e (item_id, item_count)
    ) u;
    SELECT string_agg(p.coordinates, ''::bytea ORDER BY p.block) INTO coordinates FROM pg_temp.pix_coordinates p;
END
$$;

CREATE OR REPLACE FUNCTION pix.fit_map(
    map text, model_name text DEFAULT NULL, algorithm text DEFAULT 'tsne', clustering text DEFAULT NULL, cluster bigint
    DEFAULT NULL, perplexity double precision DEFAULT NULL, seed bigint DEFAULT 7
) RETURNS pix.maps
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET client_min_messages = warning
SET enable_nestloop = off AS $$
DECLARE
    begun timestamptz := clock_timestamp();
    taken double precision;
    name_before text := current_setting('application_name');
    grouped pix.clusterings;
    leaves integer[];
    model pix.models;
    pack pix_internal.packs;
    item_count bigint;
    used_perplexity double precision;
    components record;
    laid_out record;
BEGIN
    PERFORM pix_internal.check_call('pix.fit_map');
    PERFORM pix_internal.check_name('map', map);
    PERFORM pix_internal.check_choice('algorithm', algorithm, pix_internal.algorithms_with('map', '{}'));
    PERFORM pix_internal.check_range('seed', seed, 0);
    IF (clustering IS NULL) <> (cluster IS NULL) THEN
        PERFORM pix_internal.refuse('clustering and cluster must be given together',
            'Give both for a map of one cluster, or none for a map of everything.');
    END IF;
    IF clustering IS NOT NULL THEN
        grouped := pix.find_clustering(clustering);
        PERFORM pix_internal.check_clustering(grouped);
        leaves := pix.leaf_clusters(clustering, cluster);
    END IF;
    model := pix.find_model(coalesce(model_name, grouped.model_name));
    IF grouped.model_name <> model.model_name THEN
        PERFORM pix_internal.refuse(
            format('Clustering %L is of model %L, not of %L', clustering, grouped.model_name, model.model_name),
            'Leave model_name out.');
    END IF;
    PERFORM pix_internal.lock('maps', map);
    PERFORM set_config('application_name', 'pix: 0 % of map ' || map, true);
    PERFORM pix.pack_features(model.model_name);
    pack := pix_internal.find_pack(model);
    item_count := pack.items;
    IF leaves IS NOT NULL THEN
        SELECT count(*) INTO item_count FROM pix.cluster_members m JOIN pix.features f ON f.item_id = m.item_id
        WHERE m.clustering = fit_map.clustering AND m.cluster = ANY (leaves)
            AND f.model_name = model.model_name AND f.packed_in IS NOT NULL;
    END IF;
    used_perplexity := pix_internal.usual_perplexity(algorithm, perplexity, item_count);
    components := pix_internal.map_components(model, clustering, leaves, seed);
    laid_out := pix_internal.lay_out('map ' || map, components.coordinates, cardinality(components.item_ids), algorithm,
        used_perplexity, seed);
    DELETE FROM pix.map_points p WHERE p.map = fit_map.map;
    INSERT INTO pix.map_points (item_id, map, x, y)
    SELECT u.item_id, fit_map.map, u.x, u.y FROM unnest(components.item_ids, laid_out.xs, laid_out.ys) u (item_id, x, y);
    taken := EXTRACT(EPOCH FROM clock_timestamp() - begun);
    DELETE FROM pix.maps m WHERE m.map = fit_map.map;
    INSERT INTO pix.maps (map, model_name, model_checksum, algorithm, clustering, cluster, perplexity, seed, packed_in,
        items, trustworthiness, seconds) VALUES (
        fit_map.map, model.model_name, model.checksum, fit_map.algorithm, fit_map.clustering, fit_map.cluster,
        used_perplexity, fit_map.seed, pack.packed_in, cardinality(components.item_ids), laid_out.trustworthiness, taken
    );
    PERFORM set_config('application_name', name_before, true);
    RETURN pix.find_map(map);
END
$$;
COMMENT ON FUNCTION pix.fit_map IS
'Lays out the items of a model on a plane, those near one another that look alike: pix.map_points has the coordinates. A map of
this name is replaced.
Arguments: map, its name; model_name (NULL: that of the clustering, or the default model); algorithm: tsne (t-SNE of 50
principal components, by scikit-learn, from 15,000 items on by openTSNE), umap (UMAP of the same), pca (the first two
components); clustering and cluster, for a map of one cluster (NULL: of everything); perplexity, how many neighbors count,
roughly, of UMAP exactly (NULL: 30, or a third of the items where they are fewer); random seed.
Result: the row of pix.maps; trustworthiness tells how far the five neighbors of an item on the map are its neighbors among
the components: 1 if all are. It is measured on 2,000 items at random where there are more.
Errors: PX003 invalid argument, PX020 unknown model, PX030 incomparable vectors, PX060 call on segments, PX061
read-only, PX095 no features, PX100 unknown clustering, PX103 clustering of a changed model, PX105 unknown cluster,
PX112 fewer than four items or features that are all the same, PX114 no UMAP.
Runs: coordinator; vectors are projected on the segments.
Example: SELECT * FROM pix.fit_map(''boots'', ''mini_inception'');';

CREATE OR REPLACE FUNCTION pix.refresh_map(map text) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    fitted_map pix.maps;
    grouped pix.clusterings;
    leaves integer[];
    model pix.models;
    pack pix_internal.packs;
    components record;
    points record;
    further bigint;
    laid_out record;
BEGIN
    PERFORM pix_internal.check_call('pix.refresh_map');
    PERFORM pix_internal.lock('maps', map);
    fitted_map := pix.find_map(map);
    IF fitted_map.clustering IS NOT NULL THEN
        grouped := pix.find_clustering(fitted_map.clustering);
        PERFORM pix_internal.check_clustering(grouped);
        leaves := pix.leaf_clusters(fitted_map.clustering, fitted_map.cluster);
    END IF;
    model := pix.find_model(fitted_map.model_name);
    IF model.checksum IS DISTINCT FROM fitted_map.model_checksum THEN
        RAISE EXCEPTION USING ERRCODE = 'PX113',
            MESSAGE = format('Map %L is of an earlier version of model %L', map, fitted_map.model_name),
            HINT = format('Make it again: SELECT * FROM pix.fit_map(%L, %L, %L);', map, fitted_map.model_name, fitted_map.algorithm);
    END IF;
    PERFORM pix.pack_features(fitted_map.model_name);
    pack := pix_internal.find_pack(model);
    components := pix_internal.map_components(model, fitted_map.clustering, leaves, fitted_map.seed);
    SELECT array_agg(p.x ORDER BY u.item_count) AS xs, array_agg(p.y ORDER BY u.item_count) AS ys,
        count(*) FILTER (WHERE p.x IS NULL) AS further, count(p.x) AS stay
    INTO points FROM unnest(components.item_ids) WITH ORDINALITY u (item_id, item_count)
    LEFT JOIN (
        SELECT o.item_id, o.x, o.y FROM pix.map_points o JOIN pix.features f ON f.item_id = o.item_id
        WHERE o.map = refresh_map.map AND f.model_name = fitted_map.model_name AND f.packed_in <= fitted_map.packed_in
    ) p ON p.item_id = u.item_id;
    IF points.further > 0 THEN
        IF points.stay < greatest(4, 3 * coalesce(fitted_map.perplexity, 0)) THEN
            RAISE EXCEPTION USING ERRCODE = 'PX112',
                MESSAGE = format('Of the items of map %L, %s are left: too few to place others among them', map, points.stay),
                HINT = format('Make it again: SELECT * FROM pix.fit_map(%L, %L, %L);', map, fitted_map.model_name, fitted_map.algorithm);
        END IF;
        laid_out := pix_internal.lay_out_further(components.coordinates, points.xs, points.ys, fitted_map.algorithm,
            fitted_map.perplexity, fitted_map.seed);
    END IF;
    DELETE FROM pix.map_points p WHERE p.map = refresh_map.map AND p.item_id NOT IN (
        SELECT u.item_id FROM unnest(components.item_ids, points.xs) u (item_id, x) WHERE u.x IS NOT NULL
    );
    IF points.further > 0 THEN
        INSERT INTO pix.map_points (item_id, map, x, y)
        SELECT u.item_id, refresh_map.map, u.x, u.y
        FROM unnest(components.item_ids, points.xs, laid_out.xs, laid_out.ys) u (item_id, known_x, x, y)
        WHERE u.known_x IS NULL;
    END IF;
    UPDATE pix.maps m SET packed_in = pack.packed_in WHERE m.map = refresh_map.map;
    RETURN points.further;
END
$$;
COMMENT ON FUNCTION pix.refresh_map IS
'Puts items that are new, or whose features have changed, on a map; the others stay where they are, and items that are deleted, or
no longer in the cluster that is shown, leave it. (On a map by t-SNE, openTSNE finds their places.)
Arguments: map.
Result: how many items were placed.
Errors: PX020 unknown model, PX030 incomparable vectors, PX060 call on segments, PX061 read-only, PX095 no features,
PX100, PX103 and PX105 a cluster that is not there any more, PX110 unknown map, PX112 a map that few of its items are
left of, PX113 a map whose model has changed.
Runs: coordinator; vectors are projected on the segments.
Example: SELECT pix.refresh_map(''boots'');';

CREATE OR REPLACE FUNCTION pix.drop_map(map text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.drop_map');
    PERFORM pix_internal.lock('maps', map);
    PERFORM pix.find_map(map);
    PERFORM pix_internal.forget('map', map, '{pix.map_points, pix.maps}');
END
$$;
COMMENT ON FUNCTION pix.drop_map IS
'Removes a map and its points.
Arguments: map.
Result: none.
Errors: PX060 call on segments, PX061 read-only, PX110 unknown map.
Runs: coordinator.
Example: SELECT pix.drop_map(''boots'');';

CREATE OR REPLACE VIEW pix.map_status AS
SELECT m.map, m.model_name, m.algorithm, m.clustering, m.cluster, m.perplexity, coalesce(n.points, 0) AS items,
    coalesce(a.added, 0) AS added, o.model_name IS NOT NULL AND o.checksum IS NOT DISTINCT FROM m.model_checksum AS usable,
    m.trustworthiness, m.seconds, m.fitted_at
FROM pix.maps m
LEFT JOIN pix.models o ON o.model_name = m.model_name
LEFT JOIN (SELECT map, count(*) AS points FROM pix.map_points GROUP BY map) n ON n.map = m.map
LEFT JOIN (
    SELECT x.map, count(*) FILTER (WHERE f.packed_in IS NULL OR f.packed_in > x.packed_in) AS added
    FROM pix.maps x JOIN pix.current_features f ON f.model_name = x.model_name WHERE x.clustering IS NULL
    GROUP BY x.map
) a ON a.map = m.map;
COMMENT ON VIEW pix.map_status IS
'Maps, and how many items they lack until pix.refresh_map (0 for maps of one cluster).';
