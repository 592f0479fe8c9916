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

-- Chooses clusters, and tells how probable each choice was.
CREATE OR REPLACE FUNCTION pix_internal.choose_clusters(
    policy text, all_clusters integer[], parents integer[], alpha double precision[], beta double precision[],
    likes double precision[], dislikes double precision[], free integer[], count bigint, seed bigint,
    OUT clusters integer[], OUT propensities double precision[], OUT errors double precision[]
)
LANGUAGE plpython3u VOLATILE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'bandit.choose_clusters', policy, all_clusters, parents, alpha, beta, likes, dislikes, free, count, seed)$$;

-- Keeps in this backend which vectors belong to which cluster.
CREATE OR REPLACE FUNCTION pix_internal.keep_members(key text, clusters integer[], blocks integer[], positions integer[]) RETURNS void
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'bandit.keep_members', key, clusters, blocks, positions)$$;

-- Maps the blocks of a model, and which of their vectors belong to which cluster.
CREATE OR REPLACE FUNCTION pix_internal.open_members(key text, clustering text, pack pix_internal.packs) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    listed record;
BEGIN
    PERFORM pix_internal.open_blocks(pack.model_name);
    SELECT coalesce(array_agg(m.cluster), '{}') AS clusters, coalesce(array_agg(f.block), '{}') AS blocks,
        coalesce(array_agg(f.position), '{}') AS positions
    INTO listed FROM pix.cluster_members m JOIN pix.features f ON f.item_id = m.item_id
    WHERE m.clustering = open_members.clustering AND f.model_name = pack.model_name AND f.packed_in <= pack.packed_in;
    PERFORM pix_internal.keep_members(key, listed.clusters, listed.blocks, listed.positions);
END
$$;

-- The items of some clusters that a user may like best, and which liked item each is most like; NULL if this backend has not
-- mapped what is to be searched.
CREATE OR REPLACE FUNCTION pix_internal.best_in_clusters(
    key text, sketch_key text, wanted integer[], counts integer[], centers bytea, dimensions integer[],
    voted pix_internal.user_votes, excluded text[], described text, content bytea,
    OUT clusters integer[], OUT item_ids text[], OUT scores double precision[], OUT nearest text[]
)
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'bandit.best_in_clusters', key, sketch_key, wanted, counts, centers, dimensions, voted, excluded, described, content)$$;

