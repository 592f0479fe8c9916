-- How good clusters are: on their own, and against what people say the items are.

CREATE OR REPLACE FUNCTION pix._quality(
    vectors bytea, labels integer[], dimensions integer[], measure text
) RETURNS double precision
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
from pixelplum.server import call
return call(plpy, GD, '@VERSION@', 'clusters.quality', vectors, labels, dimensions, measure)
$$;
COMMENT ON FUNCTION pix._quality(bytea, integer[], integer[], text) IS
'Internal: how well clusters are apart. Errors: PX030. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._quality(bytea, integer[], integer[], text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._quality(bytea, integer[], integer[], text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._measure_clusters(function text, clustering text, measure text) RETURNS double precision
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
AS $$
DECLARE
    known pix.clusterings;
    drawn record;
BEGIN
    PERFORM pix._require_coordinator(function, format('Call it alone: SELECT %s(…)', function));
    known := pix._find_clustering(clustering);
    PERFORM pix._check_clustering(known);
    SELECT string_agg(s.vector, ''::bytea ORDER BY s.item_id) AS vectors, array_agg(s.cluster ORDER BY s.item_id) AS labels
    INTO drawn
    FROM (
        SELECT m.item_id, m.cluster, f.vector
        FROM pix.cluster_members m JOIN pix.features f ON f.item_id = m.item_id AND f.model_name = known.model_name
        WHERE m.clustering = _measure_clusters.clustering
        ORDER BY md5(m.item_id), m.item_id LIMIT 5000
    ) s;
    IF drawn.vectors IS NULL THEN
        RETURN NULL;
    END IF;
    RETURN pix._quality(drawn.vectors, drawn.labels, known.dimensions, measure);
