-- Who may do what. Whatever is not granted here is revoked: from PUBLIC, and from the roles.

REVOKE ALL ON SCHEMA pix, pix_internal FROM PUBLIC, pix_reader, pix_app, pix_admin;
REVOKE ALL ON ALL TABLES IN SCHEMA pix, pix_internal FROM PUBLIC, pix_reader, pix_app, pix_admin;
REVOKE ALL ON ALL SEQUENCES IN SCHEMA pix, pix_internal FROM PUBLIC, pix_reader, pix_app, pix_admin;
REVOKE ALL ON ALL ROUTINES IN SCHEMA pix, pix_internal FROM PUBLIC, pix_reader, pix_app, pix_admin;
DO $$
DECLARE
    type_name text;
BEGIN
    FOR type_name IN
        SELECT t.oid::pg_catalog.regtype FROM pg_catalog.pg_type t LEFT JOIN pg_catalog.pg_class c ON c.oid = t.typrelid
        WHERE t.typnamespace IN ('pix'::pg_catalog.regnamespace, 'pix_internal'::pg_catalog.regnamespace)
            AND (t.typtype = 'd' OR c.relkind = 'c')
    LOOP
        EXECUTE pg_catalog.format('REVOKE ALL ON TYPE %s FROM PUBLIC, pix_reader, pix_app, pix_admin', type_name);
        EXECUTE pg_catalog.format('GRANT USAGE ON TYPE %s TO pix_reader', type_name);
    END LOOP;
END
$$;

-- Everybody reads everything: what is stored is a catalogue and its votes. Functions that run by the caller's rights read the
-- internal tables too. A dump by any of the roles takes the revision and the sequences along.
GRANT USAGE ON SCHEMA pix, pix_internal TO pix_reader;
GRANT SELECT ON ALL TABLES IN SCHEMA pix, pix_internal TO pix_reader;
GRANT SELECT ON ALL SEQUENCES IN SCHEMA pix, pix_internal TO pix_reader;

-- What people bring, and what comes of it that no backend opens. All else is written by the owner's functions alone: bytes that
-- are opened in a backend, such as parts of models and indexes, blocks and users' models, and whatever says how to read them.
GRANT INSERT, UPDATE, DELETE ON
    pix.settings, pix.items, pix.images, pix.labels, pix.extraction_failures, pix.extraction_runs, pix.predictions,
    pix.neighbors, pix.neighbor_graphs, pix.cluster_members, pix.map_points, pix.users, pix.signals, pix.interactions,
    pix.impressions, pix.arms, pix.arm_priors, pix.simulations, pix.simulation_curves, pix.user_model_failures,
    pix.algorithm_rules, pix.recommendations, pix.algorithm_selections, pix.algorithm_selection_results,
    pix.recommender_evaluations, pix_internal.algorithm_selection_tasks
TO pix_admin;
GRANT INSERT (item_id, model_name, model_checksum, image_sha256, vector, extracted_at),
    UPDATE (item_id, model_name, model_checksum, image_sha256, vector, extracted_at), DELETE
ON pix.features TO pix_admin;
-- A model whose features are loaded from elsewhere: it has no graph.
GRANT INSERT (model_name, dimensions, source) ON pix.models TO pix_admin;

-- Functions: for everybody who looks,
GRANT EXECUTE ON ROUTINE
    pix.algorithms, pix.beta_quantile, pix.classify, pix.classify_item, pix.clustering_quality, pix.compare_policies,
    pix.cut_clusters, pix.distance, pix.doctor, pix.duplicates, pix.embed, pix.explain, pix.feature_maps,
    pix.find_clustering, pix.find_map, pix.find_model, pix.from_array, pix.items_where, pix.leaf_clusters,
    pix.model_layers, pix.nearest, pix.nearest_many, pix.nearest_to_image, pix.nearest_to_vector,
    pix.principal_components, pix.recall_check, pix.selected_dimensions, pix.split_of, pix.to_array,
    pix.users_who_like, pix.warm_up
TO pix_reader;

