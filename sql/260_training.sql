-- Training classifiers, and taking in the ones that come with a model.

-- Says that a label set does not exist.
CREATE OR REPLACE FUNCTION pix_internal.raise_no_label_set(label_set text) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL RESTRICTED SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    RAISE EXCEPTION USING ERRCODE = 'PX071',
        MESSAGE = format('There is no label set %s', coalesce(quote_literal(left(label_set, 200)), 'NULL')),
        HINT = pix_internal.did_you_mean(label_set, ARRAY(SELECT DISTINCT l.label_set FROM pix.labels l),
            'SELECT DISTINCT label_set FROM pix.labels lists the label sets; pix load labels adds one.');
END
$$;

-- Refuses a label set that nothing can be learned from.
CREATE OR REPLACE FUNCTION pix_internal.check_labels(label_set text, model pix.models) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    total bigint;
    class_count bigint;
    named text;
    item_count bigint;
    vector_bytes bigint;
BEGIN
    SELECT count(*), count(DISTINCT l.label) INTO total, class_count
    FROM pix.labels l WHERE l.label_set = check_labels.label_set;
    IF total = 0 THEN
        PERFORM pix_internal.raise_no_label_set(label_set);
    END IF;
    IF class_count = 1 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX072', MESSAGE = format('Label set %L has one class only', label_set),
            HINT = 'Label items of at least two kinds.';
    END IF;
    SELECT l.item_id INTO named FROM pix.labels l
    WHERE l.label_set = check_labels.label_set AND octet_length(l.label) > 500 ORDER BY l.item_id LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX072',
            MESSAGE = format('The label of item %L in label set %L is longer than 500 bytes', named, label_set),
            HINT = 'Name classes shortly; what describes an item belongs into pix.items.';
    END IF;
    SELECT count(*), min(l.item_id) INTO item_count, named FROM pix.labels l
    LEFT JOIN pix.items i ON i.item_id = l.item_id
    LEFT JOIN pix.images p ON p.item_id = l.item_id
    WHERE l.label_set = check_labels.label_set AND i.item_id IS NULL AND p.item_id IS NULL;
    IF item_count > 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX073',
            MESSAGE = format('Label set %L labels %s of %s items that are not in the catalogue, such as %L', label_set,
                item_count, total, named),
            HINT = format(
                'Load them, or remove their labels: DELETE FROM pix.labels l WHERE l.label_set = %L AND NOT EXISTS '
                '(SELECT FROM pix.items i WHERE i.item_id = l.item_id) AND NOT EXISTS '
                '(SELECT FROM pix.images i WHERE i.item_id = l.item_id)', label_set
            );
    END IF;
    SELECT count(*), min(l.item_id) INTO item_count, named FROM pix.labels l
    JOIN pix.features f ON f.item_id = l.item_id AND f.model_name = model.model_name
    WHERE l.label_set = check_labels.label_set AND f.model_checksum IS DISTINCT FROM model.checksum;
    IF item_count > 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX074',
            MESSAGE = format('%s labeled items have features of an earlier version of model %L, such as %L', item_count,
                model.model_name, named),
            HINT = format('CALL pix.extract_features(%L);', model.model_name);
    END IF;
    SELECT count(*), min(l.item_id) INTO item_count, named FROM pix.labels l
    JOIN pix.pending_images p ON p.item_id = l.item_id AND p.model_name = model.model_name
    WHERE l.label_set = check_labels.label_set;
    IF item_count > 0 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX074',
            MESSAGE = format('%s labeled images have no up-to-date features of model %L, such as %L', item_count,
                model.model_name, named),
            HINT = format('CALL pix.extract_features(%L);', model.model_name);
    END IF;
    SELECT min(l.item_id) FILTER (WHERE octet_length(f.vector) <> 4 * model.dimensions), sum(octet_length(f.vector)::bigint)
    INTO named, vector_bytes FROM pix.labels l
    JOIN pix.features f ON f.item_id = l.item_id AND f.model_name = model.model_name
    WHERE l.label_set = check_labels.label_set;
    IF named IS NOT NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX074',
            MESSAGE = format('The features of item %L do not have the %s dimensions of model %L', named, model.dimensions, model.model_name),
            HINT = 'Extract or load them again; vectors of different models need different model names.';
    END IF;
    IF vector_bytes > 1000000000 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX078',
            MESSAGE = format('The labeled items have %s MB of features, more than the 1,000 MB that one training can take', vector_bytes / 1000000),
            HINT = 'Train on a label set of fewer items: a random part of this one will do nearly as well.';
    END IF;
    IF vector_bytes IS NULL THEN
        RAISE EXCEPTION USING ERRCODE = 'PX074',
            MESSAGE = format('No item of label set %L has features of model %L', label_set, model.model_name),
            HINT = 'Load images and extract their features, or name another model.';
    END IF;
    SELECT c.label INTO named FROM (
        SELECT l.label, count(f.item_id) AS item_count FROM pix.labels l
        LEFT JOIN pix.features f ON f.item_id = l.item_id AND f.model_name = model.model_name
        WHERE l.label_set = check_labels.label_set GROUP BY l.label
    ) c
    WHERE c.item_count < 2 ORDER BY c.label LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX072',
            MESSAGE = format('Class %L of label set %L has fewer than two items with features of model %L', named, label_set, model.model_name),
            HINT = format(
                'Label more of its kind, or remove the class: DELETE FROM pix.labels WHERE label_set = %L AND label = %L;',
                label_set, named
            );
    END IF;
    SELECT c.label INTO named FROM (
        SELECT l.label, count(*) FILTER (WHERE pix.split_of(l.item_id) = 'train') AS item_count FROM pix.labels l
        JOIN pix.features f ON f.item_id = l.item_id AND f.model_name = model.model_name
        WHERE l.label_set = check_labels.label_set GROUP BY l.label
    ) c
    WHERE c.item_count = 0 ORDER BY c.label LIMIT 1;
    IF FOUND THEN
        RAISE EXCEPTION USING ERRCODE = 'PX072',
            MESSAGE = format('Class %L of label set %L has no items in the part that is trained on', named, label_set),
            HINT = 'Label more of its kind: 80 % of all items are trained on, see pix.split_of.';
    END IF;
