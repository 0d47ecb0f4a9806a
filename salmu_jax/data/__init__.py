"""From a release to batches: reader, ArrayRecord, grain pipelines, tokenizer, images."""
