-- INT8 models: made from a model and some images, and offered only with what they cost.

CREATE OR REPLACE FUNCTION pix.quantize_model(
    model_name text, as_name text, calibrate bigint DEFAULT 100, force boolean DEFAULT false
) RETURNS pix.quantizations
LANGUAGE plpgsql VOLATILE PARALLEL UNSAFE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
BEGIN
    PERFORM pix_internal.check_call('pix.quantize_model');
    PERFORM pix_internal.check_name('as_name', as_name);
    PERFORM pix_internal.check_range('calibrate', calibrate, 1, 1000);
    PERFORM pix_internal.drive('quantization.quantize_model', jsonb_build_object(
        'model_name', model_name, 'as_name', as_name, 'calibrate', calibrate, 'force', coalesce(force, false)));
    RETURN (SELECT q FROM pix.quantizations q WHERE q.model_name = as_name);
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
