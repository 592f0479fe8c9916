-- Retraining the final layer on stored features, and classifying with it. Classifiers are replicated to all segments, so
-- that what classifies one vector runs in a parallel worker, or on the segment that holds the vector.

CREATE OR REPLACE FUNCTION pix.split_of(item_id text) RETURNS text
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
SELECT CASE WHEN h.ordinal < 0.1 THEN 'test' WHEN h.ordinal < 0.2 THEN 'validation' ELSE 'train' END FROM (
    SELECT (get_byte(d.digest, 0) * 65536 + get_byte(d.digest, 1) * 256 + get_byte(d.digest, 2)) / 16777216.0 AS ordinal
    FROM (SELECT sha256(convert_to(item_id, 'UTF8')) AS digest) d
) h
$$;
COMMENT ON FUNCTION pix.split_of IS
'Which part of the data an item belongs to, by a hash of its item_id: it stays there, whatever items are added.
Arguments: item_id.
Result: train (80 %), validation (10 %), or test (10 %); NULL for NULL.
Errors: none.
Runs: either (coordinator or segments).
Example: SELECT pix.split_of(item_id), count(*) FROM pix.items GROUP BY 1;';

-- The classifier of this name, if its model is as it was.
CREATE OR REPLACE FUNCTION pix_internal.find_classifier(classifier text) RETURNS pix.classifiers
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    named_classifier pix.classifiers;
    model pix.models;
BEGIN
    SELECT c.* INTO named_classifier FROM pix.classifiers c WHERE c.classifier = find_classifier.classifier;
    IF NOT FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX070',
            MESSAGE = format('Classifier %s is not known', coalesce(quote_literal(left(classifier, 200)), 'NULL')),
            HINT = pix_internal.did_you_mean(classifier, ARRAY(SELECT c.classifier FROM pix.classifiers c),
                'SELECT classifier FROM pix.classifiers lists the classifiers; pix.train_classifier trains one.');
    END IF;
    SELECT m.* INTO model FROM pix.models m WHERE m.model_name = named_classifier.model_name;
    IF model.model_name IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX075',
            MESSAGE = format('Model %L, whose features classifier %L takes, has been deleted', named_classifier.model_name, classifier),
            HINT = format(
                'Import the model again and train again, or remove the classifier: SELECT pix.drop_classifier(%L);', classifier
            );
    ELSIF model.checksum IS DISTINCT FROM named_classifier.model_checksum
        OR model.dimensions <> named_classifier.dimensions
    THEN
        RAISE EXCEPTION USING ERRCODE = 'PX075',
            MESSAGE = format('Model %L was imported again since classifier %L was trained: their features do not match',
                model.model_name, classifier),
            HINT = CASE named_classifier.algorithm
                WHEN 'imported' THEN
                    'Import the model once more with the labels of its classes: pix model import … --labels FILE'
                ELSE format('CALL pix.extract_features(%L); SELECT pix.train_classifier(%L, %L, %L, %L);',
                    model.model_name, classifier, named_classifier.label_set, model.model_name,
                    named_classifier.algorithm)
            END;
    END IF;
    RETURN named_classifier;
END
$$;

-- Says that a classifier changed under its user.
CREATE OR REPLACE FUNCTION pix_internal.raise_classifier_changed(classifier text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'PX070',
        MESSAGE = format('Classifier %L was dropped or trained again during this call', classifier),
        HINT = 'Call it again, if the classifier is still there.';
END
$$;

-- Keeps a classifier in the memory of this backend.
CREATE OR REPLACE FUNCTION pix_internal.keep_classifier(
    checksum text, labels text[], weights bytea, intercepts double precision[]
) RETURNS void
LANGUAGE plpython3u STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'classifiers.keep_classifier', checksum, labels, weights, intercepts)$$;

-- Reads a classifier into the memory of this backend.
-- SECURITY DEFINER: whoever may classify has the classifier read from its tables, but cannot put another in its place,
-- where the session's next role would find it.
CREATE OR REPLACE FUNCTION pix_internal.load_classifier(classifier text, checksum text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    layer record;
BEGIN
    SELECT array_agg(c.label ORDER BY c.class) AS labels, string_agg(c.weights, ''::bytea ORDER BY c.class) AS weights,
        array_agg(c.intercept ORDER BY c.class) AS intercepts
    INTO layer FROM pix.classifier_classes c JOIN pix.classifiers d ON d.classifier = c.classifier
    WHERE d.classifier = load_classifier.classifier AND d.checksum = load_classifier.checksum;
    IF layer.labels IS NULL THEN
        PERFORM pix_internal.raise_classifier_changed(classifier);
    END IF;
    PERFORM pix_internal.keep_classifier(checksum, layer.labels, layer.weights, layer.intercepts);
END
$$;

-- The most probable class; NULL if this backend does not keep the classifier.
CREATE OR REPLACE FUNCTION pix_internal.kept_best_class(vector pix.feature_vector, checksum text) RETURNS pix.class_score
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'classifiers.kept_best_class', vector, checksum)$$;

