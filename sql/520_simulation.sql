-- Synthetic users whose taste is known, voting through the same functions as real ones.

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
    id bigint;
BEGIN
    PERFORM pix_internal.check_call('pix.simulate');
    PERFORM pix_internal.check_policy(policy);
    PERFORM pix_internal.check_range('users', synthetic_users.users, 2, 100000);
    PERFORM pix_internal.check_range('votes', votes, 1, 10000);
    PERFORM pix_internal.check_range('taste_groups', coalesce(synthetic_users.taste_groups, 1), 1, 1000000000);
    PERFORM pix_internal.check_range('flipped', synthetic_users.flipped, 0, 0.5);
    PERFORM pix_internal.check_range('seed', seed, 0, 1000000000);
    IF keep IS NULL THEN
        PERFORM pix_internal.refuse('keep must be true or false, not NULL', 'Leave keep out to keep nothing.');
    END IF;
    id := pix_internal.drive('simulation.simulate', to_jsonb(synthetic_users) || jsonb_build_object(
        'policy', policy, 'votes', votes, 'clustering', clustering, 'prior', prior, 'seed', seed, 'keep', keep));
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
