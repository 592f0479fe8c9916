-- Roles and what they may do with tables, in each database anew. The roles belong to the whole server, and to people
-- who were granted them: they are never dropped here.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['pix_reader', 'pix_app', 'pix_admin'] LOOP
        IF NOT EXISTS (SELECT FROM pg_catalog.pg_roles WHERE rolname = role_name) THEN
            BEGIN
                EXECUTE pg_catalog.format('CREATE ROLE %I NOLOGIN', role_name);
            EXCEPTION WHEN duplicate_object OR unique_violation THEN
                NULL;  -- another database made it just now
            END;
        END IF;
    END LOOP;
    -- Loading and extracting use temporary tables, which a careful owner keeps from PUBLIC.
    EXECUTE pg_catalog.format('GRANT TEMPORARY ON DATABASE %I TO pix_admin', pg_catalog.current_database());
END
$$;

GRANT pix_reader TO pix_app;
GRANT pix_app TO pix_admin;

REVOKE ALL ON SCHEMA pix FROM PUBLIC;
GRANT USAGE ON SCHEMA pix TO pix_reader;
REVOKE ALL ON TYPE
    pix.feature_vector, pix.embedding, pix.neighbor, pix.neighbor_pair, pix.finding, pix.class_score, pix.layer,
    pix.feature_map, pix.item_filter, pix.packing, pix.recall, pix.duplicate, pix.cluster_cut,
    pix.suggestion, pix.vote_result, pix.policy_value,
    pix.user_votes, pix.fitted_model, pix.user_model_summary, pix.taste_summary, pix.recommendation, pix.explanation
FROM PUBLIC;
GRANT USAGE ON TYPE
    pix.feature_vector, pix.embedding, pix.neighbor, pix.neighbor_pair, pix.finding, pix.class_score, pix.layer,
    pix.feature_map, pix.item_filter, pix.packing, pix.recall, pix.duplicate, pix.cluster_cut,
    pix.suggestion, pix.vote_result, pix.policy_value,
    pix.user_votes, pix.fitted_model, pix.user_model_summary, pix.taste_summary, pix.recommendation, pix.explanation
TO pix_reader;
GRANT SELECT ON
    pix.settings, pix.items, pix.images, pix.labels, pix.models, pix.model_parts, pix.features,
    pix.extraction_failures, pix.extraction_runs, pix.quantizations, pix.classifiers, pix.classifier_classes,
    pix.classifier_metrics, pix.classifier_class_metrics, pix.classifier_confusion, pix.predictions,
    pix.packs, pix.feature_blocks, pix.indexes, pix.index_parts, pix.neighbors, pix.neighbor_graphs, pix.clusterings,
    pix.clustering_designs, pix.clusters, pix.cluster_members, pix.cluster_curves, pix.projections, pix.maps, pix.map_points,
    pix.users, pix.signals, pix.interactions, pix.impressions, pix.arms, pix.arm_priors, pix.simulations,
    pix.simulation_curves, pix.user_models, pix.user_model_failures, pix.user_model_policy, pix.tastes, pix.recommendations,
    pix.model_selections, pix.model_selection_tasks, pix.model_selection_results, pix.recommender_evaluations,
    pix.metadata_designs
TO pix_reader;
GRANT INSERT, UPDATE, DELETE ON
    pix.settings, pix.items, pix.images, pix.labels, pix.models, pix.model_parts, pix.features,
    pix.extraction_failures, pix.extraction_runs, pix.quantizations, pix.classifiers, pix.classifier_classes,
    pix.classifier_metrics, pix.classifier_class_metrics, pix.classifier_confusion, pix.predictions,
    pix.packs, pix.feature_blocks, pix.indexes, pix.index_parts, pix.neighbors, pix.neighbor_graphs, pix.clusterings,
    pix.clustering_designs, pix.clusters, pix.cluster_members, pix.cluster_curves, pix.projections, pix.maps, pix.map_points,
    pix.users, pix.signals, pix.interactions, pix.impressions, pix.arms, pix.arm_priors, pix.simulations,
    pix.simulation_curves, pix.user_models, pix.user_model_failures, pix.user_model_policy, pix.tastes, pix.recommendations,
    pix.model_selections, pix.model_selection_tasks, pix.model_selection_results, pix.recommender_evaluations,
    pix.metadata_designs
TO pix_admin;
