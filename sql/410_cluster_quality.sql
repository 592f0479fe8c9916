-- How good clusters are: on their own, and against what people say the items are.

-- pix.clustering_quality.
CREATE OR REPLACE FUNCTION pix_internal.clustering_quality(
    clustering text, label_set text, OUT silhouette double precision, OUT davies_bouldin double precision,
    OUT adjusted_rand_index double precision, OUT purity double precision
)
LANGUAGE plpython3u STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_nestloop = off
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'cluster_quality.clustering_quality', clustering, label_set)$$;

CREATE OR REPLACE FUNCTION pix.clustering_quality(clustering text, label_set text DEFAULT NULL) RETURNS TABLE (
    silhouette double precision, davies_bouldin double precision, adjusted_rand_index double precision, purity double precision
)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_alone('pix.clustering_quality');
    RETURN QUERY SELECT q.* FROM pix_internal.clustering_quality(clustering, label_set) q;
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