END
$$;

-- Trains and measures a classifier on vectors that follow one another.
CREATE OR REPLACE FUNCTION pix_internal.fit_classifier(
    item_labels text[], splits text[], vectors bytea, algorithm text, balanced boolean, folds bigint,
    OUT labels text[], OUT weights bytea, OUT intercepts double precision[], OUT parameters jsonb, OUT evaluations jsonb
)
LANGUAGE plpython3u STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'training.fit_classifier', item_labels, splits, vectors, algorithm, balanced, folds)$$;

-- Refuses a name that cannot be used, or that belongs to a classifier of the other origin.
CREATE OR REPLACE FUNCTION pix_internal.check_classifier_name(classifier text, is_imported boolean) RETURNS void
LANGUAGE plpgsql STABLE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    known_algorithm text;
BEGIN
    PERFORM pix_internal.check_name('classifier', classifier);
    SELECT c.algorithm INTO known_algorithm FROM pix.classifiers c WHERE c.classifier = check_classifier_name.classifier;
    IF (known_algorithm = 'imported') <> is_imported THEN
        PERFORM pix_internal.refuse(
            format(
                'The name %L belongs to a classifier that %s', classifier,
                CASE known_algorithm WHEN 'imported' THEN 'came with a model' ELSE 'was trained here' END
            ),
            format('Choose another name, or remove it first: SELECT pix.drop_classifier(%L);', classifier)
        );
    END IF;
END
$$;

