-- Synthetic users whose taste is known, voting through the same functions as real ones.

-- A number from 0 to 1 that looks random, the same for the same text.
CREATE OR REPLACE FUNCTION pix_internal.pseudo_random(seed_text text) RETURNS double precision
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$SELECT ('x' || substr(md5(seed_text), 1, 8))::bit(32)::bigint / 4294967296.0::double precision$$;

-- The labels of a label set, or values of an attribute, that items of a clustering have.
CREATE OR REPLACE FUNCTION pix_internal.true_labels(truth text, clustering text) RETURNS text[]
LANGUAGE sql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
SELECT array_agg(d.value ORDER BY d.value) FROM (
    SELECT l.label AS value FROM pix.labels l
    JOIN pix.cluster_members m ON m.item_id = l.item_id AND m.clustering = true_labels.clustering WHERE l.label_set = truth
    UNION
    SELECT CASE WHEN truth = 'brand' THEN i.brand ELSE i.attributes ->> truth END FROM pix.items i
    JOIN pix.cluster_members m ON m.item_id = i.item_id AND m.clustering = true_labels.clustering
    WHERE NOT EXISTS (SELECT FROM pix.labels l WHERE l.label_set = truth)
) d WHERE d.value IS NOT NULL
$$;

CREATE OR REPLACE FUNCTION pix.users_who_like(
    truth text, users bigint DEFAULT 20, liked_labels bigint DEFAULT 2, taste_groups bigint DEFAULT NULL,
    flipped double precision DEFAULT 0.1
) RETURNS pix.synthetic_users
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT ROW(truth, users, liked_labels, taste_groups, flipped)::pix.synthetic_users
$$;
COMMENT ON FUNCTION pix.users_who_like IS
'Synthetic users for pix.simulate: each likes some labels, and nothing else.
Arguments: truth, what tells items apart: a label set, ''brand'', or a key of the items'' attributes; users, how many, 2 or
more; liked_labels, how many labels a user likes; taste_groups, how many tastes the users share (NULL: each has their own);
flipped, the fraction of votes that say the opposite, up to 0.5.
Result: pix.synthetic_users.
Errors: none; pix.simulate refuses what cannot be used (PX003).
Runs: either (coordinator or segments).
Example: SELECT pix.users_who_like(''heel'', users => 10, flipped => 0);';

CREATE OR REPLACE FUNCTION pix.simulate(
    policy text, synthetic_users pix.synthetic_users, votes bigint DEFAULT 40, clustering text DEFAULT NULL,
    prior text DEFAULT NULL, seed bigint DEFAULT 7, keep boolean DEFAULT false
) RETURNS pix.simulations
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    begun timestamptz := clock_timestamp();
    truth text := synthetic_users.truth;
    users integer;
    liked_labels integer;
    flipped double precision := synthetic_users.flipped;
    chosen_clustering pix.clusterings;
    used_prior text;
    labels text[];
    liked text[];
    is_label_set boolean;
    available bigint;
    id bigint;
    person text;
    shown record;
    label text;
    is_over boolean;
    likes_it boolean;
    says_so boolean;
    won double precision;
    missed double precision;
    win_sums double precision[];
    win_squares double precision[];
    miss_sums double precision[];
    miss_squares double precision[];
