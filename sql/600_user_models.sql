-- One model per user. Models are derived from the log of votes and know which votes they have seen: whoever asks for one
-- has new votes folded in first, and after ten, or when an older vote was changed or taken back, it is trained again.

-- Trains a model, or says why it cannot; NULL if this backend has not opened what is needed.
CREATE OR REPLACE FUNCTION pix_internal.fit_user_model(
    blocks_key text, taste_key text, algorithm text, parameters text, item_ids text[], blocks integer[], positions integer[],
    vals double precision[], vectors bytea, half bigint,
    OUT described text, OUT content bytea, OUT slope double precision, OUT intercept double precision, OUT auc double precision,
    OUT contradictions text[], OUT seconds double precision, OUT sqlstate text, OUT reason text
)
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'user_models.fit_user_model', blocks_key, taste_key, algorithm, parameters, item_ids, blocks, positions, vals, vectors, half)$$;

-- Keeps in this backend what users have in common.
CREATE OR REPLACE FUNCTION pix_internal.keep_common_taste(key text, described text, content bytea) RETURNS void
LANGUAGE plpython3u STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'user_models.keep_common_taste', key, described, content)$$;

-- Which prior over tastes there is for a model as it is; NULL: none.
CREATE OR REPLACE FUNCTION pix_internal.common_taste_version(model pix.models) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        SELECT t.version FROM pix.common_taste t
        WHERE t.model_name = model.model_name AND t.model_checksum IS NOT DISTINCT FROM model.checksum
    );
END
$$;

-- What pix.algorithm_rules says of so many likes and dislikes, of what can be trained on them; NULL: nothing.
CREATE OR REPLACE FUNCTION pix_internal.choose_algorithm(likes bigint, dislikes bigint, has_taste boolean) RETURNS text
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RETURN (
        SELECT p.algorithm FROM pix.algorithm_rules p WHERE (has_taste OR NOT p.needs_common_taste)
            AND (likes > 0 OR p.algorithm = ANY (pix_internal.algorithms_with('user model', '{not needs_likes}')))
            AND (dislikes > 0 OR p.algorithm = ANY (pix_internal.algorithms_with('user model', '{not needs_dislikes}')))
            AND likes + dislikes BETWEEN coalesce(p.min_votes, 0) AND coalesce(p.max_votes, likes + dislikes)
            AND likes BETWEEN coalesce(p.min_likes, 0) AND coalesce(p.max_likes, likes)
            AND dislikes BETWEEN coalesce(p.min_dislikes, 0) AND coalesce(p.max_dislikes, dislikes)
            AND likes >= coalesce(p.min_fraction, 0) * (likes + dislikes) AND (p.max_fraction IS NULL OR likes < p.max_fraction * (likes + dislikes))
        ORDER BY p.priority LIMIT 1
    );
END
$$;

-- What users think of items with packed features, each user's latest as rank 1; and where the vectors of these are.
-- The hash tells whether it is still the same vote, on the same vector.
CREATE OR REPLACE VIEW pix_internal.packed_votes AS
SELECT f.model_name, o.user_id, o.item_id, o.value, o.vote_id, o.voted_at, f.block, f.position, f.packed_in, f.vector,
    hashint8extended(o.vote_id, f.packed_in) AS hash,
    row_number() OVER (PARTITION BY f.model_name, o.user_id ORDER BY o.voted_at DESC, o.vote_id DESC) AS rank
FROM pix.opinions o JOIN pix.features f ON f.item_id = o.item_id JOIN pix_internal.packs p ON p.model_name = f.model_name
WHERE o.value <> 0 AND o.signal <> 'skip' AND f.packed_in <= p.packed_in;

-- What users' models are trained on: the latest 2,000 of these. (A model that has seen so many can wait for a few more:
-- server/current_models.py.)
CREATE OR REPLACE VIEW pix_internal.training_votes AS
SELECT v.* FROM pix_internal.packed_votes v WHERE v.rank <= 2000;

-- What a user's model is trained on, the latest first.
-- Being stable, it sees votes and blocks of the same moment.
CREATE OR REPLACE FUNCTION pix_internal.votes_of_user(user_id text, model pix.models) RETURNS pix_internal.user_votes
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off SET enable_indexscan = on
SET enable_nestloop = on SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    pack pix_internal.packs := pix_internal.find_pack(model);
    votes pix_internal.user_votes;
BEGIN
    SELECT array_agg(v.item_id ORDER BY v.rank), array_agg(v.block ORDER BY v.rank), array_agg(v.position ORDER BY v.rank),
        array_agg(v.value ORDER BY v.rank), array_agg(v.vote_id ORDER BY v.rank), array_agg(v.hash ORDER BY v.rank),
        pack.packed_in, pack.checksum, pack.items
    INTO votes FROM pix_internal.training_votes v WHERE v.user_id = votes_of_user.user_id AND v.model_name = model.model_name;
    RETURN votes;
END
$$;

