-- INT8 models: made from a model and some images, and offered only with what they cost.

-- The ONNX file of a model in INT8, calibrated on images.
CREATE OR REPLACE FUNCTION pix_internal.quantize(checksum text, contents bytea[], OUT file bytea, OUT used integer)
LANGUAGE plpython3u STABLE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'quantization.quantize', checksum, contents)$$;

-- Mean fraction of the k nearest neighbors that a number of items have in common by their vectors a and b.
CREATE OR REPLACE FUNCTION pix_internal.neighbor_overlap(a bytea, b bytea, image_count bigint, k bigint) RETURNS double precision
LANGUAGE plpython3u IMMUTABLE STRICT PARALLEL SAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'quantization.neighbor_overlap', a, b, image_count, k)$$;

-- Time per image and memory of two models, in turn, on one core.
CREATE OR REPLACE FUNCTION pix_internal.measure_models(
    float_checksum text, int8_checksum text, contents bytea[],
    OUT float_ms double precision, OUT int8_ms double precision, OUT float_mb double precision, OUT int8_mb double precision
)
LANGUAGE plpython3u VOLATILE STRICT PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp
AS $$from pixelplum.server import call; return call(plpy, GD, '@VERSION@', 'quantization.measure_models', float_checksum, int8_checksum, contents)$$;

-- Accuracy of a classifier on the images of its test part that pix_internal.embed_chunk has left in pix_chunk.
CREATE OR REPLACE FUNCTION pix_internal.test_accuracy(classifier pix.classifiers) RETURNS double precision
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    accuracy double precision;
BEGIN
    SELECT avg(CASE WHEN l.label = (pix_internal.best_class((c.embedding).vector, classifier.classifier, classifier.checksum)).label
        THEN 1.0 ELSE 0.0 END) INTO accuracy
    FROM pg_temp.pix_chunk c
    JOIN pix.labels l ON l.item_id = c.item_id AND l.label_set = classifier.label_set
    WHERE (c.embedding).sqlstate IS NULL AND pix.split_of(c.item_id) = 'test';
    RETURN accuracy;
END
$$;

-- Images are taken in the order of a hash, the one that splits items for training: a random order, and the same each
-- time. The first are of the test part, and are compared; the last calibrate.
CREATE OR REPLACE FUNCTION pix.quantize_model(
    model_name text, as_name text, calibrate bigint DEFAULT 100, force boolean DEFAULT false
) RETURNS pix.quantizations
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
DECLARE
    compared_at_most CONSTANT integer := 500;
    timed CONSTANT integer := 20;
    part_bytes CONSTANT integer := 4194304;
    model pix.models;
    trained pix.classifiers;
    calibration text[];
    sample text[];
    contents bytea[];
    file bytea;
    used integer;
    key text;
    float_side record;
    int8_side record;
    float_accuracy double precision;
    int8_accuracy double precision;
    report pix.quantizations;
    costs record;
