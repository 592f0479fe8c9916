-- The bandit: clusters are its arms. A policy chooses the cluster by what the user, and all users, think of each; and in it the
-- item is the one that the user may like best. What was shown, and how probable that was, is logged.

CREATE OR REPLACE FUNCTION pix.set_default_clustering(clustering text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.set_default_clustering');
    PERFORM pix_internal.check_name('clustering', clustering);
    PERFORM pix.find_clustering(clustering);
    DELETE FROM pix.settings s WHERE s.key = 'default_clustering';
    INSERT INTO pix.settings (key, value) VALUES ('default_clustering', clustering);
END
$$;
COMMENT ON FUNCTION pix.set_default_clustering IS
'Chooses the clustering whose clusters are suggested from where none is named. With a single clustering there is no need to.
Arguments: clustering.
Result: none.
Errors: PX060 call on segments, PX061 read-only, PX100 unknown clustering.
Runs: coordinator.
Example: SELECT pix.set_default_clustering(''boots'');';

-- Refuses a policy that is not known.
CREATE OR REPLACE FUNCTION pix_internal.check_policy(policy text) RETURNS void
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'bandit.check_policy', policy)$$;


-- The prior that is meant, if there is such a one; NULL: pooled, where there is, else flat.
CREATE OR REPLACE FUNCTION pix_internal.check_prior(prior text, clustering pix.clusterings) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    is_pooled boolean;
BEGIN
    IF prior IS NOT NULL THEN
        PERFORM pix_internal.check_choice('prior', prior, ARRAY['flat', 'pooled', 'tree']);
    END IF;
    IF prior = 'tree' AND clustering.algorithm <> ALL (pix_internal.algorithms_with('clustering', '{is_tree}')) THEN
        PERFORM pix_internal.refuse(format('Clustering %L is flat', clustering.clustering),
            'Fit it with algorithm => ''ward'' to choose the branch before the leaf, or use prior => ''pooled''.');
    END IF;
    IF prior IN ('flat', 'tree') THEN
        RETURN prior;
    END IF;
    SELECT EXISTS (SELECT FROM pix.arm_priors p WHERE p.clustering = check_prior.clustering.clustering) INTO is_pooled;
    IF prior = 'pooled' AND NOT is_pooled THEN
        PERFORM pix_internal.refuse(format('Clustering %L has no pooled priors', clustering.clustering),
            format('SELECT * FROM pix.refresh_priors(%L); or use prior => ''flat''.', clustering.clustering));
    END IF;
    RETURN CASE WHEN is_pooled THEN 'pooled' ELSE 'flat' END;
END
$$;

-- pix.next_items, by the owner's rights.
CREATE OR REPLACE FUNCTION pix_internal.suggest_items(
    user_id text, k bigint, policy text, clustering text, prior text, again_after interval, seed bigint
) RETURNS SETOF pix.suggestion
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    used_policy text := coalesce(policy, 'thompson');
BEGIN
    PERFORM pix_internal.check_call('pix.next_items');
    PERFORM pix_internal.require_read_committed();
    PERFORM pix_internal.check_user(user_id);
    PERFORM pix_internal.check_range('k', k, 1, 1000);
    PERFORM pix_internal.check_range('seed', coalesce(seed, 0), 0);
    IF again_after IS NULL OR NOT again_after BETWEEN interval '0' AND interval '1000 years' THEN
        PERFORM pix_internal.refuse(format('again_after must be from 0 to 1,000 years, not %s', coalesce(again_after::text, 'NULL')),
            'Give the time before an item may be shown again: again_after => ''1 day''.');
    END IF;
    PERFORM pix_internal.check_policy(used_policy);
    PERFORM pix_internal.use_planner();
    PERFORM pix_internal.count_votes();
    PERFORM pix_internal.lock_user(user_id);
    RETURN QUERY SELECT s.* FROM jsonb_populate_recordset(NULL::pix.suggestion, pix_internal.answer('bandit.suggest',
        jsonb_build_object('user_id', user_id, 'k', k, 'policy', used_policy, 'clustering', clustering, 'prior', prior,
            'again_after', again_after, 'seed', seed))) s;
END
$$;

CREATE OR REPLACE FUNCTION pix.next_items(
    user_id text, k bigint DEFAULT 10, policy text DEFAULT NULL, clustering text DEFAULT NULL, prior text DEFAULT NULL,
    again_after interval DEFAULT '1 day', seed bigint DEFAULT NULL
) RETURNS SETOF pix.suggestion
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 10 SET search_path = pg_catalog, pg_temp
AS $$SELECT s.* FROM pix_internal.suggest_items(user_id, k, policy, clustering, prior, again_after, seed) s$$;
COMMENT ON FUNCTION pix.next_items IS
'A page of items that a user has not seen: for each, a policy chooses the cluster, none again before all others had their turn,
and in the cluster it is the item that the user''s model likes best, which has seen all their votes; for somebody without
votes, the one that users like on the whole (where pix.fit_common_taste was called), or one that is typical of the cluster.
All are logged in pix.impressions.
Arguments: user_id, created if it is new; k, how many, up to 1,000; policy, one of pix.algorithms(''policy'') (NULL:
thompson); clustering (NULL: the default
one, or the only one); prior: flat, pooled (as pix.refresh_priors left it) or tree (the branch of a tree of clusters, then the
leaf); NULL: pooled where there is such a one, else flat; again_after, when an item that was shown and not answered may be
shown again; random seed (NULL: a new one each time).
Result: rank, item_id, clustering, cluster, policy, propensity (how probable the cluster was, given those before it on the
page) and its standard error (0 but for thompson, which is simulated with 1,000 draws), score (by the model, as in
pix.recommend; without votes, the cosine to the cluster''s center), reason in words, impression_id. Fewer rows if fewer items
are left.
Errors: PX003 invalid argument, PX024 unusable cache folder, PX028 unusable setting, PX060 call on segments, PX061
read-only, PX063 votes in a transaction that does not end, PX094 a damaged block, PX095 no packed features, PX100
unknown clustering, or none, PX103 clustering of a changed model, PX126 no default clustering,
PX130 isolation above READ COMMITTED, PX132 model of earlier features.
Runs: coordinator.
Example: SELECT * FROM pix.next_items(''ann'', 6, clustering => ''boots'');';

CREATE OR REPLACE FUNCTION pix.next_item(
    user_id text, policy text DEFAULT NULL, clustering text DEFAULT NULL, prior text DEFAULT NULL,
    again_after interval DEFAULT '1 day', seed bigint DEFAULT NULL
) RETURNS SETOF pix.suggestion
LANGUAGE sql VOLATILE PARALLEL UNSAFE ROWS 1 SET search_path = pg_catalog, pg_temp
AS $$SELECT s.* FROM pix_internal.suggest_items(user_id, 1, policy, clustering, prior, again_after, seed) s$$;
COMMENT ON FUNCTION pix.next_item IS
'The item to show a user next: pix.next_items for a single one.
Arguments: as for pix.next_items.
Result: as for pix.next_items; no row if no item is left.
Errors: those of pix.next_items.
Runs: coordinator.
Example: SELECT item_id, cluster, propensity, reason FROM pix.next_item(''ann'', clustering => ''boots'');';
