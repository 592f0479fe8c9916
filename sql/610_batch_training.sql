-- What users have in common, and the models of many users at once: in parallel workers, which read votes by themselves and
-- vectors from mapped blocks; or on the segments that hold the users, where votes and vectors are brought.

CREATE OR REPLACE FUNCTION pix.fit_common_taste(model_name text DEFAULT NULL) RETURNS SETOF pix.common_taste_summary
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.fit_common_taste');
    PERFORM pix_internal.drive('common_taste.fit_common_taste', jsonb_build_object('model_name', model_name));
    RETURN QUERY SELECT t.model_name, t.users, t.votes, t.seconds FROM pix.common_taste t
    WHERE t.model_name = (pix.find_model(fit_common_taste.model_name)).model_name;
END
$$;
COMMENT ON FUNCTION pix.fit_common_taste IS
'Learns what users have in common: the mean of their tastes, and in which directions these differ, by empirical Bayes over the
latest 200 votes of up to 2,000 users. Models with algorithm hierarchical are shrunk to it, so that the first votes of
somebody new already tell much. pix.train_user_models calls it.
Arguments: model_name, whose features (NULL: the default model).
Result: model_name, users and votes that were looked at, seconds.
Errors: PX020 unknown model, PX060 call on segments, PX061 read-only, PX095 no packed features, PX112 features all the
same, PX134 fewer than two users.
Runs: coordinator.
Example: SELECT * FROM pix.fit_common_taste();';

-- Trains the model of a user, unless it was trained on these votes.
-- For a worker: NULL if there is nothing to do.
CREATE OR REPLACE FUNCTION pix_internal.train_voter(
    user_id text, model pix.models, algorithm text, parameters jsonb, taste text
) RETURNS pix_internal.fitted_model
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET enable_indexscan = on SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    votes pix_internal.user_votes := pix_internal.votes_of_user(user_id, model);
    counts record;
    used text := algorithm;
BEGIN
    SELECT count(*) FILTER (WHERE u.val > 0)::integer AS likes, count(*) FILTER (WHERE u.val < 0)::integer AS dislikes,
        coalesce(sum(u.hash), 0)::text AS hash INTO counts
    FROM unnest(votes.vals, votes.hashes) u (val, hash);
    used := coalesce(used, pix_internal.choose_algorithm(counts.likes, counts.dislikes, taste IS NOT NULL));
    IF used IS NULL OR counts.likes + counts.dislikes = 0 OR EXISTS (
        SELECT FROM pix.user_models m
        WHERE m.user_id = train_voter.user_id AND m.model_name = model.model_name AND m.algorithm = used
            AND m.model_checksum IS NOT DISTINCT FROM model.checksum AND m.parameters = (train_voter.parameters ->> used)::jsonb
            AND m.common_taste_version IS NOT DISTINCT FROM
                CASE WHEN used = ANY (pix_internal.algorithms_with('user model', '{needs_common_taste}')) THEN taste END
            AND m.votes_hash = counts.hash AND m.since_training = 0
    ) THEN
        RETURN NULL;
    END IF;
    RETURN pix_internal.train_on_votes(model.model_name, taste, used, parameters ->> used, votes, NULL, pix_internal.half_of(user_id));
END
$$;

CREATE OR REPLACE PROCEDURE pix.train_user_models(
    algorithm text DEFAULT NULL, users text[] DEFAULT NULL, model_name text DEFAULT NULL, parameters jsonb DEFAULT NULL,
    chunk_size bigint DEFAULT 2000
)
LANGUAGE plpgsql AS $$
BEGIN
    CALL pix_internal.require_no_transaction('pix.train_user_models');
    PERFORM pg_catalog.set_config('search_path', 'pg_catalog, pg_temp', true);
    PERFORM pix_internal.require_writable('pix.train_user_models');
    PERFORM pix_internal.check_list('users', users);
    PERFORM pix_internal.check_range('chunk_size', chunk_size, 1);
    IF algorithm IS NULL AND parameters IS NOT NULL THEN
        PERFORM pix_internal.refuse('Parameters need the algorithm that they are of', 'Name it: algorithm => ''sgd_log''.');
    END IF;
    CALL pix_internal.drive_parts('batch_training.train_some', pg_catalog.jsonb_build_object(
        'algorithm', algorithm, 'users', users, 'model_name', (pix.find_model(model_name)).model_name,
        'parameters', parameters::text, 'chunk_size', chunk_size));
END
$$;
COMMENT ON PROCEDURE pix.train_user_models IS
'Trains the models of all users whose votes have changed since, on all CPU cores or segments, and commits after each chunk. It
can be stopped at any moment and called again. A user whose model cannot be trained is a row of pix.user_model_failures and
stops nobody. Where algorithm is hierarchical, or NULL and ten users have voted, pix.fit_common_taste is called first: when it
learns something else, all hierarchical models are trained again, a millisecond each.
Arguments: algorithm (NULL: for each user what pix.algorithm_rules chooses); users (NULL: all); model_name, whose features
(NULL: the default model); parameters of the algorithm (NULL: its defaults), as for pix.train_user_model; chunk_size, users
per commit.
Result: none.
Errors: PX003 invalid argument, PX020 unknown model, PX061 read-only, PX062 call in a transaction, PX095 no packed
features, PX134 hierarchical with fewer than two users who have voted.
Runs: coordinator, outside a transaction block; the work is done in parallel workers or on the segments.
Example: CALL pix.train_user_models(''centroid'');';