-- Writes a classifier, in place of the one of this name.
CREATE OR REPLACE FUNCTION pix_internal.store_classifier(
    classifier text, model pix.models, label_set text, algorithm text, parameters jsonb, labels text[], weights bytea,
    intercepts double precision[]
) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    step integer := 4 * model.dimensions;
    key text := encode(sha256(convert_to(jsonb_build_array(labels, intercepts)::text, 'UTF8') || weights), 'hex');
BEGIN
    PERFORM pix_internal.keep_classifier(key, labels, weights, intercepts);  -- refuses what does not fit together
    PERFORM pix_internal.forget('classifier', classifier, '{
        pix.classifier_confusion, pix.classifier_class_metrics, pix.classifier_metrics, pix.classifier_classes, pix.classifiers
    }');
    INSERT INTO pix.classifiers
        (classifier, checksum, label_set, model_name, model_checksum, dimensions, algorithm, parameters)
    VALUES (classifier, key, label_set, model.model_name, model.checksum, model.dimensions, algorithm, parameters);
    INSERT INTO pix.classifier_classes (classifier, class, label, intercept, weights)
    SELECT store_classifier.classifier, n, labels[n], intercepts[n], substr(weights, (n - 1) * step + 1, step)
    FROM generate_series(1, cardinality(labels)) n;
END
$$;

CREATE OR REPLACE FUNCTION pix.train_classifier(
    classifier text, label_set text, model_name text DEFAULT NULL, algorithm text DEFAULT 'softmax',
    balanced boolean DEFAULT false, folds bigint DEFAULT 0
) RETURNS pix.classifiers
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    begun timestamptz := clock_timestamp();
    taken double precision;
    model pix.models;
    labeled record;
    fitted record;
    smallest bigint;
    left_out_count bigint;
BEGIN
    PERFORM pix_internal.check_call('pix.train_classifier');
    PERFORM pix_internal.check_choice('algorithm', algorithm, pix_internal.algorithms_with('classifier', '{}'));
    IF folds IS NULL OR folds < 0 OR folds = 1 OR folds > 100 THEN
        PERFORM pix_internal.refuse(format('folds must be 0, or from 2 to 100, not %s', coalesce(folds::text, 'NULL')),
            'Use 2 to 100 folds for cross-validation (5 or 10 are usual), or 0 for none.');
    END IF;
    model := pix.find_model(model_name);
    PERFORM pix_internal.check_classifier_name(classifier, is_imported => false);
    PERFORM pix_internal.check_labels(label_set, model);
    SELECT array_agg(l.label ORDER BY l.item_id) AS labels, array_agg(pix.split_of(l.item_id) ORDER BY l.item_id) AS splits,
        string_agg(f.vector, ''::bytea ORDER BY l.item_id) AS vectors,
        encode(sha256(convert_to(string_agg(
            jsonb_build_array(l.item_id, l.label, f.model_checksum, f.image_sha256)::text, E'\n' ORDER BY l.item_id
        ), 'UTF8')), 'hex') AS fingerprint
    INTO labeled FROM pix.labels l JOIN pix.features f ON f.item_id = l.item_id AND f.model_name = model.model_name
    WHERE l.label_set = train_classifier.label_set;
    SELECT min(c.item_count) INTO smallest
    FROM (SELECT count(*) AS item_count FROM unnest(labeled.labels) u (label) GROUP BY u.label) c;
    IF folds > smallest THEN
        RAISE EXCEPTION USING ERRCODE = 'PX072',
            MESSAGE = format('The smallest class of label set %L has %s items, too few for %s folds', label_set, smallest, folds),
            HINT = format('Use at most %s folds, or label more of its kind.', smallest);
    END IF;
    SELECT count(*) - cardinality(labeled.labels) INTO left_out_count
    FROM pix.labels l WHERE l.label_set = train_classifier.label_set;
    fitted := pix_internal.fit_classifier(labeled.labels, labeled.splits, labeled.vectors, algorithm,
        coalesce(balanced, false), folds);
    PERFORM pix_internal.lock('classifiers', 'all');  -- not before: others need not wait for the training
    PERFORM pix_internal.check_classifier_name(classifier, is_imported => false);
    PERFORM pix_internal.store_classifier(classifier, model, label_set, algorithm, fitted.parameters, fitted.labels,
        fitted.weights, fitted.intercepts);
    taken := EXTRACT(EPOCH FROM clock_timestamp() - begun);  -- not in the UPDATE: Greenplum wants nothing volatile there
    UPDATE pix.classifiers c
    SET fingerprint = labeled.fingerprint, items = cardinality(labeled.labels), left_out = left_out_count,
        seconds = taken
    WHERE c.classifier = train_classifier.classifier;
    INSERT INTO pix.classifier_metrics (classifier, evaluation, items, accuracy, log_loss, auc)
    SELECT train_classifier.classifier, e.evaluation, e.items, e.accuracy, e.log_loss, e.auc
    FROM jsonb_to_recordset(fitted.evaluations)
        e (evaluation text, items integer, accuracy double precision, log_loss double precision, auc double precision);
    INSERT INTO pix.classifier_class_metrics (classifier, evaluation, label, items, precision, recall, auc)
    SELECT train_classifier.classifier, e.evaluation, c.label, c.items, c."precision", c.recall, c.auc
    FROM jsonb_to_recordset(fitted.evaluations) e (evaluation text, classes jsonb),
        jsonb_to_recordset(e.classes)
            c (label text, items integer, "precision" double precision, recall double precision, auc double precision);
    INSERT INTO pix.classifier_confusion (classifier, evaluation, actual, predicted, items)
    SELECT train_classifier.classifier, e.evaluation, c.actual, c.predicted, c.items
    FROM jsonb_to_recordset(fitted.evaluations) e (evaluation text, confusion jsonb),
        jsonb_to_recordset(e.confusion) c (actual text, predicted text, items integer);
    RETURN (SELECT c FROM pix.classifiers c WHERE c.classifier = train_classifier.classifier);
