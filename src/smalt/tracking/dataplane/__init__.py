"""Azure ML's services beside ARM, as its clients ask them: run history, datastores and data assets, artifacts."""
