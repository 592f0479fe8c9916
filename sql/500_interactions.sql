-- Votes: a log that is only appended to. What a user thinks of an item is its opinion, a view over the log; arms are opinions
-- added up by cluster. pix.vote moves the arms by what it changes, pix.rebuild_arms adds everything up: both come to the same.

CREATE OR REPLACE VIEW pix.opinions AS
SELECT DISTINCT ON (i.user_id, i.item_id) i.user_id, i.item_id, i.signal, i.value, i.voted_at, i.vote_id FROM (
    SELECT n.user_id, n.item_id, n.signal, n.value, n.voted_at, n.vote_id,
        n.signal IN ('like', 'dislike') AS is_said,
        max(n.voted_at) FILTER (WHERE n.signal = 'undo') OVER (PARTITION BY n.user_id, n.item_id) AS undone_at
    FROM pix.interactions n
) i
WHERE i.undone_at IS NULL OR i.voted_at > i.undone_at
ORDER BY i.user_id, i.item_id, i.is_said DESC, i.signal = 'skip', CASE WHEN i.is_said THEN 0 ELSE abs(i.value) END DESC,
    i.voted_at DESC, i.vote_id DESC;
COMMENT ON VIEW pix.opinions IS
'What each user thinks of each item, derived from pix.interactions: the last like or dislike, if there is one, else the
strongest of the other signals, the last of those that are equal. What came before an undo is not looked at.';

-- Days in which a vote loses half of its weight; NULL: votes do not age.
CREATE OR REPLACE FUNCTION pix_internal.half_life() RETURNS double precision
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    days text;
BEGIN
    SELECT s.value INTO days FROM pix.settings s WHERE s.key = 'half_life_days';
    IF days !~ '^[0-9]{1,9}(\.[0-9]{1,9})?$' OR days::double precision = 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX028', MESSAGE = format('Setting half_life_days is %L', days),
            HINT = 'SELECT pix.set_half_life(90); or pix.set_half_life(NULL), so that votes do not age.';
    END IF;
    RETURN days::double precision;
END
$$;

-- What is left of a vote's weight at some age.
-- Inlined, as it is called for every vote: so it has no SET clause, and names everything in full.
CREATE OR REPLACE FUNCTION pix_internal.decay(half_life double precision, age interval) RETURNS double precision
LANGUAGE sql IMMUTABLE PARALLEL SAFE AS $$
SELECT CASE WHEN half_life IS NULL THEN 1 ELSE pg_catalog.power(0.5::pg_catalog.float8, GREATEST(LEAST(pg_catalog.float8div(
    pg_catalog.date_part('epoch', age), pg_catalog.float8mul(86400::pg_catalog.float8, half_life)
), 300), -300)) END
$$;

-- Says which session has not let go of what is added up by clusters, or of what a transaction holds; nothing if it may work on
-- and does.
CREATE OR REPLACE FUNCTION pix_internal.raise_locked(holder xid DEFAULT NULL, may_work boolean DEFAULT false) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    holders record;
BEGIN
    SELECT string_agg(DISTINCT format('session %s of %s, %s since %s', a.pid, a.usename, a.state,
            to_char(a.state_change, 'HH24:MI:SS')), '; ') AS sessions, bool_and(a.state = 'active') AS do_work
    INTO holders FROM pg_locks l JOIN pg_stat_activity a ON a.pid = l.pid
    WHERE l.granted AND l.pid <> pg_backend_pid() AND CASE WHEN holder IS NULL
        THEN l.relation = 'pix.arms'::regclass AND l.mode <> 'AccessShareLock' AND a.datname = current_database()
        ELSE l.transactionid = holder END;
    IF may_work AND holders.do_work THEN
        RETURN;
    END IF;
    RAISE EXCEPTION USING ERRCODE = 'PX063',
        MESSAGE = format('A transaction that votes wait for does not end: %s', coalesce(holders.sessions, 'it is not known whose')),
        HINT = 'Have it committed, or end it: SELECT pg_terminate_backend(…); idle_in_transaction_session_timeout does so by itself.';
END
$$;