END
$$;
COMMENT ON FUNCTION pix.train_classifier IS
'Trains the final layer of a model again, on the stored features of labeled items; nothing is extracted again. The items are
split by a hash of their item_id (pix.split_of): 80 % are trained on, 10 % choose the strength of the penalty, 10 % are for
the test. Metrics of the last two are in pix.classifier_metrics, pix.classifier_class_metrics and pix.classifier_confusion,
and those of each fold, if cross-validation is asked for. A classifier of this name is replaced.
Arguments: classifier, its name; label_set, of pix.labels; model_name (NULL: the default model); algorithm: softmax
(multinomial logistic regression) or lda (linear discriminant analysis, quicker, good with few items); balanced: whether all
classes weigh the same, however many items they have; folds of the cross-validation (0: none).
Result: the row of pix.classifiers.
Errors: PX003 invalid argument, PX020 unknown model, PX060 call on segments, PX061 read-only, PX071 unknown label set,
PX072 one class only, or a class of too few items, PX073 labels for items that are not in the catalogue, PX074 features
that are missing, of an earlier model, or of other dimensions, PX078 more than 1,000 MB of features.
Runs: coordinator.
Example: SELECT * FROM pix.train_classifier(''heels'', ''heel'', balanced => true, folds => 3);';

CREATE OR REPLACE FUNCTION pix.register_classifier(
    classifier text, model_name text, labels text[], weights bytea, intercepts double precision[]
) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    model pix.models;
BEGIN
    PERFORM pix_internal.check_call('pix.register_classifier');
    model := pix.find_model(model_name);
    PERFORM pix_internal.lock('classifiers', 'all');
    PERFORM pix_internal.check_classifier_name(classifier, is_imported => true);
    PERFORM pix_internal.check_list('labels', labels);
    PERFORM pix_internal.check_list('intercepts', intercepts);
    IF cardinality(labels) IS DISTINCT FROM cardinality(intercepts)
        OR array_position(labels, NULL) IS NOT NULL OR array_position(intercepts, NULL) IS NOT NULL
    THEN
        RAISE EXCEPTION USING ERRCODE = 'PX030',
            MESSAGE = format('labels and intercepts must be as many, not %s and %s, and none of them NULL',
                coalesce(cardinality(labels), 0), coalesce(cardinality(intercepts), 0)),
            HINT = 'Give a label and an intercept per class.';
    END IF;
    IF coalesce(octet_length(weights), 0) IS DISTINCT FROM 4 * model.dimensions * cardinality(labels) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX030',
            MESSAGE = format('%s classes on the %s dimensions of model %L need %s bytes of weights, not %s',
                cardinality(labels), model.dimensions, model.model_name, 4 * model.dimensions * cardinality(labels),
                octet_length(weights)),
            HINT = 'Give one float32 vector per class, one after another.';
    END IF;
    PERFORM pix_internal.store_classifier(classifier, model, NULL, 'imported', '{}', labels[:], weights, intercepts[:]);
