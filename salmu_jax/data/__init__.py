"""From a release directory to batches: reader, ArrayRecord builder, grain pipelines, tokenizer."""
