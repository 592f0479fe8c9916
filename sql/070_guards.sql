-- What functions ask first: who may write, who takes turns, what kind of transaction this is.

-- Refuses an argument: the message says what it must be, the hint what to do.
CREATE OR REPLACE FUNCTION pix_internal.refuse(message text, hint text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'PX003', MESSAGE = message, HINT = hint;
END
$$;

-- Refuses an array of more than one dimension: what reads a list by its positions, or in Python, would find lists in it.
CREATE OR REPLACE FUNCTION pix_internal.check_list(argument text, elements anyarray) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF array_ndims(elements) > 1 THEN
        PERFORM pix_internal.refuse(
            format('%s must be a list of one dimension, not an array of %s', argument, array_ndims(elements)),
            format('Write %s => ''{a,b}'', without braces inside the braces.', argument));
    END IF;
END
$$;

-- Refuses a number that is missing, NaN or out of its range, both ends of which are in it; highest may be NULL.
CREATE OR REPLACE FUNCTION pix_internal.check_range(
    argument text, value double precision, lowest double precision, highest double precision DEFAULT NULL
) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    ends text[];
BEGIN
    IF value BETWEEN lowest AND coalesce(highest, 2147483647) THEN
        RETURN;
    END IF;
    IF value > lowest THEN
        highest := coalesce(highest, 2147483647);  -- what an integer holds
    END IF;
    -- As a person would write it: 100,000 and 0.5.
    SELECT array_agg(CASE WHEN e = trunc(e) THEN to_char(e, 'FM999,999,999,990') ELSE e::text END) INTO ends
    FROM unnest(ARRAY[lowest, highest]) e WHERE e IS NOT NULL;
    PERFORM pix_internal.refuse(
        format('%s must be %s, not %s', argument, coalesce('from ' || ends[1] || ' to ' || ends[2], ends[1] || ' or more'),
            coalesce(value::text, 'NULL')),
        format('Give another one, such as %s => %s, or leave it out to have the default.', argument, lowest)
    );
END
$$;

-- Refuses what is none of some words.
CREATE OR REPLACE FUNCTION pix_internal.check_choice(argument text, value text, choices text[]) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF value = ANY (choices) THEN
        RETURN;
    END IF;
    PERFORM pix_internal.refuse(
        format('%s must be one of %s, not %s', argument, array_to_string(choices, ', '), coalesce(quote_literal(left(value, 200)), 'NULL')),
        format('Give another one, such as %s => %L, or leave it out to have the default.', argument, choices[1])
    );
END
$$;

-- Refuses what cannot name something that is stored.
CREATE OR REPLACE FUNCTION pix_internal.check_name(argument text, name text) RETURNS void
LANGUAGE plpgsql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF octet_length(name) BETWEEN 1 AND 200 THEN
        RETURN;
    END IF;
    PERFORM pix_internal.refuse(
        format('%s must be a name of 1 to 200 bytes, not %s', argument, CASE WHEN name IS NULL THEN 'NULL' WHEN name = '' THEN 'empty'
            ELSE format('one of %s', octet_length(name)) END), format('Give another one, such as %s => ''first''.', argument)
    );
END
$$;

-- Names that are written much like another, the likeliest first.
CREATE OR REPLACE FUNCTION pix_internal.close_names(name text, names text[]) RETURNS text[]
LANGUAGE plpython3u IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'parameters.close_names', name, names)$$;

-- The hint for a name that is not known: what may have been meant, or else what helps.
CREATE OR REPLACE FUNCTION pix_internal.did_you_mean(name text, names text[], remedy text) RETURNS text
LANGUAGE sql IMMUTABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT coalesce('Did you mean ' || nullif(array_to_string(ARRAY(
    SELECT quote_literal(n) FROM unnest(pix_internal.close_names(name, coalesce(names, '{}'))) n  -- Greenplum's array of nothing is NULL
), ' or '), '') || '? ', '') || remedy
$$;

-- Whether this transaction can write nothing.
-- On a standby nothing can be written, and a role may have been told not to. Inlined, as it is asked for every vote: so it has
-- no SET clause, and names everything in full.
CREATE OR REPLACE FUNCTION pix_internal.is_read_only() RETURNS boolean
LANGUAGE sql STABLE PARALLEL SAFE AS $$SELECT pg_catalog.current_setting('transaction_read_only')::pg_catalog.bool$$;