-- Holds up the counting of votes until the end of the transaction, which changes what they are added up by.
-- What is added up by clusters changes: votes are counted before or after, not in between. Greenplum locks the whole table
-- for each vote anyway; elsewhere nobody holds it longer than it takes to commit, unless they have asked for a suggestion
-- since their vote. Such a one is waited for ten times, and votes of others pass in between.
CREATE OR REPLACE FUNCTION pix_internal.lock_arms() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET lock_timeout = '1s' AS $$
BEGIN
    PERFORM pix_internal.require_read_committed();
    PERFORM pix_internal.count_votes();
    FOR attempt IN 1 .. 10 LOOP
        BEGIN
            LOCK TABLE pix.arms IN EXCLUSIVE MODE;
            RETURN;
        EXCEPTION WHEN lock_not_available THEN
            IF attempt = 10 THEN
                PERFORM pix_internal.raise_locked();
            END IF;
        END;
        PERFORM pg_sleep(0.2);
    END LOOP;
END
$$;

-- Refuses what is not the name of a user.
CREATE OR REPLACE FUNCTION pix_internal.check_user(user_id text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF user_id IS NULL OR octet_length(user_id) NOT BETWEEN 1 AND 200 THEN  -- asked for every vote, without a call of its own
        PERFORM pix_internal.check_name('user_id', user_id);
    END IF;
END
$$;

-- Holds a user whom somebody else holds, or who is new; not if that one does nothing for ten seconds.
-- Nobody is waited for without end: statement_timeout does not count while a transaction commits.
CREATE OR REPLACE FUNCTION pix_internal.wait_for_user(user_id text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
BEGIN
    IF pix_internal.is_distributed() THEN  -- not in a block that catches errors: see sql/090_drivers.sql
        INSERT INTO pix.users (user_id) VALUES (wait_for_user.user_id) ON CONFLICT DO NOTHING;
        RETURN;
    END IF;
    LOOP
        BEGIN
            INSERT INTO pix.users (user_id) VALUES (wait_for_user.user_id) ON CONFLICT DO NOTHING;
            PERFORM FROM pix.users u WHERE u.user_id = wait_for_user.user_id FOR NO KEY UPDATE;
            IF FOUND THEN
                RETURN;
            END IF;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pix_internal.raise_locked(
                (SELECT u.xmax FROM pix.users u WHERE u.user_id = wait_for_user.user_id), may_work => true
            );
        END;
    END LOOP;
END
$$;

-- What is done for a user waits for what was begun for them; the user is created if new.
CREATE OR REPLACE FUNCTION pix_internal.lock_user(user_id text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    IF pix_internal.is_distributed() THEN  -- which would lock the whole table
        PERFORM FROM pix.users u WHERE u.user_id = lock_user.user_id;
    ELSE
        PERFORM FROM pix.users u WHERE u.user_id = lock_user.user_id FOR NO KEY UPDATE SKIP LOCKED;
    END IF;
    IF NOT FOUND THEN
        IF NOT EXISTS (SELECT FROM pix.users u WHERE u.user_id = lock_user.user_id) THEN
            LOCK TABLE pix.arms IN ROW EXCLUSIVE MODE;  -- a batch that creates the same user would wait with everybody else held up
        END IF;
        PERFORM pix_internal.wait_for_user(user_id);
    END IF;
END
$$;

-- What a user thought of an item before a vote, or after it.
-- As pix.opinions has it, but for what the vote''s own transaction has logged after it.
CREATE OR REPLACE FUNCTION pix_internal.opinion_at(
    vote pix.interactions, is_included boolean, OUT value double precision, OUT voted_at timestamptz, OUT vote_id bigint
)
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
BEGIN
    SELECT i.value, i.voted_at, i.vote_id INTO value, voted_at, vote_id FROM (
        SELECT n.signal, n.value, n.voted_at, n.vote_id, n.signal IN ('like', 'dislike') AS is_said,
            max(n.voted_at) FILTER (WHERE n.signal = 'undo') OVER () AS undone_at
        FROM pix.interactions n WHERE n.user_id = vote.user_id AND n.item_id = vote.item_id AND CASE
            WHEN n.vote_id = vote.vote_id THEN is_included
            WHEN n.vote_id < vote.vote_id OR vote.transaction_id IS NULL THEN true
            ELSE n.transaction_id IS DISTINCT FROM vote.transaction_id END
    ) i
    WHERE i.undone_at IS NULL OR i.voted_at > i.undone_at
    ORDER BY i.is_said DESC, i.signal = 'skip', CASE WHEN i.is_said THEN 0 ELSE abs(i.value) END DESC,
        i.voted_at DESC, i.vote_id DESC
    LIMIT 1;
END
$$;

-- Moves the arms of a user, who has to be held, by what a vote in the log has changed.
CREATE OR REPLACE FUNCTION pix_internal.count_vote(vote pix.interactions) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    before record := pix_internal.opinion_at(vote, false);
    after record := pix_internal.opinion_at(vote, true);
    half_life double precision;
    latest timestamptz;
BEGIN
    IF before.vote_id IS NOT DISTINCT FROM after.vote_id THEN
        RETURN;
    END IF;
    half_life := pix_internal.half_life();
    latest := greatest(before.voted_at, after.voted_at);
    INSERT INTO pix.arms AS a (user_id, clustering, cluster, likes, dislikes, votes, as_of)
    SELECT vote.user_id, m.clustering, m.cluster,
        coalesce(greatest(after.value, 0) * pix_internal.decay(half_life, latest - after.voted_at), 0)
            - coalesce(greatest(before.value, 0) * pix_internal.decay(half_life, latest - before.voted_at), 0),
        coalesce(greatest(-after.value, 0) * pix_internal.decay(half_life, latest - after.voted_at), 0)
            - coalesce(greatest(-before.value, 0) * pix_internal.decay(half_life, latest - before.voted_at), 0),
        (after.vote_id IS NOT NULL)::integer - (before.vote_id IS NOT NULL)::integer, latest
    FROM pix.cluster_members m WHERE m.item_id = vote.item_id
    -- What has decayed to nothing is dropped: the next product would be too small for a float.
    ON CONFLICT ON CONSTRAINT arms_pkey DO UPDATE SET
        likes = greatest(0, CASE WHEN a.likes < 1e-90 THEN 0 ELSE a.likes END * pix_internal.decay(half_life, greatest(a.as_of, excluded.as_of) - a.as_of)
            + excluded.likes * pix_internal.decay(half_life, greatest(a.as_of, excluded.as_of) - excluded.as_of)),
        dislikes = greatest(0, CASE WHEN a.dislikes < 1e-90 THEN 0 ELSE a.dislikes END * pix_internal.decay(half_life, greatest(a.as_of, excluded.as_of) - a.as_of)
            + excluded.dislikes * pix_internal.decay(half_life, greatest(a.as_of, excluded.as_of) - excluded.as_of)),
        votes = a.votes + excluded.votes, as_of = greatest(a.as_of, excluded.as_of);
END
$$;

-- Trigger of pix.interactions, for a vote whose transaction commits.
-- Votes are counted when their transaction commits: until then nobody has to wait for it, and it for nobody. There, users are
-- held in whatever order they have voted; transactions with votes of several take turns, or they could wait for one another.
CREATE OR REPLACE FUNCTION pix_internal.vote_commits() RETURNS trigger
LANGUAGE plpgsql SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
BEGIN
    LOOP
        BEGIN
            IF current_setting('pix.voters', true) = 'several' THEN
                LOCK TABLE pix.users IN SHARE UPDATE EXCLUSIVE MODE;
            END IF;
            LOCK TABLE pix.arms IN ROW EXCLUSIVE MODE;
            EXIT;
        EXCEPTION WHEN lock_not_available THEN
            PERFORM pix_internal.raise_locked(may_work => true);
        END;
    END LOOP;
    PERFORM pix_internal.lock_user(NEW.user_id);
    PERFORM pix_internal.count_vote(NEW);
    RETURN NULL;
END
$$;
DROP TRIGGER IF EXISTS vote_commits ON pix.interactions;
DO $$
BEGIN
    IF NOT pix_internal.is_distributed() THEN  -- where triggers cannot write
        CREATE CONSTRAINT TRIGGER vote_commits AFTER INSERT ON pix.interactions DEFERRABLE INITIALLY DEFERRED
        FOR EACH ROW WHEN (NEW.transaction_id IS NOT NULL) EXECUTE FUNCTION pix_internal.vote_commits();
    END IF;
END
$$;

-- Counts the votes of this transaction now.
CREATE OR REPLACE FUNCTION pix_internal.count_votes() RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF NOT pix_internal.is_distributed() THEN
        SET CONSTRAINTS pix.vote_commits IMMEDIATE;
        SET CONSTRAINTS pix.vote_commits DEFERRED;
    END IF;
END
$$;

-- Appends to the log; the arms are moved by what that changes at the end of the transaction, on Greenplum at once.
-- Tables of votes are written by the owner's rights, through these functions alone: the log cannot be rewritten by who votes.
CREATE OR REPLACE FUNCTION pix_internal.log_vote(
    user_id text, item_id text, signal text, value double precision, voted_at timestamptz, policy text, clustering text,
    cluster bigint, propensity double precision, idempotency_key text
) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET enable_seqscan = off
SET plan_cache_mode = force_generic_plan AS $$
DECLARE
    used_time timestamptz := coalesce(voted_at, clock_timestamp());
    is_distributed boolean := pix_internal.is_distributed();
    voter text := current_setting('pix.voters', true);
    earlier record;
    shown record;
    logged pix.interactions;
BEGIN
    PERFORM pix_internal.require_read_committed();
    PERFORM pix_internal.use_planner();
    PERFORM pix_internal.half_life();  -- a setting that cannot be used is told now, not at the end of the transaction
    IF is_distributed THEN
        LOCK TABLE pix.arms IN EXCLUSIVE MODE;  -- which counting the vote would do anyway: so there is one order of locks
    END IF;
    LOOP
        IF idempotency_key IS NOT NULL THEN
            SELECT n.vote_id, n.item_id, n.signal, n.voted_at INTO earlier FROM pix.interactions n
            WHERE n.user_id = log_vote.user_id AND n.idempotency_key = log_vote.idempotency_key;
            IF FOUND THEN
                IF earlier.item_id IS DISTINCT FROM item_id OR earlier.signal <> signal OR earlier.voted_at <> coalesce(voted_at, earlier.voted_at) THEN
                    RAISE EXCEPTION USING ERRCODE = 'PX123',
                        MESSAGE = format('The idempotency key %L of user %L was used for another vote: %s of item %L',
                            idempotency_key, user_id, earlier.signal, earlier.item_id),
                        HINT = 'Give each vote a key of its own, and the same one only when it is sent again.';
                END IF;
                RETURN earlier.vote_id;
            END IF;
        END IF;
        IF signal <> 'undo' AND NOT EXISTS (SELECT FROM pix.items i WHERE i.item_id = log_vote.item_id) THEN
            RAISE EXCEPTION USING ERRCODE = 'PX040', MESSAGE = format('Item %s is not in the catalogue', coalesce(quote_literal(item_id), 'NULL')),
                HINT = 'SELECT item_id FROM pix.items lists the catalogue.';
        END IF;
        SELECT s.impression_id, s.policy, s.clustering, s.cluster, s.propensity INTO shown FROM pix.impressions s
        WHERE s.user_id = log_vote.user_id AND s.item_id = log_vote.item_id AND s.shown_at <= used_time
        ORDER BY s.shown_at DESC LIMIT 1;
        IF (policy, clustering, cluster, propensity) IS DISTINCT FROM (
            CASE WHEN policy IS NOT NULL THEN shown.policy END, CASE WHEN clustering IS NOT NULL THEN shown.clustering END,
            CASE WHEN cluster IS NOT NULL THEN shown.cluster END, CASE WHEN propensity IS NOT NULL THEN shown.propensity END
        ) THEN  -- something else has suggested the item
            SELECT NULL::bigint AS impression_id, policy AS policy, clustering AS clustering, cluster::integer AS cluster,
                propensity AS propensity INTO shown;
        END IF;
        INSERT INTO pix.interactions AS n (user_id, item_id, signal, value, voted_at, impression_id, policy, clustering,
            cluster, propensity, idempotency_key, transaction_id) VALUES (
            log_vote.user_id, log_vote.item_id, log_vote.signal, log_vote.value, used_time, shown.impression_id,
            shown.policy, shown.clustering, shown.cluster, shown.propensity, log_vote.idempotency_key,
            CASE WHEN NOT is_distributed THEN txid_current() END
        )
        ON CONFLICT DO NOTHING
        RETURNING n.* INTO logged;
        EXIT WHEN FOUND;  -- else another session has just logged the same key
    END LOOP;
    IF is_distributed THEN
        PERFORM pix_internal.lock_user(user_id);
        PERFORM pix_internal.count_vote(logged);
    ELSIF voter IS DISTINCT FROM user_id AND voter IS DISTINCT FROM 'several' THEN
        PERFORM set_config('pix.voters', CASE WHEN coalesce(voter, '') = '' THEN user_id ELSE 'several' END, true);
    END IF;
    RETURN logged.vote_id;
END
$$;

CREATE OR REPLACE FUNCTION pix.vote(
    user_id text, item_id text, liked boolean DEFAULT NULL, signal text DEFAULT NULL, voted_at timestamptz DEFAULT NULL,
    idempotency_key text DEFAULT NULL, policy text DEFAULT NULL, clustering text DEFAULT NULL, cluster bigint DEFAULT NULL,
    propensity double precision DEFAULT NULL
) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    used_signal text := coalesce(signal, CASE WHEN liked THEN 'like' WHEN NOT liked THEN 'dislike' END);
    used_value double precision;
BEGIN
    PERFORM pix_internal.require_coordinator('pix.vote', 'Call it with values, or log many votes with pix.vote_batch.');
    PERFORM pix_internal.require_writable('pix.vote');
    PERFORM pix_internal.check_user(user_id);
    IF used_signal IS NULL OR (liked IS NOT NULL AND signal IS NOT NULL) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX121',
            MESSAGE = CASE WHEN signal IS NULL THEN 'The vote says neither like nor dislike, and names no signal'
                ELSE 'The vote says both: liked, and a signal' END,
            HINT = 'Give one of them: liked => true, liked => false, or signal => ''cart''.';
    END IF;
    SELECT s.value INTO used_value FROM pix.signals s WHERE s.signal = used_signal;
    IF NOT FOUND OR used_signal = 'undo' THEN
        RAISE EXCEPTION USING ERRCODE = 'PX121', MESSAGE = format('Signal %L is not known', used_signal),
            HINT = 'Use one of: ' || coalesce(
                (SELECT string_agg(s.signal, ', ' ORDER BY s.signal) FROM pix.signals s), 'none; pix.signals is empty'
            ) || '.';
    END IF;
    IF voted_at = '-infinity' THEN
        RAISE EXCEPTION USING ERRCODE = 'PX124', MESSAGE = 'The vote is at no time: -infinity', HINT = 'Leave voted_at out.';
    END IF;
    IF voted_at > clock_timestamp() + interval '1 minute' THEN
        RAISE EXCEPTION USING ERRCODE = 'PX124', MESSAGE = format('The vote is in the future: %s', voted_at),
            HINT = 'Leave voted_at out, or set the client''s clock.';
    END IF;
    PERFORM pix_internal.check_range('cluster', coalesce(cluster, 0), 0);
    IF NOT propensity BETWEEN 0 AND 1 THEN
        PERFORM pix_internal.refuse(format('propensity must be between 0 and 1, not %s', propensity),
            'Give the probability with which the policy chose the cluster, or leave it out.');
    END IF;
    IF idempotency_key IS NOT NULL THEN
        PERFORM pix_internal.check_name('idempotency_key', idempotency_key);
    END IF;
    RETURN pix_internal.log_vote(user_id, item_id, used_signal, used_value, voted_at, policy, clustering, cluster,
        propensity, idempotency_key);
END
$$;
COMMENT ON FUNCTION pix.vote IS
'Logs what a user thinks of an item, or did with it, and counts it for the item''s cluster in every clustering. A user who is
new is created. Of several likes and dislikes of an item the last counts; of other signals, where there is no like or dislike,
the strongest. All stay in pix.interactions. The vote is counted when its transaction commits, or asks for a suggestion: until
then nobody waits for it.
Arguments: user_id; item_id; liked, true or false, or else signal, a row of pix.signals (view, click, cart, buy, …); voted_at
(NULL: now); idempotency_key, the client''s own name for this vote: sent again it is the same vote, not another one; policy,
clustering, cluster and propensity, where something else than pix.next_item has suggested the item (all NULL: those of its
latest suggestion to this user; the names of others are not checked).
Result: vote_id.
Errors: PX003 invalid argument, PX028 unusable setting, PX040 unknown item, PX060 call on segments, PX061 read-only,
PX063 votes in a transaction that does not end, PX121 a vote that says nothing or names an unknown signal, PX123 an
idempotency key that was used for another vote, PX124 a vote in the future, PX130 isolation above READ COMMITTED.
Runs: coordinator. On Greenplum votes take turns, table by table: log many at once with pix.vote_batch.
Example: SELECT pix.vote(''ann'', (SELECT min(item_id) FROM pix.items), true);';

CREATE OR REPLACE FUNCTION pix.undo_vote(user_id text, item_id text) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    moment timestamptz;
BEGIN
    PERFORM pix_internal.require_coordinator('pix.undo_vote', 'Call it with values.');
    PERFORM pix_internal.require_writable('pix.undo_vote');
    PERFORM pix_internal.require_read_committed();
    PERFORM pix_internal.check_user(user_id);
    IF NOT EXISTS (
        SELECT FROM pix.opinions o WHERE o.user_id = undo_vote.user_id AND o.item_id = undo_vote.item_id
    ) THEN
        RETURN false;
    END IF;
    -- Not before what it takes back, whose clock may be ahead.
    SELECT greatest(clock_timestamp(), max(n.voted_at)) INTO moment FROM pix.interactions n
    WHERE n.user_id = undo_vote.user_id AND n.item_id = undo_vote.item_id;
    PERFORM pix_internal.log_vote(user_id, item_id, 'undo', 0, moment, NULL, NULL, NULL, NULL, NULL);
    RETURN true;
END
$$;
COMMENT ON FUNCTION pix.undo_vote IS
'Takes back what a user has said of an item, and did with it: it counts no more, and the item may be suggested again. The log
keeps it, and that it was taken back.
Arguments: user_id; item_id.
Result: whether there was anything to take back.
Errors: PX003 invalid argument, PX060 call on segments, PX061 read-only, PX063 votes in a transaction that does not end,
PX130 isolation above READ COMMITTED.
Runs: coordinator.
Example: SELECT pix.undo_vote(''ann'', (SELECT min(item_id) FROM pix.items));';

-- Adds up the opinions of some users, or of all, in a clustering, or in all. Votes have to be held up.
CREATE OR REPLACE FUNCTION pix_internal.add_up_arms(clustering text, users text[]) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp SET plan_cache_mode = force_custom_plan AS $$
DECLARE
    half_life double precision := pix_internal.half_life();
    number bigint;
BEGIN
    DELETE FROM pix.arms a WHERE (add_up_arms.clustering IS NULL OR a.clustering = add_up_arms.clustering)
        AND (users IS NULL OR a.user_id = ANY (users));
    INSERT INTO pix.arms (user_id, clustering, cluster, likes, dislikes, votes, as_of)
    SELECT d.user_id, d.clustering, d.cluster, sum(greatest(d.value, 0) * pix_internal.decay(half_life, d.latest - d.voted_at)),
        sum(greatest(-d.value, 0) * pix_internal.decay(half_life, d.latest - d.voted_at)), count(*), d.latest
    FROM (
        SELECT o.user_id, m.clustering, m.cluster, o.value, o.voted_at,
            max(o.voted_at) OVER (PARTITION BY o.user_id, m.clustering, m.cluster) AS latest
        FROM pix.opinions o JOIN pix.cluster_members m ON m.item_id = o.item_id
        WHERE (add_up_arms.clustering IS NULL OR m.clustering = add_up_arms.clustering)
            AND (users IS NULL OR o.user_id = ANY (users))
    ) d
    GROUP BY d.user_id, d.clustering, d.cluster, d.latest;
    GET DIAGNOSTICS number = ROW_COUNT;
    RETURN number;
END
$$;

CREATE OR REPLACE FUNCTION pix.rebuild_arms(clustering text DEFAULT NULL) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.rebuild_arms');
    IF clustering IS NOT NULL THEN
        PERFORM pix.find_clustering(clustering);
    END IF;
    PERFORM pix_internal.lock_arms();
    RETURN pix_internal.add_up_arms(clustering, NULL);
END
$$;
COMMENT ON FUNCTION pix.rebuild_arms IS
'Derives the arms again from the log of votes, by the clusters that items are in now. pix.vote leaves the same, so it is needed
only after pix.interactions or pix.cluster_members was changed by hand; pix.fit_clusters and pix.refresh_clusters call it.
Votes wait until it is done.
Arguments: clustering (NULL: all).
Result: how many arms there are.
Errors: PX028 unusable setting, PX060 call on segments, PX061 read-only, PX063 votes in a transaction that does not end,
PX100 unknown clustering, PX130 isolation above READ COMMITTED.
Runs: coordinator; the work is done on the segments.
Example: SELECT pix.rebuild_arms(''boots'');';

CREATE OR REPLACE FUNCTION pix.set_half_life(days double precision) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.set_half_life');
    PERFORM pix_internal.check_range('days', coalesce(days, 1), 0.001, 100000);  -- NULL: votes do not age
    PERFORM pix_internal.lock_arms();
    DELETE FROM pix.settings s WHERE s.key = 'half_life_days';
    IF days IS NOT NULL THEN
        INSERT INTO pix.settings (key, value) VALUES ('half_life_days', round(days::numeric, 6)::text);
    END IF;
    PERFORM pix_internal.add_up_arms(NULL, NULL);
END
$$;
COMMENT ON FUNCTION pix.set_half_life IS
'Lets old votes count for less, as tastes change: one of so many days ago counts half. All arms are added up again.
Arguments: days, 0.001 to 100,000 (NULL: votes do not age).
Result: none.
Errors: PX003 invalid argument, PX060 call on segments, PX061 read-only, PX063 votes in a transaction that does not end,
PX130 isolation above READ COMMITTED.
Runs: coordinator; the work is done on the segments.
Example: SELECT pix.set_half_life(90);';

-- Many votes in a few statements: what is wrong with a vote is reported, and the others are logged.
CREATE OR REPLACE FUNCTION pix.vote_batch(votes jsonb) RETURNS SETOF pix.vote_result
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '10s' AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.vote_batch');
    IF jsonb_typeof(votes) IS DISTINCT FROM 'array' THEN
        RAISE EXCEPTION USING ERRCODE = 'PX121', MESSAGE = 'votes must be a JSON array',
            HINT = 'Give an array of objects: [{"user_id": "ann", "item_id": "B005IYS5ZA", "liked": true}]';
    END IF;
    RETURN QUERY SELECT r.* FROM jsonb_populate_recordset(NULL::pix.vote_result,
        pix_internal.drive('votes.vote_batch', jsonb_build_object('votes', votes::text))) r;
END
$$;
COMMENT ON FUNCTION pix.vote_batch(jsonb) IS
'Logs many votes at once, in a few statements, as pix.vote would one by one: the way to sustain thousands a second, on
Greenplum above all. A vote that cannot be logged is reported, and does not keep the others from it. Single votes wait until it is done.
Arguments: votes, a JSON array of objects: user_id, item_id, and either liked or signal; voted_at (with its time zone),
idempotency_key, policy, clustering, cluster, propensity may be left out.
Result: for each vote, ordinal (from 1), status: logged, unchanged (its idempotency key is known) or rejected, and then the
reason.
Errors: PX028 unusable setting, PX060 call on segments, PX061 read-only, PX063 votes in a transaction that does not end,
PX121 what is not an array, PX130 isolation above READ COMMITTED.
Runs: coordinator; the work is done on the segments.
Example: SELECT * FROM pix.vote_batch(''[{"user_id": "ann", "item_id": "B005IYS5ZA", "liked": true}]'');';

-- Drivers send text.
CREATE OR REPLACE FUNCTION pix.vote_batch(votes text) RETURNS SETOF pix.vote_result
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    parsed jsonb;
BEGIN
    BEGIN
        parsed := votes;
    EXCEPTION WHEN data_exception THEN
        RAISE EXCEPTION USING ERRCODE = 'PX121', MESSAGE = format('votes must be JSON, not %L', left(votes, 60)),
            HINT = 'Give an array of objects: [{"user_id": "ann", "item_id": "B005IYS5ZA", "liked": true}]';
    END;
    RETURN QUERY SELECT v.* FROM pix.vote_batch(parsed) v;
END
$$;
COMMENT ON FUNCTION pix.vote_batch(text) IS
'As pix.vote_batch of jsonb, for drivers that send text.
Arguments: votes, a JSON array as text.
Result: as there.
Errors: those there, PX121 also for what is not JSON.
Runs: coordinator; the work is done on the segments.
Example: SELECT * FROM pix.vote_batch(''[]''::text);';

CREATE OR REPLACE FUNCTION pix.count_skips(older_than interval DEFAULT '1 day') RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    limit_time timestamptz;
    worth double precision;
    skipped record;
BEGIN
    PERFORM pix_internal.check_call('pix.count_skips');
    IF older_than IS NULL OR NOT older_than BETWEEN interval '0' AND interval '1000 years' THEN
        PERFORM pix_internal.refuse(format('older_than must be from 0 to 1,000 years, not %s', coalesce(older_than::text, 'NULL')),
            'Give the time that people have to answer: older_than => ''1 day''.');
    END IF;
    SELECT s.value INTO worth FROM pix.signals s WHERE s.signal = 'skip';
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX121', MESSAGE = 'Signal ''skip'' is not known',
            HINT = 'INSERT INTO pix.signals (signal, value) VALUES (''skip'', -0.1);';
    END IF;
    PERFORM pix_internal.use_planner();
    PERFORM pix_internal.lock_arms();
    limit_time := clock_timestamp() - older_than;
    SELECT array_agg(s.user_id) AS users, array_agg(s.impression_id) AS impressions INTO skipped FROM pix.impressions s
    WHERE s.shown_at <= limit_time AND NOT EXISTS (
        SELECT FROM pix.interactions n
        WHERE n.user_id = s.user_id AND n.item_id = s.item_id AND n.impression_id = s.impression_id
    );
    IF skipped.users IS NULL THEN
        RETURN 0;
    END IF;
    INSERT INTO pix.interactions (user_id, item_id, signal, value, voted_at, impression_id, policy, clustering, cluster,
        propensity)
    SELECT s.user_id, s.item_id, 'skip', worth, s.shown_at, s.impression_id, s.policy, s.clustering, s.cluster, s.propensity
    FROM unnest(skipped.users, skipped.impressions) u (user_id, impression_id)
    JOIN pix.impressions s ON s.user_id = u.user_id AND s.impression_id = u.impression_id;
    PERFORM pix_internal.add_up_arms(NULL, ARRAY(SELECT DISTINCT u FROM unnest(skipped.users) u));
    RETURN cardinality(skipped.users);
END
$$;
COMMENT ON FUNCTION pix.count_skips IS
'Counts suggestions that were shown and not answered: each is logged once, with signal skip, whose value in pix.signals is a
little of a dislike. To be called by a job, once a day. Any other signal for the item outweighs it.
Arguments: older_than, how long people have to answer.
Result: how many were logged.
Errors: PX003 invalid argument, PX060 call on segments, PX061 read-only, PX063 votes in a transaction that does not end,
PX121 no signal skip, PX130 isolation above READ COMMITTED.
Runs: coordinator; the work is done on the segments.
Example: SELECT pix.count_skips(''1 day'');';
