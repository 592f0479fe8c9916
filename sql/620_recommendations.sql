-- Recommendations: the best of all items that a user has no opinion of, by a model that has seen all their votes.

-- The score that a model gives a vector.
-- Nobody but the owner calls what opens models: a damaged one could take the server along.
CREATE OR REPLACE FUNCTION pix_internal.score_vector(vector bytea, described text, content bytea) RETURNS double precision
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'recommendations.score_vector', vector, described, content)$$;

-- The probability of a like; NULL where scores cannot be turned into probabilities.
CREATE OR REPLACE FUNCTION pix_internal.probability(score double precision, slope double precision, intercept double precision)
RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$SELECT tanh((slope * score + intercept) / 2) / 2 + 0.5$$;

CREATE OR REPLACE FUNCTION pix.recommend(
    user_id text, k bigint DEFAULT 10, algorithm text DEFAULT NULL, model_name text DEFAULT NULL, index_name text DEFAULT NULL,
    diversity double precision DEFAULT 0, filter pix.item_filter DEFAULT NULL
) RETURNS SETOF pix.recommended_item
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_alone('pix.recommend');
    PERFORM pix_internal.check_user(user_id);
    PERFORM pix_internal.check_range('k', k, 1, 10000);
    PERFORM pix_internal.check_range('diversity', diversity, 0, 1);
    RETURN QUERY SELECT r.* FROM jsonb_populate_recordset(NULL::pix.recommended_item, pix_internal.answer(
        'recommendations.recommend', jsonb_build_object('user_id', user_id, 'k', k, 'algorithm', algorithm,
            'model_name', model_name, 'index_name', index_name, 'diversity', diversity,
            'filter', CASE WHEN NOT filter IS NULL THEN to_jsonb(filter) END))) r;
END
$$;
COMMENT ON FUNCTION pix.recommend IS
'The items that a user will like best, of those they have no opinion of: all are scored by the user''s model, which has seen
all their votes. Somebody without votes gets what users like on the whole.
Arguments: user_id; k, how many, up to 10,000; algorithm, as for pix.train_user_model (NULL: what pix.algorithm_rules
chooses); model_name, whose features (NULL: the index''s, or the default model); index_name, whose candidates are looked at
(NULL: all items are, as with a filter); diversity, from 0 to 1: how much items should differ from one another, against how
good they are (maximal marginal relevance); filter, which items may be recommended, as pix.items_where makes it (NULL: all).
Result: rank, item_id, score (comparable between items of one user), probability of a like (NULL: too few votes to tell),
algorithm, reason in words, liked_ids: up to three items that the user liked and this one is close to.
Errors: PX003 invalid argument, PX004 a filter that names what exists nowhere, PX020 unknown model, PX024 unusable cache
folder, PX060 call on segments, PX090 unknown index, PX092 an index of another model or metric, PX094 a damaged block, PX095
no packed features, PX100 unknown clustering, PX103 clustering of a changed model, PX105 unknown cluster, PX132 model of earlier features, PX134 too few votes for it, PX137 hierarchical
without pix.fit_common_taste.
Runs: coordinator.
Example: SELECT rank, item_id, score, reason FROM pix.recommend(''ann'', 5);';

CREATE OR REPLACE FUNCTION pix.explain(
    user_id text, item_id text, k bigint DEFAULT 5, algorithm text DEFAULT NULL, model_name text DEFAULT NULL
) RETURNS SETOF pix.explanation
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 10 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_alone('pix.explain');
    PERFORM pix_internal.check_range('k', k, 1);
    RETURN QUERY SELECT e.* FROM jsonb_populate_recordset(NULL::pix.explanation, pix_internal.answer('explanations.explain',
        jsonb_build_object('user_id', user_id, 'item_id', item_id, 'k', k, 'algorithm', algorithm, 'model_name', model_name))) e;
END
$$;
COMMENT ON FUNCTION pix.explain IS
'Why a user''s model thinks of an item what it does: its score, the probability of a like, and which liked and disliked items
it looks most like.
Arguments: user_id; item_id, any with features; k, how many likes and dislikes; algorithm (NULL: what pix.algorithm_rules
chooses); model_name (NULL: the default model).
Result: aspect: score, probability (where it is known), like, dislike; item_id of a like or dislike; value: the score, the
probability, or the cosine; note in words.
Errors: PX003 invalid argument, PX020 unknown model, PX024 unusable cache folder, PX030 features of other dimensions,
PX040 unknown item, PX041 an item without features, PX060 call on segments, PX095 no packed features, PX132 model of
earlier features, PX138 unknown user, PX139 a user without a model.
Runs: coordinator.
Example: SELECT aspect, item_id, value FROM pix.explain(''ann'', ''B005IYS5ZA'');';

CREATE OR REPLACE FUNCTION pix.selected_dimensions(
    user_id text, algorithm text DEFAULT 'sgd_log', model_name text DEFAULT NULL
) RETURNS TABLE (dimension integer, weight real)
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER ROWS 100 SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_alone('pix.selected_dimensions');
    RETURN QUERY SELECT d.* FROM jsonb_to_recordset(pix_internal.answer('explanations.selected_dimensions', jsonb_build_object(
        'user_id', user_id, 'algorithm', algorithm, 'model_name', model_name))) d (dimension integer, weight real);
END
$$;
COMMENT ON FUNCTION pix.selected_dimensions IS
'Which numbers of the features a user''s model looks at: those that the L1 penalty of sgd_log or sgd_hinge has left a weight.
They can be used again: pix.fit_clusters takes dimensions, and so do the parameters of sgd_log and sgd_hinge.
Arguments: user_id, algorithm, model_name (NULL: the default model).
Result: dimension, from 1; weight, the largest first; no rows for models that are not linear.
Errors: PX020 unknown model, PX060 call on segments, PX131 a damaged model, PX132 model of earlier features, PX139 a
user without such a model.
Runs: coordinator.
Example: SELECT * FROM pix.selected_dimensions(''ann'', ''sgd_log'');';