-- In which half of the users somebody is, 0 or 1: what one half has in common is tried on the other.
CREATE OR REPLACE FUNCTION pix_internal.half_of(user_id text) RETURNS integer
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$SELECT abs(hashtext(user_id) % 2)$$;

-- Trains a model from votes, and opens first what it takes.
CREATE OR REPLACE FUNCTION pix_internal.train_on_votes(
    model_name text, common_taste_version text, algorithm text, parameters text, votes pix_internal.user_votes, vectors bytea, half bigint
) RETURNS pix_internal.fitted_model
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    fitted pix_internal.fitted_model;
    taste pix.common_taste;
BEGIN
    FOR attempt IN 1 .. 2 LOOP
        SELECT algorithm, parameters, NULL, NULL, NULL, NULL, f.* INTO fitted FROM pix_internal.fit_user_model(
            votes.blocks_key, common_taste_version, algorithm, parameters, votes.item_ids, votes.blocks,
            votes.positions, votes.vals, vectors, half) f;
        IF fitted.described IS NOT NULL OR fitted.reason IS NOT NULL THEN
            SELECT count(*) FILTER (WHERE u.val > 0), count(*) FILTER (WHERE u.val < 0), max(u.vote_id), coalesce(sum(u.hash), 0)::text
            INTO fitted.likes, fitted.dislikes, fitted.watermark, fitted.votes_hash
            FROM unnest(votes.vals, votes.vote_ids, votes.hashes) u (val, vote_id, hash);
            RETURN fitted;
        END IF;
        IF vectors IS NULL THEN
            PERFORM pix_internal.open_blocks(model_name);
        END IF;
        IF algorithm = ANY (pix_internal.algorithms_with('user model', '{needs_common_taste}')) THEN
            SELECT t.* INTO taste FROM pix.common_taste t
            WHERE t.model_name = train_on_votes.model_name AND t.version = common_taste_version;
            IF NOT FOUND THEN
                RAISE EXCEPTION USING ERRCODE = 'PX137',
                    MESSAGE = format('What users have in common has not been learned for model %L', model_name),
                    HINT = format('SELECT * FROM pix.fit_common_taste(%L); or use another algorithm than %s.', model_name, algorithm);
            END IF;
            PERFORM pix_internal.keep_common_taste(taste.version, taste.described::text, taste.content);
        END IF;
    END LOOP;
    PERFORM pix_internal.raise_files_vanish();
END
$$;

-- Refuses a user who has never voted nor been shown anything.
CREATE OR REPLACE FUNCTION pix_internal.check_known_user(user_id text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_user(user_id);
    IF NOT EXISTS (SELECT FROM pix.users u WHERE u.user_id = check_known_user.user_id)
        AND NOT EXISTS (SELECT FROM pix.interactions n WHERE n.user_id = check_known_user.user_id)
    THEN
        RAISE EXCEPTION USING ERRCODE = 'PX138', MESSAGE = format('User %L is not known', user_id),
            HINT = 'SELECT user_id FROM pix.users lists them; a first vote creates a user.';
    END IF;
END
$$;

CREATE OR REPLACE FUNCTION pix.train_user_model(
    user_id text, algorithm text DEFAULT NULL, model_name text DEFAULT NULL, parameters jsonb DEFAULT NULL
) RETURNS SETOF pix.user_model_summary
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 1 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.train_user_model');
    IF algorithm IS NULL AND parameters IS NOT NULL THEN
        PERFORM pix_internal.refuse('Parameters need the algorithm that they are of', 'Name it: algorithm => ''sgd_log''.');
    END IF;
    RETURN NEXT jsonb_populate_record(NULL::pix.user_model_summary, pix_internal.drive('current_models.train_user_model',
        jsonb_build_object('user_id', user_id, 'algorithm', algorithm, 'model_name', model_name, 'parameters', parameters::text)));
END
$$;
COMMENT ON FUNCTION pix.train_user_model IS
'Trains the model of one user again, from the latest 2,000 of their opinions. There is no need to: whoever asks for
recommendations gets a model that has seen all votes.
Arguments: user_id; algorithm (NULL: what pix.algorithm_rules chooses for so many likes and dislikes), one of
pix.algorithms(''user model''); model_name, whose features (NULL: the default model); parameters of the algorithm (NULL: those of its last training, or its defaults), for
example {"alpha": 0.01, "dimensions": [3, 17]} for sgd_log, {"members": ["logistic", "svm"]} for an ensemble.
Result: user_id, model_name, algorithm, likes and dislikes that it has seen; auc on these, each scored without having been
seen; is_calibrated, whether its scores can be turned into probabilities; seconds.
Errors: PX003 invalid argument, PX020 unknown model, PX060 call on segments, PX061 read-only, PX095 no packed features,
PX130 isolation above READ COMMITTED, PX134 too few votes for it, PX136 numbers that it cannot
be trained on, PX137 hierarchical without pix.fit_common_taste, PX138 unknown user.
Runs: coordinator.
Example: SELECT * FROM pix.train_user_model(''ann'', ''nearest'');';
