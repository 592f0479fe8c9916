-- What a policy would have been worth, from the log of others: nobody has to be shown anything for it.

-- The values of policies by each estimator.
CREATE OR REPLACE FUNCTION pix_internal.off_policy_values(
    policies text[], users integer[], arms integer[], "values" double precision[], propensities double precision[],
    exhausted text[], alpha double precision[], beta double precision[], seed bigint
) RETURNS pix.policy_value[]
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'off_policy.off_policy_values', policies, users, arms, values, propensities, exhausted, alpha, beta, seed)$$;

-- What was last said of each suggestion, and of items that were found otherwise.
CREATE OR REPLACE VIEW pix_internal.last_said AS
SELECT DISTINCT ON (n.user_id, n.item_id, n.impression_id, CASE WHEN n.impression_id IS NULL THEN n.vote_id END)
    n.user_id, n.item_id, n.vote_id, n.voted_at, n.value, n.impression_id, n.policy, n.clustering, n.cluster,
    n.propensity
FROM (
    SELECT w.*, w.signal IN ('like', 'dislike') AS is_said,
        max(w.voted_at) FILTER (WHERE w.signal = 'undo') OVER (PARTITION BY w.user_id, w.item_id) AS undone_at
    FROM pix.interactions w
) n
WHERE n.undone_at IS NULL OR n.voted_at > n.undone_at
ORDER BY n.user_id, n.item_id, n.impression_id, CASE WHEN n.impression_id IS NULL THEN n.vote_id END,
    n.is_said DESC, n.signal = 'skip', CASE WHEN n.is_said THEN 0 ELSE abs(n.value) END DESC, n.voted_at DESC, n.vote_id DESC;