-- What pix.next_items shows, and which clusters have nothing left to show; and the user's model, which may be a new one.
-- Being stable, it sees clusters, votes, models and blocks of the same moment.
CREATE OR REPLACE FUNCTION pix_internal.suggestions_now(
    user_id text, k bigint, policy text, clustering text, prior text, again_after interval, seed bigint,
    OUT trained pix.user_models, OUT known_at timestamptz, OUT is_new boolean, OUT page pix.suggestion[], OUT exhausted integer[],
    OUT used_prior text
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    chosen_clustering pix.clusterings := pix.find_clustering(clustering);
    pack pix_internal.packs;
    model pix.models;
    sketch pix.indexes;
    key text;
    half_life double precision := pix_internal.half_life();
    seen text[];
    votes pix_internal.user_votes;
    fitted record;
    used pix_internal.fitted_model;
    nodes record;
    free integer[];
    chosen record;
    wanted record;
    voted pix_internal.user_votes;
    candidate record;
    passed record;
    short record;
    was_opened boolean := false;
    is_chosen boolean := false;
    more integer := 4;
BEGIN
    PERFORM pix_internal.check_clustering(chosen_clustering);
    used_prior := pix_internal.check_prior(prior, chosen_clustering);
    model := pix.find_model(chosen_clustering.model_name);
    pack := pix_internal.find_pack(model);
    key := format('members %s %s %s %s', chosen_clustering.clustering, chosen_clustering.fitted_at, chosen_clustering.packed_in, pack.checksum);

    -- An index of principal components, of the very same blocks, tells quickly what to look at closely.
    SELECT i.* INTO sketch FROM pix.indexes i
    WHERE i.model_name = chosen_clustering.model_name AND i.model_checksum IS NOT DISTINCT FROM chosen_clustering.model_checksum
        AND i.algorithm = 'exact' AND i.metric = 'cosine' AND i.project_to IS NOT NULL AND i.packed_in = pack.packed_in
    ORDER BY i.project_to, i.index_name LIMIT 1;

    SELECT coalesce(array_agg(s.item_id), '{}') INTO seen FROM (
        SELECT o.item_id FROM pix.opinions o WHERE o.user_id = suggestions_now.user_id AND o.signal <> 'skip'
        UNION ALL
        SELECT h.item_id FROM pix.impressions h
        WHERE h.user_id = suggestions_now.user_id AND h.shown_at > clock_timestamp() - again_after
    ) s;
    SELECT array_agg(c.cluster ORDER BY c.cluster) AS clusters,
        array_agg(CASE WHEN used_prior = 'tree' THEN c.parent END ORDER BY c.cluster) AS parents,
        array_agg(coalesce(p.alpha, 1) ORDER BY c.cluster) AS alpha, array_agg(coalesce(p.beta, 1) ORDER BY c.cluster) AS beta,
        array_agg(coalesce(a.likes * pix_internal.decay(half_life, clock_timestamp() - a.as_of), 0) ORDER BY c.cluster) AS likes,
        array_agg(coalesce(a.dislikes * pix_internal.decay(half_life, clock_timestamp() - a.as_of), 0) ORDER BY c.cluster) AS dislikes,
        array_agg(c.items::integer ORDER BY c.cluster) AS free,
        coalesce(min(c.items) FILTER (WHERE c.height IS NULL), 0) AS smallest
    INTO nodes FROM pix.clusters c
    LEFT JOIN pix.arm_priors p ON p.clustering = c.clustering AND p.cluster = c.cluster AND used_prior <> 'flat'
    LEFT JOIN pix.arms a ON a.user_id = suggestions_now.user_id AND a.clustering = c.clustering AND a.cluster = c.cluster
    WHERE c.clustering = chosen_clustering.clustering AND (c.height IS NULL OR used_prior = 'tree');
    free := nodes.free;
    IF nodes.smallest <= cardinality(seen) THEN
        SELECT array_agg(n.items - coalesce(s.seen, 0)::integer ORDER BY n.ordinal) INTO free
        FROM unnest(nodes.clusters, nodes.free) WITH ORDINALITY n (cluster, items, ordinal)
        LEFT JOIN (
            SELECT m.cluster, count(*) AS seen FROM pix.cluster_members m
            WHERE m.clustering = chosen_clustering.clustering AND m.item_id = ANY (seen) GROUP BY m.cluster
        ) s ON s.cluster = n.cluster;
    END IF;
    votes := pix_internal.votes_of_user(user_id, model);
    SELECT c.* INTO fitted FROM pix_internal.current_user_model(user_id, model, NULL, NULL, false, votes) c;
    trained := fitted.current;
    known_at := fitted.known_at;
    is_new := fitted.is_new;
    SELECT votes.item_ids[1:200], votes.blocks[1:200], votes.positions[1:200], votes.vals[1:200], NULL, NULL, NULL, pack.checksum, NULL
    INTO voted;
    used.described := trained.described::text;
    used.content := trained.content;
    IF trained.user_id IS NULL AND pix_internal.common_taste_version(model) IS NOT NULL THEN
        used := pix_internal.pooled_model(model, pack);
    END IF;

    LOOP
        IF NOT is_chosen THEN
            chosen := pix_internal.choose_clusters(policy, nodes.clusters, nodes.parents, nodes.alpha, nodes.beta,
                nodes.likes, nodes.dislikes, free, k, seed);
            IF cardinality(chosen.clusters) = 0 THEN
                RETURN;
            END IF;
            is_chosen := true;
        END IF;
        SELECT array_agg(w.cluster ORDER BY w.cluster) AS clusters, array_agg(w.times::integer ORDER BY w.cluster) AS times,
            string_agg(c.center, ''::bytea ORDER BY w.cluster) AS centers
        INTO wanted
        FROM (SELECT u.cluster, count(*) AS times FROM unnest(chosen.clusters) u (cluster) GROUP BY u.cluster) w
        JOIN pix.clusters c ON c.clustering = chosen_clustering.clustering AND c.cluster = w.cluster;
        -- A few more than are wanted: some may be gone, or look different now.
        SELECT b.* INTO candidate FROM pix_internal.best_in_clusters(
            key, sketch.state_checksum, wanted.clusters, ARRAY(SELECT t + more FROM unnest(wanted.times) t),
            wanted.centers, chosen_clustering.dimensions, voted, seen, used.described, used.content
        ) b;
        IF candidate.item_ids IS NULL THEN
            IF was_opened THEN
                PERFORM pix_internal.raise_files_vanish();
            END IF;
            PERFORM pix_internal.open_members(key, chosen_clustering.clustering, pack);
            IF sketch.index_name IS NOT NULL THEN
                PERFORM pix_internal.open_index(sketch.index_name);
            END IF;
            was_opened := true;
            CONTINUE;
        END IF;
        SELECT array_agg(p.cluster ORDER BY p.ordinal) AS clusters, array_agg(p.item_id ORDER BY p.ordinal) AS item_ids,
            array_agg(p.score ORDER BY p.ordinal) AS scores, array_agg(p.nearest ORDER BY p.ordinal) AS nearest
        INTO passed FROM unnest(candidate.clusters, candidate.item_ids, candidate.scores, candidate.nearest)
            WITH ORDINALITY p (cluster, item_id, score, nearest, ordinal)
        JOIN pix.cluster_members m
            ON m.item_id = p.item_id AND m.clustering = chosen_clustering.clustering AND m.cluster = p.cluster
        JOIN pix.items i ON i.item_id = p.item_id
        JOIN pix.current_features f ON f.item_id = p.item_id AND f.model_name = chosen_clustering.model_name;
        SELECT array_agg(w.cluster) AS clusters, array_agg(coalesce(g.got, 0)::integer) AS got,
            bool_or(coalesce(c.found, 0) = w.times + more) AS has_more
        INTO short FROM unnest(wanted.clusters, wanted.times) w (cluster, times)
        LEFT JOIN (SELECT u.cluster, count(*) AS got FROM unnest(passed.clusters) u (cluster) GROUP BY u.cluster) g
            ON g.cluster = w.cluster
        LEFT JOIN (SELECT u.cluster, count(*) AS found FROM unnest(candidate.clusters) u (cluster) GROUP BY u.cluster) c
            ON c.cluster = w.cluster
        WHERE coalesce(g.got, 0) < w.times;
        EXIT WHEN short.clusters IS NULL;
        IF short.has_more THEN
            more := 16 * more;
            CONTINUE;
        END IF;
        -- A cluster has fewer items than it was taken to have: choose again, knowing that.
        is_chosen := false;
        SELECT array_agg(coalesce(s.got, n.items) ORDER BY n.ordinal) INTO free
        FROM unnest(nodes.clusters, free) WITH ORDINALITY n (cluster, items, ordinal)
        LEFT JOIN unnest(short.clusters, short.got) s (cluster, got) ON s.cluster = n.cluster;
    END LOOP;

    SELECT array_agg(u.cluster ORDER BY u.cluster) INTO exhausted FROM unnest(nodes.clusters, free) u (cluster, free)
    WHERE u.free <= 0;
    SELECT array_agg(ROW(
        c.ordinal::integer, p.item_id, chosen_clustering.clustering, c.cluster, policy, c.propensity, c.error, p.score,
        CASE WHEN p.nearest IS NOT NULL THEN format('looks like %s, which %s liked; from', p.nearest, suggestions_now.user_id)
            ELSE 'typical of' END
        || format(' cluster %s', c.cluster)
        || CASE WHEN cardinality(d.words) > 0 THEN format(' (%s)', array_to_string(d.words[1:3], ', ')) ELSE '' END
        || format(', chosen by %s at %s %%', policy, round((100 * c.propensity)::numeric)),
        NULL::bigint
    )::pix.suggestion ORDER BY c.ordinal) INTO page
    FROM (
        SELECT u.*, row_number() OVER (PARTITION BY u.cluster ORDER BY u.ordinal) AS turn
        FROM unnest(chosen.clusters, chosen.propensities, chosen.errors) WITH ORDINALITY u (cluster, propensity, error, ordinal)
    ) c
    JOIN (
        SELECT u.*, row_number() OVER (PARTITION BY u.cluster ORDER BY u.ordinal) AS turn
        FROM unnest(passed.clusters, passed.item_ids, passed.scores, passed.nearest)
            WITH ORDINALITY u (cluster, item_id, score, nearest, ordinal)
    ) p ON p.cluster = c.cluster AND p.turn = c.turn
    JOIN pix.clusters d ON d.clustering = chosen_clustering.clustering AND d.cluster = c.cluster;
END
$$;

-- pix.next_items, by the owner's rights.
CREATE OR REPLACE FUNCTION pix_internal.suggest_items(
    user_id text, k bigint, policy text, clustering text, prior text, again_after interval, seed bigint
) RETURNS SETOF pix.suggestion
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    used_policy text := coalesce(policy, 'thompson');
    suggested record;
    shown pix.suggestion;
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
    SELECT p.* INTO suggested FROM pix_internal.suggestions_now(user_id, k, used_policy, clustering, prior, again_after, seed) p;
    IF suggested.is_new THEN
        PERFORM pix_internal.keep_user_model(suggested.trained, suggested.known_at);
    END IF;
    FOR shown IN SELECT u.* FROM unnest(suggested.page) u LOOP
        INSERT INTO pix.impressions (user_id, item_id, shown_at, policy, prior, clustering, cluster, exhausted,
            propensity, rank, score) VALUES (
            suggest_items.user_id, shown.item_id, clock_timestamp(), shown.policy, suggested.used_prior, shown.clustering, shown.cluster,
            suggested.exhausted, shown.propensity, shown.rank, shown.score
        ) RETURNING impression_id INTO shown.impression_id;
        RETURN NEXT shown;
    END LOOP;
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