BEGIN
    PERFORM pix_internal.check_call('pix.quantize_model');
    PERFORM pix_internal.lock('models', 'all');
    PERFORM pix_internal.use_planner();
    model := pix.find_model(model_name);
    IF coalesce(octet_length(as_name), 0) NOT BETWEEN 1 AND 200 OR as_name = model.model_name THEN
        PERFORM pix_internal.refuse(format('as_name must be a new name of 1 to 200 bytes, not %s', coalesce(quote_literal(left(as_name, 200)), 'NULL')),
            format('Use another name than the model''s own, such as %L.', left(model.model_name, 190) || '_int8'));
    END IF;
    IF EXISTS (SELECT FROM pix.quantizations q WHERE q.model_name = model.model_name) THEN
        PERFORM pix_internal.refuse(format('Model %L is quantized already', model.model_name),
            'Quantize the model that it was made from.');
    END IF;
    IF EXISTS (SELECT FROM pix.models m WHERE m.model_name = as_name)
        AND NOT EXISTS (SELECT FROM pix.quantizations q WHERE q.model_name = as_name)
    THEN
        PERFORM pix_internal.refuse(format('Model %L is not an INT8 model, and is not replaced', as_name),
            format('Choose another name, or remove it first: SELECT pix.drop_model(%L);', as_name));
    END IF;
    PERFORM pix_internal.check_range('calibrate', calibrate, 1, 1000);
    PERFORM pix_internal.ensure_model(pix_internal.model_checksum(model.model_name), verify => true);
    sample := ARRAY(
        SELECT i.item_id FROM pix.images i
        WHERE NOT EXISTS (SELECT FROM pix.extraction_failures x WHERE x.item_id = i.item_id)
        ORDER BY sha256(convert_to(i.item_id, 'UTF8')) LIMIT compared_at_most
    );
    calibration := ARRAY(
        SELECT i.item_id FROM pix.images i
        WHERE NOT EXISTS (SELECT FROM pix.extraction_failures x WHERE x.item_id = i.item_id)
        ORDER BY sha256(convert_to(i.item_id, 'UTF8')) DESC LIMIT calibrate
    );
    IF coalesce(cardinality(sample), 0) < 20 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX081',
            MESSAGE = format('There are %s images, too few to calibrate and compare on', coalesce(cardinality(sample), 0)),
            HINT = 'Load at least 20 images; a few hundred tell more.';
    END IF;

    IF (SELECT sum(octet_length(i.content)::bigint) FROM pix.images i WHERE i.item_id = ANY (calibration)) > 500000000 THEN
        RAISE EXCEPTION USING ERRCODE = 'PX078',
            MESSAGE = format('The %s images to calibrate on have more than 500 MB', cardinality(calibration)),
            HINT = 'Calibrate on fewer images: 100 are usual, 20 will do.';
    END IF;
    SELECT array_agg(i.content) INTO contents FROM pix.images i WHERE i.item_id = ANY (calibration);
    SELECT q.file, q.used INTO file, used FROM pix_internal.quantize(model.checksum, contents) q;
    key := encode(sha256(file), 'hex');
    INSERT INTO pix_internal.model_parts (checksum, part, content)
    SELECT key, n, substr(file, n * part_bytes + 1, part_bytes)
    FROM generate_series(0, (octet_length(file) - 1) / part_bytes) n ON CONFLICT DO NOTHING;
    PERFORM pix.register_model(as_name, key, format('INT8 of %s, calibrated on %s images', model.model_name, used));

    SELECT c.* INTO trained FROM pix.classifiers c
    WHERE c.model_name = model.model_name AND c.model_checksum = model.checksum AND c.label_set IS NOT NULL
    ORDER BY c.trained_at DESC LIMIT 1;
    PERFORM pix_internal.embed_chunk(sample, model.checksum, 'onnxruntime');
    SELECT count(*) AS image_count, string_agg((c.embedding).vector, ''::bytea ORDER BY c.item_id) AS vectors
    INTO float_side FROM pg_temp.pix_chunk c WHERE (c.embedding).sqlstate IS NULL;
    IF trained.classifier IS NOT NULL THEN
        float_accuracy := pix_internal.test_accuracy(trained);
    END IF;
    PERFORM pix_internal.embed_chunk(sample, key, 'onnxruntime');
    SELECT string_agg((c.embedding).vector, ''::bytea ORDER BY c.item_id) AS vectors
    INTO int8_side FROM pg_temp.pix_chunk c WHERE (c.embedding).sqlstate IS NULL;
    IF trained.classifier IS NOT NULL THEN
        int8_accuracy := pix_internal.test_accuracy(trained);
    END IF;
    SELECT array_agg(i.content) INTO contents FROM pix.images i WHERE i.item_id = ANY (sample[1:timed]);
    SELECT * INTO costs FROM pix_internal.measure_models(model.checksum, key, contents);

    DELETE FROM pix.quantizations q WHERE q.model_name = as_name;
    INSERT INTO pix.quantizations (model_name, quantized_from, model_checksum, float_checksum, calibrated_on,
        compared_on, overlap, classifier, float_accuracy, int8_accuracy, float_ms, int8_ms, float_mb, int8_mb)
    VALUES (
        as_name, model.model_name, key, model.checksum, used, float_side.image_count,
        pix_internal.neighbor_overlap(float_side.vectors, int8_side.vectors, float_side.image_count::integer, 10),
        CASE WHEN float_accuracy IS NOT NULL THEN trained.classifier END, float_accuracy, int8_accuracy,
        costs.float_ms, costs.int8_ms, costs.float_mb, costs.int8_mb
    );
    SELECT q.* INTO report FROM pix.quantizations q WHERE q.model_name = as_name;
    IF report.overlap < 0.90 AND NOT coalesce(force, false) THEN
        RAISE EXCEPTION USING ERRCODE = 'PX080',
            MESSAGE = format(
                'In INT8, %L keeps only %s %% of the ten nearest neighbors (of %s images; %s instead of %s ms an image)',
                model.model_name, round(100 * report.overlap::numeric, 1), report.compared_on,
                round(report.int8_ms::numeric, 1), round(report.float_ms::numeric, 1)
            ),
            HINT = 'Use the float model, calibrate on more images, or take it as it is with force => true.';
    END IF;
    RETURN report;
END
$$;
COMMENT ON FUNCTION pix.quantize_model IS
'Makes a second model of a model: in INT8, quicker and smaller, calibrated on images of the catalogue. It is stored together
with what that costs (pix.quantizations), and not at all if fewer than 90 % of the ten nearest neighbors stay the same.
Arguments: model_name; as_name, of the INT8 model; calibrate, on how many images (1 to 1000); force, whether to store it
whatever it costs.
Result: the row of pix.quantizations: overlap of the ten nearest neighbors among at most 500 images, accuracy of the latest
classifier on the model with either features, milliseconds per image on one core, memory.
Errors: PX003 invalid argument, PX020 unknown model, PX022 a model without a graph or one that cannot be quantized,
PX060 call on segments, PX061 read-only, PX078 more than 500 MB of images to calibrate on, PX080 too small an overlap,
PX081 too few images.
Runs: coordinator; images are compared in parallel workers or on the segments.
Example: SELECT * FROM pix.quantize_model(''mini_inception'', ''mini_int8'', calibrate => 20, force => true);';
