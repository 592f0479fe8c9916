-- What does not fit: items that are like nothing else, and users whose votes contradict what they have said otherwise.

CREATE OR REPLACE VIEW pix.item_anomalies AS
SELECT n.model_name, n.item_id, i.title, n.distance, n.mean_distance,
    (n.mean_distance - avg(n.mean_distance) OVER w) / nullif(stddev_samp(n.mean_distance) OVER w, 0) AS deviations,
    percent_rank() OVER (PARTITION BY n.model_name ORDER BY n.mean_distance) AS fraction_nearer
FROM (
    SELECT g.model_name, g.item_id, min(g.distance) AS distance, avg(g.distance) AS mean_distance
    FROM pix.neighbors g GROUP BY g.model_name, g.item_id
) n
LEFT JOIN pix.items i ON i.item_id = n.item_id
WINDOW w AS (PARTITION BY n.model_name);
COMMENT ON VIEW pix.item_anomalies IS
'How far each item is from everything, by the neighbor graph (pix.build_neighbor_graph makes it). Order by mean_distance
DESC: images that are broken, or of something else, come first.';

CREATE OR REPLACE VIEW pix.user_anomalies AS
SELECT m.user_id, m.model_name, m.algorithm, m.likes, m.dislikes, m.auc,
    cardinality(m.contradictions)::double precision / (m.likes + m.dislikes) AS contradiction_fraction, m.contradictions
FROM pix.user_models m WHERE m.auc < 0.5 OR cardinality(m.contradictions) > 0;
COMMENT ON VIEW pix.user_anomalies IS
'Users whose votes contradict their model: auc below 0.5, or votes that it gave less than 20 % without having seen them.
A hand that slipped, two people with one name, or somebody who votes at random.';