END
$$;
COMMENT ON FUNCTION pix._measure_clusters(text, text, text) IS
'Internal: measures a clustering on a sample of its items. Errors: PX060, PX100, PX103. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._measure_clusters(text, text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._measure_clusters(text, text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.silhouette(clustering text) RETURNS double precision
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN pix._measure_clusters('pix.silhouette', clustering, 'silhouette');
END
$$;
COMMENT ON FUNCTION pix.silhouette(text) IS
'How much nearer items are to others of their cluster than to those of the next one: from -1 to 1, the larger the
better. (Rousseeuw 1987.)
Measured on 5,000 of its items at random where there are more, the same ones each time, in the dimensions that it looks at.
Arguments: clustering; of a hierarchical one, the lowest level counts.
Result: the measure; 0 where nothing can be compared, NULL where no items are left.
Errors: PX060 a call as a part of a larger query on a cluster, PX100 unknown clustering, PX103 a clustering whose model has
changed.
Runs: coordinator.
Example: SELECT pix.silhouette(''boots'');';
REVOKE ALL ON FUNCTION pix.silhouette(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.silhouette(text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.davies_bouldin(clustering text) RETURNS double precision
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
BEGIN
    RETURN pix._measure_clusters('pix.davies_bouldin', clustering, 'davies_bouldin');
END
$$;
COMMENT ON FUNCTION pix.davies_bouldin(text) IS
'How wide clusters are, compared to how far they are apart: the smaller the better, 0 at best. (Davies and Bouldin 1979.)
Measured on 5,000 of its items at random where there are more, the same ones each time, in the dimensions that it looks at.
Arguments: clustering; of a hierarchical one, the lowest level counts.
Result: the measure; NULL where nothing can be compared, NULL where no items are left.
Errors: PX060 a call as a part of a larger query on a cluster, PX100 unknown clustering, PX103 a clustering whose model has
changed.
Runs: coordinator.
Example: SELECT pix.davies_bouldin(''boots'');';
REVOKE ALL ON FUNCTION pix.davies_bouldin(text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.davies_bouldin(text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix._contingency(
    function text, clustering text, label_set text, OUT clusters integer[], OUT labels text[], OUT items bigint[]
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
SET enable_nestloop = off
AS $$
BEGIN
    PERFORM pix._require_coordinator(function, format('Call it alone: SELECT %s(…)', function));
    PERFORM pix._find_clustering(clustering);
    IF NOT EXISTS (SELECT FROM pix.labels l WHERE l.label_set = _contingency.label_set) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX071',
            MESSAGE = format('There is no label set %s', coalesce(quote_literal(label_set), 'NULL')),
            HINT = 'SELECT DISTINCT label_set FROM pix.labels lists the label sets; pix load labels adds one.';
    END IF;
    SELECT array_agg(n.cluster), array_agg(n.label), array_agg(n.items) INTO clusters, labels, items
    FROM (
        SELECT m.cluster, l.label, count(*) AS items
        FROM pix.cluster_members m JOIN pix.labels l ON l.item_id = m.item_id
        WHERE m.clustering = _contingency.clustering AND l.label_set = _contingency.label_set
        GROUP BY m.cluster, l.label
    ) n;
END
$$;
COMMENT ON FUNCTION pix._contingency(text, text, text) IS
'Internal: how many items each cluster has of each label. Errors: PX060, PX071, PX100. Runs: coordinator.';
REVOKE ALL ON FUNCTION pix._contingency(text, text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix._contingency(text, text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.adjusted_rand_index(clustering text, label_set text) RETURNS double precision
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    counted record := pix._contingency('pix.adjusted_rand_index', clustering, label_set);
    together double precision;
    by_cluster double precision;
    by_label double precision;
    pairs double precision;
    expected double precision;
BEGIN
    SELECT sum(u.items::double precision * (u.items - 1) / 2), sum(u.items)::double precision INTO together, pairs
    FROM unnest(counted.items) u (items);
    pairs := pairs * (pairs - 1) / 2;
    SELECT sum(c.items * (c.items - 1) / 2) INTO by_cluster FROM (
        SELECT sum(u.items)::double precision AS items FROM unnest(counted.clusters, counted.items) u (cluster, items)
        GROUP BY u.cluster
    ) c;
    SELECT sum(l.items * (l.items - 1) / 2) INTO by_label FROM (
        SELECT sum(u.items)::double precision AS items FROM unnest(counted.labels, counted.items) u (label, items)
        GROUP BY u.label
    ) l;
    expected := by_cluster * by_label / nullif(pairs, 0);
    IF (by_cluster + by_label) / 2 = expected THEN
        RETURN 1;  -- everything is in one group, or nothing is with anything else, in both
    END IF;
    RETURN (together - expected) / ((by_cluster + by_label) / 2 - expected);
END
$$;
COMMENT ON FUNCTION pix.adjusted_rand_index(text, text) IS
'How far clusters agree with labels: 1 if they are the same groups, about 0 if they have nothing to do with one another.
(Hubert and Arabie 1985.)
Arguments: clustering; of a hierarchical one, the lowest level counts; label_set, of pix.labels.
Result: the index, over items that have a label and a cluster; NULL if there are fewer than two.
Errors: PX060 a call as a part of a larger query on a cluster, PX071 unknown label set, PX100 unknown clustering.
Runs: coordinator.
Example: SELECT pix.adjusted_rand_index(''boots'', ''heel'');';
REVOKE ALL ON FUNCTION pix.adjusted_rand_index(text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.adjusted_rand_index(text, text) TO pix_reader;

CREATE OR REPLACE FUNCTION pix.purity(clustering text, label_set text) RETURNS double precision
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED
SET search_path = pg_catalog, pg_temp
AS $$
DECLARE
    counted record := pix._contingency('pix.purity', clustering, label_set);
    share double precision;
BEGIN
    SELECT sum(c.most)::double precision / sum(c.items) INTO share FROM (
        SELECT max(u.items) AS most, sum(u.items) AS items
        FROM unnest(counted.clusters, counted.items) u (cluster, items) GROUP BY u.cluster
    ) c;
    RETURN share;
END
$$;
COMMENT ON FUNCTION pix.purity(text, text) IS
'The share of items that have the most frequent label of their cluster: 1 if no cluster mixes labels. It grows with the
number of clusters: compare clusterings of as many.
Arguments: clustering; of a hierarchical one, the lowest level counts; label_set, of pix.labels.
Result: the share, over items that have a label and a cluster; NULL if there are none.
Errors: PX060 a call as a part of a larger query on a cluster, PX071 unknown label set, PX100 unknown clustering.
Runs: coordinator.
Example: SELECT pix.purity(''boots'', ''heel'');';
REVOKE ALL ON FUNCTION pix.purity(text, text) FROM PUBLIC, pix_reader, pix_app, pix_admin;
GRANT EXECUTE ON FUNCTION pix.purity(text, text) TO pix_reader;