END
$$;
COMMENT ON FUNCTION pix.register_classifier IS
'Stores a final layer that was trained elsewhere; pix model import calls it for the classes that come with a model. One of this
name that was registered before is replaced.
Arguments: classifier, its name; model_name, whose features it takes; labels; weights: a float32 vector per class, one after
another; intercepts. Class probabilities are softmax(weights · features + intercepts).
Result: none.
Errors: PX003 invalid argument, PX020 unknown model, PX030 weights that do not fit, PX060 call on segments, PX061
read-only.
Runs: coordinator.
Example: SELECT pix.register_classifier(''halves'', ''mini_inception'', ARRAY[''a'', ''b''], decode(repeat(''00'', 2304), ''hex''), ARRAY[0, 1]);';

CREATE OR REPLACE FUNCTION pix.drop_classifier(classifier text) RETURNS void
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.drop_classifier');
    PERFORM pix_internal.lock('classifiers', 'all');
    IF NOT EXISTS (SELECT FROM pix.classifiers c WHERE c.classifier = drop_classifier.classifier) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX070',
            MESSAGE = format('Classifier %s is not known', coalesce(quote_literal(classifier), 'NULL')),
            HINT = 'SELECT classifier FROM pix.classifiers lists the classifiers.';
    END IF;
    PERFORM pix_internal.forget('classifier', classifier, '{
        pix.classifier_confusion, pix.classifier_class_metrics, pix.classifier_metrics, pix.classifier_classes,
        pix.classifiers, pix.predictions
    }');
END
$$;
COMMENT ON FUNCTION pix.drop_classifier IS
'Removes a classifier and its predictions.
Arguments: classifier.
Result: none.
Errors: PX060 call on segments, PX061 read-only, PX070 unknown classifier.
Runs: coordinator.
Example: SELECT pix.drop_classifier(''mini_inception'');';

CREATE OR REPLACE VIEW pix.classifier_ranking AS
SELECT
    c.label_set, c.classifier, c.model_name, c.algorithm, (c.parameters ->> 'balanced')::boolean AS balanced, c.items,
    t.accuracy, t.log_loss, t.auc, f.accuracy AS cross_validated_accuracy, f.deviation AS cross_validated_deviation,
    c.model_checksum IS NOT DISTINCT FROM m.checksum AND m.model_name IS NOT NULL AS usable
FROM pix.classifiers c
LEFT JOIN pix.models m ON m.model_name = c.model_name
LEFT JOIN pix.classifier_metrics t ON t.classifier = c.classifier AND t.evaluation = 'test'
LEFT JOIN (
    SELECT classifier, avg(accuracy) AS accuracy, stddev_samp(accuracy) AS deviation
    FROM pix.classifier_metrics WHERE evaluation LIKE 'fold %' GROUP BY classifier
) f ON f.classifier = c.classifier
ORDER BY c.label_set, t.accuracy DESC NULLS LAST, c.classifier;
COMMENT ON VIEW pix.classifier_ranking IS
'The classifiers of each label set, the best on its test items first; usable: whether the model is as it was in training.';
