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

CREATE OR REPLACE FUNCTION pix.fit_map(
    map text, model_name text DEFAULT NULL, algorithm text DEFAULT 'tsne', clustering text DEFAULT NULL, cluster bigint
    DEFAULT NULL, perplexity double precision DEFAULT NULL, seed bigint DEFAULT 7
) RETURNS pix.maps
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.fit_map');
    PERFORM pix_internal.check_name('map', map);
    PERFORM pix_internal.check_choice('algorithm', algorithm, pix_internal.algorithms_with('map', '{}'));
    PERFORM pix_internal.check_range('seed', seed, 0);
    IF (clustering IS NULL) <> (cluster IS NULL) THEN
        PERFORM pix_internal.refuse('clustering and cluster must be given together',
            'Give both for a map of one cluster, or none for a map of everything.');
    END IF;
    PERFORM pix_internal.drive('maps.fit_map', jsonb_build_object(
        'name', map, 'model_name', model_name, 'algorithm', algorithm, 'clustering', clustering, 'cluster', cluster,
        'perplexity', perplexity, 'seed', seed));
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
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.refresh_map');
    RETURN pix_internal.drive('maps.refresh_map', jsonb_build_object('name', map));
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