-- The most probable class of a vector.
CREATE OR REPLACE FUNCTION pix_internal.best_class(vector pix.feature_vector, classifier text, checksum text)
RETURNS pix.class_score
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    best pix.class_score := pix_internal.kept_best_class(vector, checksum);
BEGIN
    IF best IS NULL THEN
        PERFORM pix_internal.load_classifier(classifier, checksum);
        best := pix_internal.kept_best_class(vector, checksum);
    END IF;
    RETURN best;
END
$$;

-- The probability of each class, in their order; NULL if this backend does not keep the classifier.
CREATE OR REPLACE FUNCTION pix_internal.kept_probabilities(vector pix.feature_vector, checksum text)
RETURNS double precision[]
LANGUAGE plpython3u STABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'classifiers.kept_probabilities', vector, checksum)$$;

-- Refuses what cannot be classified with.
CREATE OR REPLACE FUNCTION pix_internal.check_classify(classifiers text[], k bigint) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    set_count bigint;
BEGIN
    PERFORM pix_internal.check_list('classifiers', classifiers);
    IF coalesce(cardinality(classifiers), 0) = 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX070', MESSAGE = 'No classifier is named',
            HINT = 'SELECT classifier FROM pix.classifiers lists the classifiers.';
    END IF;
    PERFORM pix_internal.check_range('k', k, 1);
    IF cardinality(classifiers) > 1 THEN
        SELECT count(DISTINCT s.labels) INTO set_count FROM (
            SELECT array_agg(c.label ORDER BY c.label) AS labels FROM pix.classifier_classes c
            WHERE c.classifier IN (SELECT unnest(classifiers)) GROUP BY c.classifier
        ) s;
        IF set_count > 1 THEN
            RAISE EXCEPTION USING ERRCODE = 'PX076',
                MESSAGE = format('The classifiers %s do not have the same classes', array_to_string(classifiers, ', ')),
                HINT = 'Average classifiers that were trained on the same labels.';
        END IF;
    END IF;
END
$$;

-- The most probable classes by the mean of classifiers, each of which is given its own vector.
-- Probabilities of one classifier after another, and the labels they belong to: summed up by label, and divided.
CREATE OR REPLACE FUNCTION pix_internal.average_classifiers(vectors bytea[], classifiers text[], k bigint) RETURNS pix.class_score[]
LANGUAGE plpgsql STABLE PARALLEL SAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    classifier pix.classifiers;
    kept double precision[];
    scores double precision[] := '{}';
    labels text[] := '{}';
    best pix.class_score[];
BEGIN
    FOR i IN 1 .. cardinality(classifiers) LOOP
        classifier := pix_internal.find_classifier(classifiers[i]);
        kept := pix_internal.kept_probabilities(vectors[i], classifier.checksum);
        IF kept IS NULL THEN
            PERFORM pix_internal.load_classifier(classifier.classifier, classifier.checksum);
            kept := pix_internal.kept_probabilities(vectors[i], classifier.checksum);
        END IF;
        scores := scores || kept;
        labels := labels || (
            SELECT array_agg(c.label ORDER BY c.class) FROM pix.classifier_classes c WHERE c.classifier = classifiers[i]
        );
    END LOOP;
    SELECT array_agg((r.rank, r.label, r.score)::pix.class_score ORDER BY r.rank) INTO best FROM (
        SELECT (row_number() OVER (ORDER BY s.score DESC, s.label))::integer AS rank, s.label,
            -- What real cannot hold is an error of PostgreSQL's, and nothing to a reader.
            CASE WHEN s.score < 1e-30 THEN 0 ELSE s.score / cardinality(classifiers) END::real AS score
        FROM (SELECT u.label, sum(u.score) AS score FROM unnest(labels, scores) u (label, score) GROUP BY u.label) s
    ) r
    WHERE r.rank <= k;
    RETURN best;
END
$$;

-- pix.classify as an array.
CREATE OR REPLACE FUNCTION pix_internal.classify(content bytea, classifiers text[], k bigint) RETURNS pix.class_score[]
LANGUAGE plpgsql STABLE PARALLEL SAFE COST 1000000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
    model_name text;
    model_before text;
    vector bytea;
    vectors bytea[];
