-- How good clusters are: on their own, and against what people say the items are.

-- How well clusters are apart.
CREATE OR REPLACE FUNCTION pix_internal.measure_quality(
    vectors bytea, labels integer[], dimensions integer[], measure text
) RETURNS double precision
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'clusters.measure_quality', vectors, labels, dimensions, measure)$$;

-- How far clusters agree with labels.
CREATE OR REPLACE FUNCTION pix_internal.compare_with_labels(
    clustering text, label_set text, OUT adjusted_rand_index double precision, OUT purity double precision
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    counts record;
    together double precision;
    by_cluster double precision;
    by_label double precision;
    pairs double precision;
    expected double precision;
BEGIN
    IF NOT EXISTS (SELECT FROM pix.labels l WHERE l.label_set = compare_with_labels.label_set) THEN
        PERFORM pix_internal.raise_no_label_set(label_set);
    END IF;
    SELECT array_agg(n.cluster) AS clusters, array_agg(n.label) AS labels, array_agg(n.items) AS items INTO counts
    FROM (
        SELECT m.cluster, l.label, count(*) AS items
        FROM pix.cluster_members m JOIN pix.labels l ON l.item_id = m.item_id
        WHERE m.clustering = compare_with_labels.clustering AND l.label_set = compare_with_labels.label_set
        GROUP BY m.cluster, l.label
    ) n;
    SELECT sum(u.items::double precision * (u.items - 1) / 2), sum(u.items)::double precision INTO together, pairs
    FROM unnest(counts.items) u (items);
    pairs := pairs * (pairs - 1) / 2;
    SELECT sum(c.items * (c.items - 1) / 2), sum(c.most) / sum(c.items) INTO by_cluster, purity FROM (
        SELECT sum(u.items)::double precision AS items, max(u.items)::double precision AS most
        FROM unnest(counts.clusters, counts.items) u (cluster, items) GROUP BY u.cluster
    ) c;
    SELECT sum(l.items * (l.items - 1) / 2) INTO by_label FROM (
        SELECT sum(u.items)::double precision AS items FROM unnest(counts.labels, counts.items) u (label, items) GROUP BY u.label
    ) l;
    expected := by_cluster * by_label / nullif(pairs, 0);
    -- Everything is in one group, or nothing is with anything else, in both: then they agree.
    adjusted_rand_index := CASE WHEN (by_cluster + by_label) / 2 = expected THEN 1
        ELSE (together - expected) / ((by_cluster + by_label) / 2 - expected) END;
END
$$;

CREATE OR REPLACE FUNCTION pix.clustering_quality(clustering text, label_set text DEFAULT NULL) RETURNS TABLE (
    silhouette double precision, davies_bouldin double precision, adjusted_rand_index double precision, purity double precision
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED ROWS 1 SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    measured pix.clusterings;
    sample record;
BEGIN
    PERFORM pix_internal.require_coordinator('pix.clustering_quality',
        'Call it alone: SELECT * FROM pix.clustering_quality(…);');
    measured := pix.find_clustering(clustering);
    PERFORM pix_internal.check_clustering(measured);
    SELECT string_agg(s.vector, ''::bytea ORDER BY s.item_id) AS vectors, array_agg(s.cluster ORDER BY s.item_id) AS labels
    INTO sample FROM (
        SELECT m.item_id, m.cluster, f.vector
        FROM pix.cluster_members m JOIN pix.features f ON f.item_id = m.item_id AND f.model_name = measured.model_name
        WHERE m.clustering = measured.clustering
        ORDER BY md5(m.item_id), m.item_id LIMIT 5000
    ) s;
    IF sample.vectors IS NOT NULL THEN
        silhouette := pix_internal.measure_quality(sample.vectors, sample.labels, measured.dimensions, 'silhouette');
        davies_bouldin := pix_internal.measure_quality(sample.vectors, sample.labels, measured.dimensions, 'davies_bouldin');
    END IF;
    IF label_set IS NOT NULL THEN
        SELECT c.* INTO adjusted_rand_index, purity FROM pix_internal.compare_with_labels(clustering, label_set) c;
    END IF;
    RETURN NEXT;
END
$$;
COMMENT ON FUNCTION pix.clustering_quality IS
'How good clusters are, on their own and against labels. On their own it is measured on 5,000 items at random where there are
more, the same ones each time, in the dimensions that the clustering looks at; of a tree, the lowest level counts.
Arguments: clustering; label_set, of pix.labels (NULL: no comparison).
Result: one row: silhouette, how much nearer items are to others of their cluster than to those of the next one, from -1 to 1,
the larger the better (Rousseeuw 1987); davies_bouldin, how wide clusters are compared to the distances between them, the smaller
the better (Davies and Bouldin 1979); adjusted_rand_index, 1 if clusters and labels are the same groups, about 0 if they have
nothing to do with one another (Hubert and Arabie 1985); purity, the fraction of items that have the most frequent label of
their cluster, which grows with the number of clusters. NULL where there is nothing to measure.
Errors: PX060 call on segments, PX071 unknown label set, PX100 unknown clustering, PX103 clustering of a changed model.
Runs: coordinator.
Example: SELECT silhouette, purity FROM pix.clustering_quality(''boots'', ''heel'');';
