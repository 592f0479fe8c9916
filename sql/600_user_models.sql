-- One model per user. Models are derived from the log of votes and know which votes they have seen: whoever asks for one
-- has new votes folded in first, and after ten, or when an older vote was changed or taken back, it is trained again.

-- The parameters of an algorithm, with defaults where none are given.
CREATE OR REPLACE FUNCTION pix_internal.check_algorithm(algorithm text, parameters text, dimensions bigint) RETURNS text
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'user_models.check_algorithm', algorithm, parameters, dimensions)$$;

-- Trains a model, or says why it cannot; NULL if this backend has not opened what is needed.
CREATE OR REPLACE FUNCTION pix_internal.fit_user_model(
    blocks_key text, taste_key text, algorithm text, parameters text, item_ids text[], blocks integer[], positions integer[],
    vals double precision[], vectors bytea, half bigint,
    OUT described text, OUT content bytea, OUT slope double precision, OUT intercept double precision, OUT auc double precision,
    OUT contradictions text[], OUT seconds double precision, OUT sqlstate text, OUT reason text
)
LANGUAGE plpython3u STABLE PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'user_models.fit_user_model', blocks_key, taste_key, algorithm, parameters, item_ids, blocks, positions, vals, vectors, half)$$;

-- Lets a model see some votes more; NULL if this backend has not opened the blocks.
CREATE OR REPLACE FUNCTION pix_internal.update_user_model(
    blocks_key text, algorithm text, described text, arrays bytea, blocks integer[], positions integer[], vals double precision[],
    OUT described text, OUT content bytea
)
LANGUAGE plpython3u STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'user_models.update_user_model', blocks_key, algorithm, described, arrays, blocks, positions, vals)$$;

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

-- What a user's model is trained on: the latest 2,000 of these, the latest first.
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
    INTO votes FROM pix_internal.packed_votes v
    WHERE v.user_id = votes_of_user.user_id AND v.model_name = model.model_name AND v.rank <= 2000;
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

-- Refuses a model that was trained on other features.
CREATE OR REPLACE FUNCTION pix_internal.check_user_model(stored pix.user_models, model pix.models) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF stored.user_id IS NOT NULL AND stored.model_checksum IS DISTINCT FROM model.checksum THEN
        RAISE EXCEPTION USING ERRCODE = 'PX132',
            MESSAGE = format('Model %L was imported again since the %s model of user %L was trained', model.model_name, stored.algorithm, stored.user_id),
            HINT = format(
                'SELECT * FROM pix.train_user_model(%L, %L, %L); or, for all: CALL pix.train_user_models(model_name => %L);',
                stored.user_id, stored.algorithm, model.model_name, model.model_name
            );
    END IF;
END
$$;