-- pix.compare_policies as an array.
CREATE OR REPLACE FUNCTION pix_internal.compare_policies(
    policies text[], from_log text, clustering text, prior text, seed bigint
) RETURNS pix.policy_value[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    chosen_clustering pix.clusterings;
    used_prior text;
    leaves record;
    logged record;
    one text;
BEGIN
    PERFORM pix_internal.require_coordinator('pix.compare_policies', 'Give it values where its result is joined or stored.');
    PERFORM pix_internal.check_range('seed', seed, 0);
    policies := coalesce(policies, pix_internal.algorithms_with('policy', '{}'));
    PERFORM pix_internal.check_list('policies', policies);
    IF cardinality(policies) = 0 THEN
        PERFORM pix_internal.refuse('policies must be at least one', 'Leave it out to compare all of them.');
    END IF;
    FOREACH one IN ARRAY policies LOOP
        PERFORM pix_internal.check_policy(one);
    END LOOP;
    chosen_clustering := pix.find_clustering(clustering);
    PERFORM pix_internal.check_choice('prior', coalesce(prior, 'flat'), '{flat,pooled}');  -- a log does not say how branches were chosen
    used_prior := pix_internal.check_prior(prior, chosen_clustering);
    SELECT array_agg(c.cluster ORDER BY c.cluster) AS clusters, array_agg(coalesce(p.alpha, 1) ORDER BY c.cluster) AS alpha,
        array_agg(coalesce(p.beta, 1) ORDER BY c.cluster) AS beta
    INTO leaves FROM pix.clusters c
    LEFT JOIN pix.arm_priors p ON p.clustering = c.clustering AND p.cluster = c.cluster AND used_prior = 'pooled'
    WHERE c.clustering = chosen_clustering.clustering AND c.height IS NULL;
    -- What was said of each suggestion; and, for what is known of the user by then, of items that were found otherwise.
    SELECT array_agg(d.person ORDER BY d.person, d.voted_at, d.vote_id) AS users,
        array_agg(d.arm ORDER BY d.person, d.voted_at, d.vote_id) AS arms,
        array_agg(d.value ORDER BY d.person, d.voted_at, d.vote_id) AS values,
        array_agg(CASE WHEN d.is_event THEN d.propensity END ORDER BY d.person, d.voted_at, d.vote_id) AS propensities,
        array_agg(d.exhausted ORDER BY d.person, d.voted_at, d.vote_id) AS exhausted,
        count(*) FILTER (WHERE d.is_event) AS events,
        count(*) FILTER (WHERE d.is_event AND coalesce(d.propensity, 0) < 1e-6) AS bad,
        min(d.item_id) FILTER (WHERE d.is_event AND coalesce(d.propensity, 0) < 1e-6) AS bad_item
    INTO logged FROM (
        SELECT dense_rank() OVER (ORDER BY s.user_id)::integer AS person, s.voted_at, s.vote_id, s.item_id, s.value,
            array_position(leaves.clusters, CASE WHEN e.is_event THEN s.cluster ELSE m.cluster END) AS arm,
            e.is_event, s.propensity, ARRAY(
                SELECT array_position(leaves.clusters, x.cluster) FROM unnest(h.exhausted) x (cluster)
                WHERE e.is_event AND array_position(leaves.clusters, x.cluster) IS NOT NULL
            )::text AS exhausted
        FROM pix_internal.last_said s
        LEFT JOIN pix.impressions h ON h.user_id = s.user_id AND h.impression_id = s.impression_id
        CROSS JOIN LATERAL (
            -- On a page, only the first choice was free to take any cluster.
            SELECT s.policy IS NOT NULL AND s.clustering IS NOT DISTINCT FROM chosen_clustering.clustering
                AND (from_log IS NULL OR s.policy = from_log) AND coalesce(h.rank, 1) = 1
                AND coalesce(h.shown_at >= chosen_clustering.fitted_at, true) AS is_event  -- before, clusters were others
        ) e
        LEFT JOIN pix.cluster_members m ON m.item_id = s.item_id AND m.clustering = chosen_clustering.clustering
    ) d
    WHERE d.arm IS NOT NULL;
    IF logged.events = 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX127',
            MESSAGE = format('The log has no votes on suggestions%s from clustering %L',
                CASE WHEN from_log IS NULL THEN '' ELSE format(' of policy %L', from_log) END, chosen_clustering.clustering),
            HINT = coalesce((
                SELECT 'It has some of: ' || string_agg(DISTINCT n.policy, ', ') FROM pix.interactions n
                WHERE n.clustering = chosen_clustering.clustering AND n.policy IS NOT NULL
            ), 'Suggest items with pix.next_item, and log what users think of them with pix.vote.');
    END IF;
    IF logged.bad > 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX127',
            MESSAGE = format('%s of %s votes have no propensity, or one near 0, such as that on item %L', logged.bad, logged.events, logged.bad_item),
            HINT = 'Nothing can be said without: name a policy whose propensities were logged, such as from_log => ''thompson''.';
    END IF;
    RETURN pix_internal.off_policy_values(policies, logged.users, logged.arms, logged.values, logged.propensities,
        logged.exhausted, leaves.alpha, leaves.beta, seed);
END
$$;

CREATE OR REPLACE FUNCTION pix.compare_policies(
    policies text[] DEFAULT NULL, from_log text DEFAULT NULL,
    clustering text DEFAULT NULL, prior text DEFAULT 'flat', seed bigint DEFAULT 7
) RETURNS SETOF pix.policy_value
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 24 AS $$
SELECT n.policy, n.estimator, n.value, n.standard_error, n.low, n.high, n.effective_sample_size, n.mean_weight, n.events, n.users
FROM pix_internal.unnest(pix_internal.compare_policies(policies, from_log, clustering, prior, seed)) n
$$;
COMMENT ON FUNCTION pix.compare_policies IS
'Estimates what a policy would be worth, from votes on suggestions of others: for every such vote, it is asked how probable the
cluster would have been to it, knowing the votes that the user had cast by then. The value is the mean of likes (1; other
signals by their value, dislikes 0) per suggestion.
Arguments: policies, one or many of pix.algorithms(''policy'') (NULL: all); from_log, the policy whose suggestions are looked at (NULL: all);
clustering (NULL: the default one, or the only one); prior: flat or pooled (which comes from the same votes: values are then
somewhat too high); random seed.
Result: a row for each policy and estimator: replay (votes are kept in proportion to how much more probable they would have
been), ips (inverse propensity scores), snips (self-normalized), dr (doubly robust, with the posterior means as its model);
value, its standard error, and the 95 % confidence interval from low to high, users being independent; effective_sample_size,
how many votes by the policy itself would tell as much; mean_weight, which is 1 but for chance if the log has some of
everything that the policy would do: if it is far below, the estimates are of no use; events and users that they come from. Of
a page only the first item counts, because the others'' clusters were not chosen freely; suggestions from before the
clustering was last fitted, and from clusters that are not there any more, are left out.
Errors: PX003 invalid argument, PX060 call on segments, PX100 unknown clustering, PX126 no default
clustering, PX127 a log without suggestions, or with propensities that are missing or below a millionth.
Runs: coordinator; on Greenplum with values for arguments. A vote takes some 10 µs, for thompson 300 µs, and it cannot be
canceled.
Example: SELECT policy, value, low, high FROM pix.compare_policies(clustering => ''boots'') WHERE estimator = ''dr'' ORDER BY value DESC;';
