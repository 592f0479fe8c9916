-- How well recommendations would have met what users liked afterwards.

-- Metrics of a recommender, as JSON; NULL if this backend has not opened what is needed.
CREATE OR REPLACE FUNCTION pix_internal.evaluate_recommender(
    taste_key text, recommender text, algorithms text[], users integer[], votes pix_internal.user_votes,
    held_out boolean[], k bigint, seed bigint
) RETURNS text
LANGUAGE plpython3u STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'evaluation.evaluate_recommender', taste_key, recommender, algorithms, users, votes, held_out, k, seed)$$;

-- The metrics of recommenders, a JSON array of each.
-- Being stable, it sees votes, blocks and rules of the same moment.
CREATE OR REPLACE FUNCTION pix_internal.evaluate_recommenders_now(
    recommenders text[], split text, k bigint, model pix.models, test_fraction double precision, max_users bigint, seed bigint
) RETURNS jsonb
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_nestloop = off AS $$
DECLARE
    pack pix_internal.packs := pix_internal.find_pack(model);
    tasteful text[] := pix_internal.algorithms_with('user model', '{needs_common_taste}');
    recommender text;
    voters record;
    votes pix_internal.user_votes;
    people record;
    earlier record;
    learned record;
    taste_key text;
    algorithms text[];
    reason text;
    judged jsonb := '{}';
BEGIN
    -- The last like of each user; or the newest votes of all. What comes later is not learned from.
    SELECT array_agg(v.user_count::integer ORDER BY v.user_count, v.rank) AS users, array_agg(v.block ORDER BY v.user_count, v.rank) AS blocks,
        array_agg(v.position ORDER BY v.user_count, v.rank) AS positions, array_agg(v.value ORDER BY v.user_count, v.rank) AS vals,
        array_agg(v.is_later ORDER BY v.user_count, v.rank) AS held_out
    INTO voters FROM (
        SELECT s.*, dense_rank() OVER (ORDER BY md5(s.user_id), s.user_id) AS user_count FROM (
            SELECT t.*, bool_or(t.is_later AND t.value > 0) OVER (PARTITION BY t.user_id) AS has_test,
                bool_or(NOT t.is_later) OVER (PARTITION BY t.user_id) AS has_training
            FROM (
                SELECT o.user_id, o.value, o.rank, f.block, f.position,
                    CASE WHEN split = 'last' THEN o.rank <= o.last_like ELSE o.fraction > 1 - test_fraction END AS is_later
                FROM (
                    SELECT r.*, min(r.rank) FILTER (WHERE r.value > 0) OVER (PARTITION BY r.user_id) AS last_like,
                        cume_dist() OVER (ORDER BY r.voted_at, r.vote_id) AS fraction
                    FROM (
                        SELECT p.user_id, p.item_id, p.value, p.voted_at, p.vote_id,
                            row_number() OVER (PARTITION BY p.user_id ORDER BY p.voted_at DESC, p.vote_id DESC) AS rank
                        FROM pix.opinions p
                        JOIN pix.features e ON e.item_id = p.item_id AND e.model_name = model.model_name AND e.packed_in <= pack.packed_in
                        WHERE p.value <> 0 AND p.signal <> 'skip'
                    ) r
                ) o
                JOIN pix.features f ON f.item_id = o.item_id AND f.model_name = model.model_name AND f.packed_in <= pack.packed_in
                WHERE o.rank <= 500
            ) t
        ) s
        WHERE s.has_test AND s.has_training
    ) v
    WHERE v.user_count <= max_users;
    IF voters.users IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX134', MESSAGE = 'Nobody has votes to learn from and a like to be met afterwards',
            HINT = 'It takes users with two votes on items with features, the last of them a like.';
    END IF;
    SELECT array_agg(u.likes ORDER BY u.user_count) AS likes, array_agg(u.dislikes ORDER BY u.user_count) AS dislikes, count(*) AS user_count INTO people
    FROM (
        SELECT n.user_count, count(*) FILTER (WHERE n.val > 0 AND NOT n.later)::integer AS likes,
            count(*) FILTER (WHERE n.val < 0 AND NOT n.later)::integer AS dislikes
        FROM unnest(voters.users, voters.vals, voters.held_out) n (user_count, val, later) GROUP BY n.user_count
    ) u;
    votes.blocks := voters.blocks;
    votes.positions := voters.positions;
    votes.vals := voters.vals;
    votes.blocks_key := pack.checksum;
    PERFORM pix_internal.open_blocks(model.model_name);
    -- What users have in common, as their earlier votes alone tell.
    IF people.user_count >= 10 AND recommenders && ('rules'::text || tasteful) THEN
        SELECT array_agg(n.user_count ORDER BY n.ordinal) AS users, array_agg(n.user_count % 2 ORDER BY n.ordinal) AS halves, array_agg(n.block ORDER BY n.ordinal) AS blocks,
            array_agg(n.position ORDER BY n.ordinal) AS positions, array_agg(n.val ORDER BY n.ordinal) AS vals
        INTO earlier FROM unnest(voters.users, voters.blocks, voters.positions, voters.vals, voters.held_out)
            WITH ORDINALITY n (user_count, block, position, val, later, ordinal)
        WHERE NOT n.later;
        SELECT t.* INTO learned FROM pix_internal.fit_common_taste(pack.checksum, earlier.users, earlier.halves,
            earlier.blocks, earlier.positions, earlier.vals) t;
        taste_key := 'evaluation ' || encode(sha256(learned.content), 'hex');
        PERFORM pix_internal.keep_common_taste(taste_key, learned.described, learned.content);
    END IF;
    FOREACH recommender IN ARRAY ARRAY(SELECT DISTINCT r FROM unnest(recommenders) r) LOOP
        IF recommender = ANY (tasteful) AND taste_key IS NULL THEN
            RAISE EXCEPTION USING ERRCODE = 'PX134', MESSAGE = format('%s needs ten users whose votes can be split', recommender),
                HINT = 'Leave it out.';
        END IF;
        SELECT array_agg(
            CASE WHEN recommender = 'rules' THEN coalesce(pix_internal.choose_algorithm(u.likes, u.dislikes, taste_key IS NOT NULL), 'nearest')
                ELSE recommender END ORDER BY u.ordinal
        ) INTO algorithms
        FROM unnest(people.likes, people.dislikes) WITH ORDINALITY u (likes, dislikes, ordinal);
        reason := pix_internal.evaluate_recommender(
            taste_key, recommender, algorithms, voters.users, votes, voters.held_out, k, seed);
        IF reason IS NULL THEN
            PERFORM pix_internal.raise_files_vanish();
        END IF;
        judged := judged || jsonb_build_object(recommender, reason::jsonb);
    END LOOP;
    RETURN judged;