-- A user's model that has seen all of some votes; NULL if there are none; when the stored one was last updated, and whether
-- this one is to be stored in its place.
-- Being stable, it sees votes, blocks and models of the same moment, and can be asked where nothing can be stored.
CREATE OR REPLACE FUNCTION pix_internal.current_user_model(
    user_id text, model pix.models, algorithm text, parameters text, is_forced boolean, votes pix_internal.user_votes,
    OUT current pix.user_models, OUT known_at timestamptz, OUT is_new boolean
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    fitted pix_internal.fitted_model;
    taste text := pix_internal.common_taste_version(model);
    used text;
    used_taste text;
    used_parameters text;
    counts record;
    newer record;
    updated record;
BEGIN
    is_new := false;
    SELECT count(*) FILTER (WHERE u.val > 0)::integer AS likes, count(*) FILTER (WHERE u.val < 0)::integer AS dislikes,
        coalesce(sum(u.hash), 0)::text AS hash INTO counts
    FROM unnest(votes.vals, votes.hashes) u (val, hash);
    used := coalesce(algorithm, pix_internal.choose_algorithm(counts.likes, counts.dislikes, taste IS NOT NULL));
    IF used IS NULL OR counts.likes + counts.dislikes = 0 THEN
        RETURN;
    END IF;
    used_taste := CASE WHEN used = ANY (pix_internal.algorithms_with('user model', '{needs_common_taste}')) THEN taste END;
    SELECT m.* INTO current FROM pix.user_models m
    WHERE m.user_id = current_user_model.user_id AND m.model_name = model.model_name AND m.algorithm = used;
    known_at := current.updated_at;
    IF NOT is_forced THEN
        PERFORM pix_internal.check_user_model(current, model);
    END IF;
    used_parameters := pix_internal.check_algorithm(used,
        coalesce(parameters, (current.parameters - 'loss')::text, '{}'), model.dimensions);
    IF NOT is_forced AND current.parameters = used_parameters::jsonb
        AND current.common_taste_version IS NOT DISTINCT FROM used_taste
    THEN
        IF current.votes_hash = counts.hash THEN
            RETURN;
        END IF;
        SELECT coalesce(sum(u.hash) FILTER (WHERE u.vote_id <= current.watermark), 0)::text AS old_hash,
            count(*) FILTER (WHERE u.vote_id > current.watermark)::integer AS vote_count,
            array_agg(u.block ORDER BY u.ordinal) FILTER (WHERE u.vote_id > current.watermark) AS blocks,
            array_agg(u.position ORDER BY u.ordinal) FILTER (WHERE u.vote_id > current.watermark) AS positions,
            array_agg(u.val ORDER BY u.ordinal) FILTER (WHERE u.vote_id > current.watermark) AS vals,
            max(u.vote_id) AS watermark
        INTO newer FROM unnest(votes.vote_ids, votes.hashes, votes.blocks, votes.positions, votes.vals)
            WITH ORDINALITY u (vote_id, hash, block, position, val, ordinal);
        IF newer.vote_count > 0 AND current.since_training + newer.vote_count < 10 THEN
            IF cardinality(votes.vals) = 2000 THEN
                RETURN;  -- so many votes that a few more can wait
            ELSIF newer.old_hash = current.votes_hash AND used = ANY (pix_internal.algorithms_with('user model', '{can_update}')) THEN
                FOR attempt IN 1 .. 2 LOOP
                    SELECT u.* INTO updated FROM pix_internal.update_user_model(votes.blocks_key, used,
                        current.described::text, current.content, newer.blocks, newer.positions, newer.vals) u;
                    EXIT WHEN updated.described IS NOT NULL;
                    IF attempt = 2 THEN
                        PERFORM pix_internal.raise_files_vanish();
                    END IF;
                    PERFORM pix_internal.open_blocks(model.model_name);
                END LOOP;
                current.described := updated.described::jsonb;
                current.content := updated.content;
                current.since_training := current.since_training + newer.vote_count;
                current.watermark := newer.watermark;
                current.likes := counts.likes;
                current.dislikes := counts.dislikes;
                current.votes_hash := counts.hash;
                current.updated_at := clock_timestamp();
                is_new := true;
                RETURN;
            ELSIF newer.old_hash = current.votes_hash
                AND (used = ANY (pix_internal.algorithms_with('user model', '{is_slow}')) OR cardinality(votes.vals) > 500)
            THEN
                RETURN;  -- training takes longer than anybody waits for a recommendation
            END IF;
        END IF;
    END IF;
    fitted := pix_internal.train_on_votes(model.model_name, taste, used, used_parameters, votes, NULL, pix_internal.half_of(user_id));
    IF fitted.reason IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = fitted.sqlstate,
            MESSAGE = format('The model of user %L cannot be trained: %s', user_id, fitted.reason),
            HINT = 'Use another algorithm, or see which one pix.algorithm_rules chooses for so many likes and dislikes.';
    END IF;
    current.user_id := user_id;
    current.model_name := model.model_name;
    current.algorithm := used;
    current.model_checksum := model.checksum;
    current.parameters := fitted.parameters::jsonb;
    current.common_taste_version := used_taste;
    current.likes := fitted.likes;
    current.dislikes := fitted.dislikes;
    current.watermark := fitted.watermark;
    current.votes_hash := fitted.votes_hash;
    current.since_training := 0;
    current.described := fitted.described::jsonb;
    current.content := fitted.content;
    current.slope := fitted.slope;
    current.intercept := fitted.intercept;
    current.auc := fitted.auc;
    current.contradictions := fitted.contradictions;
    current.seconds := fitted.seconds;
    current.trained_at := clock_timestamp();
    current.updated_at := clock_timestamp();
    is_new := true;
END
$$;

-- Writes a model, in the place of the one that it follows; models of features that are no more go.
CREATE OR REPLACE FUNCTION pix_internal.store_user_model(current pix.user_models, known_at timestamptz, is_forced boolean) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    DELETE FROM pix.user_model_failures x
    WHERE x.user_id = current.user_id AND x.model_name = current.model_name AND x.algorithm = current.algorithm;
    DELETE FROM pix.user_models m WHERE m.user_id = current.user_id AND m.model_name = current.model_name
        AND m.model_checksum IS DISTINCT FROM current.model_checksum;
    INSERT INTO pix.user_models AS m SELECT (current).* ON CONFLICT ON CONSTRAINT user_models_pkey DO UPDATE SET
        model_checksum = excluded.model_checksum, parameters = excluded.parameters, common_taste_version = excluded.common_taste_version,
        likes = excluded.likes, dislikes = excluded.dislikes, watermark = excluded.watermark,
        votes_hash = excluded.votes_hash, since_training = excluded.since_training, described = excluded.described,
        content = excluded.content, slope = excluded.slope, intercept = excluded.intercept, auc = excluded.auc,
        contradictions = excluded.contradictions, seconds = excluded.seconds, trained_at = excluded.trained_at,
        updated_at = excluded.updated_at
    WHERE is_forced OR m.updated_at = known_at;
END
$$;

-- Stores a model unless that takes waiting, or nothing can be written here.
-- A model that follows from the log need not be stored: nobody waits for whoever is storing another.
CREATE OR REPLACE FUNCTION pix_internal.keep_user_model(current pix.user_models, known_at timestamptz) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF NOT pix_internal.is_read_only() THEN
        PERFORM pix_internal.store_user_model(current, known_at, false);
    END IF;
EXCEPTION WHEN lock_not_available OR serialization_failure THEN
    NULL;
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
DECLARE
    model pix.models;
    fitted record;
    trained pix.user_models;
BEGIN
    PERFORM pix_internal.check_call('pix.train_user_model');
    PERFORM pix_internal.check_known_user(user_id);
    model := pix.find_model(model_name);
    PERFORM pix_internal.find_pack(model);
    IF algorithm IS NOT NULL THEN
        PERFORM pix_internal.check_algorithm(algorithm, coalesce(parameters::text, '{}'), model.dimensions);
    ELSIF parameters IS NOT NULL THEN
        PERFORM pix_internal.refuse('Parameters need the algorithm that they are of', 'Name it: algorithm => ''sgd_log''.');
    END IF;
    PERFORM pix_internal.use_planner();
    SELECT c.* INTO fitted FROM (SELECT pix_internal.votes_of_user(user_id, model) AS votes) v
    CROSS JOIN LATERAL pix_internal.current_user_model(user_id, model, algorithm, parameters::text, true, v.votes) c;
    trained := fitted.current;
    IF trained.user_id IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX134',
            MESSAGE = format('User %L has no votes on items with features of model %L', user_id, model.model_name),
            HINT = format('Vote first, or see which items lack features: CALL pix.extract_features(%L);', model.model_name);
    END IF;
    PERFORM pix_internal.store_user_model(trained, NULL, true);
    RETURN QUERY SELECT m.user_id, m.model_name, m.algorithm, m.likes, m.dislikes, m.auc, m.slope IS NOT NULL, m.seconds
    FROM (SELECT trained.*) m;
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