BEGIN
    PERFORM pix_internal.check_classify(classifiers, k);
    IF content IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX010', MESSAGE = 'The image is NULL', HINT = 'Pass the bytes of an image file.';
    END IF;
    FOREACH name IN ARRAY classifiers LOOP
        model_name := (pix_internal.find_classifier(name)).model_name;
        IF model_name IS DISTINCT FROM model_before THEN
            vector := pix.embed(content, model_name);
            model_before := model_name;
        END IF;
        vectors := vectors || vector;
    END LOOP;
    RETURN pix_internal.average_classifiers(vectors, classifiers[:], k);
END
$$;

CREATE OR REPLACE FUNCTION pix.classify(content bytea, classifiers text[], k bigint DEFAULT 5)
RETURNS SETOF pix.class_score
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 5 AS $$
SELECT n.rank, n.label, n.score FROM pix_internal.unnest(pix_internal.classify(content, classifiers, k)) n
$$;
COMMENT ON FUNCTION pix.classify IS
'Classifies an image with an ensemble: the mean of the probabilities that several classifiers give.
Arguments: content, the bytes of an image file; classifiers, of the same classes, on the same model or on
different ones (a single one: ARRAY[''heels'']); k, how many classes.
Result: rank (from 1), label, score: the mean probability of the class.
Errors: those of pix.embed, PX003 invalid argument, PX070 unknown classifier, PX075 a changed model, PX076 classifiers of
different classes.
Runs: coordinator.
Example: SELECT * FROM pix.classify((SELECT content FROM pix.images LIMIT 1), ARRAY[''mini_inception'']);';

-- pix.classify_item as an array.
CREATE OR REPLACE FUNCTION pix_internal.classify_item(item_id text, classifiers text[], k bigint) RETURNS pix.class_score[]
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED COST 100000 SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    name text;
    classifier pix.classifiers;
    vector bytea;
    vectors bytea[];
BEGIN
    PERFORM pix_internal.require_coordinator(
        'pix.classify_item',
        'Give it one item, where its result is joined or stored as a value or variable; for all, use pix.classify_all.'
    );
    PERFORM pix_internal.check_classify(classifiers, k);
    FOREACH name IN ARRAY classifiers LOOP
        classifier := pix_internal.find_classifier(name);
        SELECT f.vector INTO vector FROM pix.features f
        WHERE f.item_id = classify_item.item_id AND f.model_name = classifier.model_name
            AND f.model_checksum IS NOT DISTINCT FROM classifier.model_checksum;
        IF NOT FOUND THEN
            PERFORM pix_internal.raise_no_features(item_id, classifier.model_name);
        END IF;
        vectors := vectors || vector;
    END LOOP;
    RETURN pix_internal.average_classifiers(vectors, classifiers[:], k);
END
$$;

CREATE OR REPLACE FUNCTION pix.classify_item(item_id text, classifiers text[], k bigint DEFAULT 5)
RETURNS SETOF pix.class_score
LANGUAGE sql STABLE PARALLEL RESTRICTED ROWS 5 AS $$
SELECT n.rank, n.label, n.score FROM pix_internal.unnest(pix_internal.classify_item(item_id, classifiers, k)) n
$$;
COMMENT ON FUNCTION pix.classify_item IS
'Classifies an item by its stored features, with an ensemble: the mean of the probabilities that several classifiers give.
Arguments: item_id; classifiers, of the same classes, on the same model or on different ones; k, how many classes.
Result: rank (from 1), label, score: the mean probability of the class.
Errors: those of pix.classify_item with one classifier, PX076 classifiers of different classes.
Runs: coordinator; on Greenplum for one item at a time, given as a value where the result is joined or stored.
Example: SELECT * FROM pix.classify_item(''B005IYS5ZA'', ARRAY[''mini_inception''], k => 1);';

CREATE OR REPLACE FUNCTION pix.classify_all(classifier text) RETURNS bigint
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.classify_all');
    RETURN pix_internal.drive('classifiers.classify_all', jsonb_build_object('classifier', classifier));
END
$$;
COMMENT ON FUNCTION pix.classify_all IS
'Classifies every item that has up-to-date features, on all CPU cores or segments, into pix.predictions; what an earlier call
left there of this classifier is brought up to date when all is done.
Arguments: classifier.
Result: the number of items.
Errors: PX030 features of other dimensions or not finite, PX060 call on segments, PX061 read-only, PX070 unknown
classifier, or one that was dropped or trained again during the call, PX075 a classifier whose model is deleted or was imported
again.
Runs: coordinator; the work is done in parallel workers or on the segments.
Example: SELECT pix.classify_all(''mini_inception'');';
