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
BEGIN
    PERFORM pix_internal.check_call('pix.train_classifier');
    PERFORM pix_internal.check_choice('algorithm', algorithm, pix_internal.algorithms_with('classifier', '{}'));
    IF folds IS NULL OR folds < 0 OR folds = 1 OR folds > 100 THEN
        PERFORM pix_internal.refuse(format('folds must be 0, or from 2 to 100, not %s', coalesce(folds::text, 'NULL')),
            'Use 2 to 100 folds for cross-validation (5 or 10 are usual), or 0 for none.');
    END IF;
    PERFORM pix_internal.drive('training.train_classifier', jsonb_build_object(
        'classifier', classifier, 'label_set', label_set, 'model_name', model_name, 'algorithm', algorithm,
        'balanced', coalesce(balanced, false), 'folds', folds));
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