-- Refuses to go on where nothing can be written, and says where to ask.
CREATE OR REPLACE FUNCTION pix_internal.require_writable(function text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pix_internal.is_read_only() THEN
        RAISE EXCEPTION USING ERRCODE = 'PX061', MESSAGE = format('%s has to write, and %s', function,
                CASE WHEN pg_is_in_recovery() THEN 'this server is a standby' ELSE 'this transaction is read-only' END),
            HINT = CASE WHEN pg_is_in_recovery() THEN 'Ask the primary server.'
                ELSE 'Use BEGIN READ WRITE, or a role that does not have default_transaction_read_only.' END;
    END IF;
END
$$;

-- Refuses a call as a part of a larger query, on segments or beside the coordinator's own part: the first thing that a function
-- does which hands over to Python.
-- Beside that part Greenplum refuses to read a distributed table. Here that ends the statement; where Python's first statement
-- does, which cannot catch it, the session is lost.
CREATE OR REPLACE FUNCTION pix_internal.check_alone(function text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.require_coordinator(function, format('Call it alone: SELECT * FROM %s(…);', function));
    IF pix_internal.is_distributed() THEN
        PERFORM FROM pix.items i WHERE i.item_id = '';
    END IF;
END
$$;

-- Refuses a call as a part of a larger query, and where nothing can be written: the first thing that a function does which writes.
CREATE OR REPLACE FUNCTION pix_internal.check_call(function text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_alone(function);
    PERFORM pix_internal.require_writable(function);
END
$$;

-- Refuses to go on in a transaction of the caller's, and commits what there is in its own.
-- A procedure: whether its caller may commit is told only by trying, and PL/pgSQL cannot catch what that raises. It has to work
-- where the package is missing, which is told afterwards.
CREATE OR REPLACE PROCEDURE pix_internal.require_no_transaction(procedure text)
LANGUAGE plpython3u AS $$
try:
    plpy.commit()
except plpy.SPIError:
    may_commit = False
else:
    may_commit = True
if not may_commit:
    plpy.error(
        f'{procedure} commits what it has done, and so it cannot be a part of a transaction', sqlstate='PX062',
        hint=f'Call it alone: CALL {procedure}(…); in a connection with autocommit, not between BEGIN and COMMIT, not with other '
        'statements in one string, and not in a function.'
    )
$$;

-- Refuses to work on what was true when the transaction began.
-- Whoever waited for a lock has to see what was done until then.
CREATE OR REPLACE FUNCTION pix_internal.require_read_committed() RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF current_setting('transaction_isolation') IN ('repeatable read', 'serializable') THEN
        RAISE EXCEPTION USING ERRCODE = 'PX130',
            MESSAGE = format('This cannot be done in a transaction that is %s: it has to see what other sessions have committed',
                current_setting('transaction_isolation')),
            HINT = 'Use BEGIN ISOLATION LEVEL READ COMMITTED, or no transaction of your own.';
    END IF;
END
$$;

-- Who writes something of a table takes turns with others who do, until the end of the transaction.
-- Advisory locks would do, but anybody who may connect can take those. A row of a distributed table is locked with the whole
-- table; so there it is the table that is written, in a mode that keeps out nobody else.
CREATE OR REPLACE FUNCTION pix_internal.lock(subject text, name text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    IF pix_internal.is_distributed() THEN
        EXECUTE format('LOCK TABLE %s IN SHARE UPDATE EXCLUSIVE MODE',
            coalesce(to_regclass('pix.' || subject), to_regclass('pix_internal.' || subject)));
    ELSE
        INSERT INTO pix_internal.locks (subject, name) VALUES (lock.subject, coalesce(lock.name, '')) ON CONFLICT DO NOTHING;
        PERFORM FROM pix_internal.locks l WHERE l.subject = lock.subject AND l.name = coalesce(lock.name, '') FOR UPDATE;
    END IF;
END
$$;

-- As pix_internal.lock, but tells whether it got its turn at once.
CREATE OR REPLACE FUNCTION pix_internal.try_lock(subject text, name text) RETURNS boolean
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp SET lock_timeout = '50ms' AS $$
BEGIN
    PERFORM pix_internal.lock(subject, name);
    RETURN true;
EXCEPTION WHEN lock_not_available THEN
    RETURN false;
END
$$;

-- Deletes from tables whatever belongs to one thing, by the column that names it; in the order of the tables.
CREATE OR REPLACE FUNCTION pix_internal.forget(key text, name text, tables regclass[]) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    each_table regclass;
BEGIN
    FOREACH each_table IN ARRAY tables LOOP
        EXECUTE format('DELETE FROM %s t WHERE t.%I = $1', each_table, key) USING name;
    END LOOP;
END
$$;
