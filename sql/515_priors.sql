-- Priors from all users, and what is believed of tastes, for BI tools.

CREATE OR REPLACE FUNCTION pix.refresh_priors(
    clustering text DEFAULT NULL, algorithm text DEFAULT 'moments', strength_cap double precision DEFAULT 20
) RETURNS SETOF pix.arm_priors
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 25 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.refresh_priors');
    PERFORM pix_internal.check_choice('algorithm', algorithm, '{moments,likelihood}');
    PERFORM pix_internal.check_range('strength_cap', strength_cap, 0.1, 10000);
    PERFORM pix_internal.drive('priors.refresh_priors', jsonb_build_object(
        'clustering', clustering, 'algorithm', algorithm, 'strength_cap', strength_cap));
    RETURN QUERY SELECT p.* FROM pix.arm_priors p
    WHERE p.clustering = (pix.find_clustering(refresh_priors.clustering)).clustering ORDER BY p.cluster;
END
$$;
COMMENT ON FUNCTION pix.refresh_priors IS
'Fits for each cluster, upper ones of a tree too, a Beta distribution to what all users think of it: what is then expected
of a user of whom nothing is known. To be called by a job, once a day; pix.fit_clusters does so too, where there are such
priors. A cluster''s mean is pulled to that of all clusters by two votes; one that fewer than two users have voted in has the
spread of all.
Arguments: clustering (NULL: the default one, or the only one); algorithm: moments (Kleinman) or likelihood (of the
beta-binomial); strength_cap, how many votes a prior is at most worth.
Result: the rows of pix.arm_priors: alpha, beta, and likes, dislikes and users that they come from.
Errors: PX003 invalid argument, PX028 unusable setting, PX060 call on segments, PX061 read-only, PX100 unknown
clustering, PX126 no default clustering.
Runs: coordinator; the work is done on the segments.
Example: SELECT cluster, alpha / (alpha + beta) AS mean, users FROM pix.refresh_priors(''boots'');';

CREATE OR REPLACE FUNCTION pix.beta_quantile(alpha double precision, beta double precision, probability double precision)
RETURNS double precision
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE COST 1000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'priors.beta_quantile', alpha, beta, probability)$$;
COMMENT ON FUNCTION pix.beta_quantile IS
'The fraction of likes that a Beta(alpha, beta) distribution stays below with some probability.
Arguments: alpha and beta, above 0; probability, 0 to 1.
Result: a number from 0 to 1; NULL for NULLs.
Errors: PX003 invalid argument.
Runs: either.
Example: SELECT pix.beta_quantile(4, 2, 0.025) AS low, pix.beta_quantile(4, 2, 0.975) AS high;';

CREATE OR REPLACE VIEW pix.arm_posteriors AS
SELECT d.user_id, d.clustering, d.cluster, d.words, d.votes, d.likes, d.dislikes, d.alpha / (d.alpha + d.beta) AS mean,
    pix.beta_quantile(d.alpha, d.beta, 0.025) AS low, pix.beta_quantile(d.alpha, d.beta, 0.975) AS high
FROM (
    SELECT w.user_id, w.clustering, w.cluster, c.words, w.votes, w.likes, w.dislikes,
        coalesce(p.alpha, 1) + w.likes AS alpha, coalesce(p.beta, 1) + w.dislikes AS beta
    FROM (
        SELECT a.user_id, a.clustering, a.cluster, a.votes, a.likes * a.fresh AS likes, a.dislikes * a.fresh AS dislikes
        FROM (
            SELECT r.*, pix_internal.decay((SELECT pix_internal.half_life()), now() - r.as_of) AS fresh FROM pix.arms r WHERE r.votes > 0
        ) a
    ) w
    LEFT JOIN pix.clusters c ON c.clustering = w.clustering AND c.cluster = w.cluster
    LEFT JOIN pix.arm_priors p ON p.clustering = w.clustering AND p.cluster = w.cluster
) d;
COMMENT ON VIEW pix.arm_posteriors IS
'What is believed of each user''s taste for each cluster that they have voted in, for BI tools: the posterior mean of the
fraction of likes, after the pooled prior where pix.refresh_priors has made one, else a flat one, and its 95 % interval.';

CREATE OR REPLACE VIEW pix.pooled_arms AS
SELECT d.clustering, d.cluster, d.words, d.items, d.users, d.votes, d.likes, d.dislikes,
    (1 + d.likes) / (2 + d.likes + d.dislikes) AS mean,
    pix.beta_quantile(1 + d.likes, 1 + d.dislikes, 0.025) AS low, pix.beta_quantile(1 + d.likes, 1 + d.dislikes, 0.975) AS high
FROM (
    SELECT c.clustering, c.cluster, c.words, c.items, coalesce(w.users, 0) AS users, coalesce(w.votes, 0)::bigint AS votes,
        coalesce(w.likes, 0) AS likes, coalesce(w.dislikes, 0) AS dislikes
    FROM pix.clusters c
    LEFT JOIN (
        SELECT a.clustering, a.cluster, count(*) AS users, sum(a.votes) AS votes, sum(a.likes * a.fresh) AS likes,
            sum(a.dislikes * a.fresh) AS dislikes
        FROM (
            SELECT r.*, pix_internal.decay((SELECT pix_internal.half_life()), now() - r.as_of) AS fresh FROM pix.arms r WHERE r.votes > 0
        ) a
        GROUP BY a.clustering, a.cluster
    ) w ON w.clustering = c.clustering AND w.cluster = c.cluster
    WHERE c.height IS NULL
) d;
COMMENT ON VIEW pix.pooled_arms IS
'What all users together think of each cluster, for BI tools: the posterior mean of the fraction of likes, after a flat
prior, and its 95 % interval.';

CREATE OR REPLACE VIEW pix.taste_trend AS
SELECT date_trunc('week', o.voted_at) AS week, m.clustering, m.cluster, i.brand, count(*) AS votes,
    sum(greatest(o.value, 0)) AS likes, sum(greatest(-o.value, 0)) AS dislikes
FROM pix.opinions o
LEFT JOIN pix.items i ON i.item_id = o.item_id
LEFT JOIN pix.cluster_members m ON m.item_id = o.item_id
GROUP BY 1, 2, 3, 4;
COMMENT ON VIEW pix.taste_trend IS
'Likes and dislikes by week, clustering, cluster and brand, for BI tools: add up what is not asked for, and look at one
clustering at a time. Votes count for the cluster that their item is in now.';