END
$$;

CREATE OR REPLACE FUNCTION pix.evaluate_recommenders(
    run text, recommenders text[] DEFAULT '{rules,popularity,random}', k bigint DEFAULT 10, split text DEFAULT 'last',
    model_name text DEFAULT NULL, test_fraction double precision DEFAULT 0.2, max_users bigint DEFAULT 1000, seed bigint DEFAULT 7
) RETURNS SETOF pix.recommender_evaluations
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model pix.models;
    recommender text;
    judged jsonb;
BEGIN
    PERFORM pix_internal.check_call('pix.evaluate_recommenders');
    PERFORM pix_internal.check_name('run', run);
    PERFORM pix_internal.check_choice('split', split, '{last,time}');
    PERFORM pix_internal.check_range('k', k, 1, 1000);
    PERFORM pix_internal.check_range('test_fraction', test_fraction, 0.01, 0.99);
    PERFORM pix_internal.check_range('max_users', max_users, 1, NULL);
    PERFORM pix_internal.check_range('seed', seed, 0, NULL);
    model := pix.find_model(model_name);
    PERFORM pix_internal.find_pack(model);
    PERFORM pix_internal.check_list('recommenders', recommenders);
    IF coalesce(cardinality(recommenders), 0) = 0 THEN
        PERFORM pix_internal.refuse('recommenders must be at least one', 'Name some: rules, popularity, random, or algorithms.');
    END IF;
    FOREACH recommender IN ARRAY recommenders LOOP
        PERFORM pix_internal.check_choice('recommenders', recommender,
            ARRAY['rules', 'popularity', 'random'] || pix_internal.algorithms_with('user model', '{}'));
    END LOOP;
    PERFORM pix_internal.use_planner();
    judged := pix_internal.evaluate_recommenders_now(recommenders, split, k, model, test_fraction, max_users, seed);
    DELETE FROM pix.recommender_evaluations e WHERE e.run = evaluate_recommenders.run;
    INSERT INTO pix.recommender_evaluations (run, recommender, metric, value, low, high, users, model_name, split, k)
    SELECT evaluate_recommenders.run, j.key, e.row ->> 'metric', (e.row ->> 'value')::double precision,
        (e.row ->> 'low')::double precision, (e.row ->> 'high')::double precision, (e.row ->> 'users')::integer,
        model.model_name, evaluate_recommenders.split, evaluate_recommenders.k
    FROM jsonb_each(judged) j CROSS JOIN LATERAL jsonb_array_elements(j.value) e (row);
    RETURN QUERY SELECT e.* FROM pix.recommender_evaluations e WHERE e.run = evaluate_recommenders.run ORDER BY e.metric, e.value DESC;
END
$$;
COMMENT ON FUNCTION pix.evaluate_recommenders IS
'How well recommendations would have met what users liked afterwards: models are trained on each user''s earlier votes, all
items that they did not know are ranked, and what they liked afterwards is looked for. Kept in pix.recommender_evaluations, in
the place of an earlier run of this name.
Arguments: run, its name; recommenders: rules (what pix.algorithm_rules chooses), algorithms as for pix.train_user_model, and
for comparison popularity and random; k, how many are recommended; split: last (each user''s last like, and what came after it,
is held out) or time (the newest votes of all); model_name, whose features (NULL: the default model); test_fraction, of the
votes, that split time holds out; max_users, a random sample; seed. Of each user the latest 500 opinions are looked at.
Result: for each recommender and metric, value and 95 % interval over users from low to high: auc (how probably an item that
was liked is ranked before any other that was not known), precision and ndcg of the first k, diversity (mean of 1 - cosine
between these), coverage (fraction of all items that somebody is recommended); users: on how many it was measured.
Errors: PX003 invalid argument, PX020 unknown model, PX024 unusable cache folder, PX060 call on segments, PX061
read-only, PX095 no packed features, PX134 too few votes.
Runs: coordinator.
Example: SELECT recommender, metric, value FROM pix.evaluate_recommenders(''first'', ''{rules,random}'', k => 5);';