BEGIN
    PERFORM pix_internal.check_call('pix.simulate');
    PERFORM pix_internal.check_policy(policy);
    chosen_clustering := pix.find_clustering(clustering);
    used_prior := pix_internal.check_prior(prior, chosen_clustering);
    PERFORM pix_internal.check_range('users', synthetic_users.users, 2, 100000);
    users := synthetic_users.users;
    PERFORM pix_internal.check_range('votes', votes, 1, 10000);
    PERFORM pix_internal.check_range('taste_groups', coalesce(synthetic_users.taste_groups, 1), 1, 1000000000);
    PERFORM pix_internal.check_range('flipped', flipped, 0, 0.5);
    PERFORM pix_internal.check_range('seed', seed, 0, 1000000000);
    IF keep IS NULL THEN
        PERFORM pix_internal.refuse('keep must be true or false, not NULL', 'Leave keep out to keep nothing.');
    END IF;
    PERFORM pix_internal.use_planner();
    labels := pix_internal.true_labels(truth, chosen_clustering.clustering);
    IF coalesce(cardinality(labels), 0) < 2 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX129',
            MESSAGE = format('%s is not a label set or an attribute with two values in clustering %L',
                coalesce(quote_literal(truth), 'NULL'), chosen_clustering.clustering),
            HINT = 'Name a label set of pix.labels, brand, or a key of the attributes of pix.items.';
    END IF;
    PERFORM pix_internal.check_range('liked_labels', synthetic_users.liked_labels, 1, cardinality(labels) - 1);
    liked_labels := synthetic_users.liked_labels;
    SELECT count(*) INTO available FROM pix.cluster_members m WHERE m.clustering = chosen_clustering.clustering;
    IF votes > available THEN
        PERFORM pix_internal.refuse(
            format('%s votes of each user are more than the %s items of clustering %L', votes, available, chosen_clustering.clustering),
            format('Use votes => %s or less.', available)
        );
    END IF;
    SELECT EXISTS (SELECT FROM pix.labels l WHERE l.label_set = truth) INTO is_label_set;
    INSERT INTO pix.simulations (policy, prior, clustering, label_set, users, votes, liked_labels, taste_groups,
        flipped, seed, likes, likes_error, seconds) VALUES (
        simulate.policy, used_prior, chosen_clustering.clustering, truth, users, simulate.votes, liked_labels,
        synthetic_users.taste_groups, flipped, simulate.seed, 0, 0, 0
    ) RETURNING simulation_id INTO id;
    win_sums := array_fill(0::double precision, ARRAY[votes::integer]);
    win_squares := win_sums;
    miss_sums := win_sums;
    miss_squares := win_sums;
    BEGIN
        FOR user_ordinal IN 1 .. users LOOP
            person := format('sim-%s-%s', id, user_ordinal);
            won := 0;
            missed := 0;
            SELECT array_agg(t.value) INTO liked FROM (
                SELECT l.value FROM unnest(labels) l (value)
                ORDER BY md5(format('%s: %s', CASE WHEN synthetic_users.taste_groups IS NULL THEN format('user %s of %s', user_ordinal, seed)
                    ELSE format('group %s', floor(synthetic_users.taste_groups * pix_internal.pseudo_random(format('%s in a group of %s', user_ordinal, seed)))) END, l.value))
                LIMIT liked_labels
            ) t;
            FOR vote_number IN 1 .. votes LOOP
                SELECT s.item_id INTO shown FROM pix.next_item(
                    person, policy, chosen_clustering.clustering, used_prior,
                    seed => floor(2147483647 * pix_internal.pseudo_random(format('%s: %s, %s', seed, user_ordinal, vote_number)))::integer
                ) s;
                is_over := NOT FOUND;
                IF is_over THEN
                    NULL;  -- nothing is left that this user has not seen: what they liked stays what it was
                ELSIF is_label_set THEN
                    SELECT l.label INTO label FROM pix.labels l WHERE l.item_id = shown.item_id AND l.label_set = truth;
                ELSE
                    SELECT CASE WHEN truth = 'brand' THEN i.brand ELSE i.attributes ->> truth END INTO label
                    FROM pix.items i WHERE i.item_id = shown.item_id;
                END IF;
                IF NOT is_over THEN
                    likes_it := coalesce(label = ANY (liked), false);
                    says_so := likes_it <> (pix_internal.pseudo_random(format('%s: %s votes on %s', seed, user_ordinal, shown.item_id)) < flipped);
                    PERFORM pix.vote(person, shown.item_id, says_so);
                    won := won + says_so::integer;
                    missed := missed + CASE WHEN likes_it THEN 0 ELSE 1 - 2 * flipped END;
                END IF;
                win_sums[vote_number] := win_sums[vote_number] + won;
                win_squares[vote_number] := win_squares[vote_number] + won ^ 2;
                miss_sums[vote_number] := miss_sums[vote_number] + missed;
                miss_squares[vote_number] := miss_squares[vote_number] + missed ^ 2;
            END LOOP;
        END LOOP;
        IF NOT keep THEN
            RAISE EXCEPTION USING ERRCODE = 'ZZ001', MESSAGE = 'These users were simulated, and are forgotten';
        END IF;
    EXCEPTION WHEN SQLSTATE 'ZZ001' THEN
        NULL;  -- what was counted stays in variables
    END;
    INSERT INTO pix.simulation_curves (simulation_id, vote, likes, likes_error, regret, regret_error)
    SELECT id, u.ordinal, u.win / users, sqrt(greatest(0, u.win_square / users - (u.win / users) ^ 2) / (users - 1)),
        u.miss / users, sqrt(greatest(0, u.miss_square / users - (u.miss / users) ^ 2) / (users - 1))
    FROM unnest(win_sums, win_squares, miss_sums, miss_squares) WITH ORDINALITY u (win, win_square, miss, miss_square, ordinal);
    SELECT c.likes, c.likes_error INTO won, missed FROM pix.simulation_curves c WHERE c.simulation_id = id AND c.vote = votes;
    UPDATE pix.simulations s SET likes = won, likes_error = missed, seconds = EXTRACT(EPOCH FROM begun_until - begun)
    FROM (SELECT clock_timestamp() AS begun_until) t WHERE s.simulation_id = id;
    RETURN (SELECT s FROM pix.simulations s WHERE s.simulation_id = id);
END
$$;
COMMENT ON FUNCTION pix.simulate IS
'Tries a policy on synthetic users whose taste is known: each likes some labels, and votes on what pix.next_item shows through
pix.vote. pix.regret_curves has how likes and regret grow; regret counts the likes that a user who is shown nothing but liked
labels would have given more. Nothing else stays, unless it is to be kept.
Arguments: policy; synthetic_users, as pix.users_who_like makes them; votes of each; clustering (NULL: the default one, or the
only one); prior, as for pix.next_items; seed, which decides on users and votes; keep: users, named sim-…, their votes and
what was shown to them stay.
Result: the row of pix.simulations: likes is the mean number per user, likes_error its standard error.
Errors: PX003 invalid argument, PX061 read-only, PX129 a truth that does not tell items apart.
Runs: coordinator; a vote and its suggestion take some 5 ms, on Greenplum 100 ms. Fits and batches of votes wait until it is done.
Example: SELECT likes, likes_error FROM pix.simulate(''thompson'', pix.users_who_like(''heel'', users => 3, liked_labels => 1), votes => 5, clustering => ''boots'');';

CREATE OR REPLACE VIEW pix.regret_curves AS
SELECT s.simulation_id, s.policy, s.prior, s.clustering, s.label_set, s.users, s.taste_groups, s.seed, c.vote, c.likes,
    c.likes_error, c.regret, c.regret_error
FROM pix.simulations s JOIN pix.simulation_curves c ON c.simulation_id = s.simulation_id;
COMMENT ON VIEW pix.regret_curves IS
'How likes and regret grow with votes in each run of pix.simulate, for BI tools: means per user, and their standard errors.';