-- for applications, which write votes,
GRANT EXECUTE ON ROUTINE
    pix.count_skips, pix.next_item, pix.next_items, pix.recommend, pix.train_user_model, pix.undo_vote, pix.vote,
    pix.vote_batch(jsonb), pix.vote_batch(text)
TO pix_app;

-- and for those who load and train.
GRANT EXECUTE ON ROUTINE
    pix.build_index, pix.build_neighbor_graph, pix.check_derived, pix.classify_all, pix.drop_algorithm_selection,
    pix.drop_classifier, pix.drop_clustering, pix.drop_index, pix.drop_map, pix.drop_model, pix.evaluate_recommenders,
    pix.extract_features, pix.fit_algorithm_rules, pix.fit_clusters, pix.fit_common_taste, pix.fit_map,
    pix.fit_metadata, pix.fit_pca, pix.pack_features, pix.quantize_model, pix.rebuild_arms, pix.recommend_all,
    pix.refresh_clusters, pix.refresh_index, pix.refresh_map, pix.refresh_metadata, pix.refresh_priors,
    pix.register_classifier, pix.register_model, pix.select_algorithms, pix.set_default_clustering,
    pix.set_default_model, pix.set_half_life, pix.simulate, pix.store_model_part, pix.train_classifier,
    pix.train_user_models
TO pix_admin;

-- What those functions call by the rights of who calls them.
GRANT EXECUTE ON ROUTINE
    pix_internal.algorithms_with, pix_internal.average_classifiers, pix_internal.best_class, pix_internal.check_alone,
    pix_internal.check_call, pix_internal.check_choice, pix_internal.check_classify, pix_internal.check_clustering,
    pix_internal.check_dimensions, pix_internal.check_filter, pix_internal.check_index, pix_internal.check_known_user,
    pix_internal.check_list, pix_internal.check_name, pix_internal.check_policy, pix_internal.check_prior,
    pix_internal.check_queries, pix_internal.check_range, pix_internal.check_user, pix_internal.choose_algorithm,
    pix_internal.classify, pix_internal.classify_item, pix_internal.close_names, pix_internal.clustering_quality,
    pix_internal.common_taste_version, pix_internal.compare_all_features, pix_internal.compare_policies,
    pix_internal.cut_clusters, pix_internal.decay, pix_internal.did_you_mean, pix_internal.distances,
    pix_internal.distributed_by, pix_internal.doctor, pix_internal.draw_maps, pix_internal.embed,
    pix_internal.ensure_model, pix_internal.ensure_model_here, pix_internal.examine_host, pix_internal.feature_maps,
    pix_internal.few_pass, pix_internal.filter_conditions, pix_internal.find_candidates, pix_internal.find_classifier,
    pix_internal.find_index, pix_internal.find_pack, pix_internal.half_life, pix_internal.inspect_model,
    pix_internal.is_distributed, pix_internal.is_read_only, pix_internal.kept_best_class,
    pix_internal.kept_probabilities, pix_internal.list_algorithms, pix_internal.list_layers,
    pix_internal.load_classifier, pix_internal.measure_recall, pix_internal.model_checksum, pix_internal.model_layers,
    pix_internal.nearest, pix_internal.nearest_many, pix_internal.nearest_to, pix_internal.off_policy_values,
    pix_internal.open_blocks, pix_internal.open_index, pix_internal.probability, pix_internal.project_vectors,
    pix_internal.raise_classifier_changed, pix_internal.raise_files_vanish, pix_internal.raise_no_features,
    pix_internal.raise_no_label_set, pix_internal.rank_neighbors, pix_internal.refuse,
    pix_internal.require_coordinator, pix_internal.require_fit_hosts, pix_internal.require_no_transaction,
    pix_internal.require_read_committed, pix_internal.require_writable, pix_internal.scan_features,
    pix_internal.search_neighbors, pix_internal.searched_model, pix_internal.try_embed, pix_internal.unnest,
    pix_internal.use_planner, pix_internal.votes_of_user
TO pix_reader;
GRANT EXECUTE ON ROUTINE
    pix_internal.suggest_items
TO pix_app;
GRANT EXECUTE ON ROUTINE
    pix_internal.drive_part, pix_internal.drive_parts
TO pix_admin;
